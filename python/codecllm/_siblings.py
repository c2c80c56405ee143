"""Layers that get the same input one after another, like a Llama's q_proj, k_proj and v_proj: one kernel multiplies it
by the weights of all of them, which takes less time than three.

The first one that is called computes for all, and the others take what is theirs, if they really get the same tensor.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from . import _operators

if TYPE_CHECKING:
    from ._modules import CompressedLinear

SIBLING_NAMES = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"))
"""Such layers of one module in the order in which it calls them, as models have them that derive from Llama's."""


class Siblings:
    """Some layers of a module, and what they have computed ahead."""

    def __init__(self, layers: list[CompressedLinear]) -> None:
        self._layers = layers
        self._latest: tuple[torch.Tensor, int | None, list[torch.Tensor]] | None = None
        """The input, its version, and the outputs of those layers that have not been called with it."""
        self._get_the_same = True
        """Until one of them is called with something else."""

    def product_of(self, layer: CompressedLinear, x: torch.Tensor) -> torch.Tensor | None:
        """What the layer makes of X, if it is computed with the others; else None."""
        latest, self._latest = self._latest, None
        layers = self._layers
        if not self._get_the_same:
            return None
        if layer is layers[0] and latest is None:
            outputs = _operators.linears(
                x,
                [each._buffers["stream"] for each in layers],
                [each.bias for each in layers],
                [each.weight_shape[0] for each in layers],
            )
            self._latest = (x, _version(x), outputs[1:])
            return outputs[0]
        if latest is None or latest[0] is not x or latest[1] != _version(x) or layer is not layers[-len(latest[2])]:
            self._get_the_same = False
            return None
        if len(latest[2]) > 1:
            self._latest = (x, latest[1], latest[2][1:])
        return latest[2][0]


def _version(x: torch.Tensor) -> int | None:
    """Changes when X does; not known to the compiler, nor of tensors of inference mode."""
    return None if torch.compiler.is_compiling() or x.is_inference() else x._version

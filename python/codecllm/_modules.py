"""Models whose weights stay compressed in memory: each is decoded right before it is used.

A layer keeps its class's `forward`, which finds the decoded weight where it always was.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import nn

from . import _library
from ._arrays import bytes_of
from ._codec import encode_bytes
from ._decoded_weights import Buffer, CudaBuffer, Weight
from ._gpu_encoder import GPUEncoder, GPUStream
from ._library import Profile

_BATCH_BYTES = 512 * 2**20
"""Weights are compressed so many bytes at a time, or one."""


def compress_module(model: nn.Module, profile: Profile = "fast") -> nn.Module:
    """Replaces the weights of linear and embedding layers by compressed ones, and so saves memory.

    They are decoded right before use, on their GPU (or on the host, if the model is there), into a buffer that all
    layers share and that is as large as the two largest weights. What the model computes is the same, bit for bit. It
    is for inference afterwards: no parameter of it requires a gradient, and it has to stay on its device.

    A layer's `weight` is what it was while its `forward` runs; elsewhere it is a copy that is decoded for the caller.
    Weights that do not become smaller stay as they are, and weights that several layers share are kept once.

    Args:
        model: changed in place
        profile: "fast" is for GPUs; "small" takes a little less memory; "direct" takes more, 12 bits a weight of BF16,
            and is decoded fastest

    Returns:
        the model

    Raises:
        UnavailableError: the model is on a GPU, and this build of codecllm has no CUDA
        ValueError: no such profile
    """
    # Refuses a wrong profile before anything is changed.
    _library.options(profile)
    model.requires_grad_(False)
    # A dict for the order of the modules, in which they are mostly used, too.
    layers: dict[nn.Parameter, list[nn.Module]] = {}
    for module in model.modules():
        own = _weight_of(module)
        if own is not None:
            layers.setdefault(own, []).append(module)

    compressed: dict[torch.device, list[tuple[Weight, list[nn.Module]]]] = {}
    # From here on nothing holds a parameter longer than it takes to compress its batch.
    waiting = deque(layers.items())
    del layers
    while waiting:
        batch = _next_batch(waiting)
        streams = _streams_of([parameter for parameter, _ in batch], profile)
        for (parameter, modules), stream in zip(batch, streams, strict=True):
            if stream is None:
                continue
            compressed.setdefault(parameter.device, []).append((Weight(parameter, stream), modules))
            for module in modules:
                del module.weight
    for device, weights in compressed.items():
        buffer = (CudaBuffer if device.type == "cuda" else Buffer)([weight for weight, _ in weights])
        for weight, modules in weights:
            for module in modules:
                module.__class__ = _compressed_class(type(module))  # type: ignore[arg-type]
                module.__dict__["compressed"] = _ModuleWeight(weight, buffer)
    return model


def _weight_of(module: nn.Module) -> nn.Parameter | None:
    """The weight that is to be compressed, if the module has one."""
    # An embedding with max_norm changes its weight as it is used.
    if isinstance(module, nn.Linear) or (isinstance(module, nn.Embedding) and module.max_norm is None):
        return dict(module.named_parameters(recurse=False, remove_duplicate=False)).get("weight")
    return None


def _next_batch(waiting: deque[tuple[nn.Parameter, list[nn.Module]]]) -> list[tuple[nn.Parameter, list[nn.Module]]]:
    """Takes weights that are compressed together: of one device."""
    batch = [waiting.popleft()]
    size = batch[0][0].nbytes
    while waiting and waiting[0][0].device == batch[0][0].device and size + waiting[0][0].nbytes <= _BATCH_BYTES:
        batch.append(waiting.popleft())
        size += batch[-1][0].nbytes
    return batch


def _streams_of(weights: list[nn.Parameter], profile: Profile) -> list[GPUStream | np.ndarray | None]:
    """Compresses weights where they are; None for those that do not become smaller."""
    device = weights[0].device
    if device.type == "cuda":
        with GPUEncoder(device.index) as encoder:
            return list(encoder.encode(weights, profile))
    options = _library.options(profile)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        streams = list(pool.map(lambda weight: encode_bytes(*bytes_of(weight), options), weights))
    return [stream if stream.size < weight.nbytes else None for weight, stream in zip(weights, streams, strict=True)]


class _ModuleWeight:
    """The weight of a layer."""

    def __init__(self, weight: Weight, buffer: Buffer) -> None:
        self._weight = weight
        self._buffer = buffer
        self._held: torch.Tensor | None = None

    @contextmanager
    def held(self) -> Iterator[None]:
        """Has it decoded in the shared buffer."""
        with self._buffer.holding(self._weight) as tensor:
            self._held = tensor
            try:
                yield
            finally:
                self._held = None

    def tensor(self) -> torch.Tensor:
        if self._held is not None:
            return self._held
        return self._weight.decode(torch.empty(self._weight.size, dtype=torch.uint8, device=self._weight.device))


@cache
def _compressed_class(base: type[nn.Module]) -> type[nn.Module]:
    """A layer's class, with a weight that is compressed."""

    class Compressed(base):  # type: ignore[valid-type, misc]
        compressed: _ModuleWeight

        @property
        def weight(self) -> torch.Tensor:
            return self.compressed.tensor()

        def forward(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
            if torch.is_grad_enabled() and any(
                isinstance(value, torch.Tensor) and value.requires_grad for value in args
            ):
                raise RuntimeError("compressed layers have no gradients: use torch.no_grad()")
            with self.compressed.held():
                return super().forward(*args, **kwargs)

    Compressed.__name__ = Compressed.__qualname__ = f"Compressed{base.__name__}"
    return Compressed

"""NWC, Neural Weight Compression (Paul Otto, Apache-2.0): its package's weights, and its kernel that restores BF16."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from pathlib import Path

import torch

from . import Coded, Settings, UnsupportedError, as_bytes, stream

NAME = "NWC"


def version(folder: Path) -> str:
    sys.path.insert(0, str(folder))
    import nwc

    return nwc.__version__


def settings(folder: Path, tensors: list[torch.Tensor], dtype: str, brief: bool) -> Settings:
    if dtype != "BF16":
        raise UnsupportedError("it has BF16, and FP8 with scales")
    # The package's own choice, and the layout for tensor cores, which is opt-in.
    for layout in (0, 1):
        yield f"layout {layout}", functools.partial(_encode, tensors, layout)


def _encode(tensors: list[torch.Tensor], layout: int) -> Coded:
    from nwc import NWCWeight

    weights = [NWCWeight(tensor, layout=layout) for tensor in tensors]
    # It pads rows to 16 columns, and the output would not be the tensor.
    if any(weight.in_features % 16 for weight in weights):
        raise UnsupportedError("rows that are no multiple of 16 elements")
    parts = ("data", "bases", "hdr", "lut", "low")

    def launcher(buffers: list[torch.Tensor], outputs: list[torch.Tensor]) -> Callable[[], None]:
        from nwc.nwc_torch import _lib

        calls = [
            (
                *(each.data_ptr() for each in buffers[i * len(parts) : (i + 1) * len(parts)]),
                *(outputs[i].data_ptr(), weight.n, weight.block, weight.in_features, weight.code),
            )
            for i, weight in enumerate(weights)
        ]

        def launch() -> None:
            # What NWCWeight.dequant does, into memory of ours.
            for values in calls:
                error = _lib.nwc_dequant(stream(), *values)
                if error:
                    raise RuntimeError(f"nwc_dequant: cudaError_t {error}")

        return launch

    return Coded(
        stored_bytes=sum(weight.bytes for weight in weights),
        buffers=[getattr(weight, part) for weight in weights for part in parts],
        launcher=launcher,
        expected=as_bytes(tensors),
    )

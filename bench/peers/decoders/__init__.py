"""GPU decoders, each as one file with the same few names.

- `NAME`: what the codec is called
- `version(folder)`: its version, if it is there; any exception says why not
- `settings(folder, tensors, dtype, brief)`: what of it is measured, as pairs of a setting's name and a function that
  encodes the tensors with it

`folder` is where setup.py put the codec. Tensors are on the GPU, have two dimensions and lie one after another in no
particular way; `dtype` is safetensors' name of theirs. `brief` asks for the settings that matter most, of data whose
tensors are measured one by one.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

Setting = tuple[str, Callable[[], "Coded"]]
Settings = Iterator[Setting]


class UnsupportedError(Exception):
    """A codec does not take such data."""


@dataclass
class Coded:
    """Tensors as a codec holds them on the GPU, and how they are decoded."""

    stored_bytes: int
    """Of everything a decoder needs: streams, tables, indices, headers."""
    buffers: list[torch.Tensor]
    """What decoding reads, so that there can be copies of it: tensors of one dimension."""
    launcher: Callable[[list[torch.Tensor], list[torch.Tensor]], Callable[[], None]]
    """From a copy of the buffers and from outputs (uint8, as many bytes as `expected`) to a function that launches one
    decode of all tensors on the current CUDA stream, and does nothing that a CUDA graph could not capture."""
    expected: list[torch.Tensor]
    """What the outputs must be, as uint8."""
    variant: str = ""
    """What sets these numbers apart from others of the codec."""
    check: Callable[[], None] = lambda: None
    """Raises if the codec itself found damage in what was decoded."""


def package_version(folder: Path, name: str) -> str:
    """Of a package that pip put into a folder."""
    return next(iter(importlib.metadata.distributions(name=name, path=[str(folder)]))).version


def as_bytes(tensors: list[torch.Tensor]) -> list[torch.Tensor]:
    """Tensors seen as uint8 in one dimension."""
    return [tensor.reshape(-1).view(torch.uint8) for tensor in tensors]


def stream() -> int:
    """The current CUDA stream, as C has it."""
    return torch.cuda.current_stream().cuda_stream

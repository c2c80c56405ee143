"""DietGPU (Meta, MIT): its codec for BF16, and its ANS coder for bytes. setup.py builds it from source."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable
from ctypes import POINTER, c_int, c_size_t, c_uint32, c_void_p
from pathlib import Path

import torch

from . import Coded, Settings, as_bytes, stream

NAME = "dietgpu"

# What a dtype is for it, and bytes of a word.
KINDS = {"BF16": ("bf16", 2), "I8": ("bytes", 1)}
PROBABILITY_BITS = (9, 10, 11)
TEMPORARY_BYTES = 2 << 30
BATCH = 128
"""Tensors of a call: more would have their addresses copied to the device each time."""


@functools.cache
def _library(folder: Path) -> ctypes.CDLL:
    library = ctypes.CDLL(str(folder / "libdietgpu.so"))
    library.dietgpu_open.restype = c_void_p
    library.dietgpu_open.argtypes = [c_size_t]
    many, sizes = POINTER(c_void_p), POINTER(c_uint32)
    for kind, _ in KINDS.values():
        getattr(library, f"dietgpu_bound_{kind}").restype = c_uint32
        getattr(library, f"dietgpu_compress_{kind}").argtypes = [
            *(c_void_p, c_int, c_uint32, many, sizes, many, c_void_p, c_void_p)
        ]
        getattr(library, f"dietgpu_decompress_{kind}").argtypes = [
            *(c_void_p, c_int, c_uint32, many, sizes, many, c_void_p)
        ]
    return library


@functools.cache
def _memory(folder: Path) -> int:
    return _library(folder).dietgpu_open(TEMPORARY_BYTES)


def version(folder: Path) -> str:
    _library(folder)
    return (folder / "commit").read_text().strip()[:12]


def settings(folder: Path, tensors: list[torch.Tensor], dtype: str, brief: bool) -> Settings:
    for bits in PROBABILITY_BITS:
        yield f"{bits} probability bits", functools.partial(_encode, folder, tensors, dtype, bits)


def _encode(folder: Path, tensors: list[torch.Tensor], dtype: str, bits: int) -> Coded:
    kind, width = KINDS[dtype]
    bound, compress, decompress = (
        getattr(_library(folder), f"dietgpu_{name}_{kind}") for name in ("bound", "compress", "decompress")
    )
    memory = _memory(folder)
    inputs = as_bytes(tensors)
    batches = [range(begin, min(begin + BATCH, len(inputs))) for begin in range(0, len(inputs), BATCH)]

    def pointers(buffers: list[torch.Tensor], batch: range) -> ctypes.Array[c_void_p]:
        return (c_void_p * len(batch))(*(buffers[i].data_ptr() for i in batch))

    words = [(c_uint32 * len(batch))(*(inputs[i].numel() // width for i in batch)) for batch in batches]
    compressed = []
    for batch, sizes in zip(batches, words, strict=True):
        bounds = [torch.empty(bound(size), dtype=torch.uint8, device="cuda") for size in sizes]
        lengths = torch.zeros(len(batch), dtype=torch.int32, device="cuda")
        targets = (c_void_p * len(batch))(*(each.data_ptr() for each in bounds))
        compress(memory, bits, len(batch), pointers(inputs, batch), sizes, targets, lengths.data_ptr(), stream())
        compressed += [each[:length].clone() for each, length in zip(bounds, lengths.tolist(), strict=True)]

    def launcher(buffers: list[torch.Tensor], outputs: list[torch.Tensor]) -> Callable[[], None]:
        calls = [
            (memory, bits, len(batch), pointers(buffers, batch), sizes, pointers(outputs, batch))
            for batch, sizes in zip(batches, words, strict=True)
        ]

        def launch() -> None:
            for values in calls:
                decompress(*values, stream())

        return launch

    return Coded(
        stored_bytes=sum(each.numel() for each in compressed),
        buffers=compressed,
        launcher=launcher,
        expected=inputs,
    )

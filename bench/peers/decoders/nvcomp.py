"""nvCOMP's ANS (NVIDIA, proprietary, free of charge): the batched C interface of libnvcomp.

As its header recommends for speed: type, sub-chunks and states are named when decompressing, and validation is skipped.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable
from ctypes import POINTER, byref, c_int, c_size_t, c_uint8, c_void_p
from pathlib import Path

import torch

from . import Coded, Settings, UnsupportedError, as_bytes, package_version, stream

NAME = "nvCOMP ANS"

# nvcompType_t of the data types that the codec has, and bytes of a word.
TYPES = {"CHAR": (0, 1), "UCHAR": (1, 1), "FLOAT8_E4M3": (9, 1), "FLOAT16": (10, 2), "FLOAT32": (11, 4)}
# The one that is meant for a dtype.
MEANT = {"BF16": "FLOAT16", "I8": "CHAR"}
CHUNKS = (64, 128, 256, 512, 1024)
"""KiB."""
DEFAULT = (8, 2)
"""Sub-chunks of a chunk at most, and rANS states of a lane."""
OTHERS = ((8, 1), (16, 2), (32, 2))
"""Of 4 sub-chunks decoding is slower by a fifth, for 0.01 % of the size; 64 are slower than 32."""
LARGE_BYTES = 2**28
BACKEND_CUDA = 2
ALIGNMENT = 16
"""Of a compressed chunk (nvcompANSRequiredDecompressionAlignment)."""
LENGTH_BYTES = 4
"""A chunk's compressed length, which a file has to keep beside it."""


class CompressOptions(ctypes.Structure):
    """nvcompBatchedANSCompressOpts_t."""

    _fields_ = (
        ("type", c_int),
        ("data_type", c_int),
        ("max_sub_chunk_count", c_uint8),
        ("states_per_lane", c_uint8),
        ("histogram_reduction_log2", c_uint8),
        ("reserved", c_uint8 * 53),
    )


class DecompressOptions(ctypes.Structure):
    """nvcompBatchedANSDecompressOpts_t."""

    _fields_ = (
        ("backend", c_int),
        ("data_type", c_int),
        ("max_sub_chunk_count", c_uint8),
        ("states_per_lane", c_uint8),
        ("skip_validate", c_uint8),
        ("reserved", c_uint8 * 53),
    )


@functools.cache
def _library(folder: Path) -> ctypes.CDLL:
    library = ctypes.CDLL(str(folder / "nvidia/libnvcomp/lib64/libnvcomp.so.6"))
    for name, parameters in {
        "BatchedANSCompressGetMaxOutputChunkSize": [c_size_t, CompressOptions, POINTER(c_size_t)],
        "BatchedANSCompressGetTempSize": [
            *(c_size_t, c_size_t, CompressOptions, POINTER(c_size_t), c_size_t, c_void_p),
        ],
        "BatchedANSCompressAsync": [
            *(c_void_p, c_void_p, c_size_t, c_size_t, c_void_p, c_size_t),
            *(c_void_p, c_void_p, CompressOptions, c_void_p, c_void_p),
        ],
        "BatchedANSDecompressGetTempSize": [
            *(c_size_t, c_size_t, DecompressOptions, POINTER(c_size_t), c_size_t, c_void_p),
        ],
        "BatchedANSDecompressAsync": [
            *(c_void_p, c_void_p, c_void_p, c_void_p, c_size_t, c_void_p, c_size_t),
            *(c_void_p, DecompressOptions, c_void_p, c_void_p),
        ],
    }.items():
        getattr(library, "nvcomp" + name).argtypes = parameters
    return library


def _call(folder: Path, name: str, *values: object) -> None:
    status = getattr(_library(folder), "nvcomp" + name)(*values)
    if status != 0:
        raise RuntimeError(f"nvcomp{name}: nvcompStatus_t {status}")


def version(folder: Path) -> str:
    _library(folder)
    return package_version(folder, "nvidia-libnvcomp-cu13")


def settings(folder: Path, tensors: list[torch.Tensor], dtype: str, brief: bool) -> Settings:
    if dtype not in MEANT:
        raise UnsupportedError(f"{dtype}: not tried")
    # The type that is meant for these words with all choices; of large tensors every type with the defaults, too.
    for name in TYPES if sum(each.nbytes for each in tensors) >= LARGE_BYTES else (MEANT[dtype],):
        for kib in CHUNKS:
            choices = (DEFAULT, *OTHERS) if name == MEANT[dtype] and not brief else (DEFAULT,)
            for sub_chunks, states in choices:
                described = f"{name}, {kib} KiB, {sub_chunks} sub-chunks, {states} state{'s' * (states > 1)}"
                yield described, functools.partial(_encode, folder, tensors, name, kib * 1024, sub_chunks, states)


def _encode(folder: Path, tensors: list[torch.Tensor], name: str, chunk: int, sub_chunks: int, states: int) -> Coded:
    data_type, width = TYPES[name]
    inputs = as_bytes(tensors)
    if any(each.numel() % width for each in inputs):
        raise UnsupportedError(f"tensors that are no whole number of words of {width} bytes")
    places = [(i, begin) for i, each in enumerate(inputs) for begin in range(0, each.numel(), chunk)]
    lengths = _numbers([min(chunk, inputs[i].numel() - begin) for i, begin in places])
    total = sum(each.numel() for each in inputs)

    def pointers(buffers: list[torch.Tensor]) -> torch.Tensor:
        starts = [each.data_ptr() for each in buffers]
        return _numbers([starts[i] + begin for i, begin in places])

    options = CompressOptions(0, data_type, sub_chunks, states)
    bound, temporary = c_size_t(), c_size_t()
    _call(folder, "BatchedANSCompressGetMaxOutputChunkSize", chunk, options, byref(bound))
    stride = -(-bound.value // ALIGNMENT) * ALIGNMENT
    _call(folder, "BatchedANSCompressGetTempSize", len(places), chunk, options, byref(temporary), total, stream())
    scratch = _memory(temporary.value)
    compressed = _memory(len(places) * stride)
    compressed_lengths = _numbers([0] * len(places))
    statuses = torch.zeros(len(places), dtype=torch.int32, device="cuda")
    sources = pointers(inputs)
    targets = _numbers([compressed.data_ptr() + i * stride for i in range(len(places))])
    _call(
        folder,
        "BatchedANSCompressAsync",
        *(sources.data_ptr(), lengths.data_ptr(), chunk, len(places), scratch.data_ptr(), scratch.numel()),
        *(targets.data_ptr(), compressed_lengths.data_ptr(), options, statuses.data_ptr(), stream()),
    )
    if statuses.any():
        raise RuntimeError(f"compressing a chunk: nvcompStatus_t {int(statuses.max())}")

    # One after another, as a file would have them.
    units = (compressed_lengths + ALIGNMENT - 1) // ALIGNMENT
    used = torch.arange(stride // ALIGNMENT, device="cuda")[None, :] < units[:, None]
    packed = compressed.view(len(places), stride // ALIGNMENT, ALIGNMENT)[used].reshape(-1)
    offsets = (torch.cumsum(units, 0) - units) * ALIGNMENT
    del compressed, scratch, used

    decompress_options = DecompressOptions(BACKEND_CUDA, data_type, sub_chunks, states, 1)
    _call(
        folder,
        "BatchedANSDecompressGetTempSize",
        *(len(places), chunk, decompress_options, byref(temporary), total, stream()),
    )
    decompress_scratch = _memory(temporary.value)
    decompressed_lengths = torch.zeros_like(lengths)

    def launcher(buffers: list[torch.Tensor], outputs: list[torch.Tensor]) -> Callable[[], None]:
        sources, targets = offsets + buffers[0].data_ptr(), pointers(outputs)

        def launch() -> None:
            _call(
                folder,
                "BatchedANSDecompressAsync",
                *(sources.data_ptr(), compressed_lengths.data_ptr(), lengths.data_ptr()),
                *(decompressed_lengths.data_ptr(), len(places)),
                *(decompress_scratch.data_ptr(), decompress_scratch.numel(), targets.data_ptr()),
                *(decompress_options, statuses.data_ptr(), stream()),
            )

        return launch

    return Coded(
        stored_bytes=packed.numel() + LENGTH_BYTES * len(places),
        buffers=[packed],
        launcher=launcher,
        expected=inputs,
    )


def _memory(size: int) -> torch.Tensor:
    return torch.empty(max(size, 256), dtype=torch.uint8, device="cuda")


def _numbers(values: list[int]) -> torch.Tensor:
    """As an array of size_t or of pointers, in device memory."""
    return torch.tensor(values, dtype=torch.int64, device="cuda")

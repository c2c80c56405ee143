"""lmzip (Fanxin Sun, MIT): its CUDA decoder, for which streams are coded by its own encoder.

Of BF16 the decoder restores the exponents alone, as bytes: nothing in the package puts them together with signs and
mantissas on a GPU. So its rate says how fast exponents come, counted as if whole words came.
"""

from __future__ import annotations

import ctypes
import functools
import math
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from ctypes import c_uint, c_void_p
from pathlib import Path

import torch

from . import Coded, Settings, UnsupportedError, as_bytes, package_version, stream

NAME = "lmzip"

STREAM_BYTES = 32768
"""Decoded bytes of a stream at most: what the package's author measures."""
INDEX_BYTES = 8
"""Where a stream begins."""


@functools.cache
def _library(folder: Path) -> ctypes.CDLL:
    library = ctypes.CDLL(str(folder / "liblmzgpu.so"))
    library.lmz_gpu_decode_batch_dev.argtypes = [
        *(c_void_p, c_void_p, c_void_p, c_uint, c_uint, c_void_p, c_void_p, c_uint)
    ]
    library.lmz_gpu_last_error.restype = ctypes.c_char_p
    return library


def version(folder: Path) -> str:
    sys.path.insert(0, str(folder))
    from lmz import gpu, kernels

    if _library(folder).lmz_gpu_abi_version() != gpu.ABI_VERSION:
        raise RuntimeError("liblmzgpu.so is of another version")
    if not kernels.have_rans():
        raise RuntimeError("its encoder needs a C compiler")
    return package_version(folder, "lmzip")


def settings(folder: Path, tensors: list[torch.Tensor], dtype: str, brief: bool) -> Settings:
    for shared in (True, False):
        yield "one table" if shared else "a table a stream", functools.partial(_encode, folder, tensors, dtype, shared)


def _encode(folder: Path, tensors: list[torch.Tensor], dtype: str, shared: bool) -> Coded:
    from lmz import gpu, kernels

    library = _library(folder)
    planes = as_bytes(tensors)
    raw_bytes = 0
    if dtype == "BF16":
        planes = [((each.reshape(-1).view(torch.int16) >> 7) & 0xFF).to(torch.uint8) for each in tensors]
        raw_bytes = sum(each.numel() for each in planes)
    # All streams of a call decode to the same number of bytes.
    grain = library.lmz_gpu_grain()
    common = math.gcd(*(each.numel() for each in planes))
    size = next((each for each in range(STREAM_BYTES, 0, -grain) if common % each == 0), 0)
    if size == 0:
        raise UnsupportedError(f"tensors of no common multiple of {grain} elements")
    plain = torch.cat(planes)
    host = memoryview(plain.cpu().numpy())
    table = kernels.rans_table(kernels.histogram(host)) if shared else None

    def encode(begin: int) -> bytes:
        piece = bytes(host[begin : begin + size])
        coded = kernels.rans_encode_shared(piece, table) if shared else kernels.rans_encode(piece)
        if coded is None:
            raise RuntimeError("the encoder refused a stream")
        return coded

    with ThreadPoolExecutor() as pool:
        streams = list(pool.map(encode, range(0, len(host), size)))
    lengths = torch.tensor([len(each) for each in streams], dtype=torch.int64)
    offsets = torch.stack([torch.cumsum(lengths, 0) - lengths, lengths], 1).cuda()
    padded = bytearray(b"".join(streams)) + bytes(gpu.pad_bytes())
    coded = torch.frombuffer(padded, dtype=torch.uint8).cuda()
    header = torch.frombuffer(bytearray(table), dtype=torch.uint8).cuda() if shared else None

    def launcher(buffers: list[torch.Tensor], outputs: list[torch.Tensor]) -> Callable[[], None]:
        def launch() -> None:
            status = library.lmz_gpu_decode_batch_dev(
                None if header is None else header.data_ptr(),
                *(buffers[0].data_ptr(), buffers[1].data_ptr(), len(streams), size),
                *(outputs[0].data_ptr(), stream(), 0),
            )
            if status != 0:
                raise RuntimeError(library.lmz_gpu_last_error().decode())

        return launch

    table_bytes = 0 if table is None else len(table)
    return Coded(
        stored_bytes=int(lengths.sum()) + INDEX_BYTES * len(streams) + table_bytes + raw_bytes,
        buffers=[coded, offsets],
        launcher=launcher,
        expected=[plain],
        variant="exponents only" if raw_bytes else "",
    )

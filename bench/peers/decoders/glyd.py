"""Glyd (Surya Koritala, BUSL-1.1: free to test): its package packs, and its C interface (glyd_gpu.h) unpacks."""

from __future__ import annotations

import ctypes
import functools
import sys
from collections.abc import Callable
from ctypes import c_int64, c_uint32, c_void_p
from pathlib import Path

import torch

from . import Coded, Settings, UnsupportedError, as_bytes, package_version, stream

NAME = "glyd"

API_VERSION = 16
# A layout's arrays, and the parameters that glyd.json holds for it.
LAYOUTS = {
    "mma": (("data", "blocks", "block_base"), lambda pack: pack.tiers),
    "mma12": (("data", "exc", "exc_base"), lambda pack: [pack.hb]),
}


@functools.cache
def _library(folder: Path) -> ctypes.CDLL:
    library = ctypes.CDLL(str(folder / "glyd_gpu/libglyd_gpu_cuda13.so"))
    if library.glyd_gpu_api_version() != API_VERSION:
        raise RuntimeError(f"version {library.glyd_gpu_api_version()} of the C interface, not {API_VERSION}")
    library.glyd_gpu_error_string.restype = ctypes.c_char_p
    for layout in LAYOUTS:
        getattr(library, f"glyd_gpu_{layout}_unpack").argtypes = [
            *(c_void_p, c_void_p, c_void_p, c_void_p, c_int64, c_int64, c_int64, c_void_p, c_int64, c_void_p)
        ]
    return library


def version(folder: Path) -> str:
    sys.path.insert(0, str(folder))
    _library(folder)
    return package_version(folder, "glyd-gpu")


def settings(folder: Path, tensors: list[torch.Tensor], dtype: str, brief: bool) -> Settings:
    if dtype != "BF16":
        raise UnsupportedError("it has BF16 matrices only")
    for layout in LAYOUTS:
        yield layout, functools.partial(_encode, folder, tensors, layout)


def _encode(folder: Path, tensors: list[torch.Tensor], layout: str) -> Coded:
    from glyd_gpu import kernels

    packs = [getattr(kernels, f"pack_{layout}")(tensor) for tensor in tensors]
    arrays, parameters = LAYOUTS[layout]
    words = [(c_uint32 * len(parameters(pack)))(*parameters(pack)) for pack in packs]
    unpack = getattr(_library(folder), f"glyd_gpu_{layout}_unpack")

    def launcher(buffers: list[torch.Tensor], outputs: list[torch.Tensor]) -> Callable[[], None]:
        calls = [
            (
                *(each.data_ptr() for each in buffers[3 * i : 3 * i + 3]),
                *(ctypes.addressof(words[i]), pack.shape[1], 0, pack.shape[0], outputs[i].data_ptr(), 0),
            )
            for i, pack in enumerate(packs)
        ]

        def launch() -> None:
            for values in calls:
                error = unpack(*values, stream())
                if error:
                    raise RuntimeError(_library(folder).glyd_gpu_error_string(error).decode())

        return launch

    buffers = [getattr(pack, name) for pack in packs for name in arrays]
    return Coded(
        stored_bytes=sum(each.nbytes for each in buffers) + sum(ctypes.sizeof(each) for each in words),
        buffers=[each.cuda() for each in buffers],
        launcher=launcher,
        expected=as_bytes(tensors),
    )

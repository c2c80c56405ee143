"""Arrays to streams and back, on the host."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Literal, overload

import numpy as np

from . import _library
from ._arrays import bytes_of, numpy_array, torch_tensor
from ._errors import InvalidStreamError, needing
from ._stream import Stream, lengths

if TYPE_CHECKING:
    import torch

    from ._arrays import Array, Buffer
    from ._library import Profile

Framework = Literal["np", "pt"]


def encode(array: Array, profile: Profile = "small", base: Array | None = None) -> bytes:
    """Compresses an array, on the calling thread.

    Args:
        array: of NumPy or PyTorch, any shape, any dtype that a stream can hold: bool, integers and floats of 8 to 64
            bits, complex64, BF16 and FP8 (of PyTorch or ml_dtypes), float4_e2m1fn_x2 of PyTorch
        profile: "small" is for files; "fast" takes a little more space and decodes faster on a GPU; "direct" stores
            BF16 in 12 bits, as a GPU can multiply it, and is "fast" for other dtypes
        base: an array of the same dtype and shape, of which this one is a changed copy, as after a step of training.
            Only the changes are coded, whatever the profile, and whoever decodes them needs the base

    Returns:
        a stream of spec/FORMAT.md, which says dtype and shape by itself

    Raises:
        TypeError: not an array, or of a dtype that a stream cannot hold
        ValueError: no such profile; a base of another dtype or shape
    """
    data, name, shape = bytes_of(array)
    if base is not None:
        _library.options(profile)
        before, *description = bytes_of(base)
        if description != [name, shape]:
            raise ValueError(f"a base of {description[0]} {list(description[1])} for {name} {list(shape)}")
        return encode_bytes(data, name, shape, _library.EncodeOptions(), before).tobytes()
    return encode_bytes(data, name, shape, _library.options(profile)).tobytes()


def encode_bytes(
    data: np.ndarray,
    name: str,
    shape: tuple[int, ...],
    options: _library.EncodeOptions,
    base: np.ndarray | None = None,
) -> np.ndarray:
    """Compresses a tensor given as its bytes: uint8, one dimension; a base likewise. @returns its stream, likewise"""
    described = (name.encode(), _library.shape_array(shape), len(shape), ctypes.byref(options))
    # Memory that is not written to takes no space, so that the bound may be generous.
    stream = np.empty(_library.number("encode_bound", *described), np.uint8)
    written = ctypes.c_size_t()
    name_of_call, source = ("encode", [data]) if base is None else ("encode_against", [data, base])
    addresses = [part.ctypes.data for part in source]
    _library.call(
        name_of_call, *addresses, data.size, *described, stream.ctypes.data, stream.size, ctypes.byref(written)
    )
    return stream[: written.value]


@overload
def decode(stream: Buffer, framework: Literal["np"] = "np", base: Array | None = None) -> np.ndarray: ...


@overload
def decode(stream: Buffer, framework: Literal["pt"], base: Array | None = None) -> torch.Tensor: ...


def decode(stream: Buffer, framework: Framework = "np", base: Array | None = None) -> Array:
    """Decompresses a stream, on the calling thread, and checks every tile of it.

    Args:
        stream: bytes, or anything that has a buffer of them
        framework: "np" gives an array of NumPy (BF16 and FP8 as dtypes of ml_dtypes), "pt" a tensor of PyTorch
        base: the array that the stream was encoded against, of either framework; it is not changed

    Returns:
        a new array of the dtype and shape that were encoded, in host memory

    Raises:
        InvalidStreamError: not a stream, or a damaged one, or one that needs another base, or none; the message names
            the field or the tile
        TypeError: the framework lacks the dtype
        ValueError: no such framework
        ModuleNotFoundError: there is no PyTorch, and a tensor is asked for
    """
    if framework not in ("np", "pt"):
        raise ValueError(f"framework {framework!r} is neither 'np' nor 'pt'")
    output, name, shape = decode_bytes(np.frombuffer(stream, np.uint8), None if base is None else bytes_of(base))
    if framework == "np":
        return numpy_array(output, name, shape)
    with needing("torch"):
        import torch
    return torch_tensor(torch.from_numpy(output), name, shape)


Described = tuple[np.ndarray, str, tuple[int, ...]]
"""The bytes of an array (uint8, one dimension), and safetensors' name of its dtype, and its shape."""


def decode_bytes(stream: np.ndarray, base: Described | None = None) -> Described:
    """Decompresses a stream given as its bytes. @raises InvalidStreamError as `decode` does"""
    info = Stream(stream[: lengths(stream)[0]]).info
    output = np.empty(info.tensor_bytes, np.uint8)
    if base is None:
        _library.call("decode", stream.ctypes.data, stream.size, output.ctypes.data, output.size)
    else:
        before, name, shape = base
        if (name, shape) != (info.dtype, info.shape):
            raise InvalidStreamError(
                f"base: {name} {list(shape)} is given, and the stream is of {info.dtype} {list(info.shape)}"
            )
        _library.call(
            "decode_against", stream.ctypes.data, stream.size, before.ctypes.data, output.ctypes.data, output.size
        )
    return output, info.dtype, info.shape

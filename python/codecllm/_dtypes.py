"""The dtypes of safetensors, and what NumPy and PyTorch call them."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from . import _tables

if TYPE_CHECKING:
    import torch


class Dtype(NamedTuple):
    """A dtype that safetensors has."""

    name: str
    bits: int
    """Of one element of the shape; elements of a tensor fill whole bytes together."""
    numpy: str | None
    """NumPy's name for it, or that of ml_dtypes; None where neither keeps its elements as safetensors does."""
    torch: str | None
    has_streams: bool
    """Whether FORMAT.md has a code for it. A tensor of another dtype is kept as it is."""


# What NumPy and PyTorch call each dtype, in the order in which the writer of safetensors sorts tensors: by falling size
# of their elements.
_NAMES = {
    "U64": ("uint64", "uint64"),
    "I64": ("int64", "int64"),
    "F64": ("float64", "float64"),
    "C64": ("complex64", "complex64"),
    "F32": ("float32", "float32"),
    "U32": ("uint32", "uint32"),
    "I32": ("int32", "int32"),
    "BF16": ("bfloat16", "bfloat16"),
    "F16": ("float16", "float16"),
    "U16": ("uint16", "uint16"),
    "I16": ("int16", "int16"),
    "F8_E5M2FNUZ": ("float8_e5m2fnuz", "float8_e5m2fnuz"),
    "F8_E4M3FNUZ": ("float8_e4m3fnuz", "float8_e4m3fnuz"),
    "F8_E8M0": ("float8_e8m0fnu", "float8_e8m0fnu"),
    "F8_E4M3": ("float8_e4m3fn", "float8_e4m3fn"),
    "F8_E5M2": ("float8_e5m2", "float8_e5m2"),
    "I8": ("int8", "int8"),
    "U8": ("uint8", "uint8"),
    "F6_E3M2": (None, None),
    "F6_E2M3": (None, None),
    # PyTorch keeps two in an element.
    "F4": (None, "float4_e2m1fn_x2"),
    "BOOL": ("bool_", "bool"),
}
_STREAM_BITS = {name: bits for name, _, bits in _tables.DTYPES}
_OTHER_BITS = {"F8_E5M2FNUZ": 8, "F8_E4M3FNUZ": 8}
"""Of the dtypes that safetensors has and FORMAT.md has not."""

DTYPES = {
    name: Dtype(name, (_STREAM_BITS | _OTHER_BITS)[name], *names, has_streams=name in _STREAM_BITS)
    for name, names in _NAMES.items()
}
"""In the order of the writer of safetensors."""

# np.dtype(bool).name is "bool", which is no attribute of older NumPy.
_BY_NUMPY_NAME = {dtype.numpy.rstrip("_"): dtype for dtype in DTYPES.values() if dtype.numpy is not None}
_BY_TORCH_NAME = {dtype.torch: dtype for dtype in DTYPES.values() if dtype.torch is not None}


def name_of(dtype: Any) -> str:  # noqa: ANN401
    """safetensors' name of a dtype of NumPy or PyTorch, or of a name that is one already.

    Raises:
        TypeError: safetensors has no such dtype
    """
    if isinstance(dtype, str) and dtype in DTYPES:
        return dtype
    if isinstance(dtype, np.dtype | type):
        found = _BY_NUMPY_NAME.get(np.dtype(dtype).name)
    else:
        found = _BY_TORCH_NAME.get(str(dtype).removeprefix("torch."))
    if found is None:
        raise TypeError(f"there is no dtype {dtype} in safetensors")
    return found.name


def bytes_in(name: str, shape: tuple[int, ...]) -> int | None:
    """Bytes of a tensor; None where its elements do not fill whole bytes."""
    bits = DTYPES[name].bits * prod(shape)
    return None if bits % 8 else bits // 8


def torch_dtype(name: str) -> torch.dtype:
    """PyTorch's dtype.

    Raises:
        TypeError: PyTorch, or the version that is there, lacks it
    """
    import torch

    torch_name = DTYPES[name].torch if name in DTYPES else None
    dtype = None if torch_name is None else getattr(torch, torch_name, None)
    if dtype is None:
        raise TypeError(f"PyTorch {torch.__version__} has no dtype for {name}")
    return dtype

"""Arrays of NumPy and tensors of PyTorch as their bytes: a C-contiguous NumPy array of uint8 with one dimension,
little-endian.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, TypeGuard

import numpy as np

from ._dtypes import DTYPES, name_of, torch_dtype

if TYPE_CHECKING:
    import torch

    Array = np.ndarray | torch.Tensor
    Buffer = bytes | bytearray | memoryview | np.ndarray
    """Contiguous bytes."""


def is_torch(array: object) -> TypeGuard[torch.Tensor]:
    """Whether this is a tensor of PyTorch, which is not imported for it."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(array, torch.Tensor)


def bytes_of(array: Array) -> tuple[np.ndarray, str, tuple[int, ...]]:
    """An array's bytes, dtype and shape; without a copy where it is C-contiguous, little-endian and in host memory.

    Raises:
        TypeError: it is no array of NumPy or dense tensor of PyTorch, or has a dtype that safetensors lacks
    """
    if is_torch(array):
        return _bytes_of_tensor(array)
    # Indexing an array may give a scalar of NumPy: an array without dimensions.
    if not isinstance(array, np.ndarray | np.generic):
        raise TypeError(f"expected a NumPy array or a PyTorch tensor, not {type(array).__name__}")
    name = name_of(array.dtype)
    shape = array.shape
    contiguous = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
    return contiguous.reshape(-1).view(np.uint8), name, shape


def _bytes_of_tensor(tensor: torch.Tensor) -> tuple[np.ndarray, str, tuple[int, ...]]:
    import torch

    name, shape = describe_tensor(tensor)
    if tensor.layout != torch.strided:
        raise TypeError(f"expected a dense tensor, not one of layout {tensor.layout}")
    plain = tensor.detach().cpu().resolve_conj().resolve_neg().contiguous()
    return plain.reshape(-1).view(torch.uint8).numpy(), name, shape


def describe_tensor(tensor: torch.Tensor) -> tuple[str, tuple[int, ...]]:
    """The dtype and the shape that safetensors gives a tensor of PyTorch.

    Raises:
        TypeError: it has no such dtype
    """
    name = name_of(tensor.dtype)
    shape = tuple(tensor.shape)
    if name != "F4":
        return name, shape
    if not shape:
        raise TypeError("float4_e2m1fn_x2 holds two elements: a tensor without dimensions has no shape for them")
    return name, (*shape[:-1], 2 * shape[-1])


def numpy_array(data: np.ndarray, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Bytes as an array of NumPy, without a copy.

    Raises:
        TypeError: NumPy, and ml_dtypes if it is there, lack the dtype
    """
    numpy_name = DTYPES[name].numpy
    if numpy_name is None:
        raise TypeError(f"NumPy has no dtype for {name}")
    if not hasattr(np, numpy_name):
        try:
            import ml_dtypes
        except ImportError:
            raise TypeError(f"NumPy has no dtype for {name}: install ml_dtypes, or ask for framework 'pt'") from None
        return data.view(getattr(ml_dtypes, numpy_name)).reshape(shape)
    return data.view(numpy_name).reshape(shape)


def torch_tensor(data: torch.Tensor, name: str, shape: tuple[int, ...]) -> torch.Tensor:
    """Bytes, a tensor of uint8 with one dimension, as a tensor of the dtype, without a copy.

    Raises:
        TypeError: PyTorch, or the version that is there, lacks the dtype
    """
    dtype = torch_dtype(name)
    # The elements of F4 count by twos.
    shape = (*shape[:-1], shape[-1] // 2) if name == "F4" else shape
    # PyTorch refuses to see no bytes at all as something else.
    return data.view(dtype).reshape(shape) if data.numel() > 0 else data.new_empty(shape, dtype=dtype)

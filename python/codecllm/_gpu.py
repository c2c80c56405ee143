"""A device as the library sees it, and the memory of PyTorch on it, checked."""

from __future__ import annotations

import ctypes
import threading
from functools import cache
from typing import TYPE_CHECKING

from . import _library
from ._errors import needing

if TYPE_CHECKING:
    import torch


class Gpu:
    """A device, which one thread at a time may use, but for opening plans."""

    def __init__(self, device: int) -> None:
        self.device = device
        self.lock = threading.Lock()
        self.handle = ctypes.c_void_p()
        _library.call("gpu_open", device, ctypes.byref(self.handle))


# One for each device, as long as the process lives.
_opened = cache(Gpu)


def gpu_of(device: int | None) -> Gpu:
    """A device by CUDA's number of it, or PyTorch's current one.

    Raises:
        UnavailableError: a build without CUDA, or no such device
        ImportError: there is no PyTorch, and no number
    """
    if device is not None:
        return _opened(device)
    with needing("torch"):
        import torch
    return _opened(torch.cuda.current_device() if torch.cuda.is_available() else 0)


def check_device(tensor: torch.Tensor, device: int, what: str) -> None:
    if tensor.device.type != "cuda" or tensor.device.index != device:
        raise ValueError(f"{what}: on {tensor.device}, where cuda:{device} is needed")


def check_memory(tensor: torch.Tensor, size: int, device: int, what: str) -> None:
    check_device(tensor, device, what)
    if not tensor.is_contiguous() or tensor.nbytes < size:
        raise ValueError(f"{what}: {tensor.nbytes} bytes where {size} are needed")

"""What NumPy and PyTorch do differently with the tensors of a checkpoint: how they are made from bytes, where they go,
and how they are indexed.
"""

from __future__ import annotations

import operator
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Generic, TypeVar, Union

import numpy as np

from . import _loading
from ._errors import needing
from ._loading import Loaded
from ._stored import StoredTensor

if TYPE_CHECKING:
    import torch

Device = Union[str, int, "torch.device"]
Kind = TypeVar("Kind")
"""np.ndarray or torch.Tensor."""


class Framework(ABC, Generic[Kind]):
    """A framework whose tensors are of some `Kind`."""

    is_on_host = True
    """Whether tensors go to host memory."""

    @abstractmethod
    def array(self, tensor: StoredTensor, loaded: Loaded) -> Kind:
        """What was loaded, in host memory and without a copy. @raises FileError where the framework lacks the dtype"""

    @abstractmethod
    def repeated(self, numbers: np.ndarray, shape: tuple[int, ...]) -> Kind:
        """Numbers as if they filled this shape, without memory for it."""

    @abstractmethod
    def part(self, tensor: StoredTensor, array: Kind, index: Any) -> Kind:  # noqa: ANN401
        """`array[index]`, mostly a view, with those indices, and errors, that safetensors has."""

    @abstractmethod
    def placed(self, part: Kind, memory: np.ndarray, may_stay: bool) -> Kind:
        """A part as the user gets it: contiguous, and where it is wanted.

        Args:
            memory: what it is a view of, if it is one: uint8, one dimension
            may_stay: whether it may stay there
        """

    def load(self, tensors: list[StoredTensor]) -> dict[str, Kind]:
        """Reads tensors, and decodes those that are streams. @raises FileError where one is damaged"""
        return {
            tensor.name: self.array(tensor, loaded)
            for tensor, loaded in zip(tensors, _loading.load(tensors), strict=True)
        }


class Numpy(Framework[np.ndarray]):
    """NumPy, whose indices safetensors takes apart by itself: numbers, slices that go forward, and an ellipsis."""

    def array(self, tensor: StoredTensor, loaded: Loaded) -> np.ndarray:
        return tensor.as_numpy(*loaded)

    def repeated(self, numbers: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        return np.broadcast_to(numbers, shape)

    def part(self, tensor: StoredTensor, array: np.ndarray, index: Any) -> np.ndarray:  # noqa: ANN401
        try:
            return np.asarray(array[_checked_index(index, array.shape)])
        except IndexError as error:
            raise tensor.error(error) from None

    def placed(self, part: np.ndarray, memory: np.ndarray, may_stay: bool) -> np.ndarray:
        return part if may_stay and part.flags.c_contiguous else part.copy()


def _checked_index(index: Any, shape: tuple[int, ...]) -> Any:  # noqa: ANN401
    """An index of those that safetensors allows. @raises IndexError for others that NumPy would"""
    if isinstance(index, list) and not index:
        return index
    parts = list(index) if isinstance(index, tuple) else [index]
    dimension = 0
    for at, part in enumerate(parts):
        if part is Ellipsis:
            dimension = len(shape) - (len(parts) - at - 1)
            continue
        size = shape[dimension] if 0 <= dimension < len(shape) else 0
        dimension += 1
        if isinstance(part, slice):
            _check_slice(part, size)
        elif hasattr(part, "__index__") and np.ndim(part) == 0:
            # True is 1.
            parts[at] = operator.index(part)
        else:
            raise IndexError(f"expected numbers, slices and an ellipsis, not {type(part).__name__}")
    return tuple(parts)


def _check_slice(part: slice, size: int) -> None:
    if part.step is not None and operator.index(part.step) < 1:
        raise IndexError(f"a slice with step {part.step}, which is not positive")
    for end, most in ((part.start, max(size - 1, 0)), (part.stop, size)):
        if end is not None and operator.index(end) > most:
            raise IndexError(f"a slice with {end} in a dimension of {size}")


class Torch(Framework["torch.Tensor"]):
    """PyTorch, whose indices safetensors hands on to it.

    Raises:
        ModuleNotFoundError: there is no PyTorch
        RuntimeError: PyTorch knows no such device
    """

    def __init__(self, device: Device) -> None:
        self._device = as_device(device)
        self.is_on_host = self._device.type == "cpu"

    def array(self, tensor: StoredTensor, loaded: Loaded) -> torch.Tensor:
        import torch

        return tensor.as_torch(torch.from_numpy(loaded.data), loaded.dtype, loaded.shape)

    def repeated(self, numbers: np.ndarray, shape: tuple[int, ...]) -> torch.Tensor:
        import torch

        return torch.from_numpy(numbers).expand(shape)

    def part(self, tensor: StoredTensor, array: torch.Tensor, index: Any) -> torch.Tensor:  # noqa: ANN401
        return array[index]

    def placed(self, part: torch.Tensor, memory: np.ndarray, may_stay: bool) -> torch.Tensor:
        import torch

        at = part.data_ptr() - memory.ctypes.data
        if may_stay and part.is_contiguous() and 0 < part.nbytes <= memory.size - at and at >= 0:
            # Who saves it must not save all of what it is a part of.
            part = torch.from_numpy(memory[at : at + part.nbytes]).view(part.dtype).view(part.shape)
        else:
            part = part.clone(memory_format=torch.contiguous_format)
        return part.to(self._device)

    def load(self, tensors: list[StoredTensor]) -> dict[str, torch.Tensor]:
        if self._device.type == "cuda":
            return self._load_cuda(tensors)
        return {name: tensor.to(self._device) for name, tensor in super().load(tensors).items()}

    def _load_cuda(self, tensors: list[StoredTensor]) -> dict[str, torch.Tensor]:
        from ._cuda_loading import add_layers, load_cuda

        found = [(tensor.name, tensor.found_base()) for tensor in tensors]
        # Each its own, since it is written over.
        bases = [
            base._replace(name=name, copy_of=base.copy_of or base.name) for name, base in found if base is not None
        ]
        loaded = load_cuda(tensors, self._device, self._load_cuda(bases) if bases else {})
        in_layers = [tensor for tensor in tensors if any(layer.is_wanted for layer in tensor.layers)]
        add_layers([(tensor, loaded[tensor.name]) for tensor in in_layers])
        return loaded


def as_device(device: Device) -> torch.device:
    """PyTorch's device; a number is that of a CUDA device."""
    with needing("torch"):
        import torch
    return torch.device("cuda", device) if isinstance(device, int) else torch.device(device)

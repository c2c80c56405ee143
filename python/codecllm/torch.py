"""Checkpoints for PyTorch, compressed or not, as `safetensors.torch` has them: changing one import is all it takes.

::

    from codecllm.torch import load_file, safe_open, save_file
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from types import EllipsisType, TracebackType
from typing import Literal

import torch

from . import _library, _loading
from ._arrays import bytes_of, describe_tensor
from ._checkpoint import Checkpoint, StoredTensor
from ._cuda_loading import load_cuda
from ._library import Profile
from ._modules import compress_module
from ._saving import Source, write_checkpoint

__all__ = ["compress_module", "load_file", "safe_open", "save_file"]

Device = str | int | torch.device
Index = int | slice | EllipsisType | None


def load_file(filename: str | os.PathLike[str], device: Device = "cpu") -> dict[str, torch.Tensor]:
    """Loads a checkpoint.

    On a CUDA device streams are decoded there: reading the file, copying what was read through pinned memory and
    decoding go on at the same time. All of it is done when this returns.

    Args:
        filename: a safetensors file, compressed by CodecLLM or not; or a directory with such a `model.safetensors`, or
            with shards and their `model.safetensors.index.json`
        device: where the tensors shall be: "cpu", "cuda", "cuda:1", 1, ...

    Returns:
        name to tensor, in the order of the file: dtypes, shapes and bits of the original

    Raises:
        FileError: the file is damaged, or no checkpoint, or PyTorch lacks a dtype; the message names file and tensor
        OSError: it cannot be read
        UnavailableError: a CUDA device is asked for, and there is none, or the build has no CUDA
    """
    with safe_open(filename, "pt", device) as checkpoint:
        return checkpoint.get_tensors()


def save_file(
    tensors: dict[str, torch.Tensor],
    filename: str | os.PathLike[str],
    metadata: dict[str, str] | None = None,
    *,
    profile: Profile = "small",
) -> None:
    """Saves tensors as a compressed checkpoint.

    It is what `codecllm compress` makes of the file that `safetensors.torch.save_file` writes, byte for byte, and what
    `codecllm decompress` gives that file back from. (With several entries of metadata safetensors does not write
    the same file every time; here they keep their order.) The file appears under its name only when it is complete.

    Args:
        tensors: dense and contiguous, on any device, none of which shares memory with another
        filename: of the file, which is replaced if it exists
        metadata: text that is kept in the header
        profile: "small" is for files; "fast" takes a little more space and decodes faster on a GPU; "direct" stores
            BF16 in 12 bits, as a GPU can multiply it, and is "fast" for other dtypes

    Raises:
        ValueError: tensors that cannot be saved; the message names them
        RuntimeError: tensors that share memory
        TypeError: a dtype that safetensors lacks, or metadata that are not text
        FileError: metadata with keys of CodecLLM's own, or more of them than a header can hold; a vector of uint8 that
            is itself a stream
        OSError: the file cannot be written
    """
    options = _library.options(profile)
    if not isinstance(tensors, dict):
        raise ValueError(f"expected a dict of tensors, not {type(tensors).__name__}")
    for name, tensor in tensors.items():
        if not isinstance(tensor, torch.Tensor):
            raise ValueError(f"{name!r}: expected a tensor, not {type(tensor).__name__}")
        if tensor.layout != torch.strided:
            raise ValueError(f"{name!r}: a tensor of layout {tensor.layout}; to_dense() makes it one that can be saved")
        if not tensor.is_contiguous():
            raise ValueError(f"{name!r}: not contiguous; contiguous() makes it a tensor that can be saved")
    for key, value in (metadata or {}).items():
        for text in (key, value):
            if not isinstance(text, str):
                raise TypeError(f"metadata: expected text, not {type(text).__name__} for {key!r}")
    _check_apart(tensors)
    write_checkpoint(filename, [_source(name, tensor) for name, tensor in tensors.items()], metadata, options)


def as_device(device: Device) -> torch.device:
    """A device; a number is that of a CUDA device."""
    return torch.device("cuda", device) if isinstance(device, int) else torch.device(device)


def _source(name: str, tensor: torch.Tensor) -> Source:
    dtype, shape = describe_tensor(tensor)
    on_gpu = tensor.is_cuda and _library.has_cuda()
    return Source(name, dtype, shape, tensor.nbytes, lambda: bytes_of(tensor)[0], tensor if on_gpu else None)


def _check_apart(tensors: dict[str, torch.Tensor]) -> None:
    """Tensors that share memory would come back as tensors that do not."""
    ends: dict[torch.device, tuple[int, str]] = {}
    for name, tensor in sorted(tensors.items(), key=lambda item: item[1].data_ptr()):
        if tensor.nbytes == 0:
            continue
        end, other = ends.get(tensor.device, (0, ""))
        if tensor.data_ptr() < end:
            raise RuntimeError(f"{other!r} and {name!r} share memory; clone() one of them, or save only one")
        ends[tensor.device] = (tensor.data_ptr() + tensor.nbytes, name)


class safe_open:  # noqa: N801
    """Opens a checkpoint whose tensors are read one by one. A context manager, which closes it.

    ::

        with safe_open("model.safetensors", framework="pt", device="cuda") as checkpoint:
            for name in checkpoint.keys():
                tensor = checkpoint.get_tensor(name)

    Args:
        filename: as in `load_file`
        framework: "pt"
        device: where the tensors shall be

    Raises:
        FileError, OSError: as in `load_file`
        ValueError: another framework
    """

    def __init__(
        self, filename: str | os.PathLike[str], framework: Literal["pt"] = "pt", device: Device = "cpu"
    ) -> None:
        if framework != "pt":
            raise ValueError(f"framework {framework!r}: this is the module for 'pt'")
        self._device = as_device(device)
        self._checkpoint = Checkpoint(filename)

    def keys(self) -> list[str]:
        """The names of the tensors, sorted."""
        return sorted(self._checkpoint.tensors)

    def offset_keys(self) -> list[str]:
        """The names of the tensors, in the order in which they lie in the file."""
        tensors = self._checkpoint.tensors.values()
        return [tensor.name for tensor in sorted(tensors, key=lambda tensor: (tensor.file.path, tensor.position))]

    def metadata(self) -> dict[str, str] | None:
        """The original's `__metadata__`; None where it has none."""
        return None if self._checkpoint.metadata is None else dict(self._checkpoint.metadata)

    def get_tensor(self, name: str) -> torch.Tensor:
        """Reads a tensor.

        Returns:
            a new tensor on the device

        Raises:
            FileError: there is none of this name, it is damaged, or PyTorch lacks its dtype
            UnavailableError: as in `load_file`
        """
        return self._load([self._stored(name)])[name]

    def get_tensors(self) -> dict[str, torch.Tensor]:
        """Reads all tensors; raises what `get_tensor` raises."""
        return self._load(self._checkpoint.tensors.values())

    def get_slice(self, name: str) -> TensorSlice:
        """A tensor of which a part is to be read. @raises FileError where there is none of this name"""
        return TensorSlice(self, self._stored(name))

    def _stored(self, name: str) -> StoredTensor:
        return self._checkpoint.tensor(name)

    def _load(self, tensors: Iterable[StoredTensor]) -> dict[str, torch.Tensor]:
        if self._device.type == "cuda":
            return load_cuda(list(tensors), self._device)
        tensors = list(tensors)
        return {
            tensor.name: tensor.as_torch(torch.from_numpy(data), dtype, shape).to(self._device)
            for tensor, (data, dtype, shape) in zip(tensors, _loading.load(tensors), strict=True)
        }

    def __enter__(self) -> safe_open:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._checkpoint.close()


class TensorSlice:
    """A tensor of which a part is to be read; `safe_open.get_slice` gives it."""

    def __init__(self, checkpoint: safe_open, stored: StoredTensor) -> None:
        self._checkpoint = checkpoint
        self._stored = stored
        self._dtype, self._shape = stored.described()

    def get_shape(self) -> list[int]:
        """The shape of the whole tensor."""
        return list(self._shape)

    def get_dtype(self) -> str:
        """safetensors' name of its dtype: "BF16", "F32", "I8", ..."""
        return self._dtype

    def __getitem__(self, index: Index | tuple[Index, ...]) -> torch.Tensor:
        """Reads a part, as PyTorch indexes tensors with numbers, slices and ellipses.

        Returns:
            a new contiguous tensor on the device. Of a stream all is decoded for it

        Raises:
            FileError: the tensor is damaged
            IndexError: an index that the tensor does not have
        """
        return self._checkpoint.get_tensor(self._stored.name)[index].clone(memory_format=torch.contiguous_format)

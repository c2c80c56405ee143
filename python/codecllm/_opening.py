"""Checkpoints whose tensors are read one by one, or in parts: what safetensors calls `safe_open`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from math import prod
from types import EllipsisType, TracebackType
from typing import TYPE_CHECKING, Any, Generic, Literal, overload

import numpy as np

from ._bases import Paths
from ._checkpoint import Checkpoint
from ._errors import FileError
from ._frameworks import Device, Framework, Kind, Numpy, Torch
from ._input import InputBytes
from ._limits import check_declared, free_memory
from ._loading import Bands
from ._stored import StoredTensor

if TYPE_CHECKING:
    import torch

    Index = int | slice | EllipsisType | None | Sequence[Any] | np.ndarray | torch.Tensor

Backend = Literal["mmap", "pread"]
"""How safetensors reads a file. Here both mean the same: threads that read ahead."""

_TORCH = ("pt", "torch", "pytorch")
_NUMPY = ("np", "numpy")
_BACKENDS = ("mmap", "pread")


class safe_open(Generic[Kind]):  # noqa: N801
    """Opens a checkpoint whose tensors are read one by one. A context manager, which closes it.

    ::

        with safe_open("model.safetensors", framework="pt", device="cuda") as checkpoint:
            for name in checkpoint.keys():
                tensor = checkpoint.get_tensor(name)

    Args:
        filename: a safetensors file, compressed by CodecLLM or not; or a directory with such a `model.safetensors`, or
            with shards and their `model.safetensors.index.json`
        framework: "pt" (or "torch", "pytorch") for tensors of PyTorch, "np" (or "numpy") for arrays of NumPy
        device: where the tensors shall be: "cpu", "cuda", "cuda:1", 1, ...; "cpu" for NumPy
        backend: "mmap" or "pread", as safetensors has them; it makes no difference
        max_bytes: what is read at once may have so many bytes decompressed; by default, of compressed tensors, what is
            free of the memory, if they go there, and no more than 100 times what they take now, or 1 GB
        base: the checkpoint that it was coded against, if it was: a file, or a directory that holds it; or several,
            where that one was coded against another
        bits: of tensors in layers, so many bits of each word are enough, or as many as there are up to where the next
            layer begins: a coarse checkpoint. The file may still be growing, if these layers are there

    Raises:
        IncompleteError: with `bits`, they have not come yet
        FileError: the file is damaged, or no checkpoint; what it was coded against is not given; or there is no such
            framework, device or backend
        OSError: it cannot be read
        ModuleNotFoundError: there is no PyTorch, and its tensors are asked for
    """

    @overload
    def __init__(
        self: safe_open[torch.Tensor],
        filename: str | os.PathLike[str],
        framework: Literal["pt", "torch", "pytorch"] = "pt",
        device: Device = "cpu",
        *,
        backend: Backend = "mmap",
        max_bytes: int | None = None,
        base: Paths | None = None,
        bits: int | None = None,
    ) -> None: ...

    @overload
    def __init__(
        self: safe_open[np.ndarray],
        filename: str | os.PathLike[str],
        framework: Literal["np", "numpy"],
        device: Device = "cpu",
        *,
        backend: Backend = "mmap",
        max_bytes: int | None = None,
        base: Paths | None = None,
        bits: int | None = None,
    ) -> None: ...

    def __init__(
        self,
        filename: str | os.PathLike[str],
        framework: str = "pt",
        device: Device = "cpu",
        *,
        backend: str = "mmap",
        max_bytes: int | None = None,
        base: Paths | None = None,
        bits: int | None = None,
    ) -> None:
        self._path = os.fspath(filename)
        self._framework = self._framework_of(framework, device)
        if self._text("backend", backend) not in _BACKENDS:
            raise FileError(self._path, f"backend {backend!r} is none of {', '.join(_BACKENDS)}")
        self._max_bytes = max_bytes
        self._opened: Checkpoint | None = Checkpoint(self._path, base, bits)

    def _text(self, what: str, value: str) -> str:
        if not isinstance(value, str):
            raise TypeError(f"{what}: expected text, not {type(value).__name__}")
        return value

    def _framework_of(self, framework: str, device: Device) -> Framework[Any]:
        if self._text("framework", framework) in _NUMPY:
            if str(device) != "cpu":
                raise FileError(self._path, f"device {device}: arrays of NumPy are in host memory")
            return Numpy()
        if framework not in _TORCH:
            raise FileError(self._path, f"framework {framework!r} is none of {', '.join(_TORCH + _NUMPY)}")
        try:
            return Torch(device)
        except RuntimeError as error:
            raise FileError(self._path, f"device {device!r}: {error}") from None

    @property
    def _checkpoint(self) -> Checkpoint:
        if self._opened is None:
            raise FileError(self._path, "is closed")
        return self._opened

    def keys(self) -> list[str]:
        """The names of the tensors, sorted."""
        return sorted(self._checkpoint.tensors)

    def offset_keys(self) -> list[str]:
        """The names of the tensors, in the order of the original's data; of a directory, shard by shard."""
        return list(self._checkpoint.tensors)

    def metadata(self) -> dict[str, str] | None:
        """The original's `__metadata__`; None where it has none."""
        metadata = self._checkpoint.metadata
        return None if metadata is None else dict(metadata)

    def get_tensor(self, name: str) -> Kind:
        """Reads a tensor.

        Returns:
            a new one on the device

        Raises:
            FileError: there is none of this name, it is damaged, or the framework lacks its dtype
            UnavailableError: a CUDA device is asked for, and there is none, or the build has no CUDA
        """
        return _load([self._checkpoint.tensor(name)], self._framework, self._max_bytes)[name]

    def get_tensors(self) -> dict[str, Kind]:
        """Reads all tensors, in the order of `offset_keys`; raises what `get_tensor` raises."""
        return _load(list(self._checkpoint.tensors.values()), self._framework, self._max_bytes)

    def get_slice(self, name: str) -> TensorSlice[Kind]:
        """A tensor of which parts are to be read, also after this is closed.

        Raises:
            FileError: there is none of this name, or it is damaged
        """
        return TensorSlice(self._checkpoint, self._checkpoint.tensor(name), self._framework)

    def __enter__(self) -> safe_open[Kind]:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Its files are closed when the last slice is gone, too.
        self._opened = None


class TensorSlice(Generic[Kind]):
    """A tensor of which parts are read; `safe_open.get_slice` gives it."""

    def __init__(self, checkpoint: Checkpoint, tensor: StoredTensor, framework: Framework[Kind]) -> None:
        # Keeps its files open.
        self._checkpoint = checkpoint
        self._tensor = tensor
        self._framework = framework
        self._bands = Bands(tensor)

    def get_shape(self) -> list[int]:
        """The shape of the whole tensor."""
        return list(self._bands.shape)

    def get_dtype(self) -> str:
        """safetensors' name of its dtype: "BF16", "F32", "I8", ..."""
        return self._bands.dtype

    def __getitem__(self, index: Index) -> Kind:
        """Reads a part: only those bands (H rows of tiles) of a stream are decoded that hold a row of it.

        Args:
            index: whatever PyTorch takes; for NumPy what safetensors takes: numbers, slices with positive steps that
                end within the tensor, and an ellipsis

        Returns:
            a new contiguous tensor on the device

        Raises:
            FileError: the tensor is damaged; or, for NumPy, an index that the tensor does not have
            IndexError, ValueError, TypeError: what PyTorch raises for an index that the tensor does not have
        """
        framework = self._framework
        # Memory for all of it: what is not read of it takes none.
        memory = self._bands.memory()
        whole: Any = framework.array(self._tensor, memory)
        # Which rows are part of it? The index itself says so, if each element of a tensor is the number of its row.
        shape = tuple(whole.shape)
        row_count = prod(shape[:-1])
        numbers = np.arange(row_count).reshape(shape[:-1] + (1,) * bool(shape))
        rows = np.asarray(framework.part(self._tensor, framework.repeated(numbers, shape), index))
        # Where numbers are repeated without memory, once is enough.
        once = tuple(slice(1) if stride == 0 else slice(None) for stride in rows.strides)
        read = self._bands.read_rows(rows[once].reshape(-1), row_count, memory.data)
        part: Any = framework.part(self._tensor, whole, index)
        return framework.placed(part, memory.data, may_stay=2 * part.nbytes >= read)


def load_bytes(data: bytes, framework: Framework[Kind], max_bytes: int | None = None) -> dict[str, Kind]:
    """Loads a checkpoint that is in memory. @raises FileError as `safe_open` and `get_tensors` do"""
    return _load(list(Checkpoint(InputBytes(data)).tensors.values()), framework, max_bytes)


def _load(tensors: list[StoredTensor], framework: Framework[Kind], max_bytes: int | None) -> dict[str, Kind]:
    if max_bytes is not None or any(tensor.is_stream for tensor in tensors):
        check_declared(tensors, max_bytes, free_memory() if framework.is_on_host else None)
    return framework.load(tensors)

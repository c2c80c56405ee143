"""Open checkpoints: a file or a directory of them, compressed or not, and where each tensor lies."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from . import _container
from ._arrays import numpy_array, torch_tensor
from ._closing import Closing
from ._errors import FileError, InvalidStreamError, quoted
from ._input import InputBytes, InputFile
from ._safetensors import Header, TensorEntry, by_place, read_header
from ._stream import FIXED_BYTES, Stream, StreamInfo, lengths, tensor_bytes

if TYPE_CHECKING:
    import torch

INDEX_NAME = "model.safetensors.index.json"
FILE_NAME = "model.safetensors"

_USUAL_FRONT_BYTES = 2**16
"""Most fronts are shorter, and so read at once."""
_MAX_FRONT_BYTES = 2**29
"""The front of a tensor of 5 GiB takes a few MiB; more than this is refused before it is allocated."""


class StoredTensor(NamedTuple):
    """A tensor of a checkpoint: its bytes, or its stream."""

    name: str
    file: InputFile
    position: int
    """Where it begins in the file."""
    size: int
    """Its bytes there."""
    is_stream: bool
    dtype: str
    """As the file has it: U8 for a stream, which says itself what it holds."""
    shape: tuple[int, ...]
    original: TensorEntry | None
    """As the original's header has it; None where that is rebuilt from what the streams say."""

    def front(self) -> np.ndarray:
        """The front of its stream (uint8).

        Raises:
            FileError: it is none, or is longer or shorter than the tensor that holds it
        """
        begin = self.file.read(self.position, min(self.size, _USUAL_FRONT_BYTES))
        try:
            front, data = lengths(begin)
        except InvalidStreamError as error:
            raise self.error(error) from None
        if front + data != self.size:
            raise self.error(f"a stream of {front + data} bytes in a tensor of {self.size}")
        if front > _MAX_FRONT_BYTES:
            raise self.error(f"a front of {front} bytes, more than {_MAX_FRONT_BYTES}")
        return begin[:front] if front <= begin.size else self.file.read(self.position, front)

    def declared_bytes(self) -> int:
        """Bytes of the tensor, as the first 64 bytes of its stream say. @raises FileError where that is none"""
        if not self.is_stream:
            return self.size
        try:
            return tensor_bytes(self.file.read(self.position, min(self.size, FIXED_BYTES)))
        except InvalidStreamError as error:
            raise self.error(error) from None

    def open_stream(self) -> Stream:
        """Its stream, of which the front is read and checked. @raises FileError where it is damaged"""
        front = self.front()
        try:
            stream = Stream(front)
        except InvalidStreamError as error:
            raise self.error(error) from None
        self.check(stream.info)
        return stream

    def check(self, info: StreamInfo) -> None:
        """Checks what its stream says against what the file says. @raises FileError where that cannot be"""
        if self.size >= info.tensor_bytes:
            raise self.error(f"a stream of {self.size} bytes for a tensor of {info.tensor_bytes}")
        if self.original is not None:
            _container.check_same(self.original, info.dtype, info.shape, info.tensor_bytes, self.file.path)

    def as_torch(self, data: torch.Tensor, dtype: str, shape: tuple[int, ...]) -> torch.Tensor:
        """Its bytes (uint8, one dimension) as a tensor of what it holds, without a copy.

        Raises:
            FileError: PyTorch lacks the dtype
        """
        try:
            return torch_tensor(data, dtype, shape)
        except TypeError as error:
            raise self.error(error) from None

    def as_numpy(self, data: np.ndarray, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
        """The same for NumPy."""
        try:
            return numpy_array(data, dtype, shape)
        except TypeError as error:
            raise self.error(error) from None

    def error(self, problem: object) -> FileError:
        """An error that names the file and the tensor."""
        return FileError(self.file.path, f"{quoted(self.name)}: {problem}")


class Checkpoint(Closing):
    """An open checkpoint: a file, compressed or not, or a directory of shards with their index.

    Args:
        source: a safetensors file, or its bytes; or a directory with model.safetensors.index.json and the shards that
            it names, or with model.safetensors

    Raises:
        FileError: something in it cannot be understood; the message names file, tensor and field
        OSError: a file cannot be read
    """

    metadata: dict[str, str] | None
    """The original's; of a directory, that of all shards together. None where there is none."""
    tensors: dict[str, StoredTensor]
    """In the order of the original's data, shard by shard."""

    def __init__(self, source: str | os.PathLike[str] | InputBytes) -> None:
        self._files: list[InputFile] = []
        self.path = source.path if isinstance(source, InputBytes) else os.fspath(source)
        self.metadata = None
        self.tensors = {}
        try:
            if isinstance(source, InputBytes):
                self._open(source)
            elif os.path.isdir(self.path):
                self._open_directory()
            else:
                self._open(InputFile(self.path))
        except BaseException:
            self.close()
            raise

    def tensor(self, name: str) -> StoredTensor:
        """The tensor of a name. @raises FileError where there is none"""
        if not isinstance(name, str):
            raise TypeError(f"expected the name of a tensor, not {type(name).__name__}")
        if name not in self.tensors:
            raise FileError(self.path, f"has no tensor {quoted(name)}")
        return self.tensors[name]

    def _open_directory(self) -> None:
        index = os.path.join(self.path, INDEX_NAME)
        if not os.path.exists(index):
            file = os.path.join(self.path, FILE_NAME)
            if not os.path.exists(file):
                raise FileError(self.path, f"a directory with neither {FILE_NAME} nor {INDEX_NAME}")
            self._open(InputFile(file))
            return
        wanted = _read_index(index)
        for shard in sorted(set(wanted.values())):
            self._open(InputFile(os.path.join(self.path, shard)))
        for name, shard in wanted.items():
            if name not in self.tensors or os.path.basename(self.tensors[name].file.path) != shard:
                raise FileError(index, f"{quoted(name)} is not in {shard}")

    def _open(self, file: InputFile) -> None:
        self._files.append(file)
        header, container, tensors = read_checkpoint(file)
        ordered = sorted(tensors, key=lambda tensor: (tensor.position, tensor.size))
        if container is not None:
            places = {entry.name: place for place, entry in enumerate(by_place(container.original.values()))}
            # Where the original's header is rebuilt from this one, that is in the order of its keys.
            ordered = sorted(tensors, key=lambda tensor: places.get(tensor.name, 0))
        for tensor in ordered:
            if tensor.name in self.tensors:
                raise FileError(file.path, f"{quoted(tensor.name)} is in another shard, too")
            self.tensors[tensor.name] = tensor
        entries = _container.original_metadata(header)
        if entries:
            self.metadata = {**(self.metadata or {}), **entries}

    def close(self) -> None:
        while self._files:
            self._files.pop().close()


def read_checkpoint(file: InputFile) -> tuple[Header, _container.Container | None, list[StoredTensor]]:
    """What the header of a file says, compressed or not; None for the container where it is not.

    Raises:
        FileError: it cannot be understood; the message names the tensor or the field
    """
    header, data_start = read_header(file)
    container = None
    if _container.is_compressed(header):
        container = _container.read_container(header, data_start, file.path)
        _check_kept(header, data_start, container, file)
    tensors = [
        StoredTensor(
            tensor.name,
            file,
            data_start + tensor.start,
            tensor.size,
            container is not None and tensor.name in container.streams,
            tensor.dtype,
            tensor.shape,
            container.original.get(tensor.name) if container is not None else None,
        )
        for tensor in header.tensors
    ]
    return header, container, tensors


def _check_kept(header: Header, data_start: int, container: _container.Container, file: InputFile) -> None:
    """Checks that no kept tensor is a stream that `codecllm.streams` does not count."""
    for tensor in header.tensors:
        if tensor.name in container.streams or not _container.is_vector_of_bytes(tensor):
            continue
        begin = file.read(data_start + tensor.start, min(tensor.size, len(_container.STREAM_START))).tobytes()
        if _container.is_itself_stream(tensor, begin):
            raise FileError(
                file.path, f"{quoted(tensor.name)} is a stream, and {quoted(_container.STREAMS_KEY)} does not count it"
            )


def _read_index(path: str) -> dict[str, str]:
    """The name of the shard that holds each tensor."""
    with open(path, encoding="utf-8") as file:
        try:
            weight_map = json.load(file)["weight_map"]
        except (ValueError, KeyError, TypeError, RecursionError):
            raise FileError(path, 'is not JSON with a "weight_map"') from None
    if not isinstance(weight_map, dict):
        raise FileError(path, '"weight_map" is not an object')
    for name, shard in weight_map.items():
        # A shard lies beside its index, and nowhere else.
        if not isinstance(shard, str) or os.path.basename(shard) != shard:
            raise FileError(path, f'"weight_map", {quoted(name)} is not the name of a file')
    return weight_map

"""What makes a safetensors file a CodecLLM file: some of its tensors are streams, and its `__metadata__` says how to
get the original file back (spec/FORMAT.md, section 11). The other entries of `__metadata__` are the original's.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

import numpy as np

from . import _library
from ._codec import Stream, encode_bytes, lengths
from ._dtypes import DTYPES, torch_tensor
from ._errors import FileError, InvalidStreamError, quoted
from ._safetensors import (
    LENGTH_BYTES,
    MAX_HEADER_BYTES,
    Header,
    InputFile,
    TensorEntry,
    by_place,
    format_header,
    read_header,
)

if TYPE_CHECKING:
    import torch

_PREFIX = "codecllm."
_VERSION_KEY = f"{_PREFIX}version"
_STREAMS_KEY = f"{_PREFIX}streams"
_SHA256_KEY = f"{_PREFIX}sha256"
_HEADER_KEY = f"{_PREFIX}header"
_VERSION = "1"

_DATA_ALIGNMENT = 64
"""Data begin at a multiple of this."""
_FIXED_BYTES = 64
"""Bytes of the fixed part of a stream: no stream is shorter."""

INDEX_NAME = "model.safetensors.index.json"
FILE_NAME = "model.safetensors"

# ------------------------------------------------------------------------------------------------------------ reading

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

    def described(self) -> tuple[str, tuple[int, ...]]:
        """The original's dtype and shape.

        Raises:
            FileError: its stream is damaged
        """
        if not self.is_stream:
            return self.dtype, self.shape
        info = self.open_stream().info
        return info.dtype, info.shape

    def open_stream(self) -> Stream:
        """Its stream, of which the front is read and checked. @raises FileError where it is damaged"""
        front = self.front()
        try:
            return Stream(front)
        except InvalidStreamError as error:
            raise self.error(error) from None

    def as_torch(self, data: torch.Tensor, dtype: str, shape: tuple[int, ...]) -> torch.Tensor:
        """Its bytes (uint8, one dimension) as a tensor of what it holds, without a copy.

        Raises:
            FileError: PyTorch lacks the dtype
        """
        try:
            return torch_tensor(data, dtype, shape)
        except TypeError as error:
            raise self.error(error) from None

    def error(self, problem: object) -> FileError:
        """An error that names the file and the tensor."""
        return FileError(self.file.path, f"{quoted(self.name)}: {problem}")


class Checkpoint:
    """An open checkpoint: a file, compressed or not, or a directory of shards with their index.

    Args:
        path: a safetensors file; or a directory with model.safetensors.index.json and the shards that it names, or with
            model.safetensors

    Raises:
        FileError: something in it cannot be understood; the message names file, tensor and field
        OSError: a file cannot be read
    """

    metadata: dict[str, str] | None
    """The original's; of a directory, that of all shards together. None where there is none."""
    tensors: dict[str, StoredTensor]
    """In the order of their keys."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)
        self.metadata = None
        self.tensors = {}
        self._files: list[InputFile] = []
        try:
            if os.path.isdir(self.path):
                self._open_directory()
            else:
                self._open_file(self.path)
        except BaseException:
            self.close()
            raise

    def tensor(self, name: str) -> StoredTensor:
        """The tensor of a name. @raises FileError where there is none"""
        if name not in self.tensors:
            raise FileError(self.path, f"has no tensor {quoted(name)}")
        return self.tensors[name]

    def _open_directory(self) -> None:
        index = os.path.join(self.path, INDEX_NAME)
        if not os.path.exists(index):
            file = os.path.join(self.path, FILE_NAME)
            if not os.path.exists(file):
                raise FileError(self.path, f"a directory with neither {FILE_NAME} nor {INDEX_NAME}")
            self._open_file(file)
            return
        wanted = _read_index(index)
        for shard in sorted(set(wanted.values())):
            self._open_file(os.path.join(self.path, shard))
        for name, shard in wanted.items():
            if name not in self.tensors or os.path.basename(self.tensors[name].file.path) != shard:
                raise FileError(index, f"{quoted(name)} is not in {shard}")

    def _open_file(self, path: str) -> None:
        file = InputFile(path)
        self._files.append(file)
        header, data_start = read_header(file)
        streams = _stream_names(header, file.path)
        for tensor in header.tensors:
            if tensor.name in self.tensors:
                raise FileError(file.path, f"{quoted(tensor.name)} is in another shard, too")
            is_stream = tensor.name in streams
            if is_stream and (tensor.dtype != "U8" or len(tensor.shape) != 1):
                raise FileError(file.path, f"{quoted(tensor.name)} should hold a stream, and is not a vector of U8")
            self.tensors[tensor.name] = StoredTensor(
                tensor.name, file, data_start + tensor.start, tensor.size, is_stream, tensor.dtype, tensor.shape
            )
        ours = {key: value for key, value in (header.metadata or {}).items() if not key.startswith(_PREFIX)}
        if ours:
            self.metadata = {**(self.metadata or {}), **ours}

    def close(self) -> None:
        while self._files:
            self._files.pop().close()


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


def _stream_names(header: Header, path: str) -> set[str]:
    """The tensors of a file that are streams: none where it is not compressed."""
    metadata = header.metadata or {}
    if not any(key.startswith(_PREFIX) for key in metadata):
        return set()

    def entry(key: str, pattern: str) -> str:
        if key not in metadata:
            raise FileError(path, f'{quoted(key)} is missing in its "__metadata__"')
        if not re.match(pattern, metadata[key]):
            raise FileError(path, f'{quoted(key)} in its "__metadata__" is damaged')
        return metadata[key]

    version = entry(_VERSION_KEY, "")
    if version != _VERSION:
        raise FileError(path, f"its version is {quoted(version)}; this program reads {_VERSION}")
    streams = int(entry(_STREAMS_KEY, r"(0|[1-9][0-9]{0,8})\Z"))
    if streams > len(header.tensors):
        raise FileError(path, f'{quoted(_STREAMS_KEY)} in its "__metadata__" is more than it has tensors')
    return {tensor.name for tensor in by_place(header.tensors)[:streams]}


# ------------------------------------------------------------------------------------------------------------ writing


class Source(NamedTuple):
    """A tensor to be written."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    size: int
    data: Callable[[], np.ndarray]
    """Gives its bytes: uint8, one dimension."""


def write_checkpoint(
    path: str | os.PathLike[str],
    sources: Iterable[Source],
    metadata: dict[str, str] | None,
    options: _library.EncodeOptions,
) -> None:
    """Writes what `codecllm compress` would write for the file that safetensors would write.

    The file appears under its name only when it is complete; one that was there is replaced.

    Raises:
        FileError: a header that would be longer than readers accept, or metadata that have keys of ours
        OSError: the file cannot be written
    """
    path = os.fspath(path)
    for key in metadata or {}:
        if key.startswith(_PREFIX):
            raise FileError(path, f"{quoted(key)} in its metadata: keys that begin with {_PREFIX} are CodecLLM's own")
    # The writer of safetensors sorts by falling size of the elements, then by name.
    ranks = {name: rank for rank, name in enumerate(DTYPES)}
    ordered = sorted(sources, key=lambda source: (ranks[source.dtype], source.name.encode()))
    at = 0
    original = []
    for source in ordered:
        original.append(TensorEntry(source.name, source.dtype, source.shape, at, at + source.size))
        at += source.size
    header = format_header(metadata, original)
    header += b" " * (-len(header) % 8)
    # Other programs leave out metadata without entries, and would not rebuild this header.
    description = header.decode() if metadata == {} else "compact"
    space = _HeaderSpace(path, metadata or {}, description, original)

    temporary = os.path.join(os.path.dirname(path), f".{os.path.basename(path)}.tmp-{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        with os.fdopen(descriptor, "wb") as output:
            output.seek(space.data_start)
            sha256 = hashlib.sha256(len(header).to_bytes(LENGTH_BYTES, "little") + header)
            stored = _write_tensors(output, ordered, original, sha256, options)
            # Also where there are no data after the header.
            output.truncate(space.data_start + max((entry.end for entry, _ in stored), default=0))
            output.seek(0)
            output.write(space.fill(stored, sha256.hexdigest()))
            output.flush()
            os.fsync(descriptor)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    _sync_directory(os.path.dirname(path) or ".")


def _sync_directory(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


Stored = tuple[TensorEntry, bool]
"""A tensor with its place in the new file's data, and whether it is a stream there."""


def _write_tensors(
    output: BinaryIO,
    sources: list[Source],
    original: list[TensorEntry],
    sha256: hashlib._Hash,
    options: _library.EncodeOptions,
) -> list[Stored]:
    """Writes streams, then kept tensors, and hashes the original on the way. @returns them in the original's order"""
    stored: list[Stored | None] = [None] * len(sources)
    kept = []
    at = 0
    threads = os.cpu_count() or 1
    pending: deque[tuple[int, Future[np.ndarray | None], Future[None]]] = deque()

    def finish() -> None:
        nonlocal at
        index, encoded, hashed = pending.popleft()
        stream = encoded.result()
        hashed.result()
        if stream is None:
            kept.append(index)
            return
        output.write(stream.data)
        stored[index] = (original[index]._replace(start=at, end=at + stream.size), True)
        at += stream.size

    with ThreadPoolExecutor(threads) as pool, ThreadPoolExecutor(1) as hasher:
        try:
            for index, source in enumerate(sources):
                data = source.data()
                pending.append(
                    (index, pool.submit(_stream_of, source, data, options), hasher.submit(sha256.update, data.data))
                )
                if len(pending) > threads:
                    finish()
            while pending:
                finish()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise

    # Larger elements first keeps everything aligned.
    for index in sorted(kept, key=lambda index: -_element_bits(sources[index])):
        data = sources[index].data()
        output.write(data.data)
        stored[index] = (original[index]._replace(start=at, end=at + data.size), False)
        at += data.size
    return stored  # type: ignore[return-value]


def _element_bits(source: Source) -> int:
    # Where there are no elements to count, other programs do not know how large those of a dtype without streams are.
    dtype = DTYPES[source.dtype]
    return dtype.bits if dtype.has_streams or source.size > 0 else 0


def _stream_of(source: Source, data: np.ndarray, options: _library.EncodeOptions) -> np.ndarray | None:
    """The stream of a tensor, or None where there is none that is smaller."""
    if data.size <= _FIXED_BYTES or len(source.shape) > 255 or not DTYPES[source.dtype].has_streams:
        return None
    stream = encode_bytes(data, source.dtype, source.shape, options)
    return stream if stream.size < data.size else None


class _HeaderSpace:
    """Room for the header of a compressed file, kept before it is known which tensors become streams."""

    data_start: int
    """Where the data begin in the file."""

    def __init__(self, path: str, metadata: dict[str, str], description: str, original: list[TensorEntry]) -> None:
        self._metadata = metadata
        self._description = description
        data_bytes = max((tensor.end for tensor in original), default=0)
        # Nothing becomes longer, so no offset has more digits than this.
        widest = []
        for tensor in original:
            kept = tensor._replace(start=data_bytes, end=data_bytes)
            stream = _as_stream(tensor)._replace(start=data_bytes, end=data_bytes)
            widest.append((max(kept, stream, key=lambda entry: len(format_header(None, [entry]))), False))
        # As many streams as digits may be needed for.
        size = LENGTH_BYTES + len(self._text(widest, "0" * 64)) + len(str(len(original)))
        self.data_start = -(-size // _DATA_ALIGNMENT) * _DATA_ALIGNMENT
        if self.data_start - LENGTH_BYTES > MAX_HEADER_BYTES:
            raise FileError(path, f"its header would be longer than the {MAX_HEADER_BYTES} bytes that readers accept")

    def _text(self, stored: list[Stored], sha256: str) -> bytes:
        metadata = {
            **self._metadata,
            _VERSION_KEY: _VERSION,
            _STREAMS_KEY: str(sum(is_stream for _, is_stream in stored)),
            _SHA256_KEY: sha256,
            _HEADER_KEY: self._description,
        }
        return format_header(metadata, [_as_stream(entry) if is_stream else entry for entry, is_stream in stored])

    def fill(self, stored: list[Stored], sha256: str) -> bytes:
        """What stands before the data. `stored` is in the order of the original's keys."""
        length = (self.data_start - LENGTH_BYTES).to_bytes(LENGTH_BYTES, "little")
        return (length + self._text(stored, sha256)).ljust(self.data_start, b" ")


def _as_stream(tensor: TensorEntry) -> TensorEntry:
    return tensor._replace(dtype="U8", shape=(tensor.size,))

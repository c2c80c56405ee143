"""Tensors into a compressed checkpoint, byte for byte as `codecllm compress` writes it."""

from __future__ import annotations

import hashlib
import io
import os
import secrets
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import BinaryIO, NamedTuple, TypeVar

import numpy as np

from . import _container, _library
from ._codec import encode_bytes
from ._dtypes import DTYPES
from ._errors import FileError, quoted
from ._processors import processors
from ._safetensors import LENGTH_BYTES, MAX_HEADER_BYTES, TensorEntry, format_header

Kind = TypeVar("Kind")

_FIXED_BYTES = 64
"""Bytes of the fixed part of a stream: no stream is shorter."""


class Source(NamedTuple):
    """A tensor to be written."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    size: int
    data: Callable[[], np.ndarray]
    """Gives its bytes: uint8, one dimension."""


def sources_of(tensors: dict[str, Kind], source_of: Callable[[str, Kind], Source]) -> list[Source]:
    """What a user gave, as sources. @raises ValueError, TypeError where it is no dict of named tensors"""
    if not isinstance(tensors, dict):
        raise ValueError(f"expected a dict of tensors, not {type(tensors).__name__}")
    for name in tensors:
        if not isinstance(name, str):
            raise TypeError(f"expected names of tensors, not {type(name).__name__} for {name!r}")
    return [source_of(name, tensor) for name, tensor in tensors.items()]


def write_checkpoint(
    path: str | os.PathLike[str],
    sources: Iterable[Source],
    metadata: dict[str, str] | None,
    options: _library.EncodeOptions,
) -> None:
    """Writes what `codecllm compress` would write for the file that safetensors would write.

    The file appears under its name only when it is complete; one that was there is replaced.

    Raises:
        FileError: a header that would be longer than readers accept, metadata that have keys of the format, or a tensor
            that is itself a stream
        TypeError: metadata that are not text
        OSError: the file cannot be written
    """
    path = os.fspath(path)
    with _replacing(path) as output:
        _write(path, output, sources, metadata, options)


def checkpoint_bytes(
    sources: Iterable[Source], metadata: dict[str, str] | None, options: _library.EncodeOptions
) -> bytes:
    """What `write_checkpoint` would write."""
    output = io.BytesIO()
    _write("<bytes>", output, sources, metadata, options)
    return output.getvalue()


@contextmanager
def _replacing(path: str) -> Iterator[BinaryIO]:
    """A new file, which appears under its name at the end."""
    temporary = os.path.join(os.path.dirname(path), f".{os.path.basename(path)}.tmp-{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        with os.fdopen(descriptor, "wb") as output:
            yield output
            output.flush()
            os.fsync(descriptor)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    _sync_directory(os.path.dirname(path) or ".")


def _write(
    path: str,
    output: BinaryIO,
    sources: Iterable[Source],
    metadata: dict[str, str] | None,
    options: _library.EncodeOptions,
) -> None:
    """Writes a checkpoint to `output`, which is at its beginning. `path` is what errors call it."""
    _check_text(metadata)
    for key in metadata or {}:
        if key.startswith(_container.PREFIX):
            raise FileError(
                path, f"{quoted(key)} in its metadata: keys that begin with {_container.PREFIX} are CodecLLM's own"
            )
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

    output.seek(space.data_start)
    sha256 = hashlib.sha256(len(header).to_bytes(LENGTH_BYTES, "little") + header)
    stored = _write_tensors(path, output, ordered, original, sha256, options)
    # All of it stands before the data, also where there are none.
    output.seek(0)
    output.write(space.fill(stored, sha256.hexdigest()))


def _check_text(metadata: dict[str, str] | None) -> None:
    if metadata is not None and not isinstance(metadata, dict):
        raise TypeError(f"metadata: expected a dict, not {type(metadata).__name__}")
    for key, value in (metadata or {}).items():
        for text in (key, value):
            if not isinstance(text, str):
                raise TypeError(f"metadata: expected text, not {type(text).__name__} for {key!r}")


def _sync_directory(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_tensors(
    path: str,
    output: BinaryIO,
    sources: list[Source],
    original: list[TensorEntry],
    sha256: hashlib._Hash,
    options: _library.EncodeOptions,
) -> list[_container.Stored]:
    """Writes streams, then kept tensors, and hashes the original on the way. @returns them in the original's order"""
    stored: dict[str, _container.Stored] = {}
    kept = []
    at = 0
    threads = processors()
    pending: deque[tuple[TensorEntry, Future[np.ndarray | None], Future[None]]] = deque()

    def finish() -> None:
        nonlocal at
        entry, encoded, hashed = pending.popleft()
        stream = encoded.result()
        hashed.result()
        if stream is None:
            kept.append(entry)
            return
        output.write(stream.data)
        stored[entry.name] = (entry._replace(start=at, end=at + stream.size), True)
        at += stream.size

    with ThreadPoolExecutor(threads) as pool, ThreadPoolExecutor(1) as hasher:
        try:
            for source, entry in zip(sources, original, strict=True):
                data = source.data()
                if _container.is_itself_stream(entry, data[: len(_container.STREAM_START)].tobytes()):
                    raise FileError(path, f"{quoted(entry.name)} is itself a stream")
                pending.append(
                    (entry, pool.submit(_stream_of, source, data, options), hasher.submit(sha256.update, data.data))
                )
                if len(pending) > threads:
                    finish()
            while pending:
                finish()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise

    data_of = {source.name: source.data for source in sources}
    for entry in _container.kept_order(kept):
        data = data_of[entry.name]()
        output.write(data.data)
        stored[entry.name] = (entry._replace(start=at, end=at + data.size), False)
        at += data.size
    return [stored[entry.name] for entry in original]


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
            stream = _container.as_stream(tensor)._replace(start=data_bytes, end=data_bytes)
            widest.append((max(kept, stream, key=lambda entry: len(format_header(None, [entry]))), False))
        # As many streams as digits may be needed for.
        size = LENGTH_BYTES + len(self._text(widest, "0" * 64)) + len(str(len(original)))
        self.data_start = -(-size // _container.DATA_ALIGNMENT) * _container.DATA_ALIGNMENT
        if self.data_start - LENGTH_BYTES > MAX_HEADER_BYTES:
            raise FileError(path, f"its header would be longer than the {MAX_HEADER_BYTES} bytes that readers accept")

    def _text(self, stored: list[_container.Stored], sha256: str) -> bytes:
        return _container.header_text(self._metadata, stored, self._description, sha256)

    def fill(self, stored: list[_container.Stored], sha256: str) -> bytes:
        """What stands before the data. `stored` is in the order of the original's keys."""
        length = (self.data_start - LENGTH_BYTES).to_bytes(LENGTH_BYTES, "little")
        return (length + self._text(stored, sha256)).ljust(self.data_start, b" ")

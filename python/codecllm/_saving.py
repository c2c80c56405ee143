"""Tensors into a compressed checkpoint, byte for byte as `codecllm compress` writes it."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, cast

import numpy as np

from . import _container, _library
from ._codec import encode_bytes
from ._dtypes import DTYPES
from ._errors import FileError, UnavailableError, quoted
from ._safetensors import LENGTH_BYTES, MAX_HEADER_BYTES, TensorEntry, format_header
from ._tables import PROFILES

if TYPE_CHECKING:
    import torch

    from ._cuda_saving import StreamEncoder

    _Bytes = np.ndarray | torch.Tensor
    _Parts = list[_Bytes]
    """A stream: what follows each other in the file."""

_FIXED_BYTES = 64
"""Bytes of the fixed part of a stream: no stream is shorter."""
_GROUP_BYTES = 256 * 2**20
"""A GPU encodes tensors of about so many bytes at a time, and needs as much memory again."""


class Source(NamedTuple):
    """A tensor to be written."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    size: int
    data: Callable[[], np.ndarray]
    """Gives its bytes: uint8, one dimension."""
    tensor: torch.Tensor | None = None
    """Itself, if it lies on a GPU, to be encoded there."""

    def bytes(self) -> _Bytes:
        """Its bytes where they are."""
        return self.data() if self.tensor is None else self.tensor

    @property
    def place(self) -> int | None:
        """The number of its GPU."""
        return None if self.tensor is None else self.tensor.get_device()


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
        OSError: the file cannot be written
    """
    path = os.fspath(path)
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

    temporary = os.path.join(os.path.dirname(path), f".{os.path.basename(path)}.tmp-{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        with os.fdopen(descriptor, "wb") as output:
            output.seek(space.data_start)
            sha256 = hashlib.sha256(len(header).to_bytes(LENGTH_BYTES, "little") + header)
            stored = _write_tensors(path, output, ordered, original, sha256, options)
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
    threads = os.cpu_count() or 1
    pending: deque[tuple[TensorEntry, Future[_Parts | None], Future[None]]] = deque()

    def finish() -> None:
        nonlocal at
        entry, encoded, hashed = pending.popleft()
        stream = encoded.result()
        hashed.result()
        if stream is None:
            kept.append(entry)
            return
        write(entry, stream, True)

    def write(entry: TensorEntry, parts: _Parts, is_stream: bool) -> None:
        nonlocal at
        end = at
        for part in parts:
            _hand_over(part, output.write)
            end += part.nbytes
        stored[entry.name] = (entry._replace(start=at, end=end), is_stream)
        at = end

    entries = iter(original)
    with _Workers(threads, sha256, options) as workers:
        for group in _groups(sources):
            for source, (encoded, hashed) in zip(group, workers.start(group), strict=True):
                pending.append((next(entries), encoded, hashed))
                if _is_itself_stream(source, pending[-1][0]):
                    raise FileError(path, f"{quoted(source.name)} is itself a stream")
            # Of what a GPU has encoded, no more than one group waits there while the next one is encoded.
            while len(pending) > (threads if group[0].tensor is None else len(group)):
                finish()
        while pending:
            finish()

    by_name = {source.name: source for source in sources}
    for entry in _container.kept_order(kept):
        write(entry, [by_name[entry.name].bytes()], False)
    return [stored[entry.name] for entry in original]


def _is_itself_stream(source: Source, entry: TensorEntry) -> bool:
    if not _container.is_vector_of_bytes(entry):
        return False
    return _container.is_itself_stream(entry, source.data()[: len(_container.STREAM_START)].tobytes())


def _groups(sources: list[Source]) -> Iterator[list[Source]]:
    """One tensor after another; those that lie on one GPU some at a time, which is faster."""
    group: list[Source] = []
    for source in sources:
        if group:
            fits = sum(other.size for other in group) + source.size <= _GROUP_BYTES
            if source.tensor is None or source.place != group[-1].place or not fits:
                yield group
                group = []
        group.append(source)
    if group:
        yield group


class _Workers:
    """Threads that encode and hash, and what encodes on GPUs."""

    def __init__(self, threads: int, sha256: hashlib._Hash, options: _library.EncodeOptions) -> None:
        self._sha256 = sha256
        self._options = options
        self._processors = ThreadPoolExecutor(threads)
        self._hasher = ThreadPoolExecutor(1)
        self._encoder: StreamEncoder | None = None

    def start(self, group: list[Source]) -> list[tuple[Future[_Parts | None], Future[None]]]:
        """Begins with tensors. @returns for each its stream, if there is one, and what is done when it is hashed"""
        if group[0].tensor is None:
            data = group[0].data()
            encoded = self._processors.submit(_stream_of, group[0], data, self._options)
            return [(encoded, self._hasher.submit(self._sha256.update, data.data))]
        from ._cuda_saving import wait_for

        wait_for(group[0].tensor)
        hashed = [self._hasher.submit(_hand_over, source.bytes(), self._sha256.update) for source in group]
        return list(zip(self._encode_there(group), hashed, strict=True))

    def _encode_there(self, group: list[Source]) -> list[Future[_Parts | None]]:
        """Encodes tensors on the GPU where they lie."""
        from ._cuda_saving import StreamEncoder

        if self._encoder is None:
            self._encoder = StreamEncoder(cast("_library.Profile", PROFILES[self._options.profile]))
        tensors = [source.tensor for source in group if source.tensor is not None and _may_be_stream(source)]
        try:
            streams = iter(self._encoder.encode(tensors))
        except (UnavailableError, MemoryError):
            # The GPU is too old, or too full: files can be saved nevertheless.
            return [self._processors.submit(_stream_of, source, source.data(), self._options) for source in group]
        encoded: list[Future[_Parts | None]] = [Future() for _ in group]
        for source, result in zip(group, encoded, strict=True):
            stream = next(streams) if _may_be_stream(source) else None
            result.set_result(None if stream is None else [np.frombuffer(stream.front, np.uint8), stream.data])
        return encoded

    def __enter__(self) -> _Workers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for pool in (self._processors, self._hasher):
            pool.shutdown(cancel_futures=True)
        if self._encoder is not None:
            self._encoder.close()


def _hand_over(data: _Bytes, use: Callable[[Any], object]) -> None:
    """Gives bytes to a function, those on a GPU piece by piece."""
    if isinstance(data, np.ndarray):
        use(data)
        return
    from ._cuda_saving import feed

    feed(use, data)


def _may_be_stream(source: Source) -> bool:
    return source.size > _FIXED_BYTES and len(source.shape) <= 255 and DTYPES[source.dtype].has_streams


def _stream_of(source: Source, data: np.ndarray, options: _library.EncodeOptions) -> _Parts | None:
    """The stream of a tensor, or None where there is none that is smaller."""
    if not _may_be_stream(source):
        return None
    stream = encode_bytes(data, source.dtype, source.shape, options)
    return [stream] if stream.size < data.size else None


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

"""A compressed file gives its original back, byte for byte, or nothing: what is decoded is compared with the original's
SHA-256 before it gets its name.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from functools import partial
from typing import NamedTuple

import numpy as np

from . import _container
from ._bases import Bases
from ._errors import FileError, InvalidStreamError, raise_problems
from ._input import InputFile
from ._output import OutputFile
from ._safetensors import LENGTH_BYTES, Header, TensorEntry, by_place
from ._stored import StoredTensor, StoredTensors, read_checkpoint
from ._stream import Stream, StreamInfo
from ._work import SLICE_BYTES, Slice, Work, batches_of, slices_of


class Restorable(NamedTuple):
    """A tensor as the original has it, and as it is stored."""

    entry: TensorEntry
    stored: StoredTensor


class Compressed(NamedTuple):
    """A compressed checkpoint, as far as it can be known without decoding."""

    file: InputFile
    header: bytes
    """The original's, with the spaces that fill it up."""
    container: _container.Container
    """What its header says."""
    original_bytes: int
    """Bytes of the original."""
    stored: StoredTensors
    tensors: list[Restorable]
    """In the order of the original's keys."""


def read_compressed(file: InputFile, bits: int | None = None) -> Compressed:
    """Reads a header and the fronts of all streams.

    Args:
        bits: as in `read_checkpoint`

    Raises:
        FileError: it is not a CodecLLM file, or what it says cannot be true
    """
    header, container, stored = read_checkpoint(file, bits)
    if container is None:
        raise FileError(file.path, "not a CodecLLM file")
    return read_fronts(header, container, stored)


def read_fronts(
    header: Header,
    container: _container.Container,
    stored: StoredTensors,
    look: Callable[[str, Stream, np.ndarray], None] = lambda *_: None,
) -> Compressed:
    """Reads the fronts of all streams, each once.

    Args:
        look: is given the name of each tensor that is a stream and no copy, the stream, and its front

    Raises:
        FileError: what they say cannot be true
    """
    infos: dict[str, StreamInfo] = {}

    def described(tensor: StoredTensor) -> TensorEntry:
        if not tensor.is_stream:
            return TensorEntry(tensor.name, tensor.dtype, tensor.shape, 0, tensor.size)
        of = tensor.copy_of or tensor.name
        if of not in infos:
            front = tensor.front()
            stream = tensor.open_front(front)
            look(of, stream, front)
            infos[of] = stream.info
            tensor.check_layers(stream.info)
        info = infos[of]
        tensor.check(info)
        return TensorEntry(tensor.name, info.dtype, info.shape, 0, info.tensor_bytes)

    tensors = list(stored.values())
    entries = _container.in_a_row(map(described, tensors))
    if container.original:
        # Streams have been compared with what it says.
        entries = list(container.original.values())
        text = container.description.encode()
    else:
        text = _container.writer_header(container.description, _container.original_metadata(header), entries)
    return Compressed(
        stored.file,
        text,
        container,
        LENGTH_BYTES + len(text) + sum(entry.size for entry in entries),
        stored,
        [Restorable(entry, tensor) for entry, tensor in zip(entries, tensors, strict=True)],
    )


def restore(
    compressed: Compressed, output: OutputFile | None, bases: Bases, work: Work, is_coarse: bool = False
) -> None:
    """Decodes everything in the order of the original, and writes and finishes it where there is an output.

    Args:
        bases: where to look for what it is coded against
        is_coarse: whether the file may be growing, and not all of its layers be there

    Raises:
        FileError: anything is not as it should be
        OSError: the file cannot be written
    """
    file, header, container, original_bytes, stored, _ = compressed
    bases.resolve(stored, container)
    tensors = [Restorable(entry, stored[entry.name]) for entry, _ in compressed.tensors]
    sha256 = hashlib.sha256()
    at = 0
    damaged: dict[str, FileError] = {}

    def guard(name: str, work: Callable[[], None]) -> None:
        try:
            work()
        except FileError as error:
            # Where nothing is written, one damaged tensor does not keep the others from being checked.
            if output is not None:
                raise
            damaged.setdefault(name, error)

    def put(data: memoryview) -> None:
        nonlocal at
        sha256.update(data)
        if output is not None:
            output.write(at, data)
        at += len(data)

    put(memoryview(len(header).to_bytes(LENGTH_BYTES, "little") + header))
    for data, stored_bytes in work.in_order(
        _pieces_of(tensors, guard), lambda piece: piece.size, lambda piece: _start(piece, work)
    ):
        put(data.data)
        work.progress(stored_bytes)
    if not is_coarse:
        file.check_unchanged()
    raise_problems([damaged[tensor.entry.name] for tensor in tensors if tensor.entry.name in damaged])
    if not is_coarse and (at != original_bytes or sha256.hexdigest() != container.sha256):
        raise FileError(file.path, "what it decodes to does not have the SHA-256 of the original")
    if output is not None:
        output.finish(original_bytes, sha256.hexdigest())


class _Piece(NamedTuple):
    """Consecutive bytes of the original."""

    size: int
    stored_bytes: int
    """What it takes of the compressed file."""
    restore: Callable[[np.ndarray], None]
    """Fills memory of its size."""


def _start(piece: _Piece, work: Work) -> Future[tuple[np.ndarray, int]]:
    def run() -> tuple[np.ndarray, int]:
        data = np.empty(piece.size, np.uint8)
        piece.restore(data)
        return data, piece.stored_bytes

    return work.submit(run)


_Guard = Callable[[str, Callable[[], None]], None]
"""Runs what is done with a tensor, whose name it gets."""


def _pieces_of(tensors: list[Restorable], guard: _Guard) -> Iterator[_Piece]:
    stored = {tensor.entry.name: tensor.stored for tensor in tensors}
    ordered = by_place(tensor.entry for tensor in tensors)
    for batch in batches_of(ordered, lambda entry: entry.size):
        first = stored[batch[0].name]
        if batch[0].size <= SLICE_BYTES:
            yield _small_piece([(entry, stored[entry.name]) for entry in batch], guard)
        elif first.is_stream:
            yield from _stream_pieces(first, batch[0].size, guard)
        else:
            yield from _kept_pieces(first, guard)


def _small_piece(batch: list[tuple[TensorEntry, StoredTensor]], guard: _Guard) -> _Piece:
    start = batch[0][0].start

    def restore(output: np.ndarray) -> None:
        for entry, tensor in batch:
            part = output[entry.start - start : entry.end - start]
            guard(entry.name, partial(tensor.read_into, part))

    return _Piece(batch[-1][0].end - start, sum(tensor.size_with_layers for _, tensor in batch), restore)


def _kept_pieces(tensor: StoredTensor, guard: _Guard) -> Iterator[_Piece]:
    def read(start: int, output: np.ndarray) -> None:
        guard(tensor.name, partial(tensor.read_kept, output, start))

    for at in range(0, tensor.size, SLICE_BYTES):
        size = min(SLICE_BYTES, tensor.size - at)
        yield _Piece(size, size, partial(read, at))


def _stream_pieces(tensor: StoredTensor, size: int, guard: _Guard) -> Iterator[_Piece]:
    def guarded(restore: Callable[[np.ndarray], None], output: np.ndarray) -> None:
        guard(tensor.name, partial(restore, output))

    stream = tensor.open_stream()
    if stream.info.against_base or tensor.layers:
        yield _Piece(size, tensor.size_with_layers, partial(guarded, tensor.read_into))
        return
    data_at = tensor.position + stream.info.front_bytes
    for part in slices_of(stream.info.tensor_bytes, stream.bands, stream.band_bytes):
        start, end = stream.data_range(part.first_band, part.band_count)
        decode = partial(_decode, tensor, stream, part, data_at + start, end - start)
        yield _Piece(part.size, end - start, partial(guarded, decode))


def _decode(tensor: StoredTensor, stream: Stream, part: Slice, position: int, size: int, output: np.ndarray) -> None:
    data = tensor.file.read(position, size)
    try:
        stream.decode(part.first_band, part.band_count, data, output)
    except InvalidStreamError as error:
        raise tensor.damage(error) from None


def damaged_streams(file: InputFile) -> list[FileError | OSError]:
    """What is wrong with the streams of a file of which not even all fronts can be read."""
    problems: list[FileError | OSError] = []
    for tensor in read_checkpoint(file)[2].values():
        if not tensor.is_stream or tensor.copy_of is not None:
            continue
        try:
            info = tensor.open_stream().info
            if not info.against_base:
                tensor.read_into(np.empty(info.tensor_bytes, np.uint8))
        except (FileError, OSError) as error:
            problems.append(error)
    return problems

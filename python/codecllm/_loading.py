"""Tensors of a checkpoint into host memory: read and decoded by many threads, each a few bands at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

import numpy as np

from ._container import CHECKED_BYTES
from ._errors import InvalidStreamError
from ._processors import processors
from ._stored import StoredTensor
from ._stream import Stream

_PIECE_BYTES = 4 * 2**20
"""Threads work on about so many bytes of a tensor at a time,"""
_LEAST_PIECE_BYTES = 512 * 2**10
"""or on fewer, if that is all there is to do; but for less than this no thread is worth starting."""
_KEPT_BAND_BYTES = 64 * 2**10
"""What is not compressed has no bands of its own: it is read in these, or in the pieces that have checks."""


class Loaded(NamedTuple):
    """A tensor in host memory."""

    data: np.ndarray
    """Its bytes: uint8, one dimension."""
    dtype: str
    shape: tuple[int, ...]


def load(tensors: Iterable[StoredTensor]) -> list[Loaded]:
    """Reads tensors and decodes those that are streams.

    Returns:
        them in the same order

    Raises:
        FileError: a stream is damaged, or a file ends too early; the message names file and tensor
    """
    loaded = []

    def pieces() -> Iterator[Callable[[], None]]:
        for tensor in tensors:
            bands = Bands(tensor)
            loaded.append(bands.memory())
            yield from bands.pieces(loaded[-1].data, 0, bands.count)

    _run(pieces())
    return loaded


def _run(pieces: Iterable[Callable[[], None]]) -> None:
    """Has threads do the work, each piece from when it is known."""
    pool = ThreadPoolExecutor(processors())
    try:
        running = [pool.submit(piece) for piece in pieces]
        for future in running:
            future.result()
    finally:
        # After an error, pieces that have not begun are not worth beginning.
        pool.shutdown(cancel_futures=True)


class Bands:
    """A tensor of a checkpoint as bands: bytes that follow one another, each band read without the others.

    Raises:
        FileError: its stream is damaged
    """

    def __init__(self, tensor: StoredTensor) -> None:
        self._tensor = tensor
        self._stream: Stream | None = None
        self.dtype, self.shape, self._size = tensor.dtype, tensor.shape, tensor.size
        self._band_bytes = _KEPT_BAND_BYTES if tensor.checks is None else CHECKED_BYTES
        self._is_whole = False
        if tensor.is_stream:
            self._stream = tensor.open_stream()
            self.dtype, self.shape, self._size = self._stream.info[:3]
            # Against a base, or in layers, it is decoded whole.
            self._is_whole = self._stream.info.against_base or len(tensor.layers) > 0
            self._band_bytes = self._size if self._is_whole else self._stream.band_bytes
        self.count = -(-self._size // max(1, self._band_bytes))

    def memory(self) -> Loaded:
        """Memory for the tensor, in which nothing is yet. What is never written to takes none."""
        return Loaded(np.empty(self._size, np.uint8), self.dtype, self.shape)

    def read_rows(self, rows: np.ndarray, row_count: int, output: np.ndarray) -> int:
        """Reads the bands that hold some of the `row_count` rows of equal length that the tensor consists of.

        Args:
            rows: their numbers, in any order and as often as one likes
            output: the bytes of the whole tensor, of which only those of these bands are written

        Returns:
            how many that are

        Raises:
            FileError: as `load`
        """
        if self._size == 0 or rows.size == 0:
            return 0
        row_bytes = self._size // row_count
        first = rows * row_bytes // self._band_bytes
        last = ((rows + 1) * row_bytes - 1) // self._band_bytes
        begin, end = (np.bincount(bands, minlength=self.count + 1) for bands in (first, last + 1))
        is_needed = np.cumsum(begin - end) > 0
        runs = np.flatnonzero(np.diff(is_needed, prepend=False)).reshape(-1, 2).tolist()
        size = int(is_needed.sum()) * self._band_bytes
        share = min(_PIECE_BYTES, max(_LEAST_PIECE_BYTES, -(-size // processors())))
        pieces = [piece for first, end in runs for piece in self.pieces(output, first, end, share)]
        if len(pieces) == 1:
            pieces[0]()
        else:
            _run(pieces)
        return size

    def pieces(
        self, output: np.ndarray, first: int, end: int, piece_bytes: int = _PIECE_BYTES
    ) -> Iterator[Callable[[], None]]:
        """The work that reads the bands from `first` to before `end` to where they belong in the tensor's bytes."""
        most = max(1, piece_bytes // max(1, self._band_bytes))
        for at in range(first, end, most):
            count = min(most, end - at)
            yield partial(self._read, at, count, output[at * self._band_bytes : (at + count) * self._band_bytes])

    def _read(self, first: int, count: int, output: np.ndarray) -> None:
        tensor = self._tensor
        if self._stream is None:
            tensor.read_kept(output, first * self._band_bytes)
            return
        if self._is_whole:
            tensor.read_into(output)
            return
        start, end = self._stream.data_range(first, count)
        data = tensor.file.read(tensor.position + self._stream.info.front_bytes + start, end - start)
        try:
            self._stream.decode(first, count, data, output)
        except InvalidStreamError as error:
            raise tensor.damage(error) from None

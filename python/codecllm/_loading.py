"""Tensors of a checkpoint into host memory: read and decoded by many threads, each a few bands at a time."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

import numpy as np

from ._checkpoint import StoredTensor
from ._errors import InvalidStreamError
from ._stream import Stream

_PIECE_BYTES = 4 * 2**20
"""Threads work on about so many bytes of a tensor at a time."""


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
    pool = ThreadPoolExecutor(os.cpu_count())
    try:
        running = []
        for tensor in tensors:
            output, pieces = _start(tensor)
            loaded.append(output)
            running += [pool.submit(piece) for piece in pieces]
        for future in running:
            future.result()
    finally:
        # After an error, pieces that have not begun are not worth beginning.
        pool.shutdown(cancel_futures=True)
    return loaded


def _start(tensor: StoredTensor) -> tuple[Loaded, Iterator[Callable[[], None]]]:
    """The tensor as it will be, and the work that makes it so."""
    if not tensor.is_stream:
        data = np.empty(tensor.size, np.uint8)
        return Loaded(data, tensor.dtype, tensor.shape), _kept_pieces(tensor, data)
    stream = tensor.open_stream()
    info = stream.info
    data = np.empty(info.tensor_bytes, np.uint8)
    return Loaded(data, info.dtype, info.shape), _stream_pieces(tensor, stream, data)


def _kept_pieces(tensor: StoredTensor, output: np.ndarray) -> Iterator[Callable[[], None]]:
    for at in range(0, output.size, _PIECE_BYTES):
        piece = output[at : at + _PIECE_BYTES]
        yield partial(tensor.file.read_into, piece, tensor.position + at)


def _stream_pieces(tensor: StoredTensor, stream: Stream, output: np.ndarray) -> Iterator[Callable[[], None]]:
    def decode(first_band: int, band_count: int) -> None:
        start, end = stream.data_range(first_band, band_count)
        data = tensor.file.read(tensor.position + stream.info.front_bytes + start, end - start)
        piece = output[first_band * stream.band_bytes : (first_band + band_count) * stream.band_bytes]
        try:
            stream.decode(first_band, band_count, data, piece)
        except InvalidStreamError as error:
            raise tensor.error(error) from None

    most = max(1, _PIECE_BYTES // max(1, stream.band_bytes))
    for first in range(0, stream.bands, most):
        yield partial(decode, first, min(most, stream.bands - first))

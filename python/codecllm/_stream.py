"""The front of a stream, read and checked by the library, and its bands decoded on the host."""

from __future__ import annotations

import ctypes
from typing import NamedTuple

import numpy as np

from . import _library
from ._tables import DTYPES

FIXED_BYTES = 64
"""Of the fixed part of a stream, which says how long its front is: no stream is shorter."""


_WORD_BYTES = {"F16": 2, "BF16": 2, "F32": 4}
"""Of the dtypes that are not coded byte by byte."""


class StreamInfo(NamedTuple):
    """What the front of a stream says."""

    dtype: str
    """safetensors' name of it: "BF16", "F32", "I8", ..."""
    shape: tuple[int, ...]
    tensor_bytes: int
    """Of the decoded tensor."""
    front_bytes: int
    """Of what comes before Data."""
    data_bytes: int
    """Of Data, which ends the stream."""
    against_base: bool
    """Whether it is coded against a base."""


def lengths(stream: np.ndarray) -> tuple[int, int]:
    """Bytes of the front and of Data, as the first 64 bytes of a stream (uint8) say.

    Raises:
        InvalidStreamError: they are not those of a stream
    """
    front, data = ctypes.c_uint64(), ctypes.c_uint64()
    _library.call("stream_lengths", stream.ctypes.data, stream.size, ctypes.byref(front), ctypes.byref(data))
    return front.value, data.value


def tensor_bytes(stream: np.ndarray) -> int:
    """Bytes of the tensor, as the first 64 bytes of a stream (uint8) say. @raises InvalidStreamError as `lengths`"""
    lengths(stream)
    words, code = int.from_bytes(stream[8:16].tobytes(), "little"), int(stream[5])
    return words * _WORD_BYTES.get(DTYPES[code][0], 1)


class Stream:
    """A stream's front, read and checked. Threads may use it at the same time."""

    def __init__(self, front: np.ndarray) -> None:
        self._handle = _library.Handle("stream", front.ctypes.data, front.size)
        info = _library.Info()
        _library.call("stream_info", self._handle, ctypes.byref(info))
        self.info = StreamInfo(
            info.dtype.decode(),
            tuple(info.shape[: info.dimensions]),
            info.tensor_bytes,
            info.front_bytes,
            info.data_bytes,
            info.against_base != 0,
        )
        self.bands = info.bands
        self.tiles_across = info.tiles_across
        self.band_bytes = info.band_bytes
        self.unchanged_tiles = info.unchanged_tiles

    def data_range(self, first_band: int, band_count: int) -> tuple[int, int]:
        """Where the data of these bands lie, from the start of Data."""
        start, end = ctypes.c_uint64(), ctypes.c_uint64()
        _library.call("stream_range", self._handle, first_band, band_count, ctypes.byref(start), ctypes.byref(end))
        return start.value, end.value

    def decode(self, first_band: int, band_count: int, data: np.ndarray, output: np.ndarray) -> None:
        """Decodes bands. `data` are the bytes of data_range, `output` receives those of the tensor (uint8)."""
        _library.call(
            "stream_decode",
            self._handle,
            first_band,
            band_count,
            data.ctypes.data,
            data.size,
            output.ctypes.data,
            output.size,
        )

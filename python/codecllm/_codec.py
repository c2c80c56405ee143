"""Arrays to streams and back, on the host."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from . import _library
from ._closing import Closing
from ._dtypes import bytes_of, name_of, numpy_array, torch_tensor

if TYPE_CHECKING:
    from ._dtypes import Array, Buffer

Profile = Literal["small", "fast"]
Framework = Literal["np", "pt"]


def encode(array: Array, profile: Profile = "small") -> bytes:
    """Compresses an array, on the calling thread.

    Args:
        array: of NumPy or PyTorch, any shape, any dtype that a stream can hold: bool, integers and floats of 8 to 64
            bits, complex64, BF16 and FP8 (of PyTorch or ml_dtypes), float4_e2m1fn_x2 of PyTorch
        profile: "small" is for files; "fast" takes a little more space and decodes faster on a GPU

    Returns:
        a stream of spec/FORMAT.md, which says dtype and shape by itself

    Raises:
        TypeError: not an array, or of a dtype that a stream cannot hold
        ValueError: no such profile
    """
    data, name, shape = bytes_of(array)
    return encode_bytes(data, name, shape, _library.options(profile)).tobytes()


def encode_bytes(data: np.ndarray, name: str, shape: tuple[int, ...], options: _library.EncodeOptions) -> np.ndarray:
    """Compresses a tensor given as its bytes: uint8, one dimension. @returns its stream, likewise"""
    described = (name.encode(), _library.shape_array(shape), len(shape), ctypes.byref(options))
    # Memory that is not written to takes no space, so that the bound may be generous.
    stream = np.empty(_library.number("encode_bound", *described), np.uint8)
    written = ctypes.c_size_t()
    _library.call(
        "encode", data.ctypes.data, data.size, *described, stream.ctypes.data, stream.size, ctypes.byref(written)
    )
    return stream[: written.value]


def decode(stream: Buffer, framework: Framework = "np") -> Array:
    """Decompresses a stream, on the calling thread, and checks every tile of it.

    Args:
        stream: bytes, or anything that has a buffer of them
        framework: "np" gives an array of NumPy (BF16 and FP8 as dtypes of ml_dtypes), "pt" a tensor of PyTorch

    Returns:
        a new array of the dtype and shape that were encoded, in host memory

    Raises:
        InvalidStreamError: not a stream, or a damaged one; the message names the field or the tile
        TypeError: the framework lacks the dtype
        ValueError: no such framework
    """
    if framework not in ("np", "pt"):
        raise ValueError(f"framework {framework!r} is neither 'np' nor 'pt'")
    data = np.frombuffer(stream, np.uint8)
    info = Stream(data[: lengths(data)[0]]).info
    output = np.empty(info.tensor_bytes, np.uint8)
    _library.call("decode", data.ctypes.data, data.size, output.ctypes.data, output.size)
    if framework == "np":
        return numpy_array(output, info.dtype, info.shape)
    import torch

    return torch_tensor(torch.from_numpy(output), info.dtype, info.shape)


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


def lengths(stream: np.ndarray) -> tuple[int, int]:
    """Bytes of the front and of Data, as the first 64 bytes of a stream (uint8) say.

    Raises:
        InvalidStreamError: they are not those of a stream
    """
    front, data = ctypes.c_uint64(), ctypes.c_uint64()
    _library.call("stream_lengths", stream.ctypes.data, stream.size, ctypes.byref(front), ctypes.byref(data))
    return front.value, data.value


class Stream:
    """A stream's front, read and checked. Threads may use it at the same time."""

    def __init__(self, front: np.ndarray) -> None:
        self._handle = ctypes.c_void_p()
        _library.call("stream_open", front.ctypes.data, front.size, ctypes.byref(self._handle))
        info = _library.Info()
        _library.call("stream_info", self._handle, ctypes.byref(info))
        self.info = StreamInfo(
            info.dtype.decode(),
            tuple(info.shape[: info.dimensions]),
            info.tensor_bytes,
            info.front_bytes,
            info.data_bytes,
        )
        self.bands = info.bands
        self.band_bytes = info.band_bytes

    def data_range(self, first: int, count: int) -> tuple[int, int]:
        """Where the data of these rows of tiles lie, from the start of Data."""
        start, end = ctypes.c_uint64(), ctypes.c_uint64()
        _library.call("stream_range", self._handle, first, count, ctypes.byref(start), ctypes.byref(end))
        return start.value, end.value

    def decode(self, first: int, count: int, data: np.ndarray, output: np.ndarray) -> None:
        """Decodes rows of tiles. `data` are the bytes of data_range, `output` receives those of the tensor (uint8)."""
        _library.call(
            "stream_decode", self._handle, first, count, data.ctypes.data, data.size, output.ctypes.data, output.size
        )

    def __del__(self) -> None:
        _library.plain("stream_close")(self._handle)


class Encoder(Closing):
    """Compresses one tensor in slices of consecutive rows of tiles, from and into buffers of the caller.

    ::

        with Encoder("BF16", (4096, 4096)) as encoder:
            while encoder.gathers:
                encoder.gather(first, count, data)    # every slice once
                encoder.advance()
            size = encoder.code(first, count, data, output)    # every slice once; outputs follow one another
            encoder.front(output)    # what comes before them, encoder.front_bytes long

    A slice may have any number of rows of tiles, and slices of one pass may be worked on by several threads at the same
    time; the other methods must not run beside them. The stream does not depend on how it was sliced.

    Args:
        dtype: of NumPy or PyTorch, or its name in safetensors
        shape: elements in each dimension
        profile: "small" or "fast", as in `codecllm.encode`

    Raises:
        TypeError: safetensors has no such dtype
        ValueError: a stream cannot hold such a tensor, or there is no such profile
    """

    tensor_bytes: int
    """Bytes of the tensor."""
    bands: int
    """How many rows of tiles it has."""
    band_bytes: int
    """Bytes of a full row of tiles; the last one may have fewer."""

    def __init__(self, dtype: Any, shape: tuple[int, ...], profile: Profile = "small") -> None:  # noqa: ANN401
        self._handle = ctypes.c_void_p()
        options = _library.options(profile)
        _library.call(
            "encoder_open",
            name_of(dtype).encode(),
            _library.shape_array(shape),
            len(shape),
            ctypes.byref(options),
            ctypes.byref(self._handle),
        )
        layout = [ctypes.c_uint64() for _ in range(3)]
        _library.call("encoder_layout", self._handle, *(ctypes.byref(value) for value in layout))
        self.tensor_bytes, self.bands, self.band_bytes = (value.value for value in layout)

    @property
    def gathers(self) -> bool:
        """Whether every slice has to be gathered (again); afterwards they are coded."""
        return _library.plain("encoder_pass")(self._handle) == _library.PASS_GATHER

    def gather(self, first: int, count: int, data: Buffer) -> None:
        """Counts what is in `count` rows of tiles from row `first` on.

        Args:
            data: exactly their bytes

        Raises:
            ValueError: rows or bytes that the tensor does not have
        """
        view = np.frombuffer(data, np.uint8)
        _library.call("encoder_gather", self._handle, first, count, view.ctypes.data, view.size)

    def advance(self) -> None:
        """Ends a gathering pass, and decides.

        Raises:
            ValueError: a row of tiles was not gathered, or was twice
        """
        _library.call("encoder_advance", self._handle)

    def code_bound(self, count: int) -> int:
        """The most bytes that `count` rows of tiles can be coded as."""
        return _library.number("encoder_encode_bound", self._handle, count)

    def code(self, first: int, count: int, data: Buffer, output: Buffer) -> int:
        """Codes `count` rows of tiles from row `first` on.

        Args:
            data: exactly their bytes
            output: writable; `code_bound(count)` bytes are always enough

        Returns:
            how many bytes of `output` were written

        Raises:
            ValueError: rows or bytes that the tensor does not have, or an output that is too small
        """
        view, out = np.frombuffer(data, np.uint8), _writable(output)
        written = ctypes.c_size_t()
        _library.call(
            "encoder_encode",
            self._handle,
            first,
            count,
            view.ctypes.data,
            view.size,
            out.ctypes.data,
            out.size,
            ctypes.byref(written),
        )
        return written.value

    @property
    def front_bytes(self) -> int:
        """Bytes of the front; known as soon as `gathers` is False.

        Raises:
            ValueError: it is not
        """
        return _library.number("encoder_front_size", self._handle)

    def front(self, output: Buffer) -> None:
        """Writes what comes before the coded slices, after all of them were coded.

        Args:
            output: writable, of exactly `front_bytes` bytes

        Raises:
            ValueError: an output of another size, or a row of tiles that was not coded
        """
        out = _writable(output)
        _library.call("encoder_front", self._handle, out.ctypes.data, out.size)

    def close(self) -> None:
        """Lets go of the encoder's memory; nothing else may be called afterwards."""
        _library.plain("encoder_close")(self._handle)
        self._handle = ctypes.c_void_p()


def _writable(output: Buffer) -> np.ndarray:
    view = np.frombuffer(output, np.uint8)
    if not view.flags.writeable:
        raise ValueError("the output is read-only")
    return view

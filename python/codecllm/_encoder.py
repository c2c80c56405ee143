"""One tensor to a stream, slice by slice, on the host."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any

import numpy as np

from . import _library
from ._closing import Closing
from ._dtypes import name_of

if TYPE_CHECKING:
    from ._arrays import Buffer
    from ._library import Profile


class Encoder(Closing):
    """Compresses one tensor in slices of consecutive bands (rows of tiles), from and into buffers of the caller.

    ::

        with Encoder("BF16", (4096, 4096)) as encoder:
            while encoder.gathers or encoder.codes:
                if encoder.gathers:
                    encoder.gather(first, count, data)    # every slice once
                else:
                    size = encoder.code(first, count, data, output)    # every slice once; outputs follow one another
                encoder.advance()
            encoder.front(output)    # what comes before them, encoder.front_bytes long

    In "small", it may be time to code for a second time, where another profile turns out to be shorter: what comes
    then replaces what came before.

    A slice may have any number of bands, and slices of one pass may be worked on by several threads at the same
    time; the other methods must not run beside them. The stream does not depend on how it was sliced.

    Args:
        dtype: of NumPy or PyTorch, or its name in safetensors
        shape: elements in each dimension
        profile: "small", "fast" or "direct", as in `codecllm.encode`

    Raises:
        TypeError: safetensors has no such dtype
        ValueError: a stream cannot hold such a tensor, or there is no such profile
    """

    tensor_bytes: int
    """Bytes of the tensor."""
    bands: int
    """How many bands it has: tiles that lie side by side."""
    band_bytes: int
    """Bytes of a full band; the last one may have fewer."""

    def __init__(self, dtype: Any, shape: tuple[int, ...], profile: Profile = "small") -> None:  # noqa: ANN401
        self._open(name_of(dtype), shape, _library.options(profile))

    def _open(self, name: str, shape: tuple[int, ...], options: _library.EncodeOptions) -> None:
        self._handle: _library.Handle | None = _library.Handle(
            "encoder", name.encode(), _library.shape_array(shape), len(shape), ctypes.byref(options)
        )
        layout = [ctypes.c_uint64() for _ in range(3)]
        _library.call("encoder_layout", self._handle, *(ctypes.byref(value) for value in layout))
        self.tensor_bytes, self.bands, self.band_bytes = (value.value for value in layout)

    @property
    def gathers(self) -> bool:
        """Whether every slice has to be gathered (again)."""
        return _library.plain("encoder_pass")(self._handle) == _library.PASS_GATHER

    @property
    def codes(self) -> bool:
        """Whether every slice has to be encoded (again). If it is not time to gather either, the front is left."""
        return _library.plain("encoder_pass")(self._handle) == _library.PASS_ENCODE

    def gather(self, first: int, count: int, data: Buffer) -> None:
        """Counts what is in `count` bands from band `first` on.

        Args:
            data: exactly their bytes

        Raises:
            ValueError: bands or bytes that the tensor does not have
        """
        view = np.frombuffer(data, np.uint8)
        _library.call("encoder_gather", self._handle, first, count, view.ctypes.data, view.size)

    def advance(self) -> None:
        """Ends a pass, and decides.

        Raises:
            ValueError: a band was not gathered or encoded
        """
        _library.call("encoder_advance", self._handle)

    def code_bound(self, count: int) -> int:
        """The most bytes that `count` bands can be encoded as."""
        return _library.number("encoder_encode_bound", self._handle, count)

    def code(self, first: int, count: int, data: Buffer, output: Buffer) -> int:
        """Encodes `count` bands from band `first` on.

        Args:
            data: exactly their bytes
            output: writable; `code_bound(count)` bytes are always enough

        Returns:
            how many bytes of `output` were written

        Raises:
            ValueError: bands or bytes that the tensor does not have, or an output that is too small
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
        """Bytes of the front; known while `gathers` is False.

        Raises:
            ValueError: it is not
        """
        return _library.number("encoder_front_size", self._handle)

    def front(self, output: Buffer) -> None:
        """Writes what comes before the encoded slices, once it is time neither to gather nor to code.

        Args:
            output: writable, of exactly `front_bytes` bytes

        Raises:
            ValueError: an output of another size, or it is not time for that
        """
        out = _writable(output)
        _library.call("encoder_front", self._handle, out.ctypes.data, out.size)

    def close(self) -> None:
        """Lets go of the encoder's memory, when no other thread's call needs it; afterwards all others are refused."""
        self._handle = None


def open_encoder(name: str, shape: tuple[int, ...], options: _library.EncodeOptions) -> Encoder:
    """An encoder with all options there are. `name` is the dtype's in safetensors."""
    encoder = Encoder.__new__(Encoder)
    encoder._open(name, shape, options)
    return encoder


def _writable(output: Buffer) -> np.ndarray:
    view = np.frombuffer(output, np.uint8)
    if not view.flags.writeable:
        raise ValueError("the output is read-only")
    return view

"""The C interface (../../cuda/codecllm.h), as ctypes sees it.

The library lies beside this file: `pip install` puts it there, and so does CMake's install step. ctypes lets go of the
interpreter's lock in every call, so threads encode and decode at the same time.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from ctypes import POINTER, c_char_p, c_int, c_int32, c_size_t, c_uint8, c_uint32, c_uint64, c_void_p
from pathlib import Path
from typing import Any, Literal

from ._errors import CudaError, InvalidStreamError, UnavailableError
from ._tables import PROFILES, TILE_ROWS, VERSION

Profile = Literal["small", "fast", "direct"]
"""PROFILES, as types have it."""
PASS_GATHER = 0
PASS_ENCODE = 1
NO_TILE = 2**64 - 1

_OK = 0
_UNAVAILABLE = 5
_ERRORS: dict[int, type[Exception]] = {
    1: ValueError,
    2: InvalidStreamError,
    3: MemoryError,
    4: CudaError,
    _UNAVAILABLE: UnavailableError,
}


class EncodeOptions(ctypes.Structure):
    """codecllm_encode_options: all zero, every choice is the encoder's."""

    _fields_ = (
        ("profile", c_int),
        ("tile_rows", c_uint32),
        ("columns", c_uint32),
        ("split", c_uint8 * 4),
        ("modes", c_int * 4),
        ("probability_bits", c_uint32),
        ("classes", c_int),
        ("column_offsets", c_int32),
        ("column_values", c_int32),
    )


class Info(ctypes.Structure):
    """codecllm_info."""

    _fields_ = (
        ("dtype", c_char_p),
        ("dimensions", c_size_t),
        ("shape", POINTER(c_uint64)),
        ("tensor_bytes", c_uint64),
        ("front_bytes", c_uint64),
        ("data_bytes", c_uint64),
        ("bands", c_uint64),
        ("tiles_across", c_uint64),
        ("band_bytes", c_uint64),
        ("against_base", c_uint64),
        ("unchanged_tiles", c_uint64),
    )


class GpuTensor(ctypes.Structure):
    """codecllm_gpu_tensor."""

    _fields_ = (("front", c_void_p), ("front_size", c_size_t))


class GpuSource(ctypes.Structure):
    """codecllm_gpu_source."""

    _fields_ = (
        ("dtype", c_char_p),
        ("shape", POINTER(c_uint64)),
        ("dimensions", c_size_t),
        ("options", POINTER(EncodeOptions)),
        ("elements", c_void_p),
        ("base", c_void_p),
        ("front", c_void_p),
        ("front_capacity", c_size_t),
        ("data", c_void_p),
        ("data_capacity", c_size_t),
        ("front_size", c_size_t),
        ("data_size", c_size_t),
    )


class GpuDecodeOptions(ctypes.Structure):
    """codecllm_gpu_decode_options."""

    _fields_ = (("data_on_host", c_int), ("verify", c_int), ("scratch", c_void_p), ("bases", POINTER(c_void_p)))


class GpuTranscoding(ctypes.Structure):
    """codecllm_gpu_transcoding."""

    _fields_ = (
        ("source_front", c_void_p),
        ("source_front_size", c_size_t),
        ("source_data", c_void_p),
        ("options", POINTER(EncodeOptions)),
        ("front", c_void_p),
        ("front_capacity", c_size_t),
        ("data", c_void_p),
        ("data_capacity", c_size_t),
        ("front_size", c_size_t),
        ("data_size", c_size_t),
    )


class GpuLinearOptions(ctypes.Structure):
    """codecllm_gpu_linear_options."""

    _fields_ = (
        ("x", c_void_p),
        ("x_stride", c_uint64),
        ("rows", c_uint32),
        ("biases", POINTER(c_void_p)),
        ("outputs", POINTER(c_void_p)),
        ("workspace", c_void_p),
    )


STRUCTURES: tuple[type[ctypes.Structure], ...] = (
    EncodeOptions,
    Info,
    GpuTensor,
    GpuDecodeOptions,
    GpuSource,
    GpuTranscoding,
    GpuLinearOptions,
)
"""In the order of codecllm_structure."""

_PLACE = POINTER(c_uint64)
_SHAPE = [c_char_p, POINTER(c_uint64), c_size_t, POINTER(EncodeOptions)]
_BANDS = [c_void_p, c_uint64, c_uint64]
_GPU_TENSORS = [c_void_p, POINTER(GpuTensor), c_size_t]

# Functions that return a status.
_CHECKED: dict[str, list[object]] = {
    "encoder_open": [*_SHAPE, POINTER(c_void_p)],
    "encoder_layout": [c_void_p, _PLACE, _PLACE, _PLACE],
    "encoder_gather": [*_BANDS, c_void_p, c_size_t],
    "encoder_advance": [c_void_p],
    "encoder_front_size": [c_void_p, _PLACE],
    "encoder_encode_bound": [c_void_p, c_uint64, _PLACE],
    "encoder_encode": [*_BANDS, c_void_p, c_size_t, c_void_p, c_size_t, POINTER(c_size_t)],
    "encoder_front": [c_void_p, c_void_p, c_size_t],
    "encode_bound": [*_SHAPE, _PLACE],
    "encode": [c_void_p, c_size_t, *_SHAPE, c_void_p, c_size_t, POINTER(c_size_t)],
    "encode_against": [c_void_p, c_void_p, c_size_t, *_SHAPE, c_void_p, c_size_t, POINTER(c_size_t)],
    "stream_lengths": [c_void_p, c_size_t, _PLACE, _PLACE],
    "stream_open": [c_void_p, c_size_t, POINTER(c_void_p)],
    "stream_info": [c_void_p, POINTER(Info)],
    "stream_range": [*_BANDS, _PLACE, _PLACE],
    "stream_decode": [*_BANDS, c_void_p, c_size_t, c_void_p, c_size_t],
    "decode": [c_void_p, c_size_t, c_void_p, c_size_t],
    "decode_against": [c_void_p, c_size_t, c_void_p, c_void_p, c_size_t],
    "use_path": [c_int],
    "gpu_open": [c_int, POINTER(c_void_p)],
    "gpu_plan_size": [*_GPU_TENSORS, _PLACE],
    "gpu_plan_open": [*_GPU_TENSORS, c_void_p, POINTER(c_void_p)],
    "gpu_scratch_size": [c_void_p, c_int, _PLACE],
    "gpu_decode": [c_void_p, POINTER(c_void_p), POINTER(c_void_p), POINTER(GpuDecodeOptions), c_void_p],
    "gpu_result": [c_void_p, POINTER(c_size_t), _PLACE],
    "gpu_encoder_open": [c_void_p, POINTER(c_void_p)],
    "gpu_encode_bound": [*_SHAPE, _PLACE, _PLACE],
    "gpu_encode": [c_void_p, POINTER(GpuSource), c_size_t, c_void_p],
    "gpu_weights_open": [*_GPU_TENSORS, POINTER(c_void_p)],
    "gpu_linear_workspace": [c_void_p, c_uint32, _PLACE],
    "gpu_linear_rows": [c_void_p, POINTER(c_uint32)],
    "gpu_linear": [c_void_p, POINTER(c_void_p), POINTER(GpuLinearOptions), c_void_p],
    "gpu_rows": [c_void_p, c_size_t, c_void_p, c_void_p, c_size_t, c_void_p, c_void_p],
    "gpu_reader_open": [c_void_p, POINTER(c_void_p)],
    "gpu_read": [
        c_void_p,
        c_int,
        c_uint64,
        POINTER(c_void_p),
        POINTER(c_uint64),
        c_size_t,
        POINTER(c_uint32),
        c_void_p,
    ],
    "gpu_transcode": [c_void_p, POINTER(GpuTranscoding), c_size_t, c_void_p, POINTER(c_size_t), _PLACE],
}

# Functions that cannot fail: what they return, and what they take.
_PLAIN: dict[str, tuple[object, list[object]]] = {
    "error_message": (c_char_p, []),
    "version": (c_char_p, []),
    "size_of": (c_size_t, [c_int]),
    "encoder_close": (None, [c_void_p]),
    "encoder_pass": (c_int, [c_void_p]),
    "stream_close": (None, [c_void_p]),
    "has_path": (c_int, [c_int]),
    "has_cuda": (c_int, []),
    "gpu_count": (c_int, []),
    "gpu_plan_close": (None, [c_void_p]),
    "gpu_encoder_close": (None, [c_void_p]),
    "gpu_reader_close": (None, [c_void_p]),
    "gpu_weights_close": (None, [c_void_p]),
}


def _load() -> ctypes.CDLL:
    path = Path(__file__).parent / ("libcodecllm.dylib" if sys.platform == "darwin" else "libcodecllm.so")
    if not path.exists():
        raise ImportError(f"codecllm is not built: there is no {path}; `pip install ./python` builds it")
    library = ctypes.CDLL(str(path))
    try:
        for name, arguments in _CHECKED.items():
            _declare(library, name, c_int, arguments)
        for name, (result, arguments) in _PLAIN.items():
            _declare(library, name, result, arguments)
        is_ours = library.codecllm_version().decode() == VERSION and all(
            library.codecllm_size_of(number) == ctypes.sizeof(structure) for number, structure in enumerate(STRUCTURES)
        )
    except AttributeError:
        # It lacks a function.
        is_ours = False
    if not is_ours:
        raise ImportError(
            f"{path} is of another version than this package, {VERSION}; `pip install ./python` builds it"
        )
    return library


def _declare(library: ctypes.CDLL, name: str, result: object, arguments: list[object]) -> None:
    function = getattr(library, f"codecllm_{name}")
    function.restype = result
    function.argtypes = arguments


_library = _load()


def plain(name: str) -> Callable[..., Any]:
    """A function that cannot fail, e.g. `version` for codecllm_version."""
    return getattr(_library, f"codecllm_{name}")


def call(name: str, *arguments: object) -> None:
    """Calls a function that returns a status.

    Raises:
        ValueError, InvalidStreamError, MemoryError, CudaError, UnavailableError: in the library's words
    """
    status = getattr(_library, f"codecllm_{name}")(*arguments)
    if status != _OK:
        raise _ERRORS[status](_library.codecllm_error_message().decode())


class Handle:
    """What the library opened, as an argument of its functions: `Handle("stream", ...)` calls codecllm_stream_open.

    It is closed once, when nobody has it any more: neither its owners, of which a copy is another, nor a call that is
    under way on some thread.

    Args:
        kind: of what it is, as the functions' names have it
        arguments: of the function that opens it, but for the last
        keeps: what has to live as long
    """

    def __init__(self, kind: str, *arguments: object, keeps: object = None) -> None:
        self._close = plain(f"{kind}_close")
        # As ctypes asks for it; null is closed without effect.
        self._as_parameter_ = c_void_p()
        self._keeps = keeps
        call(f"{kind}_open", *arguments, ctypes.byref(self._as_parameter_))

    def __reduce__(self) -> str:
        raise TypeError("what the library holds in memory can be neither pickled nor copied deeply")

    def __del__(self) -> None:
        self._close(self._as_parameter_)


def number(name: str, *arguments: object) -> int:
    """Calls a function that returns a status and gives a number as its last argument."""
    value = c_uint64()
    call(name, *arguments, ctypes.byref(value))
    return value.value


def shape_array(shape: tuple[int, ...]) -> ctypes.Array[c_uint64]:
    """A shape as the interface takes it."""
    return (c_uint64 * len(shape))(*shape)


def options(profile: Profile, tile_rows: int | None = None) -> EncodeOptions:
    """The options of a profile. Without `tile_rows` there are 128, or 256 against a base.

    Raises:
        ValueError: there is no such profile, or no tiles of so many rows
    """
    if profile not in PROFILES:
        raise ValueError(f"profile {profile!r} is none of {', '.join(PROFILES)}")
    if tile_rows is not None and tile_rows not in TILE_ROWS:
        raise ValueError(f"tile_rows {tile_rows!r} is none of {', '.join(map(str, TILE_ROWS))}")
    return EncodeOptions(profile=PROFILES.index(profile), tile_rows=tile_rows or 0)


def has_cuda() -> bool:
    """Whether the library was built with the GPU decoder, be there a GPU or not."""
    return plain("has_cuda")() != 0

"""The library beside the package: of the same version, with structures of the same size, and what both call dtypes."""

from __future__ import annotations

import copy
import ctypes
import json
import pickle
import subprocess
import sys
from typing import get_args

import pytest
from conftest import REPOSITORY, numpy_dtype, weights

import codecllm
from codecllm import _library, _tables
from codecllm._dtypes import DTYPES


def test_version() -> None:
    assert codecllm.__version__ == json.loads((REPOSITORY / "package.json").read_text())["version"]
    assert _library.plain("version")().decode() == codecllm.__version__


def test_every_structure_is_as_large_as_the_library_s() -> None:
    size_of = _library.plain("size_of")
    for number, structure in enumerate(_library.STRUCTURES):
        assert ctypes.sizeof(structure) == size_of(number), structure.__doc__
    assert size_of(len(_library.STRUCTURES)) == 0


class LargerInfo(_library.Info):
    """One field more."""

    _fields_ = (("more", ctypes.c_uint64),)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("VERSION", "0.0.0"),
        ("STRUCTURES", (_library.EncodeOptions, LargerInfo)),
        ("_PLAIN", {**_library._PLAIN, "no_such_function": (None, [])}),
    ],
)
def test_a_library_of_another_version_is_refused(monkeypatch: pytest.MonkeyPatch, name: str, value: object) -> None:
    monkeypatch.setattr(_library, name, value)
    with pytest.raises(ImportError, match=r"libcodecllm\.\w+ is of another version than this package"):
        _library._load()


NO_CHOICES = [-(2**31), -1, 9, 255, 256, 2**31 - 1]
"""Numbers that none of the interface's enumerations has."""


@pytest.mark.parametrize("number", NO_CHOICES)
def test_a_number_that_is_no_choice(number: int) -> None:
    """A program in C may give any: each function refuses it, or says that there is no such thing."""
    assert _library.plain("size_of")(number) == 0
    assert _library.plain("has_path")(number) == 0
    with pytest.raises(codecllm.UnavailableError, match="does not have that path"):
        _library.call("use_path", number)
    for options, what in (
        (_library.EncodeOptions(profile=number), "profile"),
        (_library.EncodeOptions(classes=number), "classes"),
        (_library.EncodeOptions(modes=(0, 0, 0, number)), "mode"),
    ):
        for name in ("encode_bound", "encoder_open", "encode", "encode_against"):
            with pytest.raises(ValueError, match=f"unknown {what}"):
                _encode(name, options)


def _encode(name: str, options: _library.EncodeOptions) -> None:
    data = weights(4, 4)
    shape = b"F32", _library.shape_array(data.shape), 2, ctypes.byref(options)
    stream = ctypes.create_string_buffer(4096)
    written = ctypes.c_size_t()
    handle = ctypes.c_void_p()
    to = ctypes.cast(stream, ctypes.c_void_p), 4096, ctypes.byref(written)
    at = data.ctypes.data
    arguments = {
        "encode_bound": (*shape, ctypes.byref(ctypes.c_uint64())),
        "encoder_open": (*shape, ctypes.byref(handle)),
        "encode": (at, data.nbytes, *shape, *to),
        "encode_against": (at, at, data.nbytes, *shape, *to),
    }
    _library.call(name, *arguments[name])


def test_profiles() -> None:
    assert get_args(_library.Profile) == _tables.PROFILES


def test_every_dtype_of_the_format_is_known() -> None:
    assert {name: dtype.bits for name, dtype in DTYPES.items() if dtype.has_streams} == {
        name: bits for name, _, bits in _tables.DTYPES
    }


@pytest.mark.parametrize("name", [name for name in DTYPES if numpy_dtype(name) is not None])
def test_bits_of_a_dtype(name: str) -> None:
    dtype = numpy_dtype(name)
    assert dtype is not None
    assert DTYPES[name].bits == 8 * dtype.itemsize


def test_a_copy_shares_what_the_library_holds() -> None:
    data = weights(300, 128)
    encoder = codecllm.Encoder("F32", data.shape)
    again = copy.copy(encoder)
    encoder.close()
    # Only now nobody has it any more.
    again.gather(0, again.bands, data)
    again.advance()
    with pytest.raises(TypeError, match="neither pickled nor copied"):
        copy.deepcopy(again)
    with pytest.raises(TypeError, match="neither pickled nor copied"):
        pickle.dumps(again)
    with pytest.raises(ValueError, match="encoder must not be null"):
        encoder.gather(0, encoder.bands, data)


CLOSING = """
import threading
import numpy as np
import codecllm

data = np.zeros((1 << 14, 256), np.float32)
for _ in range(20):
    encoder = codecllm.Encoder("F32", data.shape)
    begins = threading.Event()

    def gather():
        begins.set()
        try:
            encoder.gather(0, encoder.bands, data)
        except ValueError:
            pass

    threads = [threading.Thread(target=gather) for _ in range(4)]
    for thread in threads:
        thread.start()
    begins.wait()
    encoder.close()
    for thread in threads:
        thread.join()
print("done")
"""


def test_an_encoder_that_is_closed_during_a_call() -> None:
    ran = subprocess.run([sys.executable, "-c", CLOSING], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "done\n", "")

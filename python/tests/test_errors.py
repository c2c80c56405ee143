"""Errors: what catches them, how they travel between processes, and what they say where a package is missing."""

from __future__ import annotations

import copy
import os
import pickle
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
from conftest import weights

import codecllm
import codecllm.numpy
from codecllm._processors import processors

ERRORS = [
    codecllm.SafetensorError("a"),
    codecllm.CodecError("a"),
    codecllm.InvalidStreamError("magic: not a stream"),
    codecllm.InvalidStreamError("magic: not a stream", 3),
    codecllm.FileError("a.safetensors", "is closed"),
    codecllm.FileError(Path("a.safetensors"), codecllm.InvalidStreamError("magic: not a stream", 3)),
    codecllm.IncompleteError("a.safetensors", 3),
    codecllm.UnavailableError("this build has no CUDA"),
    codecllm.CudaError("out of memory"),
]


@pytest.mark.parametrize("error", ERRORS, ids=str)
def test_errors_are_pickled(error: Exception) -> None:
    for again in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(again) is type(error)
        assert str(again) == str(error)
        assert again.args == error.args
        assert vars(again) == vars(error)


def test_messages() -> None:
    assert [str(error) for error in ERRORS[3:6]] == [
        "stream 3: magic: not a stream",
        "a.safetensors: is closed",
        "a.safetensors: stream 3: magic: not a stream",
    ]


def load(path: Path) -> None:
    codecllm.numpy.load_file(path)


def test_an_error_of_another_process(tmp_path: Path) -> None:
    codecllm.numpy.save_file({"a": weights(60, 70)}, tmp_path / "a")
    whole = (tmp_path / "a").read_bytes()
    (tmp_path / "a").write_bytes(whole[:-40] + bytes([whole[-40] ^ 4]) + whole[-39:])
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        with pytest.raises(codecllm.FileError, match=r'a: damaged at tensor "a": '):
            pool.submit(load, tmp_path / "a").result()
        # An error that cannot be made from its pickle would have broken the pool.
        with pytest.raises(codecllm.InvalidStreamError):
            pool.submit(codecllm.decode, b"no stream").result()


def test_what_catches_them(tmp_path: Path) -> None:
    for error in ERRORS[1:]:
        assert isinstance(error, codecllm.CodecError)
        assert isinstance(error, codecllm.SafetensorError)
    safetensors = pytest.importorskip("safetensors", reason="no safetensors")
    assert codecllm.SafetensorError is safetensors.SafetensorError
    with pytest.raises(safetensors.SafetensorError):
        codecllm.numpy.load(b"")


def run(code: str, *missing: str) -> str:
    """What a new Python prints, for which packages are not installed."""
    hide = "".join(f"sys.modules[{package!r}] = None\n" for package in missing)
    done = subprocess.run(
        [sys.executable, "-c", f"import sys\n{hide}{code}"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_numpy_is_enough() -> None:
    code = """
import numpy, codecllm.numpy
stream = codecllm.numpy.save({"a": numpy.arange(5000)}, profile="fast")
assert (codecllm.numpy.load(stream)["a"] == numpy.arange(5000)).all()
try:
    codecllm.numpy.load(b"")
except codecllm.SafetensorError as error:
    print(type(error).__mro__[2].__module__)
print(*(name for name in ("torch", "safetensors", "ml_dtypes") if sys.modules.get(name)))
"""
    assert run(code, "torch", "safetensors", "ml_dtypes", "transformers") == "codecllm._errors\n\n"


def test_pytorch_is_not_imported_unasked() -> None:
    pytest.importorskip("torch", reason="no PyTorch")
    assert run("import codecllm.numpy\nprint('torch' in sys.modules)") == "False\n"


@pytest.mark.parametrize(
    "code",
    [
        "import codecllm.torch",
        "import codecllm\ncodecllm.decode(codecllm.encode(__import__('numpy').zeros(3)), 'pt')",
        "import codecllm\ncodecllm.safe_open('a', 'pt')",
        "import codecllm\ncodecllm.GPUDecoder([])",
    ],
)
def test_the_hint_where_pytorch_is_missing(code: str) -> None:
    indented = code.replace("\n", "\n    ")
    wrapped = f"try:\n    {indented}\nexcept ImportError as error:\n    print(error)"
    assert run(wrapped, "torch") == "torch is not installed: pip install 'codecllm[torch]' gets it\n"


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity")
def test_processors_are_those_that_the_process_may_use() -> None:
    allowed = os.sched_getaffinity(0)
    assert processors() == len(allowed)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        assert processors() == 1
        array = weights(30, 40)
        assert np.array_equal(codecllm.numpy.load(codecllm.numpy.save({"a": array}))["a"], array)
    finally:
        os.sched_setaffinity(0, allowed)

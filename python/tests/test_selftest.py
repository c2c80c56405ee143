"""What `python -m codecllm` prints, and how it ends."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

import codecllm
from codecllm import _selftest

CASE = """=== Test {number}: {name} ===
Original: ({shape}), {size} bytes
Compressed: \\d+ bytes \\(\\d+\\.\\d\\dx\\)
Decode time: \\d+\\.\\d{{3}} ms
{speedup}Bit-exact: True
✓ Test {number} PASSED

"""


def run(*arguments: str) -> str:
    return subprocess.run(
        [sys.executable, "-m", "codecllm", *arguments], check=True, capture_output=True, encoding="utf-8"
    ).stdout


def test_what_was_built() -> None:
    cuda, gpus = codecllm.features()
    built = "with the GPU decoder" if cuda else "host only"
    assert run() == f"codecllm {codecllm.__version__}, built {built}; GPUs found: {gpus}\n"


def test_selftest() -> None:
    report = run("selftest")
    uses_gpu = not report.startswith("Decoder: host, because ")
    expected = "Decoder: .+\n\n"
    cases = [
        ("Small Data \\(64x64\\)", 64, False),
        ("Medium Data \\(256x256\\)", 256, True),
        ("Large Data \\(4096x4096\\)", 4096, True),
        ("Patterns \\(256x256\\)", 256, False),
    ]
    for number, (name, size, is_large) in enumerate(cases, 1):
        speedup = "Speedup: \\d+\\.\\dx faster\n" if is_large and uses_gpu else ""
        case = CASE.replace("({shape})", "\\({shape}\\)")
        expected += case.format(number=number, name=name, shape=f"{size}, {size}", size=size * size, speedup=speedup)
    assert re.fullmatch(expected, report)


def test_selftest_fails_where_a_bit_differs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def damaged(stream: bytes) -> object:
        array = codecllm.decode(stream)
        array[-1, -1] ^= 1
        return array

    monkeypatch.setattr(_selftest, "decode", damaged)
    monkeypatch.setattr(_selftest, "_no_gpu", lambda: "this is a test")
    assert not _selftest.selftest()
    assert "Bit-exact: False\n✗ Test 4 FAILED\n" in capsys.readouterr().out


def test_a_reader_that_has_seen_enough() -> None:
    command = [sys.executable, "-m", "codecllm", "selftest"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0

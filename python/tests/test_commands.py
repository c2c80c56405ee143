"""The command line and the functions behind it: they write what the command line of Node writes, byte for byte, say
what it says, and lose nothing, whatever happens. PyTorch is not needed for them."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import pickle
import pty
import re
import resource
import shutil
import signal
import struct
import subprocess
import sys
import termios
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
from conftest import CLI, REPOSITORY, by_id, weights
from test_checkpoint_vectors import CHECKPOINTS, MANIFEST, assert_names, bases_of

import codecllm
import codecllm.numpy
from codecllm import FileError, _codec, _library, _output, _stored, _temporary, _work
from codecllm._errors import quoted

Tensors = dict[str, tuple[str, list[int], bytes]]
"""Dtype, shape and bytes."""


def bf16(*shape: int, seed: int = 1) -> tuple[str, list[int], bytes]:
    words = (weights(*shape, seed=seed).view(np.uint32) >> 16).astype("<u2")
    return "BF16", list(shape), words.tobytes()


def noise(size: int, dtype: str = "U8", bits: int = 8) -> tuple[str, list[int], bytes]:
    return dtype, [8 * size // bits], np.random.default_rng(5).bytes(size)


def checkpoint(tensors: Tensors, metadata: dict[str, str] | None = None, python: bool = False) -> bytes:
    """A file as the writers make it, but for the order of tensors, which is the one given."""
    header: dict[str, Any] = {} if metadata is None else {"__metadata__": metadata}
    at = 0
    for name, (dtype, shape, data) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + len(data)]}
        at += len(data)
    text = (json.dumps(header) if python else json.dumps(header, ensure_ascii=False, separators=(",", ":"))).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + b"".join(data for _, _, data in tensors.values())


BIAS = ("F32", [5], np.arange(5, dtype="<f4").tobytes())
SMALL = checkpoint({"layer.weight": bf16(200, 130), "layer.bias": BIAS}, {"format": "pt"})
# Above a slice: several of one tensor, one that has no smaller stream, one of which nothing is known, and small ones.
LARGE: Tensors = {
    "kept.large": noise(5_000_001),
    "a": bf16(1500, 2100),
    "größe\x07": bf16(3, 5, 7),
    "empty": ("BF16", [0, 3], b""),
    "scalar": ("F64", [], bytes(8)),
    "noise.large": noise(4_400_000, "BF16", 16),
    "wide": ("F32", [130, 10_000], weights(130, 10_000).tobytes()),
    "unknown": ("X", [3], bytes(4_300_000)),
    "zeros": ("F16", [2000, 1600], bytes(6_400_000)),
    "b": bf16(400, 400, seed=2),
    "fp8": ("F8_E4M3", [1 << 17], np.random.default_rng(1).normal(60, 9, 1 << 17).astype(np.uint8).tobytes()),
}


@pytest.fixture(autouse=True)
def directory_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def run(*arguments: str | os.PathLike[str], **options: Any) -> subprocess.CompletedProcess[str]:  # noqa: ANN401
    """Runs the command line."""
    command = [sys.executable, "-m", "codecllm", *map(os.fspath, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY / "python")}
    return subprocess.run(command, capture_output=True, text=True, env=environment, **options)


def succeed(*arguments: str | os.PathLike[str]) -> str:
    """Runs it where it has to succeed."""
    done = run(*arguments)
    assert (done.stderr, done.returncode) == ("", 0)
    return done.stdout


def fail(*arguments: str | os.PathLike[str], **options: Any) -> str:  # noqa: ANN401
    """Runs it where it has to fail, with one clear line."""
    done = run(*arguments, **options)
    assert (done.stdout, done.returncode) == ("", 1)
    assert done.stderr.startswith("codecllm: ")
    assert done.stderr.count("\n") == 1
    return done.stderr


@pytest.fixture
def node() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs the command line of Node."""
    if shutil.which("node") is None or not CLI.exists():
        pytest.skip("the command line of Node is not there: it needs Node and `npm ci`")

    def run_node(*arguments: str | os.PathLike[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["node", CLI, *map(os.fspath, arguments)], capture_output=True, text=True)

    return run_node


# ---------------------------------------------------------------------------------------------------------- its limits


def bomb() -> bytes:
    """A valid checkpoint of one tensor "zeros" of BF16, 1.6 MB that declare 6.4 GB, but for its SHA-256."""
    rows = 25_000_000
    # Tiles are constant zeros, and so is what is said of them.
    plain = np.zeros((128, 128), np.uint16)
    data = _codec.encode_bytes(plain.view(np.uint8).reshape(-1), "BF16", plain.shape, _library.options("small"))
    front = bytearray(data[:80].tobytes() + bytes(16 * -(-rows // 256)))
    front[7] = 8
    struct.pack_into("<Q", front, 8, rows * 128)
    struct.pack_into("<Q", front, 64, rows)
    struct.pack_into("<I", front, 56, zlib.crc32(front[64:]))
    struct.pack_into("<I", front, 60, zlib.crc32(front[:60]))
    reserved = {"version": "1", "streams": "1", "sha256": "0" * 64, "header": "compact"}
    header = {
        "__metadata__": {f"codecllm.{key}": value for key, value in reserved.items()},
        "zeros": {"dtype": "U8", "shape": [len(front)], "data_offsets": [0, len(front)]},
    }
    text = json.dumps(header).encode()
    text += b" " * (-(8 + len(text)) % 64)
    return len(text).to_bytes(8, "little") + text + front


def test_a_small_file_that_declares_a_large_checkpoint() -> None:
    Path("bomb.codecllm.safetensors").write_bytes(bomb())
    refusal = '"zeros" has 6.40 GB decompressed: more than '
    automatic = (
        r"(100 times what they take now|the [\d.]+ \w+ that are free .*); max_bytes \(--max-bytes\) sets another"
    )
    given = r"the 6.00 GB of max_bytes \(--max-bytes\)$"
    with pytest.raises(FileError, match=refusal + automatic):
        codecllm.decompress("bomb.codecllm.safetensors")
    with pytest.raises(FileError, match=refusal + automatic):
        codecllm.numpy.load_file("bomb.codecllm.safetensors")
    with pytest.raises(FileError, match=refusal + automatic):
        codecllm.numpy.load(bomb())
    with pytest.raises(FileError, match=refusal + given):
        codecllm.numpy.load_file("bomb.codecllm.safetensors", max_bytes=6 * 10**9)
    with pytest.raises(FileError, match=refusal + given):
        codecllm.verify("bomb.codecllm.safetensors", max_bytes=6 * 10**9)
    assert "6.00 GB" in fail("decompress", "bomb.codecllm.safetensors", "--max-bytes", "6G")
    assert codecllm.inspect("bomb.codecllm.safetensors")[0].bytes_before > 6.4e9
    assert os.listdir() == ["bomb.codecllm.safetensors"]


def test_what_may_be_decompressed() -> None:
    Path("a.safetensors").write_bytes(SMALL)
    succeed("compress", "a.safetensors", "b")
    assert "more than the 52.0 kB" in fail("decompress", "b", "c", "--max-bytes", "52019")
    assert run("verify", "b", "--max-bytes", "1.5G").returncode == 2
    succeed("decompress", "b", "c", "--max-bytes", "52020")
    assert Path("c").read_bytes() == SMALL


def test_what_may_be_loaded() -> None:
    pytest.importorskip("ml_dtypes", reason="no ml_dtypes")
    Path("a.safetensors").write_bytes(SMALL)
    succeed("compress", "a.safetensors", "b")
    assert codecllm.numpy.load_file("b", max_bytes=52020)["layer.bias"].tolist() == [0, 1, 2, 3, 4]


# ------------------------------------------------------------------------------------------------- golden checkpoints


@pytest.mark.parametrize("vector", by_id([each for each in MANIFEST["valid"] if "options" in each]))
def test_golden_files_are_written(vector: dict[str, Any], folder: Path) -> None:
    options = {{"tileRows": "tile_rows"}.get(key, key): value for key, value in vector["options"].items()}
    report = codecllm.compress(CHECKPOINTS / vector["original"], "out", base=bases_of(vector, folder), **options)
    assert Path("out").read_bytes() == (CHECKPOINTS / vector["compressed"]).read_bytes()
    assert report.bytes_after == os.path.getsize("out")


@pytest.mark.parametrize("vector", by_id(MANIFEST["valid"]))
def test_golden_files_are_restored(vector: dict[str, Any], folder: Path) -> None:
    path = CHECKPOINTS / vector["compressed"]
    bases = bases_of(vector, folder)
    verified = codecllm.verify(path, base=bases)
    restored = codecllm.decompress(path, "out", base=bases)
    assert Path("out").read_bytes() == (CHECKPOINTS / vector["original"]).read_bytes()
    assert verified.files[0].tensors == restored.files[0].tensors


@pytest.mark.parametrize("vector", by_id(MANIFEST["invalid"]))
def test_what_a_reader_refuses(vector: dict[str, Any], folder: Path) -> None:
    path = CHECKPOINTS / vector["file"]
    bases = bases_of(vector, folder)
    problems = []
    for work in (
        lambda: codecllm.verify(path, base=bases),
        lambda: codecllm.decompress(path, "out", base=bases),
    ):
        with pytest.raises(FileError) as raised:
            work()
        problems.append(str(raised.value))
    assert problems[0] == problems[1]
    if vector["error"]["step"] == "base":
        # Of a chain, the link that is missing.
        assert "base" in problems[0]
        assert os.listdir() == []
        return
    assert problems[0].startswith(f"{path}: ")
    if vector["error"] == {"place": "__metadata__.codecllm.sha256", "step": "data"}:
        assert "does not have the SHA-256 of the original" in problems[0]
    else:
        assert_names(problems[0].removeprefix(f"{path}: "), vector["error"]["place"])
    if vector["error"]["step"] in ("header", "front"):
        with pytest.raises(FileError):
            codecllm.inspect(path)
    assert os.listdir() == []


@pytest.mark.parametrize("vector", by_id(MANIFEST["refused"]))
def test_what_a_compressor_refuses(vector: dict[str, Any]) -> None:
    path = CHECKPOINTS / vector["file"]
    with pytest.raises(FileError) as raised:
        codecllm.compress(path, "out", **vector.get("options", {}))
    place = vector["error"]["place"]
    problem = f"{quoted(place)} is itself a stream"
    if place == "__metadata__":
        problem = "is compressed already"
    elif "options" in vector:
        problem = f"{quoted(place)} has the name of a layer of another tensor"
    assert str(raised.value) == f"{path}: {problem}"
    assert os.listdir() == []


# ------------------------------------------------------------------------------------------------- one file


def test_a_file_is_compressed_verified_shown_and_restored_under_the_names_it_suggests() -> None:
    Path("model.safetensors").write_bytes(SMALL)
    os.chmod("model.safetensors", 0o640)
    summary = succeed("compress", "model.safetensors").splitlines()
    assert summary[0] == "model.safetensors -> model.codecllm.safetensors"
    assert summary[1].startswith("52.2 kB -> 3")
    assert summary[2] == "1 tensor compressed, 1 kept"
    assert summary[3].endswith("(native)")
    assert os.stat("model.codecllm.safetensors").st_mode & 0o777 == 0o640

    assert succeed("verify", "model.codecllm.safetensors").startswith(
        "model.codecllm.safetensors: good; 1 stream decoded, every check and the SHA-256 compared\n"
    )
    table = succeed("inspect", "model.codecllm.safetensors")
    assert "10+6: rans | raw\n" in table
    assert "\n2 tensors: 1 compressed, 1 kept; " in table

    problem = fail("decompress", "model.codecllm.safetensors")
    assert problem == "codecllm: model.safetensors: exists already; --force replaces it\n"
    Path("model.safetensors").write_bytes(b"something else")
    assert "byte for byte the original" in succeed("decompress", "model.codecllm.safetensors", "--force")
    assert Path("model.safetensors").read_bytes() == SMALL
    assert sorted(os.listdir()) == ["model.codecllm.safetensors", "model.safetensors"]


@pytest.mark.parametrize("profile", ["small", "fast", "direct"])
def test_a_large_file_is_what_node_writes(profile: str, node: Callable[..., Any]) -> None:
    original = checkpoint(LARGE, {"a": "é", "b": ""})
    Path("a.safetensors").write_bytes(original)
    for number, options in enumerate(([], ["--tile-rows", "16"])):
        arguments = ["--profile", profile, *options]
        assert succeed("compress", "a.safetensors", f"ours{number}", "--threads", "3", "--quiet", *arguments) == ""
        assert node("compress", "a.safetensors", f"theirs{number}", *arguments).returncode == 0
        assert Path(f"ours{number}").read_bytes() == Path(f"theirs{number}").read_bytes()
        codecllm.decompress(f"ours{number}", "back", force=True)
        assert Path("back").read_bytes() == original


def test_a_report_is_what_node_reports(node: Callable[..., Any]) -> None:
    # Tiles that are predicted, and one that is not, of 320.
    image = np.random.default_rng(3).integers(-2, 3, (2560, 2048)).cumsum(1).astype(np.uint8)
    image[:128, :128] = 7
    tensors = {**LARGE, "image": ("U8", list(image.shape), image.tobytes())}
    Path("a.safetensors").write_bytes(checkpoint(tensors, python=True))
    timed = {"seconds", "megabytesPerSecond", "threads", "engine"}
    for arguments in (
        ("compress", "a.safetensors", "b", "--profile", "direct", "--force", "--json"),
        ("verify", "b", "--json"),
        ("decompress", "b", "c", "--force", "--json"),
        ("inspect", "b", "--json"),
        ("inspect", "a.safetensors", "--json"),
        ("verify", "a.safetensors", "--json"),
    ):
        theirs = json.loads(node(*arguments).stdout)
        ours = json.loads(run(*arguments).stdout)
        assert ours.keys() == theirs.keys()
        for key in timed & ours.keys():
            ours.pop(key), theirs.pop(key)
        assert ours == theirs
    for path in ("a.safetensors", "b"):
        assert succeed("inspect", path) == node("inspect", path).stdout


def test_a_file_is_not_replaced_without_force_and_never_by_itself() -> None:
    Path("a.safetensors").write_bytes(SMALL)
    Path("b").write_text("something else")
    os.link("a.safetensors", "same")
    os.mkfifo("pipe")
    with pytest.raises(FileExistsError, match="exists already"):
        codecllm.compress("a.safetensors", "b")
    assert Path("b").read_text() == "something else"
    for path, kind, problem in (
        ("a.safetensors", FileError, "is the input itself"),
        ("same", FileError, "is the input itself"),
        (".", IsADirectoryError, "is a directory"),
        ("pipe", FileError, "is not a file"),
    ):
        with pytest.raises(kind, match=problem):
            codecllm.compress("a.safetensors", path, force=True)
        # The command line puts a file into a folder.
        if kind is FileError:
            assert fail("compress", "a.safetensors", path, "--force") == f"codecllm: {path}: {problem}\n"
    codecllm.compress("a.safetensors", "b", force=True, tile_rows=32)
    codecllm.verify("b")
    with pytest.raises(FileError, match="b: is the input itself"):
        codecllm.decompress("b", "b", force=True)
    assert sorted(os.listdir()) == ["a.safetensors", "b", "pipe", "same"]


def test_progress_ends_with_everything() -> None:
    Path("a.safetensors").write_bytes(checkpoint(LARGE))
    for work in (
        lambda progress: codecllm.compress("a.safetensors", "b", progress=progress),
        lambda progress: codecllm.decompress("b", "c", progress=progress),
    ):
        seen: list[tuple[int, int]] = []
        report = work(lambda done, total: seen.append((done, total)))  # noqa: B023
        assert {total for _, total in seen} == {os.path.getsize(report.input)}
        assert [done for done, _ in seen] == sorted(done for done, _ in seen)
        # All but headers and fronts.
        assert 0.99 < seen[-1][0] / seen[-1][1] <= 1


def test_memory_is_bounded_by_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a tensor of many slices, few wait at any time."""
    Path("a.safetensors").write_bytes(checkpoint({"a": bf16(4000, 1024), "b": bf16(4000, 1024, seed=2)}))
    monkeypatch.setattr(_work, "SLICE_BYTES", 2**18)
    most = 0
    waiting = 0
    submit = _work.Work.submit

    def counted(self: _work.Work, task: Callable[..., Any], *arguments: object) -> Any:  # noqa: ANN401
        nonlocal most, waiting
        waiting += 1
        most = max(most, waiting)
        future = submit(self, task, *arguments)
        result = future.result

        def taken(*limit: float) -> Any:  # noqa: ANN401
            nonlocal waiting
            waiting -= 1
            return result(*limit)

        future.result = taken
        return future

    monkeypatch.setattr(_work.Work, "submit", counted)
    codecllm.compress("a.safetensors", "b", threads=1)
    # Slices of the tensor whose turn it is, and of those that are being prepared.
    assert 3 <= most <= 9
    codecllm.decompress("b", "c", threads=1)
    assert Path("c").read_bytes() == Path("a.safetensors").read_bytes()


# ------------------------------------------------------------------------------------------------- the command line


def test_the_command_line_explains_itself() -> None:
    assert succeed("--version") == f"{codecllm.__version__}\n"
    assert succeed().startswith(f"codecllm {codecllm.__version__}, built ")
    for arguments in ([], ["compress"], ["decompress"], ["verify"], ["inspect"]):
        assert "exit codes:" in succeed(*arguments, "--help")


@pytest.mark.parametrize(
    "line",
    [
        "compress",
        "compress a --tile-rows 100",
        "compress a --profile best",
        "verify a --threads 0",
        "inspect a --force",
    ],
)
def test_what_is_not_understood_exits_with_2(line: str) -> None:
    done = run(*line.split())
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr != ""


def test_an_input_that_gives_the_output_no_name() -> None:
    Path("model.bin").write_bytes(SMALL)
    for command in ("compress", "decompress"):
        done = run(command, "model.bin")
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == f"codecllm: model.bin: nothing to name the output of {command} after; give OUT\n"
        with pytest.raises(ValueError, match="nothing to name"):
            getattr(codecllm, command)("model.bin")
    with pytest.raises(ValueError, match="nothing to name"):
        Path(".codecllm.safetensors").write_bytes(SMALL)
        codecllm.decompress(".codecllm.safetensors")


def test_a_reader_that_has_seen_enough() -> None:
    names = {f"a{number}": ("U8", [1], b"0") for number in range(5000)}
    Path("a.safetensors").write_bytes(checkpoint(names))
    command = f"{sys.executable} -m codecllm inspect a.safetensors | head -n 1"
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY / "python")}
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stdout, done.stderr) == (0, "a.safetensors\n", "")


@pytest.mark.parametrize("end", [None, signal.SIGINT])
def test_a_bar_is_shown_to_a_person(end: signal.Signals | None) -> None:
    pytest.importorskip("tqdm", reason="no tqdm")
    _, shape, data = bf16(1000, 1000)
    Path("a.safetensors").write_bytes(checkpoint({"a": ("BF16", [100, *shape], 100 * data)}))
    terminal, stderr = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("4H", 24, 80, 0, 0))
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY / "python")}
    script = "from codecllm import __main__ as program; program._DELAY_SECONDS = 0; raise SystemExit(program.main())"
    command = [sys.executable, "-c", script, "compress", "a.safetensors", "--threads", "1"]
    seen = b""
    with subprocess.Popen(command, env=environment, stderr=stderr, stdout=subprocess.PIPE, text=True) as child:
        os.close(stderr)
        while shown := _read(terminal):
            seen += shown
            if end is not None:
                child.send_signal(end)
        assert child.stdout is not None
        summary = child.stdout.read()
    os.close(terminal)
    assert b"B/s]" in seen
    if end is None:
        assert child.returncode == 0
        assert summary.startswith("a.safetensors -> a.codecllm.safetensors\n")
    else:
        assert child.returncode == 128 + end
        assert seen.endswith(b"\r\x1b[K")
        assert os.listdir() == ["a.safetensors"]


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 4096)
    except OSError:
        # Nobody writes any more.
        return b""


def test_arguments_that_make_no_sense() -> None:
    Path("a.safetensors").write_bytes(SMALL)
    for options, problem in (
        ({"profile": "best"}, "profile 'best'"),
        ({"tile_rows": 100}, "tile_rows 100"),
        ({"threads": 0}, "threads: 0"),
    ):
        with pytest.raises(ValueError, match=problem):
            codecllm.compress("a.safetensors", **options)
    assert os.listdir() == ["a.safetensors"]


# ------------------------------------------------------------------------------------------------- nothing is left


def test_what_cannot_be_read() -> None:
    text = Path("text.safetensors")
    text.write_text("version https://git-lfs.github.com/spec/v1\n")
    for command in (["compress"], ["decompress"], ["verify"], ["inspect"]):
        out = ["out"] if command[0].endswith("press") else []
        problem = fail(*command, "missing.safetensors", *out)
        assert problem == "codecllm: missing.safetensors: no such file or directory\n"
        assert "/dev/null: is not a regular file" in fail(*command, "/dev/null", *out)
        assert "text.safetensors: not a safetensors file" in fail(*command, text, *out)
    assert os.listdir() == ["text.safetensors"]


def test_no_directory_for_the_output() -> None:
    Path("a.safetensors").write_bytes(SMALL)
    out = os.path.join("missing", "out")
    assert fail("compress", "a.safetensors", out) == f"codecllm: {out}: no such file or directory\n"


def test_errors_as_json() -> None:
    Path("a.safetensors").write_bytes(SMALL)
    done = run("verify", "a.safetensors", "--json")
    assert done.returncode == 1
    assert done.stderr == "codecllm: a.safetensors: not a CodecLLM file\n"
    assert json.loads(done.stdout)["error"] == "a.safetensors: not a CodecLLM file"


@pytest.mark.parametrize("tensors", [{"w": bf16(200, 130)}, {"w": bf16(1500, 2100)}], ids=["small", "large"])
def test_a_file_that_was_damaged(tensors: Tensors) -> None:
    Path("a.safetensors").write_bytes(checkpoint(tensors))
    codecllm.compress("a.safetensors", "b")
    damaged = bytearray(Path("b").read_bytes())
    damaged[len(damaged) // 2] ^= 1
    Path("b").write_bytes(damaged)
    for work in (lambda: codecllm.verify("b"), lambda: codecllm.decompress("b", "c")):
        with pytest.raises(FileError, match=r'^b: damaged at tensor "w": tile\.'):
            work()
    assert sorted(os.listdir()) == ["a.safetensors", "b"]


@pytest.mark.parametrize("name", ["copies", "layers", "checked-run-next"])
def test_inspect_reads_headers_and_fronts_once(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    read: list[str] = []
    front, header = _stored.StoredTensor.front, _stored.read_header

    def counted(tensor: _stored.StoredTensor) -> np.ndarray:
        read.append(tensor.name)
        return front(tensor)

    def counted_header(*arguments: Any) -> Any:  # noqa: ANN401
        read.append("the header")
        return header(*arguments)

    monkeypatch.setattr(_stored.StoredTensor, "front", counted)
    monkeypatch.setattr(_stored, "read_header", counted_header)
    (file,) = codecllm.inspect(CHECKPOINTS / "compressed" / f"{name}.safetensors")
    assert len(read) > 2
    assert len(set(read)) == len(read)
    assert any(tensor.stream for tensor in file.tensors)


def test_a_tensor_is_made_when_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(tensors: _stored.StoredTensors, name: str) -> None:
        raise AssertionError(name)

    monkeypatch.setattr(_stored.StoredTensors, "__getitem__", never)
    for folder in ("original", "compressed"):
        with codecllm.safe_open(CHECKPOINTS / folder / "copies.safetensors", "np") as opened:
            assert len(opened.keys()) > 2


def test_a_change_of_the_input_meanwhile() -> None:
    Path("a.safetensors").write_bytes(checkpoint(LARGE))

    def touch(path: str) -> Callable[[int, int], None]:
        time = len(os.listdir())
        return lambda *_: os.utime(path, (time, time))

    with pytest.raises(FileError, match=r"a\.safetensors: was changed while it was being read"):
        codecllm.compress("a.safetensors", "b", progress=touch("a.safetensors"))
    codecllm.compress("a.safetensors", "b")
    with pytest.raises(FileError, match="b: was changed while it was being read"):
        codecllm.decompress("b", "c", progress=touch("b"))
    os.truncate("a.safetensors", 12_000_000)
    with pytest.raises(FileError):
        codecllm.compress("a.safetensors", "d")
    assert sorted(os.listdir()) == ["a.safetensors", "b"]


@pytest.mark.parametrize("kind", [KeyboardInterrupt, MemoryError])
def test_an_exception_in_the_middle(kind: type[BaseException]) -> None:
    Path("a.safetensors").write_bytes(checkpoint(LARGE))
    codecllm.compress("a.safetensors", "b")
    Path("old").write_text("what was there before")

    def give_up(done: int, total: int) -> None:
        if done > total // 2:
            raise kind

    for work in (codecllm.compress, codecllm.decompress):
        with pytest.raises(kind):
            work("a.safetensors" if work is codecllm.compress else "b", "old", force=True, progress=give_up)
    assert Path("old").read_text() == "what was there before"
    assert sorted(os.listdir()) == ["a.safetensors", "b", "old"]


def test_a_disk_that_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("a.safetensors").write_bytes(checkpoint(LARGE))
    codecllm.compress("a.safetensors", "b")

    def full(descriptor: int, data: memoryview, position: int) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", full)
        for work, source in ((codecllm.compress, "a.safetensors"), (codecllm.decompress, "b")):
            with pytest.raises(OSError, match="No space left on device: 'c'"):
                work(source, "c")
    # The same as the system sees it.
    limit = {"preexec_fn": lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, 2_000_000))}
    for command, source in (("compress", "a.safetensors"), ("decompress", "b")):
        assert fail(command, source, "c", **limit) == "codecllm: c: file too large\n"
    assert sorted(os.listdir()) == ["a.safetensors", "b"]


@pytest.mark.parametrize("end", [signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("kind", ["file", "directory"])
def test_a_signal_in_the_middle(end: signal.Signals, kind: str) -> None:
    large = checkpoint({"a": bf16(2000, 4000), "b": bf16(2000, 4000, seed=2)})
    if kind == "file":
        source, old = Path("large.safetensors"), Path("out")
        source.write_bytes(large)
    else:
        source, old = Path("large") / "m.safetensors", Path("out") / "m.safetensors"
        os.mkdir("large")
        os.mkdir("out")
        source.write_bytes(large)
    old.write_text("what was there before")
    top = source.parts[0]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY / "python")}
    command = [sys.executable, "-m", "codecllm", "compress", top, "out", "--force"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) as child:
        while not any(_bytes_in(path) for path in Path().glob(".out.tmp-*")):
            assert child.poll() is None
            time.sleep(0.002)
        child.send_signal(end)
    left = [name for name in os.listdir() if name not in (top, "out")]
    if end == signal.SIGKILL:
        assert child.returncode == -signal.SIGKILL
    else:
        assert child.returncode == 128 + end
        assert left == []
    assert source.read_bytes() == large
    assert old.read_text() == "what was there before"


def _bytes_in(path: Path) -> bool:
    try:
        return any(file.stat().st_size > 0 for file in [path, *path.glob("*")] if file.is_file())
    except FileNotFoundError:
        return False


# ------------------------------------------------------------------------------------------------- directories

LINKS = "--follow-links"
SHARDS = {
    "model-00001-of-00002.safetensors": checkpoint({"a": bf16(100, 130)}, python=True),
    "model-00002-of-00002.safetensors": checkpoint({"b": bf16(100, 130, seed=2)}),
}
INDEX = json.dumps({"metadata": {"total_size": 52000}, "weight_map": dict(zip("ab", SHARDS, strict=True))})


@pytest.fixture
def model() -> Path:
    """A checkpoint as the cache of the Hugging Face Hub holds it: links to blobs."""
    path = Path("model")
    os.makedirs(path / "tokenizer")
    os.mkdir("blobs")
    for number, (name, data) in enumerate(SHARDS.items()):
        Path("blobs", str(number)).write_bytes(data)
        os.symlink(os.path.join("..", "blobs", str(number)), path / name)
    (path / "model.safetensors.index.json").write_text(INDEX)
    (path / "pytorch_model.bin.index.json").write_text('{"weight_map":{"a":"pytorch_model.bin"}}')
    (path / "tokenizer" / "vocab.txt").write_text("a b c")
    return path


def names_in(path: str | os.PathLike[str]) -> list[str]:
    return sorted(os.path.relpath(child, path) for child in Path(path).rglob("*"))


def test_a_directory_becomes_one_with_the_same_names_and_comes_back(model: Path, node: Callable[..., Any]) -> None:
    report = codecllm.compress(f"{model}/", follow_links=True)
    made = os.path.abspath("model.codecllm")
    assert report.output == made
    assert (report.tensors_compressed, report.files_copied) == (2, 3)
    assert [file.output for file in report.files] == [os.path.join(made, name) for name in SHARDS]
    assert names_in(made) == names_in(model)
    assert not any(path.is_symlink() for path in Path(made).rglob("*"))
    assert succeed("inspect", made) == node("inspect", made).stdout
    assert "good; 2 streams decoded" in succeed("verify", made)
    assert node("compress", model, "theirs", LINKS).returncode == 0
    for name in names_in(model):
        if Path("theirs", name).is_file():
            assert Path("theirs", name).read_bytes() == Path(made, name).read_bytes()

    # A shard that is not compressed is copied.
    second = "model-00002-of-00002.safetensors"
    Path(made, second).write_bytes(SHARDS[second])
    codecllm.decompress(made, "back/")
    assert names_in("back") == names_in(model)
    for name, data in SHARDS.items():
        assert Path("back", name).read_bytes() == data
    assert Path("back", "tokenizer", "vocab.txt").read_text() == "a b c"

    assert fail("compress", model, LINKS) == f"codecllm: {made}: exists already; --force replaces it\n"
    codecllm.compress(model, force=True, follow_links=True)
    assert "good; 2 streams decoded" in succeed("verify", made)
    Path(made, "tokenizer", "notes.txt").write_text("mine")
    with pytest.raises(FileError, match=r"holds tokenizer/notes\.txt, which the new directory would not"):
        codecllm.compress(model, force=True, follow_links=True)
    assert sorted(os.listdir()) == ["back", "blobs", "model", "model.codecllm", "theirs"]


def test_directories_that_are_refused(model: Path, node: Callable[..., Any]) -> None:
    def refuse(problem: str, *arguments: str | os.PathLike[str]) -> None:
        said = fail(*arguments, LINKS)
        assert problem in said
        assert said == node(*arguments, LINKS).stderr

    refuse("model: holds no CodecLLM file", "decompress", model, "out")
    refuse("model: holds no CodecLLM file", "verify", model)
    refuse("would be in the input", "compress", model, model / "out")
    refuse("holds the input", "compress", model, ".", "--force")
    refuse("is the input itself", "compress", model, model, "--force")
    refuse("no such file or directory", "compress", model, "missing/out")
    Path("file").write_text("")
    refuse("is not a directory", "compress", model, "file", "--force")
    os.unlink("file")
    Path("blobs", "1").write_text("not a checkpoint")
    refuse("model-00002-of-00002.safetensors: not a safetensors file", "compress", model, "out")
    Path("blobs", "1").write_bytes(SHARDS["model-00002-of-00002.safetensors"])
    index = model / "model.safetensors.index.json"
    index.write_text('{"weight_map":{"c":"gone.safetensors"}}')
    refuse("gone.safetensors: is missing; model.safetensors.index.json names it", "compress", model, "out")
    index.write_text("{")
    refuse("model.safetensors.index.json: is not valid JSON", "compress", model, "out")
    index.write_text("[]")
    refuse("holds no .safetensors file", "compress", model / "tokenizer", "out")
    os.symlink("../..", model / "tokenizer" / "up")
    refuse("leads back", "compress", model, "out")
    os.unlink(model / "tokenizer" / "up")
    os.mkfifo(model / "pipe")
    refuse("is neither a file nor a directory", "compress", model, "out")
    os.unlink(model / "pipe")
    os.symlink("nowhere", model / "broken")
    refuse("is a link to nowhere, which is missing", "compress", model, "out")
    assert sorted(os.listdir()) == ["blobs", "model"]


def test_an_index_in_a_folder_below_names_files_beside_it(model: Path) -> None:
    os.makedirs("other/text")
    for name, data in SHARDS.items():
        Path("other", "text", name).write_bytes(data)
    Path("other", "text", "model.safetensors.index.json").write_text(INDEX)
    codecllm.compress("other", "out")
    assert len(os.listdir("out/text")) == 3
    os.rename("other/text/model-00002-of-00002.safetensors", "other/model-00002-of-00002.safetensors")
    with pytest.raises(FileError, match=r"is missing; model\.safetensors\.index\.json names it"):
        codecllm.compress("other", "out2")


def test_errors_in_a_directory_name_the_final_path(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int, data: memoryview, position: int) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", full)
        with pytest.raises(OSError, match=r"'out/model-00001-of-00002\.safetensors'"):
            codecllm.compress(model, "out", follow_links=True)
    assert sorted(os.listdir()) == ["blobs", "model"]


def test_a_directory_that_cannot_be_replaced_stays(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    codecllm.compress(model, "out", follow_links=True)
    before = {name: Path("out", name).read_bytes() for name in SHARDS}
    rename = os.rename

    def fail_once(source: str, target: str) -> None:
        # The old one has stepped aside.
        if target == "out" and ".out.tmp-" in source:
            assert not os.path.exists("out")
            raise OSError(errno.EIO, "broken")
        rename(source, target)

    with monkeypatch.context() as patched:
        patched.setattr(_output, "_exchange", lambda *_: False)
        patched.setattr(os, "rename", fail_once)
        with pytest.raises(OSError, match="broken: 'out'"):
            codecllm.compress(model, "out", force=True, profile="fast", follow_links=True)
    assert {name: Path("out", name).read_bytes() for name in SHARDS} == before
    # What was finished is kept for the same command.
    assert len(codecllm.clean("out")) == 1
    assert sorted(os.listdir()) == ["blobs", "model", "out"]

    def interrupt(source: str, target: str) -> None:
        if target == "out" and ".out.tmp-" in source:
            # What a signal does that comes now.
            _temporary.remove_temporaries()
            assert names_in("out") == names_in(model)
            raise KeyboardInterrupt
        rename(source, target)

    with monkeypatch.context() as patched:
        patched.setattr(_output, "_exchange", lambda *_: False)
        patched.setattr(os, "rename", interrupt)
        with pytest.raises(KeyboardInterrupt):
            codecllm.compress(model, "out", force=True, profile="fast", follow_links=True)
    assert {name: Path("out", name).read_bytes() for name in SHARDS} == before
    # What was finished is kept for the same command.
    assert len(codecllm.clean("out")) == 1
    assert sorted(os.listdir()) == ["blobs", "model", "out"]


# ------------------------------------------------------------------------------------- directories for transformers

CONFIG = '{\n  "model_type": "llama",\n  "rms_norm_eps": 1e-05,\n  "rope_theta": 10000.0,\n  "dtype": "bfloat16"\n}'


def publish(files: dict[str, str]) -> Path:
    """A directory of a model with these files."""
    shutil.rmtree("model", ignore_errors=True)
    os.mkdir("model")
    Path("model", "model.safetensors").write_bytes(SMALL)
    for name, text in files.items():
        Path("model", name).write_bytes(text.encode())
    return Path("model")


def contents(path: str | os.PathLike[str]) -> dict[str, bytes]:
    return {child.name: child.read_bytes() for child in Path(path).iterdir() if child.is_file()}


@pytest.mark.parametrize("profile", ["small", "direct"])
@pytest.mark.parametrize(
    "files",
    [
        {"config.json": CONFIG},
        {"config.json": CONFIG.replace("\n", "\r\n") + "\n", "README.md": "Mine."},
        {"config.json": '{"model_type":"gpt2"}', "CODECLLM.md": "Mine."},
    ],
)
def test_a_directory_for_transformers(files: dict[str, str], profile: str, node: Callable[..., Any]) -> None:
    model = publish(files)
    succeed("compress", model, "made", "--for", "transformers", "--profile", profile)
    theirs = node("compress", model, "theirs", "--for", "transformers", "--profile", profile)
    assert theirs.returncode == 0
    assert contents("made") == contents("theirs")
    assert json.loads(Path("made", "config.json").read_text())["quantization_config"]["stored"] == profile
    assert "good; 1 stream decoded" in succeed("verify", "made")
    succeed("inspect", "made")
    codecllm.decompress("made", "back")
    assert contents("back") == contents(model)
    codecllm.compress(model, "made", force=True, for_transformers=True)
    codecllm.decompress("made", "back", force=True)
    with pytest.raises(FileError, match="which the new directory would not; it is not replaced"):
        codecllm.compress(model, "made", force=True)


def test_what_is_not_ours_stays_in_a_directory_for_transformers() -> None:
    model = publish({"config.json": CONFIG})
    codecllm.compress(model, "made", for_transformers=True)
    Path("made", "README.md").write_text("Mine.")
    codecllm.decompress("made", "back")
    assert contents("back") == contents(model) | {"README.md": b"Mine."}
    model = publish({"config.json": CONFIG, "config.json.original": "Mine."})
    codecllm.compress(model, "other")
    codecllm.decompress("other", "other.back")
    assert contents("other.back") == contents(model)


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        ({}, "holds no config.json"),
        ({"config.json": "{"}, "config.json: is not valid JSON"),
        ({"config.json": "[]"}, "is not the config of a model"),
        ({"config.json": '{"quantization_config":{"quant_method":"gptq"}}'}, 'quantization_config already, of "gptq"'),
        ({"config.json": '{"text_config":{"quantization_config":{}}}'}, "has a quantization_config already, of null"),
        ({"config.json": CONFIG, "config.json.original": ""}, "config.json.original, a name that is needed here"),
        ({"config.json": CONFIG, "README.md": "", "CODECLLM.md": ""}, "CODECLLM.md, a name that is needed here"),
    ],
)
def test_directories_that_transformers_would_not_load(
    files: dict[str, str], problem: str, node: Callable[..., Any]
) -> None:
    command = ("compress", publish(files), "made", "--for", "transformers")
    said = fail(*command)
    assert problem in said
    assert said == node(*command).stderr
    assert os.listdir() == ["model"]


def test_a_file_is_nothing_that_transformers_loads(node: Callable[..., Any]) -> None:
    Path("a.safetensors").write_bytes(SMALL)
    said = fail("compress", "a.safetensors", "--for", "transformers")
    assert said == node("compress", "a.safetensors", "--for", "transformers").stderr
    assert "a.safetensors: is a file; transformers needs a directory" in said


# --------------------------------------------------------------------------------------------------------------- names


def test_names_as_long_as_the_system_allows() -> None:
    name = "ä" * 120 + "xyz.safetensors"
    assert len(os.fsencode(name)) == 255
    Path("a").write_bytes(SMALL)
    codecllm.compress("a", name)
    codecllm.decompress(name, "b" * 242)
    Path("model").mkdir()
    Path("model/a.safetensors").write_bytes(SMALL)
    codecllm.compress("model", "c" * 255)
    assert sorted(os.listdir()) == ["a", "b" * 242, "c" * 255, "model", name]


@pytest.mark.parametrize("links", [True, False])
@pytest.mark.parametrize("kind", ["file", "directory"])
def test_what_another_process_wrote_meanwhile_stays(monkeypatch: pytest.MonkeyPatch, kind: str, links: bool) -> None:
    Path("model").mkdir()
    Path("model/a.safetensors").write_bytes(SMALL)
    if not links:
        monkeypatch.setattr(_output.os, "link", Mock(side_effect=PermissionError(errno.EPERM, "no links")))

    def other(done: int, total: int) -> None:
        if kind == "directory":
            Path("out").mkdir(exist_ok=True)
            Path("out/theirs").write_text("theirs")
        else:
            Path("out").write_text("theirs")

    with pytest.raises(FileExistsError, match="force"):
        codecllm.compress("model" if kind == "directory" else "model/a.safetensors", "out", progress=other)
    assert sorted(os.listdir()) == ["model", "out"]
    assert Path("out/theirs" if kind == "directory" else "out").read_text() == "theirs"


@pytest.mark.skipif(sys.platform != "linux", reason="where renameat2 is")
def test_a_directory_is_exchanged_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("model").mkdir()
    Path("model/a.safetensors").write_bytes(SMALL)
    codecllm.compress("model", "out")
    before = os.stat("out").st_ino
    # Nothing steps aside.
    monkeypatch.setattr(_output, "_put_back", None)
    codecllm.compress("model", "out", force=True)
    assert os.stat("out").st_ino != before
    assert sorted(os.listdir()) == ["model", "out"]


def test_what_was_killed_left(node: Callable[..., Any]) -> None:
    Path("a").write_bytes(SMALL)
    # No process has this number: it is above what Linux gives.
    left = Path(f".b.tmp-{_temporary._MACHINE}-99999999-0123abcd")
    elsewhere, old = Path(".b.tmp-00000000-1-0123abcd"), Path(".b.old-00000000-1-0123abcd")
    said = [
        f"codecllm: {left}: was left by a run that was killed; it is removed",
        f"codecllm: {elsewhere}: was left by a run that was killed, or goes on elsewhere; codecllm clean b removes it",
        f"codecllm: {old}: is what b was before: a run was killed while it replaced it",
    ]
    for program in (node, run):
        for path in (left, elsewhere, old):
            path.write_bytes(SMALL)
        done = program("compress", "a", "b", "--force")
        assert done.returncode == 0
        assert sorted(done.stderr.splitlines()) == sorted(said)
        assert program("clean", "b").stdout == f"{elsewhere}: removed\n"
        assert sorted(os.listdir()) == [str(old), "a", "b"]
    assert run("compress", "a", "b", "--force", "--quiet").stderr == ""


def test_no_name_reaches_a_terminal_with_what_would_move_its_cursor_or_turn_the_text() -> None:
    evil = "a\x1b[2J\n\u202egpj\u2066\x9b"
    original, compressed = Path(f"{evil}.safetensors"), Path(f"{evil}.codecllm.safetensors")
    original.write_bytes(checkpoint({evil: BIAS, "w": bf16(200, 130)}))
    Path(f".{evil}.codecllm.safetensors.tmp-01234567-1-01234567").touch()
    done = [run("compress", original), run("compress", original)]
    for path in (original, compressed):
        done += [
            run("inspect", path),
            run("inspect", path, "--json"),
            run("verify", path),
            run("verify", path, "--json"),
        ]
    Path("model").mkdir()
    shutil.copy(original, "model/a.safetensors")
    Path("model/model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": f"{evil}.safetensors"}}))
    done.append(run("inspect", "model"))
    for text in (text for each in done for text in (each.stdout, each.stderr)):
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", text)
    assert all("\\u202egpj\\u2066\\u009b" in each.stdout + each.stderr for each in done)
    assert json.loads(done[3].stdout)["files"][0]["tensors"][0]["name"] == evil


# ------------------------------------------------------------------------------- directories, as Node has them


def publish_shards(count: int = 4) -> Path:
    """A model of several shards, an index, other files."""
    os.makedirs("model/tokenizer")
    names = [f"model-{number}.safetensors" for number in range(count)]
    for number, name in enumerate(names):
        Path("model", name).write_bytes(checkpoint({f"t{number}": bf16(600, 1000, seed=number)}))
        os.utime(f"model/{name}", (1_600_000_000, 1_600_000_000))
    weight_map = {f"t{number}": name for number, name in enumerate(names)}
    Path("model/model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    Path("model/pytorch_model.BIN").write_bytes(bytes(100_000))
    Path("model/tokenizer/vocab.txt").write_text("a b c")
    return Path("model")


def files_in(path: str) -> dict[str, bytes]:
    return {name: Path(path, name).read_bytes() for name in names_in(path) if Path(path, name).is_file()}


def finished() -> list[str]:
    journals = list(Path().glob(".out.tmp-*/job.jsonl"))
    return [json.loads(line)["name"] for line in journals[0].read_text().split("\n")[1:]] if journals else []


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.parametrize("program", ["ours", "theirs"])
def test_an_interrupted_job_goes_on(program: str, end: signal.Signals, node: Callable[..., Any]) -> None:
    publish_shards()
    succeed("compress", "model", "expected")
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY / "python")}
    command = [sys.executable, "-m", "codecllm", "compress", "model", "out", "--threads", "1"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as child:
        while len(finished()) < 2 and child.poll() is None:
            time.sleep(0.001)
        child.send_signal(end)
    done = finished()
    assert len(done) >= 2
    inodes = [os.stat(next(Path().glob(f".out.tmp-*/files/{name}"))).st_ino for name in done]
    again = (run if program == "ours" else node)("compress", "model", "out")
    assert again.returncode == 0
    assert again.stderr == (
        f"codecllm: out: goes on where a run was interrupted: {len(done)} of 4 checkpoints are finished\n"
    )
    assert files_in("out") == files_in("expected")
    assert [os.stat(f"out/{name}").st_ino for name in done] == inodes
    assert sorted(os.listdir()) == ["expected", "model", "out"]


def test_lines_of_every_file_and_exit_codes_are_those_of_node(node: Callable[..., Any]) -> None:
    def same(code: int, *arguments: str) -> str:
        ours, theirs = run(*arguments), node(*arguments)
        assert (ours.returncode, ours.stderr) == (code, theirs.stderr)
        timed = re.compile(r"[\d.]+ s, .*")
        assert timed.sub("", ours.stdout) == timed.sub("", theirs.stdout)
        assert theirs.returncode == code
        json_of = [json.loads(each(*arguments, "--json").stdout) for each in (run, node)]
        for found in json_of:
            for key in ("seconds", "megabytesPerSecond", "threads"):
                found.pop(key, None)
        assert json_of[0] == json_of[1]
        return ours.stderr

    publish_shards()
    succeed("compress", "model", "out")
    same(0, "verify", "out")
    same(0, "compress", "model", "--dry-run")
    same(0, "compress", "model", "elsewhere", "--dry-run")
    os.mkdir("links")
    os.symlink("../out/model-0.safetensors", "links/a.safetensors")
    same(3, "verify", "links")
    shutil.copy("model/model-0.safetensors", "out/model-0.safetensors")
    os.unlink("out/model-1.safetensors")
    same(3, "verify", "out")
    same(3, "inspect", "out")
    damaged = bytearray(Path("out/model-2.safetensors").read_bytes())
    damaged[len(damaged) // 2] ^= 1
    Path("out/model-2.safetensors").write_bytes(damaged)
    os.truncate("out/model-3.safetensors", os.path.getsize("out/model-3.safetensors") - 7)
    said = same(1, "verify", "out")
    assert 'out/model-2.safetensors: damaged at tensor "t2": ' in said
    assert "out/model-3.safetensors: incomplete: 7 bytes missing; " in said
    assert "out/model-1.safetensors: is missing; model.safetensors.index.json names it" in said
    assert "out/model-0.safetensors: is not compressed" in said
    same(1, "inspect", "out")


def test_every_bad_tensor_is_named() -> None:
    Path("a").write_bytes(checkpoint({f"t{number}": bf16(300, 300, seed=number) for number in range(5)}))
    codecllm.compress("a", "b")
    data = bytearray(Path("b").read_bytes())
    length = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:length])
    data[length + header["t1"]["data_offsets"][1] - 100] ^= 1
    Path("b").write_bytes(data)
    with pytest.raises(FileError, match='damaged at tensor "t1"'):
        codecllm.verify("b")
    data[length + header["t3"]["data_offsets"][0] + 70] ^= 1
    Path("b").write_bytes(data)
    with pytest.raises(codecllm.FilesError) as raised:
        codecllm.verify("b")
    assert [str(problem)[:26] for problem in raised.value.problems] == [f'b: damaged at tensor "t{k}":' for k in (1, 3)]
    assert str(pickle.loads(pickle.dumps(raised.value))) == str(raised.value)


def test_in_place_and_back() -> None:
    publish_shards()
    before = files_in("model")
    succeed("compress", "model", "expected")
    succeed("compress", "--in-place", "model")
    assert files_in("model") == files_in("expected")
    assert os.stat("model/model-1.safetensors").st_mtime == 1_600_000_000
    succeed("decompress", "--in-place", "model")
    assert files_in("model") == before
    assert sorted(os.listdir()) == ["expected", "model"]


@pytest.mark.parametrize("has_changed", [False, True])
def test_another_name_that_a_killed_run_had_not_placed(has_changed: bool) -> None:
    publish_shards()
    path, alias = Path("model/model-0.safetensors"), Path("model/alias.safetensors")
    first, other = path.read_bytes(), Path("model/model-1.safetensors").read_bytes()
    succeed("compress", "--in-place", "model")
    killed = subprocess.Popen(["true"])
    killed.wait()
    left = Path(f"model/.alias.safetensors.tmp-{_temporary._MACHINE}-{killed.pid}-00000000")
    if has_changed:
        os.link(path, left)
    # Times of files have some milliseconds.
    time.sleep(0.05)
    alias.write_bytes(other)
    if not has_changed:
        os.link(path, left)
    done = run("compress", "--in-place", "model")
    assert done.returncode == 0
    assert ("was left by a run that was killed; it is removed" in done.stderr) == has_changed
    assert os.path.samefile(path, alias) != has_changed
    assert not left.exists()
    succeed("decompress", "--in-place", "model")
    assert alias.read_bytes() == (other if has_changed else first)


def test_links_stay_links(node: Callable[..., Any]) -> None:
    os.makedirs("cache/blobs")
    for number, name in enumerate(SHARDS):
        Path("cache/blobs", str(number)).write_bytes(SHARDS[name])
        for snapshot in "ab":
            os.makedirs(f"cache/snapshots/{snapshot}", exist_ok=True)
            os.symlink(f"../../blobs/{number}", f"cache/snapshots/{snapshot}/{name}")
    report = codecllm.compress("cache", "out")
    assert [file.output for file in report.files] == ["out/blobs/0", "out/blobs/1"]
    assert os.readlink(f"out/snapshots/b/{name}") == "../../blobs/1"
    assert node("compress", "cache", "theirs").returncode == 0
    assert files_in("out") == files_in("theirs")
    snapshot = fail_all("compress", "cache/snapshots/a", "snapshot")
    assert snapshot == node("compress", "cache/snapshots/a", "snapshot").stderr
    assert snapshot.count("leads out of the directory, to ../../blobs/") == 2
    codecllm.decompress("out", "back")
    assert files_in("back") == files_in("cache")


def fail_all(*arguments: str) -> str:
    done = run(*arguments)
    assert (done.stdout, done.returncode) == ("", 1)
    return done.stderr


def test_inputs_and_outputs_like_those_of_cp() -> None:
    for name in ("a.safetensors", "B.SafeTensors"):
        Path(name).write_bytes(SMALL)
    os.mkdir("out")
    assert run("compress", "a.safetensors", "B.SafeTensors", "missing").returncode == 2
    succeed("compress", "a.safetensors", "B.SafeTensors", "out")
    assert sorted(os.listdir("out")) == ["B.codecllm.SafeTensors", "a.codecllm.safetensors"]
    command = [sys.executable, "-m", "codecllm"]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY / "python")}
    done = subprocess.run([*command, "compress", "-", "-"], input=SMALL, capture_output=True, env=environment)
    assert (done.stderr, done.stdout) == (b"", Path("out/a.codecllm.safetensors").read_bytes())
    done = subprocess.run([*command, "decompress", "-", "-"], input=done.stdout, capture_output=True, env=environment)
    assert (done.stderr, done.stdout) == (b"", SMALL)
    codecllm.decompress("out", "back")
    assert sorted(os.listdir("back")) == ["B.SafeTensors", "a.safetensors"]

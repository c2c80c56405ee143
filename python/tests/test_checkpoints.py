"""load_file, save_file and safe_open, against the package safetensors and the command line."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import REPOSITORY, assert_same, some_tensors, weights

torch = pytest.importorskip("torch", reason="no PyTorch")
safetensors = pytest.importorskip("safetensors", reason="no safetensors")

from safetensors.torch import load_file as original_load_file  # noqa: E402
from safetensors.torch import save_file as original_save_file  # noqa: E402

from codecllm import (  # noqa: E402
    FileError,
    GPUStream,
    UnavailableError,
    _cuda_loading,
    _cuda_saving,
    _library,
    _saving,
    _stored,
    _writing,
    encode,
    features,
)
from codecllm._arrays import bytes_of  # noqa: E402
from codecllm._stream import lengths  # noqa: E402
from codecllm._tables import PROFILES  # noqa: E402
from codecllm.torch import load_file, safe_open, save_file  # noqa: E402

DEMO = REPOSITORY / "demo" / "model.safetensors"


@pytest.mark.parametrize("metadata", [None, {}, {"format": "pt"}])
def test_save_file_is_what_the_command_line_makes(
    tmp_path: Path, cli: Callable[..., None], metadata: dict[str, str] | None
) -> None:
    original, by_cli, by_python = (tmp_path / name for name in ("original.safetensors", "cli", "python"))
    original_save_file(some_tensors(), original, metadata)
    save_file(some_tensors(), by_python, metadata)
    cli("compress", original, by_cli)
    assert by_python.read_bytes() == by_cli.read_bytes()
    cli("decompress", by_python, tmp_path / "restored")
    assert (tmp_path / "restored").read_bytes() == original.read_bytes()


@pytest.mark.parametrize("profile", PROFILES)
def test_the_demo_is_what_the_command_line_makes(tmp_path: Path, cli: Callable[..., None], profile: str) -> None:
    original, by_cli, by_python = (tmp_path / name for name in ("original.safetensors", "cli", "python"))
    original_save_file(original_load_file(DEMO), original)
    save_file(original_load_file(DEMO), by_python, profile=profile)
    cli("compress", original, by_cli, "--profile", profile)
    assert by_python.read_bytes() == by_cli.read_bytes()


def test_load_file(tmp_path: Path) -> None:
    tensors = some_tensors()
    for save in (save_file, original_save_file):
        save(tensors, tmp_path / "model.safetensors", {"format": "pt"})
        loaded = load_file(tmp_path / "model.safetensors")
        assert_same(loaded, tensors)
        # Memory of its own, as original_load_file gives it.
        assert len({tensor.untyped_storage().data_ptr() for tensor in loaded.values() if tensor.numel()}) == len(
            [tensor for tensor in loaded.values() if tensor.numel()]
        )


def test_safetensors_reads_what_is_kept(tmp_path: Path) -> None:
    tensors = {"bias": torch.ones(3), "weight": torch.zeros(100, 100)}
    save_file(tensors, tmp_path / "model.safetensors")
    read = original_load_file(tmp_path / "model.safetensors")
    assert torch.equal(read["bias"], tensors["bias"])
    assert read["weight"].dtype == torch.uint8


def test_an_existing_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"old")
    with pytest.raises(FileError, match=r"codecllm\.version"):
        save_file({"a": torch.zeros(100)}, path, {"codecllm.version": "1"})
    with pytest.raises(TypeError, match="metadata: expected text, not int for 'step'"):
        save_file({"a": torch.zeros(100)}, path, {"step": 3})
    with pytest.raises(ValueError, match="not contiguous"):
        save_file({"a": torch.zeros(100, 100).T}, path)
    assert path.read_bytes() == b"old"
    save_file({"a": torch.zeros(100)}, path)
    assert os.listdir(tmp_path) == ["model.safetensors"]
    assert_same(load_file(path), {"a": torch.zeros(100)})


def test_nothing_is_left_where_writing_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(data: object, name: str, shape: tuple[int, ...], options: object) -> None:
        if shape == (101,):
            raise MemoryError("no more")

    monkeypatch.setattr(_writing, "encode_bytes", fail)
    (tmp_path / "model.safetensors").write_bytes(b"old")
    with pytest.raises(MemoryError):
        save_file({"a": torch.zeros(3), "b": torch.zeros(101)}, tmp_path / "model.safetensors")
    assert os.listdir(tmp_path) == ["model.safetensors"]
    assert (tmp_path / "model.safetensors").read_bytes() == b"old"


@pytest.mark.parametrize("group", [1, 100_000, 2**28])
@pytest.mark.parametrize("error", [None, UnavailableError, MemoryError])
def test_tensors_that_are_encoded_where_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[Exception] | None, group: int
) -> None:
    class StreamEncoder:
        def __init__(self, profile: str) -> None:
            self._profile = profile

        def encode(self, tensors: list[torch.Tensor], bases: list[np.ndarray] | None = None) -> list[GPUStream | None]:
            if error is not None:
                raise error("no more")
            if bases is None:
                streams = [encode(tensor, self._profile) for tensor in tensors]
            else:
                there = zip(tensors, bases, strict=True)
                views = [
                    (tensor, torch.from_numpy(base).view(tensor.dtype).view(tensor.shape)) for tensor, base in there
                ]
                streams = [encode(tensor, self._profile, base) for tensor, base in views]
            pairs = zip(streams, tensors, strict=True)
            return [self._encode(np.frombuffer(stream, np.uint8), tensor) for stream, tensor in pairs]

        @staticmethod
        def _encode(stream: np.ndarray, tensor: torch.Tensor) -> GPUStream | None:
            front = lengths(stream)[0]
            data = torch.from_numpy(stream[front:].copy())
            return GPUStream(stream[:front].tobytes(), data) if stream.size < tensor.nbytes else None

        def close(self) -> None:
            pass

    def feed(use: Callable[[np.ndarray], object], tensor: torch.Tensor) -> None:
        for piece in np.array_split(bytes_of(tensor)[0], 3):
            use(piece)

    monkeypatch.setattr(_cuda_saving, "StreamEncoder", StreamEncoder)
    monkeypatch.setattr(_cuda_saving, "feed", feed)
    monkeypatch.setattr(_cuda_saving, "wait_for", lambda tensor: None)
    monkeypatch.setattr(_writing, "_GROUP_BYTES", group)
    tensors = {name: tensor for name, tensor in some_tensors().items() if "large" not in name}
    sources = []
    for index, (name, tensor) in enumerate(tensors.items()):
        data, dtype, shape = bytes_of(tensor)
        there = tensor if index % 4 else None
        sources.append(_saving.Source(name, dtype, shape, tensor.nbytes, lambda data=data: data, there))
    before = {name: tensor.clone() for name, tensor in tensors.items()}
    for tensor in before.values():
        tensor.reshape(-1).view(torch.uint8)[::50] ^= 1
    save_file(before, tmp_path / "before")
    for profile in ("small", "fast"):
        for base in (None, tmp_path / "before"):
            save_file(tensors, tmp_path / "here", profile=profile, base=base)
            _saving.write_checkpoint(tmp_path / "there", sources, None, _library.options(profile), base)
            assert (tmp_path / "there").read_bytes() == (tmp_path / "here").read_bytes()


def test_safe_open(tmp_path: Path) -> None:
    tensors = some_tensors()
    original_save_file(tensors, tmp_path / "original", {"format": "pt"})
    save_file(tensors, tmp_path / "compressed", {"format": "pt"})
    with (
        safetensors.safe_open(tmp_path / "original", framework="pt", device="cpu") as original,
        safe_open(tmp_path / "compressed", framework="pt", device="cpu") as compressed,
        safe_open(tmp_path / "original", framework="pt") as plain,
    ):
        for opened in (compressed, plain):
            assert opened.keys() == list(original.keys())
            assert sorted(opened.offset_keys()) == sorted(original.offset_keys())
            assert opened.metadata() == original.metadata() == {"format": "pt"}
            for name in ("model.weight", "half", "ids", "noise", "scalar"):
                assert torch.equal(opened.get_tensor(name), original.get_tensor(name))
                assert opened.get_slice(name).get_shape() == original.get_slice(name).get_shape()
                assert opened.get_slice(name).get_dtype() == original.get_slice(name).get_dtype()
            for index in (3, slice(2, 9), (slice(5), slice(7, None)), (..., 4), (slice(None), 3), ...):
                part = opened.get_slice("model.weight")[index]
                assert torch.equal(part, original.get_slice("model.weight")[index])
                assert part.is_contiguous()
                assert part.untyped_storage().nbytes() == part.nbytes
        assert plain.offset_keys() == original.offset_keys()


def test_metadata_that_is_not_there(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(100)}, tmp_path / "a")
    with safe_open(tmp_path / "a") as opened:
        assert opened.metadata() is None


def sharded(directory: Path) -> dict[str, torch.Tensor]:
    tensors = {f"layer.{number}": torch.from_numpy(weights(200, 150, seed=number)).bfloat16() for number in range(6)}
    weight_map = {}
    directory.mkdir()
    for shard in range(3):
        name = f"model-{shard + 1:05}-of-00003.safetensors"
        part = {key: tensors[key] for key in list(tensors)[2 * shard : 2 * shard + 2]}
        original_save_file(part, directory / name, {"format": "pt"})
        weight_map |= dict.fromkeys(part, name)
    index = {"metadata": {"total_size": 1}, "weight_map": weight_map}
    (directory / "model.safetensors.index.json").write_text(json.dumps(index))
    return tensors


def test_directories(tmp_path: Path, cli: Callable[..., None]) -> None:
    tensors = sharded(tmp_path / "model")
    cli("compress", tmp_path / "model")
    for directory in (tmp_path / "model", tmp_path / "model.codecllm"):
        assert_same(load_file(directory), tensors)
        with safe_open(directory) as opened:
            assert opened.metadata() == {"format": "pt"}
            assert torch.equal(opened.get_tensor("layer.4"), tensors["layer.4"])
    (tmp_path / "single").mkdir()
    save_file(tensors, tmp_path / "single" / "model.safetensors")
    assert_same(load_file(tmp_path / "single"), tensors)


def test_directories_that_are_wrong(tmp_path: Path) -> None:
    directory = tmp_path / "model"
    sharded(directory)
    index = directory / "model.safetensors.index.json"
    good = json.loads(index.read_text())["weight_map"]
    for weight_map, problem in (
        (
            {**good, "layer.9": "model-00001-of-00003.safetensors"},
            '"layer.9" is not in model-00001-of-00003.safetensors',
        ),
        ({**good, "layer.0": "../other.safetensors"}, '"weight_map", "layer.0" is not the name of a file'),
        ({**good, "layer.0": 3}, '"weight_map", "layer.0" is not the name of a file'),
        ([], '"weight_map" is not an object'),
    ):
        index.write_text(json.dumps({"weight_map": weight_map}))
        with pytest.raises(FileError) as raised:
            load_file(directory)
        assert str(raised.value) == f"{index}: {problem}"
    second = directory / "model-00002-of-00003.safetensors"
    original_save_file({"layer.0": torch.zeros(3)}, second)
    index.write_text(json.dumps({"weight_map": {"layer.0": second.name, "layer.1": good["layer.1"]}}))
    with pytest.raises(FileError) as raised:
        load_file(directory)
    assert str(raised.value) == f'{second}: "layer.0" is in another shard, too'
    index.write_text("[")
    with pytest.raises(FileError, match='is not JSON with a "weight_map"'):
        load_file(directory)
    index.write_text(json.dumps({"weight_map": {"a": "missing.safetensors"}}))
    with pytest.raises(FileNotFoundError, match=r"missing\.safetensors"):
        load_file(directory)
    index.unlink()
    with pytest.raises(FileError, match=r"model: a directory with neither model\.safetensors nor"):
        load_file(directory)


# ------------------------------------------------------------------------------------------------- files that are wrong


def test_every_truncation_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    save_file({"a": torch.from_numpy(weights(60, 70)), "b": torch.ones(3)}, tmp_path / "whole")
    whole = (tmp_path / "whole").read_bytes()
    path = tmp_path / "model.safetensors"
    for size in [*range(0, 700, 7), *range(700, len(whole), 97), len(whole) - 1]:
        path.write_bytes(whole[:size])
        with pytest.raises(FileError) as raised:
            load_file(path)
        assert re.match(f"{path}: (not a safetensors file|incomplete): ", str(raised.value))


def test_damage_is_an_error_that_names_file_and_tensor(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_file({"a": torch.from_numpy(weights(60, 70)), "b": torch.from_numpy(weights(90, 70))}, path)
    whole = path.read_bytes()
    begin = whole.index(b"CLLM")
    # The fixed part, the shape, the tables, and the data of the last tile.
    for at in (begin, begin + 9, begin + 64, begin + 90, len(whole) - 40):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :])
        with pytest.raises(FileError) as raised:
            load_file(path)
        assert str(raised.value).startswith(f'{path}: damaged at tensor "{"a" if at < len(whole) - 40 else "b"}": ')


def header_file(path: Path, header: str | bytes, data: bytes = b"") -> Path:
    raw = header.encode() if isinstance(header, str) else header
    path.write_bytes(len(raw).to_bytes(8, "little") + raw + data)
    return path


@pytest.mark.parametrize(
    ("header", "problem"),
    [
        ("[]", "its header does not begin with {"),
        ("{", "its header is not valid JSON at character 1"),
        ('{"a":' + "[" * 100_000, "its header is nested too deeply"),
        (b"{\xff}", "its header is not UTF-8"),
        (r'{"\ud800":{}}', "its header is not valid Unicode"),
        ('{"a":3}', '"a" is not an object'),
        ('{"a":{}}', '"a" has no "dtype"'),
        ('{"a":{"dtype":3,"shape":[],"data_offsets":[0,4]}}', '"a", "dtype" is not a string'),
        ('{"a":{"dtype":"F32","shape":3,"data_offsets":[0,4]}}', '"a", "shape" is not an array of numbers'),
        ('{"a":{"dtype":"F32","shape":[true],"data_offsets":[0,4]}}', '"a", "shape" is not an array of numbers'),
        (
            '{"a":{"dtype":"F32","shape":[1.0],"data_offsets":[0,4]}}',
            '"a", "shape": 1.0 is not a whole number below 2^53',
        ),
        (
            '{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}',
            '"a", "shape": -1 is not a whole number below 2^53',
        ),
        (
            '{"a":{"dtype":"F32","shape":[NaN],"data_offsets":[0,4]}}',
            '"a", "shape": NaN is not a whole number below 2^53',
        ),
        ('{"a":{"dtype":"F32","shape":[1],"data_offsets":[0]}}', '"a", "data_offsets" is not a pair of numbers'),
        ('{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}}', '"a", "data_offsets": 0 is less than 4'),
        (
            '{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}',
            '"a", "data_offsets": 4 bytes do not hold F32 of shape [2]',
        ),
        ('{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4],"x":1}}', '"a", "x" is not a field that a tensor has'),
        (
            '{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}',
            '"a", "data_offsets": ends at 8, and the data have 4 bytes',
        ),
        (
            '{"a":{"dtype":"U8","shape":[2],"data_offsets":[2,4]}}',
            '"a", "data_offsets": begins at 2, and nothing fills the data from 0 on',
        ),
        ('{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}', "2 bytes follow the last tensor"),
        (
            '{"a":{"dtype":"U8","shape":[3],"data_offsets":[0,3]},"b":{"dtype":"U8","shape":[2],"data_offsets":[2,4]}}',
            '"b", "data_offsets": begins at 2, where another tensor ends at 3',
        ),
        ('{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{}}', '"a" occurs twice'),
        ('{"a":{"dtype":"F32","dtype":"F32"}}', '"a", "dtype" occurs twice'),
        ('{"__metadata__":{"x":1}}', '"__metadata__", "x" is not a string'),
    ],
)
def test_headers_that_are_wrong(tmp_path: Path, header: str | bytes, problem: str) -> None:
    path = header_file(tmp_path / "a", header, b"\0" * 4)
    with pytest.raises(FileError) as raised:
        load_file(path)
    found = re.sub(r": incomplete: \d+ bytes missing; ", ": not a safetensors file: ", str(raised.value))
    assert found == f"{path}: not a safetensors file: {problem}"


WHOLE = {"version": "1", "streams": "0", "sha256": "0" * 64, "header": "compact"}


def without(key: str) -> dict[str, str]:
    return {name: value for name, value in WHOLE.items() if name != key}


@pytest.mark.parametrize(
    ("entries", "problem"),
    [
        ({"x": ""}, '"codecllm.version" is missing in its "__metadata__"'),
        ({"version": "2"}, 'its version is "2"; this program reads 1'),
        ({**WHOLE, "x": ""}, '"codecllm.x" in its "__metadata__" is not known'),
        (without("sha256"), '"codecllm.sha256" is missing in its "__metadata__"'),
        ({**WHOLE, "sha256": "0" * 63}, '"codecllm.sha256" in its "__metadata__" is damaged'),
        ({**WHOLE, "sha256": "0" * 63 + "A"}, '"codecllm.sha256" in its "__metadata__" is damaged'),
        ({**WHOLE, "sha256": "0" * 64 + "\n"}, '"codecllm.sha256" in its "__metadata__" is damaged'),
        (without("header"), '"codecllm.header" is missing in its "__metadata__"'),
        ({**WHOLE, "header": "rust"}, '"codecllm.header" in its "__metadata__" is damaged'),
        (
            {**WHOLE, "header": "{"},
            "original header: not a safetensors file: its header is not valid JSON at character 1",
        ),
        ({**WHOLE, "header": "{}"}, "its original header has 0 tensors, and it has 1"),
        (without("streams"), '"codecllm.streams" is missing in its "__metadata__"'),
        ({**WHOLE, "streams": "-1"}, '"codecllm.streams" in its "__metadata__" is damaged'),
        ({**WHOLE, "streams": "2"}, '"codecllm.streams" in its "__metadata__" is more than it has tensors'),
        ({**WHOLE, "streams": "1"}, '"a" should hold a stream, and is not a vector of U8'),
    ],
)
def test_metadata_that_are_wrong(tmp_path: Path, entries: dict[str, str], problem: str) -> None:
    metadata = {f"codecllm.{key}": value for key, value in entries.items()}
    path = compressed_file(tmp_path / "a", {"__metadata__": metadata, "a": FOUR_BYTES}, b"\0" * 4)
    with pytest.raises(FileError) as raised:
        load_file(path)
    assert str(raised.value) == f"{path}: {problem}"


FOUR_BYTES = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}


def compressed_file(path: Path, header: dict[str, object], data: bytes) -> Path:
    text = json.dumps(header)
    return header_file(path, text + " " * (-(8 + len(text)) % 64), data)


def unknown(elements: int, *offsets: int) -> dict[str, object]:
    """A tensor of a dtype of which nothing is known."""
    return {"dtype": "X", "shape": [elements], "data_offsets": offsets}


@pytest.mark.parametrize(
    ("original", "problem"),
    [
        ({"b": unknown(2, 0, 2), "c": unknown(2, 2, 6)}, '"b" of its original header is missing'),
        ({"c": unknown(2, 0, 4), "a": unknown(2, 4, 6)}, '"c" has another place in its original header'),
        ({"a": unknown(2, 0, 4), "c": unknown(2, 4, 6)}, '"a" is X [2], and X [2] in its original header'),
        (
            {"__metadata__": {"y": "2", "x": "1"}, "a": unknown(2, 0, 2), "c": unknown(2, 2, 6)},
            'its "__metadata__" does not have the entries of its original header',
        ),
    ],
)
def test_original_headers_that_are_wrong(tmp_path: Path, original: dict[str, object], problem: str) -> None:
    ours = {f"codecllm.{key}": value for key, value in {**WHOLE, "header": json.dumps(original)}.items()}
    metadata = {"__metadata__": {"x": "1", "y": "2", **ours}}
    path = compressed_file(tmp_path / "a", {**metadata, "a": unknown(2, 0, 2), "c": unknown(2, 2, 6)}, b"\0" * 6)
    with pytest.raises(FileError) as raised:
        load_file(path)
    assert str(raised.value) == f"{path}: {problem}"


def test_a_front_that_is_too_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_file({"a": torch.zeros(100, 100)}, tmp_path / "a")
    monkeypatch.setattr(_stored, "_MAX_FRONT_BYTES", 70)
    with pytest.raises(FileError, match=r'a: damaged at tensor "a": a front of \d+ bytes, more than 70$'):
        load_file(tmp_path / "a")


def test_a_dtype_that_pytorch_lacks(tmp_path: Path) -> None:
    header = {"a": {"dtype": "F6_E2M3", "shape": [4], "data_offsets": [0, 3]}}
    path = header_file(tmp_path / "a", json.dumps(header), b"\0" * 3)
    with pytest.raises(FileError, match=r'a: "a": PyTorch .* has no dtype for F6_E2M3'):
        load_file(path)


def test_paths_that_are_wrong(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        load_file(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FileError, match="pipe: is not a regular file"):
        load_file(tmp_path / "pipe")
    with pytest.raises(FileNotFoundError, match="nowhere"):
        save_file({}, tmp_path / "nowhere" / "model.safetensors")


def test_names_and_frameworks_that_are_wrong(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(100)}, tmp_path / "a")
    with pytest.raises(ValueError, match="framework 'tf' is none of pt, torch, pytorch, np, numpy"):
        safe_open(tmp_path / "a", framework="tf")
    with safe_open(tmp_path / "a") as opened, pytest.raises(FileError, match='has no tensor "b"'):
        opened.get_tensor("b")


def test_tensors_that_cannot_be_saved(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    matrix = torch.zeros(4, 4)
    for tensors, kind, problem in (
        ([matrix], ValueError, "expected a dict"),
        ({"a": 3}, ValueError, "'a': expected a tensor, not int"),
        ({"a": matrix.to_sparse()}, ValueError, "'a': a tensor of layout"),
        ({"a": matrix[:, :2]}, ValueError, "'a': not contiguous"),
        ({"a": matrix, "b": matrix[1:]}, RuntimeError, "'a' and 'b' share memory"),
        ({"a": matrix.to(torch.complex128)}, TypeError, r"there is no dtype torch\.complex128"),
    ):
        with pytest.raises(kind, match=problem):
            save_file(tensors, path)
        assert not path.exists()
    # Parts of one storage that do not overlap are no problem.
    save_file({"a": matrix[:2], "b": matrix[2:]}, path)
    with pytest.raises(ValueError, match="profile 'best'"):
        save_file({}, path, profile="best")


def test_cuda_is_asked_for_where_there_is_none(tmp_path: Path) -> None:
    if features().gpus and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    save_file({"a": torch.zeros(100)}, tmp_path / "a")
    with pytest.raises(UnavailableError, match="cuda"):
        load_file(tmp_path / "a", device="cuda")
    with safe_open(tmp_path / "a", device=0) as opened, pytest.raises(UnavailableError, match="cuda:0"):
        opened.get_tensor("a")


def test_cuda_is_asked_of_a_build_without_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(_cuda_loading, "has_cuda", lambda: False)
    save_file({"a": torch.zeros(100)}, tmp_path / "a")
    with pytest.raises(UnavailableError, match="cuda: this build of codecllm has no CUDA"):
        load_file(tmp_path / "a", device="cuda")

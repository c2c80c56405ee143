"""The golden checkpoints: compressed files and their originals, files that a reader must refuse, and originals that a
compressor must refuse. PyTorch is not needed for them."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from conftest import REPOSITORY, by_id

from codecllm import FileError, _library
from codecllm._checkpoint import Checkpoint
from codecllm._input import InputFile
from codecllm._loading import load
from codecllm._safetensors import read_header
from codecllm._saving import Source, write_checkpoint

CHECKPOINTS = REPOSITORY / "golden" / "checkpoint"
MANIFEST = json.loads((CHECKPOINTS / "manifest.json").read_text())

ONLY_SHA256 = {"place": "__metadata__.codecllm.sha256", "step": "data"}
"""Of files whose tensors can be read and whose original is another: section 11 leaves that to who gives it back."""


def bases_of(vector: dict[str, Any], folder: Path) -> list[Path]:
    """Copies of what a vector needs, each in a folder of its own: beside them is none that could be found there."""
    copies = []
    for number, name in enumerate(vector.get("bases", [])):
        (folder / str(number)).mkdir()
        copies.append(Path(shutil.copy(CHECKPOINTS / name, folder / str(number) / "base")))
    return copies


def everything_in(
    path: Path, bases: Sequence[Path] = ()
) -> tuple[dict[str, str] | None, list[tuple[str, str, tuple[int, ...], bytes]]]:
    """The metadata of a file, and of each tensor name, dtype, shape and bytes."""
    checkpoint = Checkpoint(path, bases)
    try:
        loaded = load(checkpoint.tensors.values())
        return checkpoint.metadata, [
            (name, tensor.dtype, tensor.shape, tensor.data.tobytes())
            for name, tensor in zip(checkpoint.tensors, loaded, strict=True)
        ]
    finally:
        checkpoint.close()


def assert_names(problem: str, place: str) -> None:
    """A message says where the manifest's `place` is."""
    patterns = {
        "length": r"\d bytes|byte \d",
        "header": "its header",
        "data": "follow the last tensor",
        "__metadata__": "__metadata__|in its metadata",
        "__metadata__.codecllm.version": '"codecllm.version"|its version',
        "__metadata__.codecllm.header": '"codecllm.header"|original header',
    }
    if place in patterns:
        assert re.search(patterns[place], problem)
    elif place.startswith("__metadata__."):
        assert f'"{place.removeprefix("__metadata__.")}"' in problem
    else:
        name, _, field = place.partition(".")
        assert f'"{name}"' in problem
        assert field.removesuffix("_offsets") in problem


@pytest.mark.parametrize("vector", by_id(MANIFEST["valid"]))
def test_valid(vector: dict[str, Any], folder: Path) -> None:
    compressed, original = CHECKPOINTS / vector["compressed"], CHECKPOINTS / vector["original"]
    assert everything_in(compressed, bases_of(vector, folder)) == everything_in(original)


@pytest.mark.parametrize("vector", by_id([each for each in MANIFEST["invalid"] if each["error"] != ONLY_SHA256]))
def test_invalid(vector: dict[str, Any], folder: Path) -> None:
    path = CHECKPOINTS / vector["file"]
    with pytest.raises(FileError) as raised:
        everything_in(path, bases_of(vector, folder))
    if vector["error"]["step"] == "base":
        # Of a chain, the link that is missing.
        assert "base" in str(raised.value)
        return
    assert str(raised.value).startswith(f"{path}: ")
    assert_names(str(raised.value).removeprefix(f"{path}: "), vector["error"]["place"])


@pytest.mark.parametrize("vector", by_id([each for each in MANIFEST["invalid"] if each["error"] == ONLY_SHA256]))
def test_what_only_the_sha256_of_the_original_tells(vector: dict[str, Any], folder: Path) -> None:
    _, tensors = everything_in(CHECKPOINTS / vector["file"], bases_of(vector, folder))
    assert len(tensors) > 0


@pytest.mark.parametrize("vector", by_id([each for each in MANIFEST["invalid"] if each["error"]["step"] == "header"]))
def test_what_the_header_tells_is_refused_at_once(vector: dict[str, Any]) -> None:
    with pytest.raises(FileError):
        Checkpoint(CHECKPOINTS / vector["file"])


@pytest.mark.parametrize("vector", by_id([each for each in MANIFEST["refused"] if "options" not in each]))
def test_refused(vector: dict[str, Any], tmp_path: Path) -> None:
    file = InputFile(CHECKPOINTS / vector["file"])
    try:
        header, data_start = read_header(file)
        sources = [
            Source(
                tensor.name,
                tensor.dtype,
                tensor.shape,
                tensor.size,
                lambda tensor=tensor: file.read(data_start + tensor.start, tensor.size),
            )
            for tensor in header.tensors
        ]
        path = tmp_path / "model.safetensors"
        with pytest.raises(FileError) as raised:
            write_checkpoint(path, sources, header.metadata, _library.options("small"))
    finally:
        file.close()
    assert str(raised.value).startswith(f"{path}: ")
    assert_names(str(raised.value).removeprefix(f"{path}: "), vector["error"]["place"])
    assert os.listdir(tmp_path) == []

"""Files of which one bit is other: whoever reads them gets what was there before, or is told."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

import codecllm
from codecllm.numpy import load_file, save_file

FLIPS = 300
ROWS = (1054, 1000)
"""Of more bytes than have one check."""


@pytest.fixture(name="file")
def _file(tmp_path: Path) -> Path:
    rng = np.random.default_rng(1)
    tensors = {
        "layer.weight": rng.normal(0, 0.02, (64, 64)).astype(np.float32),
        "layer.bias": rng.normal(0, 1, 9).astype(np.float32),
        "codes": rng.integers(0, 256, ROWS).astype(np.uint8),
    }
    path = tmp_path / "model.safetensors"
    save_file(tensors, path, metadata={"format": "np"})
    return path


def read(path: Path) -> list[tuple[str, bytes]]:
    loaded = {name: array.tobytes() for name, array in load_file(path).items()}
    with codecllm.safe_open(path, "np") as opened:
        assert opened.metadata() == {"format": "np"}
        assert {name: opened.get_tensor(name).tobytes() for name in loaded} == loaded
        last = opened.get_slice("codes")[-1:].tobytes()
        assert last == loaded["codes"][-1000:]
    return sorted(loaded.items())


@pytest.mark.parametrize("part", ["header", "kept", "anywhere"])
def test_one_bit_is_other(file: Path, part: str, tmp_path: Path) -> None:
    before = read(file)
    data = file.read_bytes()
    header = 8 + int.from_bytes(data[:8], "little")
    kept = 1054 * 1000 + 36
    places = {"header": range(header), "kept": range(len(data) - kept, len(data)), "anywhere": range(len(data))}[part]
    chance = random.Random(2)
    bad = tmp_path / "bad.safetensors"
    for n in range(FLIPS // 3):
        at = chance.choice(places)
        flipped = bytearray(data)
        flipped[at] ^= 1 << (n & 7)
        bad.write_bytes(flipped)
        try:
            found = read(bad)
        except codecllm.FileError:
            continue
        assert found == before, f"byte {at}, bit {n & 7}"
        assert part == "anywhere"


def test_a_part_of_a_kept_tensor_is_checked(file: Path) -> None:
    data = bytearray(file.read_bytes())
    # The last byte of all is that of "codes", in its second piece.
    data[-1] ^= 1
    file.write_bytes(data)
    with codecllm.safe_open(file, "np") as opened:
        codes = opened.get_slice("codes")
        assert codes[:3].shape == (3, 1000)
        with pytest.raises(codecllm.FileError, match=f'"codes": its check differs from byte {2**20} on'):
            codes[-3:]
    with pytest.raises(codecllm.FileError, match='"codes": its check differs'):
        codecllm.verify(file)


def test_a_file_of_before_there_were_checks_says_so() -> None:
    golden = Path(__file__).parents[2] / "golden" / "checkpoint" / "compressed"
    assert not codecllm.verify(golden / "compact.safetensors").files[0].checked
    assert codecllm.verify(golden / "checked-compact.safetensors").files[0].checked

"""Checkpoints that are coded against others, and tensors that are stored once, as one loads and saves them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import codecllm
from codecllm import FileError, safe_open
from codecllm.numpy import load_file, save_file

torch = pytest.importorskip("torch")

from codecllm import torch as codecllm_torch  # noqa: E402


def weights(steps: int) -> dict[str, np.ndarray]:
    """A model after so many steps of training: one tensor has several slices, one is small, one is tied."""
    random = np.random.default_rng(1)
    large = random.normal(0, 0.02, (1100, 1024)).astype(np.float16)
    for _ in range(steps):
        large = (large + random.normal(0, 2e-6, large.shape)).astype(np.float16)
    return {"large": large, "small": large[:8, :64].copy(), "tied": large, "bias": np.arange(4, dtype=np.float32)}


def assert_same(loaded: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert {name: array.tobytes() for name, array in loaded.items()} == {
        name: array.tobytes() for name, array in expected.items()
    }


@pytest.fixture
def chain(tmp_path: Path) -> list[Path]:
    """Three checkpoints, each against the one before."""
    paths = [tmp_path / f"{step}.safetensors" for step in range(3)]
    for step, path in enumerate(paths):
        save_file(weights(step), path, base=paths[step - 1 :: -1] if step else None)
    return paths


def test_a_chain_is_loaded_whole_in_part_and_by_name(chain: list[Path]) -> None:
    sizes = [path.stat().st_size for path in chain]
    assert max(sizes[1:]) < sizes[0] / 4
    expected = weights(2)
    for base in (chain[:2], chain[0].parent):
        assert_same(load_file(chain[2], base=base), expected)
    with safe_open(chain[2], "np", base=[str(path) for path in chain[:2]]) as checkpoint:
        assert checkpoint.get_tensor("tied").tobytes() == expected["tied"].tobytes()
        assert checkpoint.get_slice("large")[1000:1002].tobytes() == expected["large"][1000:1002].tobytes()


def test_a_base_may_be_equal_and_a_file_is_no_base_of_itself(tmp_path: Path) -> None:
    base, out = tmp_path / "base.safetensors", tmp_path / "out.safetensors"
    save_file(weights(0), base)
    save_file(weights(0), out, base=base)
    assert out.stat().st_size < base.stat().st_size / 50
    assert_same(load_file(out, base=[out, base]), weights(0))
    with pytest.raises(FileError, match="leads back to it"):
        load_file(out, base=out)


def test_equal_tensors_are_stored_once(chain: list[Path]) -> None:
    [inspected] = codecllm.inspect(chain[0])
    assert {tensor.name: tensor.copy_of for tensor in inspected.tensors}["tied"] == "large"
    assert_same(load_file(chain[0]), weights(0))


def test_what_is_missing_is_said_at_once(chain: list[Path], tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"2\.safetensors: is coded against a base, the file .* not given"):
        load_file(chain[2])
    with pytest.raises(FileError, match=r"1\.safetensors: is coded .*; .*1\.safetensors has [0-9a-f]{64}"):
        load_file(chain[2], base=chain[1])
    with pytest.raises(FileError, match=r"2\.safetensors: is coded .*; .*0\.safetensors has [0-9a-f]{64}"):
        load_file(chain[2], base=chain[0])
    with pytest.raises(FileError, match="is coded against a base"):
        codecllm.torch.load(chain[1].read_bytes())
    with pytest.raises(OSError):
        save_file(weights(1), tmp_path / "out", base=tmp_path / "none")
    assert not (tmp_path / "out").exists()


def test_the_command_line_writes_and_reads_the_same(chain: list[Path], tmp_path: Path) -> None:
    restored, again = tmp_path / "restored", tmp_path / "again"
    codecllm.decompress(chain[1], restored, base=chain[0])
    codecllm.compress(restored, again, base=chain[0])
    assert again.read_bytes() == chain[1].read_bytes()


def test_pytorch(tmp_path: Path) -> None:
    before = {"w": torch.randn(600, 512).bfloat16(), "b": torch.ones(3)}
    after = {"w": (before["w"].float() + 1e-5).bfloat16(), "b": torch.zeros(3)}
    old, new = tmp_path / "old", tmp_path / "new"
    codecllm_torch.save_file(before, old)
    codecllm_torch.save_file(after, new, base=old)
    assert new.stat().st_size < old.stat().st_size / 2
    loaded = codecllm_torch.load_file(new, base=old)
    assert all(torch.equal(loaded[name], tensor) for name, tensor in after.items())

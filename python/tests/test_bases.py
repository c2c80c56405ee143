"""Checkpoints that are coded against others, and tensors that are stored once, as one loads and saves them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import codecllm
from codecllm import FileError, safe_open
from codecllm.numpy import load_file, save_file

torch = pytest.importorskip("torch", reason="no PyTorch")
safetensors_numpy = pytest.importorskip("safetensors.numpy", reason="no safetensors")

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
    base, out = tmp_path / "base", tmp_path / "out"
    save_file(weights(0), base)
    save_file(weights(0), out, base=base)
    assert out.stat().st_size < base.stat().st_size / 50
    assert_same(load_file(out, base=[out, base]), weights(0))
    with pytest.raises(FileError, match="leads back to it"):
        load_file(out, base=out)


def test_a_base_is_found_in_the_folder_of_what_is_coded_against_it(chain: list[Path], tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(b"nothing that can be read")
    assert_same(load_file(chain[2]), weights(2))
    codecllm.verify(chain[2])
    with safe_open(chain[2], "np") as checkpoint:
        assert checkpoint.get_tensor("tied").tobytes() == weights(2)["tied"].tobytes()


def test_renamed_tensors_are_found_in_any_file_of_a_folder(tmp_path: Path) -> None:
    random = np.random.default_rng(2)
    old = [random.normal(0, 0.02, (64, 256)).astype(np.float32) for _ in range(6)]
    new = [(array + random.normal(0, 1e-6, array.shape)).astype(np.float32) for array in old]
    (tmp_path / "old").mkdir()
    save_file({str(i): old[i] for i in (0, 1, 2, 3)}, tmp_path / "old" / "a.safetensors")
    save_file({str(i): old[i] for i in (4, 5)}, tmp_path / "old" / "b.safetensors")
    renamed = {f"model.{i}": new[i] for i in (5, 0, 3)} | {"far": random.normal(0, 0.02, (64, 256)).astype(np.float32)}
    save_file(renamed, tmp_path / "new", base=tmp_path / "old")
    [inspected] = codecllm.inspect(tmp_path / "new")
    assert len(inspected.bases) == 2
    sizes = {tensor.name: tensor.bytes_after / tensor.bytes_before for tensor in inspected.tensors}
    assert max(sizes["model.5"], sizes["model.0"], sizes["model.3"]) < 0.6 < sizes["far"]
    assert_same(load_file(tmp_path / "new", base=tmp_path / "old"), renamed)


def test_what_equals_a_tensor_of_a_file_beside_it_is_stored_once(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    first, second = ({name: array[:256] for name, array in weights(step).items()} for step in (0, 1))
    for name, tensors in {"1": first, "2": {"other": first["large"], "new": second["large"]}}.items():
        (folder / f"{name}.safetensors").write_bytes(safetensors_numpy.save(tensors))
    report = codecllm.compress(folder, tmp_path / "out")
    [_, copy] = report.files
    sizes = {tensor.name: tensor.bytes_after for tensor in copy.tensors}
    assert sizes["other"] < sizes["new"] / 50
    assert_same(load_file(tmp_path / "out" / "2.safetensors"), {"other": first["large"], "new": second["large"]})
    codecllm.decompress(tmp_path / "out", tmp_path / "back")
    for name in ("1.safetensors", "2.safetensors"):
        assert (tmp_path / "back" / name).read_bytes() == (folder / name).read_bytes()
    (tmp_path / "out" / "1.safetensors").unlink()
    with pytest.raises(FileError, match="none of the compressed files in its folder is it"):
        load_file(tmp_path / "out" / "2.safetensors")


def test_equal_tensors_are_stored_once(chain: list[Path]) -> None:
    [inspected] = codecllm.inspect(chain[0])
    assert {tensor.name: tensor.copy_of for tensor in inspected.tensors}["tied"] == "large"
    assert_same(load_file(chain[0]), weights(0))


def test_what_is_missing_is_said_at_once(chain: list[Path], tmp_path: Path) -> None:
    alone = [tmp_path / str(step) / path.name for step, path in enumerate(chain)]
    for path, moved in zip(chain, alone, strict=True):
        moved.parent.mkdir()
        path.rename(moved)
    beside = "none of the compressed files in its folder is it"
    with pytest.raises(FileError, match=rf"2\.safetensors: is coded .*; {beside}, and none is given"):
        load_file(alone[2])
    with pytest.raises(FileError, match=r"1\.safetensors: is coded .*; .*1\.safetensors has [0-9a-f]{64}, and none"):
        load_file(alone[2], base=alone[1])
    with pytest.raises(FileError, match=r"2\.safetensors: is coded .*; .*0\.safetensors has [0-9a-f]{64}, and none"):
        load_file(alone[2], base=alone[0])
    with pytest.raises(FileError, match="is coded against a base"):
        codecllm.torch.load(alone[1].read_bytes())
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

"""Checkpoints in layers of bits: what each prefix of a file gives, and how it becomes finer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import codecllm
from codecllm import FileError, IncompleteError, _layers, _loading, _refining, safe_open
from codecllm import numpy as codecllm_numpy
from codecllm._stored import StoredTensor

torch = pytest.importorskip("torch")

from codecllm import _cuda_loading  # noqa: E402
from codecllm import torch as codecllm_torch  # noqa: E402

STARTS = (8, 10, 12, 14, 16, 24)


def weights() -> dict[str, Any]:
    torch.manual_seed(1)
    large = torch.randn(300, 128)
    large[0, :5] = torch.tensor([0.0, -0.0, float("inf"), float("nan"), 1e-41])
    return {
        "bf16": large.bfloat16(),
        "f32": large,
        "f16": (large / 16).half(),
        "small": large[:4].bfloat16(),
        "i8": torch.arange(-64, 64, dtype=torch.int8).repeat(200),
    }


@pytest.fixture
def path(tmp_path: Path) -> Path:
    codecllm_torch.save_file(weights(), tmp_path / "plain.safetensors")
    codecllm.decompress(tmp_path / "plain.safetensors", tmp_path / "original.safetensors")
    codecllm.compress(tmp_path / "original.safetensors", tmp_path / "in_layers.safetensors", progressive=True)
    return tmp_path / "in_layers.safetensors"


def prefixes_of(path: Path) -> dict[int, int]:
    return {prefix.bits: prefix.bytes for prefix in codecllm.inspect(path)[0].prefixes}


def bytes_of(tensors: dict[str, Any]) -> dict[str, bytes]:
    return {
        name: tensor.view(torch.uint8).numpy().tobytes() if isinstance(tensor, torch.Tensor) else tensor.tobytes()
        for name, tensor in tensors.items()
    }


def test_all_of_it_is_the_original(path: Path) -> None:
    assert bytes_of(codecllm_torch.load_file(path)) == bytes_of(weights())
    codecllm.verify(path)
    codecllm.decompress(path, path.parent / "back.safetensors")
    assert (path.parent / "back.safetensors").read_bytes() == (path.parent / "original.safetensors").read_bytes()
    with safe_open(path) as checkpoint:
        assert sorted(weights()) == checkpoint.keys()
        assert torch.equal(checkpoint.get_slice("f32")[7:9, 3:50], weights()["f32"][7:9, 3:50])


def test_tensors_are_saved_in_layers_as_a_file_is_compressed(path: Path) -> None:
    codecllm_torch.save_file(weights(), path.parent / "saved.safetensors", progressive=True)
    assert (path.parent / "saved.safetensors").read_bytes() == path.read_bytes()
    arrays = {name: tensor.numpy() for name, tensor in weights().items() if name != "bf16" and name != "small"}
    codecllm_numpy.save_file(arrays, path, progressive=True)
    assert tuple(prefixes_of(path)) == STARTS
    assert bytes_of(codecllm_numpy.load_file(path)) == bytes_of(arrays)
    before = path.read_bytes()
    for options in ({"base": path.parent / "original.safetensors"}, {"profile": "direct"}):
        with pytest.raises(FileError, match="put into layers"):
            codecllm_torch.save_file(weights(), path, progressive=True, **options)
    assert path.read_bytes() == before


@pytest.mark.usefixtures("gpu")
def test_tensors_on_a_gpu_are_saved_in_layers(path: Path) -> None:
    tensors = {name: tensor.cuda() for name, tensor in weights().items()}
    codecllm_torch.save_file(tensors, path.parent / "saved.safetensors", progressive=True)
    assert (path.parent / "saved.safetensors").read_bytes() == path.read_bytes()


def test_what_has_come_is_a_coarse_checkpoint_and_becomes_finer_in_place(path: Path) -> None:
    prefixes = prefixes_of(path)
    assert tuple(prefixes) == STARTS
    whole = path.read_bytes()
    growing = path.parent / "growing.safetensors"
    known = 0
    for bits, size in prefixes.items():
        growing.write_bytes(whole[: size - 1])
        with pytest.raises(IncompleteError, match="incomplete: 1 bytes missing") as raised:
            codecllm_torch.load_file(growing, bits=bits)
        assert raised.value.missing == 1
        growing.write_bytes(whole[:size])
        loaded = codecllm_torch.load_file(growing, bits=bits)
        for name, tensor in loaded.items():
            exact = weights()[name].float()
            error = ((tensor.float() - exact).abs() / exact.abs())[exact.isfinite() & (exact.abs() > 1e-4)]
            assert error.max() <= 2.0 ** ((5 if name == "f16" else 8) - bits)
            assert torch.equal(tensor.float()[~exact.isfinite()].isnan(), exact[~exact.isfinite()].isnan())
        if bits == STARTS[0]:
            refined: dict[str, Any] = {**loaded, "f32": loaded["f32"].numpy(), "f16": loaded["f16"].numpy()}
        else:
            codecllm_torch.refine_(refined, growing, known, bits)
            assert bytes_of(refined) == bytes_of(loaded)
        if bits < STARTS[-1]:
            with pytest.raises(FileError, match="incomplete"):
                codecllm_torch.refine_(refined, growing, bits)
        known = bits
    codecllm_torch.refine_(refined, path, known)
    assert bytes_of(refined) == bytes_of(weights())
    with pytest.raises(FileError, match="not a layer of what precedes it"):
        codecllm_torch.refine_(refined, path, known)
    assert bytes_of(refined) == bytes_of(weights())


def test_numpy(path: Path) -> None:
    try:
        coarse = codecllm_numpy.load_file(path, bits=10)
    except FileError:
        pytest.skip("ml_dtypes is not installed")
    assert bytes_of(coarse) == bytes_of(codecllm_torch.load_file(path, bits=10))
    codecllm_numpy.refine_(coarse, path, 10, 12)
    assert bytes_of(coarse) == bytes_of(codecllm_torch.load_file(path, bits=12))


def decode_on_the_host(tensors: list[StoredTensor], device: Any, bases: Any) -> dict[str, Any]:  # noqa: ANN401
    """What `load_cuda` gives."""
    return {
        tensor.name: tensor.as_torch(torch.from_numpy(loaded.data), loaded.dtype, loaded.shape)
        for tensor, loaded in zip(tensors, _loading.load(tensors), strict=True)
    }


@pytest.fixture(params=["cpu", "cuda"])
def device(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """A GPU; or host memory, where all but the decoder is as it is on a GPU."""
    monkeypatch.setattr(_layers, "_DEVICE_PIECE_WORDS", 2**13)
    if request.param == "cuda":
        request.getfixturevalue("gpu")
    else:
        monkeypatch.setattr(_cuda_loading, "load_cuda", decode_on_the_host)
        monkeypatch.setattr(_refining, "_is_for_gpu", lambda _: True)
    return request.param


def on_host(tensors: dict[str, Any]) -> dict[str, bytes]:
    return bytes_of({name: tensor.cpu().contiguous() for name, tensor in tensors.items()})


def test_layers_are_added_where_the_tensors_are(path: Path, device: str) -> None:
    expected = {bits: bytes_of(codecllm_torch.load_file(path, bits=bits)) for bits in (10, 12, 32)}
    coarse = codecllm_torch.load_file(path, device, bits=10)
    # Neither contiguous, nor at the beginning of its memory.
    coarse["bf16"] = torch.stack([coarse["bf16"]] * 2, 2)[:, :, 1]
    assert on_host(coarse) == expected[10]
    codecllm_torch.refine_(coarse, path, 10, 12)
    assert on_host(coarse) == expected[12]
    codecllm_torch.refine_(coarse, path, 12)
    assert on_host(coarse) == expected[32] == bytes_of(weights())
    wrong = {**codecllm_torch.load_file(path, device, bits=12)}
    wrong["f16"] = wrong["f16"].flip(0)
    before = on_host(wrong)["f16"]
    with pytest.raises(FileError, match='"12:f16": not a layer of what precedes it'):
        codecllm_torch.refine_(wrong, path, 12)
    assert on_host(wrong)["f16"] == before


@pytest.mark.usefixtures("gpu")
def test_the_host_decodes_no_layer_for_a_gpu(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        pytest.fail("the host decodes a layer")

    monkeypatch.setattr(StoredTensor, "read_layer", refuse)
    coarse = codecllm_torch.load_file(path, "cuda", bits=12)
    codecllm_torch.refine_(coarse, path, 12)
    assert on_host(coarse) == bytes_of(weights())


def test_a_damaged_layer_changes_nothing(path: Path, device: str) -> None:
    coarse = codecllm_torch.load_file(path, device, bits=10)
    before = on_host(coarse)["bf16"]
    with safe_open(path) as checkpoint:
        last = checkpoint._checkpoint.tensor("bf16").layers[-1].tensor
    whole = bytearray(path.read_bytes())
    whole[last.position + last.size - 40] ^= 1
    path.write_bytes(whole)
    with pytest.raises(FileError, match='damaged at tensor "14:bf16"'):
        codecllm_torch.refine_(coarse, path, 10)
    assert on_host(coarse)["bf16"] == before
    with pytest.raises(FileError, match='damaged at tensor "14:bf16"'):
        codecllm_torch.load_file(path, device)


def test_parameters_of_a_model_that_share_memory_are_refined_once(tmp_path: Path) -> None:
    table = torch.nn.Embedding(200, 96)
    model = torch.nn.ModuleDict({"embed": table, "head": torch.nn.Linear(96, 200, bias=False)})
    model["head"].weight = table.weight
    exact = table.weight.detach().clone()
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    codecllm_torch.save_file(state, tmp_path / "plain.safetensors")
    codecllm.decompress(tmp_path / "plain.safetensors", tmp_path / "original.safetensors")
    codecllm.compress(tmp_path / "original.safetensors", tmp_path / "out.safetensors", progressive=True)
    model.load_state_dict(codecllm_torch.load_file(tmp_path / "out.safetensors", bits=10))
    assert not torch.equal(table.weight, exact)
    codecllm_torch.refine_(model.state_dict(), tmp_path / "out.safetensors", 10)
    assert torch.equal(table.weight, exact)
    assert torch.equal(model["head"].weight, exact)


def test_what_refine_does_not_take(path: Path) -> None:
    coarse = codecllm_torch.load_file(path, bits=10)
    before = bytes_of(coarse)
    for wrong, problem in (
        ({name: tensor for name, tensor in coarse.items() if name != "f32"}, 'the tensors lack "f32"'),
        ({**coarse, "f16": coarse["f16"].float()}, '"f16" is F32'),
        ({**coarse, "f16": coarse["f16"].reshape(128, 300)}, r'"f16" is F16 \[128, 300\]'),
    ):
        with pytest.raises(ValueError, match=problem):
            codecllm_torch.refine_(wrong, path, 10)
    assert bytes_of(coarse) == before


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"base": "original"}, "what is coded against a base is not put into layers"),
        ({"for_transformers": True}, "transformers loads nothing that is in layers"),
        ({"profile": "direct"}, "profile direct stores all bits"),
    ],
)
def test_what_does_not_go_together(path: Path, options: dict[str, Any], problem: str) -> None:
    original = path.parent / "original.safetensors"
    given = {name: original if value == "original" else value for name, value in options.items()}
    with pytest.raises(FileError, match=problem):
        codecllm.compress(original, path.parent / "out", progressive=True, **given)


def test_what_is_coarse_replaces_nothing(path: Path) -> None:
    before = path.read_bytes()
    with pytest.raises(FileError, match="a coarse checkpoint replaces nothing"):
        codecllm.decompress(path, bits=10, in_place=True)
    with pytest.raises(FileError, match="cannot be estimated"):
        codecllm.estimate(path.parent / "original.safetensors", progressive=True)
    assert path.read_bytes() == before


def test_a_growing_file_without_layers_is_whole_or_incomplete(path: Path) -> None:
    plain = path.parent / "plain.safetensors"
    assert bytes_of(codecllm_torch.load_file(plain, bits=8)) == bytes_of(weights())
    plain.write_bytes(plain.read_bytes()[:-5])
    with pytest.raises(FileError, match="incomplete: 5 bytes missing"):
        codecllm_torch.load_file(plain, bits=8)
    plain.write_bytes(plain.read_bytes()[:100])
    with pytest.raises(FileError, match="incomplete"):
        codecllm_torch.load_file(plain, bits=8)

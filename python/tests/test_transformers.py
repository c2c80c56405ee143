"""Models that transformers loads from compressed directories, beside those that it loads from the originals."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import assert_same, gemma, llama

torch = pytest.importorskip("torch", reason="no PyTorch")
transformers = pytest.importorskip("transformers", reason="no transformers")

from torch import nn  # noqa: E402

import codecllm  # noqa: E402
from codecllm import FileError  # noqa: E402
from codecllm._decoded_weights import weight_of  # noqa: E402
from codecllm._quantizer import _without_hooks  # noqa: E402
from codecllm._tables import PROFILES  # noqa: E402
from codecllm.torch import load_file  # noqa: E402
from codecllm.transformers import CodecLLMConfig  # noqa: E402

IDS = torch.arange(40).reshape(2, 20) * 17 % 1000


def gpt2() -> nn.Module:
    """Its layers are of a class of transformers' own, but for the head; only the embeddings can be compressed."""
    return transformers.GPT2LMHeadModel(transformers.GPT2Config(vocab_size=1000, n_embd=128, n_layer=2, n_head=4))


def bert() -> nn.Module:
    """Its head is tied, and has a bias."""
    return transformers.BertForMaskedLM(
        transformers.BertConfig(
            vocab_size=1000, hidden_size=128, intermediate_size=256, num_hidden_layers=2, num_attention_heads=4
        )
    )


def mixtral() -> nn.Module:
    """Its experts are matrices in files, and one tensor in memory."""
    return transformers.MixtralForCausalLM(
        transformers.MixtralConfig(
            vocab_size=1000,
            hidden_size=128,
            intermediate_size=256,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            num_local_experts=4,
        )
    )


def published(directory: Path, make: Callable[[], nn.Module], profile: Any = "small", shards: str = "5GB") -> Path:  # noqa: ANN401
    """A model in its directory, and in another, compressed. @returns the second, beside which is the first, `plain`"""
    torch.manual_seed(1)
    model = make().bfloat16().eval()
    for parameter in model.parameters():
        # Ones and zeros, as norms and biases begin, would not be missed.
        parameter.data += 0.02 * torch.randn_like(parameter)
    model.save_pretrained(directory / "plain", max_shard_size=shards)
    codecllm.compress(directory / "plain", directory / "compressed", profile=profile, for_transformers=True)
    return directory / "compressed"


def load(directory: Path, **arguments: Any) -> Any:  # noqa: ANN401
    auto = transformers.AutoModelForMaskedLM if "BertFor" in (directory / "config.json").read_text() else None
    return (auto or transformers.AutoModelForCausalLM).from_pretrained(directory, **arguments)


def assert_same_model(found: nn.Module, plain: nn.Module) -> None:
    """Of the same names, dtypes and bits, and with the same results."""
    assert not found.training
    assert found.config.to_dict() == plain.config.to_dict() | {"_name_or_path": found.config.name_or_path}
    assert_same(dict(found.state_dict()), dict(plain.state_dict()))
    with torch.no_grad():
        results, expected = (each(IDS, labels=IDS) for each in (found, plain))
    assert torch.equal(results.logits, expected.logits)
    assert torch.equal(results.loss, expected.loss)


def compressed_names(model: nn.Module) -> list[str]:
    return [name for name, module in model.named_modules() if type(module).__name__.startswith("Compressed")]


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("tied", [False, True])
def test_llama(tmp_path: Path, tied: bool, profile: str) -> None:
    directory = published(tmp_path, lambda: llama(tied), profile, shards="200KB")
    assert len(list(directory.glob("*.safetensors"))) > 1
    model = load(directory)
    assert type(model) is transformers.LlamaForCausalLM
    assert len(compressed_names(model)) == 3 * 7 + 2
    assert torch.equal(model.generate(IDS, max_new_tokens=5, do_sample=False, pad_token_id=0), expected_text(tmp_path))
    plain = load(tmp_path / "plain")
    assert_same_model(model, plain)
    assert model.generation_config.to_dict() == plain.generation_config.to_dict()
    assert model.get_memory_footprint() < 0.8 * plain.get_memory_footprint()
    assert (model.lm_head.stream is model.model.embed_tokens.stream) == tied


def expected_text(directory: Path) -> torch.Tensor:
    return load(directory / "plain").generate(IDS, max_new_tokens=5, do_sample=False, pad_token_id=0)


@pytest.mark.parametrize(
    ("make", "count"), [(gpt2, 3), (gemma, 2 * 7 + 2), (bert, 3 + 2 * 6 + 2), (mixtral, 2 * 4 + 2)]
)
def test_others(tmp_path: Path, make: Callable[[], nn.Module], count: int) -> None:
    model = load(published(tmp_path, make))
    # Routers and position embeddings may be too small to become smaller.
    assert len(compressed_names(model)) >= count - 2
    assert_same_model(model, load(tmp_path / "plain"))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("make", [llama, lambda: llama(True), gpt2, mixtral])
def test_another_dtype(tmp_path: Path, make: Callable[[], nn.Module], dtype: torch.dtype) -> None:
    directory = published(tmp_path, make)
    model = load(directory, dtype=dtype)
    assert len(compressed_names(model)) > 1
    assert_same_model(model, load(tmp_path / "plain", dtype=dtype))


def test_what_stays_in_float32(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transformers.LlamaForCausalLM, "_keep_in_fp32_modules_strict", ["down_proj", "input_layernorm"])
    model = load(published(tmp_path, llama))
    assert model.model.layers[0].mlp.down_proj.weight.dtype == torch.float32
    assert model.model.layers[0].mlp.up_proj.weight.dtype == torch.bfloat16
    expected = load(tmp_path / "plain").state_dict()
    for name, weight in model.state_dict().items():
        assert weight.dtype == expected[name].dtype, name
        assert torch.equal(weight, expected[name]), name


def test_the_config_need_not_say_the_dtype(tmp_path: Path) -> None:
    published(tmp_path, llama)
    config = json.loads((tmp_path / "plain" / "config.json").read_text())
    del config["dtype"]
    (tmp_path / "plain" / "config.json").write_text(json.dumps(config))
    codecllm.compress(tmp_path / "plain", tmp_path / "again", for_transformers=True)
    assert_same_model(load(tmp_path / "again"), load(tmp_path / "plain"))


def test_a_plain_model_of_it(tmp_path: Path) -> None:
    directory = published(tmp_path, llama)
    with pytest.warns(UserWarning, match="dequantize"):
        model = load(directory, quantization_config=CodecLLMConfig(dequantize=True))
    assert compressed_names(model) == []
    assert all(type(each) is nn.Parameter for each in model.parameters())
    assert_same_model(model, load(tmp_path / "plain"))


def test_arguments_go_before_the_config(tmp_path: Path) -> None:
    directory = published(tmp_path, llama, "fast")
    loaded = load(directory).hf_quantizer.quantization_config
    assert (loaded.stored, loaded.profile, loaded.exact) == ("fast", "fast", False)
    with pytest.warns(UserWarning, match="exact"):
        model = load(directory, quantization_config=CodecLLMConfig(profile="direct", exact=True))
    loaded = model.hf_quantizer.quantization_config
    assert (loaded.stored, loaded.profile, loaded.exact) == ("fast", "direct", True)
    with pytest.raises(ValueError, match="'small' is for files"):
        CodecLLMConfig(profile="small")
    with pytest.raises(ValueError, match="wrong"):
        CodecLLMConfig(profile="wrong")


def test_a_directory_that_was_not_made_for_it(tmp_path: Path) -> None:
    published(tmp_path, llama)
    codecllm.compress(tmp_path / "plain")
    model = load(tmp_path / "plain.codecllm", quantization_config=CodecLLMConfig())
    assert len(compressed_names(model)) == 3 * 7 + 2
    assert_same_model(model, load(tmp_path / "plain"))
    with pytest.raises(FileError, match="plain: holds no compressed tensor"):
        load(tmp_path / "plain", quantization_config=CodecLLMConfig())


@pytest.mark.parametrize("make", [lambda: llama(True), mixtral])
def test_what_is_saved_is_a_plain_model(tmp_path: Path, make: Callable[[], nn.Module]) -> None:
    model = load(published(tmp_path, make))
    model.save_pretrained(tmp_path / "saved")
    names = [sorted(os.listdir(tmp_path / name)) for name in ("saved", "plain")]
    assert names[0] == names[1]
    assert "quantization_config" not in (tmp_path / "saved" / "config.json").read_text()
    saved, plain = (load_file(tmp_path / name) for name in ("saved", "plain"))
    assert saved.keys() == plain.keys()
    assert all(torch.equal(saved[name], plain[name]) for name in plain)
    assert_same_model(load(tmp_path / "saved"), load(tmp_path / "plain"))


def damage(directory: Path, name: str) -> Path:
    """Changes the middle of a tensor's data. @returns the file"""
    for path in directory.glob("*.safetensors"):
        data = bytearray(path.read_bytes())
        start = 8 + int.from_bytes(data[:8], "little")
        entry = json.loads(data[8:start]).get(name)
        if entry is not None:
            data[start + sum(entry["data_offsets"]) // 2] ^= 1
            path.write_bytes(data)
            return path
    raise AssertionError(name)


@pytest.mark.parametrize("make", [llama, mixtral])
def test_damaged_tensors_are_named(tmp_path: Path, make: Callable[[], nn.Module]) -> None:
    directory = published(tmp_path, make, shards="200KB")
    names = [name for name, weight in load_file(tmp_path / "plain").items() if weight.dim() == 2]
    for name in {names[0], names[5], names[-1], *(name for name in names if "experts.2.w3" in name)}:
        path = damage(directory, name)
        with pytest.raises(FileError) as raised:
            load(directory)
        assert str(raised.value).startswith(f'{path}: damaged at tensor "{name}": tile.')
        damage(directory, name)
    load(directory)


def test_a_damaged_front_is_named(tmp_path: Path) -> None:
    directory = published(tmp_path, llama)
    path = directory / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[8 + int.from_bytes(data[:8], "little") + 8] ^= 255
    path.write_bytes(data)
    with pytest.raises(FileError, match=r'model\.safetensors: damaged at tensor "lm_head\.weight": '):
        load(directory)


def test_offloading_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("accelerate", reason="no accelerate")
    directory = published(tmp_path, llama)
    for device_map in ({"model": "cpu", "lm_head": "disk"}, {"model": 0, "lm_head": "cpu"}):
        with pytest.raises(ValueError, match="cannot be offloaded"):
            load(directory, device_map=device_map)
    assert_same_model(load(directory, device_map="cpu"), load(tmp_path / "plain"))


def test_hooks_stay_on_layers() -> None:
    hooks = pytest.importorskip("accelerate.hooks", reason="no accelerate")
    layer = nn.Linear(3, 2)
    hooks.add_hook_to_module(layer, hooks.AlignDevicesHook(execution_device="cpu"))

    class Other(nn.Linear):
        def forward(self, _: torch.Tensor) -> str:
            return "mine"

    with _without_hooks([layer]):
        layer.__class__ = Other
    assert isinstance(layer._hf_hook, hooks.AlignDevicesHook)
    assert layer(torch.zeros(3)) == "mine"


def assert_same_on_gpu(directory: Path, exact: bool = True, **arguments: Any) -> Any:  # noqa: ANN401
    """Beside the plain model, on the first GPU. @returns the model of the directory"""
    model = load(directory, **arguments)
    plain = load(directory.parent / "plain", device_map="cuda:0")
    weights = dict(model.state_dict())
    assert all(weight.device.type == "cuda" for weight in weights.values())
    assert_same(weights, dict(plain.state_dict()))
    with torch.no_grad():
        found, expected = (each(IDS.cuda(), labels=IDS.cuda()) for each in (model, plain))
    for result, other in ((found.logits, expected.logits), (found.loss, expected.loss)):
        assert torch.equal(result, other) if exact else torch.allclose(result, other, atol=0.05)
    return model


EXACTLY = CodecLLMConfig(exact=True)


@pytest.mark.filterwarnings("ignore:You passed")
@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("make", [lambda: llama(True), gpt2, gemma, bert, mixtral])
def test_on_a_gpu(tmp_path: Path, gpu: None, make: Callable[[], nn.Module], profile: str) -> None:
    directory = published(tmp_path, make, profile)
    model = assert_same_on_gpu(directory, device_map="cuda", quantization_config=EXACTLY)
    assert len(compressed_names(model)) > 1


@pytest.mark.filterwarnings("ignore:You passed")
@pytest.mark.parametrize("profile", PROFILES)
def test_profiles_on_a_gpu(tmp_path: Path, gpu: None, profile: str) -> None:
    directory = published(tmp_path, llama, profile)
    for wanted in (None, "direct", "fast"):
        config = CodecLLMConfig(profile=wanted)
        model = assert_same_on_gpu(directory, False, device_map="cuda", quantization_config=config)
        # Weights of *fast* are multiplied as they lie by fewer rows than those of *direct*.
        is_direct = wanted == "direct" or (wanted is None and profile != "fast")
        most_rows = weight_of(model.model.layers[0].mlp.up_proj.stream).most_rows
        assert most_rows >= 64 if is_direct else most_rows == 8
    plain = assert_same_on_gpu(directory, device_map="cuda", quantization_config=CodecLLMConfig(dequantize=True))
    assert compressed_names(plain) == []


@pytest.mark.filterwarnings("ignore:You passed")
def test_with_hooks_on_a_gpu(tmp_path: Path, gpu: None) -> None:
    directory = published(tmp_path, lambda: llama(True))
    # To accelerate these are two devices.
    device_map = {"model": 0, "lm_head": "cuda:0"}
    model = assert_same_on_gpu(directory, device_map=device_map, quantization_config=EXACTLY)
    assert hasattr(model.lm_head, "_hf_hook")


@pytest.mark.parametrize("profile", PROFILES)
def test_damaged_tensors_are_named_on_a_gpu(tmp_path: Path, gpu: None, profile: str) -> None:
    directory = published(tmp_path, llama, profile)
    for name in ("lm_head.weight", "model.layers.1.mlp.up_proj.weight", "model.embed_tokens.weight"):
        path = damage(directory, name)
        with pytest.raises(FileError) as raised:
            load(directory, device_map="cuda")
        assert str(raised.value).startswith(f'{path}: damaged at tensor "{name}": tile.')
        damage(directory, name)
    load(directory, device_map="cuda")


@pytest.mark.filterwarnings("ignore:You passed")
@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("tied", [False, True])
def test_on_two_gpus(tmp_path: Path, gpu: None, tied: bool, profile: str) -> None:
    if torch.cuda.device_count() < 2:
        pytest.skip("there is one GPU")
    directory = published(tmp_path, lambda: llama(tied), profile)
    plain = load(tmp_path / "plain", device_map="cuda:0")
    expected = plain.generate(IDS.cuda(), max_new_tokens=5, do_sample=False, pad_token_id=0)
    first = dict.fromkeys(("model.embed_tokens", "model.layers.0", "lm_head"), 0)
    second = dict.fromkeys(("model.layers.1", "model.layers.2", "model.norm", "model.rotary_emb"), 1)
    for device_map in ("auto", first | second):
        model = load(directory, device_map=device_map, quantization_config=EXACTLY)
        assert {buffer.device.index for buffer in model.buffers()} == {0, 1}
        with torch.no_grad():
            assert torch.equal(model(IDS.cuda()).logits.cuda(), plain(IDS.cuda()).logits)
        text = model.generate(IDS.cuda(), max_new_tokens=5, do_sample=False, pad_token_id=0)
        assert torch.equal(text, expected)


def test_without_the_import_the_name_is_found(tmp_path: Path) -> None:
    directory = published(tmp_path, llama)
    script = f"import transformers; transformers.AutoModelForCausalLM.from_pretrained({str(directory)!r})"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert run.returncode != 0
    assert "codecllm" in run.stderr
    assert "import codecllm.transformers" in (directory / "config.json").read_text()
    assert "import codecllm.transformers" in (directory / "README.md").read_text()

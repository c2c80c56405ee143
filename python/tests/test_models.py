"""Whole models: from directories that were compressed, and compressed in memory, beside the originals."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="no PyTorch")

from torch import nn  # noqa: E402

from codecllm import FileError  # noqa: E402
from codecllm._tables import PROFILES  # noqa: E402
from codecllm.torch import compress_module  # noqa: E402


def small_model(tied: bool) -> nn.Module:
    transformers = pytest.importorskip("transformers", reason="no transformers")
    torch.manual_seed(1)
    config = transformers.LlamaConfig(
        vocab_size=1000,
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        tie_word_embeddings=tied,
    )
    return transformers.LlamaForCausalLM(config).bfloat16().eval()


IDS = torch.arange(40).reshape(2, 20) * 17 % 1000


@pytest.mark.parametrize("tied", [False, True])
def test_from_pretrained(tmp_path: Path, cli: Callable[..., None], tied: bool) -> None:
    model = small_model(tied)
    from codecllm.transformers import from_pretrained

    model.save_pretrained(tmp_path / "model", max_shard_size="200KB")
    assert len(list((tmp_path / "model").glob("*.safetensors"))) > 1
    cli("compress", tmp_path / "model")
    loaded = from_pretrained(tmp_path / "model.codecllm")
    plain = type(model).from_pretrained(tmp_path / "model")
    assert type(loaded) is type(plain)
    assert not loaded.training
    assert loaded.generation_config.to_dict() == plain.generation_config.to_dict()
    weights = loaded.state_dict()
    assert weights.keys() == plain.state_dict().keys()
    for name, weight in plain.state_dict().items():
        assert weights[name].dtype == weight.dtype
        assert torch.equal(weights[name].view(torch.uint8), weight.view(torch.uint8)), name
    with torch.no_grad():
        expected, found = (each(IDS, labels=IDS) for each in (plain, loaded))
    assert torch.equal(found.logits, expected.logits)
    assert torch.equal(found.loss, expected.loss)


def test_from_pretrained_of_an_unknown_class(tmp_path: Path) -> None:
    pytest.importorskip("transformers", reason="no transformers")
    from codecllm.transformers import from_pretrained

    (tmp_path / "config.json").write_text('{"model_type": "llama", "architectures": ["NoSuchModel"]}')
    with pytest.raises(FileError, match=r"config\.json: \"architectures\" names 'NoSuchModel'"):
        from_pretrained(tmp_path)


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("profile", PROFILES)
def test_compress_module(tied: bool, profile: str) -> None:
    model = small_model(tied)
    with torch.no_grad():
        expected = model(IDS, labels=IDS)
        generated = model.generate(IDS, max_new_tokens=5, do_sample=False, pad_token_id=0)
    weights = dict(model.named_parameters())
    assert compress_module(model, profile) is model
    with torch.no_grad():
        for _ in range(2):
            found = model(IDS, labels=IDS)
            assert torch.equal(found.logits, expected.logits)
            assert torch.equal(found.loss, expected.loss)
        again = model.generate(IDS, max_new_tokens=5, do_sample=False, pad_token_id=0)
    assert torch.equal(again, generated)
    # What is left are the norms; the weights can still be asked for.
    assert all(parameter.dim() == 1 for parameter in model.parameters())
    assert torch.equal(model.model.layers[1].mlp.down_proj.weight, weights["model.layers.1.mlp.down_proj.weight"])
    assert isinstance(model.lm_head, nn.Linear)


class Nested(nn.Linear):
    """A linear layer that uses others while it has its own weight."""

    def __init__(self) -> None:
        super().__init__(64, 64, dtype=torch.bfloat16)
        self.inner = nn.ModuleList(nn.Linear(64, 64, dtype=torch.bfloat16) for _ in range(3))

    def forward(self, values: torch.Tensor, depth: int = 0) -> torch.Tensor:
        weight = self.weight
        for layer in self.inner:
            values = layer(values)
        return nn.functional.linear(values, weight, self.bias)


def test_layers_inside_layers() -> None:
    torch.manual_seed(1)
    model = nn.Sequential(Nested(), nn.Embedding(9, 64), nn.Linear(64, 3), Nested())
    # Uses them in another order than they are in.
    first, _, _, second = model
    values = torch.randn(5, 64, dtype=torch.bfloat16)
    with torch.no_grad():
        expected = first(second(first(values)))
        compress_module(model)
        for _ in range(2):
            assert torch.equal(first(second(first(values))), expected)


def test_what_stays_as_it_is() -> None:
    torch.manual_seed(1)
    noise = nn.Linear(64, 64, bias=False)
    noise.weight = nn.Parameter(torch.randint(-(2**31), 2**31, (64, 64), dtype=torch.int32).view(torch.float32))
    model = nn.ModuleList([noise, nn.Embedding(9, 64, max_norm=1.0), nn.LayerNorm(64), nn.Conv1d(3, 3, 3)])
    compress_module(model)
    assert [type(module) for module in model] == [nn.Linear, nn.Embedding, nn.LayerNorm, nn.Conv1d]


def test_gradients_are_refused() -> None:
    torch.manual_seed(1)
    model = compress_module(nn.Sequential(nn.Linear(64, 64, dtype=torch.bfloat16)))
    assert not any(parameter.requires_grad for parameter in model.parameters())
    with pytest.raises(RuntimeError, match="have no gradients"):
        model(torch.zeros(1, 64, dtype=torch.bfloat16, requires_grad=True))

"""Whole models from directories that were compressed, beside the originals."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import small_model

torch = pytest.importorskip("torch", reason="no PyTorch")

from codecllm import FileError  # noqa: E402

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

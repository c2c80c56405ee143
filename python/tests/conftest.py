"""What tests share: where the repository is, its CLI, and weights to try things on."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import settings

import codecllm
from codecllm._dtypes import DTYPES

try:
    import ml_dtypes
except ImportError:
    ml_dtypes = None

if TYPE_CHECKING:
    import torch
    from torch import nn

# A failure is seen again by running it again.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")

REPOSITORY = Path(__file__).resolve().parents[2]
CLI = REPOSITORY / "dist" / "bin" / "codecllm.js"


@pytest.fixture
def cli() -> Callable[..., None]:
    """Runs the command line of the TypeScript product, which has to succeed."""
    if shutil.which("node") is None or not CLI.exists():
        pytest.skip("the command line is not there: it needs Node and `npm ci`")

    def run(*arguments: str | os.PathLike[str]) -> None:
        subprocess.run(["node", CLI, *map(os.fspath, arguments), "--quiet"], check=True)

    return run


@pytest.fixture
def gpu() -> None:
    """For tests that need a GPU."""
    torch = pytest.importorskip("torch", reason="no PyTorch")
    cuda, gpus = codecllm.features()
    if not cuda:
        pytest.skip("this build has no CUDA")
    if not gpus or not torch.cuda.is_available():
        pytest.skip("there is no GPU")


def by_id(vectors: list[dict[str, Any]]) -> list[Any]:
    """Parameters of a test: vectors of a manifest, under their names."""
    return [pytest.param(vector, id=vector["id"]) for vector in vectors]


def numpy_dtype(name: str) -> np.dtype | None:
    """NumPy's dtype for one of safetensors, with ml_dtypes if that is there; None where there is none."""
    numpy_name = DTYPES[name].numpy
    if numpy_name is None:
        return None
    if hasattr(np, numpy_name):
        return np.dtype(numpy_name)
    return None if ml_dtypes is None else np.dtype(getattr(ml_dtypes, numpy_name))


def weights(*shape: int, seed: int = 1) -> np.ndarray:
    """Float32, as weights are distributed: the scale differs by row and by column."""
    rng = np.random.default_rng(seed)
    values = 0.02 * rng.standard_normal(shape)
    for axis in range(len(shape)):
        scale = np.exp(0.3 * rng.standard_normal(shape[axis]))
        values *= np.expand_dims(scale, [other for other in range(len(shape)) if other != axis])
    return values.astype(np.float32)


def llama(tied: bool = False) -> nn.Module:
    """A Llama of the size of a test."""
    transformers = pytest.importorskip("transformers", reason="no transformers")
    config = transformers.LlamaConfig(
        vocab_size=1000,
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        tie_word_embeddings=tied,
    )
    return transformers.LlamaForCausalLM(config)


def gemma() -> nn.Module:
    """Its embedding has a forward of its own."""
    transformers = pytest.importorskip("transformers", reason="no transformers")
    config = transformers.Gemma3TextConfig(
        vocab_size=1000,
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,
    )
    return transformers.Gemma3ForCausalLM(config)


def small_model(tied: bool) -> nn.Module:
    """The same Llama every time, in BF16."""
    import torch

    torch.manual_seed(1)
    return llama(tied).bfloat16().eval()


def train_adapters(model: nn.Module, modules: list[str], ids: torch.Tensor) -> tuple[list[float], dict]:
    """Three steps of LoRA. @returns the losses, and the adapters' tensors"""
    import torch

    peft = pytest.importorskip("peft", reason="no peft")
    torch.manual_seed(2)
    adapted = peft.get_peft_model(model, peft.LoraConfig(target_modules=modules, r=4, init_lora_weights=False))
    optimizer = torch.optim.SGD([each for each in adapted.parameters() if each.requires_grad], 0.1)
    losses = []
    for _ in range(3):
        optimizer.zero_grad()
        loss = adapted(ids, labels=ids).loss
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses, peft.get_peft_model_state_dict(adapted)


def some_tensors() -> dict[str, torch.Tensor]:
    """Of many dtypes and shapes: large and small ones, some that become streams and some that are kept."""
    import torch

    torch.manual_seed(1)
    matrix = torch.from_numpy(weights(300, 257))
    return {
        "model.weight": matrix.bfloat16(),
        "model.weight.large": torch.from_numpy(weights(2100, 1300)).bfloat16(),
        'with "quotes", \\ and é\x7f\n': matrix.clone(),
        "half": matrix.half(),
        "fp8": (100 * matrix).to(torch.float8_e4m3fn),
        "fp8.other": (100 * matrix).to(torch.float8_e5m2),
        "fp8.kept": (100 * matrix).to(torch.float8_e4m3fnuz),
        "fp4": torch.randint(0, 2, (40, 64), dtype=torch.uint8).view(torch.float4_e2m1fn_x2),
        "fp4.kept": torch.randint(0, 256, (64,), dtype=torch.uint8).view(torch.float4_e2m1fn_x2),
        "mask": torch.rand(40, 40) > 0.9,
        "mask.kept": torch.rand(64) > 0.5,
        "ids": torch.arange(5000),
        "noise": torch.randint(0, 256, (5000,), dtype=torch.uint8),
        "complex": torch.zeros(300, dtype=torch.complex64),
        "scalar": torch.tensor(3.5),
        "nothing": torch.zeros(3, 0, dtype=torch.bfloat16),
        "nothing.kept": torch.zeros(0, dtype=torch.float8_e4m3fnuz),
        "wide": torch.from_numpy(weights(7, 5000)).double(),
    }


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty one that is not the test's own."""
    return tmp_path_factory.mktemp("folder")


def assert_same(tensors: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    """Names, dtypes, shapes and bits, wherever the tensors are."""
    import torch

    assert tensors.keys() == expected.keys()
    for name, tensor in tensors.items():
        assert tensor.dtype == expected[name].dtype, name
        assert tensor.shape == expected[name].shape, name
        raw = [each.cpu().reshape(-1).contiguous() for each in (tensor, expected[name])]
        assert tensor.numel() == 0 or torch.equal(*(each.view(torch.uint8) for each in raw)), name

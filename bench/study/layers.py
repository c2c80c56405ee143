#!/usr/bin/env python3
"""Seconds that a GPU takes for a checkpoint in layers of bits, beside one that is not.

    pip install ./python torch==2.14.1      # on a machine with a GPU and nvcc
    python3 bench/study/layers.py FOLDER    # takes 2.5 GB there

1.07 GB of BF16, normally distributed, from files whose pages are cached; the best of three, and of refining one. All is
compared bit for bit.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch
from codecllm.torch import load_file, refine_, save_file

Result = TypeVar("Result")


def seconds_of(work: Callable[[], Result]) -> tuple[float, Result]:
    torch.cuda.synchronize()
    begin = time.perf_counter()
    result = work()
    torch.cuda.synchronize()
    return time.perf_counter() - begin, result


def check(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    for name, weights in expected.items():
        if not torch.equal(found[name].view(torch.int16), weights.view(torch.int16)):
            sys.exit(f"{name} differs")


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    folder = Path(sys.argv[1])
    plain, layers = folder / "plain.safetensors", folder / "layers.safetensors"
    torch.manual_seed(1)
    weights = {f"{i}": (0.02 * torch.randn(4096, 8192, device="cuda")).bfloat16() for i in range(16)}
    save_file(weights, plain)
    save_file(weights, layers, progressive=True)
    print("| | seconds |\n| --- | --- |")
    for name, path, bits in (
        ("not in layers", plain, None),
        ("10 bits", layers, 10),
        ("12 bits", layers, 12),
        ("all", layers, None),
    ):
        runs = [seconds_of(lambda path=path, bits=bits: load_file(path, "cuda", bits=bits)) for _ in range(3)]
        if bits is None:
            check(runs[0][1], weights)
        print(f"| {name} | {min(seconds for seconds, _ in runs):.3f} |", flush=True)
    coarse = load_file(layers, "cuda", bits=10)
    print(f"| 10 bits refined to all | {seconds_of(lambda: refine_(coarse, layers, 10))[0]:.3f} |")
    check(coarse, weights)


if __name__ == "__main__":
    main()

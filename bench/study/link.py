#!/usr/bin/env python3
"""How much sooner a language model answers over a slow link when its checkpoint is in layers of bits.

    pip install ./python torch==2.14.1 transformers==5.24.0
    python3 bench/study/link.py DIRECTORY MBYTES_A_SECOND     # a directory that transformers loads

The directory's model.safetensors is compressed, in layers and not. A thread is the link: it lets a file grow at that
rate. The model takes weights as soon as enough bits are there, refines them in place as more come, and each time says
the token that follows a sentence. The first table has the seconds from the first byte on until that answer, and the
bytes that it needed; the second, what the model loses with these bits on the text that loss.py takes.
"""

from __future__ import annotations

import os
import pathlib
import sys
import tempfile
import threading
import time
from collections.abc import Callable

import codecllm
import loss
import torch
from codecllm.torch import load_file, refine_
from transformers import AutoModelForCausalLM, AutoTokenizer

PROMPT = "The capital of France is"
TICK_SECONDS = 0.02


def grow(source: pathlib.Path, target: pathlib.Path, rate: float) -> threading.Thread:
    """Begins to copy a file at a rate in bytes a second."""
    target.write_bytes(b"")

    def run() -> None:
        begin, done = time.perf_counter(), 0
        with open(source, "rb") as whole, open(target, "ab", buffering=0) as growing:
            while piece := whole.read(int(rate * (time.perf_counter() - begin)) - done or 1):
                growing.write(piece)
                done += len(piece)
                time.sleep(TICK_SECONDS)

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def as_soon_as_it_is_there(work: Callable[[], None]) -> None:
    while True:
        try:
            return work()
        except codecllm.IncompleteError:
            time.sleep(TICK_SECONDS)


def main() -> None:
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    directory, rate = pathlib.Path(sys.argv[1]), float(sys.argv[2]) * 1e6
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.bfloat16)
    tokenizer = AutoTokenizer.from_pretrained(directory)
    prompt = tokenizer(PROMPT, return_tensors="pt")
    state = model.state_dict()
    windows = loss.windows_of(model, tokenizer)

    @torch.no_grad()
    def answer() -> str:
        return tokenizer.decode(model(**prompt).logits[0, -1].argmax())

    answer()
    print("| bits | bytes that have come | seconds | answer |\n| --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        original, plain, layered = (
            directory / "model.safetensors",
            pathlib.Path(folder, "w"),
            pathlib.Path(folder, "l"),
        )
        codecllm.compress(original, plain)
        codecllm.compress(original, layered, progressive=True)
        growing = pathlib.Path(folder, "growing")
        (inspected,) = codecllm.inspect(layered)
        sizes = {prefix.bits: prefix.bytes for prefix in inspected.prefixes} | {16: os.path.getsize(layered)}
        for name, source in (("as it is", original), ("all, not in layers", plain)):
            link, begin = grow(source, growing, rate), time.perf_counter()
            as_soon_as_it_is_there(lambda: model.load_state_dict(load_file(growing, bits=16), strict=False))
            said, seconds = answer(), time.perf_counter() - begin
            link.join()
            print(f"| {name} | {os.path.getsize(source)} | {seconds:.1f} | {said} |", flush=True)
        link, begin = grow(layered, growing, rate), time.perf_counter()
        known = 0
        for bits in sizes:
            if known == 0:
                as_soon_as_it_is_there(
                    lambda bits=bits: model.load_state_dict(load_file(growing, bits=bits), strict=False)
                )
            else:
                as_soon_as_it_is_there(lambda bits=bits, known=known: refine_(state, growing, known, bits))
            known = bits
            said, seconds = answer(), time.perf_counter() - begin
            print(f"| {bits} | {sizes[bits]} | {seconds:.1f} | {said} |", flush=True)
        link.join()
        print("\n| bits | loss, bits a token |\n| --- | --- |")
        for bits in sizes:
            model.load_state_dict(load_file(layered, bits=bits), strict=False)
            print(f"| {bits} | {loss.loss(model.float(), windows):.4f} |", flush=True)
            model.bfloat16()


if __name__ == "__main__":
    main()

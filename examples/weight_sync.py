#!/usr/bin/env python3
"""Weights on their way from a trainer to a server: what each step of AdamW takes on the wire, sent in four ways.

    pip install ./python torch==2.13.0 zstandard==0.25.0
    python3 examples/weight_sync.py [STEPS [LEARNING_RATE]]

Two processes, and a socket between them. The trainer has masters in FP32, as reinforcement learning has, and the server
BF16 of them, equal to the trainer's after every step: their SHA-256 are compared. Bytes and milliseconds are medians of
a step, for whole weights; for the index and the value of each that changed, 32 + 16 bits; for the XOR with the old
ones, by zstd -3; and for `encode_update`, which the server applies. All of it is done on the CPU.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import socket
import statistics
import struct
import sys
import time
from collections.abc import Callable

import torch
import zstandard
from torch import nn

from codecllm.torch import apply_update_, encode_update

Weights = dict[str, torch.Tensor]
WORDS, LENGTH, BATCH = 512, 64, 16
WARM_UP = 20


class Model(nn.Module):
    """A small transformer that learns to predict the next of some words, each of which follows from two before it."""

    def __init__(self, width: int = 256, layers: int = 4) -> None:
        super().__init__()
        self.embedding = nn.Embedding(WORDS, width)
        layer = nn.TransformerEncoderLayer(width, 4, 4 * width, dropout=0, batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.output = nn.Linear(width, WORDS)

    def forward(self, words: torch.Tensor) -> torch.Tensor:
        mask = nn.Transformer.generate_square_subsequent_mask(words.shape[1], device=words.device)
        return self.output(self.layers(self.embedding(words), mask=mask, is_causal=True))


def batch() -> torch.Tensor:
    words = torch.randint(WORDS, (BATCH, LENGTH + 1))
    for at in range(2, LENGTH + 1):
        words[:, at] = (5 * words[:, at - 1] + 3 * words[:, at - 2]) % WORDS
    return words


def rounded(model: nn.Module) -> Weights:
    return {name: tensor.detach().bfloat16() for name, tensor in model.named_parameters()}


def bits(weights: Weights) -> torch.Tensor:
    return torch.cat([tensor.reshape(-1).view(torch.int16) for tensor in weights.values()])


def sha256(weights: Weights) -> bytes:
    return hashlib.sha256(bits(weights).numpy().data).digest()


def indices_and_values(old: Weights, new: Weights) -> bytes:
    before, after = bits(old), bits(new)
    places = (before != after).nonzero().reshape(-1)
    return places.int().numpy().tobytes() + after[places].numpy().tobytes()


def xor_zstd(old: Weights, new: Weights) -> bytes:
    return zstandard.ZstdCompressor(3).compress((bits(old) ^ bits(new)).numpy().tobytes())


def whole(_: Weights, new: Weights) -> bytes:
    return bits(new).numpy().tobytes()


WAYS: dict[str, Callable[[Weights, Weights], bytes]] = {
    "whole weights": whole,
    "index and value": indices_and_values,
    "XOR, zstd -3": xor_zstd,
    "encode_update": encode_update,
}


def send(connection: socket.socket, data: bytes) -> None:
    connection.sendall(struct.pack("<Q", len(data)) + data)


def receive(connection: socket.socket) -> bytes:
    def exactly(size: int) -> bytes:
        parts = bytearray()
        while len(parts) < size:
            part = connection.recv(min(1 << 20, size - len(parts)))
            if not part:
                raise EOFError("the trainer has gone")
            parts += part
        return bytes(parts)

    return exactly(*struct.unpack("<Q", exactly(8)))


def serve(address: tuple[str, int]) -> None:
    """The server: applies what it is sent, and answers with the SHA-256 of its weights and the time that it took."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    weights = rounded(Model())
    with socket.create_connection(address) as connection:
        while update := receive(connection):
            begin = time.perf_counter()
            apply_update_(weights, update)
            seconds = time.perf_counter() - begin
            send(connection, sha256(weights) + struct.pack("<d", seconds))


def train(connection: socket.socket, steps: int, rate: float) -> None:
    torch.manual_seed(0)
    model = Model()
    old = rounded(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate)
    sizes: dict[str, list[int]] = {way: [] for way in WAYS}
    times: dict[str, list[float]] = {way: [] for way in WAYS}
    applied: list[float] = []
    changed: list[float] = []
    for step in range(steps):
        words = batch()
        loss = nn.functional.cross_entropy(model(words[:, :-1]).reshape(-1, WORDS), words[:, 1:].reshape(-1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        new = rounded(model)
        messages = {}
        for way, make in WAYS.items():
            begin = time.perf_counter()
            messages[way] = make(old, new)
            if step >= WARM_UP:
                times[way].append(time.perf_counter() - begin)
                sizes[way].append(len(messages[way]))
        send(connection, messages["encode_update"])
        answer = receive(connection)
        if answer[:32] != sha256(new):
            sys.exit(f"step {step}: the server has other weights")
        if step >= WARM_UP:
            applied.append(*struct.unpack("<d", answer[32:]))
            changed.append((bits(old) != bits(new)).float().mean().item())
        old = new
    send(connection, b"")
    weights = bits(old).numel()
    share = statistics.median(changed)
    print(
        f"{weights} weights of BF16, AdamW at {rate:g}: {100 * share:.2f} % change in a step (median of {len(changed)})"
    )
    print(f"the server's were the trainer's after each of {steps} steps; it applied one in {ms(applied)} ms\n")
    print(f"{'':16}  {'bytes a step':>12}  {'bits a change':>13}  {'ms to make':>10}")
    for way in WAYS:
        size = statistics.median(sizes[way])
        print(f"{way:16}  {size:12.0f}  {8 * size / (share * weights):13.2f}  {ms(times[way]):>10}")


def ms(seconds: list[float]) -> str:
    return f"{1000 * statistics.median(seconds):.1f}"


def main() -> None:
    steps = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    rate = float(sys.argv[2]) if len(sys.argv) > 2 else 1e-5
    if steps <= WARM_UP:
        sys.exit(f"more than {WARM_UP} steps: the first ones are not counted")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = multiprocessing.get_context("spawn").Process(target=serve, args=(listener.getsockname(),))
        server.start()
        connection, _ = listener.accept()
        with connection:
            train(connection, steps, rate)
        server.join()


if __name__ == "__main__":
    main()

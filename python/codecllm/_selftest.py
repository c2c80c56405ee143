"""A report for people: four arrays are compressed, decoded and compared, on a GPU where there is one."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import numpy as np

from ._codec import decode, encode
from ._gpu_decoder import GPUDecoder

Result = TypeVar("Result")

_RUNS = 10
"""The fastest of so many is shown: what else the machine does only adds to it."""


def selftest() -> bool:
    """Prints the report. @returns whether every array came back bit-exact"""
    obstacle = _no_gpu()
    print(f"Decoder: {'host, because ' + obstacle if obstacle else _gpu_name()}\n")
    rng = np.random.default_rng(20260101)
    cases = [
        ("Small Data (64x64)", _weights(rng, 64, 64), False),
        ("Medium Data (256x256)", _weights(rng, 256, 256), True),
        ("Large Data (4096x4096)", _weights(rng, 4096, 4096), True),
        ("Patterns (256x256)", _patterns(256, 256), False),
    ]
    passed = [_run(number, *case, use_gpu=obstacle is None) for number, case in enumerate(cases, 1)]
    return all(passed)


def _weights(rng: np.random.Generator, rows: int, columns: int) -> np.ndarray:
    """Weights of 8 bits as quantisation makes them: int8, normally distributed, the largest a few deviations away."""
    return np.clip(np.round(24 * rng.standard_normal((rows, columns))), -127, 127).astype(np.int8)


def _patterns(rows: int, columns: int) -> np.ndarray:
    """Strips of what weights are not: zeros, all ones, stripes, a checkerboard, slopes, and noise of all values."""
    row, column = np.indices((rows, columns))
    noise = np.random.default_rng(1).integers(-128, 128, (rows, columns))
    strips = [
        0 * row,
        0 * row - 1,
        127 * (row % 2),
        127 * (column % 2),
        100 * ((row + column) % 2),
        column,
        row + column,
        noise,
    ]
    return np.choose(row * len(strips) // rows, strips).astype(np.uint8).view(np.int8)


def _run(number: int, name: str, array: np.ndarray, is_large: bool, use_gpu: bool) -> bool:
    print(f"=== Test {number}: {name} ===")
    stream = encode(array)
    print(f"Original: {array.shape}, {array.nbytes} bytes")
    print(f"Compressed: {len(stream)} bytes ({array.nbytes / len(stream):.2f}x)")
    decoded, host_seconds = _timed(lambda: np.asarray(decode(stream)))
    seconds = host_seconds
    if use_gpu:
        decoded, seconds = _decode_on_gpu(stream)
    print(f"Decode time: {1000 * seconds:.3f} ms")
    if is_large and use_gpu:
        print(f"Speedup: {host_seconds / seconds:.1f}x faster")
    is_exact = decoded.dtype == array.dtype and np.array_equal(decoded, array)
    print(f"Bit-exact: {is_exact}")
    print(f"{'✓' if is_exact else '✗'} Test {number} {'PASSED' if is_exact else 'FAILED'}\n")
    return is_exact


def _timed(work: Callable[[], Result]) -> tuple[Result, float]:
    """What it gives, and the seconds of its fastest run."""
    fastest = float("inf")
    for _ in range(_RUNS):
        start = time.perf_counter()
        result = work()
        fastest = min(fastest, time.perf_counter() - start)
    return result, fastest


def _no_gpu() -> str | None:
    """Why no GPU can decode; None where one can."""
    from . import features

    cuda, gpus = features()
    if not cuda:
        return "this build has no CUDA"
    if not gpus:
        return "there is no GPU"
    try:
        import torch
    except ImportError:
        return "there is no PyTorch"
    return None if torch.cuda.is_available() else "PyTorch finds no GPU"


def _gpu_name() -> str:
    import torch

    return torch.cuda.get_device_name()


def _decode_on_gpu(stream: bytes) -> tuple[np.ndarray, float]:
    """The array, and the seconds from compressed data on the device to a tensor there, checked."""
    import torch

    with GPUDecoder([stream]) as decoder:
        info = decoder.streams[0]
        data = torch.frombuffer(bytearray(stream[info.front_bytes :]), dtype=torch.uint8).cuda()
        output = torch.empty(info.shape, dtype=torch.int8, device="cuda")

        def work() -> None:
            decoder.decode([data], [output])
            decoder.check()

        _, seconds = _timed(work)
        return output.cpu().numpy(), seconds

"""How fast something decodes on the GPU, the same way for every codec.

So many decodes in a row, over copies of all buffers that rotate so that nothing is left in the L2 cache, in a CUDA
graph: what a launch costs the host is in no number, whether the codec is called from C or from Python. CUDA events tell
the time of a graph; the median counts.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable

import torch
from decoders import Coded

RUNS = 15
POISON = 0x5A


def seconds_of(coded: Coded, runs: int = RUNS) -> tuple[float, str]:
    """Median seconds of one decode, and how it was launched: "graph", or "calls" where a graph cannot hold it.

    Raises:
        ValueError: what was decoded is something else than what was encoded
    """
    size = sum(each.numel() for each in coded.expected)
    moved = size + sum(each.nbytes for each in coded.buffers)
    cache = torch.cuda.get_device_properties().L2_cache_size
    # Six times the cache, as `npm run bench:gpu` does; of what is so small that this takes many, twice.
    copies = max(min(16, 1 + 6 * cache // moved), 1 + 2 * cache // moved)
    decodes = max(1, min(20, 2**28 // size))
    # Whole rounds, so that a buffer's turns are equally far apart.
    decodes = -(-decodes // copies) * copies

    # Launchers know the addresses alone, so that the memory is held here.
    buffers = [[each.clone() for each in coded.buffers] for _ in range(copies)]
    outputs = [[torch.full_like(each, POISON) for each in coded.expected] for _ in range(copies)]
    launches = [coded.launcher(*places) for places in zip(buffers, outputs, strict=True)]
    row = [launches[i % copies] for i in range(decodes)]
    seconds, launched = median_of(row, runs)
    coded.check()
    for copy in outputs:
        for found, expected in zip(copy, coded.expected, strict=True):
            if not torch.equal(found, expected):
                raise ValueError("what was decoded is something else")
    return seconds / decodes, launched


def copy_rate(size: int, runs: int = RUNS) -> float:
    """GB/s, read and written, of a device-to-device copy of so many bytes."""
    source, target = (torch.full((size,), POISON, dtype=torch.uint8, device="cuda") for _ in range(2))
    return 2 * size / median_of([lambda: target.copy_(source)], runs)[0] / 1e9


def median_of(row: list[Callable[[], object]], runs: int = RUNS) -> tuple[float, str]:
    """Median seconds of some calls in a row, and how they were launched, as `seconds_of` says it."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        # Kernels are loaded by the first call, which no graph could hold.
        _in_a_row(row)
        stream.synchronize()
        graph = _captured(row)
        launch, launched = (graph.replay, "graph") if graph else (lambda: _in_a_row(row), "calls")
        for _ in range(2):
            launch()
        seconds = []
        for _ in range(runs):
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            begin.record()
            launch()
            end.record()
            end.synchronize()
            seconds.append(begin.elapsed_time(end) / 1e3)
    return statistics.median(seconds), launched


def _captured(row: list[Callable[[], object]]) -> torch.cuda.CUDAGraph | None:
    """Calls as a graph of the current stream; None if one of them does what a graph cannot hold."""
    graph = torch.cuda.CUDAGraph()
    try:
        # Relaxed: codecs may ask the driver for what does not touch the stream.
        graph.capture_begin(capture_error_mode="relaxed")
        try:
            _in_a_row(row)
        finally:
            graph.capture_end()
    except RuntimeError as error:
        print(f"not captured: {error}", file=sys.stderr)
        return None
    return graph


def _in_a_row(row: list[Callable[[], object]]) -> None:
    for call in row:
        call()

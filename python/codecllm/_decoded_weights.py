"""Compressed weights, and the memory that they are decoded to.

Decoded weights lie in one buffer that all of them share, at its two ends in turn. While a layer computes with the one
at one end, a CUDA stream of the buffer's own decodes the next layer's to the other. Which one is next is what was next
the last time.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise

import numpy as np
import torch
from torch import nn

from . import _library
from ._gpu_decoder import GPUDecoder
from ._gpu_encoder import GPUStream

_ALIGNMENT = 256
"""Decoded weights begin at a multiple of this."""


class Weight:
    """A compressed weight, in the memory of the device on which it is used."""

    following: Weight | None = None
    """The one that was used after it, the last time."""

    def __init__(self, weight: nn.Parameter, stream: GPUStream | np.ndarray) -> None:
        self.device = weight.device
        self.size = weight.nbytes
        self._dtype = weight.dtype
        self._shape = weight.shape
        if isinstance(stream, GPUStream):
            size = GPUDecoder.memory_bytes([stream.front], self.device.index)
            self._memory = torch.empty(size, dtype=torch.uint8, device=self.device)
            # Until nothing uses this memory any more.
            torch.cuda.synchronize(self.device)
            self._decoder = GPUDecoder([stream.front], self.device.index, self._memory)
            self._data = stream.data
        else:
            self._data = torch.from_numpy(stream.copy())

    def keep_for(self, cuda_stream: torch.cuda.Stream) -> None:
        """Keeps its memory, should it be freed, from being used again before a CUDA stream has decoded it."""
        self._memory.record_stream(cuda_stream)
        self._data.record_stream(cuda_stream)

    def decode(self, output: torch.Tensor) -> torch.Tensor:
        """Decodes it into `output` (uint8 of its size), on the current CUDA stream if it is on a GPU.

        Returns:
            the weight: a view of `output`
        """
        if self.device.type == "cuda":
            # Nothing has touched these bytes since they were encoded here.
            self._decoder.decode([self._data], [output], verify=False)
        else:
            _library.call("decode", self._data.data_ptr(), self._data.numel(), output.data_ptr(), output.numel())
        return output.view(self._dtype).view(self._shape)


class _End:
    """An end of the buffer, and what is there."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.weight: Weight | None = None
        self.tensor = torch.empty(0)
        self.users = 0
        """How many layers compute with it now: more than one if they are inside each other."""


class Buffer:
    """The memory of a device that decoded weights share. This one decodes a weight when it is asked for."""

    def __init__(self, weights: list[Weight]) -> None:
        # Any two of them, one at each end.
        size = sum(sorted(_aligned(weight.size) for weight in weights)[-2:])
        self._memory = torch.empty(size, dtype=torch.uint8, device=weights[0].device)
        self._ends = [_End(0), _End(1)]
        self._last: Weight | None = None
        for weight, following in pairwise(weights):
            weight.following = following

    @contextmanager
    def holding(self, weight: Weight) -> Iterator[torch.Tensor]:
        """Gives the decoded weight, which is there until the context ends."""
        if self._last is not None and self._last is not weight:
            self._last.following = weight
        self._last = weight
        end = self._end_of(weight)
        if end is None:
            # Layers inside layers: both ends are in use.
            yield weight.decode(torch.empty(weight.size, dtype=torch.uint8, device=weight.device))
            return
        end.users += 1
        try:
            self._begin(end, weight)
            yield end.tensor
        finally:
            end.users -= 1
            self._finish(end)

    def _end_of(self, weight: Weight) -> _End | None:
        """The end where a weight is, or is being decoded to; None if both hold others that are in use."""
        for end in self._ends:
            if end.weight is weight:
                return end
        free = [end for end in self._ends if end.users == 0]
        if not free:
            return None
        end = free[0]
        start = 0 if end.number == 0 else self._memory.numel() - _aligned(weight.size)
        end.weight = weight
        self._decode(end, weight, self._memory[start : start + weight.size])
        return end

    def _decode(self, end: _End, weight: Weight, output: torch.Tensor) -> None:
        end.tensor = weight.decode(output)

    def _begin(self, end: _End, weight: Weight) -> None:
        """Called before a layer uses a weight at an end,"""

    def _finish(self, end: _End) -> None:
        """and when it has."""


class CudaBuffer(Buffer):
    """The same on a GPU, where the next weight is decoded while a layer computes."""

    def __init__(self, weights: list[Weight]) -> None:
        super().__init__(weights)
        self._device = weights[0].device
        self._cuda_stream = torch.cuda.Stream(self._device)
        # The buffer's memory may be such that the current CUDA stream still works with.
        self._cuda_stream.wait_stream(torch.cuda.current_stream(self._device))
        # And whoever gets this memory next must not find it being decoded to.
        self._memory.record_stream(self._cuda_stream)
        for weight in weights:
            weight.keep_for(self._cuda_stream)
        self._decoded = [torch.cuda.Event(), torch.cuda.Event()]
        self._used = [torch.cuda.Event(), torch.cuda.Event()]

    def _decode(self, end: _End, weight: Weight, output: torch.Tensor) -> None:
        with torch.cuda.stream(self._cuda_stream):
            self._cuda_stream.wait_event(self._used[end.number])
            super()._decode(end, weight, output)
            self._decoded[end.number].record(self._cuda_stream)

    def _begin(self, end: _End, weight: Weight) -> None:
        torch.cuda.current_stream(self._device).wait_event(self._decoded[end.number])
        if weight.following is not None:
            # Begins to decode it to the other end, if that is free.
            self._end_of(weight.following)

    def _finish(self, end: _End) -> None:
        self._used[end.number].record(torch.cuda.current_stream(self._device))


def _aligned(size: int) -> int:
    return -(-size // _ALIGNMENT) * _ALIGNMENT

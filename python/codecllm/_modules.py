"""Models whose weights stay compressed in memory: each is decoded right before it is used.

Decoded weights lie in one buffer that all of them share, at its two ends in turn. While a layer computes with the one
at one end, a CUDA stream of the buffer's own decodes the next layer's to the other. Which one is next is what was next
the last time.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import nn

from . import _library
from ._codec import Profile, encode_bytes
from ._dtypes import bytes_of
from ._gpu import GPUDecoder, GPUEncoder, GPUStream

_ALIGNMENT = 256
"""Decoded weights begin at a multiple of this."""
_BATCH_BYTES = 512 * 2**20
"""Weights are compressed so many bytes at a time, or one."""


def compress_module(model: nn.Module, profile: Profile = "fast") -> nn.Module:
    """Replaces the weights of linear and embedding layers by compressed ones, and so saves memory.

    They are decoded right before use, on their GPU (or on the host, if the model is there), into a buffer that all
    layers share and that is as large as the two largest weights. What the model computes is the same, bit for bit. It
    is for inference afterwards: no parameter of it requires a gradient, and it has to stay on its device.

    A layer's `weight` is what it was while its `forward` runs; elsewhere it is a copy that is decoded for the caller.
    Weights that do not become smaller stay as they are, and weights that several layers share are kept once.

    Args:
        model: changed in place
        profile: "fast" is for GPUs; "small" takes a little less memory

    Returns:
        the model

    Raises:
        UnavailableError: the model is on a GPU, and this build of codecllm has no CUDA
        ValueError: no such profile
    """
    # Refuses a wrong profile before anything is changed.
    _library.options(profile)
    model.requires_grad_(False)
    # A dict for the order of the modules, in which they are mostly used, too.
    layers: dict[nn.Parameter, list[nn.Module]] = {}
    for module in model.modules():
        own = _weight_of(module)
        if own is not None:
            layers.setdefault(own, []).append(module)

    compressed: dict[torch.device, list[tuple[_Weight, list[nn.Module]]]] = {}
    # From here on nothing holds a parameter longer than it takes to compress its batch.
    waiting = deque(layers.items())
    del layers
    while waiting:
        batch = _next_batch(waiting)
        streams = _streams_of([parameter for parameter, _ in batch], profile)
        for (parameter, modules), stream in zip(batch, streams, strict=True):
            if stream is None:
                continue
            compressed.setdefault(parameter.device, []).append((_Weight(parameter, stream), modules))
            for module in modules:
                del module.weight
    for device, weights in compressed.items():
        buffer = (_CudaBuffer if device.type == "cuda" else _Buffer)([weight for weight, _ in weights])
        for weight, modules in weights:
            for module in modules:
                module.__class__ = _compressed_class(type(module))  # type: ignore[arg-type]
                module.__dict__["compressed"] = _ModuleWeight(weight, buffer)
    return model


def _weight_of(module: nn.Module) -> nn.Parameter | None:
    """The weight that is to be compressed, if the module has one."""
    # An embedding with max_norm changes its weight as it is used.
    if isinstance(module, nn.Linear) or (isinstance(module, nn.Embedding) and module.max_norm is None):
        return dict(module.named_parameters(recurse=False, remove_duplicate=False)).get("weight")
    return None


def _next_batch(waiting: deque[tuple[nn.Parameter, list[nn.Module]]]) -> list[tuple[nn.Parameter, list[nn.Module]]]:
    """Takes weights that are compressed together: of one device."""
    batch = [waiting.popleft()]
    size = batch[0][0].nbytes
    while waiting and waiting[0][0].device == batch[0][0].device and size + waiting[0][0].nbytes <= _BATCH_BYTES:
        batch.append(waiting.popleft())
        size += batch[-1][0].nbytes
    return batch


def _streams_of(weights: list[nn.Parameter], profile: Profile) -> list[GPUStream | np.ndarray | None]:
    """Compresses weights where they are; None for those that do not become smaller."""
    device = weights[0].device
    if device.type == "cuda":
        with GPUEncoder(device.index) as encoder:
            return list(encoder.encode(weights, profile))
    options = _library.options(profile)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        streams = list(pool.map(lambda weight: encode_bytes(*bytes_of(weight), options), weights))
    return [stream if stream.size < weight.nbytes else None for weight, stream in zip(weights, streams, strict=True)]


class _Weight:
    """A compressed weight, in the memory of the device on which it is used."""

    following: _Weight | None = None
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

    def record_stream(self, stream: torch.cuda.Stream) -> None:
        """Keeps its memory, should it be freed, from being used again before a CUDA stream has decoded it."""
        self._memory.record_stream(stream)
        self._data.record_stream(stream)

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
        self.weight: _Weight | None = None
        self.tensor = torch.empty(0)
        self.users = 0
        """How many layers compute with it now: more than one if they are inside each other."""


class _Buffer:
    """The memory of a device that decoded weights share. This one decodes a weight when it is asked for."""

    def __init__(self, weights: list[_Weight]) -> None:
        # Any two of them, one at each end.
        size = sum(sorted(_aligned(weight.size) for weight in weights)[-2:])
        self._memory = torch.empty(size, dtype=torch.uint8, device=weights[0].device)
        self._ends = [_End(0), _End(1)]
        self._last: _Weight | None = None
        for weight, following in pairwise(weights):
            weight.following = following

    @contextmanager
    def holding(self, weight: _Weight) -> Iterator[torch.Tensor]:
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

    def _end_of(self, weight: _Weight) -> _End | None:
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

    def _decode(self, end: _End, weight: _Weight, output: torch.Tensor) -> None:
        end.tensor = weight.decode(output)

    def _begin(self, end: _End, weight: _Weight) -> None:
        """Called before a layer uses a weight at an end,"""

    def _finish(self, end: _End) -> None:
        """and when it has."""


class _CudaBuffer(_Buffer):
    """The same on a GPU, where the next weight is decoded while a layer computes."""

    def __init__(self, weights: list[_Weight]) -> None:
        super().__init__(weights)
        self._device = weights[0].device
        self._stream = torch.cuda.Stream(self._device)
        # The buffer's memory may be such that the current stream still works with.
        self._stream.wait_stream(torch.cuda.current_stream(self._device))
        # And whoever gets this memory next must not find it being decoded to.
        self._memory.record_stream(self._stream)
        for weight in weights:
            weight.record_stream(self._stream)
        self._decoded = [torch.cuda.Event(), torch.cuda.Event()]
        self._used = [torch.cuda.Event(), torch.cuda.Event()]

    def _decode(self, end: _End, weight: _Weight, output: torch.Tensor) -> None:
        with torch.cuda.stream(self._stream):
            self._stream.wait_event(self._used[end.number])
            super()._decode(end, weight, output)
            self._decoded[end.number].record(self._stream)

    def _begin(self, end: _End, weight: _Weight) -> None:
        torch.cuda.current_stream(self._device).wait_event(self._decoded[end.number])
        if weight.following is not None:
            # Begins to decode it to the other end, if that is free.
            self._end_of(weight.following)

    def _finish(self, end: _End) -> None:
        self._used[end.number].record(torch.cuda.current_stream(self._device))


def _aligned(size: int) -> int:
    return -(-size // _ALIGNMENT) * _ALIGNMENT


class _ModuleWeight:
    """The weight of a layer."""

    def __init__(self, weight: _Weight, buffer: _Buffer) -> None:
        self._weight = weight
        self._buffer = buffer
        self._held: torch.Tensor | None = None

    @contextmanager
    def held(self) -> Iterator[None]:
        """Has it decoded in the shared buffer."""
        with self._buffer.holding(self._weight) as tensor:
            self._held = tensor
            try:
                yield
            finally:
                self._held = None

    def tensor(self) -> torch.Tensor:
        if self._held is not None:
            return self._held
        return self._weight.decode(torch.empty(self._weight.size, dtype=torch.uint8, device=self._weight.device))


@cache
def _compressed_class(base: type[nn.Module]) -> type[nn.Module]:
    """A layer's class, with a weight that is compressed."""

    class Compressed(base):  # type: ignore[valid-type, misc]
        compressed: _ModuleWeight

        @property
        def weight(self) -> torch.Tensor:
            return self.compressed.tensor()

        def forward(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
            if torch.is_grad_enabled() and any(
                isinstance(value, torch.Tensor) and value.requires_grad for value in args
            ):
                raise RuntimeError("compressed layers have no gradients: use torch.no_grad()")
            with self.compressed.held():
                return super().forward(*args, **kwargs)

    Compressed.__name__ = Compressed.__qualname__ = f"Compressed{base.__name__}"
    return Compressed

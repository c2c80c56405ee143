"""Tensors of a checkpoint onto a GPU, in a pipeline that moves compressed bytes as far as it can.

Threads read pieces of a file into pinned memory, and copy them to the device on a CUDA stream of their own. Kept
tensors are then where they belong. Streams are in staging memory, batch by batch: as soon as a batch is there, the
current CUDA stream decodes it, while threads read the next ones.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import NamedTuple

import torch

from ._checkpoint import StoredTensor
from ._errors import InvalidStreamError, UnavailableError
from ._gpu_decoder import GPUDecoder
from ._input import InputFile
from ._library import has_cuda

_THREADS = 8
"""One takes some 5 GB/s out of the page cache; the bus takes 50."""
_PIECE_BYTES = 8 * 2**20
"""What a thread reads and copies at a time. It has two such buffers, whose pinning takes longer than reading them."""
_BATCH_BYTES = 64 * 2**20
"""A batch has about so many bytes, and at least one tensor."""
_BATCHES_AHEAD = 3
"""So many batches are read before the first of them is decoded: they all take staging memory."""


def load_cuda(tensors: list[StoredTensor], device: torch.device) -> dict[str, torch.Tensor]:
    """Reads tensors and decodes those that are streams. All is done when it returns.

    Raises:
        UnavailableError: no such device, or a build without CUDA
        FileError: a stream is damaged, or a file ends too early; the message names file and tensor
    """
    if not torch.cuda.is_available():
        raise UnavailableError(f"{device}: PyTorch finds no CUDA device")
    if any(tensor.is_stream for tensor in tensors) and not has_cuda():
        raise UnavailableError(f"{device}: this build of codecllm has no CUDA")
    with torch.cuda.device(device):
        copier = _Copier()
        try:
            loaded = _load(tensors, copier)
        finally:
            copier.close()
    return {tensor.name: loaded[tensor.name] for tensor in tensors}


def _load(tensors: list[StoredTensor], copier: _Copier) -> dict[str, torch.Tensor]:
    loaded: dict[str, torch.Tensor] = {}
    ahead: deque[_Decoding] = deque()
    decodings: list[_Decoding] = []
    kept: list[Future[None]] = []

    def launch() -> None:
        decoding = ahead.popleft()
        decoding.launch(copier)
        decodings.append(decoding)

    for batch in _batches(tensors):
        # New memory may be such that the current CUDA stream still works with.
        copier.cuda_stream.wait_stream(torch.cuda.current_stream())
        if batch.tensors[0].is_stream:
            decoding = _Decoding(batch, copier)
            ahead.append(decoding)
            for tensor, info, output in zip(batch.tensors, decoding.decoder.streams, decoding.outputs, strict=True):
                loaded[tensor.name] = tensor.as_torch(output, info.dtype, info.shape)
            if len(ahead) == _BATCHES_AHEAD:
                launch()
        else:
            outputs = [torch.empty(tensor.size, dtype=torch.uint8, device="cuda") for tensor in batch.tensors]
            kept += copier.copy(batch.tensors[0].file, batch.tensors[0].position, outputs)
            for tensor, output in zip(batch.tensors, outputs, strict=True):
                loaded[tensor.name] = tensor.as_torch(output, tensor.dtype, tensor.shape)
    while ahead:
        launch()
    for decoding in decodings:
        decoding.check()
    for copy in kept:
        copy.result()
    return loaded


class _Batch(NamedTuple):
    """Tensors that lie one after the other in a file: all of them streams, or all of them kept."""

    tensors: list[StoredTensor]

    @property
    def size(self) -> int:
        return sum(tensor.size for tensor in self.tensors)


def _batches(tensors: list[StoredTensor]) -> Iterator[_Batch]:
    batch = _Batch([])
    for tensor in sorted(tensors, key=lambda tensor: (tensor.file.path, tensor.position)):
        if batch.tensors:
            last = batch.tensors[-1]
            follows = tensor.file is last.file and tensor.position == last.position + last.size
            if not follows or tensor.is_stream != last.is_stream or batch.size + tensor.size > _BATCH_BYTES:
                yield batch
                batch = _Batch([])
        batch.tensors.append(tensor)
    if batch.tensors:
        yield batch


class _Decoding:
    """A batch of streams on its way."""

    def __init__(self, batch: _Batch, copier: _Copier) -> None:
        self.tensors = batch.tensors
        first = self.tensors[0]
        # The streams, one after the other, when all copies are done.
        with torch.cuda.stream(copier.cuda_stream):
            self._staging = torch.empty(batch.size, dtype=torch.uint8, device="cuda")
        self._copies = copier.copy(first.file, first.position, [self._staging])
        # While threads read the data, this one reads the fronts, and makes of them what the kernels need.
        fronts = [tensor.front() for tensor in self.tensors]
        with self._naming_errors():
            self.decoder = GPUDecoder(fronts)
        for tensor, info in zip(self.tensors, self.decoder.streams, strict=True):
            tensor.check(info)
        self.outputs = [
            torch.empty(info.tensor_bytes, dtype=torch.uint8, device="cuda") for info in self.decoder.streams
        ]

    def launch(self, copier: _Copier) -> None:
        """Decodes on the current CUDA stream, as soon as everything has been handed over to the copier's."""
        for copy in self._copies:
            copy.result()
        data = []
        at = 0
        for tensor, info in zip(self.tensors, self.decoder.streams, strict=True):
            data.append(self._staging[at + info.front_bytes : at + tensor.size])
            at += tensor.size
        current = torch.cuda.current_stream()
        current.wait_stream(copier.cuda_stream)
        self.decoder.decode(data, self.outputs)
        # Its memory goes back to the copier's CUDA stream, which must not write there before this is decoded.
        self._staging.record_stream(current)
        del self._staging

    def check(self) -> None:
        """Waits until all is decoded. @raises FileError where a tile was damaged"""
        with self._naming_errors():
            self.decoder.check()
        self.decoder.close()

    @contextmanager
    def _naming_errors(self) -> Iterator[None]:
        try:
            yield
        except InvalidStreamError as error:
            raise self.tensors[error.stream or 0].error(error.problem) from None


class _Copier:
    """Copies of bytes of files to the device, by threads that read and a CUDA stream that copies."""

    def __init__(self) -> None:
        self.cuda_stream = torch.cuda.Stream()
        self._threads = ThreadPoolExecutor(_THREADS)
        self._local = threading.local()

    def copy(self, file: InputFile, position: int, outputs: list[torch.Tensor]) -> list[Future[None]]:
        """Fills outputs (uint8 on the device, one dimension), one after the other, with the bytes from `position` on.

        Returns:
            futures that are done when the copies have been handed over to `cuda_stream`
        """
        return [self._threads.submit(self._copy_piece, file, position + at, parts) for at, parts in _pieces(outputs)]

    def _copy_piece(self, file: InputFile, position: int, outputs: list[torch.Tensor]) -> None:
        with torch.cuda.stream(self.cuda_stream):
            buffer = self._buffer()
            size = sum(output.numel() for output in outputs)
            file.read_into(buffer.array[:size], position)
            at = 0
            for output in outputs:
                output.copy_(buffer.memory[at : at + output.numel()], non_blocking=True)
                at += output.numel()
            buffer.free.record(self.cuda_stream)

    def _buffer(self) -> _Buffer:
        """The calling thread's two buffers, in turn: one is read into while the other is copied from."""
        buffers = self._local.__dict__.setdefault("buffers", deque())
        if len(buffers) < 2:
            buffers.append(_Buffer())
        else:
            buffers.rotate()
        buffers[-1].free.synchronize()
        return buffers[-1]

    def close(self) -> None:
        """Waits for what is under way; what has not begun is left undone."""
        self._threads.shutdown(cancel_futures=True)
        self.cuda_stream.synchronize()


class _Buffer:
    """Pinned memory that is free after an event."""

    def __init__(self) -> None:
        self.memory = torch.empty(_PIECE_BYTES, dtype=torch.uint8, pin_memory=True)
        self.array = self.memory.numpy()
        self.free = torch.cuda.Event()


def _pieces(outputs: list[torch.Tensor]) -> Iterator[tuple[int, list[torch.Tensor]]]:
    """Cuts what fills these outputs into pieces of at most _PIECE_BYTES: where each begins, and what it fills."""
    begin = at = 0
    parts: list[torch.Tensor] = []
    for output in outputs:
        done = 0
        while done < output.numel():
            part = output[done : done + _PIECE_BYTES - (at - begin)]
            parts.append(part)
            done += part.numel()
            at += part.numel()
            if at - begin == _PIECE_BYTES:
                yield begin, parts
                begin, parts = at, []
    if parts:
        yield begin, parts

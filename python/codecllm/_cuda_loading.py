"""Tensors of a checkpoint onto a GPU, in a pipeline that moves compressed bytes as far as it can.

The library's threads read pieces of a file into pinned memory, and copy them to the device on a CUDA stream of their
own. Kept tensors are then where they belong. Streams are in staging memory, batch by batch: as soon as a batch is
there, the current CUDA stream decodes it, while the next ones are read. Some more threads read fronts ahead of that.
Python does nothing for a piece, only for a batch: threads that ask for the interpreter's lock wait for each other.
"""

from __future__ import annotations

import ctypes
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from itertools import islice
from typing import NamedTuple

import numpy as np
import torch

from . import _library
from ._arrays import describe_tensor
from ._container import CHECKED_BYTES
from ._errors import FileError, InvalidStreamError, UnavailableError
from ._gpu import gpu_of
from ._gpu_decoder import GPUDecoder
from ._input import InputFile
from ._library import has_cuda
from ._stored import StoredTensor
from ._work import batches_of

_BATCH_BYTES = 256 * 2**20
"""A batch has about so many bytes, and at least one tensor. Python's part is the same for each, however small it is."""
_BATCHES_AHEAD = 3
"""So many batches are read before the first of them is decoded: they all take staging memory."""


def load_cuda(
    tensors: list[StoredTensor], device: torch.device, bases: Mapping[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """Reads tensors and decodes those that are streams. All is done when it returns.

    Args:
        bases: on the device, of those that are coded against one; they are written over

    Raises:
        UnavailableError: no such device, or a build without CUDA
        FileError: a stream is damaged, or coded against another base, or a file ends too early; the message names file
            and tensor
    """
    if not torch.cuda.is_available():
        raise UnavailableError(f"{device}: PyTorch finds no CUDA device")
    has_streams = any(tensor.is_stream for tensor in tensors)
    if has_streams and not has_cuda():
        raise UnavailableError(f"{device}: this build of codecllm has no CUDA")
    with torch.cuda.device(device):
        try:
            copier = _Copier()
        except UnavailableError:
            if has_streams:
                raise
            # What is not compressed can be had without the library, also on GPUs that it does not support.
            return {tensor.name: _load_kept(tensor) for tensor in tensors}
        try:
            loaded = _load(tensors, copier, bases)
        finally:
            copier.close()
    return {tensor.name: loaded[tensor.name] for tensor in tensors}


def add_layers(tensors: list[tuple[StoredTensor, torch.Tensor]], known: int = 0) -> None:
    """Adds the layers of bits that are to be read to what precedes them, in place.

    Args:
        tensors: each as it is stored, and as it is on its CUDA device
        known: bits of each word that are known already; layers that begin before are not read

    Raises:
        FileError: a layer is damaged, or not one of its tensor's, which is as it was then; others may be finer already
    """

    def are_together(one: tuple[StoredTensor, torch.Tensor], other: tuple[StoredTensor, torch.Tensor]) -> bool:
        return one[1].device == other[1].device

    for batch in batches_of(tensors, lambda pair: pair[1].nbytes, are_together, lambda _: _BATCH_BYTES):
        wanted = [stored.wanted_layers(describe_tensor(tensor)[0], known) for stored, tensor in batch]
        for stored, _ in batch:
            stored.check_layers(stored.open_stream().info)
        # Copies have the layers of what they are copies of.
        layers = {layer.name: layer for its in wanted for layer, _ in its}
        bits = load_cuda(list(layers.values()), batch[0][1].device, {})
        for (_, tensor), its in zip(batch, wanted, strict=True):
            # What is refused must not have been changed.
            finer = tensor.detach().clone(memory_format=torch.contiguous_format)
            for layer, cut in its:
                layer.add_to(finer.reshape(-1).view(torch.uint8), describe_tensor(tensor)[0], cut, bits[layer.name])
            with torch.no_grad():
                tensor.copy_(finer)


def _load_kept(tensor: StoredTensor) -> torch.Tensor:
    data = np.empty(tensor.size, np.uint8)
    tensor.read_into(data)
    return tensor.as_torch(torch.from_numpy(data), tensor.dtype, tensor.shape).cuda()


def _load(tensors: list[StoredTensor], copier: _Copier, bases: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    loaded: dict[str, torch.Tensor] = {}
    ahead: deque[_Decoding] = deque()
    decodings: list[_Decoding] = []
    kept: list[Future[None]] = []
    batches = list(_batches(tensors))
    decoders = [copier.prepare(batch.open) if batch.is_stream else None for batch in batches]

    def launch() -> None:
        decoding = ahead.popleft()
        loaded.update(decoding.launch(copier, bases))
        decodings.append(decoding)

    for batch, decoder in zip(batches, decoders, strict=True):
        if decoder is not None:
            if len(ahead) == _BATCHES_AHEAD:
                launch()
            ahead.append(_Decoding(batch, decoder, copier))
        else:
            outputs = [torch.empty(tensor.size, dtype=torch.uint8, device="cuda") for tensor in batch.tensors]
            # New memory may be such that the current CUDA stream still works with.
            copier.cuda_stream.wait_stream(torch.cuda.current_stream())
            kept.append(copier.copy(batch, outputs))
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
    def file(self) -> InputFile:
        return self.tensors[0].file

    @property
    def position(self) -> int:
        return self.tensors[0].position

    @property
    def size(self) -> int:
        return sum(tensor.size for tensor in self.tensors)

    @property
    def is_stream(self) -> bool:
        return self.tensors[0].is_stream

    def open(self, device: int) -> GPUDecoder:
        """Reads the fronts of streams, and makes of them what the kernels need."""
        fronts = [tensor.front() for tensor in self.tensors]
        with self.naming_errors():
            decoder = GPUDecoder(fronts, device)
        for tensor, info in zip(self.tensors, decoder.streams, strict=True):
            tensor.check(info)
        return decoder

    @contextmanager
    def naming_errors(self) -> Iterator[None]:
        try:
            yield
        except InvalidStreamError as error:
            raise self.tensors[error.stream or 0].damage(error.problem) from None


def _batches(tensors: list[StoredTensor]) -> Iterator[_Batch]:
    def follow(last: StoredTensor, tensor: StoredTensor) -> bool:
        follows = tensor.file is last.file and tensor.position == last.position + last.size
        return follows and tensor.is_stream == last.is_stream

    ordered = sorted(tensors, key=lambda tensor: (tensor.file.path, tensor.position))
    return map(_Batch, batches_of(ordered, lambda tensor: tensor.size, follow, lambda _: _BATCH_BYTES))


class _Decoding:
    """A batch of streams on its way."""

    def __init__(self, batch: _Batch, decoder: Future[GPUDecoder], copier: _Copier) -> None:
        self._batch = batch
        self._opened = decoder
        # The streams, one after the other. What else works with this memory than the copier's CUDA stream, PyTorch
        # knows, because it is recorded below.
        with torch.cuda.stream(copier.cuda_stream):
            self._staging = torch.empty(batch.size, dtype=torch.uint8, device="cuda")
        self._copied = copier.copy(batch, [self._staging])

    def launch(self, copier: _Copier, bases: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Decodes on the current CUDA stream, as soon as everything has been handed over to the copier's.

        Returns:
            the tensors as they will be
        """
        self._decoder = self._opened.result()
        tensors, infos = self._batch.tensors, self._decoder.streams
        before = [
            bases[tensor.name].reshape(-1).view(torch.uint8) if info.against_base else None
            for tensor, info in zip(tensors, infos, strict=True)
        ]
        outputs = [
            torch.empty(info.tensor_bytes, dtype=torch.uint8, device="cuda") if base is None else base
            for info, base in zip(infos, before, strict=True)
        ]
        data = []
        at = 0
        for tensor, info in zip(tensors, infos, strict=True):
            data.append(self._staging[at + info.front_bytes : at + tensor.size])
            at += tensor.size
        self._copied.result()
        current = torch.cuda.current_stream()
        current.wait_stream(copier.cuda_stream)
        self._decoder.decode(data, outputs, bases=before)
        # Its memory goes back to the copier's CUDA stream, which must not write there before this is decoded.
        self._staging.record_stream(current)
        del self._staging
        return {
            tensor.name: tensor.as_torch(output, info.dtype, info.shape)
            for tensor, info, output in zip(tensors, infos, outputs, strict=True)
        }

    def check(self) -> None:
        """Waits until all is decoded. @raises FileError where a tile was damaged, or a base another one"""
        with self._batch.naming_errors():
            self._decoder.check()
        self._decoder.close()


@cache
def _reader(device: int) -> ctypes.c_void_p:
    """The library's threads that read files for a device, and their pinned memory, as long as the process lives."""
    reader = ctypes.c_void_p()
    _library.call("gpu_reader_open", gpu_of(device).handle, ctypes.byref(reader))
    return reader


class _Copier:
    """Copies bytes of files to the current device on a CUDA stream, and prepares what is done with them."""

    def __init__(self) -> None:
        self._device = torch.cuda.current_device()
        self._reader = _reader(self._device)
        self.cuda_stream = torch.cuda.Stream()
        # They only wait for the library's threads.
        self._waiting = ThreadPoolExecutor(_BATCHES_AHEAD)
        # What a batch's kernels need takes a processor about as long to make as its bytes take on the bus, and then
        # waits for its turn there.
        self._preparing = ThreadPoolExecutor(_BATCHES_AHEAD)

    def prepare(self, open_decoder: Callable[[int], GPUDecoder]) -> Future[GPUDecoder]:
        return self._preparing.submit(open_decoder, self._device)

    def copy(self, batch: _Batch, outputs: list[torch.Tensor]) -> Future[None]:
        """Fills outputs (uint8 on the device, one dimension), one after the other, with the bytes of a batch.

        Returns:
            what is done when the copies have been handed over to `cuda_stream`; a FileError where the check of a kept
            tensor differs, whose outputs there is one each of
        """
        return self._waiting.submit(self._copy, batch, outputs)

    def _copy(self, batch: _Batch, outputs: list[torch.Tensor]) -> None:
        count = len(outputs)
        targets = (ctypes.c_void_p * count)(*(output.data_ptr() for output in outputs))
        sizes = (ctypes.c_uint64 * count)(*(output.numel() for output in outputs))
        pieces = [-(-output.numel() // CHECKED_BYTES) for output in outputs]
        checks = None if batch.is_stream else (ctypes.c_uint32 * sum(pieces))()
        file, cuda_stream = batch.file.fileno(), self.cuda_stream.cuda_stream
        try:
            _library.call("gpu_read", self._reader, file, batch.position, targets, sizes, count, checks, cuda_stream)
        except ValueError as error:
            raise FileError(batch.file.path, str(error)) from None
        if checks is not None:
            found = iter(checks)
            for tensor, piece_count in zip(batch.tensors, pieces, strict=True):
                tensor.compare_checks(list(islice(found, piece_count)))

    def close(self) -> None:
        """Waits for what is under way; what has not begun is left undone."""
        self._preparing.shutdown(wait=False, cancel_futures=True)
        self._waiting.shutdown(cancel_futures=True)
        self._preparing.shutdown()
        self.cuda_stream.synchronize()

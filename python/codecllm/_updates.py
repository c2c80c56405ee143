"""Weights on their way: what has changed of a dictionary of tensors, as bytes, and back into the tensors of a receiver.

An update is a safetensors file of streams, each against the tensor of its name (spec/FORMAT.md, 3.2). It is no
compressed checkpoint: nothing names the base, whose CRCs are in the streams. Its metadata have the CRC of each MiB of
its data, in 8 digits, so that damage is found before weights are written over.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from typing import NamedTuple
from zlib import crc32

import numpy as np
import torch

from . import _library
from ._arrays import bytes_of, describe_tensor, torch_tensor
from ._codec import decode_bytes, encode_bytes
from ._container import CHECKED_BYTES, PREFIX, in_a_row
from ._dtypes import DTYPES
from ._errors import FileError, InvalidStreamError, UnavailableError, quoted
from ._gpu_decoder import GPUDecoder
from ._gpu_encoder import GPUEncoder
from ._input import InputBytes
from ._processors import processors
from ._safetensors import LENGTH_BYTES, TensorEntry, format_header, read_header

_KEY = f"{PREFIX}update"
_CHECKS_KEY = f"{PREFIX}checks"
_VERSION = "1"
_ALIGNMENT = 16


def encode_update(old: Mapping[str, torch.Tensor], new: Mapping[str, torch.Tensor]) -> bytes:
    """What leads from weights to changed ones, as after a step of training, for `apply_update_` where the old ones are.

    On a GPU the first call takes some hundred MiB of its memory, at most about 2.5 GiB, and keeps them for the next.

    Args:
        old: of dtypes that a stream can hold, all in host memory or on one GPU, which then encodes them
        new: of the same names, dtypes and shapes, there, too

    Returns:
        some 6 to 12 bits for each weight that has changed, and next to nothing for others: the same bytes wherever
        they are

    Raises:
        ValueError: names, dtypes, shapes or devices are not the same
        TypeError: a dtype that a stream cannot hold
        UnavailableError: a device that is neither, or a build without CUDA
        CudaError, MemoryError: the GPU failed, or has too little memory
    """
    if old.keys() != new.keys():
        one = min(old.keys() ^ new.keys())
        raise ValueError(f"{quoted(one)} is in {'old' if one in old else 'new'} alone")
    _require_one_device([*old.items(), *new.items()])
    for name in new:
        was, (dtype, shape) = describe_tensor(old[name]), describe_tensor(new[name])
        if was != (dtype, shape):
            raise ValueError(f"{quoted(name)} was {was[0]} {list(was[1])}, and is {dtype} {list(shape)}")
        if not DTYPES[dtype].has_streams:
            raise TypeError(f"{quoted(name)}: no stream can hold {dtype}")
    pairs = [(old[name], tensor) for name, tensor in new.items()]
    is_on_gpu = bool(pairs) and pairs[0][0].device.type == "cuda"
    streams = _encode_on_gpu(pairs) if is_on_gpu else _encode_on_host(pairs)
    data = b"".join(part for stream in streams for part in stream.parts)
    entries = in_a_row(
        TensorEntry(name, "U8", (stream.size,), 0, stream.size) for name, stream in zip(new, streams, strict=True)
    )
    header = format_header({_KEY: _VERSION, _CHECKS_KEY: _checks_of(memoryview(data))}, entries)
    header += b" " * (-(LENGTH_BYTES + len(header)) % _ALIGNMENT)
    return b"".join([len(header).to_bytes(LENGTH_BYTES, "little"), header, data])


class _Stream(NamedTuple):
    size: int
    parts: tuple[bytes | memoryview, ...]


def _checks_of(data: memoryview) -> str:
    pieces = [data[at : at + CHECKED_BYTES] for at in range(0, len(data), CHECKED_BYTES)]
    with ThreadPoolExecutor(processors()) as pool:
        return "".join(f"{check:08x}" for check in pool.map(crc32, pieces))


def _encode_on_host(pairs: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> list[_Stream]:
    options = _library.EncodeOptions()

    def encode(pair: tuple[torch.Tensor, torch.Tensor]) -> _Stream:
        (before, *_), (after, dtype, shape) = (bytes_of(tensor) for tensor in pair)
        stream = encode_bytes(after, dtype, shape, options, before)
        return _Stream(stream.size, (stream.data,))

    with ThreadPoolExecutor(processors()) as pool:
        return list(pool.map(encode, pairs))


@cache
def _encoder_of(device: int) -> GPUEncoder:
    """One for all updates, which are made again and again: to open one takes longer than to use it."""
    return GPUEncoder(device)


def _encode_on_gpu(pairs: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> list[_Stream]:
    olds, news = zip(*pairs, strict=True)
    with torch.cuda.device(news[0].device):
        encoded = _encoder_of(news[0].device.index).encode_changes(news, olds)
        # One copy for all.
        data = torch.cat([stream.data for stream in encoded]).cpu().numpy().data
    streams = []
    for front, part in encoded:
        streams.append(_Stream(len(front) + part.numel(), (front, data[: part.numel()])))
        data = data[part.numel() :]
    return streams


def apply_update_(weights: Mapping[str, torch.Tensor], update: bytes) -> None:
    """Makes old weights the new ones, bit for bit and in place; all of them, or none where they are other ones, or the
    update is damaged.

    On a GPU the update is copied there and decoded over the weights, once its checks and all of the weights have been
    compared with what it was made from.

    Args:
        weights: those that the update was made from, all in host memory or on one GPU; others beside them stay as they
            are
        update: of `encode_update`

    Raises:
        InvalidStreamError: the update is damaged, or none, or was made from other weights; the message names the tensor
        ValueError: a tensor is missing, or on another device than the others
        UnavailableError: a device that is neither, or a build without CUDA
    """
    source = InputBytes(update)
    try:
        header, data_start = read_header(source)
    except FileError as error:
        raise InvalidStreamError(f"update: {error.args[1]}") from None
    metadata = header.metadata or {}
    if metadata.get(_KEY) != _VERSION or metadata.keys() != {_KEY, _CHECKS_KEY}:
        raise InvalidStreamError("update: not one of this version")
    missing = [entry.name for entry in header.tensors if entry.name not in weights]
    if missing:
        raise ValueError(f"the weights lack {quoted(missing[0])}")
    if not header.tensors:
        return
    targets = [weights[entry.name] for entry in header.tensors]
    _require_one_device([(entry.name, target) for entry, target in zip(header.tensors, targets, strict=True)])
    data = np.frombuffer(update, np.uint8)[data_start:]
    if metadata[_CHECKS_KEY] != _checks_of(data.data):
        raise InvalidStreamError("update: damaged: its data do not have the checks that it says")
    if targets[0].device.type == "cuda":
        _apply_on_gpu(targets, header.tensors, data)
        return

    def decode(entry: TensorEntry) -> torch.Tensor:
        stream = data[entry.start : entry.end]
        before, dtype, shape = bytes_of(weights[entry.name])
        try:
            after = decode_bytes(stream, (before, dtype, shape))[0]
        except InvalidStreamError as error:
            raise InvalidStreamError(f"{quoted(entry.name)}: {error}") from None
        return torch_tensor(torch.from_numpy(after), dtype, shape)

    with ThreadPoolExecutor(processors()) as pool:
        decoded = list(pool.map(decode, header.tensors))
    with torch.no_grad():
        for target, tensor in zip(targets, decoded, strict=True):
            target.copy_(tensor)


def _apply_on_gpu(targets: list[torch.Tensor], entries: Sequence[TensorEntry], data: np.ndarray) -> None:
    with torch.no_grad(), torch.cuda.device(targets[0].device), _naming_tensors(entries):
        decoder = GPUDecoder([data[entry.start :][: entry.size] for entry in entries], targets[0].device.index)
        for index, (info, target) in enumerate(zip(decoder.streams, targets, strict=True)):
            dtype, shape = describe_tensor(target)
            if (dtype, shape) != (info.dtype, info.shape):
                raise InvalidStreamError(
                    f"base: {dtype} {list(shape)} is given, and the stream is of {info.dtype} {list(info.shape)}", index
                )
            if info.front_bytes + info.data_bytes != entries[index].size:
                raise InvalidStreamError("another length than its front says", index)
        # Fronts and streams are multiples of 16 bytes.
        staged = torch.from_numpy(data.copy()).to(targets[0].device)
        parts = [
            staged[entry.start + info.front_bytes :][: info.data_bytes]
            for entry, info in zip(entries, decoder.streams, strict=True)
        ]
        outputs = [_decodable(target) for target in targets]
        decoder.decode(parts, outputs, bases=outputs)
        decoder.check()
        for target, output in zip(targets, outputs, strict=True):
            if output.data_ptr() != target.data_ptr():
                target.copy_(output)


def _decodable(target: torch.Tensor) -> torch.Tensor:
    """A tensor itself, if it can be decoded over; or a copy that can."""
    if target.is_contiguous() and target.data_ptr() % _ALIGNMENT == 0:
        return target.detach()
    return target.detach().clone(memory_format=torch.contiguous_format)


@contextmanager
def _naming_tensors(entries: Sequence[TensorEntry]) -> Iterator[None]:
    """Puts names for numbers."""
    try:
        yield
    except InvalidStreamError as error:
        raise InvalidStreamError(f"{quoted(entries[error.stream or 0].name)}: {error.problem}") from None


def _require_one_device(weights: Sequence[tuple[str, torch.Tensor]]) -> None:
    for name, tensor in weights:
        if tensor.device != weights[0][1].device:
            raise ValueError(f"{quoted(name)} lies on {tensor.device}, and others on {weights[0][1].device}")
    for name, tensor in weights[:1]:
        if tensor.device.type not in ("cpu", "cuda"):
            raise UnavailableError(f"{name}: lies on {tensor.device}; updates are made in host memory or on a GPU")

"""Tensors on a GPU to streams there, and streams to those of another profile."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from . import _library
from ._arrays import describe_tensor
from ._closing import Closing
from ._errors import InvalidStreamError
from ._gpu import check_device, gpu_of
from ._gpu_decoder import check_data, read_fronts
from ._work import batches_of

if TYPE_CHECKING:
    import torch

    from ._library import Profile
    from ._stream import StreamInfo

_ALIGNMENT = 16
"""Of elements and Data on a device."""
_BATCH_BYTES = 2 * 2**30
"""Streams are transcoded, and changes encoded, so many bytes of their tensors at a time, or one: so much room there is
for new ones."""


class GPUStream(NamedTuple):
    """A stream whose Data are on a GPU: what `GPUDecoder` takes, and `front + data` is what `codecllm.encode` gives."""

    front: bytes
    """Everything before Data."""
    data: torch.Tensor
    """Data: uint8, one dimension, on the device of the tensor that was encoded."""

    @property
    def size(self) -> int:
        """Bytes of both."""
        return len(self.front) + self.data.nbytes


class GPUEncoder(Closing):
    """Encodes tensors on their GPU: as `codecllm.encode` does, byte for byte, and many times as fast.

    ::

        encoder = GPUEncoder()
        front, data = encoder.encode([weight])[0]             # weight is on the GPU
        decoder = GPUDecoder([front])

    Args:
        device: number of the CUDA device; by default PyTorch's current one

    Raises:
        UnavailableError: a build without CUDA, or no such device
        ImportError: there is no PyTorch
    """

    def __init__(self, device: int | None = None) -> None:
        self._gpu = gpu_of(device)
        self._handle: _library.Handle | None = _library.Handle("gpu_encoder", self._gpu.handle)

    def encode(
        self,
        tensors: Sequence[torch.Tensor],
        profile: Profile = "fast",
        bases: Sequence[torch.Tensor] | None = None,
    ) -> list[GPUStream | None]:
        """Encodes tensors and waits for it. Many in one call are faster than one by one.

        What the current CUDA stream of the device holds is done before they are read. Meanwhile it takes as much memory
        as they have, and some hundred MiB.

        Args:
            tensors: dense tensors on the device, of any shape and dtype that a stream can hold
            profile: "fast", or "small" as for files, or "direct"; against bases they are one
            bases: what they are coded against (spec/FORMAT.md, 3.2): as many, of their dtypes and shapes, there, too

        Returns:
            for each tensor its stream, or None where that would not be smaller than the tensor

        Raises:
            ValueError: a tensor that lies elsewhere, or that a stream cannot hold, or a base that is not like its
                tensor; or no such profile
            TypeError: a dtype that safetensors lacks
            CudaError, MemoryError: the device failed, or has too little memory
        """
        return self._encode(tensors, _library.options(profile), bases, [tensor.nbytes for tensor in tensors])

    def encode_changes(self, tensors: Sequence[torch.Tensor], bases: Sequence[torch.Tensor]) -> list[GPUStream]:
        """The same against bases, where each tensor has a stream, be that smaller or not."""
        streams: list[GPUStream] = []
        for part in _parts_of([tensor.nbytes for tensor in tensors]):
            encoded = self._encode(tensors[part], _library.EncodeOptions(), bases[part])
            streams += [stream for stream in encoded if stream is not None]
        return streams

    def _encode(
        self,
        tensors: Sequence[torch.Tensor],
        options: _library.EncodeOptions,
        bases: Sequence[torch.Tensor] | None,
        limits: Sequence[int] | None = None,
    ) -> list[GPUStream | None]:
        """Encodes tensors in one call. `limits`: the bytes that their streams have to stay below, if they have to."""
        import torch

        sources = (_library.GpuSource * len(tensors))()
        elements, rooms, fronts = [], [], []
        for index, (tensor, source) in enumerate(zip(tensors, sources, strict=True)):
            check_device(tensor, self._gpu.device, f"tensor {index}")
            name, shape = describe_tensor(tensor)
            elements.append(_readable(tensor))
            described = (name.encode(), _library.shape_array(shape), len(shape), ctypes.pointer(options))
            front_bytes, data_bytes = _bounds(*described)
            room = data_bytes if limits is None else limits[index]
            rooms.append(torch.empty(room, dtype=torch.uint8, device=tensor.device))
            fronts.append(np.empty(front_bytes, np.uint8))
            source.dtype, source.shape, source.dimensions, source.options = described
            source.elements = elements[-1].data_ptr()
            source.front, source.front_capacity = fronts[-1].ctypes.data, fronts[-1].size
            source.data, source.data_capacity = rooms[-1].data_ptr(), room
            if bases is None:
                continue
            check_device(bases[index], self._gpu.device, f"base {index}")
            if describe_tensor(bases[index]) != (name, shape):
                raise ValueError(f"base {index}: of another dtype or shape than its tensor")
            elements.append(_readable(bases[index]))
            # An empty one has no address, and nothing is read of it.
            source.base = elements[-1].data_ptr() or _ALIGNMENT
        cuda_stream = torch.cuda.current_stream(self._gpu.device).cuda_stream
        with self._gpu.lock:
            _library.call("gpu_encode", self._handle, sources, len(sources), cuda_stream)
        sizes = [source.front_size + source.data_size for source in sources]
        return [
            GPUStream(front[: source.front_size].tobytes(), room[: source.data_size].clone())
            if limits is None or 0 < sizes[index] < limits[index]
            else None
            for index, (source, front, room) in enumerate(zip(sources, fronts, rooms, strict=True))
        ]

    def transcode(self, streams: Sequence[GPUStream], profile: Profile = "direct") -> list[GPUStream]:
        """Makes streams of a profile of streams of any, and waits for it. Many in one call are faster than one by one.

        Each becomes what `codecllm.encode` makes of its tensor, be that smaller or not. What the current CUDA stream of
        the device holds is done before they are read. Tensors are decoded a few at a time, and every tile is checked.
        Beside the old and the new streams it takes about 4 GiB: room for those of 2 GiB of tensors, or of one, and for
        up to eight times 128 MiB of elements, or one tensor, and what encoding takes.

        Args:
            streams: their Data are on the device; they stay as they are
            profile: "direct", whose weights are decoded fastest, "fast", or "small"

        Returns:
            for each stream the new one

        Raises:
            InvalidStreamError: a stream is damaged; the message gives its number, and the tile or field
            ValueError: Data that lie elsewhere, or are not as many bytes as the front says, or no such profile
            CudaError, MemoryError: the device failed, or has too little memory
        """
        options = _library.options(profile)
        sources, infos, _views = read_fronts([stream.front for stream in streams])
        for index, (stream, info) in enumerate(zip(streams, infos, strict=True)):
            check_data(stream.data, info, index)
            check_device(stream.data, self._gpu.device, f"the data of stream {index}")
        transcoded: list[GPUStream] = []
        for part in _parts_of([info.tensor_bytes for info in infos]):
            data = [stream.data for stream in streams[part]]
            transcoded += self._transcode_batch(part.start, sources[part], infos[part], data, options)
        return transcoded

    def _transcode_batch(
        self,
        first: int,
        sources: list[_library.GpuTensor],
        infos: list[StreamInfo],
        data: list[torch.Tensor],
        options: _library.EncodeOptions,
    ) -> list[GPUStream]:
        """Transcodes some streams in one call. `first` is the number of the first one, for errors."""
        import torch

        tensors = (_library.GpuTranscoding * len(sources))()
        plain, rooms, fronts = [_aligned(each) for each in data], [], []
        for tensor, source, info, each in zip(tensors, sources, infos, plain, strict=True):
            shape = _library.shape_array(info.shape)
            front_bytes, data_bytes = _bounds(info.dtype.encode(), shape, len(shape), options)
            fronts.append(np.empty(front_bytes, np.uint8))
            rooms.append(torch.empty(data_bytes, dtype=torch.uint8, device=each.device))
            tensor.source_front, tensor.source_front_size = source.front, source.front_size
            tensor.source_data = each.data_ptr()
            tensor.options = ctypes.pointer(options)
            tensor.front, tensor.front_capacity = fronts[-1].ctypes.data, front_bytes
            tensor.data, tensor.data_capacity = rooms[-1].data_ptr(), data_bytes
        cuda_stream = torch.cuda.current_stream(self._gpu.device).cuda_stream
        number, tile = ctypes.c_size_t(), ctypes.c_uint64()
        damaged = (ctypes.byref(number), ctypes.byref(tile))
        try:
            with self._gpu.lock:
                _library.call("gpu_transcode", self._handle, tensors, len(tensors), cuda_stream, *damaged)
        except InvalidStreamError:
            raise InvalidStreamError(f"tile {tile.value} is damaged", first + number.value) from None
        return [
            GPUStream(front[: tensor.front_size].tobytes(), room[: tensor.data_size].clone())
            for tensor, front, room in zip(tensors, fronts, rooms, strict=True)
        ]

    def close(self) -> None:
        """Lets go of the encoder's memory, when no other thread's call needs it. Nothing may be called then."""
        self._handle = None


def _parts_of(sizes: Sequence[int]) -> Iterator[slice]:
    """Tensors of these bytes that are worked on at a time."""
    for batch in batches_of(range(len(sizes)), sizes.__getitem__, most=lambda _: _BATCH_BYTES):
        yield slice(batch[0], batch[-1] + 1)


def _readable(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor as its bytes lie in a file, or a copy that does."""
    return _aligned(tensor.detach().resolve_conj().resolve_neg().contiguous())


def _aligned(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor, or a copy: a view may begin anywhere."""
    return tensor if tensor.data_ptr() % _ALIGNMENT == 0 else tensor.clone()


def _bounds(*described: object) -> tuple[int, int]:
    """Bytes of a front and of Data that always suffice for a tensor, which is described as the library takes it."""
    front, data = ctypes.c_uint64(), ctypes.c_uint64()
    _library.call("gpu_encode_bound", *described, ctypes.byref(front), ctypes.byref(data))
    return front.value, data.value

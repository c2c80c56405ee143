"""Streams to tensors on a GPU, and back.

PyTorch holds the memory and the CUDA streams; the library launches the kernels.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from . import _library
from ._closing import Closing
from ._codec import Profile, Stream, StreamInfo, lengths
from ._dtypes import describe_tensor, torch_dtype
from ._errors import InvalidStreamError

if TYPE_CHECKING:
    import torch

    from ._dtypes import Buffer


_ALIGNMENT = 16
"""Of elements and Data on a device."""


class _Gpu:
    """A device as the library sees it, which one thread at a time may use."""

    def __init__(self, device: int) -> None:
        self.device = device
        self.lock = threading.Lock()
        self.handle = ctypes.c_void_p()
        _library.call("gpu_open", device, ctypes.byref(self.handle))


# One for each device, as long as the process lives.
_gpu = cache(_Gpu)


class GPUDecoder(Closing):
    """Decodes a list of streams on a GPU, in one batch and as often as one likes, into tensors of the caller.

    One `decode` has to end before the next begins: on one CUDA stream they do.

    ::

        decoder = GPUDecoder([stream])                        # reads and checks the front of each
        info = decoder.streams[0]
        data = torch.frombuffer(bytearray(stream[info.front_bytes:]), dtype=torch.uint8).cuda()
        output = torch.empty(info.shape, dtype=torch.bfloat16, device="cuda")
        decoder.decode([data], [output])                      # on the current CUDA stream, asynchronously
        decoder.check()                                       # waits; raises if a tile was damaged

    Args:
        fronts: for each stream a buffer of bytes that begins with its front; what follows the front is not read. Not
            needed after this call
        device: number of the CUDA device; by default PyTorch's current one
        memory: uint8 on that device, of `GPUDecoder.memory_bytes` bytes, aligned to 256, which nothing uses any more,
            and which is the decoder's until it is closed; by default the decoder allocates its own

    Raises:
        UnavailableError: a build without CUDA, or no such device
        InvalidStreamError: a front is damaged; the message gives the number of its stream
        ValueError: memory that is too small, or lies elsewhere
        ImportError: there is no PyTorch
    """

    streams: tuple[StreamInfo, ...]
    """What the fronts say, one by one."""
    scratch_bytes: int
    """Bytes of scratch memory that `decode` needs if Data lie in host memory."""

    def __init__(self, fronts: Sequence[Buffer], device: int | None = None, memory: torch.Tensor | None = None) -> None:
        self._plan = ctypes.c_void_p()
        self._gpu = _gpu(_device_number(device))
        tensors, infos, _views = _read_fronts(fronts)
        self.streams = tuple(infos)
        place = None
        if memory is not None:
            needed = _plan_size(self._gpu, tensors)
            _check_memory(memory, needed, self._gpu.device, "memory")
            place = memory.data_ptr()
        with self._gpu.lock:
            _library.call("gpu_plan_open", self._gpu.handle, tensors, len(tensors), place, ctypes.byref(self._plan))
        # A plan in the caller's memory lives as long as this.
        self._memory = memory
        self.scratch_bytes = _library.number("gpu_scratch_size", self._plan, 1)

    @staticmethod
    def memory_bytes(fronts: Sequence[Buffer], device: int | None = None) -> int:
        """Bytes of device memory that a decoder of these streams needs beside scratch memory.

        Raises:
            UnavailableError, InvalidStreamError, ImportError: as the constructor does
        """
        tensors, _, _views = _read_fronts(fronts)
        return _plan_size(_gpu(_device_number(device)), tensors)

    def decode(
        self,
        data: Sequence[torch.Tensor],
        outputs: Sequence[torch.Tensor],
        *,
        verify: bool = True,
        scratch: torch.Tensor | None = None,
    ) -> None:
        """Decodes all streams on the current CUDA stream of the device, asynchronously.

        Args:
            data: Data of each stream: uint8 of `data_bytes` bytes, all on the device, aligned to 16, or all in host
                memory (pinned, so that they are copied asynchronously). They must not change until they are decoded
            outputs: contiguous tensors on the device, aligned to 16, each of the bytes and the dtype of its stream, or
                of as many bytes of uint8
            verify: check every tile; `check` tells
            scratch: uint8 on the device, of `scratch_bytes` bytes, aligned to 256, for data in host memory; by default
                it is allocated on the CUDA stream

        Raises:
            ValueError: tensors that are not as said here; the message gives the number of the stream
            TypeError: an output of a wrong dtype
            CudaError: the launch failed
        """
        import torch

        if len(data) != len(self.streams) or len(outputs) != len(self.streams):
            raise ValueError(f"{len(data)} data and {len(outputs)} outputs for {len(self.streams)} streams")
        on_host = all(tensor.device.type == "cpu" for tensor in data) and len(data) > 0
        for index, (info, source, output) in enumerate(zip(self.streams, data, outputs, strict=True)):
            if source.dtype != torch.uint8 or not source.is_contiguous() or source.numel() != info.data_bytes:
                raise ValueError(f"the data of stream {index} are not {info.data_bytes} bytes of uint8")
            if not on_host:
                _check_device(source, self._gpu.device, f"the data of stream {index}")
            _check_device(output, self._gpu.device, f"output {index}")
            if output.dtype != torch.uint8 and output.dtype != torch_dtype(info.dtype):
                raise TypeError(f"output {index} is {output.dtype}, and its stream {info.dtype}")
            if not output.is_contiguous() or output.nbytes != info.tensor_bytes:
                raise ValueError(f"output {index} is not {info.tensor_bytes} contiguous bytes")
        if scratch is not None:
            _check_memory(scratch, self.scratch_bytes if on_host else 0, self._gpu.device, "scratch memory")
        options = _library.GpuDecodeOptions(on_host, verify, None if scratch is None else scratch.data_ptr())
        pointers = ctypes.c_void_p * len(data)
        with self._gpu.lock:
            _library.call(
                "gpu_decode",
                self._plan,
                pointers(*(tensor.data_ptr() for tensor in data)),
                pointers(*(tensor.data_ptr() for tensor in outputs)),
                ctypes.byref(options),
                torch.cuda.current_stream(self._gpu.device).cuda_stream,
            )

    def check(self) -> None:
        """Waits for the last `decode`, and checks what all since the last `check` found.

        Raises:
            InvalidStreamError: a tile was damaged; the message gives the numbers of the first such stream and tile. Its
                output has no meaning, but nothing was read or written outside the tensors
            CudaError: the device failed
        """
        stream, tile = ctypes.c_size_t(), ctypes.c_uint64()
        with self._gpu.lock:
            try:
                _library.call("gpu_result", self._plan, ctypes.byref(stream), ctypes.byref(tile))
            except InvalidStreamError:
                raise InvalidStreamError(f"tile {tile.value} is damaged", stream.value) from None

    def close(self) -> None:
        """Lets go of the decoder's memory, when all it was asked for is decoded. Nothing may be called then."""
        _library.plain("gpu_plan_close")(self._plan)
        self._plan = ctypes.c_void_p()
        self._memory = None


class GPUStream(NamedTuple):
    """A stream whose Data are on a GPU: what `GPUDecoder` takes, and `front + data` is what `codecllm.encode` gives."""

    front: bytes
    """Everything before Data."""
    data: torch.Tensor
    """Data: uint8, one dimension, on the device of the tensor that was encoded."""


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
        self._handle = ctypes.c_void_p()
        self._gpu = _gpu(_device_number(device))
        _library.call("gpu_encoder_open", self._gpu.handle, ctypes.byref(self._handle))

    def encode(self, tensors: Sequence[torch.Tensor], profile: Profile = "fast") -> list[GPUStream | None]:
        """Encodes tensors and waits for it. Many in one call are faster than one by one.

        What the current CUDA stream of the device holds is done before they are read. Meanwhile it takes as much memory
        as they have, and some hundred MiB.

        Args:
            tensors: dense tensors on the device, of any shape and dtype that a stream can hold
            profile: "fast", or "small" as for files

        Returns:
            for each tensor its stream, or None where that would not be smaller than the tensor

        Raises:
            ValueError: a tensor that lies elsewhere, or that a stream cannot hold, or no such profile
            TypeError: a dtype that safetensors lacks
            CudaError, MemoryError: the device failed, or has too little memory
        """
        import torch

        options = _library.options(profile)
        sources = (_library.GpuSource * len(tensors))()
        elements, rooms, fronts = [], [], []
        for index, (tensor, source) in enumerate(zip(tensors, sources, strict=True)):
            _check_device(tensor, self._gpu.device, f"tensor {index}")
            name, shape = describe_tensor(tensor)
            plain = tensor.detach().resolve_conj().resolve_neg().contiguous()
            # A view may begin anywhere.
            elements.append(plain if plain.data_ptr() % _ALIGNMENT == 0 else plain.clone())
            rooms.append(torch.empty(tensor.nbytes, dtype=torch.uint8, device=tensor.device))
            described = (name.encode(), _library.shape_array(shape), len(shape), ctypes.pointer(options))
            front, data = ctypes.c_uint64(), ctypes.c_uint64()
            _library.call("gpu_encode_bound", *described, ctypes.byref(front), ctypes.byref(data))
            fronts.append(np.empty(front.value, np.uint8))
            source.dtype, source.shape, source.dimensions, source.options = described
            source.elements = elements[-1].data_ptr()
            source.front, source.front_capacity = fronts[-1].ctypes.data, front.value
            source.data, source.data_capacity = rooms[-1].data_ptr(), tensor.nbytes
        stream = torch.cuda.current_stream(self._gpu.device).cuda_stream
        with self._gpu.lock:
            _library.call("gpu_encode", self._handle, sources, len(sources), stream)
        return [
            GPUStream(front[: source.front_size].tobytes(), room[: source.data_size].clone())
            if 0 < source.front_size + source.data_size < tensor.nbytes
            else None
            for tensor, source, front, room in zip(tensors, sources, fronts, rooms, strict=True)
        ]

    def close(self) -> None:
        """Lets go of the encoder's memory. Nothing may be called then."""
        _library.plain("gpu_encoder_close")(self._handle)
        self._handle = ctypes.c_void_p()


def _device_number(device: int | None) -> int:
    if device is not None:
        return device
    import torch

    return torch.cuda.current_device() if torch.cuda.is_available() else 0


def _read_fronts(
    fronts: Sequence[Buffer],
) -> tuple[ctypes.Array[_library.GpuTensor], list[StreamInfo], list[np.ndarray]]:
    """The fronts as the library takes them, what they say, and the memory that must stay as long as the first."""
    views = []
    infos = []
    for index, front in enumerate(fronts):
        try:
            stream = np.frombuffer(front, np.uint8)
            views.append(stream[: lengths(stream)[0]])
            infos.append(Stream(views[-1]).info)
        except InvalidStreamError as error:
            raise InvalidStreamError(error.problem, index) from None
    tensors = [_library.GpuTensor(view.ctypes.data, view.size) for view in views]
    return (_library.GpuTensor * len(views))(*tensors), infos, views


def _plan_size(gpu: _Gpu, tensors: ctypes.Array[_library.GpuTensor]) -> int:
    with gpu.lock:
        return _library.number("gpu_plan_size", gpu.handle, tensors, len(tensors))


def _check_device(tensor: torch.Tensor, device: int, what: str) -> None:
    if tensor.device.type != "cuda" or tensor.device.index != device:
        raise ValueError(f"{what}: on {tensor.device}, where cuda:{device} is needed")


def _check_memory(tensor: torch.Tensor, size: int, device: int, what: str) -> None:
    _check_device(tensor, device, what)
    if not tensor.is_contiguous() or tensor.nbytes < size:
        raise ValueError(f"{what}: {tensor.nbytes} bytes where {size} are needed")

"""Streams to tensors on a GPU.

PyTorch holds the memory and the CUDA streams; the library launches the kernels.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from . import _library
from ._closing import Closing
from ._dtypes import torch_dtype
from ._errors import InvalidStreamError
from ._gpu import Gpu, check_device, check_memory, gpu_of
from ._stream import Stream, StreamInfo, lengths

if TYPE_CHECKING:
    import torch

    from ._arrays import Buffer


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
        self._gpu = gpu_of(device)
        tensors, infos, _views = read_fronts(fronts)
        self.streams = tuple(infos)
        place = None
        if memory is not None:
            needed = _plan_size(self._gpu, tensors)
            check_memory(memory, needed, self._gpu.device, "memory")
            place = memory.data_ptr()
        # A plan in the caller's memory needs it as long as it lives. Many threads may open plans at once.
        self._plan: _library.Handle | None = _library.Handle(
            "gpu_plan", self._gpu.handle, tensors, len(tensors), place, keeps=memory
        )
        self.scratch_bytes = _library.number("gpu_scratch_size", self._plan, 1)

    @staticmethod
    def memory_bytes(fronts: Sequence[Buffer], device: int | None = None) -> int:
        """Bytes of device memory that a decoder of these streams needs beside scratch memory.

        Raises:
            UnavailableError, InvalidStreamError, ImportError: as the constructor does
        """
        tensors, _, _views = read_fronts(fronts)
        return _plan_size(gpu_of(device), tensors)

    def decode(
        self,
        data: Sequence[torch.Tensor],
        outputs: Sequence[torch.Tensor],
        *,
        verify: bool = True,
        scratch: torch.Tensor | None = None,
        bases: Sequence[torch.Tensor | None] | None = None,
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
            bases: of each stream that is coded against one, its base: as its output, which it may be, and is written
                over then; None for the others. Where one is written over, all are compared with what the streams say
                before anything is

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
            check_data(source, info, index)
            if not on_host:
                check_device(source, self._gpu.device, f"the data of stream {index}")
            check_device(output, self._gpu.device, f"output {index}")
            if output.dtype != torch.uint8 and output.dtype != torch_dtype(info.dtype):
                raise TypeError(f"output {index} is {output.dtype}, and its stream {info.dtype}")
            if not output.is_contiguous() or output.nbytes != info.tensor_bytes:
                raise ValueError(f"output {index} is not {info.tensor_bytes} contiguous bytes")
        before = [None] * len(data) if bases is None else list(bases)
        if len(before) != len(data):
            raise ValueError(f"{len(before)} bases for {len(data)} streams")
        for index, (info, base) in enumerate(zip(self.streams, before, strict=True)):
            if base is None:
                continue
            check_device(base, self._gpu.device, f"base {index}")
            if not base.is_contiguous() or base.nbytes != info.tensor_bytes:
                raise ValueError(f"base {index} is not {info.tensor_bytes} contiguous bytes")
        if scratch is not None:
            check_memory(scratch, self.scratch_bytes if on_host else 0, self._gpu.device, "scratch memory")
        pointers = ctypes.c_void_p * len(data)
        options = _library.GpuDecodeOptions(
            on_host,
            verify,
            None if scratch is None else scratch.data_ptr(),
            pointers(*(None if base is None else base.data_ptr() for base in before)),
        )
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
                output has no meaning, but nothing was read or written outside the tensors. Or a base was another one:
                then no base was written over
            CudaError: the device failed
        """
        stream, tile = ctypes.c_size_t(), ctypes.c_uint64()
        with self._gpu.lock:
            try:
                _library.call("gpu_result", self._plan, ctypes.byref(stream), ctypes.byref(tile))
            except InvalidStreamError as error:
                problem = f"tile {tile.value} is damaged"
                if tile.value == _library.NO_TILE:
                    problem = error.problem.removeprefix(f"tensor {stream.value}: ")
                raise InvalidStreamError(problem, stream.value) from None

    def close(self) -> None:
        """Lets go of the decoder's memory, when all it was asked for is decoded. Nothing may be called then."""
        self._plan = None


def read_fronts(
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


def check_data(data: torch.Tensor, info: StreamInfo, index: int) -> None:
    """Checks, but for where they lie, that these can be the Data of stream `index`."""
    import torch

    if data.dtype != torch.uint8 or not data.is_contiguous() or data.numel() != info.data_bytes:
        raise ValueError(f"the data of stream {index} are not {info.data_bytes} bytes of uint8")


def _plan_size(gpu: Gpu, tensors: ctypes.Array[_library.GpuTensor]) -> int:
    return _library.number("gpu_plan_size", gpu.handle, tensors, len(tensors))

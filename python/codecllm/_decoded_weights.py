"""Compressed weights, opened: what can be asked of a stream that is a tensor of PyTorch, on the host or on a GPU.

An opened weight is found by the memory of its stream, so that layers, operators and compiled graphs hold nothing but
that tensor. It is opened when a layer gets the stream, and closed when the tensor goes; meanwhile nobody may write to
it.
"""

from __future__ import annotations

import ctypes
import threading
import weakref
from collections.abc import Sequence

import numpy as np
import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.nn import functional

from . import _library
from ._dtypes import torch_dtype
from ._errors import InvalidStreamError
from ._gpu import gpu_of
from ._gpu_decoder import read_fronts
from ._stream import FIXED_BYTES, Stream, StreamInfo, lengths


def front_of(stream: torch.Tensor) -> tuple[np.ndarray, StreamInfo]:
    """The front of a stream, in host memory, and what it says.

    Args:
        stream: uint8, one dimension, on any device, that begins with the whole stream

    Raises:
        InvalidStreamError: its front is damaged, or it is longer
    """
    front_bytes, data_bytes = lengths(stream[:FIXED_BYTES].cpu().numpy())
    if stream.numel() < front_bytes + data_bytes:
        raise InvalidStreamError(f"a stream of {front_bytes + data_bytes} bytes in {stream.numel()}")
    front = stream[:front_bytes].cpu().numpy()
    return front, Stream(front).info


class Weight:
    """A compressed weight. All methods take its stream, since it does not keep that."""

    most_rows = 0
    """Up to how many rows of X multiplying from the stream is the faster way."""

    def __init__(self, stream: torch.Tensor) -> None:
        front, info = front_of(stream)
        self.data_start, self.data_end = info.front_bytes, info.front_bytes + info.data_bytes
        self.dtype = torch_dtype(info.dtype)
        self.shape = torch.Size(info.shape)
        self.size = info.tensor_bytes
        self.storage = StorageWeakRef(stream.untyped_storage())
        """While this is here, no other storage gets the address of the stream's."""
        self._prepare(stream, front)

    def _prepare(self, stream: torch.Tensor, front: np.ndarray) -> None:
        """Prepares what is the same whenever the weight is used."""

    def decode(self, stream: torch.Tensor) -> torch.Tensor:
        """Decodes it into new memory, on the current CUDA stream if it is on a GPU."""
        output = torch.empty(self.shape, dtype=self.dtype)
        _library.call("decode", stream.data_ptr(), self.data_end, output.data_ptr(), self.size)
        return output

    def multiply(self, x: torch.Tensor, rows: int, bias: torch.Tensor | None) -> torch.Tensor:
        """X W^T (+ bias) from the stream, [..., O]. @param x [..., I] of the weight's dtype, 1 to `most_rows` rows"""
        raise NotImplementedError

    def rows(self, stream: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
        """The rows of these numbers, as `torch.nn.functional.embedding` gives them."""
        return functional.embedding(numbers, self.decode(stream))

    def close(self) -> None:
        """Lets go of what the library has of it."""


class CudaWeights:
    """Some weights on a GPU, which are decoded, or multiplied by the same X, at once.

    A product has to end before the next one begins: on one CUDA stream they do.
    """

    def __init__(self, streams: Sequence[torch.Tensor], fronts: Sequence[np.ndarray]) -> None:
        """@param streams of weights on one device @param fronts of these, in host memory"""
        self.device = streams[0].device
        tensors, self._infos, _views = read_fronts(fronts)
        self._forms = [(info.shape, torch_dtype(info.dtype)) for info in self._infos]
        self._gpu = gpu_of(self.device.index)
        self._open(tensors, len(streams))
        self._workspaces: dict[int, int] = {}
        # What calls are given; the device's lock is held from when it is set until they return.
        pointers = ctypes.c_void_p * len(streams)
        starts = (stream.data_ptr() + info.front_bytes for stream, info in zip(streams, self._infos, strict=True))
        self.data, self._biases, self._outputs = pointers(*starts), pointers(), pointers()
        self._options = _library.GpuLinearOptions(biases=self._biases, outputs=self._outputs)
        self._options_pointer = ctypes.byref(self._options)
        # Nothing has touched these bytes since they were encoded here, or checked when they were loaded.
        self._decode_options = ctypes.byref(_library.GpuDecodeOptions(data_on_host=0, verify=0))

    def _open(self, tensors: ctypes.Array[_library.GpuTensor], count: int) -> None:
        with self._gpu.lock:
            size = _library.number("gpu_plan_size", self._gpu.handle, tensors, count)
        memory = torch.empty(size, dtype=torch.uint8, device=self.device)
        # Until nothing uses this memory any more.
        torch.cuda.synchronize(self.device)
        with self._gpu.lock:
            described = (self._gpu.handle, tensors, count)
            self._plan: _library.Handle | None = _library.Handle(
                "gpu_plan", *described, memory.data_ptr(), keeps=memory
            )
            self.handle: _library.Handle | None = _library.Handle("gpu_weights", *described)
        most = ctypes.c_uint32()
        if all(info.dtype == "BF16" for info in self._infos):
            _library.call("gpu_linear_rows", self.handle, ctypes.byref(most))
        self.most_rows = most.value
        """Up to how many rows of X multiplying from the streams is the faster way."""

    def decode(self) -> list[torch.Tensor]:
        """Decodes them into new memory, on the current CUDA stream."""
        decoded = [torch.empty(shape, dtype=dtype, device=self.device) for shape, dtype in self._forms]
        with self._gpu.lock:
            for number, output in enumerate(decoded):
                self._outputs[number] = output.data_ptr()
            _library.call(
                "gpu_decode", self._plan, self.data, self._outputs, self._decode_options, _current(self.device)
            )
        return decoded

    def multiply(self, x: torch.Tensor, rows: int, biases: Sequence[torch.Tensor | None]) -> list[torch.Tensor]:
        """X W^T (+ bias) of each weight, [..., O]. @param x [..., I], BF16, with 1 to `most_rows` rows"""
        *places, columns = x.shape
        outputs = [x.new_empty((*places, features)) for (features, _), _ in self._forms]
        stride = columns
        if not x.is_contiguous():
            x = x.reshape(-1, columns)
            stride = x.stride(0)
            if x.stride(1) != 1 or stride < columns:
                x, stride = x.contiguous(), columns
        size = self._workspaces.get(rows)
        if size is None:
            size = self._workspaces[rows] = _library.number("gpu_linear_workspace", self.handle, rows)
        workspace = torch.empty(size, dtype=torch.uint8, device=self.device)
        options = self._options
        with self._gpu.lock:
            options.x = x.data_ptr()
            options.x_stride = stride
            options.rows = rows
            options.workspace = workspace.data_ptr()
            for number, (bias, output) in enumerate(zip(biases, outputs, strict=True)):
                self._biases[number] = None if bias is None else bias.data_ptr()
                self._outputs[number] = output.data_ptr()
            _library.call("gpu_linear", self.handle, self.data, self._options_pointer, _current(self.device))
        return outputs

    def rows(self, numbers: torch.Tensor) -> torch.Tensor:
        """The rows of these numbers of the first weight; those that it does not have are zeros."""
        if numbers.dtype not in (torch.int32, torch.int64):
            raise RuntimeError(f"expected indices of one of the dtypes Long, Int, not {numbers.dtype}")
        numbers = numbers.long().contiguous()
        dtype, columns = torch_dtype(self._infos[0].dtype), self._infos[0].shape[1]
        output = torch.zeros((*numbers.shape, columns), dtype=dtype, device=self.device)
        places = (self.data[0], numbers.data_ptr(), numbers.numel(), output.data_ptr())
        with self._gpu.lock:
            _library.call("gpu_rows", self.handle, 0, *places, _current(self.device))
        return output

    def close(self) -> None:
        self.handle = self._plan = None


class CudaWeight(Weight):
    """One on a GPU."""

    _own: CudaWeights | None = None
    _joint: tuple[list[Weight], CudaWeights] | None = None
    """The weights that were used together with it, the last time, and all of them opened at once."""

    def _prepare(self, stream: torch.Tensor, front: np.ndarray) -> None:
        self._own = CudaWeights([stream], [front])
        self.device = stream.device
        self.most_rows = self._own.most_rows

    def decode(self, stream: torch.Tensor) -> torch.Tensor:
        return self._own.decode()[0]

    def multiply(self, x: torch.Tensor, rows: int, bias: torch.Tensor | None) -> torch.Tensor:
        return self._own.multiply(x, rows, [bias])[0]

    def rows(self, stream: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
        """As `Weight.rows`; but rows that it does not have are zeros."""
        return self._own.rows(numbers)

    def together(self, others: list[Weight], streams: Sequence[torch.Tensor]) -> CudaWeights | None:
        """This weight, whose stream is the first one, and others; None while they cannot be opened at once."""
        if self._joint is None or self._joint[0] != others:
            if _is_capturing():
                return None
            self._close_joint()
            self._joint = (others, CudaWeights(streams, [front_of(stream)[0] for stream in streams]))
        return self._joint[1]

    def _close_joint(self) -> None:
        joint, self._joint = self._joint, None
        if joint is not None:
            joint[1].close()

    def close(self) -> None:
        self._close_joint()
        self._own.close()


def _current(device: torch.device) -> int:
    """The current CUDA stream, as CUDA has it; a `torch.cuda.Stream` would take longer."""
    return torch._C._cuda_getCurrentRawStream(device.index)


# ------------------------------------------------------------------------------------------------------ opened weights

_opened: dict[tuple[int, int], Weight] = {}
"""By the storage of the stream, and where in memory the stream begins."""
_opening = threading.RLock()


def weight_of(stream: torch.Tensor) -> Weight:
    """The opened weight of a stream, which is opened if it is not.

    Args:
        stream: uint8, one dimension, that begins with the whole stream

    Raises:
        InvalidStreamError: its front is damaged, or it is longer
        UnavailableError: it is on a GPU, and this build of codecllm has no CUDA
        RuntimeError: it is not open, and a CUDA graph is being captured
    """
    key = (stream.untyped_storage()._cdata, stream.data_ptr())
    return _opened.get(key) or _open(stream, key)


def _open(stream: torch.Tensor, key: tuple[int, int]) -> Weight:
    if _is_capturing():
        raise RuntimeError(
            "a compressed weight is used for the first time while a CUDA graph is captured: run it before"
        )
    with _opening:
        # Streams whose tensors got other memory, by Module.to, say.
        for gone in [other for other, weight in _opened.items() if weight.storage.expired()]:
            _opened.pop(gone).close()
        weight = _opened.get(key)
        if weight is None:
            weight = _opened[key] = (CudaWeight if stream.device.type == "cuda" else Weight)(stream)
            weakref.finalize(stream, _forget, key, weakref.ref(weight)).atexit = False
        return weight


def together(streams: Sequence[torch.Tensor], weights: list[Weight]) -> CudaWeights | None:
    """Weights, opened at once; None where each is to be used by itself."""
    first, *others = weights
    if not isinstance(first, CudaWeight) or any(stream.device != first.device for stream in streams):
        return None
    return first.together(others, streams)


def _forget(key: tuple[int, int], gone: weakref.ref[Weight]) -> None:
    """Closes the weight of a stream that goes."""
    weight = gone()
    # Freeing memory would end a capture; whoever opens the next weight will find this one.
    if weight is not None and _opened.get(key) is weight and not _is_capturing():
        _opened.pop(key).close()


def _is_capturing() -> bool:
    return torch.cuda.is_available() and torch.cuda.is_current_stream_capturing()

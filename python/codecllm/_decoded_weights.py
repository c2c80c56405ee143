"""Compressed weights, opened: what can be asked of a stream that is a tensor of PyTorch, on the host or on a GPU.

An opened weight is found by the memory of its stream, so that layers, operators and compiled graphs hold nothing but
that tensor. It is opened when a layer gets the stream, and closed when the tensor goes; meanwhile nobody may write to
it.
"""

from __future__ import annotations

import ctypes
import threading
import weakref
from typing import NamedTuple

import numpy as np
import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.nn import functional

from . import _library
from ._closing import Closing
from ._dtypes import torch_dtype
from ._errors import InvalidStreamError
from ._gpu import gpu_of
from ._gpu_decoder import GPUDecoder, read_fronts
from ._stream import Stream, lengths

_FIXED_BYTES = 64
"""The start of a stream, which says how long its front is."""
_MOST_AHEAD = 256 * 2**20
"""Weights of more bytes are not decoded ahead, since the memory for it stays taken until they are used."""


class Weight(Closing):
    """A compressed weight. All methods take its stream, since it does not keep that."""

    most_rows = 0
    """Up to how many rows of X multiplying from the stream is the faster way."""

    def __init__(self, stream: torch.Tensor) -> None:
        front_bytes, data_bytes = lengths(stream[:_FIXED_BYTES].cpu().numpy())
        if stream.numel() < front_bytes + data_bytes:
            raise InvalidStreamError(f"a stream of {front_bytes + data_bytes} bytes in {stream.numel()}")
        self.data_start, self.data_end = front_bytes, front_bytes + data_bytes
        front = stream[:front_bytes].cpu().numpy()
        info = Stream(front).info
        self.dtype = torch_dtype(info.dtype)
        self.shape = torch.Size(info.shape)
        self.size = info.tensor_bytes
        self.storage = StorageWeakRef(stream.untyped_storage())
        """While this is here, no other storage gets the address of the stream's."""
        self._open(stream, front)

    def _open(self, stream: torch.Tensor, front: np.ndarray) -> None:
        """Prepares what is the same whenever the weight is used."""

    def decode(self, stream: torch.Tensor) -> torch.Tensor:
        """Decodes it into new memory, on the current CUDA stream if it is on a GPU."""
        return self.decode_into(stream, torch.empty(self.size, dtype=torch.uint8, device=stream.device))

    def decode_into(self, stream: torch.Tensor, output: torch.Tensor) -> torch.Tensor:
        """Decodes it into `output` (uint8 of its size). @returns the weight, a view of `output`"""
        self._decode(stream, output)
        return output.view(self.dtype).view(self.shape)

    def decode_for_product(self, stream: torch.Tensor) -> torch.Tensor:
        """The same. It may have been decoded before this is called, and then the next one may be by now, too."""
        return self.decode(stream)

    def multiply(self, stream: torch.Tensor, x: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        """X W^T (+ bias) from the stream. @param x of the weight's dtype, with 1 to `most_rows` rows"""
        raise NotImplementedError

    def rows(self, stream: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
        """The rows of these numbers, as `torch.nn.functional.embedding` gives them."""
        return functional.embedding(numbers, self.decode(stream))

    def close(self) -> None:
        """Lets go of what the library has of it."""

    def _decode(self, stream: torch.Tensor, output: torch.Tensor) -> None:
        _library.call("decode", stream.data_ptr(), self.data_end, output.data_ptr(), self.size)


class CudaWeight(Weight):
    """One on a GPU. A product or a decode of it has to end before its next begins: on one CUDA stream they do."""

    def __init__(self, stream: torch.Tensor) -> None:
        self._weights = ctypes.c_void_p()
        super().__init__(stream)

    def _open(self, stream: torch.Tensor, front: np.ndarray) -> None:
        self._device = stream.device
        self.stream = weakref.ref(stream)
        self.following: weakref.ref[CudaWeight] | None = None
        """The weight that was decoded for a product after it, the last time."""
        self._gpu = gpu_of(stream.device.index)
        size = GPUDecoder.memory_bytes([front], stream.device.index)
        self._memory = torch.empty(size, dtype=torch.uint8, device=stream.device)
        # Until nothing uses this memory any more.
        torch.cuda.synchronize(stream.device)
        self._decoder = GPUDecoder([front], stream.device.index, self._memory)
        tensors, _, _views = read_fronts([front])
        with self._gpu.lock:
            _library.call("gpu_weights_open", self._gpu.handle, tensors, 1, ctypes.byref(self._weights))
        if self.dtype == torch.bfloat16:
            most = ctypes.c_uint32()
            _library.call("gpu_linear_rows", self._weights, ctypes.byref(most))
            self.most_rows = most.value
        self._workspaces: dict[int, int] = {}
        self._data = (ctypes.c_void_p * 1)(stream.data_ptr() + self.data_start)
        self._biases, self._outputs = (ctypes.c_void_p * 1)(), (ctypes.c_void_p * 1)()
        self._options = _library.GpuLinearOptions(biases=self._biases, outputs=self._outputs)
        self._options_pointer = ctypes.byref(self._options)

    def decode_for_product(self, stream: torch.Tensor) -> torch.Tensor:
        if torch.cuda.is_current_stream_capturing():
            return self.decode(stream)
        return _ahead_on(stream.device).take(self, stream)

    def multiply(self, stream: torch.Tensor, x: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        columns = self.shape[1]
        matrix = x.reshape(-1, columns)
        if not matrix.is_contiguous() and (matrix.stride(1) != 1 or matrix.stride(0) < columns):
            matrix = matrix.contiguous()
        rows = matrix.shape[0]
        output = x.new_empty((*x.shape[:-1], self.shape[0]))
        size = self._workspaces.get(rows)
        if size is None:
            size = self._workspaces[rows] = _library.number("gpu_linear_workspace", self._weights, rows)
        workspace = torch.empty(size, dtype=torch.uint8, device=stream.device)
        options = self._options
        with self._gpu.lock:
            options.x = matrix.data_ptr()
            options.x_stride = columns if rows == 1 else matrix.stride(0)
            options.rows = rows
            options.workspace = workspace.data_ptr()
            self._biases[0] = None if bias is None else bias.data_ptr()
            self._outputs[0] = output.data_ptr()
            _library.call("gpu_linear", self._weights, self._data, self._options_pointer, _current(stream.device))
        return output

    def rows(self, stream: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
        """As `Weight.rows`; but rows that it does not have are zeros."""
        if numbers.dtype not in (torch.int32, torch.int64):
            raise RuntimeError(f"expected indices of one of the dtypes Long, Int, not {numbers.dtype}")
        numbers = numbers.long().contiguous()
        output = torch.zeros((*numbers.shape, self.shape[1]), dtype=self.dtype, device=stream.device)
        with self._gpu.lock:
            _library.call(
                "gpu_rows",
                self._weights,
                0,
                self._data[0],
                numbers.data_ptr(),
                numbers.numel(),
                output.data_ptr(),
                _current(stream.device),
            )
        return output

    def keep_for(self, stream: torch.Tensor, cuda_stream: torch.cuda.Stream) -> None:
        """Keeps memory, should it be freed, from being used again before a CUDA stream has decoded from it."""
        self._memory.record_stream(cuda_stream)
        stream.record_stream(cuda_stream)

    def close(self) -> None:
        if self._device in _ahead:
            _ahead[self._device].drop(self)
        _library.plain("gpu_weights_close")(self._weights)
        self._weights = ctypes.c_void_p()

    def _decode(self, stream: torch.Tensor, output: torch.Tensor) -> None:
        # Nothing has touched these bytes since they were encoded here, or checked.
        self._decoder.decode([stream[self.data_start : self.data_end]], [output], verify=False)


def _current(device: torch.device) -> int:
    return torch.cuda.current_stream(device).cuda_stream


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


def _forget(key: tuple[int, int], gone: weakref.ref[Weight]) -> None:
    """Closes the weight of a stream that goes."""
    weight = gone()
    # Freeing memory would end a capture; whoever opens the next weight will find this one.
    if weight is not None and _opened.get(key) is weight and not _is_capturing():
        _opened.pop(key).close()


def _is_capturing() -> bool:
    return torch.cuda.is_available() and torch.cuda.is_current_stream_capturing()


# ------------------------------------------------------------------------------------------------------ decoding ahead


class _Decoding(NamedTuple):
    """A weight that is being decoded before it is asked for."""

    weight: CudaWeight
    output: torch.Tensor
    allocated_on: torch.cuda.Stream
    """The CUDA stream in whose order the output's memory is used again once it is free."""
    decoded: torch.cuda.Event


class _Ahead:
    """Decodes, on a CUDA stream of its own, the weight that will be asked for next while a product is made.

    Which one that is, is what was next the last time. There is one at a time, so two decoded weights are in memory.
    """

    def __init__(self, device: torch.device) -> None:
        self._cuda_stream = torch.cuda.Stream(device)
        self._lock = threading.RLock()
        self._last: weakref.ref[CudaWeight] | None = None
        self._decoding: _Decoding | None = None

    def take(self, weight: CudaWeight, stream: torch.Tensor) -> torch.Tensor:
        """The decoded weight, for the current CUDA stream."""
        current = torch.cuda.current_stream(stream.device)
        with self._lock:
            taken = self._end_decoding()
            if taken is not None and taken.weight is weight and taken.allocated_on == current:
                output = taken.output
            else:
                output = weight.decode(stream)
            last = None if self._last is None else self._last()
            if last is not None and last is not weight:
                last.following = weakref.ref(weight)
            self._last = weakref.ref(weight)
            following = None if weight.following is None else weight.following()
            if following is not None and following.size <= _MOST_AHEAD:
                self._decode_ahead(following, current)
        return output

    def drop(self, weight: CudaWeight) -> None:
        """Lets go of a weight that nobody will ask for any more."""
        with self._lock:
            if self._decoding is not None and self._decoding.weight is weight:
                self._end_decoding()

    def _decode_ahead(self, weight: CudaWeight, current: torch.cuda.Stream) -> None:
        stream = weight.stream()
        if stream is None:
            return
        memory = torch.empty(weight.size, dtype=torch.uint8, device=stream.device)
        # What used this memory before.
        self._cuda_stream.wait_stream(current)
        with torch.cuda.stream(self._cuda_stream):
            output = weight.decode_into(stream, memory)
            decoded = self._cuda_stream.record_event()
        weight.keep_for(stream, self._cuda_stream)
        self._decoding = _Decoding(weight, output, current, decoded)

    def _end_decoding(self) -> _Decoding | None:
        """Makes what is being decoded ahead usable for the CUDA stream that its memory is of, and so free, too."""
        ended, self._decoding = self._decoding, None
        if ended is not None:
            ended.allocated_on.wait_event(ended.decoded)
        return ended


_ahead: dict[torch.device, _Ahead] = {}


def _ahead_on(device: torch.device) -> _Ahead:
    return _ahead.get(device) or _ahead.setdefault(device, _Ahead(device))

"""Tensors on a GPU to streams there."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from . import _library
from ._arrays import describe_tensor
from ._closing import Closing
from ._gpu import check_device, gpu_of

if TYPE_CHECKING:
    import torch

    from ._library import Profile

_ALIGNMENT = 16
"""Of elements and Data on a device."""


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
        self._gpu = gpu_of(device)
        _library.call("gpu_encoder_open", self._gpu.handle, ctypes.byref(self._handle))

    def encode(self, tensors: Sequence[torch.Tensor], profile: Profile = "fast") -> list[GPUStream | None]:
        """Encodes tensors and waits for it. Many in one call are faster than one by one.

        What the current CUDA stream of the device holds is done before they are read. Meanwhile it takes as much memory
        as they have, and some hundred MiB.

        Args:
            tensors: dense tensors on the device, of any shape and dtype that a stream can hold
            profile: "fast", or "small" as for files, or "direct"

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
            check_device(tensor, self._gpu.device, f"tensor {index}")
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
        cuda_stream = torch.cuda.current_stream(self._gpu.device).cuda_stream
        with self._gpu.lock:
            _library.call("gpu_encode", self._handle, sources, len(sources), cuda_stream)
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

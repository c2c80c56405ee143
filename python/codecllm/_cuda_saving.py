"""Tensors on GPUs on their way to a file: they are encoded there, and bytes come from there piece by piece."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

import numpy as np
import torch

from ._closing import Closing
from ._gpu_encoder import GPUEncoder, GPUStream
from ._library import Profile

_PIECE_BYTES = 16 * 2**20
"""So many bytes are copied to pinned memory at a time."""


def wait_for(tensor: torch.Tensor) -> None:
    """Waits until a tensor has been written, so that other threads can read it, on CUDA streams of theirs."""
    torch.cuda.current_stream(tensor.device).synchronize()


def feed(use: Callable[[np.ndarray], object], tensor: torch.Tensor) -> None:
    """Hands the bytes of a contiguous tensor over, in order: while one piece is used, the next one is copied."""
    plain = _plain(tensor)
    copied: deque[tuple[torch.Tensor, torch.cuda.Event]] = deque()

    def use_first() -> None:
        piece, done = copied.popleft()
        done.synchronize()
        use(piece.numpy())

    with torch.cuda.device(tensor.device), torch.cuda.stream(torch.cuda.Stream()):
        for at in range(0, plain.numel(), _PIECE_BYTES):
            # Pinned memory, which PyTorch keeps for the piece after the next one.
            copied.append((plain[at : at + _PIECE_BYTES].to("cpu", non_blocking=True), torch.cuda.Event()))
            copied[-1][1].record()
            if len(copied) == 2:
                use_first()
        while copied:
            use_first()


class GpuBytes:
    """Bytes of a contiguous tensor, of which parts come from the GPU when they are asked for."""

    def __init__(self, tensor: torch.Tensor) -> None:
        self._plain = _plain(tensor)

    def __getitem__(self, part: slice) -> np.ndarray:
        return self._plain[part].cpu().numpy()


def _plain(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().resolve_conj().resolve_neg().reshape(-1).view(torch.uint8)


class StreamEncoder(Closing):
    """Encodes tensors where they are, on any GPUs."""

    def __init__(self, profile: Profile) -> None:
        self._profile: Profile = profile
        self._encoders: dict[int, GPUEncoder] = {}

    def encode(
        self, tensors: Sequence[torch.Tensor], bases: Sequence[np.ndarray] | None = None
    ) -> list[GPUStream | None]:
        """The streams of tensors of one device, whole, for any CUDA stream; None where there is none that is smaller.

        Args:
            bases: the bytes of what they are coded against, in host memory

        Raises:
            UnavailableError: the device is one that cannot encode
            MemoryError: it has too little memory
        """
        if not tensors:
            return []
        number = tensors[0].get_device()
        if number not in self._encoders:
            self._encoders[number] = GPUEncoder(number)
        try:
            there = None
            if bases is not None:
                pairs = zip(tensors, bases, strict=True)
                there = [
                    torch.from_numpy(base).to(tensor.device).view(tensor.dtype).view(tensor.shape)
                    for tensor, base in pairs
                ]
            streams = self._encoders[number].encode(tensors, self._profile, there)
        except torch.OutOfMemoryError as error:
            raise MemoryError(str(error)) from None
        # Their Data were last written on this thread's CUDA stream, and are fetched on others.
        wait_for(tensors[0])
        return streams

    def close(self) -> None:
        """Lets go of the encoders' memory. Nothing may be called then."""
        while self._encoders:
            self._encoders.popitem()[1].close()

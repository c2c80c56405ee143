"""Tensors on GPUs on their way to a file: their bytes, piece by piece, and their streams, which are encoded there."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

import numpy as np
import torch

from ._closing import Closing
from ._gpu_encoder import GPUEncoder
from ._library import Profile

_PIECE_BYTES = 16 * 2**20
"""So many bytes are copied to pinned memory at a time."""


def wait_for(tensor: torch.Tensor) -> None:
    """Waits until a tensor has been written, so that other threads can read it, on CUDA streams of theirs."""
    torch.cuda.current_stream(tensor.device).synchronize()


def feed(use: Callable[[np.ndarray], object], tensor: torch.Tensor) -> None:
    """Hands the bytes of a contiguous tensor over, in order: while one piece is used, the next one is copied."""
    plain = tensor.detach().resolve_conj().resolve_neg().reshape(-1).view(torch.uint8)
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


class StreamEncoder(Closing):
    """Encodes tensors where they are, on any GPUs, and brings their streams to host memory."""

    def __init__(self, profile: Profile) -> None:
        self._profile: Profile = profile
        self._encoders: dict[int, GPUEncoder] = {}

    def encode(self, tensors: Sequence[torch.Tensor]) -> list[np.ndarray | None]:
        """The streams (uint8) of tensors of one device; None where there is none that is smaller.

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
            encoded_tensors = self._encoders[number].encode(tensors, self._profile)
        except torch.OutOfMemoryError as error:
            raise MemoryError(str(error)) from None
        streams: list[np.ndarray | None] = []
        for encoded in encoded_tensors:
            if encoded is None:
                streams.append(None)
                continue
            stream = np.empty(len(encoded.front) + encoded.data.numel(), np.uint8)
            stream[: len(encoded.front)] = np.frombuffer(encoded.front, np.uint8)
            torch.from_numpy(stream[len(encoded.front) :]).copy_(encoded.data)
            streams.append(stream)
        return streams

    def close(self) -> None:
        """Lets go of the encoders' memory. Nothing may be called then."""
        while self._encoders:
            self._encoders.popitem()[1].close()

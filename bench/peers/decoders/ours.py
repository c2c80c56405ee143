"""CodecLLM itself, through its Python package as it is installed (`pip install ./python`)."""

from __future__ import annotations

import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch

from . import Coded, Settings, as_bytes

NAME = "codecllm"

PROFILES = ("fast", "small")


def version(folder: Path) -> str:
    import codecllm

    if not codecllm.features().cuda:
        raise RuntimeError("the package was built without CUDA")
    return codecllm.__version__


def settings(folder: Path, tensors: list[torch.Tensor], dtype: str, brief: bool) -> Settings:
    # Low tiles give a small tensor more parallelism, and a large one only more bytes.
    is_large = max(tensor.nbytes for tensor in tensors) >= 2**27
    heights = (128, 32) if brief else (256, 128) if is_large else (128, 64, 32, 16, 8)
    for profile in PROFILES:
        for height in heights:
            encoded = functools.cache(functools.partial(_encode, tensors, dtype, profile, height))
            for verify in (True, False):
                yield f"{profile}, tiles of {height} rows", functools.partial(_coded, tensors, encoded, verify)


def _encode(tensors: list[torch.Tensor], dtype: str, profile: str, height: int) -> list[np.ndarray]:
    from codecllm import _codec, _library

    options = _library.options(profile)
    options.tile_rows = height

    def encode(tensor: torch.Tensor, data: torch.Tensor) -> np.ndarray:
        return _codec.encode_bytes(data.cpu().numpy(), dtype, tuple(tensor.shape), options)

    with ThreadPoolExecutor() as pool:
        return list(pool.map(encode, tensors, as_bytes(tensors)))


def _coded(tensors: list[torch.Tensor], encoded: Callable[[], list[np.ndarray]], verify: bool) -> Coded:
    from codecllm import GPUDecoder

    streams = encoded()
    decoder = GPUDecoder(streams)
    data = [
        torch.from_numpy(stream[info.front_bytes :]).cuda()
        for stream, info in zip(streams, decoder.streams, strict=True)
    ]

    def launcher(buffers: list[torch.Tensor], outputs: list[torch.Tensor]) -> Callable[[], None]:
        return lambda: decoder.decode(buffers, outputs, verify=verify)

    return Coded(
        stored_bytes=sum(stream.size for stream in streams),
        buffers=data,
        launcher=launcher,
        expected=as_bytes(tensors),
        variant="checks verified" if verify else "checks skipped",
        check=decoder.check,
    )

"""CodecLLM: lossless compression of LLM weights, in a format that GPUs decode.

Arrays: `encode` and `decode`. Files and directories: `compress`, `decompress`, `verify`, `inspect`. Checkpoints:
`codecllm.torch` and `codecllm.numpy` have what those modules of safetensors have, and `safe_open` is here. Models:
`codecllm.transformers`. Tensors on a GPU: `GPUEncoder`. For callers who hold buffers, streams and scratch memory
themselves: `Encoder`, `GPUDecoder`.
"""

from __future__ import annotations

from typing import NamedTuple

from . import _library
from ._codec import decode, encode
from ._commands import compress, decompress, estimate, inspect, verify
from ._encoder import Encoder
from ._errors import (
    CodecError,
    CudaError,
    FileError,
    FilesError,
    IncompleteError,
    InvalidStreamError,
    SafetensorError,
    UnavailableError,
    UncheckedError,
)
from ._gpu_decoder import GPUDecoder
from ._gpu_encoder import GPUEncoder, GPUStream
from ._inspection import Inspection
from ._opening import safe_open
from ._report import (
    DirectoryReport,
    Estimate,
    FileEstimate,
    FileReport,
    InspectedFile,
    InspectedTensor,
    Prefix,
    Problem,
    Report,
    TensorReport,
    VerifyReport,
)
from ._stream import StreamInfo
from ._tables import VERSION
from ._temporary import clean

__all__ = [
    "CodecError",
    "CudaError",
    "DirectoryReport",
    "Encoder",
    "Estimate",
    "Features",
    "FileError",
    "FileEstimate",
    "FileReport",
    "FilesError",
    "GPUDecoder",
    "GPUEncoder",
    "GPUStream",
    "IncompleteError",
    "InspectedFile",
    "InspectedTensor",
    "Inspection",
    "InvalidStreamError",
    "Prefix",
    "Problem",
    "Report",
    "SafetensorError",
    "StreamInfo",
    "TensorReport",
    "UnavailableError",
    "UncheckedError",
    "VerifyReport",
    "__version__",
    "clean",
    "compress",
    "decode",
    "decompress",
    "encode",
    "estimate",
    "features",
    "inspect",
    "safe_open",
    "verify",
]

__version__ = VERSION


class Features(NamedTuple):
    """What this build can do on this machine."""

    cuda: bool
    """Whether it was built with the GPU decoder."""
    gpus: int
    """How many GPUs that decoder finds."""


def features() -> Features:
    """What this build can do on this machine."""
    return Features(_library.has_cuda(), _library.plain("gpu_count")())

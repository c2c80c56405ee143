"""Names: which files are checkpoints, and what outputs are called that nobody gave a name: X.safetensors and
X.codecllm.safetensors, directories D and D.codecllm. Capitals do not matter, and stay.
"""

from __future__ import annotations

import os
import re

_CHECKPOINT = re.compile(r"\.safetensors\Z", re.IGNORECASE)
_COMPRESSED = re.compile(r"\.codecllm\Z", re.IGNORECASE)
_COMPRESSED_CHECKPOINT = re.compile(r"\.codecllm(\.safetensors)\Z", re.IGNORECASE)
_WEIGHTS = re.compile(r"\.(bin|pth|pt|gguf)\Z", re.IGNORECASE)
"""Of other formats."""


def is_checkpoint_name(name: str) -> bool:
    return _CHECKPOINT.search(name) is not None


def is_weights_name(name: str) -> bool:
    return _WEIGHTS.search(name) is not None


def compressed_name(path: str, is_directory: bool) -> str | None:
    """The output of `compress`, or None where the input's name gives none."""
    if is_directory:
        return os.path.abspath(path) + ".codecllm"
    return _CHECKPOINT.sub(r".codecllm\g<0>", path) if is_checkpoint_name(path) else None


def restored_name(path: str, is_directory: bool) -> str | None:
    """The output of `decompress`, or None where the input's name gives none."""
    name = os.path.abspath(path) if is_directory else path
    restored = _COMPRESSED.sub("", name) if is_directory else _COMPRESSED_CHECKPOINT.sub(r"\1", name)
    is_stem = os.path.basename(restored).lower() not in ("", ".safetensors")
    return restored if restored != name and is_stem else None

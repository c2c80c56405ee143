"""Checkpoints for NumPy, compressed or not, as `safetensors.numpy` has them: changing one import is all it takes.

::

    from codecllm.numpy import load_file, save_file

BF16 and FP8 are dtypes of ml_dtypes, where that is installed. PyTorch is not imported.
"""

from __future__ import annotations

import os

import numpy as np

from . import _library
from ._arrays import bytes_of
from ._bases import Paths
from ._dtypes import name_of
from ._frameworks import Numpy
from ._library import Profile
from ._opening import Backend, load_bytes, safe_open
from ._refining import refine_
from ._saving import Source, checkpoint_bytes, sources_of, write_checkpoint

__all__ = ["load", "load_file", "refine_", "save", "save_file"]


def load_file(
    filename: str | os.PathLike[str],
    *,
    backend: Backend = "mmap",
    max_bytes: int | None = None,
    base: Paths | None = None,
    bits: int | None = None,
) -> dict[str, np.ndarray]:
    """Loads a checkpoint.

    Args:
        filename: as in `codecllm.safe_open`
        backend: as there
        max_bytes: as there, of all tensors
        base: as there
        bits: as there

    Returns:
        name to array, in the order of the original's data: dtypes, shapes and bits of the original

    Raises:
        FileError: the file is damaged, or no checkpoint, or there is no such dtype here; the message names file and
            tensor
        OSError: it cannot be read
    """
    with safe_open(filename, "np", backend=backend, max_bytes=max_bytes, base=base, bits=bits) as checkpoint:
        return checkpoint.get_tensors()


def load(data: bytes, *, max_bytes: int | None = None) -> dict[str, np.ndarray]:
    """The same of what a file holds. @raises FileError as `load_file` does"""
    return load_bytes(data, Numpy(), max_bytes)


def save_file(
    tensor_dict: dict[str, np.ndarray],
    filename: str | os.PathLike[str],
    metadata: dict[str, str] | None = None,
    *,
    profile: Profile = "small",
    base: Paths | None = None,
    progressive: bool = False,
) -> None:
    """Saves arrays as a compressed checkpoint: byte for byte what `codecllm.torch.save_file` makes of the same tensors.

    Args:
        tensor_dict: of any layout and byte order; what shares memory is saved more than once
        filename: of the file, which is replaced if it exists
        metadata: text that is kept in the header
        profile: as in `codecllm.encode`
        base: as in `codecllm.torch.save_file`
        progressive: as there

    Raises:
        ValueError: no dict, or no such profile
        TypeError: what is no array, or has a dtype that safetensors lacks; metadata that are not text
        FileError: metadata with keys of CodecLLM's own, or more of them than a header can hold; a vector of uint8 that
            is itself a stream; layers of what has none
        OSError: the file cannot be written
    """
    options = _library.options(profile)
    write_checkpoint(filename, sources_of(tensor_dict, _source), metadata, options, base, progressive)


def save(
    tensor_dict: dict[str, np.ndarray], metadata: dict[str, str] | None = None, *, profile: Profile = "small"
) -> bytes:
    """What `save_file` would write. @raises what `save_file` raises"""
    return checkpoint_bytes(sources_of(tensor_dict, _source), metadata, _library.options(profile))


def _source(name: str, array: np.ndarray) -> Source:
    if not isinstance(array, np.ndarray | np.generic):
        raise TypeError(f"{name!r}: expected a NumPy array, not {type(array).__name__}")
    return Source(name, name_of(array.dtype), array.shape, array.nbytes, lambda: bytes_of(array)[0])

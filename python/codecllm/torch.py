"""Checkpoints for PyTorch, compressed or not, as `safetensors.torch` has them: changing one import is all it takes.

::

    from codecllm.torch import load_file, safe_open, save_file
"""

from __future__ import annotations

import os
from collections.abc import Collection

from ._errors import needing

with needing("torch"):
    import torch

from . import _library
from ._arrays import bytes_of, describe_tensor
from ._bases import Paths
from ._frameworks import Device, Torch
from ._library import Profile
from ._modules import compress_module
from ._opening import Backend, load_bytes, safe_open
from ._refining import refine_
from ._saving import Source, checkpoint_bytes, sources_of, write_checkpoint
from ._updates import apply_update_, encode_update

__all__ = [
    "apply_update_",
    "compress_module",
    "encode_update",
    "load",
    "load_file",
    "load_model",
    "refine_",
    "safe_open",
    "save",
    "save_file",
    "save_model",
]


def load_file(
    filename: str | os.PathLike[str],
    device: Device = "cpu",
    *,
    backend: Backend = "mmap",
    max_bytes: int | None = None,
    base: Paths | None = None,
    bits: int | None = None,
) -> dict[str, torch.Tensor]:
    """Loads a checkpoint.

    On a CUDA device streams are decoded there: reading the file, copying what was read through pinned memory and
    decoding go on at the same time. All of it is done when this returns.

    Args:
        filename: as in `safe_open`
        device: where the tensors shall be: "cpu", "cuda", "cuda:1", 1, ...
        backend: as in `safe_open`
        max_bytes: as there, of all tensors
        base: as in `safe_open`; it is loaded on the device, and what was coded against it is decoded over it
        bits: as in `safe_open`; `refine_` adds the others. Layers are decoded and added on the device, too

    Returns:
        name to tensor, in the order of the original's data: dtypes, shapes and bits of the original

    Raises:
        FileError: the file is damaged, or no checkpoint, or PyTorch lacks a dtype; the message names file and tensor
        OSError: it cannot be read
        UnavailableError: a CUDA device is asked for, and there is none, or the build has no CUDA
    """
    with safe_open(filename, "pt", device, backend=backend, max_bytes=max_bytes, base=base, bits=bits) as checkpoint:
        return checkpoint.get_tensors()


def load(data: bytes, *, max_bytes: int | None = None) -> dict[str, torch.Tensor]:
    """Loads what a file holds, into host memory. @raises FileError as `load_file` does"""
    return load_bytes(data, Torch("cpu"), max_bytes)


def load_model(
    model: torch.nn.Module,
    filename: str | os.PathLike[str],
    strict: bool = True,
    device: Device = "cpu",
    *,
    backend: Backend = "mmap",
    max_bytes: int | None = None,
) -> tuple[set[str], list[str]]:
    """Loads a checkpoint into a model, of whose tensors that share memory it needs to have only one.

    Args:
        model: changed in place
        filename: as in `load_file`, as are `device`, where its tensors are until they are copied, `backend` and
            `max_bytes`
        strict: whether a tensor that the model lacks, or one that it has and the file lacks, is an error

    Returns:
        the names that the model has and the file lacks, and those that the file has and the model lacks

    Raises:
        RuntimeError: with `strict`, there are such names; tensors do not have the shapes that the model has; or tensors
            of it share memory, and none of them covers it
        FileError, OSError, UnavailableError: as `load_file`
    """
    tensors = load_file(filename, device, backend=backend, max_bytes=max_bytes)
    dropped = [name for names in _dropped(model.state_dict(), tensors).values() for name in names]
    incompatible = model.load_state_dict(tensors, strict=False)
    missing = set(incompatible.missing_keys).difference(dropped)
    # Of tensors that share memory a file has one.
    again = set(dropped).difference(incompatible.missing_keys)
    unexpected = [*incompatible.unexpected_keys, *(name for name in dropped if name in again)]
    if strict and (missing or unexpected):
        lines = [f"Error(s) in loading state_dict for {type(model).__name__}:"]
        for what, names in (("Missing", sorted(missing)), ("Unexpected", sorted(unexpected))):
            if names:
                lines.append(f"    {what} key(s) in state_dict: " + ", ".join(f'"{name}"' for name in names))
        raise RuntimeError("\n".join(lines))
    return missing, unexpected


def save_file(
    tensors: dict[str, torch.Tensor],
    filename: str | os.PathLike[str],
    metadata: dict[str, str] | None = None,
    *,
    profile: Profile = "small",
    base: Paths | None = None,
    progressive: bool = False,
) -> None:
    """Saves tensors as a compressed checkpoint.

    It is what `codecllm compress` makes of the file that `safetensors.torch.save_file` writes, byte for byte, and what
    `codecllm decompress` gives that file back from. (With several entries of metadata safetensors does not write
    the same file every time; here they keep their order.) The file appears under its name only when it is complete.

    Args:
        tensors: dense and contiguous, on any device, none of which shares memory with another
        filename: of the file, which is replaced if it exists
        metadata: text that is kept in the header
        profile: "small" is for files; "fast" takes a little more space and decodes faster on a GPU; "direct" stores
            BF16 in 12 bits, as a GPU can multiply it, and is "fast" for other dtypes
        base: a checkpoint whose tensors these are changed copies of, as after a step of training: a file, compressed or
            not. Where that is smaller, only the changes are saved, and whoever loads them needs the base. If it was
            coded against another one, several: itself first, then files or directories to find the others in
        progressive: put tensors of floats into layers of bits, so that the first part of the file is a coarse
            checkpoint: `load_file(..., bits=)`. Without a base, and not in "direct"

    Raises:
        ValueError: tensors that cannot be saved; the message names them
        RuntimeError: tensors that share memory
        TypeError: a dtype that safetensors lacks, or metadata that are not text
        FileError: metadata with keys of CodecLLM's own, or more of them than a header can hold; a vector of uint8 that
            is itself a stream; layers of what has none
        OSError: the file cannot be written
    """
    options = _library.options(profile)
    write_checkpoint(filename, _sources(tensors), metadata, options, base, progressive)


def save(
    tensors: dict[str, torch.Tensor], metadata: dict[str, str] | None = None, *, profile: Profile = "small"
) -> bytes:
    """What `save_file` would write. @raises what `save_file` raises"""
    options = _library.options(profile)
    return checkpoint_bytes(_sources(tensors), metadata, options)


def save_model(
    model: torch.nn.Module,
    filename: str | os.PathLike[str],
    metadata: dict[str, str] | None = None,
    force_contiguous: bool = True,
    *,
    profile: Profile = "small",
) -> None:
    """Saves a model as a compressed checkpoint; of tensors that share memory one, with the others' names in metadata.

    Args:
        model: of which the `state_dict` is saved
        filename: as in `save_file`, as is `profile`
        metadata: text that is kept in the header, beside the names of tensors that are left out, each with the name of
            the one that is there for it
        force_contiguous: whether tensors that are not contiguous are saved as if they were, and not refused

    Raises:
        RuntimeError: tensors share memory, and none of them covers it
        ValueError, TypeError, FileError, OSError: as `save_file`
    """
    tensors = model.state_dict()
    for kept, names in _dropped(tensors).items():
        # An entry of the user's own stays.
        metadata = {**dict.fromkeys(names, kept), **(metadata or {})}
        for name in names:
            del tensors[name]
    if force_contiguous:
        tensors = {name: tensor.contiguous() for name, tensor in tensors.items()}
    save_file(tensors, filename, metadata, profile=profile)


def _sources(tensors: dict[str, torch.Tensor]) -> list[Source]:
    sources = sources_of(tensors, _source)
    for names in _sharing(tensors):
        if len(names) > 1:
            raise RuntimeError(
                f"{' and '.join(map(repr, sorted(names)))} share memory, and would come back as tensors that do not; "
                "clone() them, save only one, or save_model"
            )
    return sources


def _source(name: str, tensor: torch.Tensor) -> Source:
    if not isinstance(tensor, torch.Tensor):
        raise ValueError(f"{name!r}: expected a tensor, not {type(tensor).__name__}")
    if tensor.layout != torch.strided:
        raise ValueError(f"{name!r}: a tensor of layout {tensor.layout}; to_dense() makes it one that can be saved")
    if not tensor.is_contiguous():
        raise ValueError(f"{name!r}: not contiguous; contiguous() makes it a tensor that can be saved")
    dtype, shape = describe_tensor(tensor)
    on_gpu = tensor.is_cuda and _library.has_cuda()
    return Source(name, dtype, shape, tensor.nbytes, lambda: bytes_of(tensor)[0], tensor if on_gpu else None)


def _dropped(tensors: dict[str, torch.Tensor], preferred: Collection[str] = ()) -> dict[str, list[str]]:
    """For each name of a tensor that is kept: the names of those that are left out, since it covers their memory.

    Args:
        preferred: names to keep, if there is a choice

    Raises:
        RuntimeError: none of the tensors that share memory covers all of it
    """
    dropped = {}
    for names in _sharing(tensors):
        whole = [name for name in names if _is_whole(tensors[name])]
        if not whole:
            raise RuntimeError(f"{sorted(names)}: none covers the memory that they share or that it is a part of")
        kept = min([name for name in whole if name in preferred] or whole)
        if len(names) > 1:
            dropped[kept] = sorted(set(names) - {kept})
    return dropped


def _sharing(tensors: dict[str, torch.Tensor]) -> list[list[str]]:
    """The names of the tensors that have bytes, those together that overlap."""
    groups: list[list[str]] = []
    end: tuple[torch.device, int] | None = None
    placed = [item for item in tensors.items() if item[1].device.type != "meta" and item[1].numel() > 0]
    for name, tensor in sorted(placed, key=lambda item: (str(item[1].device), item[1].data_ptr())):
        begin = tensor.data_ptr()
        stop = begin + _extent(tensor)
        if end is not None and end[0] == tensor.device and begin < end[1]:
            groups[-1].append(name)
            stop = max(stop, end[1])
        else:
            groups.append([name])
        end = (tensor.device, stop)
    return groups


def _extent(tensor: torch.Tensor) -> int:
    """Bytes from its first element to the end of its last."""
    last = sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
    return (last + 1) * tensor.element_size()


def _is_whole(tensor: torch.Tensor) -> bool:
    """Whether it has all the memory of which it is a part."""
    storage = tensor.untyped_storage()
    return tensor.data_ptr() == storage.data_ptr() and tensor.nbytes == storage.nbytes()

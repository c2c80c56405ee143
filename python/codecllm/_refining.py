"""Tensors of a coarse checkpoint, made finer in place when more of its file has come (spec/FORMAT.md, section 11.1)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeGuard

from ._arrays import bytes_of, is_torch, torch_tensor
from ._checkpoint import Checkpoint
from ._errors import quoted
from ._library import has_cuda
from ._processors import processors
from ._stored import StoredTensor

if TYPE_CHECKING:
    import torch

    from ._arrays import Array


_ALL_BITS = 32
"""No word has more; a file of which all are wanted may be growing as well."""


def refine_(tensors: Mapping[str, Any], filename: str | os.PathLike[str], known: int, bits: int | None = None) -> None:
    """Makes what `load_file(filename, bits=known)` gave what `load_file(filename, bits=bits)` gives, in place.

    Args:
        tensors: those, or others that have their values, as `dict(model.named_parameters())`. What the file does not
            have in layers stays as it is
        filename: a file, or a directory, as in `load_file`
        known: the `bits` with which they were loaded
        bits: how many of each word are enough now; all, if it is left out

    Raises:
        IncompleteError: these bits have not come yet; nothing has been changed
        FileError: the file is damaged, or a tensor does not have the values of `known` bits: it is named, and as it
            was; others may be finer already
        ValueError: a tensor is missing, or has another dtype or shape; then nothing has been changed
        OSError: the file cannot be read
    """
    checkpoint = Checkpoint(filename, bits=_ALL_BITS if bits is None else bits)
    try:
        work: dict[Any, tuple[StoredTensor, Array]] = {}
        for stored in checkpoint.tensors.values():
            if any(layer.is_wanted and layer.first >= known for layer in stored.layers):
                array = _find(tensors, stored)
                # Of tensors that share their memory, one.
                work.setdefault(_address(array), (stored, array))
        on_gpu = [(stored, array) for stored, array in work.values() if _is_for_gpu(array)]
        if on_gpu:
            from ._cuda_loading import add_layers

            add_layers(on_gpu, known)
        with ThreadPoolExecutor(processors()) as pool:
            running = [
                pool.submit(_refine, stored, array, known) for stored, array in work.values() if not _is_for_gpu(array)
            ]
            try:
                for future in running:
                    future.result()
            finally:
                pool.shutdown(cancel_futures=True)
    finally:
        checkpoint.close()


def _find(tensors: Mapping[str, Any], stored: StoredTensor) -> Array:
    if stored.name not in tensors:
        raise ValueError(f"the tensors lack {quoted(stored.name)}")
    array = tensors[stored.name]
    _, *described = bytes_of(array[:0] if array.ndim > 0 else array)
    dtype, shape = stored.described()
    if (described[0], tuple(array.shape)) != (dtype, shape):
        raise ValueError(
            f"{quoted(stored.name)} is {described[0]} {list(array.shape)}, and {dtype} {list(shape)} in the file"
        )
    return array


def _address(array: Array) -> object:
    if is_torch(array):
        return array.device, array.data_ptr()
    return array.__array_interface__["data"][0]


def _is_for_gpu(array: Array) -> TypeGuard[torch.Tensor]:
    """Whether its layers are decoded where it is, on a GPU."""
    return is_torch(array) and array.is_cuda and has_cuda()


def _refine(stored: StoredTensor, array: Array, known: int) -> None:
    data, dtype, shape = bytes_of(array)
    # What is refused must not have been changed.
    data = data.copy()
    stored.refine(data, dtype, known)
    if is_torch(array):
        import torch

        with torch.no_grad():
            array.copy_(torch_tensor(torch.from_numpy(data), dtype, shape))
    else:
        array[...] = data.view(array.dtype).reshape(shape)

"""What compressing would give, from samples of every tensor: nothing is written. Copies are found as they are when it
is done.
"""

from __future__ import annotations

from contextlib import closing
from functools import partial

from . import _library
from ._bases import Bases
from ._codec import encode_bytes
from ._copies import Folder
from ._dtypes import DTYPES
from ._input import FileBytes, InputFile
from ._report import FileEstimate
from ._safetensors import TensorEntry, read_header
from ._work import Work
from ._writing import may_become_stream

_SAMPLE_BYTES = 2**20
"""So many bytes of a tensor stand for all of it."""


def estimate_file(path: str, options: _library.EncodeOptions, work: Work) -> FileEstimate:
    """@raises FileError, OSError"""
    with closing(InputFile(path)) as file:
        header, data_start = read_header(file)
        data = {tensor.name: partial(FileBytes, file, data_start + tensor.start) for tensor in header.tensors}
        with Bases() as bases:
            copies = Folder().copies_in(path, header.tensors, data, bases).within
        after, sampled = data_start, 0
        for tensor in header.tensors:
            work.progress(tensor.size)
            if tensor.name in copies:
                continue
            sample = _sample_of(tensor)
            if sample is None:
                after += tensor.size
                continue
            start, size, shape = sample
            length = encode_bytes(file.read(data_start + start, size), tensor.dtype, shape, options).size
            sampled += size
            after += int(tensor.size * length / size + 0.5) if length < size else tensor.size
        return FileEstimate(path, file.size, after, sampled)


def _sample_of(tensor: TensorEntry) -> tuple[int, int, tuple[int, ...]] | None:
    """Rows in the middle of a tensor, as a tensor; None of one that never becomes a stream."""
    if not may_become_stream(tensor):
        return None
    _, dtype, shape, start, _ = tensor
    if tensor.size <= _SAMPLE_BYTES:
        return start, tensor.size, shape
    rows, *rest = shape
    if tensor.size % rows == 0 and tensor.size // rows <= _SAMPLE_BYTES:
        row_bytes = tensor.size // rows
        count = _SAMPLE_BYTES // row_bytes
        return start + (rows - count) // 2 * row_bytes, count * row_bytes, (count, *rest)
    # One row is more: a part of it, of whole bytes and elements.
    size = _SAMPLE_BYTES * 3 // 4
    return start + 24 * ((tensor.size - _SAMPLE_BYTES) // 48), size, (8 * size // DTYPES[dtype].bits,)

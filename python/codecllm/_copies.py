"""Tensors that have the same dtype, shape and bytes as one before them, in their own file (tied weights, most often) or
in one of the same folder. Of those that differ, few get as far as being compared.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple, Protocol

import numpy as np

from ._bases import Bases
from ._input import FileBytes
from ._safetensors import TensorEntry, by_place
from ._samples import sample_of
from ._stream import FIXED_BYTES

_PIECE_BYTES = 2**20


class Bytes(Protocol):
    """Bytes of a tensor, of which parts are asked for."""

    def __getitem__(self, part: slice, /) -> np.ndarray:
        """@returns them: uint8, one dimension"""


class Located(NamedTuple):
    """A tensor of a file."""

    path: str
    name: str


class Copies(NamedTuple):
    within: dict[str, str]
    """By the name of each copy, that of the tensor of the same file that it is a copy of."""
    elsewhere: dict[str, Located]
    """By the name of each tensor that has an equal one in a file before, but none in its own, the first of those."""


class Folder:
    """The tensors of the files of a folder, as far as they have been looked at."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, tuple[int, ...], bytes], list[Located]] = {}

    def copies_in(
        self,
        path: str,
        tensors: Iterable[TensorEntry],
        data: Mapping[str, Callable[[], Bytes]],
        bases: Bases,
    ) -> Copies:
        """Compares the tensors of a file with each other and with those of the files before it.

        Args:
            data: gives the bytes of each
            bases: open the files before
        """

        def first_equal(others: list[Located], tensor: TensorEntry) -> Located | None:
            return next(
                (other for other in others if _are_equal(bytes_of(other), data[tensor.name](), tensor.size)), None
            )

        def bytes_of(other: Located) -> Bytes:
            if other.path == path:
                return data[other.name]()
            stored = bases.open(other.path)[other.name]
            return FileBytes(stored.file, stored.position)

        copies = Copies({}, {})
        for tensor in by_place(tensors):
            name = tensor.name
            if tensor.size <= FIXED_BYTES:
                continue
            sample = hashlib.sha256(sample_of(data[name](), tensor.size).data).digest()
            alike = self._seen.setdefault((tensor.dtype, tensor.shape, sample), [])
            own = first_equal([other for other in alike if other.path == path], tensor)
            if own is not None:
                copies.within[name] = own.name
                continue
            other = first_equal([other for other in alike if other.path != path], tensor)
            if other is not None:
                copies.elsewhere[name] = other
            alike.append(Located(path, name))
        return copies


def _are_equal(left: Bytes, right: Bytes, size: int) -> bool:
    ends = ((at, min(at + _PIECE_BYTES, size)) for at in range(0, size, _PIECE_BYTES))
    return all(np.array_equal(left[start:end], right[start:end]) for start, end in ends)

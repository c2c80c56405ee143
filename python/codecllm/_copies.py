"""Tensors that have the same dtype, shape and bytes as one before them: tied weights, most often. Of those that differ,
few get as far as being compared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Protocol

import numpy as np

from ._safetensors import TensorEntry, by_place
from ._stream import FIXED_BYTES

if TYPE_CHECKING:
    from collections.abc import Mapping

_SAMPLES = 16
"""So many places of a tensor are looked at first,"""
_SAMPLE_BYTES = 64
"""each of so many bytes."""
_PIECE_BYTES = 2**20


class Bytes(Protocol):
    """Bytes of a tensor, of which parts are asked for."""

    def __getitem__(self, part: slice, /) -> np.ndarray:
        """@returns them: uint8, one dimension"""


def find_copies(tensors: Iterable[TensorEntry], data: Mapping[str, Callable[[], Bytes]]) -> dict[str, str]:
    """By the name of each copy, that of the tensor that it is a copy of. `data` gives the bytes of a tensor."""
    described: dict[tuple[str, tuple[int, ...]], list[TensorEntry]] = {}
    for tensor in by_place(tensors):
        if tensor.size > FIXED_BYTES:
            described.setdefault((tensor.dtype, tensor.shape), []).append(tensor)
    copies = {}
    for alike in described.values():
        if len(alike) == 1:
            continue
        seen: dict[bytes, list[TensorEntry]] = {}
        for tensor in alike:
            seen_before = seen.setdefault(_sample_of(data[tensor.name](), tensor.size), [])
            same = [before for before in seen_before if _are_equal(data, before, tensor)]
            if same:
                copies[tensor.name] = same[0].name
            else:
                seen_before.append(tensor)
    return copies


def _sample_of(data: Bytes, size: int) -> bytes:
    places = [(size - _SAMPLE_BYTES) * k // (_SAMPLES - 1) for k in range(_SAMPLES)]
    return b"".join(data[at : at + _SAMPLE_BYTES].tobytes() for at in places)


def _are_equal(data: Mapping[str, Callable[[], Bytes]], a: TensorEntry, b: TensorEntry) -> bool:
    left, right = data[a.name](), data[b.name]()
    ends = ((at, min(at + _PIECE_BYTES, a.size)) for at in range(0, a.size, _PIECE_BYTES))
    return all(np.array_equal(left[start:end], right[start:end]) for start, end in ends)

"""Which tensors of its bases those of a checkpoint are tried against (spec/FORMAT.md, A.12)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import numpy as np

from ._bases import Bases
from ._container import Match
from ._copies import Bytes, Located
from ._input import FileBytes
from ._safetensors import TensorEntry
from ._samples import is_uniform, nearest_of, sample_of
from ._stored import StoredTensor


class Matches(NamedTuple):
    bases: list[str]
    """The SHA-256 of the originals of those that something is tried against, or else of the first that is given."""
    numbers: dict[str, Match]
    """By name, what tensors are tried against,"""
    tensors: dict[str, StoredTensor]
    """and the same as it is stored."""


NO_MATCHES = Matches([], {}, {})


def find_matches(
    tensors: Iterable[TensorEntry],
    data: Mapping[str, Callable[[], Bytes]],
    given: list[str],
    elsewhere: Mapping[str, Located],
    bases: Bases,
) -> Matches:
    """Looks for what tensors may be coded against.

    Args:
        tensors: those that are to be tried, in the order of the header's keys
        data: gives the bytes of each
        given: the files to code against, in order
        elsewhere: equal tensors in other files of the folder

    Raises:
        FileError: one of the files cannot be understood, or what it is coded against itself is missing
        OSError: one cannot be read
    """
    opened = {path: bases.open(path) for path in [*given, *(found.path for found in elsewhere.values())]}
    nearest = _Nearest([(path, opened[path]) for path in given])
    found: dict[str, tuple[str, str]] = {}
    for tensor in tensors:
        match: tuple[str, str] | None = None
        if tensor.name in elsewhere:
            match = elsewhere[tensor.name].path, elsewhere[tensor.name].name
        else:
            match = next(
                ((path, tensor.name) for path in given if _is_like(tensor, opened[path].get(tensor.name))), None
            ) or nearest.to(tensor, data[tensor.name])
        if match is not None:
            found[tensor.name] = match

    used = {path for path, _ in found.values()}
    order = [*given, *sorted(used.difference(given))]
    paths = [path for path in order if path in used] or given[:1]
    place = {path: number for number, path in enumerate(paths)}
    inside = {path: {name: number for number, name in enumerate(opened[path])} for path in used}
    return Matches(
        [bases.sha256_of(path) for path in paths],
        {name: Match(place[path], inside[path][other], other) for name, (path, other) in found.items()},
        {name: opened[path][other] for name, (path, other) in found.items()},
    )


def _is_like(tensor: TensorEntry, other: StoredTensor | None) -> bool:
    return other is not None and other.described() == (tensor.dtype, tensor.shape)


class _Nearest:
    """Finds the nearest of all tensors that have the dtype and the shape of one."""

    def __init__(self, files: list[tuple[str, Mapping[str, StoredTensor]]]) -> None:
        self._files = files
        self._alike: dict[tuple[str, tuple[int, ...]], list[tuple[str, str]]] | None = None
        self._samples: dict[tuple[str, tuple[int, ...]], list[np.ndarray]] = {}

    def to(self, tensor: TensorEntry, data: Callable[[], Bytes]) -> tuple[str, str] | None:
        """The path of its file, and its name."""
        if not self._files:
            return None
        sample = sample_of(data(), tensor.size)
        if is_uniform(sample):
            return None
        if self._alike is None:
            self._alike = {}
            for path, tensors in self._files:
                for name, other in tensors.items():
                    self._alike.setdefault(other.described(), []).append((path, name))
        key = tensor.dtype, tensor.shape
        alike = self._alike.get(key, [])
        if key not in self._samples:
            files = dict(self._files)
            self._samples[key] = [_sample_of_base(files[path][name], tensor.size) for path, name in alike]
        number = nearest_of(tensor.dtype, sample, self._samples[key])
        return None if number is None else alike[number]


def _sample_of_base(tensor: StoredTensor, size: int) -> np.ndarray:
    """Of a stream, all has to be decoded."""
    if not tensor.is_stream:
        return sample_of(FileBytes(tensor.file, tensor.position), size)
    output = np.empty(size, np.uint8)
    tensor.read_into(output)
    return sample_of(output, size)

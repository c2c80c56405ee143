"""The header of a safetensors file: JSON that gives every tensor its dtype, its shape and its place in the data.

It is read strictly and with the order of its keys; what cannot be understood completely is refused.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from math import prod
from operator import attrgetter
from typing import NamedTuple, NoReturn

from ._dtypes import DTYPES, bytes_in
from ._errors import FileError, quoted
from ._input import InputFile

LENGTH_BYTES = 8
"""Bytes before the header: its length."""
MAX_HEADER_BYTES = 100_000_000
"""Readers refuse longer headers."""

STYLES = ("compact", "python")
"""How the two common writers format a header: that of safetensors itself, and `json.dumps`."""

_POINTER = b"version https://git-lfs.github.com/"
"""What stands in the place of a large file that Git has not downloaded."""
_METADATA_KEY = "__metadata__"
_FIELDS = ("dtype", "shape", "data_offsets")
_NUMBER_LIMIT = 2**53


class TensorEntry(NamedTuple):
    """What a header says of a tensor."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    """Its bytes in the data: from here"""
    end: int
    """to before this."""

    @property
    def size(self) -> int:
        """Its bytes."""
        return self.end - self.start


class Header(NamedTuple):
    metadata: dict[str, str] | None
    """The entries of `__metadata__`; None where there is none."""
    tensors: list[TensorEntry]
    """In the order of their keys."""
    text: str
    """What it was read from, with the spaces that fill it up."""


def read_header(file: InputFile, is_growing: bool = False) -> tuple[Header, int]:
    """The header of a file, and where its data begin.

    Args:
        is_growing: whether the file may end before its data do

    Raises:
        FileError: not a safetensors file; the message says why, and names the tensor and the field
    """
    refuse = _refusal(file.path, "")
    if file.read(0, min(len(_POINTER), file.size)).tobytes() == _POINTER:
        refuse("it is a pointer of Git LFS, which has not downloaded the file")
    if is_growing:
        file.check_arrived(LENGTH_BYTES)
    if file.size < LENGTH_BYTES:
        refuse(f"it has {file.size} bytes")
    size = int.from_bytes(file.read(0, LENGTH_BYTES).tobytes(), "little")
    if size > MAX_HEADER_BYTES:
        refuse(f"a header of {size} bytes, more than {MAX_HEADER_BYTES}")
    data_start = LENGTH_BYTES + size
    if is_growing:
        file.check_arrived(data_start)
    if data_start > file.size:
        refuse(f"a header of {size} bytes in a file of {file.size}")
    try:
        text = file.read(LENGTH_BYTES, size).tobytes().decode()
    except UnicodeDecodeError:
        refuse("its header is not UTF-8")
    header = parse_header(text, file.path)
    if not is_growing:
        _check_size(file.path, header.tensors, file.size - data_start, refuse)
    return header, data_start


def _refusal(path: str, where: str) -> Callable[[str], NoReturn]:
    def refuse(problem: str) -> NoReturn:
        raise FileError(path, f"{where}not a safetensors file: {problem}")

    return refuse


_Object = tuple
"""What a JSON object becomes: its pairs, in order. A JSON array becomes a list."""


class _Number(str):
    """A JSON number that is not whole, not below 10^16 or has a sign; or what JSON should not have, as NaN."""


_NUMBERS = frozenset((int, _Number))


def _whole(digits: str) -> int | _Number:
    return int(digits) if len(digits) <= 16 and digits[0] != "-" else _Number(digits)


def parse_header(text: str, path: str, where: str = "") -> Header:
    """Reads the text of a header, and checks all but whether the file is as long as it says.

    Args:
        text: what stands between the length and the data
        path: of the file
        where: begins messages, if it is not the header of the file itself

    Raises:
        FileError: it is none; the message says why, and names the tensor and the field
    """
    refuse = _refusal(path, where)
    if not text.startswith("{"):
        refuse("its header does not begin with {")

    try:
        parsed = json.loads(
            text, object_pairs_hook=_Object, parse_int=_whole, parse_float=_Number, parse_constant=_Number
        )
        # Half of a surrogate pair is no character: UTF-8 cannot hold it.
        if "\\u" in text:
            json.dumps(parsed, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        refuse("its header is not valid Unicode")
    except RecursionError:
        refuse("its header is nested too deeply")
    except json.JSONDecodeError as error:
        refuse(f"its header is not valid JSON at character {error.pos}")
    metadata: dict[str, str] | None = None
    tensors = []
    for name, fields in _unique(parsed, None, refuse).items():
        if name != _METADATA_KEY:
            tensors.append(_usual_entry(name, fields) or _tensor_entry(name, fields, refuse))
            continue
        metadata = _values(name, fields, refuse)
        for key, value in metadata.items():
            if type(value) is not str:
                refuse(f"{quoted(name)}, {quoted(key)} is not a string")
    _check_places(tensors, refuse)
    return Header(metadata, tensors, text)


def _unique(pairs: _Object, of: str | None, refuse: Callable[[str], NoReturn]) -> dict:
    values = dict(pairs)
    if len(values) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        refuse(f"{'' if of is None else quoted(of) + ', '}{quoted(twice)} occurs twice")
    return values


def _values(name: str, fields: object, refuse: Callable[[str], NoReturn]) -> dict:
    if not isinstance(fields, _Object):
        refuse(f"{quoted(name)} is not an object")
    return _unique(fields, name, refuse)


def _usual_entry(name: str, fields: object) -> TensorEntry | None:
    """An entry as all writers have it; None where `_tensor_entry` has to look at it, which takes longer."""
    try:
        (first, dtype), (second, shape), (third, (start, end)) = fields  # type: ignore[misc]
        is_usual = (
            (first, second, third) == _FIELDS
            and type(shape) is list
            and {int}.issuperset(map(type, (*shape, start, end)))
            and start <= end < _NUMBER_LIMIT > max(shape, default=0)
            and DTYPES[dtype].bits * prod(shape) == 8 * (end - start)
        )
    except (TypeError, ValueError, KeyError):
        return None
    return TensorEntry(name, dtype, tuple(shape), start, end) if is_usual else None


def _tensor_entry(name: str, pairs: object, refuse: Callable[[str], NoReturn]) -> TensorEntry:
    fields = _values(name, pairs, refuse)
    for key in _FIELDS:
        if key not in fields:
            refuse(f"{quoted(name)} has no {quoted(key)}")
    if len(fields) > len(_FIELDS):
        key = next(key for key in fields if key not in _FIELDS)
        refuse(f"{quoted(name)}, {quoted(key)} is not a field that a tensor has")
    dtype, shape, offsets = fields["dtype"], fields["shape"], fields["data_offsets"]
    if type(dtype) is not str:
        refuse(f'{quoted(name)}, "dtype" is not a string')
    for key, values in (("shape", shape), ("data_offsets", offsets)):
        if type(values) is not list or not _NUMBERS.issuperset(map(type, values)):
            refuse(f"{quoted(name)}, {quoted(key)} is not an array of numbers")
        for value in values:
            if type(value) is _Number or value >= _NUMBER_LIMIT:
                refuse(f"{quoted(name)}, {quoted(key)}: {str(value)[:40]} is not a whole number below 2^53")
    if len(offsets) != 2:
        refuse(f'{quoted(name)}, "data_offsets" is not a pair of numbers')
    entry = TensorEntry(name, dtype, tuple(shape), *offsets)
    if entry.end < entry.start:
        refuse(f'{quoted(name)}, "data_offsets": {entry.end} is less than {entry.start}')
    size = bytes_in(dtype, entry.shape) if dtype in DTYPES else entry.size
    if size != entry.size:
        refuse(f'{quoted(name)}, "data_offsets": {entry.size} bytes do not hold {dtype} of shape {list(entry.shape)}')
    return entry


def by_place(tensors: Iterable[TensorEntry]) -> list[TensorEntry]:
    """Tensors in the order of their data; those without bytes stand before the one that begins where they do."""
    return sorted(tensors, key=attrgetter("start", "end"))


def _check_places(tensors: list[TensorEntry], refuse: Callable[[str], NoReturn]) -> None:
    at = 0
    for name, _, _, start, end in by_place(tensors):
        if start != at:
            where = f'{quoted(name)}, "data_offsets": begins at {start}'
            if start < at:
                refuse(f"{where}, where another tensor ends at {at}")
            refuse(f"{where}, and nothing fills the data from {at} on")
        at = end


def _check_size(path: str, tensors: list[TensorEntry], data_bytes: int, refuse: Callable[[str], NoReturn]) -> None:
    end = max(map(attrgetter("end"), tensors), default=0)
    if end < data_bytes:
        refuse(f"{data_bytes - end} bytes follow the last tensor")
    if end > data_bytes:
        tensor = next(tensor for tensor in by_place(tensors) if tensor.end > data_bytes)
        raise FileError(
            path,
            f"incomplete: {end - data_bytes} bytes missing; "
            f'{quoted(tensor.name)}, "data_offsets": ends at {tensor.end}, and the data have {data_bytes} bytes',
        )


def format_header(metadata: dict[str, str] | None, tensors: Iterable[TensorEntry], style: str = "compact") -> bytes:
    """A header as a writer of one of the STYLES makes it, without the spaces that fill it up."""
    entries: dict[str, object] = {} if metadata is None else {_METADATA_KEY: metadata}
    for tensor in tensors:
        entries[tensor.name] = {
            "dtype": tensor.dtype,
            "shape": tensor.shape,
            "data_offsets": (tensor.start, tensor.end),
        }
    if style == "python":
        return json.dumps(entries).encode()
    return json.dumps(entries, ensure_ascii=False, separators=(",", ":")).encode()

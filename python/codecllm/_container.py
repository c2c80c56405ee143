"""What makes a safetensors file a compressed one (spec/FORMAT.md, section 11): some of its tensors are streams, and its
`__metadata__` says how to get the original file back.

Nothing here reads or writes a file. What of a tensor's bytes has to be looked at, `Checkpoint` does.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from math import prod
from typing import TYPE_CHECKING, NamedTuple
from zlib import crc32

from ._dtypes import DTYPES
from ._errors import FileError, quoted
from ._layers import Layer, layer_starts, layers_from
from ._safetensors import STYLES, Header, TensorEntry, by_place, format_header, parse_header

if TYPE_CHECKING:
    import numpy as np

PREFIX = "codecllm."
"""All keys of `__metadata__` that begin with this are the format's own; the others are the original's."""
VERSION_KEY = f"{PREFIX}version"
STREAMS_KEY = f"{PREFIX}streams"
SHA256_KEY = f"{PREFIX}sha256"
HEADER_KEY = f"{PREFIX}header"
COPIES_KEY = f"{PREFIX}copies"
BASE_KEY = f"{PREFIX}base"
AGAINST_KEY = f"{PREFIX}against"
LAYERS_KEY = f"{PREFIX}layers"
CHECK_KEY = f"{PREFIX}check"
KEPT_KEY = f"{PREFIX}kept"
_KEYS = (
    VERSION_KEY,
    STREAMS_KEY,
    SHA256_KEY,
    HEADER_KEY,
    COPIES_KEY,
    BASE_KEY,
    AGAINST_KEY,
    LAYERS_KEY,
    CHECK_KEY,
    KEPT_KEY,
)
_NUMBER = "(0|[1-9][0-9]{0,8})"
_AGAINST = rf"{_NUMBER}={_NUMBER}\.{_NUMBER}"
VERSION = "1"

DATA_ALIGNMENT = 64
"""Data begin at a multiple of this."""
STREAM_START = b"CLLM\x01"
"""The magic and the version with which every stream begins."""

CHECKED_BYTES = 2**20
"""Of a kept tensor there is a check for each so many bytes, and for what is left."""
_CHECK_START = f'{{"__metadata__":{{"{CHECK_KEY}":"'.encode()
"""A header that has a check begins with this, and then the check in digits."""
_CHECK_DIGITS = 8


class LayerEntry(NamedTuple):
    """A tensor of a compressed file that holds a layer of another."""

    entry: TensorEntry
    of: str
    """The name of that."""
    first: int
    """The first bit that it has of a word."""


class BaseTensor(NamedTuple):
    """A tensor of a base, which another one is coded against."""

    base: int
    """The base's number,"""
    tensor: int
    """and the tensor's among those of the base's header."""


class Container(NamedTuple):
    """What the header of a compressed file says."""

    streams: frozenset[str]
    """The tensors that are streams."""
    copies: dict[str, str]
    """By the name of each copy, that of the tensor that it is a copy of."""
    sha256: str
    """Of the original, in hexadecimal."""
    bases: tuple[str, ...]
    """Of the originals of the bases."""
    against: dict[str, BaseTensor]
    """By name, what tensors are coded against, if that is not the tensor of their name in the first base."""
    description: str
    """Of the original's header: a style of `format_header` in which it can be rebuilt, or its text."""
    original: dict[str, TensorEntry]
    """The tensors as the original's header has them; empty where it is to be rebuilt from this file's."""
    layers: list[LayerEntry]
    """Behind the first ones, in the order of the data."""
    checks: dict[str, list[int]] | None
    """Of each kept tensor, the CRC-32 of its pieces; None where the file has no checks."""


def is_compressed(header: Header) -> bool:
    """Whether a file has any key of the format's: it is compressed, or pretends to be."""
    return any(key.startswith(PREFIX) for key in header.metadata or {})


def original_metadata(header: Header) -> dict[str, str]:
    """The entries of `__metadata__` that are the original's."""
    return {key: value for key, value in (header.metadata or {}).items() if not key.startswith(PREFIX)}


def read_container(header: Header, data_start: int, path: str) -> Container:
    """Reads what the header of a compressed file says, and checks all of it that can be checked without its data.

    Args:
        header: one that `is_compressed`
        data_start: where the data begin in the file
        path: of the file

    Raises:
        FileError: section 11 does not allow it; the message names the key or the tensor
    """
    metadata = header.metadata or {}

    def optional(key: str, pattern: str) -> str | None:
        if key in metadata and not re.match(pattern, metadata[key]):
            raise FileError(path, f'{quoted(key)} in its "__metadata__" is damaged')
        return metadata.get(key)

    def entry(key: str, pattern: str) -> str:
        value = optional(key, pattern)
        if value is None:
            raise FileError(path, f'{quoted(key)} is missing in its "__metadata__"')
        return value

    version = entry(VERSION_KEY, "")
    if version != VERSION:
        raise FileError(path, f"its version is {quoted(version)}; this program reads {VERSION}")
    _check_header(header, path)
    for key in metadata:
        if key.startswith(PREFIX) and key not in _KEYS:
            raise FileError(path, f'{quoted(key)} in its "__metadata__" is not known')
    sha256 = entry(SHA256_KEY, r"[0-9a-f]{64}\Z")
    count = int(entry(STREAMS_KEY, rf"{_NUMBER}\Z"))
    description = entry(HEADER_KEY, r"(compact\Z|python\Z|\{)")
    bases = tuple((optional(BASE_KEY, r"[0-9a-f]{64}( [0-9a-f]{64})*\Z") or "").split())
    layer_count = int(optional(LAYERS_KEY, r"[1-9][0-9]{0,8}\Z") or 0)
    if layer_count > 0 and bases:
        raise FileError(path, f'its "__metadata__" has {quoted(LAYERS_KEY)} and {quoted(BASE_KEY)}')
    if layer_count > len(header.tensors):
        raise FileError(path, f'{quoted(LAYERS_KEY)} in its "__metadata__" is more than it has tensors')
    own = len(header.tensors) - layer_count
    last = header.tensors[own:]
    header = header._replace(tensors=header.tensors[:own])
    digits = optional(KEPT_KEY, r"([0-9a-f]{8})*\Z")
    pairs = optional(COPIES_KEY, rf"{_NUMBER}={_NUMBER}( {_NUMBER}={_NUMBER})*\Z")
    copies = _read_copies(header.tensors, pairs, path)
    if count > len(header.tensors) - len(copies):
        raise FileError(path, f'{quoted(STREAMS_KEY)} in its "__metadata__" is more than it has tensors')
    if data_start % DATA_ALIGNMENT:
        raise FileError(path, f"its data begin at byte {data_start}, not at a multiple of {DATA_ALIGNMENT}")

    placed = by_place(header.tensors)
    streams = placed[:count]
    for tensor in streams:
        _check_holds_stream(tensor, path)
    layers = _read_layers(last, {tensor.name for tensor in streams}, path)
    names = frozenset(tensor.name for tensor in streams)
    triples = optional(AGAINST_KEY, rf"{_AGAINST}( {_AGAINST})*\Z")
    against = _read_against(header.tensors, names, len(bases), triples, path)
    original = None
    if description.startswith("{"):
        stored = {tensor.name: tensor for tensor in header.tensors}
        original = parse_header(description, path, "original header: ")
        _check_original(header, names, copies, original, path)
        for tensor in original.tensors:
            kept = stored[copies.get(tensor.name, tensor.name)]
            if tensor.name in copies and kept.name not in names:
                check_same(tensor, kept.dtype, kept.shape, kept.size, path)
    _check_order(header, names, copies, layers, original, path)
    entries = {tensor.name: tensor for tensor in original.tensors} if original else {}
    checks = None if digits is None else _read_checks(placed[count:], digits, path)
    return Container(names, copies, sha256, bases, against, description, entries, layers, checks)


def _check_holds_stream(tensor: TensorEntry, path: str) -> None:
    if not is_vector_of_bytes(tensor):
        raise FileError(path, f"{quoted(tensor.name)} should hold a stream, and is not a vector of U8")


def plan_layers(tensor: TensorEntry) -> list[tuple[str, Layer]]:
    """The layers that a compressor makes of a tensor behind the first one, each with its name; none of most."""
    layers = layers_from(tensor.dtype, layer_starts(tensor.dtype, tensor.size)) or []
    return [(f"{layer.first}:{tensor.name}", layer) for layer in layers]


def _read_layers(last: list[TensorEntry], streams: set[str], path: str) -> list[LayerEntry]:
    """Those tensors of a header that are layers."""
    layers = []
    for tensor in last:
        _check_holds_stream(tensor, path)
        found = re.match(r"([1-9][0-9]?):(.*)\Z", tensor.name, re.DOTALL)
        if found is None or found[2] not in streams:
            raise FileError(path, f"{quoted(tensor.name)} should be a layer, and is none of a stream")
        layers.append(LayerEntry(tensor, found[2], int(found[1])))
    return sorted(layers, key=lambda layer: (layer.entry.start, layer.entry.end))


def _check_header(header: Header, path: str) -> None:
    """Checks a header against `codecllm.check`, if it has one."""
    metadata = header.metadata or {}
    if (CHECK_KEY in metadata) != (KEPT_KEY in metadata):
        raise FileError(path, f'of {quoted(CHECK_KEY)} and {quoted(KEPT_KEY)} in its "__metadata__" one is missing')
    if CHECK_KEY in metadata and (text := header.text.encode()) != with_check(text):
        raise FileError(path, f"its header is damaged: it does not have the check that {quoted(CHECK_KEY)} says")


def with_check(text: bytes) -> bytes:
    """A header that begins as one with a check does, with the check that it has to have."""
    rest = text[len(_CHECK_START) + _CHECK_DIGITS :]
    return _CHECK_START + b"%08x" % crc32(rest) + rest


def _read_checks(tensors: list[TensorEntry], digits: str, path: str) -> dict[str, list[int]]:
    """The value of `codecllm.kept`. `tensors` are those that are no streams, in the order of their data."""
    values = [int(digits[at : at + _CHECK_DIGITS], 16) for at in range(0, len(digits), _CHECK_DIGITS)]
    at = 0
    checks = {}
    for tensor in tensors:
        end = at + piece_count(tensor)
        checks[tensor.name] = values[at:end]
        at = end
    if at != len(values):
        raise FileError(path, f'{quoted(KEPT_KEY)} in its "__metadata__" has {len(values)} checks where there are {at}')
    return checks


def piece_count(tensor: TensorEntry) -> int:
    """Of how many pieces there are checks, if it is kept."""
    return -(-tensor.size // CHECKED_BYTES)


def checks_of(data: memoryview | np.ndarray) -> list[int]:
    """The checks of bytes of a kept tensor, which begin where a piece does."""
    checks: list[int] = []
    add_checks(checks, data, 0)
    return checks


def add_checks(checks: list[int], data: memoryview | np.ndarray, before: int) -> None:
    """Adds to checks those of the next bytes of a kept tensor. `before` is how many of it there were already."""
    while len(data) > 0:
        in_piece = before % CHECKED_BYTES
        part = data[: CHECKED_BYTES - in_piece]
        if in_piece == 0:
            checks.append(0)
        checks[-1] = crc32(part, checks[-1])
        before += len(part)
        data = data[len(part) :]


def _read_copies(tensors: list[TensorEntry], pairs: str | None, path: str) -> dict[str, str]:
    """The value of `codecllm.copies`."""
    numbers = [tuple(map(int, pair.split("="))) for pair in (pairs or "").split()]
    copied = {copy for copy, _ in numbers}
    copies = {}
    before = -1
    for copy, of in numbers:
        if copy <= before or copy >= len(tensors) or of >= len(tensors) or of in copied:
            raise FileError(path, f'{quoted(COPIES_KEY)} in its "__metadata__": {copy} cannot be a copy of {of}')
        tensor = tensors[copy]
        if (tensor.dtype, tensor.shape) != ("U8", (0,)):
            raise FileError(path, f"{quoted(tensor.name)} should be a copy, and is not U8 of shape [0]")
        copies[tensor.name] = tensors[of].name
        before = copy
    return copies


def _read_against(
    tensors: list[TensorEntry], streams: frozenset[str], base_count: int, triples: str | None, path: str
) -> dict[str, BaseTensor]:
    """The value of `codecllm.against`."""
    against = {}
    before = -1
    for triple in (triples or "").split():
        number, base, tensor = map(int, re.split("[=.]", triple))
        if number <= before or number >= len(tensors) or tensors[number].name not in streams or base >= base_count:
            raise FileError(
                path,
                f'{quoted(AGAINST_KEY)} in its "__metadata__": {number} cannot be coded against {base}.{tensor}',
            )
        against[tensors[number].name] = BaseTensor(base, tensor)
        before = number
    return against


def _check_original(
    header: Header, streams: frozenset[str], copies: Mapping[str, str], original: Header, path: str
) -> None:
    """Checks the original's header against this file's."""
    if len(original.tensors) != len(header.tensors):
        raise FileError(
            path, f"its original header has {len(original.tensors)} tensors, and it has {len(header.tensors)}"
        )
    stored = {tensor.name for tensor in header.tensors}
    for tensor, found in zip(original.tensors, header.tensors, strict=True):
        if tensor.name not in stored:
            raise FileError(path, f"{quoted(tensor.name)} of its original header is missing")
        if tensor.name != found.name:
            raise FileError(path, f"{quoted(tensor.name)} has another place in its original header")
        if found.name not in streams and found.name not in copies:
            check_same(tensor, found.dtype, found.shape, found.size, path)
    if list(original_metadata(header).items()) != list((original.metadata or {}).items()):
        raise FileError(path, 'its "__metadata__" does not have the entries of its original header')


def check_same(original: TensorEntry, dtype: str, shape: tuple[int, ...], size: int, path: str) -> None:
    """Checks a tensor against what the original's header says of it. @raises FileError where they differ"""
    if (dtype, shape, size) != (original.dtype, original.shape, original.size):
        raise FileError(
            path,
            f"{quoted(original.name)} is {dtype} {list(shape)}, and {original.dtype} {list(original.shape)} in its "
            "original header",
        )


def _check_order(
    header: Header,
    streams: frozenset[str],
    copies: Mapping[str, str],
    layers: list[LayerEntry],
    original: Header | None,
    path: str,
) -> None:
    """Checks that streams come first, in the order of the original's data, then kept tensors, copies and layers."""
    tensors = header.tensors
    if original is not None:
        stored = {tensor.name: tensor for tensor in tensors}
        tensors = [stored[tensor.name] for tensor in by_place(original.tensors)]
    first = [tensor for tensor in tensors if tensor.name in streams]
    kept = [tensor for tensor in tensors if tensor.name not in streams and tensor.name not in copies]
    last = [tensor for tensor in tensors if tensor.name in copies]
    places = {tensor.name: place for place, tensor in enumerate(first)}
    in_layers = sorted(layers, key=lambda layer: (layer.first, places[layer.of]))
    at = 0
    for tensor in (*first, *kept_order(kept), *last, *(layer.entry for layer in in_layers)):
        if tensor.start != at:
            raise FileError(path, f"{quoted(tensor.name)}: its data are not in order")
        at = tensor.end


def kept_order(kept: Iterable[TensorEntry]) -> list[TensorEntry]:
    """Kept tensors in the order of their data, given that of the original's: larger elements first keep all aligned."""
    return sorted(kept, key=lambda tensor: -_element_bits(tensor))


def _element_bits(tensor: TensorEntry) -> float:
    """Bits of an element; of a dtype that streams do not have, as many as its data say."""
    if tensor.dtype in DTYPES and DTYPES[tensor.dtype].has_streams:
        return DTYPES[tensor.dtype].bits
    elements = prod(tensor.shape)
    return 8 * tensor.size / elements if elements > 0 else 0


def is_vector_of_bytes(tensor: TensorEntry) -> bool:
    """Whether it is such as hold streams."""
    return tensor.dtype == "U8" and len(tensor.shape) == 1


def is_itself_stream(tensor: TensorEntry, begin: bytes) -> bool:
    """Whether a tensor that begins with these bytes is itself a stream.

    Such a one cannot be kept: its file would not say which of its tensors are streams.
    """
    return is_vector_of_bytes(tensor) and begin.startswith(STREAM_START)


def in_a_row(tensors: Iterable[TensorEntry]) -> list[TensorEntry]:
    """Tensors whose data follow one another from 0, in this order."""
    at = 0
    entries = []
    for tensor in tensors:
        entries.append(tensor._replace(start=at, end=at + tensor.size))
        at += tensor.size
    return entries


def writer_header(style: str, metadata: dict[str, str], tensors: list[TensorEntry]) -> bytes:
    """A header as a writer of this style gives it, filled up to a multiple of 8. Writers leave out empty metadata."""
    header = format_header(metadata or None, tensors, style)
    return header + b" " * (-len(header) % 8)


def describe_header(header: Header, text: bytes) -> str:
    """The value of `codecllm.header`. `text` is the header's, with the spaces that fill it up."""
    tensors = in_a_row(header.tensors)
    for style in STYLES:
        if writer_header(style, header.metadata or {}, tensors) == text:
            return style
    return text.decode()


Stored = tuple[TensorEntry, bool]
"""A tensor with its place in the data of a compressed file, and whether it is a stream there."""


def header_text(
    metadata: dict[str, str],
    stored: list[Stored],
    copies: Mapping[str, str],
    description: str,
    sha256: str,
    bases: Mapping[str, str],
    checks: Iterable[int],
    layers: Sequence[TensorEntry] = (),
) -> bytes:
    """The header of a compressed file, without the spaces that fill it up, and with zeros for its check.

    Args:
        metadata: the original's
        stored: in the order of the original's keys, with dtypes and shapes of the original
        description: of the original's header: "compact", "python", or its text
        copies: by the name of each, that of the tensor that it is a copy of
        sha256: of the original file, in hexadecimal
        bases: what is said of bases, by key
        checks: of kept tensors, in the order of their data
        layers: behind the first ones, as vectors of bytes, in the order of the data
    """
    ours = {
        VERSION_KEY: VERSION,
        STREAMS_KEY: str(sum(is_stream for _, is_stream in stored)),
        SHA256_KEY: sha256,
        HEADER_KEY: description,
    }
    numbers = {entry.name: number for number, (entry, _) in enumerate(stored)}
    if copies:
        pairs = [f"{numbers[entry.name]}={numbers[copies[entry.name]]}" for entry, _ in stored if entry.name in copies]
        ours[COPIES_KEY] = " ".join(pairs)
    ours |= bases
    if layers:
        ours[LAYERS_KEY] = str(len(layers))
    ours[KEPT_KEY] = "".join(f"{check:08x}" for check in checks)
    tensors = [as_stream(entry) if is_stream or entry.name in copies else entry for entry, is_stream in stored]
    return format_header({CHECK_KEY: "0" * _CHECK_DIGITS} | metadata | ours, [*tensors, *layers])


class Match(NamedTuple):
    """The tensor of a base that one may be coded against."""

    base: int
    tensor: int
    name: str


def base_entries(
    names: list[str], bases: list[str], against: Mapping[str, Match], used: Iterable[str] | None
) -> dict[str, str]:
    """What is said of bases: of those, in their order, that tensors are coded against.

    Args:
        names: of all tensors, in the order of the header's keys
        bases: the SHA-256 of their originals
        used: the tensors that are coded against a base; None: as if all that is known of bases were used
    """
    chosen = against.keys() if used is None else set(used)
    needed = {against[name].base for name in chosen}
    listed = [base for base in range(len(bases)) if used is None or base in needed]
    others = []
    for number, name in enumerate(names):
        if name in chosen:
            match = against[name]
            base = listed.index(match.base)
            if base > 0 or match.name != name:
                others.append(f"{number}={base}.{match.tensor}")
    entries = {}
    if listed:
        entries[BASE_KEY] = " ".join(bases[base] for base in listed)
    if others:
        entries[AGAINST_KEY] = " ".join(others)
    return entries


def as_stream(tensor: TensorEntry) -> TensorEntry:
    """A stream as a tensor: a vector of its bytes."""
    return tensor._replace(dtype="U8", shape=(tensor.size,))

"""A decoder in one file, to be read beside FORMAT.md: its sections are those of the document, in the document's order.

    python3 spec/decoder.py decode STREAM OUTPUT [base=FILE]

writes the bytes of the tensor and prints its dtype and shape, as golden/README.md says; a stream that FORMAT.md does
not allow is refused with exit code 1, and nothing is written. It needs Python 3.10 and nothing else, and was written
from the document, not from the reference codec beside it. It is meant to be right and plain: for speed there are others.
"""

from __future__ import annotations

import math
import struct
import sys
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from operator import mul
from typing import NamedTuple, NoReturn

# ------------------------------------------------------------------------------------------------------- Conventions

Rows = list[list[int]]  # of a tile: a number for each of its elements


class Refused(Exception):
    """A stream that FORMAT.md does not allow: the field, its byte, and what is wrong there."""


def refuse(field: str, at: int, problem: str) -> NoReturn:
    raise Refused(f"{field} at byte {at}: {problem}")


def align(n: int) -> int:
    return -(-n // 16) * 16


def divide_up(a: int, b: int) -> int:
    return -(-a // b)


def require_zeros(stream: bytes, start: int, end: int, field: str) -> None:
    if any(stream[start:end]):
        refuse(field, start, "padding is not zero")


class BitString:
    """The bytes from `start` to `end`, whose bits are read from the lowest of the first byte on."""

    def __init__(self, stream: bytes, start: int, end: int, field: str) -> None:
        self.stream, self.start, self.end, self.field = stream, start, end, field
        self.position = 8 * start

    def read(self, count: int) -> int:
        first, last = self.position // 8, divide_up(self.position + count, 8)
        if last > self.end:
            refuse(self.field, self.end, "the bit string ends too early")
        value = int.from_bytes(self.stream[first:last], "little") >> (self.position % 8)
        self.position += count
        return value & ((1 << count) - 1)

    def finish(self) -> None:
        """A bit string ends within its last byte, and the rest of that is zero."""
        left = 8 * self.end - self.position
        if left >= 8 or self.read(left) != 0:
            refuse(self.field, self.end - 1, "bits that are left over")


# ------------------------------------------------------------------------------------------------------ 1. The front

ROW_SELECTORS, COLUMN_SELECTORS, COLUMN_OFFSETS, DIRECT_TILES, COLUMN_VALUES = 1, 2, 4, 8, 16  # flags
AGAINST_BASE, WIDE_VALUES = 32, 64


class Table(NamedTuple):
    """A frequency table (6.1). Of each symbol, frequency and cumulative frequency; of each slot, the symbol."""

    frequency: list[int]
    cumulative: list[int]
    symbol_of_slot: list[int]


@dataclass
class TableSet:
    """The tables of a plane, or of PAIRS: one, or one for each class."""

    probability_bits: int
    tables: list[Table]


@dataclass
class Front:
    dtype: Dtype
    shape: list[int]
    words: int
    columns: int
    rows: int
    tile_rows: int
    split: list[int]
    tables: list[TableSet | None]
    pairs: TableSet | None
    has_direct: bool
    window_base: int
    column_offsets: list[int] | None
    column_values: list[int] | None  # a word each
    row_selectors: list[int] | None
    column_selectors: list[int] | None
    base: BaseHeader | None
    tiles: list[Tile]
    length: int


def read_front(stream: bytes) -> Front:
    # The fixed part.
    if len(stream) < 64:
        refuse("header", len(stream), "the stream ends before byte 64")
    magic, version, dtype_code, dimensions, tile_rows_log2 = struct.unpack_from("<IBBBB", stream, 0)
    words, columns, plane_count, classes, flags, reserved = struct.unpack_from("<QIBBBB", stream, 8)
    plane_fields = list(struct.iter_unpack("<BBBB", stream[24:40]))
    pairs_count, pairs_bits, window_base, pairs_reserved = struct.unpack_from("<BBBB", stream, 40)
    tables_bytes, data_bytes, front_crc, fixed_crc = struct.unpack_from("<IQII", stream, 44)

    if magic != 0x4D4C4C43:
        refuse("header.magic", 0, "not a CodecLLM stream")
    if version != 1:
        refuse("header.version", 4, f"version {version}, not 1")
    if zlib.crc32(stream[:60]) != fixed_crc:
        refuse("header.fixedCrc", 60, "another CRC-32")
    if dtype_code >= len(DTYPES):
        refuse("header.dtype", 5, f"no dtype has the code {dtype_code}")
    dtype = DTYPES[dtype_code]
    if not 3 <= tile_rows_log2 <= 8:
        refuse("header.tileRowsLog2", 7, f"{tile_rows_log2} is not from 3 to 8")
    if words > 2**50:
        refuse("header.words", 8, f"{words} is more than 2^50")
    if not 1 <= columns <= 2**18:
        refuse("header.columns", 16, f"{columns} is not from 1 to 2^18")

    # Planes and their tables.
    split = [bits for bits, _, _, _ in plane_fields[:plane_count]]
    if plane_count > 4 or split not in dtype.splits:
        refuse("header.plane[0].bits", 24, f"{dtype.name} is not split as {split}")
    has_base = bool(flags & AGAINST_BASE)
    if classes not in ((1, 2, 4, 8) if has_base else (1, 2, 4)):
        refuse("header.classes", 21, f"{classes} is not 1, 2 or 4, nor 8 against a base")
    for p, (bits, count, probability_bits, zero) in enumerate(plane_fields):
        at = 24 + 4 * p
        if p < plane_count:
            check_table_count(count, probability_bits, bits, classes, f"header.plane[{p}]", at + 1)
            if zero != 0:
                refuse(f"header.plane[{p}].reserved", at + 3, "not zero")
        elif (bits, count, probability_bits, zero) != (0, 0, 0, 0):
            refuse(f"header.plane[{p}]", at, "not zero, and there is no such plane")
    check_table_count(pairs_count, pairs_bits, 8, classes, "header.pairs", 40)

    # What may be together.
    is_nibbles = split == [4, 4]
    is_bf16_bytes = dtype.name == "BF16" and split == [8, 8]
    has_pairs, has_direct = pairs_count > 0, bool(flags & DIRECT_TILES)
    if has_pairs and not (is_nibbles or (is_bf16_bytes and not has_direct)):
        refuse("header.pairs.tables", 40, "tables for PAIRS where there are none")
    if has_pairs and plane_fields[0][1] > 1:
        refuse("header.plane[0].tables", 25, "beside pairs, plane 0 has one table at most")
    has_windows = has_direct or (has_pairs and not is_nibbles)
    if window_base > (240 if has_windows else 0):
        refuse("header.pairs.base", 42, f"{window_base} is out of range")
    if flags > 127:
        refuse("header.flags", 22, "a flag that there is not")
    if has_direct and not is_bf16_bytes:
        refuse("header.flags", 22, "DIRECT needs 8 + 8 of BF16")
    if flags & COLUMN_OFFSETS and not has_windows:
        refuse("header.flags", 22, "column offsets without windows")
    if flags & COLUMN_VALUES and not may_have_column_values(dtype, split):
        refuse("header.flags", 22, "column values need I8, F16, or BF16 as 10 + 6")
    if flags & WIDE_VALUES and not (flags & COLUMN_VALUES and dtype.kind == "float"):
        refuse("header.flags", 22, "flag 64 needs flag 16 and a float")
    if has_base and (flags != AGAINST_BASE or has_pairs or set(split) != {8}):
        refuse("header.flags", 22, "flag 32 with another flag, PAIRS, or planes of other than 8 bits")
    if not has_base and bool(flags & (ROW_SELECTORS | COLUMN_SELECTORS)) != (classes > 1):
        refuse("header.flags", 22, f"selectors do not go with {classes} classes")
    sets = [(count, n) for _, count, n, _ in plane_fields] + [(pairs_count, pairs_bits)]
    if classes > 1 and all(count != classes for count, _ in sets):
        refuse("header.classes", 21, "classes that no plane uses")
    if sum(count * 2**n for count, n in sets) > 20480:
        refuse("header.plane[0].probabilityBits", 26, "more than 20,480 slots")
    if reserved != 0 or pairs_reserved != 0:
        refuse("header.reserved", 23 if reserved else 43, "not zero")
    if data_bytes > 2**50:
        refuse("header.dataBytes", 48, f"{data_bytes} is more than 2^50")

    # Where the parts of the front are, and that they are there.
    rows = divide_up(words, columns)
    tile_rows = 2**tile_rows_log2
    tile_count = divide_up(rows, tile_rows) * divide_up(columns, 128)
    selector_bits = classes.bit_length() - 1
    columns_each = 2 if has_pairs else 1

    tables_at = 64 + 8 * dimensions
    offsets_at = tables_at + tables_bytes
    values_at = offsets_at + (divide_up(4 * columns, 8) if flags & COLUMN_OFFSETS else 0)
    value_bits = 8 if dtype.kind != "float" else 16 if flags & WIDE_VALUES else 1
    rows_at = values_at + (divide_up(value_bits * columns, 8) if flags & COLUMN_VALUES else 0)
    columns_at = rows_at + (divide_up(selector_bits * rows, 8) if flags & ROW_SELECTORS else 0)
    selected = divide_up(columns, columns_each)
    base_at = columns_at + (divide_up(selector_bits * selected, 8) if flags & COLUMN_SELECTORS else 0)
    header_end = base_at + (4 + classes - 1 if has_base else 0)
    metadata_at = align(header_end)
    metadata_end = metadata_at + tile_count * (8 + 4 * plane_count)
    length = align(metadata_end)
    if len(stream) < length:
        refuse("header", len(stream), f"the front needs {length} bytes")
    if zlib.crc32(stream[64:length]) != front_crc:
        refuse("header.frontCrc", 56, "another CRC-32")

    # The parts.
    shape = list(struct.unpack_from(f"<{dimensions}Q", stream, 64))
    for axis, dimension in enumerate(shape):
        if dimension > 2**50:
            refuse(f"header.dimension[{axis}]", 64 + 8 * axis, f"{dimension} is more than 2^50")
    if math.prod(shape) * dtype.bits != words * dtype.w:
        refuse("header.words", 8, f"{words} words where the shape is {shape}")

    bits = BitString(stream, tables_at, offsets_at, "tables")
    tables = [read_tables(bits, count, width, n) for width, count, n, _ in plane_fields[:plane_count]]
    pairs = read_tables(bits, pairs_count, 8, pairs_bits)
    bits.finish()

    def read_numbers(flag: int, start: int, end: int, count: int, width: int, field: str) -> list[int] | None:
        if not flags & flag:
            return None
        numbers = BitString(stream, start, end, field)
        values = [numbers.read(width) for _ in range(count)]
        numbers.finish()
        return values

    column_offsets = read_numbers(COLUMN_OFFSETS, offsets_at, values_at, columns, 4, "columnOffsets")
    if column_offsets is not None and window_base + max(column_offsets) > 240:
        refuse("columnOffsets", offsets_at, "a window that begins above 240")
    column_values = read_numbers(COLUMN_VALUES, values_at, rows_at, columns, value_bits, "columnValues")
    if column_values is not None and value_bits == 1:
        column_values = [sign << 15 for sign in column_values]
    row_selectors = read_numbers(ROW_SELECTORS, rows_at, columns_at, rows, selector_bits, "rowSelectors")
    column_selectors = read_numbers(COLUMN_SELECTORS, columns_at, base_at, selected, selector_bits, "columnSelectors")
    base = None
    if has_base:
        base = BaseHeader(struct.unpack_from("<I", stream, base_at)[0], list(stream[base_at + 4 : header_end]))
        if any(level <= before for before, level in zip([0, *base.first_levels], base.first_levels)):
            refuse("base.firstLevels", base_at + 4, "first levels that do not rise")
    require_zeros(stream, header_end, metadata_at, "header.padding")
    front = Front(
        dtype, shape, words, columns, rows, tile_rows, split, tables, pairs, has_direct, window_base,
        column_offsets, column_values, row_selectors, column_selectors, base, [], length,
    )  # fmt: skip
    if read_metadata(stream, metadata_at, front) != data_bytes:
        refuse("header.dataBytes", 48, "the tiles need another number of bytes")
    require_zeros(stream, metadata_end, length, "metadata.padding")
    if len(stream) != length + data_bytes:
        refuse("data", min(len(stream), length + data_bytes), "the stream is longer or shorter than it says")
    return front


def check_table_count(count: int, probability_bits: int, bits: int, classes: int, field: str, at: int) -> None:
    if count not in (0, 1, classes):
        refuse(f"{field}.tables", at, f"{count} tables where there are {classes} classes")
    allowed = range(8, min(12, (32 - bits) // 2) + 1) if count > 0 else range(1)
    if probability_bits not in allowed:
        refuse(f"{field}.probabilityBits", at + 1, f"{probability_bits} for {count} tables")


# ------------------------------------------------------------------------------------ 2. The matrix view and its tiles


@dataclass
class Tile:
    """Where a tile begins in the matrix view, its size, and what its metadata say."""

    row: int
    column: int
    height: int
    width: int
    offset: int = 0
    check: int = 0
    planes: list[TilePlane] = field(default_factory=list)


def tiles_of(rows: int, columns: int, tile_rows: int) -> Iterator[Tile]:
    for row in range(0, rows, tile_rows):
        for column in range(0, columns, 128):
            yield Tile(row, column, min(tile_rows, rows - row), min(128, columns - column))


def lanes_of(tile: Tile) -> int:
    return divide_up(tile.width, 4)


def place(tensor: bytearray, front: Front, tile: Tile, words: Rows) -> None:
    """Puts the words of a tile into the tensor, without those that a short last row repeats."""
    for i, row in enumerate(words):
        at = (tile.row + i) * front.columns + tile.column
        present = row[: max(0, front.words - at)]
        bytes_of_row = pack(present, front.dtype.w)
        start = at * front.dtype.w // 8
        tensor[start : start + len(bytes_of_row)] = bytes_of_row


def pack(words: list[int], w: int) -> bytes:
    return struct.pack(f"<{len(words)}{ {8: 'B', 16: 'H', 32: 'I'}[w] }", *words)


def unpack(words: bytes, w: int) -> list[int]:
    return list(struct.unpack(f"<{8 * len(words) // w}{ {8: 'B', 16: 'H', 32: 'I'}[w] }", words))


# ------------------------------------------------------------------------------------------------ 3. Words and planes


class Dtype(NamedTuple):
    name: str
    bits: int  # of an element
    w: int  # bits of a word
    kind: str
    splits: list[list[int]]


DTYPES = [
    Dtype("BOOL", 8, 8, "plain", [[8], [4, 4]]),
    Dtype("U8", 8, 8, "plain", [[8], [4, 4]]),
    Dtype("I8", 8, 8, "signed", [[8], [4, 4]]),
    Dtype("F8_E4M3", 8, 8, "float", [[8], [4, 4]]),
    Dtype("F8_E5M2", 8, 8, "float", [[8], [4, 4]]),
    Dtype("F16", 16, 16, "float", [[8, 8]]),
    Dtype("BF16", 16, 16, "float", [[10, 6], [8, 8]]),
    Dtype("F32", 32, 32, "float", [[8, 8, 8, 8]]),
    *(
        Dtype(name, bits, 8, "plain", [[8]])
        for name, bits in [
            ("I16", 16),
            ("U16", 16),
            ("I32", 32),
            ("U32", 32),
            ("I64", 64),
            ("U64", 64),
            ("F64", 64),
            ("C64", 64),
            ("F8_E8M0", 8),
            ("F4", 4),
            ("F6_E2M3", 6),
            ("F6_E3M2", 6),
        ]
    ),
]  # the index is the dtype code


def bits_below_sign(dtype: Dtype, split: list[int]) -> int:
    """Bits of a float's magnitude that plane 0 does not have: its sign stands above them."""
    return max(0, dtype.w - 1 - split[0])


def join_planes(symbols: list[int], dtype: Dtype, split: list[int]) -> int:
    """The word that has these symbols in its planes."""
    word = 0
    for symbol, bits in zip(symbols, split):
        word = word << bits | symbol
    if dtype.kind == "signed":
        return word ^ 0x80
    if dtype.kind == "float":
        below = bits_below_sign(dtype, split)
        sign = word >> below & 1
        magnitude = word >> (below + 1) << below | word & ((1 << below) - 1)
        return sign << (dtype.w - 1) | magnitude
    return word


def zero_symbol(dtype: Dtype) -> int:
    return 0x80 if dtype.name == "I8" else 0


# 3.1 Column values


def may_have_column_values(dtype: Dtype, split: list[int]) -> bool:
    return dtype.name in ("I8", "F16") or (dtype.name == "BF16" and split == [10, 6])


def word_of_coded(coded: int, value: int, dtype: Dtype, split: list[int]) -> int:
    """The tensor's word, given the coded word and the value of its column."""
    if dtype.name == "I8":
        return (coded + value) % 256
    top, low = dtype.w - 1, bits_below_sign(dtype, split)
    if (coded >> top & 1) != (coded >> low & 1):
        coded ^= 1 << top | 1 << low
    return (coded + value) % 2**16


# 3.2 Against a base


class BaseHeader(NamedTuple):
    crc: int
    first_levels: list[int]  # of each class but the first


def base_of_tile(base: bytes, front: Front, tile: Tile) -> Rows:
    """The words of the base in a tile; those that a short last row lacks are zero."""
    word_bytes = front.dtype.w // 8
    rows = []
    for i in range(tile.height):
        at = ((tile.row + i) * front.columns + tile.column) * word_bytes
        rows.append(
            unpack(base[at : at + tile.width * word_bytes].ljust(tile.width * word_bytes, b"\0"), front.dtype.w)
        )
    return rows


def crc_of_base(base: bytes, front: Front) -> int:
    checks = [check_of(base_of_tile(base, front, tile), b"", front.dtype.w) for tile in front.tiles]
    return zlib.crc32(pack(checks, 32))


def order_of(word: int, dtype: Dtype) -> int:
    if dtype.kind != "float":
        return word
    top = 1 << (dtype.w - 1)
    return word ^ (2 * top - 1) if word & top else word ^ top


def word_of_order(order: int, dtype: Dtype) -> int:
    if dtype.kind != "float":
        return order
    top = 1 << (dtype.w - 1)
    return order ^ top if order & top else order ^ (2 * top - 1)


def word_after(base: int, symbols: list[int], dtype: Dtype) -> int:
    """The word to which the difference that has these symbols in its planes leads from a word of the base."""
    difference = sum(symbol << 8 * p for p, symbol in enumerate(symbols))
    d = difference // 2 if difference % 2 == 0 else -((difference + 1) // 2)
    return word_of_order((order_of(base, dtype) + d) % 2**dtype.w, dtype)


def class_of(word: int, dtype: Dtype, base: BaseHeader) -> int:
    """The class of the elements in the place of this word of the base."""
    level = word
    if dtype.kind == "float":
        magnitude = word & ((1 << (dtype.w - 1)) - 1)
        level = magnitude >> max(0, dtype.w - 9)
    return sum(first <= level for first in base.first_levels)


# ------------------------------------------------------------------- 4. Tile metadata, and the order of a tile's data

CONST, RAW, RANS, PAIRS, DIRECT = range(5)


class TilePlane(NamedTuple):
    value: int
    mode: int
    predictor: int
    outliers: int

    @property
    def is_coded(self) -> bool:
        return self.mode in (RANS, PAIRS)


def read_metadata(stream: bytes, at: int, front: Front) -> int:
    """Reads and checks what the front says of its tiles, and returns the bytes of Data that they need."""
    end = 0
    for index, tile in enumerate(tiles_of(front.rows, front.columns, front.tile_rows)):
        offset, tile.check = struct.unpack_from("<II", stream, at)
        tile.offset = 16 * offset
        if tile.offset != end:
            refuse(f"tile[{index}].offset", at, f"{tile.offset} where the tiles before end at {end}")
        at += 8
        tile.planes = []
        for p in range(len(front.split)):
            (entry,) = struct.unpack_from("<I", stream, at)
            plane = TilePlane(entry & 0xFFFF, entry >> 16 & 15, entry >> 20 & 15, entry >> 24)
            check_plane(plane, p, front, f"tile[{index}].plane[{p}]", at)
            tile.planes.append(plane)
            at += 4
        if len({plane.mode == DIRECT for plane in tile.planes}) == 2:
            refuse(f"tile[{index}].plane[1].mode", at - 4, "DIRECT in one plane only")
        end += sum(align(length) for _, _, length in sections_of(tile, front))
        front.tiles.append(tile)
    return end


def check_plane(plane: TilePlane, p: int, front: Front, field: str, at: int) -> None:
    value, mode, predictor, outliers = plane
    has_mode = {
        CONST: True,
        RAW: True,
        RANS: front.tables[p] is not None,
        PAIRS: p == 0 and front.pairs is not None,
        DIRECT: front.has_direct,
    }
    if not has_mode.get(mode, False):
        refuse(f"{field}.mode", at, f"mode {mode} where it may not be")
    if (mode == CONST and value >= 2 ** front.split[p]) or (mode in (RAW, DIRECT) and value != 0):
        refuse(f"{field}.value", at, f"value {value} in mode {mode}")
    if predictor > (4 if mode == RANS and front.split[p] == 8 and front.base is None else 0):
        refuse(f"{field}.predictor", at, f"predictor {predictor} in mode {mode}")
    if outliers > 0 and (p > 0 or (mode in (CONST, RAW) and front.base is None) or predictor > 0):
        refuse(f"{field}.outliers", at, "outliers where there are none")


class Section(NamedTuple):
    name: str
    plane: int
    length: int  # in bytes, without padding


def sections_of(tile: Tile, front: Front) -> Iterator[Section]:
    """The sections of a tile's data, in order."""
    for p, plane in enumerate(tile.planes):
        if plane.mode == RAW:
            yield Section("raw", p, raw_bytes(tile, front.split[p], takes_payload(tile, p, front)))
    for p, plane in enumerate(tile.planes):
        if plane.is_coded:
            yield Section("states", p, 4 * coders_of(tile, front))
            yield Section("units", p, 2 * plane.value)
    if tile.planes[0].mode == DIRECT:
        yield Section("blocks", 0, 1536 * divide_up(tile.height, 16) * divide_up(tile.width, 64))
    yield Section("outliers", 0, tile.planes[0].outliers * outlier_bytes(front.dtype))


def takes_payload(tile: Tile, p: int, front: Front) -> bool:
    """Whether the plane before gives a payload to this one."""
    if front.base is not None or not 0 < p < len(tile.planes):
        return False
    return tile.planes[p].mode == RAW and tile.planes[p - 1].is_coded


# ----------------------------------------------------------------------------------------------------- 5. Prediction


def undo_prediction(predictor: int, residuals: Rows, zero: int) -> Rows:
    symbols: Rows = []
    above = [zero] * len(residuals[0])
    for row in residuals:
        left, diagonal = zero, zero
        current = []
        for residual, top in zip(row, above):
            prediction = (0, left, top, (left + top) // 2, left + top - diagonal)[predictor]
            left, diagonal = (residual + prediction) & 255, top
            current.append(left)
        symbols.append(current)
        above = current
    return symbols


# --------------------------------------------------------------------------------------------------- 6. Coded planes

# 6.1 Frequency tables and selectors


def read_tables(bits: BitString, count: int, symbol_bits: int, probability_bits: int) -> TableSet | None:
    if count == 0:
        return None
    return TableSet(probability_bits, [read_table(bits, symbol_bits, probability_bits) for _ in range(count)])


def read_table(bits: BitString, symbol_bits: int, probability_bits: int) -> Table:
    frequency = [0] * 2**symbol_bits
    first = bits.read(symbol_bits)
    last = first + bits.read(symbol_bits)
    if last >= len(frequency):
        refuse("tables", bits.start, f"a symbol above {len(frequency) - 1}")
    length = 1
    for symbol in range(first, last + 1):
        code = read_gamma(bits)
        length += code // 2 if code % 2 == 0 else (1 - code) // 2
        if not 0 <= length <= probability_bits:
            refuse("tables", bits.start, f"a frequency of {length} bits")
        if length > 0:
            frequency[symbol] = 1 << (length - 1) | bits.read(length - 1)
    if sum(frequency) != 2**probability_bits:
        refuse("tables", bits.start, f"frequencies that add up to {sum(frequency)}")
    if frequency[first] == 0 or frequency[last] == 0:
        refuse("tables", bits.start, "a first or last symbol without a frequency")
    cumulative: list[int] = []
    symbol_of_slot: list[int] = []
    for symbol, each in enumerate(frequency):
        cumulative.append(len(symbol_of_slot))
        symbol_of_slot += [symbol] * each
    return Table(frequency, cumulative, symbol_of_slot)


def read_gamma(bits: BitString) -> int:
    zeros = 0
    while bits.read(1) == 0:
        zeros += 1
        if zeros > 5:
            refuse("tables", bits.start, "an Elias gamma code of more than 5 zeros")
    return 1 << zeros | bits.read(zeros)


def tables_of_tile(
    front: Front, tile: Tile, tables: list[Table], columns_each: int, base_words: Rows | None
) -> list[list[Table]]:
    """The table of each element, or, where a symbol stands for two columns, of each pair of elements."""
    across = divide_up(tile.width, columns_each)
    if len(tables) == 1:
        return [tables * across] * tile.height
    if front.base is not None and base_words is not None:
        return [[tables[class_of(word, front.dtype, front.base)] for word in row] for row in base_words]
    selector_columns = 1 if front.pairs is None else 2
    columns = [0] * across
    if front.column_selectors is not None:
        columns = [front.column_selectors[(tile.column + j * columns_each) // selector_columns] for j in range(across)]
    rows = [0] * tile.height
    if front.row_selectors is not None:
        rows = front.row_selectors[tile.row : tile.row + tile.height]
    return [[tables[row | column] for column in columns] for row in rows]


# 6.2 rANS


def coders_of(tile: Tile, front: Front) -> int:
    """How many lanes a coded plane has."""
    return lanes_of(tile) if front.base is None else min(8, lanes_of(tile))


def order_of_row(width: int, per_lane: int, coders: int) -> list[tuple[int, int]]:
    """
    Lane and place in its row of each symbol, in the order in which they are decoded: at each step all lanes in order.
    Of each `coders * per_lane` symbols a lane has `per_lane` neighbours: 4, or 2 in PAIRS.
    """
    steps = [(start, k) for start in range(0, width, coders * per_lane) for k in range(per_lane)]
    order = [(lane, start + per_lane * lane + k) for start, k in steps for lane in range(coders)]
    return [(lane, place) for lane, place in order if place < width]


def decode_lanes(
    states: list[int], units: list[int], table_of: list[list[Table]], n: int, per_lane: int, field: str
) -> Rows:
    """Decodes the symbols of a plane, and changes the states to those in which the lanes end."""
    symbols: Rows = []
    order = order_of_row(len(table_of[0]), per_lane, len(states))
    taken = 0
    for tables in table_of:
        row = [0] * len(tables)
        for lane, place in order:
            frequency, cumulative, symbol_of_slot = tables[place]
            x = states[lane]
            slot = x & ((1 << n) - 1)
            symbol = symbol_of_slot[slot]
            x = frequency[symbol] * (x >> n) + slot - cumulative[symbol]
            if x < 2**16:
                if taken == len(units):
                    raise Refused(f"{field}.units: decoding takes more than the {taken} that there are")
                x = x << 16 | units[taken]
                taken += 1
            states[lane] = x
            row[place] = symbol
        symbols.append(row)
    if taken != len(units):
        raise Refused(f"{field}.units: decoding takes {taken}, and there are {len(units)}")
    return symbols


# 6.3 PAIRS


def starts_of(front: Front, tile: Tile) -> list[int]:
    """Where the windows of a tile's columns begin."""
    if front.column_offsets is None:
        return [front.window_base] * tile.width
    return [front.window_base + offset for offset in front.column_offsets[tile.column : tile.column + tile.width]]


def split_pairs(pairs: Rows, starts: list[int]) -> Rows:
    return [[start + (row[j // 2] >> 4 * (j % 2) & 15) for j, start in enumerate(starts)] for row in pairs]


# 6.4 Outliers


def outlier_bytes(dtype: Dtype) -> int:
    return 8 if dtype.w == 32 else 4


def write_outliers(words: Rows, entries: bytes, dtype: Dtype, tile: Tile) -> None:
    """Writes the outliers over a tile's words."""
    if dtype.w == 32:
        outliers = list(struct.iter_unpack("<II", entries))
    else:
        outliers = [(entry & 0xFFFF, entry >> 16) for (entry,) in struct.iter_unpack("<I", entries)]
    previous = -1
    for position, word in outliers:
        row, column = divmod(position, 128)
        if position <= previous or row >= tile.height or column >= tile.width or word >= 2**dtype.w:
            raise Refused(f"tile.outliers: position {position}, word {word}: not rising, or outside")
        words[row][column] = word
        previous = position


# 6.5 DIRECT


def unpack_blocks(blocks: bytes, starts: list[int], tile: Tile) -> list[Rows]:
    """Both planes of a tile."""
    planes = [[[0] * tile.width for _ in range(tile.height)] for _ in range(2)]
    at = 0
    for top in range(0, tile.height, 16):
        for left in range(0, tile.width, 64):
            for lane in range(32):
                codes = struct.unpack_from("<4I", blocks, at + 16 * lane)
                for f in range(4):
                    fragment_at = at + 512 * (1 + f // 2) + 16 * lane + 8 * (f % 2)
                    for r in range(2):
                        for c in range(4):
                            a, h = r + 2 * (c // 2), c % 2
                            code = codes[f] >> (4 * a + 16 * h) & 15
                            symbol = blocks[fragment_at + 4 * (a // 2) + 2 * (a % 2) + h]
                            row = top + lane // 4 + 8 * r
                            column = left + 32 * (f // 2) + 8 * (lane % 4) + 4 * (f % 2) + c
                            if row < tile.height and column < tile.width:
                                planes[0][row][column] = starts[column] + code
                                planes[1][row][column] = symbol
                            elif code != 0 or symbol != 0:
                                raise Refused("tile.blocks: an element that the tile does not have is not zero")
            at += 1536
    return planes


# ----------------------------------------------------------------------------------------------------- 7. RAW planes


def raw_shape(tile: Tile, bits: int, has_payload: bool) -> tuple[int, int, int]:
    """Of each lane: the bits that are stored, in how many u32, and in how many u16 after them."""
    stored = 4 * bits * tile.height - (16 if has_payload else 0)
    wide, left = divmod(stored, 32)
    return stored, wide + (left > 16), int(1 <= left <= 16)


def raw_bytes(tile: Tile, bits: int, has_payload: bool) -> int:
    _, wide, narrow = raw_shape(tile, bits, has_payload)
    return (4 * wide + 2 * narrow) * lanes_of(tile)


def unpack_raw(section: bytes, tile: Tile, bits: int, payload: list[int] | None, field: str) -> Rows:
    stored, wide, narrow = raw_shape(tile, bits, payload is not None)
    lanes = lanes_of(tile)
    numbers = struct.unpack(f"<{wide * lanes}I{narrow * lanes}H", section)
    symbols = [[0] * tile.width for _ in range(tile.height)]
    for lane in range(lanes):
        # The numbers of this lane lie `lanes` apart, those of 16 bits last.
        sequence = sum(number << 32 * i for i, number in enumerate(numbers[lane::lanes]))
        if sequence >> stored != 0:
            raise Refused(f"{field}.raw: unused bits are not zero")
        if payload is not None:
            sequence |= payload[lane] << stored
        for row in symbols:
            for column in range(4 * lane, 4 * lane + 4):
                symbol = sequence & ((1 << bits) - 1)
                sequence >>= bits
                if column < tile.width:
                    row[column] = symbol
                elif symbol != 0:
                    raise Refused(f"{field}.raw: a column that does not exist is not zero")
    return symbols


# --------------------------------------------------------------------------------------------------------- 8. Checks

PRIMES = [n for n in range(258, 1094) if all(n % divisor for divisor in range(2, 34))]


def check_of(words: Rows, entries: bytes, w: int) -> int:
    """The check of a tile, from its words before outliers are written, and its outliers as they are stored."""
    height = len(words)
    row_bytes = 16 * w
    rows = [pack(row, w).ljust(row_bytes, b"\0") for row in words]
    rows += [entries[at : at + row_bytes].ljust(row_bytes, b"\0") for at in range(0, len(entries), row_bytes)]
    total = 0
    for r, row in enumerate(rows):
        factor = height - r if r < height else r + 1
        total += factor * sum(map(mul, PRIMES, struct.unpack(f"<{4 * w}I", row)))
    return total % (2**32 - 1)


# ---------------------------------------------------------------------------------------- 9. What a decoder refuses
#
# All of it is refused where it is met: what sections 1 to 4 say in read_front, before anything is decoded, and the rest
# here, tile by tile.


def decode(stream: bytes, base: bytes | None = None, limit: int = 2**32) -> tuple[str, list[int], bytes]:
    """
    Decodes a stream, which may be one against a base: (dtype, shape, bytes in C order). Raises Refused for one that
    FORMAT.md does not allow, or whose tensor has more than `limit` bytes.
    """
    front = read_front(stream)
    length = front.words * front.dtype.w // 8
    if length > limit:
        raise Refused(f"the tensor has {length} bytes, more than the limit of {limit}")
    if (base is None) != (front.base is None):
        refuse("header.flags", 22, "coded against a base" if base is None else "coded without a base")
    if base is not None and front.base is not None:
        if len(base) != length or crc_of_base(base, front) != front.base.crc:
            raise Refused("base.crc: coded against another base")
    tensor = bytearray(length)
    for index, tile in enumerate(front.tiles):
        try:
            words = decode_tile(stream, front, tile, base)
        except Refused as refused:
            raise Refused(f"tile {index}, whose data begin at byte {front.length + tile.offset}: {refused}") from None
        place(tensor, front, tile, words)
    return front.dtype.name, front.shape, bytes(tensor)


def decode_tile(stream: bytes, front: Front, tile: Tile, base: bytes | None) -> Rows:
    base_words = None if base is None else base_of_tile(base, front, tile)

    # The sections of its data, by name and plane, without the padding, which is zero.
    sections = {}
    at = front.length + tile.offset
    for name, p, length in sections_of(tile, front):
        sections[name, p] = stream[at : at + length]
        require_zeros(stream, at + length, at + align(length), f"tile.plane[{p}].{name}")
        at += align(length)

    # The planes.
    planes: list[Rows] = []
    payload: list[int] | None = None
    for p, plane in enumerate(tile.planes):
        field = f"tile.plane[{p}]"
        if plane.mode == CONST:
            planes.append([[plane.value] * tile.width] * tile.height)
        elif plane.mode == RAW:
            taken = payload if takes_payload(tile, p, front) else None
            planes.append(unpack_raw(sections["raw", p], tile, front.split[p], taken, field))
        elif plane.is_coded:
            states = list(struct.unpack(f"<{coders_of(tile, front)}I", sections["states", p]))
            units = list(struct.unpack(f"<{plane.value}H", sections["units", p]))
            if min(states) < 2**16:
                raise Refused(f"{field}.states: a state below 2^16")
            columns_each = 2 if plane.mode == PAIRS else 1
            table_set = front.pairs if plane.mode == PAIRS else front.tables[p]
            assert table_set is not None  # read_front saw to it
            table_of = tables_of_tile(front, tile, table_set.tables, columns_each, base_words)
            symbols = decode_lanes(states, units, table_of, table_set.probability_bits, 4 // columns_each, field)
            payload = [state & 0xFFFF for state in states]
            for state in states:
                if (state >> 16 != 1) if takes_payload(tile, p + 1, front) else (state != 2**16):
                    raise Refused(f"{field}.states: a lane ends in state {state}")
            if plane.mode == PAIRS:
                symbols = split_pairs(symbols, starts_of(front, tile))
            elif plane.predictor > 0:
                symbols = undo_prediction(plane.predictor, symbols, zero_symbol(front.dtype))
            planes.append(symbols)
        elif p == 0:
            planes = unpack_blocks(sections["blocks", 0], starts_of(front, tile), tile)

    # The words.
    elements = [[list(symbols) for symbols in zip(*rows)] for rows in zip(*planes)]
    if base_words is None:
        words = [[join_planes(symbols, front.dtype, front.split) for symbols in row] for row in elements]
    else:
        words = [
            [word_after(before, symbols, front.dtype) for before, symbols in zip(*rows)]
            for rows in zip(base_words, elements)
        ]
    entries = sections["outliers", 0]
    check = check_of(words, entries, front.dtype.w)
    if check != tile.check:
        raise Refused(f"tile.check: {check}, and the metadata say {tile.check}")
    write_outliers(words, entries, front.dtype, tile)
    if front.column_values is not None:
        values = front.column_values[tile.column : tile.column + tile.width]
        words = [
            [word_of_coded(coded, value, front.dtype, front.split) for coded, value in zip(row, values)]
            for row in words
        ]
    return words


def read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def main(arguments: list[str]) -> int:
    has_base = len(arguments) == 4 and arguments[3].startswith("base=")
    if arguments[:1] != ["decode"] or len(arguments) != (4 if has_base else 3):
        print("decoder.py decode STREAM OUTPUT [base=FILE]", file=sys.stderr)
        return 2
    base = read(arguments[3][len("base=") :]) if has_base else None
    try:
        dtype, shape, tensor = decode(read(arguments[1]), base)
    except Refused as refused:
        print(refused, file=sys.stderr)
        return 1
    with open(arguments[2], "wb") as file:
        file.write(tensor)
    print(f"dtype={dtype} shape={','.join(map(str, shape))}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""What a stream says of itself, for people: FORMAT.md, sections 1 and 4."""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np

from ._stream import Stream
from ._tables import MODES, PREDICTORS

_FIXED = struct.Struct("<4xBBBBQIBBBB")
"""Version, dtype, dimensions, log2 of H, words, columns, planes, classes, flags, 0."""
_PLANES_AT = 24
_ROW_SELECTORS, _COLUMN_SELECTORS, _COLUMN_OFFSETS, _COLUMN_VALUES, _WIDE_VALUES = 1, 2, 4, 16, 64


@dataclass(frozen=True)
class Inspection:
    """What a stream says of itself."""

    dtype: str
    shape: tuple[int, ...]
    rows: int
    """Of the matrix view, in words,"""
    columns: int
    """and likewise."""
    tile_rows: int
    tile_count: int
    split: list[int]
    """Bits of each plane."""
    tensor_bytes: int
    stream_bytes: int
    front_bytes: int
    """Of all before Data."""
    classes: int
    row_selectors: bool
    column_selectors: bool
    column_offsets: bool
    column_values: bool
    wide_values: bool
    against_base: bool
    """Whether it is coded against a base,"""
    unchanged_tiles: int
    """and tiles in which nothing has changed."""
    modes: list[dict[str, int]]
    """For each plane, how many tiles have each mode: const, raw, rans (not predicted), left, top, avg, planar, pairs,
    direct."""
    outliers: int


def inspect_front(stream: Stream, front: np.ndarray) -> Inspection:
    """What a stream says, of which this is the front (uint8)."""
    info = stream.info
    _, _, _, tile_rows_log2, words, columns, planes, classes, flags, _ = _FIXED.unpack_from(front.tobytes()[:64])
    tile_count = stream.bands * stream.tiles_across
    entry = 2 + planes
    metadata_bytes = -(-4 * entry * tile_count // 16) * 16
    metadata = front[info.front_bytes - metadata_bytes : info.front_bytes].view("<u4")
    tiles = metadata[: entry * tile_count].reshape(tile_count, entry)[:, 2:]
    return Inspection(
        dtype=info.dtype,
        shape=info.shape,
        rows=-(-words // columns),
        columns=columns,
        tile_rows=2**tile_rows_log2,
        tile_count=tile_count,
        split=[int(front[_PLANES_AT + 4 * plane]) for plane in range(planes)],
        tensor_bytes=info.tensor_bytes,
        stream_bytes=info.front_bytes + info.data_bytes,
        front_bytes=info.front_bytes,
        classes=classes,
        row_selectors=bool(flags & _ROW_SELECTORS),
        column_selectors=bool(flags & _COLUMN_SELECTORS),
        column_offsets=bool(flags & _COLUMN_OFFSETS),
        column_values=bool(flags & _COLUMN_VALUES),
        wide_values=bool(flags & _WIDE_VALUES),
        against_base=info.against_base,
        unchanged_tiles=stream.unchanged_tiles,
        modes=[_modes(tiles[:, plane]) for plane in range(planes)],
        outliers=int((tiles >> 24).sum()),
    )


def _modes(tiles: np.ndarray) -> dict[str, int]:
    """How many tiles of a plane have each mode, in the order of their first tiles."""
    numbers, first, counts = np.unique((tiles >> 16) & 0xFF, return_index=True, return_counts=True)
    found = sorted(zip(first.tolist(), numbers.tolist(), counts.tolist(), strict=True))
    return {PREDICTORS[number >> 4] if number >> 4 else MODES[number & 15]: count for _, number, count in found}

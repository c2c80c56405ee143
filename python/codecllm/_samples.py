"""Which tensor of a base is the nearest to one that has no namesake there (spec/FORMAT.md, A.12)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from ._copies import Bytes

_PARTS = 16
_PART_BYTES = 64
_FAR = 5 * _PARTS * _PART_BYTES
"""Those that are so many bits apart or more are not near: 5 of 8."""
_FLOATS = {"F8_E4M3": np.uint8, "F8_E5M2": np.uint8, "F16": np.uint16, "BF16": np.uint16, "F32": np.uint32}
"""Words of floats; those of other dtypes are bytes."""


def sample_of(data: Bytes, size: int) -> np.ndarray:
    """A sample of a tensor of 64 bytes or more (uint8)."""
    places = [4 * ((size - _PART_BYTES) * k // (4 * (_PARTS - 1))) for k in range(_PARTS)]
    return np.concatenate([data[at : at + _PART_BYTES] for at in places])


def is_uniform(sample: np.ndarray) -> bool:
    """Whether all parts of a sample are equal: then nothing is looked for."""
    parts = sample.reshape(_PARTS, _PART_BYTES)
    return bool((parts == parts[0]).all())


def nearest_of(dtype: str, sample: np.ndarray, others: list[np.ndarray]) -> int | None:
    """The number of the nearest of some samples of a dtype; None where none is near."""
    if not others:
        return None
    before, after = _orders(dtype, np.stack(others)), _orders(dtype, sample)
    # Signed, as wide as the words: a step down of n has as many bits as 2n - 1, one up as 2n.
    steps = (after - before).view(f"i{after.dtype.itemsize}").astype(np.int64)
    differences = np.where(steps < 0, -2 * steps - 1, 2 * steps)
    # Exactly the number of bits: what is below 2^53 is no other number in float64.
    bits = np.frexp(differences.astype(np.float64))[1].sum(axis=1)
    nearest = int(bits.argmin())
    return nearest if bits[nearest] < _FAR else None


def _orders(dtype: str, samples: np.ndarray) -> np.ndarray:
    """Words by order: values of floats rise with it."""
    if dtype not in _FLOATS:
        return samples
    words = np.ascontiguousarray(samples).view(np.dtype(_FLOATS[dtype]).newbyteorder("<"))
    top = words.dtype.type(1 << (8 * words.dtype.itemsize - 1))
    return np.where(words & top, ~words, words | top)

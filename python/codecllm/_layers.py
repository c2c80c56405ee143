"""A tensor in layers of bits (spec/FORMAT.md, section 11.1), so that a prefix of a file is a coarse checkpoint. Coarse
words have the first bits of the tensor's words; each further layer has those that come next.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ._arrays import is_torch

if TYPE_CHECKING:
    from ._arrays import Array


class Layer(NamedTuple):
    """Bits of every word of a tensor, counted from its highest."""

    first: int
    end: int
    """Behind the last one."""


class _Float(NamedTuple):
    """Floats whose tensors may have layers."""

    bits: int
    exponent_bits: int
    starts: tuple[int, ...]
    """Where a compressor begins layers."""

    @property
    def dtype(self) -> np.dtype:
        """Of its words."""
        return np.dtype(f"i{self.bits // 8}")


_FLOATS = {
    "F16": _Float(16, 5, (8, 10, 12)),
    "BF16": _Float(16, 8, (10, 12, 14)),
    "F32": _Float(32, 8, (10, 12, 14, 16, 24)),
}
_LEAST_WORDS = 2**14
"""Smaller tensors are not worth the headers of their layers."""
COARSE_TILE_ROWS = 256
"""Coarse words take half as many bytes as words: tiles of so many rows are as large as others."""
_PIECE_WORDS = 2**16
"""Are worked on at a time, so that what is made of them stays in the processor's caches;"""
_DEVICE_PIECE_WORDS = 2**22
"""and so many on a GPU, so that what is made of them fits beside a model."""


def layer_starts(dtype: str, size: int) -> tuple[int, ...]:
    """Where a compressor begins layers of a tensor of `size` bytes; nowhere in most."""
    float_ = _FLOATS.get(dtype)
    return float_.starts if float_ is not None and 8 * size // float_.bits >= _LEAST_WORDS else ()


def layers_from(dtype: str, starts: Sequence[int]) -> list[Layer] | None:
    """The layers behind the first one, given the first bit of each; None where such a tensor cannot have these."""
    float_ = _FLOATS.get(dtype)
    if float_ is None or not starts or starts[0] <= float_.exponent_bits:
        return None
    layers = [Layer(first, end) for first, end in zip(starts, (*starts[1:], float_.bits), strict=True)]
    return layers if all(layer.end - layer.first in (1, 2, 4, 8) for layer in layers) else None


def layer_bytes(dtype: str, size: int, layer: Layer) -> int:
    """Bytes of a layer of a tensor of `size` bytes."""
    return -(-(size * (layer.end - layer.first)) // _FLOATS[dtype].bits)


def _framework_of(array: Array) -> Any:  # noqa: ANN401
    """NumPy, or PyTorch, which has functions of the same names."""
    if not is_torch(array):
        return np
    import torch

    return torch


def _coarse(words: Any, float_: _Float, known: int) -> Any:  # noqa: ANN401
    """The coarse words of the first `known` bits of words. @param words of NumPy or PyTorch, as the result"""
    where = _framework_of(words).where
    exponent = (2**float_.exponent_bits - 1) << (float_.bits - 1 - float_.exponent_bits)
    unknown = 1 << (float_.bits - known)
    exponents = words & exponent
    top = words & -unknown
    regular = where(exponents == 0, top, top | unknown // 2)
    # Infinities, and what is no number.
    return where(exponents == exponent, words, regular)


def coarse(data: np.ndarray, dtype: str, known: int) -> np.ndarray:
    """The words of the first layer. Both are bytes (uint8, one dimension)."""
    float_ = _FLOATS[dtype]
    output = np.empty_like(data)
    words, result = data.view(float_.dtype), output.view(float_.dtype)
    for at in range(0, words.size, _PIECE_WORDS):
        result[at : at + _PIECE_WORDS] = _coarse(words[at : at + _PIECE_WORDS], float_, known)
    return output


def layer_of(data: np.ndarray, dtype: str, layer: Layer) -> np.ndarray:
    """The bit string of a layer. Both are bytes (uint8, one dimension)."""
    float_ = _FLOATS[dtype]
    width = layer.end - layer.first
    each = 8 // width
    shifts = np.arange(0, 8, width, dtype=np.uint8)
    output = np.zeros(layer_bytes(dtype, data.size, layer), np.uint8)
    words = data.view(float_.dtype)
    for at in range(0, words.size, _PIECE_WORDS):
        bits = (words[at : at + _PIECE_WORDS] >> (float_.bits - layer.end)) & (2**width - 1)
        filled = np.zeros(-(-bits.size // each) * each, np.uint8)
        filled[: bits.size] = bits
        output[at // each :][: filled.size // each] = np.bitwise_or.reduce(filled.reshape(-1, each) << shifts, axis=1)
    return output


def refine(data: Array, dtype: str, layer: Layer, packed: Array) -> bool:
    """Adds the bits of the next layer to coarse words, in place.

    Args:
        data: bytes of the tensor (uint8, one dimension), of which the bits before the layer are known; of NumPy, or of
            PyTorch on any device
        packed: the bit string of the layer, likewise

    Returns:
        whether they were coarse words of those bits, and the bit string is filled up with zeros
    """
    framework = _framework_of(data)
    float_ = _FLOATS[dtype]
    width = layer.end - layer.first
    each = 8 // width
    up = float_.bits - layer.end
    mask = 2**width - 1
    word = getattr(framework, f"int{float_.bits}")
    words: Any = data.view(word)
    size = words.shape[0]
    most = _DEVICE_PIECE_WORDS if is_torch(data) and data.is_cuda else _PIECE_WORDS
    wrong = 0
    for at in range(0, size, most):
        piece = words[at : at + most]
        count = piece.shape[0]
        source = packed[at // each :][: -(-count // each)]
        bits = framework.stack([(source >> shift) & mask for shift in range(0, 8, width)], -1).reshape(-1)[:count]
        whole = (piece & ~(mask << up)) | (framework.asarray(bits, dtype=word) << up)
        # Of a GPU nothing is waited for before the end.
        wrong = wrong + (_coarse(whole, float_, layer.first) != piece).any()
        piece[:] = _coarse(whole, float_, layer.end)
    filled = 8 * packed.shape[0] - width * size
    return not wrong and (size == 0 or int(packed[-1]) >> (8 - filled) == 0)

"""What is decoded: tensors on the GPU, made from a seed or taken from a checkpoint."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch

SEED = 20261124
BATCH_BYTES = 2**28
"""Weights are repeated until they are as many, and taken until they are twice as many at most: a model's worth."""


class Data(NamedTuple):
    name: str
    dtype: str
    """As safetensors has it."""
    groups: list[list[torch.Tensor]]
    """Each decoded by itself, its tensors at once; times are added up."""


def inputs(size: int, weights: Path | None) -> Iterator[Data]:
    """One after another, so that memory is there for each.

    Args:
        size: rows and columns of the large tensors
        weights: a safetensors file whose matrices of BF16 are taken
    """
    for rows, columns in ((size, size), (4096, 4096), (1024, 4096)):
        yield Data(f"BF16 {rows} x {columns}", "BF16", [[gaussian(rows, columns)]])
    for rows, columns in ((size, size), (4096, 4096)):
        yield Data(f"I8 {rows} x {columns}", "I8", [[integers(rows, columns)]])
    if weights is not None:
        matrices = read_matrices(weights)
        total = sum(each.nbytes for each in matrices)
        repeated = matrices * max(1, round(BATCH_BYTES / total))
        yield Data(f"{weights.stem}, {len(repeated)} matrices at once", "BF16", [repeated])
        yield Data(f"{weights.stem}, {len(matrices)} matrices one by one", "BF16", [[each] for each in matrices])


def _normal(rows: int, columns: int) -> torch.Tensor:
    generator = torch.Generator("cuda").manual_seed(SEED)
    return torch.randn(rows, columns, generator=generator, device="cuda")


def gaussian(rows: int, columns: int) -> torch.Tensor:
    """BF16 of deviation 0.02, as weights before training."""
    return (_normal(rows, columns) * 0.02).bfloat16()


def integers(rows: int, columns: int) -> torch.Tensor:
    """I8 of deviation 31, which is that of rows whose largest weight became 127."""
    return (_normal(rows, columns) * 31).round_().clamp_(-127, 127).to(torch.int8)


def read_matrices(path: Path) -> list[torch.Tensor]:
    """Matrices of BF16 that are not embeddings, up to a model's worth."""
    import safetensors

    matrices, total = [], 0
    with safetensors.safe_open(path, "pt") as file:
        for name in file.keys():  # noqa: SIM118 (it is no dict)
            described = file.get_slice(name)
            if described.get_dtype() != "BF16" or len(described.get_shape()) != 2 or "embed" in name:
                continue
            matrices.append(file.get_tensor(name).cuda())
            total += matrices[-1].nbytes
            if total > 2 * BATCH_BYTES:
                break
    if not matrices:
        raise ValueError(f"{path}: no matrices of BF16")
    return matrices

"""DFloat11 (Tianyi Zhang and others, Apache-2.0): its Huffman codes and its kernel.

The package codes one symbol after another in Python, minutes for a large tensor. Here PyTorch writes the same bytes.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import io
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import torch

from . import Coded, Settings, UnsupportedError, as_bytes, package_version, stream

NAME = "DFloat11"

# What the package's models are coded with.
BYTES_PER_THREAD = 8
THREADS_PER_BLOCK = 512


def version(folder: Path) -> str:
    import cupy

    _kernel(folder)
    _utilities(folder)
    return f"{package_version(folder, 'dfloat11')} (CuPy {cupy.__version__})"


@functools.cache
def _kernel(folder: Path) -> Callable:
    import cupy

    return cupy.RawModule(path=str(folder / "dfloat11/decode.ptx")).get_function("decode")


@functools.cache
def _utilities(folder: Path) -> ModuleType:
    # Alone: the package as a whole imports much that is not needed to code a tensor.
    sys.path.insert(0, str(folder))
    spec = importlib.util.spec_from_file_location("dfloat11_utils", folder / "dfloat11/dfloat11_utils.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def settings(folder: Path, tensors: list[torch.Tensor], dtype: str, brief: bool) -> Settings:
    if dtype != "BF16":
        raise UnsupportedError("it has BF16 only")
    yield "", functools.partial(_coded, folder, tensors)


def encode(folder: Path, tensor: torch.Tensor) -> tuple[list[torch.Tensor], int]:
    """The arrays that the kernel reads (luts, exponents, the other bits, output positions, gaps), and the bytes of
    shared memory that its blocks need."""
    utilities = _utilities(folder)
    with contextlib.redirect_stdout(io.StringIO()):
        _, counter = utilities.get_codec(tensor)
        codec, _, table = utilities.get_32bit_codec(counter)
        luts = utilities.get_luts(table)
    device = tensor.device
    words = tensor.reshape(-1).view(torch.int16)
    exponents = ((words >> 7) & 0xFF).to(torch.int32)
    others = ((words >> 8) & 0x80 | (words & 0x7F)).to(torch.uint8)

    lengths, codes = torch.zeros(256, dtype=torch.int64), torch.zeros(256, dtype=torch.int64)
    for symbol, (length, code) in table.items():
        if isinstance(symbol, int):
            lengths[symbol], codes[symbol] = length, code
    length = lengths.to(device)[exponents]
    begin = torch.cumsum(length, 0) - length
    total = int(begin[-1] + length[-1])
    starts = begin
    if total % 8:
        # The end code begins here, of which as many bits are kept as fill the last byte.
        starts = torch.cat([begin, torch.tensor([total], device=device)])

    # Bits of big-endian words of 32: a code spans two at most.
    bits = torch.zeros(total // 32 + 2, dtype=torch.int64, device=device)
    _add_codes(bits, begin, length, codes.to(device)[exponents])
    if total % 8:
        free = 8 - total % 8
        end_length, end_code = table[codec._eof]
        kept = min(free, end_length)
        end = (total, kept, end_code >> (end_length - kept))
        _add_codes(bits, *(torch.tensor([each], device=device) for each in end))
    shifts = torch.tensor([24, 16, 8, 0], device=device)
    encoded = ((bits[:, None] >> shifts) & 0xFF).to(torch.uint8).reshape(-1)[: -(-total // 8)].clone()

    # Where in its piece of the stream each thread finds a code's begin, in 5 bits, and which element each block begins.
    gaps = _first(starts, 8 * BYTES_PER_THREAD)[1]
    threads = -(-encoded.numel() // (BYTES_PER_THREAD * THREADS_PER_BLOCK)) * THREADS_PER_BLOCK
    gaps = torch.nn.functional.pad(gaps, (0, threads - gaps.numel()))
    gap_bits = ((gaps[:, None] >> torch.arange(4, -1, -1, device=device)) & 1).reshape(-1, 8)
    gap_bytes = (gap_bits << torch.arange(7, -1, -1, device=device)).sum(1).to(torch.uint8)
    firsts = _first(starts, 8 * BYTES_PER_THREAD * THREADS_PER_BLOCK)[0]
    positions = torch.cat([firsts, torch.tensor([words.numel()], device=device)]).to(torch.int32)
    shared = THREADS_PER_BLOCK * 4 + 4 + int((positions[1:] - positions[:-1]).max()) * 2
    return [luts.to(device), encoded, others, positions, gap_bytes], shared


def _add_codes(bits: torch.Tensor, begin: torch.Tensor, length: torch.Tensor, code: torch.Tensor) -> None:
    shifted = code << (64 - (begin & 31) - length)
    bits.index_add_(0, begin >> 5, (shifted >> 32) & 0xFFFFFFFF)
    bits.index_add_(0, (begin >> 5) + 1, shifted & 0xFFFFFFFF)


def _first(starts: torch.Tensor, piece: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The index of the first start in each piece of so many bits, and its place in the piece."""
    pieces = starts // piece
    is_first = torch.ones_like(pieces, dtype=torch.bool)
    is_first[1:] = pieces[1:] != pieces[:-1]
    index = is_first.nonzero().reshape(-1)
    return index, starts[index] % piece


def _coded(folder: Path, tensors: list[torch.Tensor]) -> Coded:
    import cupy

    encoded = [encode(folder, tensor) for tensor in tensors]
    kernel = _kernel(folder)

    def launcher(buffers: list[torch.Tensor], outputs: list[torch.Tensor]) -> Callable[[], None]:
        calls = []
        for i, (arrays, shared) in enumerate(encoded):
            luts, stream_bytes, elements = arrays[0].shape[0], arrays[1].numel(), arrays[2].numel()
            pointers = [each.data_ptr() for each in buffers[5 * i : 5 * i + 5]]
            blocks = -(-stream_bytes // (THREADS_PER_BLOCK * BYTES_PER_THREAD))
            calls.append((blocks, shared, [*pointers, outputs[i].data_ptr(), luts, stream_bytes, elements]))

        def launch() -> None:
            with cupy.cuda.ExternalStream(stream()):
                for blocks, shared, values in calls:
                    kernel(grid=(blocks,), block=(THREADS_PER_BLOCK,), shared_mem=shared, args=values)

        return launch

    buffers = [each for arrays, _ in encoded for each in arrays]
    return Coded(
        stored_bytes=sum(each.nbytes for each in buffers),
        buffers=buffers,
        launcher=launcher,
        expected=as_bytes(tensors),
    )

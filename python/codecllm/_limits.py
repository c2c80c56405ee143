"""How much a checkpoint may become. Tiles of a constant take no data, so that a small file can hold a large checkpoint:
what it declares is looked at before there is memory for it, or anything is written.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterable
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from ._errors import FileError, quoted
from ._stored import StoredTensor
from ._text import format_bytes

_MOST_TIMES = 100
"""Without a limit of the caller's, tensors may become so many times as large, which weights do not,"""
_HARMLESS_BYTES = 10**9
"""or this, which does no harm."""
_ASKED_EVERY_SECONDS = 0.1
"""Asking the system takes longer than decoding a small tensor."""
_OTHER = "max_bytes (--max-bytes) sets another limit"


class Room(NamedTuple):
    """Where what is decoded goes."""

    size: int
    """Bytes that are free there."""
    name: str


def free_space(output: str) -> Room:
    """Free space for an output. @raises OSError where there is no directory for it"""
    try:
        return Room(shutil.disk_usage(os.path.dirname(os.path.abspath(output))).free, "on that disk")
    except OSError as error:
        raise OSError(error.errno, error.strerror, output) from None


def free_memory() -> Room | None:
    """Memory that this process can get, as of some moments ago, where the system tells; None elsewhere."""
    return _free_memory_at(time.monotonic() // _ASKED_EVERY_SECONDS)


@lru_cache(1)
def _free_memory_at(_moment: float) -> Room | None:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    sizes = {name: 1024 * int(value.split()[0]) for name, value in (line.split(":") for line in lines)}
    size = sizes["MemAvailable"] + sizes["SwapFree"]
    # What a container may have.
    with suppress(OSError, ValueError):
        size = min(size, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return Room(size, "of the memory")


def are_usual(tensors: Iterable[StoredTensor]) -> bool:
    """Whether tensors have no more bytes than weights of their size. @raises FileError where a stream is damaged"""
    declared = [tensor.declared_bytes() for tensor in tensors]
    return sum(size for size, _ in declared) <= _usual_bytes(origin for _, origin in declared)


def _usual_bytes(origins: Iterable[int]) -> int:
    """As many bytes as tensors may have that come from so many."""
    return max(_HARMLESS_BYTES, _MOST_TIMES * sum(origins))


def check_declared(tensors: Iterable[StoredTensor], max_bytes: int | None, room: Room | None) -> None:
    """Checks what would be decoded together. Of each stream only the first 64 bytes are read.

    Args:
        max_bytes: the caller's limit; None for what is free in `room`, and what weights are
        room: None where that is not known

    Raises:
        FileError: it is too much; the message names the largest tensor. Or a stream is damaged
    """
    declared = [(*tensor.declared_bytes(), tensor) for tensor in tensors]
    size = sum(size for size, _, _ in declared)
    if max_bytes is not None:
        if size <= max_bytes:
            return
        why = f"more than the {format_bytes(max_bytes)} of max_bytes (--max-bytes)"
    elif room is not None and size > room.size:
        why = f"more than the {format_bytes(room.size)} that are free {room.name}; {_OTHER}"
    elif size > _usual_bytes(origin for _, origin, _ in declared):
        why = f"more than {_MOST_TIMES} times what they take now; {_OTHER}"
    else:
        return
    most, _, tensor = max(declared, key=lambda each: each[0])
    every = "" if len(declared) == 1 else f", all of them {format_bytes(size)}"
    raise FileError(tensor.file.path, f"{quoted(tensor.name)} has {format_bytes(most)} decompressed{every}: {why}")

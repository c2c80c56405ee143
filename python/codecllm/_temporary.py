"""Temporary names. What is being written lies beside its output under a name that says which process writes it, so that
what a killed one left can be told from what another is writing now.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Literal, NamedTuple

_MOST_NAME_BYTES = 200
"""A name has at most 255 bytes on most systems: so many are left of an output's in its temporary ones."""
_MACHINE = hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]
"""Processes of other machines may write to the same disk."""
_OWNER = re.compile("(tmp|old)-([0-9a-f]{8})-([0-9]+)-[0-9a-f]{8}")

_temporaries: dict[str, Callable[[], str | None]] = {}
"""What exists under a temporary name now, and how it is removed at once; what is kept of it is said."""


def hold_temporary(path: str, remove_it: Callable[[], str | None]) -> None:
    """Args: remove_it: is called where the process has to end; it says what it keeps, if it does."""
    _temporaries[path] = remove_it


def let_go(path: str) -> None:
    """To be called when the path has another name, or is gone."""
    _temporaries.pop(path, None)


def remove_temporaries() -> list[str]:
    """Removes all that is temporary at once; for a process that has to end. @returns what is said of what is kept"""
    return [kept for remove_it in list(_temporaries.values()) if (kept := remove_it()) is not None]


def remove(path: str) -> None:
    """Removes a file or a directory, if it is there."""
    if os.path.isdir(path) and not os.path.islink(path):
        # A thread may write into it meanwhile.
        for _ in range(10):
            shutil.rmtree(path, ignore_errors=True)
            if not os.path.exists(path):
                break
    else:
        Path(path).unlink(missing_ok=True)


def parent_of(path: str) -> str:
    return os.path.dirname(path.rstrip("/")) or "."


def _temporary_prefix(path: str) -> str:
    """What temporary names of an output begin with."""
    name = os.path.basename(path.rstrip("/"))
    while len(os.fsencode(name)) > _MOST_NAME_BYTES:
        name = name[:-1]
    return f".{name}."


def temporary_name(path: str, purpose: Literal["tmp", "old"] = "tmp") -> str:
    """A name beside `path` that nothing has: for what becomes the output, or what steps aside for it."""
    name = f"{_temporary_prefix(path)}{purpose}-{_MACHINE}-{os.getpid()}-{secrets.token_hex(4)}"
    return os.path.join(parent_of(path), name)


class Leftover(NamedTuple):
    """What lies beside an output under one of its temporary names."""

    path: str
    purpose: str
    writer: Literal["killed", "alive", "elsewhere"]
    """Of another machine's processes nobody here knows whether they go on."""
    is_file: bool


def leftovers(output: str) -> list[Leftover]:
    prefix = _temporary_prefix(output)
    above = os.path.dirname(output.rstrip("/"))
    found = []
    try:
        names = os.listdir(above or ".")
    except OSError:
        return []
    for name in sorted(names):
        owner = _OWNER.fullmatch(name.removeprefix(prefix)) if name.startswith(prefix) else None
        path = os.path.join(above, name)
        if owner is None or os.path.join(parent_of(output), name) in _temporaries:
            continue
        purpose, machine, process = owner.groups()
        alive: Literal["alive", "killed"] = "alive" if _is_alive(int(process)) else "killed"
        found.append(Leftover(path, purpose, "elsewhere" if machine != _MACHINE else alive, os.path.isfile(path)))
    return found


def _is_alive(process: int) -> bool:
    """Whether this is another process, which goes on."""
    if process == os.getpid():
        return False
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def clean(output: str | os.PathLike[str]) -> list[str]:
    """Removes what killed runs left beside an output. What the output was before is not theirs. @returns the paths"""
    found = [left for left in leftovers(os.fsdecode(output)) if left.purpose == "tmp" and left.writer != "alive"]
    for left in found:
        remove(left.path)
    return [left.path for left in found]

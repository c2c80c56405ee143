"""What the files of a directory are called in the output."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import NamedTuple

from ._directory import Entry
from ._names import restored_name
from ._report import FileReport


class Arrangement(NamedTuple):
    name_of: Callable[[str], str | None]
    """The name that a file gets, from the top of the output; None: it is left out."""
    added: tuple[str, ...]
    """The names of what is written beside them,"""
    text_of: Callable[[str, list[FileReport]], str]
    """and the texts, when all checkpoints are there."""


AS_IT_IS = Arrangement(lambda name: name, (), lambda _name, _checkpoints: "")


def with_original_names(entries: list[Entry], arrangement: Arrangement) -> Arrangement:
    """X.codecllm.safetensors becomes X.safetensors again, as it was before it was compressed alone; not where an index
    or a link may know it by its name, or another has the one that it would get.
    """
    names = {entry.name for entry in entries}

    def is_known(name: str) -> bool:
        folder = os.path.dirname(name)
        return any(
            entry.kind == "link" or (entry.name.endswith(".index.json") and os.path.dirname(entry.name) == folder)
            for entry in entries
        )

    def name_of(name: str) -> str | None:
        restored = restored_name(name, False)
        if restored is None or restored in names or is_known(name):
            return arrangement.name_of(name)
        return restored

    return arrangement._replace(name_of=name_of)

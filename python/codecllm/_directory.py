"""A directory of shards, as checkpoints are published: what is in it, and whether all of it is there."""

from __future__ import annotations

import errno
import json
import os
import stat
from typing import Literal, NamedTuple

from ._errors import FileError

Kind = Literal["directory", "checkpoint", "other"]


class Entry(NamedTuple):
    name: str
    """From the top of the directory."""
    path: str
    kind: Kind
    size: int
    """Bytes; 0 for a directory."""


def list_directory(root: str) -> list[Entry]:
    """Lists a directory and all below it, directories before what is in them.

    Symbolic links stand for what they lead to: a snapshot in a Hugging Face cache is made of them.

    Raises:
        FileError: something is neither a file nor a directory, no checkpoint is there, or one of those that an index
            names is not
        OSError: something cannot be read
    """
    entries: list[Entry] = []

    def visit(path: str, name: str, above: tuple[str, ...]) -> None:
        real = os.path.realpath(path)
        if real in above:
            raise FileError(path, "leads back to a directory that it is in")
        for child in sorted(os.listdir(path)):
            child_path, child_name = os.path.join(path, child), os.path.join(name, child)
            status = os.stat(child_path)
            if stat.S_ISDIR(status.st_mode):
                entries.append(Entry(child_name, child_path, "directory", 0))
                visit(child_path, child_name, (*above, real))
            elif stat.S_ISREG(status.st_mode):
                kind: Kind = "checkpoint" if child.endswith(".safetensors") else "other"
                entries.append(Entry(child_name, child_path, kind, status.st_size))
            else:
                raise FileError(child_path, "is neither a file nor a directory")

    visit(root, "", ())
    if all(entry.kind != "checkpoint" for entry in entries):
        raise FileError(root, "holds no .safetensors file")
    names = {entry.name for entry in entries}
    for entry in entries:
        if entry.name.endswith(".index.json") and entry.kind != "directory":
            _check_index(entry, names)
    return entries


def _check_index(index: Entry, names: set[str]) -> None:
    """An index maps each tensor to the shard that holds it, a file beside the index."""
    with open(index.path, "rb") as file:
        try:
            parsed = json.loads(file.read().decode(errors="replace"))
        except (ValueError, RecursionError):
            raise FileError(index.path, "is not valid JSON") from None
    weight_map = parsed.get("weight_map") if isinstance(parsed, dict) else None
    for shard in weight_map.values() if isinstance(weight_map, dict) else ():
        # Checkpoints of other formats may be there in part only: they are not ours.
        if isinstance(shard, str) and shard.endswith(".safetensors"):
            name = os.path.normpath(os.path.join(os.path.dirname(index.name), shard))
            if name not in names:
                raise FileError(index.path, f"{shard}, which it names, is missing")


def check_apart(path: str, output: str) -> None:
    """Checks that of two directories neither would be in the other.

    Raises:
        FileError: one would be
        FileNotFoundError: there is no directory for the output
    """
    source = os.path.realpath(path) + os.sep
    parent, name = os.path.split(os.path.abspath(output))
    if not os.path.isdir(parent):
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), output)
    target = os.path.join(os.path.realpath(parent), name) + os.sep
    if target == source:
        raise FileError(output, "is the input itself")
    if target.startswith(source):
        raise FileError(output, "would be in the input")
    if source.startswith(target):
        raise FileError(output, "holds the input")

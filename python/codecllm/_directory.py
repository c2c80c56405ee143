"""A directory of shards, as checkpoints are published: what is in it, which names lead to the same file, and whether
all of it is there. In a Hugging Face cache the names that people know are links, in snapshots/, to files in blobs/.
"""

from __future__ import annotations

import errno
import json
import os
import stat
from typing import Literal, NamedTuple

from ._errors import FileError, UncheckedError
from ._names import is_checkpoint_name, is_weights_name

Kind = Literal["directory", "checkpoint", "weights", "other", "link", "alias"]
"""A checkpoint is what has such a name, or what a link of such a name leads to; weights are those of other formats. A
link leads to what is in the directory, too; an alias is one more name of a file that is listed before."""


class Entry(NamedTuple):
    name: str
    """From the top of the directory."""
    path: str
    kind: Kind
    size: int
    """Bytes on the disk that no other entry has."""
    changed: int
    """When a file was changed last (ctime), in nanoseconds; 0 of what is none."""
    target: str
    """What a link says, or the name of the file that an alias is; empty otherwise."""


class Listing(NamedTuple):
    entries: list[Entry]
    """Directories before what is in them."""
    problems: list[FileError | OSError]
    """What cannot be read, or is missing, in the order in which it was found."""


def list_directory(root: str, follow_links: bool = False) -> Listing:
    """Lists a directory and all below it.

    Args:
        follow_links: take what links lead to, if they lead out of the directory, for what is in it; otherwise, such a
            link is a problem

    Raises:
        FileError: no checkpoint is there
    """
    entries: list[Entry] = []
    problems: list[FileError | OSError] = []
    files: dict[tuple[int, int], int] = {}
    """Files, by what the system knows them by."""
    leads: list[tuple[str, tuple[int, int]]] = []
    """Names that lead to them, too."""
    top = os.path.realpath(root)

    def visit(path: str, name: str, above: tuple[str, ...]) -> None:
        real = os.path.realpath(path)
        if real in above:
            raise FileError(path, "leads back to a directory that it is in")
        for child in sorted(os.listdir(path)):
            try:
                add(os.path.join(path, child), os.path.join(name, child), (*above, real))
            except (FileError, OSError) as error:
                problems.append(error)

    def add(path: str, name: str, above: tuple[str, ...]) -> None:
        target = os.readlink(path) if os.path.islink(path) else ""
        try:
            status = os.stat(path)
        except FileNotFoundError:
            if target == "":
                raise
            raise UncheckedError(path, f"is a link to {target}, which is missing") from None
        key = status.st_dev, status.st_ino
        stays = target != "" and _stays_in(top, path, name, target)
        if target != "" and not follow_links and not stays:
            raise UncheckedError(path, f"leads out of the directory, to {target}; --follow-links follows it")
        if stays:
            leads.append((name, key))
            entries.append(Entry(name, path, "link", 0, 0, target))
        elif stat.S_ISDIR(status.st_mode):
            entries.append(Entry(name, path, "directory", 0, 0, ""))
            visit(path, name, above)
        elif not stat.S_ISREG(status.st_mode):
            raise FileError(path, "is neither a file nor a directory")
        elif key in files:
            leads.append((name, key))
            entries.append(Entry(name, path, "alias", 0, status.st_ctime_ns, entries[files[key]].name))
        else:
            files[key] = len(entries)
            entries.append(Entry(name, path, _kind_of(name), status.st_size, status.st_ctime_ns, ""))

    visit(root, "", ())
    for name, key in leads:
        if key in files and entries[files[key]].kind == "other":
            entries[files[key]] = entries[files[key]]._replace(kind=_kind_of(name))
    for entry in entries:
        if entry.kind != "directory" and entry.name.endswith(".index.json"):
            problems += _missing_in(entry, entries, problems)
    if all(entry.kind != "checkpoint" for entry in entries) and not problems:
        raise FileError(root, "holds no .safetensors file")
    return Listing(entries, problems)


def _kind_of(name: str) -> Kind:
    return "checkpoint" if is_checkpoint_name(name) else "weights" if is_weights_name(name) else "other"


def _stays_in(top: str, path: str, name: str, target: str) -> bool:
    """Whether a link leads to what is in the directory, and would in a copy of it."""
    if os.path.isabs(target):
        return False
    lexical = os.path.normpath(os.path.join(os.path.dirname(name), target)) + os.sep
    return not lexical.startswith(".." + os.sep) and (os.path.realpath(path) + os.sep).startswith(top + os.sep)


def _missing_in(index: Entry, entries: list[Entry], known: list[FileError | OSError]) -> list[FileError | OSError]:
    """An index maps each tensor to the shard that holds it, a file beside the index."""
    try:
        with open(index.path, "rb") as file:
            parsed = json.loads(file.read().decode(errors="replace"))
    except (ValueError, RecursionError):
        return [FileError(index.path, "is not valid JSON")]
    except OSError as error:
        return [error]
    names = {entry.name for entry in entries} | {str(problem.args[0]) for problem in known}
    weight_map = parsed.get("weight_map") if isinstance(parsed, dict) else None
    shards = dict.fromkeys(weight_map.values()) if isinstance(weight_map, dict) else {}
    missing: list[FileError | OSError] = []
    for shard in shards:
        # Checkpoints of other formats may be there in part only: they are not ours.
        if not isinstance(shard, str) or not is_checkpoint_name(shard):
            continue
        name = os.path.normpath(os.path.join(os.path.dirname(index.name), shard))
        path = os.path.normpath(os.path.join(os.path.dirname(index.path), shard))
        if name not in names and path not in names:
            missing.append(UncheckedError(path, f"is missing; {os.path.basename(index.name)} names it"))
    return missing


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

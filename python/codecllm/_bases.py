"""What checkpoints are coded against: other ones, found by the SHA-256 of their originals among the files that are
given and in a checkpoint's own folder (spec/FORMAT.md, section 11), however long the chain is.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from contextlib import closing, suppress

from . import _container
from ._closing import Closing
from ._directory import list_directory
from ._errors import FileError
from ._input import InputFile
from ._limits import are_usual
from ._safetensors import Header, read_header
from ._stored import StoredTensors, read_checkpoint

_HASHED_BYTES = 2**20

Paths = str | os.PathLike[str] | Iterable[str | os.PathLike[str]]
"""Of files, and of directories that hold them."""


class Bases(Closing):
    """Open bases. `paths` are where to look for them."""

    def __init__(self, paths: Paths | None = None) -> None:
        given = [paths] if isinstance(paths, str | os.PathLike) else paths or []
        self.paths = [os.fsdecode(path) for path in given]
        self._hashes: dict[str, str] = {}
        self._opened: dict[str, StoredTensors] = {}

    def resolve(
        self, tensors: StoredTensors, container: _container.Container | None, above: tuple[str, ...] = ()
    ) -> None:
        """Gives the tensors of a checkpoint what they may be coded against. Nothing is decoded.

        Args:
            above: the real paths of what is coded against this checkpoint

        Raises:
            FileError: a base is not among the files that are given
        """
        if container is None or not container.bases or not tensors:
            return
        path = tensors.file.path
        trail = (*above, os.path.realpath(path))
        bases = []
        for wanted in container.bases:
            found, is_given = self._find(path, wanted, trail)
            bases.append(self.open(found, trail))
            # What is coded against it may be as large as it is, however few bytes it takes itself.
            if not is_given and not are_usual(bases[-1].values()):
                problem = "becomes more than 100 times as large, and is a base only where it is given (--base)"
                raise FileError(found, problem)
        tensors.bases = tuple(bases)

    def open(self, path: str, above: tuple[str, ...] = ()) -> StoredTensors:
        """The tensors of a base by name, each with what it may be coded against itself.

        Raises:
            FileError: it cannot be understood, or a base of its own is not among the files that are given
            OSError: it cannot be read
        """
        if path not in self._opened:
            file = InputFile(path)
            try:
                _, container, tensors = read_checkpoint(file)
                self.resolve(tensors, container, above)
            except BaseException:
                file.close()
                raise
            self._opened[path] = tensors
        return self._opened[path]

    def sha256_of(self, path: str) -> str:
        """Of a checkpoint's original, which a compressed one says itself. @raises what `open` raises"""
        if path not in self._hashes:
            with closing(InputFile(path)) as file:
                self._hashes[path] = _sha256_of(file, *read_header(file))
        return self._hashes[path]

    def _find(self, by: str, wanted: str, trail: tuple[str, ...]) -> tuple[str, bool]:
        """The path of what `by` is coded against, and whether it is given; what is open is no base of itself."""
        given = [path for each in self.paths for path in checkpoints_under(each)]
        leads_back = False

        def is_wanted(path: str) -> bool:
            nonlocal leads_back
            if self.sha256_of(path) != wanted:
                return False
            goes_on = os.path.realpath(path) not in trail
            leads_back = leads_back or not goes_on
            return goes_on

        for path in given:
            if is_wanted(path):
                return path, True
        for path in _compressed_beside(by):
            # What cannot be read there is nothing that anybody asked for.
            with suppress(FileError, OSError):
                if is_wanted(path):
                    return path, False
        if leads_back:
            raise FileError(by, "is coded against a base that leads back to it")
        what = f"is coded against a base, the file whose SHA-256 is {wanted}"
        beside = "none of the compressed files in its folder is it"
        if not given:
            raise FileError(by, f"{what}; {beside}, and none is given (--base)")
        other = f"none of the {len(given)} files given is it"
        if len(given) == 1:
            other = f"{given[0]} has {self.sha256_of(given[0])}"
        raise FileError(by, f"{what}; {other}, and {beside}")

    def remember(self, path: str, sha256: str) -> None:
        """Says the SHA-256 of a checkpoint that has just been read."""
        self._hashes[path] = sha256

    def close(self) -> None:
        while self._opened:
            self._opened.popitem()[1].file.close()


def checkpoints_under(path: str) -> list[str]:
    """A file, or the checkpoints of a directory and of those in it. @raises what `list_directory` raises"""
    if not os.path.isdir(path):
        return [path]
    return [entry.path for entry in list_directory(path, True).entries if entry.kind == "checkpoint"]


def _compressed_beside(path: str) -> list[str]:
    """The compressed files in the folder of a checkpoint, which say themselves whose originals they are."""
    folder = os.path.dirname(path) or os.curdir
    found = []
    # Bytes in memory have no folder.
    for name in sorted(os.listdir(folder)) if os.path.isfile(path) else ():
        beside = os.path.join(folder, name)
        if not name.endswith(".safetensors") or os.path.abspath(beside) == os.path.abspath(path):
            continue
        with suppress(FileError, OSError), closing(InputFile(beside)) as file:
            if _container.is_compressed(read_header(file)[0]):
                found.append(beside)
    return found


def _sha256_of(file: InputFile, header: Header, data_start: int) -> str:
    if _container.is_compressed(header):
        return _container.read_container(header, data_start, file.path).sha256
    return hash_of(file)


def hash_of(file: InputFile) -> str:
    """The SHA-256 of a file, in hexadecimal. @raises FileError, OSError"""
    sha256 = hashlib.sha256()
    for at in range(0, file.size, _HASHED_BYTES):
        sha256.update(file.read(at, min(_HASHED_BYTES, file.size - at)).data)
    file.check_unchanged()
    return sha256.hexdigest()

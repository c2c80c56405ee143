"""What checkpoints are coded against: other ones, found among the files that are given by the SHA-256 of their
originals (spec/FORMAT.md, section 11), however long the chain is.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from contextlib import closing

from . import _container
from ._closing import Closing
from ._directory import list_directory
from ._errors import FileError
from ._input import InputFile
from ._safetensors import Header, read_header
from ._stored import StoredTensor, read_checkpoint

_HASHED_BYTES = 2**20

Paths = str | os.PathLike[str] | Iterable[str | os.PathLike[str]]
"""Of files, and of directories that hold them."""


class Bases(Closing):
    """Open bases. `paths` are where to look for them."""

    def __init__(self, paths: Paths | None = None) -> None:
        given = [paths] if isinstance(paths, str | os.PathLike) else paths or []
        self.paths = [os.fsdecode(path) for path in given]
        self._hashes: dict[str, str] = {}
        self._opened: dict[str, tuple[InputFile, dict[str, StoredTensor]]] = {}

    def resolve(
        self, tensors: list[StoredTensor], container: _container.Container | None, above: tuple[str, ...] = ()
    ) -> list[StoredTensor]:
        """The tensors of a checkpoint, each with what it may be coded against. Nothing is decoded.

        Args:
            above: the real paths of what is coded against this checkpoint

        Raises:
            FileError: a base is not among the files that are given
        """
        if container is None or container.base is None or not tensors:
            return tensors
        path = tensors[0].file.path
        trail = (*above, os.path.realpath(path))
        base = self.open(self._find(path, container.base, trail), trail)
        return [tensor._replace(base=base) for tensor in tensors]

    def open(self, path: str, above: tuple[str, ...] = ()) -> dict[str, StoredTensor]:
        """The tensors of a base by name, each with what it may be coded against itself.

        Raises:
            FileError: it cannot be understood, or a base of its own is not among the files that are given
            OSError: it cannot be read
        """
        if path not in self._opened:
            file = InputFile(path)
            try:
                _, container, tensors = read_checkpoint(file)
                resolved = self.resolve(tensors, container, above)
            except BaseException:
                file.close()
                raise
            self._opened[path] = file, {tensor.name: tensor for tensor in resolved}
        return self._opened[path][1]

    def sha256_of(self, path: str) -> str:
        """Of a checkpoint's original, which a compressed one says itself. @raises what `open` raises"""
        if path not in self._hashes:
            with closing(InputFile(path)) as file:
                self._hashes[path] = _sha256_of(file, *read_header(file))
        return self._hashes[path]

    def _find(self, by: str, wanted: str, trail: tuple[str, ...]) -> str:
        """The path of what `by` is coded against; what is open already is no base of itself."""
        what = f"is coded against a base, the file whose SHA-256 is {wanted}"
        if not self.paths:
            raise FileError(by, f"{what}; it is not given (--base)")
        candidates = []
        for path in self.paths:
            if os.path.isdir(path):
                candidates += [entry.path for entry in list_directory(path, True).entries if entry.kind == "checkpoint"]
            else:
                candidates.append(path)
        leads_back = False
        for path in candidates:
            if self.sha256_of(path) != wanted:
                continue
            if os.path.realpath(path) not in trail:
                return path
            leads_back = True
        if leads_back:
            raise FileError(by, "is coded against a base that leads back to it")
        other = f"none of the {len(candidates)} files given is it"
        if len(candidates) == 1:
            other = f"{candidates[0]} has {self.sha256_of(candidates[0])}"
        raise FileError(by, f"{what}; {other}")

    def close(self) -> None:
        while self._opened:
            self._opened.popitem()[1][0].close()


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

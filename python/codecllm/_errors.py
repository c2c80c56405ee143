"""What can go wrong, by kind. Arguments that make no sense are a plain ValueError or TypeError."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager

try:
    # A small extension module: it takes less than a millisecond, and no framework.
    from safetensors import SafetensorError
except ModuleNotFoundError:

    class SafetensorError(Exception):  # type: ignore[no-redef]
        """What safetensors calls its errors.

        Where the package safetensors is installed, this is its class and no other, so that programs which changed their
        imports go on with the `except safetensors.SafetensorError` that they have; elsewhere it is a class of our own.
        """


class CodecError(SafetensorError):
    """The base of the errors of this package."""


class InvalidStreamError(CodecError, ValueError):
    """A stream that the format does not allow: damaged, or not a stream. The message names the field or the tile."""

    problem: str
    stream: int | None
    """Which one it is, of several that are decoded together."""

    def __init__(self, problem: str, stream: int | None = None) -> None:
        # Arguments as they are, and not the message made of them: what a pickled error is made from again.
        super().__init__(problem, stream)
        self.problem = problem
        self.stream = stream

    def __str__(self) -> str:
        return self.problem if self.stream is None else f"stream {self.stream}: {self.problem}"


class FileError(CodecError, ValueError):
    """A checkpoint that cannot be understood. The message is "PATH: problem", and names the tensor if it is one's."""

    def __init__(self, path: str | os.PathLike[str], problem: object) -> None:
        super().__init__(os.fspath(path), str(problem))

    def __str__(self) -> str:
        return "{}: {}".format(*self.args)


class IncompleteError(FileError):
    """A file, perhaps still growing, that does not have yet what is asked for."""

    missing: int
    """Bytes that have to come, at least."""

    def __init__(self, path: str | os.PathLike[str], missing: int) -> None:
        super().__init__(path, f"incomplete: {missing} bytes missing")
        self.missing = missing

    def __reduce__(self) -> tuple[type[IncompleteError], tuple[str, int]]:
        return IncompleteError, (self.args[0], self.missing)


class UncheckedError(FileError):
    """A file that is not there, or was not looked into: nobody knows of anything that is wrong with it."""


class FilesError(FileError):
    """Several files, of which the first one's problem is the message."""

    def __init__(self, problems: list[FileError | OSError], report: object = None) -> None:
        first = problems[0]
        path, problem = first.args if isinstance(first, FileError) else (first.filename, first.strerror)
        super().__init__(path, problem)
        self.problems = problems
        """All that is wrong."""
        self.report = report
        """What could be done nevertheless, if anything could."""

    def __reduce__(self) -> tuple[type[FilesError], tuple[list[FileError | OSError], object]]:
        return FilesError, (self.problems, self.report)


def raise_problems(problems: list[FileError | OSError], report: object = None) -> None:
    """@raises FilesError or the one problem itself; none: nothing"""
    if len(problems) > 1 or (problems and report is not None):
        raise FilesError(problems, report)
    if problems:
        raise problems[0]


class UnavailableError(CodecError, RuntimeError):
    """Something is asked for that this build or this machine lacks, mostly a GPU."""


class CudaError(CodecError, RuntimeError):
    """The CUDA runtime failed; the message has its words."""


def quoted(name: str) -> str:
    """A tensor's name as messages show it: quoted, on one line, whatever is in it."""
    return json.dumps(name, ensure_ascii=False)


@contextmanager
def needing(package: str) -> Iterator[None]:
    """Imports a package that not everybody needs. @raises ModuleNotFoundError that says how to get it"""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name != package:
            raise
        raise ModuleNotFoundError(
            f"{package} is not installed: pip install 'codecllm[{package}]' gets it", name=package
        ) from None

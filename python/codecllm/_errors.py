"""What can go wrong, by kind. Arguments that make no sense are a plain ValueError or TypeError."""

from __future__ import annotations

import json
import os


class CodecError(Exception):
    """The base of the errors of this package."""


class InvalidStreamError(CodecError, ValueError):
    """A stream that the format does not allow: damaged, or not a stream. The message names the field or the tile."""

    problem: str
    stream: int | None
    """Which one it is, of several that are decoded together."""

    def __init__(self, problem: str, stream: int | None = None) -> None:
        super().__init__(problem if stream is None else f"stream {stream}: {problem}")
        self.problem = problem
        self.stream = stream


class FileError(CodecError, ValueError):
    """A checkpoint that cannot be understood. The message is "PATH: problem", and names the tensor if it is one's."""

    def __init__(self, path: str | os.PathLike[str], problem: str) -> None:
        super().__init__(f"{os.fspath(path)}: {problem}")


class UnavailableError(CodecError, RuntimeError):
    """Something is asked for that this build or this machine lacks, mostly a GPU."""


class CudaError(CodecError, RuntimeError):
    """The CUDA runtime failed; the message has its words."""


def quoted(name: str) -> str:
    """A tensor's name as messages show it: quoted, on one line, whatever is in it."""
    return json.dumps(name, ensure_ascii=False)

"""Standard input and output as files: a checkpoint is read and written at any place, and what is written gets out only
when it is complete.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from functools import partial

from ._errors import FileError
from ._temporary import hold_temporary, let_go, remove


class StandardStreams:
    """They are files in a folder of their own, until `remove`."""

    def __init__(self) -> None:
        self._folder = tempfile.mkdtemp(prefix="codecllm-")
        hold_temporary(self._folder, partial(remove, self._folder))
        self.input = os.path.join(self._folder, "standard input")
        self.output = os.path.join(self._folder, "standard output")

    def read(self) -> None:
        """Reads standard input to its end. @raises FileError, OSError"""
        if sys.stdin.isatty():
            raise FileError("standard input", "is a terminal")
        with open(self.input, "wb") as file:
            shutil.copyfileobj(sys.stdin.buffer, file)

    def write(self) -> None:
        """Writes what is complete to standard output. @raises OSError"""
        with open(self.output, "rb") as file:
            shutil.copyfileobj(file, sys.stdout.buffer)
        sys.stdout.buffer.flush()

    def named(self, text: str) -> str:
        """What messages call a file."""
        return text.replace(self._folder + os.sep, "")

    def remove(self) -> None:
        remove(self._folder)
        let_go(self._folder)

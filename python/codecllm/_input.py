"""Files as threads read them: any piece at any time."""

from __future__ import annotations

import os
import stat

import numpy as np

from ._errors import FileError


class InputFile:
    """A file that is read at any position, by any number of threads."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)
        # Before open: opening a pipe would wait for a writer.
        if not stat.S_ISREG(os.stat(self.path).st_mode):
            raise FileError(self.path, "is not a regular file")
        self._file = open(self.path, "rb", buffering=0)  # noqa: SIM115
        self.size = os.fstat(self._file.fileno()).st_size

    def read_into(self, output: np.ndarray, position: int) -> None:
        """Fills `output` (uint8) with the bytes from `position` on.

        Raises:
            FileError: the file ends before
        """
        done = 0
        while done < output.size:
            count = os.preadv(self._file.fileno(), [output.data[done:]], position + done)
            if count == 0:
                raise FileError(
                    self.path, f"ends at byte {position + done}, where byte {position + output.size} was expected"
                )
            done += count

    def read(self, position: int, size: int) -> np.ndarray:
        """The bytes (uint8) from `position` on. @raises FileError where the file ends before"""
        output = np.empty(size, np.uint8)
        self.read_into(output, position)
        return output

    def fileno(self) -> int:
        """Its file descriptor."""
        return self._file.fileno()

    def close(self) -> None:
        self._file.close()

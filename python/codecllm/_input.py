"""Files as threads read them: any piece at any time."""

from __future__ import annotations

import os
import stat

import numpy as np

from ._errors import FileError, IncompleteError


class InputFile:
    """A file that is read at any position, by any number of threads."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)
        # Before open: opening a pipe would wait for a writer.
        if not stat.S_ISREG(os.stat(self.path).st_mode):
            raise FileError(self.path, "is not a regular file")
        self._file = open(self.path, "rb", buffering=0)  # noqa: SIM115
        status = os.fstat(self._file.fileno())
        self.size = status.st_size
        self.mode = stat.S_IMODE(status.st_mode) & 0o777
        """Permission bits."""
        self._changed = status.st_ctime_ns

    def read_into(self, output: np.ndarray, position: int) -> None:
        """Fills `output` (uint8) with the bytes from `position` on.

        Raises:
            FileError: the file ends before
            OSError: it cannot be read
        """
        done = 0
        while done < output.size:
            try:
                count = os.preadv(self._file.fileno(), [output.data[done:]], position + done)
            except OSError as error:
                raise OSError(error.errno, error.strerror, self.path) from None
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

    def check_arrived(self, needed: int) -> None:
        """@raises IncompleteError where a file that is growing did not have so many bytes when it was opened"""
        if self.size < needed:
            raise IncompleteError(self.path, needed - self.size)

    def check_unchanged(self) -> None:
        """@raises FileError where somebody wrote to the file since it was opened"""
        # The time of a change of the file or of what is said of it: unlike that of its bytes nobody can put it back.
        status = os.fstat(self._file.fileno())
        if (status.st_size, status.st_ctime_ns) != (self.size, self._changed):
            raise FileError(self.path, "was changed while it was being read")

    def fileno(self) -> int:
        """Its file descriptor."""
        return self._file.fileno()

    def close(self) -> None:
        self._file.close()


class InputBytes(InputFile):
    """The same of a file that is in memory."""

    def __init__(self, data: bytes) -> None:
        self.path = "<bytes>"
        self._data = np.frombuffer(data, np.uint8)
        self.size = self._data.size

    def read_into(self, output: np.ndarray, position: int) -> None:
        output[:] = self._data[position : position + output.size]

    def close(self) -> None:
        pass


class FileBytes:
    """Bytes of a file from a position on, which are read when they are asked for."""

    def __init__(self, file: InputFile, position: int) -> None:
        self._file = file
        self._position = position

    def __getitem__(self, part: slice) -> np.ndarray:
        start = part.start or 0
        return self._file.read(self._position + start, part.stop - start)

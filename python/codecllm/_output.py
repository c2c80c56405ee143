"""Output appears under its name only when it is complete: it is written under a temporary name in the same directory,
synced, and renamed. Whatever happens before the rename leaves what was there.
"""

from __future__ import annotations

import ctypes
import errno
import io
import os
import re
import secrets
import shutil
import stat
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from ._errors import FileError

_SYNC_BYTES = 8 * 2**20
"""After so many bytes the system is asked to write them to disk: at the end, nothing else would be left to do."""

_MOST_NAME_BYTES = 200
"""A name has at most 255 bytes on most systems: so many are left of an output's in its temporary ones."""
_PURPOSE = re.compile("(tmp|old)-[0-9a-f]{8}")

_temporaries: set[str] = set()
"""What exists under a temporary name now."""
_aside: dict[str, str] = {}
"""The temporary names of what steps aside for something new, and their own."""


def remove_temporaries() -> None:
    """Removes all temporary files and directories at once; for a process that has to end."""
    for old, path in list(_aside.items()):
        _put_back(old, path)
    for path in list(_temporaries):
        _remove(path)


def _remove(path: str) -> None:
    if os.path.isdir(path):
        # A thread may write into it meanwhile.
        for _ in range(10):
            shutil.rmtree(path, ignore_errors=True)
            if not os.path.exists(path):
                break
    else:
        Path(path).unlink(missing_ok=True)
    _temporaries.discard(path)


def _temporary_prefix(path: str) -> str:
    """What temporary names of an output begin with."""
    name = os.path.basename(path.rstrip("/"))
    while len(os.fsencode(name)) > _MOST_NAME_BYTES:
        name = name[:-1]
    return f".{name}."


def _temporary_name(path: str, purpose: str = "tmp") -> str:
    """A name beside `path` that nothing has."""
    return os.path.join(_parent(path), f"{_temporary_prefix(path)}{purpose}-{secrets.token_hex(4)}")


def leftovers(output: str) -> list[str]:
    """What lies beside an output under one of its temporary names: of jobs that were killed, or that go on."""
    prefix = _temporary_prefix(output)
    try:
        names = os.listdir(_parent(output))
    except OSError:
        return []
    found = [name for name in names if name.startswith(prefix) and _PURPOSE.fullmatch(name.removeprefix(prefix))]
    return [path for name in found if (path := os.path.join(_parent(output), name)) not in _temporaries]


def _parent(path: str) -> str:
    return os.path.dirname(path.rstrip("/")) or "."


# macOS has only the one that writes all that is known of the file, too.
_sync_data = getattr(os, "fdatasync", os.fsync)


def _sync(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _errors_of(path: str) -> Iterator[None]:
    """What the system says is said of `path`, and not of a temporary name or of no name at all."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from None


def _refuse_existing(path: str, force: bool) -> None:
    if not force and os.path.lexists(path):
        raise FileExistsError(errno.EEXIST, "exists already; force replaces it", path)


def _rename_to_new(temporary: str, path: str) -> None:
    """Gives a file its name, unless something has it by now: another process may have had the same to do."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        _refuse_existing(path, False)
        raise
    except OSError:
        # Not every file system has links.
        _refuse_existing(path, False)
        os.rename(temporary, path)
    else:
        os.unlink(temporary)


def _rename_directory_to_new(temporary: str, path: str) -> None:
    """The same of a directory, of which the system itself replaces none that holds anything."""
    try:
        os.rename(temporary, path)
    except OSError as error:
        if error.errno in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
            _refuse_existing(path, False)
        raise


def _exchange(one: str, other: str) -> bool:
    """Exchanges what two paths name, at once. @returns whether the system could; if not, nothing has happened"""
    exchange = 2
    names = os.fsencode(one), os.fsencode(other)
    libc = ctypes.CDLL(None)
    try:
        if sys.platform == "darwin":
            return libc.renamex_np(*names, exchange) == 0
        current = -100
        return libc.renameat2(current, names[0], current, names[1], exchange) == 0
    except AttributeError:
        # The C library lacks it.
        return False


class OutputBytes:
    """The same in memory as `OutputFile` on disk."""

    def __init__(self) -> None:
        self._bytes = io.BytesIO()

    def write(self, position: int, data: memoryview) -> None:
        """Writes from `position` on."""
        self._bytes.seek(position)
        self._bytes.write(data)

    def finish(self, size: int) -> None:
        """Makes it `size` bytes long."""
        # What is not written yet stands before the end, and what would be behind it was given up.
        self._bytes.truncate(size)

    def getvalue(self) -> bytes:
        return self._bytes.getvalue()


class OutputFile:
    """A file that is written at any position, by a thread of its own.

    Args:
        path: its final one, for errors
        place: where it is written
        mode: its permission bits
    """

    def __init__(self, path: str, place: str, mode: int) -> None:
        self.path = path
        with _errors_of(path):
            self._descriptor = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        self._writer = ThreadPoolExecutor(1, "codecllm-writer")
        self._syncer = ThreadPoolExecutor(1, "codecllm-syncer")
        self._writing: Future[None] | None = None
        self._syncing: Future[None] | None = None
        self._unsynced = 0

    def write(self, position: int, data: memoryview) -> None:
        """Writes from `position` on, while the caller goes on: it only waits for the write before.

        Args:
            data: bytes, which must not change until the next write, or `finish`, has begun

        Raises:
            OSError: the write before failed
        """
        self._wait()
        self._writing = self._writer.submit(self._write_all, position, data)

    def _write_all(self, position: int, data: memoryview) -> None:
        done = 0
        while done < len(data):
            done += os.pwrite(self._descriptor, data[done:], position + done)
        self._unsynced += done
        if self._unsynced >= _SYNC_BYTES and (self._syncing is None or self._syncing.done()):
            self._unsynced = 0
            self._syncing = self._syncer.submit(_sync_data, self._descriptor)

    def _wait(self) -> None:
        if self._writing is not None:
            with _errors_of(self.path):
                self._writing.result()

    def finish(self, size: int) -> None:
        """Makes it `size` bytes long and writes it to disk. @raises OSError where that, or a write, failed"""
        self._wait()
        with _errors_of(self.path):
            if self._syncing is not None:
                self._syncing.result()
            os.ftruncate(self._descriptor, size)
            os.fsync(self._descriptor)

    def close(self) -> None:
        self._writer.shutdown()
        self._syncer.shutdown()
        os.close(self._descriptor)


@contextmanager
def _temporary(path: str) -> Iterator[str]:
    """A temporary name for what becomes `path` in the block. What has it is removed if the block does not end well."""
    temporary = _temporary_name(path)
    _temporaries.add(temporary)
    try:
        yield temporary
        _temporaries.discard(temporary)
    except BaseException:
        _remove(temporary)
        raise
    with _errors_of(path):
        _sync(_parent(path))


@contextmanager
def new_file(path: str, mode: int, force: bool, source: str | None = None) -> Iterator[OutputFile]:
    """A file that gets its name at the end of the block, which has to `finish` it. An exception leaves no trace.

    Args:
        mode: its permission bits
        force: replace what has the name
        source: a file that is read meanwhile, and so must not be replaced

    Raises:
        FileExistsError: the path exists, and `force` is false
        IsADirectoryError: it is a directory
        FileError: it is no file, or is the source
        OSError: it cannot be written
    """
    try:
        old = os.stat(path)
    except OSError:
        old = None
    if old is not None:
        if source is not None and os.path.samestat(old, os.stat(source)):
            raise FileError(path, "is the input itself")
        if stat.S_ISDIR(old.st_mode):
            raise IsADirectoryError(errno.EISDIR, "is a directory", path)
        # A pipe, or a device: to take its name is not what anybody wants.
        if not stat.S_ISREG(old.st_mode):
            raise FileError(path, "is not a file")
    _refuse_existing(path, force)
    with _temporary(path) as temporary:
        output = OutputFile(path, temporary, mode)
        try:
            yield output
        finally:
            output.close()
        with _errors_of(path):
            if force:
                os.replace(temporary, path)
            else:
                _rename_to_new(temporary, path)


class OutputDirectory:
    """A directory that is being made, in a temporary place. Names are from its top."""

    def __init__(self, path: str, place: str) -> None:
        self.path = path
        self._place = place
        self._directories = [place]

    def make_directory(self, name: str) -> None:
        """@raises OSError where that cannot be"""
        with _errors_of(os.path.join(self.path, name)):
            place = os.path.join(self._place, name)
            os.mkdir(place)
            self._directories.append(place)

    def copy(self, source: str, name: str) -> None:
        """Copies a file, with its permission bits. @raises OSError where that cannot be"""
        with _errors_of(os.path.join(self.path, name)):
            place = os.path.join(self._place, name)
            shutil.copy(source, place)
            _sync(place)

    def write(self, name: str, text: str) -> None:
        """Writes a file. @raises OSError where that cannot be"""
        with _errors_of(os.path.join(self.path, name)):
            place = os.path.join(self._place, name)
            with open(place, "xb") as file:
                file.write(text.encode())
            _sync(place)

    @contextmanager
    def new_file(self, name: str, mode: int) -> Iterator[OutputFile]:
        """A file in it, which the block has to `finish`. @raises OSError where it cannot be written"""
        output = OutputFile(os.path.join(self.path, name), os.path.join(self._place, name), mode)
        try:
            yield output
        finally:
            output.close()

    def sync(self) -> None:
        for place in self._directories:
            _sync(place)


@contextmanager
def new_directory(path: str, force: bool, names: set[str]) -> Iterator[OutputDirectory]:
    """A directory that gets its name at the end of the block. An exception leaves no trace.

    Args:
        force: replace one that has the name
        names: all that it will hold, from its top

    Raises:
        FileExistsError: the path exists, and `force` is false
        FileError: it is no directory, or holds what is not in `names`
        OSError: it cannot be made
    """
    _refuse_existing(path, force)
    if os.path.lexists(path):
        if not os.path.isdir(path):
            raise FileError(path, "is not a directory")
        # A wrong path and force must not cost somebody a directory of other things.
        for above, directories, files in os.walk(path):
            for child in (*directories, *files):
                name = os.path.relpath(os.path.join(above, child), path)
                if name not in names:
                    raise FileError(path, f"holds {name}, which the new directory would not; it is not replaced")
    with _temporary(path) as temporary:
        with _errors_of(path):
            os.mkdir(temporary)
        directory = OutputDirectory(path, temporary)
        yield directory
        with _errors_of(path):
            directory.sync()
            if force and os.path.lexists(path):
                _replace(temporary, path)
            else:
                _rename_directory_to_new(temporary, path)


def _replace(temporary: str, path: str) -> None:
    """Exchanges the old directory and the new one. Where the system cannot, the old one steps aside, and back if the
    new one cannot take its place.
    """
    if _exchange(temporary, path):
        shutil.rmtree(temporary, ignore_errors=True)
        return
    old = _temporary_name(path, "old")
    _aside[old] = path
    try:
        os.rename(path, old)
        os.rename(temporary, path)
    finally:
        _put_back(old, path)
    shutil.rmtree(old, ignore_errors=True)


def _put_back(old: str, path: str) -> None:
    """Gives what stepped aside its name again, unless that is taken."""
    if not os.path.lexists(path):
        os.rename(old, path)
    _aside.pop(old, None)

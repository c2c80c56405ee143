"""Output appears under its name only when it is complete: it is written under a temporary name in the same directory,
synced, and renamed. Whatever happens before the rename leaves what was there.
"""

from __future__ import annotations

import ctypes
import errno
import io
import os
import shutil
import stat
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import PurePath
from typing import Any, NamedTuple

from ._errors import FileError
from ._journal import Finished, Journal
from ._temporary import hold_temporary, leftovers, let_go, parent_of, remove, temporary_name

_SYNC_BYTES = 8 * 2**20
"""After so many bytes the system is asked to write them to disk: at the end, nothing else would be left to do."""

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

    def finish(self, size: int, sha256: str) -> None:
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
        source: what it is made of, whose times it gets
    """

    def __init__(self, path: str, place: str, mode: int, source: str | None = None) -> None:
        self.path = path
        self.sha256 = ""
        self._times = None if source is None else _times_of(source)
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

    def finish(self, size: int, sha256: str) -> None:
        """Makes it `size` bytes long and writes it to disk. @raises OSError where that, or a write, failed

        Args:
            sha256: of the original that it is, or holds
        """
        self.sha256 = sha256
        self._wait()
        with _errors_of(self.path):
            if self._syncing is not None:
                self._syncing.result()
            os.ftruncate(self._descriptor, size)
            if self._times is not None:
                os.utime(self._descriptor, ns=self._times)
            os.fsync(self._descriptor)

    def close(self) -> None:
        self._writer.shutdown()
        self._syncer.shutdown()
        os.close(self._descriptor)


def _times_of(path: str) -> tuple[int, int]:
    status = os.stat(path)
    return status.st_atime_ns, status.st_mtime_ns


@contextmanager
def _temporary(path: str) -> Iterator[str]:
    """A temporary name for what becomes `path` in the block. What has it is removed if the block does not end well."""
    temporary = temporary_name(path)
    hold_temporary(temporary, partial(remove, temporary))
    try:
        yield temporary
    except BaseException:
        remove(temporary)
        raise
    finally:
        let_go(temporary)
    with _errors_of(path):
        _sync(parent_of(path))


@contextmanager
def new_file(
    path: str, mode: int, force: bool, source: str | None = None, verify: Callable[[str, str], None] | None = None
) -> Iterator[OutputFile]:
    """A file that gets its name at the end of the block, which has to `finish` it. An exception leaves no trace.

    Args:
        mode: its permission bits
        force: replace what has the name
        source: a file that is read meanwhile, and so must not be replaced; its times become those of the file
        verify: then it may be replaced, when this has looked at what replaces it, and the SHA-256 of its original

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
        if verify is None and source is not None and os.path.samestat(old, os.stat(source)):
            raise FileError(path, "is the input itself")
        if stat.S_ISDIR(old.st_mode):
            raise IsADirectoryError(errno.EISDIR, "is a directory", path)
        # A pipe, or a device: to take its name is not what anybody wants.
        if not stat.S_ISREG(old.st_mode):
            raise FileError(path, "is not a file")
    _refuse_existing(path, force)
    with _temporary(path) as temporary:
        output = OutputFile(path, temporary, mode, source)
        try:
            yield output
        finally:
            output.close()
        if verify is not None:
            verify(temporary, output.sha256)
        with _errors_of(path):
            if force:
                os.replace(temporary, path)
            else:
                _rename_to_new(temporary, path)


class OutputDirectory:
    """A directory that is being made, in a temporary place, by a journal of what is finished. Names begin there."""

    def __init__(self, path: str, journal: Journal) -> None:
        self.path = path
        self._journal = journal
        self._times: dict[str, tuple[int, int]] = {}

    @property
    def finished(self) -> dict[str, Finished]:
        """What an interrupted run of the same job has finished, by name; whether it is still so is not known."""
        return self._journal.finished

    def place_of(self, name: str) -> str:
        """Where a file is until the directory gets its name."""
        return os.path.join(_files_in(self._journal.folder), name)

    def make_directory(self, source: str, name: str) -> None:
        """Makes a directory like one of the input. @raises OSError where that cannot be"""
        with _errors_of(os.path.join(self.path, name)):
            os.makedirs(self.place_of(name), exist_ok=True)
            self._times[name] = _times_of(source)

    def copy(self, source: str, name: str) -> None:
        """Copies a file, with its permission bits and times. @raises OSError where that cannot be"""
        with _errors_of(os.path.join(self.path, name)):
            shutil.copy(source, self.place_of(name))
            os.utime(self.place_of(name), ns=_times_of(source))
            _sync(self.place_of(name))

    def link(self, target: str, name: str) -> None:
        """Makes a link. @raises OSError where that cannot be"""
        with _errors_of(os.path.join(self.path, name)):
            os.symlink(target, self.place_of(name))

    def alias(self, of: str, name: str) -> None:
        """Gives a file of the output one more name. @raises OSError where that cannot be"""
        try:
            os.link(self.place_of(of), self.place_of(name))
        except OSError:
            # Not every file system has links.
            self.copy(self.place_of(of), name)

    def write(self, name: str, text: str) -> int:
        """Writes a file. @returns its bytes. @raises OSError where that cannot be"""
        with _errors_of(os.path.join(self.path, name)):
            place = self.place_of(name)
            with open(place, "xb") as file:
                file.write(text.encode())
            _sync(place)
        return len(text.encode())

    @contextmanager
    def new_file(self, name: str, source: str, mode: int) -> Iterator[OutputFile]:
        """A file in it, which the block has to `finish`. @raises OSError where it cannot be written"""
        place = self.place_of(name)
        remove(place)
        output = OutputFile(os.path.join(self.path, name), place, mode, source)
        try:
            yield output
        finally:
            output.close()
        _sync(os.path.dirname(place))

    def note(self, finished: Finished) -> None:
        """Notes that a file is finished, which is on the disk by now. @raises OSError"""
        with _errors_of(os.path.join(self.path, finished.name)):
            self._journal.add(finished)

    def finish(self) -> None:
        """Gives directories their times, and writes them to disk."""
        # What is written into a directory changes its time: those above come last.
        for name, times in reversed(self._times.items()):
            os.utime(self.place_of(name), ns=times)
            _sync(self.place_of(name))

    def remove_unfinished(self, names: set[str]) -> None:
        """Leaves what is finished, and directories, of these names."""
        top = self.place_of("")
        above = names | {str(parent) for name in names for parent in PurePath(name).parents}
        for folder, directories, files in os.walk(top):
            for child in (*directories, *files):
                place = os.path.join(folder, child)
                name = os.path.relpath(place, top)
                is_folder = os.path.isdir(place) and not os.path.islink(place)
                if not (name in above if is_folder else name in names and name in self.finished):
                    remove(place)

    def abandon(self) -> str | None:
        """To be called where it did not get its name. What is finished stays. @returns what is said of that"""
        folder = self._journal.folder
        let_go(folder)
        count = len(self.finished)
        if count > 0 and os.path.isdir(_files_in(folder)):
            self.remove_unfinished(set(self.finished))
            are, them = ("file is", "it") if count == 1 else ("files are", "them")
            return (
                f"{count} finished {are} kept for the same command, which goes on from there; "
                f"codecllm clean {self.path} removes {them}"
            )
        remove(folder)
        return None


def _files_in(temporary: str) -> str:
    return os.path.join(temporary, "files")


class Job(NamedTuple):
    """What a directory is made by."""

    description: dict[str, Any]
    """All that its files depend on."""
    names: set[str]
    """All that it will hold, from its top."""
    notice: Callable[[str, str], None]
    """Is told of a path what is no failure."""


@contextmanager
def new_directory(path: str, force: bool, job: Job) -> Iterator[OutputDirectory]:
    """A directory that gets its name at the end of the block. After an exception, what it has finished stays for
    the same job.

    Args:
        force: replace one that has the name

    Raises:
        FileExistsError: the path exists, and `force` is false
        FileError: it is no directory, or holds what the new one will not
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
                if name not in job.names:
                    raise FileError(path, f"holds {name}, which the new directory would not; it is not replaced")
    temporary = temporary_name(path)
    hold_temporary(temporary, partial(remove, temporary))
    with _errors_of(path):
        directory = OutputDirectory(path, _take_over(path, temporary, job) or _begin(temporary, job))

    def end() -> str | None:
        kept = directory.abandon()
        return None if kept is None else f"{path}: {kept}"

    hold_temporary(temporary, end)
    place = _files_in(temporary)
    try:
        directory.remove_unfinished(job.names)
        yield directory
        with _errors_of(path):
            directory.finish()
            if force and os.path.lexists(path):
                _replace(place, path)
            else:
                try:
                    _rename_directory_to_new(place, path)
                except FileExistsError:
                    # Another run has made it meanwhile: nobody needs this one.
                    remove(temporary)
                    raise
            remove(temporary)
            let_go(temporary)
            _sync(parent_of(path))
    except BaseException:
        kept = directory.abandon()
        if kept is not None:
            job.notice(path, kept)
        raise


def _begin(temporary: str, job: Job) -> Journal:
    os.makedirs(_files_in(temporary))
    return Journal.begin(temporary, job.description)


def _take_over(path: str, temporary: str, job: Job) -> Journal | None:
    """Gives what a run of the same job left, of those the one that got furthest, a new name."""
    found = []
    for left in leftovers(path):
        if left.purpose == "tmp" and left.writer != "alive" and os.path.isdir(_files_in(left.path)):
            journal = Journal.find(left.path, job.description)
            if journal is not None:
                found.append(journal)
    if not found:
        return None
    found.sort(key=lambda journal: -len(journal.finished))
    try:
        os.rename(found[0].folder, temporary)
    except OSError:
        # Another run of the job was faster.
        return None
    for journal in found[1:]:
        remove(journal.folder)
    found[0].folder = temporary
    return found[0]


def _replace(temporary: str, path: str) -> None:
    """Exchanges the old directory and the new one. Where the system cannot, the old one steps aside, and back if the
    new one cannot take its place.
    """
    if _exchange(temporary, path):
        return
    old = temporary_name(path, "old")
    hold_temporary(old, partial(_put_back, old, path))
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
    let_go(old)

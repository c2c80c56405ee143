"""One checkpoint is made of another, or a directory of another. A directory's job that is interrupted leaves what it
has finished, and the same job goes on from there.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, NamedTuple

from ._arrangement import Arrangement
from ._directory import Entry, check_apart, list_directory
from ._errors import FileError, raise_problems
from ._journal import Finished
from ._output import Job, OutputDirectory, OutputFile, new_directory, new_file
from ._report import DirectoryReport, Done, FileReport, as_json, file_report_of
from ._temporary import hold_temporary, leftovers, let_go, remove, temporary_name

Notice = Callable[[str, str], None]
"""Is told of a path what is no failure."""
MakeOutput = Callable[[int], AbstractContextManager[OutputFile]]
"""Makes an output with these permission bits."""


class Method(ABC):
    """What a command does with every checkpoint, and with the other files of a directory."""

    description: dict[str, Any]
    """All that the bytes of the output depend on."""

    @abstractmethod
    def concerns(self, path: str) -> bool:
        """Whether a checkpoint is to be transformed; the others of a directory are copied. @raises FileError"""

    @abstractmethod
    def check(self, paths: list[str]) -> None:
        """Is called with those that are, before anything is written. @raises FileError"""

    @abstractmethod
    def transform(self, path: str, make_output: MakeOutput) -> FileReport:
        """Makes one of another. @raises FileError, OSError"""

    @abstractmethod
    def check_finished(self, path: str, sha256: str) -> None:
        """@raises FileError, OSError: a file is not what it was made to be, of an original of this SHA-256"""

    @abstractmethod
    def arrange(self, entries: list[Entry]) -> Arrangement:
        """What the output's files are called. @raises FileError, OSError"""


def tidy(output: str, notice: Notice) -> None:
    """Names what killed runs left beside an output, and removes what nobody can go on from."""
    for path, purpose, writer, is_file in leftovers(output):
        if purpose == "old":
            notice(path, f"is what {output} was before: a run was killed while it replaced it")
        elif writer == "alive":
            notice(path, "is being written by another run")
        elif writer == "killed" and is_file:
            remove(path)
            notice(path, "was left by a run that was killed; it is removed")
        else:
            elsewhere = ", or goes on elsewhere" if writer == "elsewhere" else ""
            notice(path, f"was left by a run that was killed{elsewhere}; codecllm clean {output} removes it")


class Plan(NamedTuple):
    """A directory that is to be transformed, when it is known that all of it is there."""

    path: str
    entries: list[Entry]
    checkpoints: list[Entry]
    """Of those, what is to be transformed."""
    arrangement: Arrangement


def plan_directory(path: str, method: Method, follow_links: bool) -> Plan:
    """@raises FilesError, FileError, OSError: everything that is missing or wrong"""
    entries, problems = list_directory(path, follow_links)
    found = list(problems)
    checkpoints = []
    for entry in entries:
        if entry.kind == "checkpoint":
            try:
                if method.concerns(entry.path):
                    checkpoints.append(entry)
            except (FileError, OSError) as error:
                found.append(error)
    raise_problems(found)
    method.check([entry.path for entry in checkpoints])
    return Plan(path, entries, checkpoints, method.arrange(entries))


def transform_directory(plan: Plan, output: str, method: Method, force: bool, notice: Notice) -> Done:
    """Makes a directory of another."""
    check_apart(plan.path, output)
    name_of, added, text_of = plan.arrangement
    names = {name for entry in plan.entries if (name := name_of(entry.name)) is not None} | set(added)
    concerned = {entry.name for entry in plan.checkpoints}
    files: list[FileReport] = []
    copied: list[Entry] = []
    after = 0
    with new_directory(output, force, Job(method.description, names, notice)) as directory:
        tidy(output, notice)
        if directory.finished:
            count = len(directory.finished)
            notice(
                output,
                f"goes on where a run was interrupted: {count} of {len(concerned)} checkpoints are finished",
            )
        directory.make_directory(plan.path, "")
        for entry in plan.entries:
            name = name_of(entry.name)
            if name is None:
                continue
            if entry.kind == "directory":
                directory.make_directory(entry.path, name)
            elif entry.kind == "link":
                directory.link(entry.target, name)
            elif entry.kind == "alias":
                directory.alias(name_of(entry.target) or entry.target, name)
            elif entry.name in concerned:
                report = _transformed(entry, name, output, directory, method, notice)
                files.append(report)
                after += report.bytes_after if entry.size == report.bytes_before else report.bytes_before
            else:
                directory.copy(entry.path, name)
                copied.append(entry)
                after += entry.size
        for name in added:
            after += directory.write(name, text_of(name, files))
    kept = sum(entry.kind == "checkpoint" for entry in copied)
    return Done(files, len(copied), kept, directory_report(plan.entries, after))


def _transformed(
    entry: Entry, name: str, output: str, directory: OutputDirectory, method: Method, notice: Notice
) -> FileReport:
    """Transforms a checkpoint, or finds that it was before."""
    final = os.path.join(output, name)
    before = directory.finished.get(name)
    if before is not None and (before.size, before.changed) == (entry.size, str(entry.changed)):
        try:
            method.check_finished(directory.place_of(name), before.report["sha256"])
            return file_report_of(before.report, entry.path, final)
        except FileError as error:
            notice(final, f"is made anew: what an interrupted run had finished {error.args[1]}")
        except FileNotFoundError:
            notice(final, "is made anew: what an interrupted run had finished no such file or directory")
    report = method.transform(entry.path, partial(directory.new_file, name, entry.path))
    directory.note(Finished(name, entry.size, str(entry.changed), as_json(report)))
    return report


def place_in_place(path: str, verify: Callable[[str, str], None]) -> MakeOutput:
    """For an output that replaces its input, when it is verified: its path until then, and the original's SHA-256."""
    return lambda mode: new_file(path, mode, True, path, verify)


def directory_in_place(plan: Plan, method: Method, notice: Notice) -> Done:
    """Replaces checkpoints one by one, where there is no room for a second copy. A run that is interrupted leaves some
    of them done, and the same command goes on with the others.
    """
    name_of, added, _ = plan.arrangement
    if added or any(name_of(entry.name) != entry.name for entry in plan.entries):
        raise FileError(plan.path, "has files that get other names: that cannot be done in place")
    files = []
    linked = 0
    after = sum(entry.size for entry in plan.entries)
    for name, path, _, size, _, _ in plan.checkpoints:
        if _finish_link(path, plan.entries):
            linked += 1
            after -= size
            continue
        others = [entry.path for entry in plan.entries if entry.kind == "alias" and entry.target == name]
        for each in (path, *others):
            tidy(each, notice)
        # They are there, under temporary names, before the file has its own.
        links = [(temporary_name(other), other) for other in others]

        def verify(made: str, sha256: str, links: list[tuple[str, str]] = links) -> None:
            method.check_finished(made, sha256)
            for temporary, _ in links:
                hold_temporary(temporary, partial(remove, temporary))
                os.link(made, temporary)

        try:
            report = method.transform(path, place_in_place(path, verify))
            for temporary, other in links:
                os.replace(temporary, other)
        finally:
            for temporary, _ in links:
                remove(temporary)
                let_go(temporary)
        files.append(report)
        after += (report.bytes_after if size == report.bytes_before else report.bytes_before) - size
    kept = sum(entry.kind == "checkpoint" for entry in plan.entries) - len(plan.checkpoints) + linked
    return Done(files, 0, kept, directory_report(plan.entries, after))


def _finish_link(path: str, entries: list[Entry]) -> bool:
    """Gives a file its place where a run was killed after another name of it had been replaced: then what replaces it
    lies beside it. Not if the file has changed since: what a rename changes last has its time.

    Returns:
        whether it was so
    """
    for temporary, purpose, writer, is_file in leftovers(path):
        if purpose != "tmp" or writer != "killed" or not is_file:
            continue
        made = os.stat(temporary)
        if os.stat(path).st_ctime_ns > made.st_ctime_ns:
            continue
        for entry in entries:
            if entry.kind == "checkpoint" and entry.path != path and os.path.samestat(os.stat(entry.path), made):
                os.replace(temporary, path)
                return True
    return False


def directory_report(entries: list[Entry], after: int) -> DirectoryReport:
    """Args: after: bytes of all that is in the output."""
    others = [entry.size for entry in entries if entry.kind == "weights"]
    return DirectoryReport(sum(entry.size for entry in entries), after, len(others), sum(others))

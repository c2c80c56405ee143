"""What a directory's job has finished, noted in its temporary directory, so that the same job goes on from there when
it was interrupted: a line of JSON that says which job it is, then one for each file, written when that is on the disk.
The command line for Node writes the same, and either goes on with what the other began.
"""

from __future__ import annotations

import json
import os
from typing import Any, NamedTuple

_NAME = "job.jsonl"


class Finished(NamedTuple):
    """A file that is finished."""

    name: str
    size: int
    """Of what it was made of: bytes,"""
    changed: str
    """and when it was changed last (ctime), in nanoseconds."""
    report: dict[str, Any]
    """What is said of it, as JSON has it."""


class Journal:
    """The one in a directory, which is `folder`; who renames that says so."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.finished: dict[str, Finished] = {}
        """By name."""

    @staticmethod
    def begin(folder: str, job: dict[str, Any]) -> Journal:
        """Begins one in an empty directory. @raises OSError

        Args:
            job: says everything that its files depend on
        """
        journal = Journal(folder)
        journal._append(_text(job), "x")
        return journal

    @staticmethod
    def find(folder: str, job: dict[str, Any]) -> Journal | None:
        """Reads the one of a directory; None where there is none, or one of another job."""
        try:
            with open(os.path.join(folder, _NAME), encoding="utf-8", errors="surrogateescape", newline="") as file:
                first, *lines = file.read().split("\n")
        except OSError:
            return None
        if first != _text(job):
            return None
        journal = Journal(folder)
        for line in lines:
            try:
                finished = Finished(**json.loads(line))
            except (ValueError, TypeError):
                # The run was killed while it wrote this line.
                continue
            journal.finished[finished.name] = finished
        return journal

    def add(self, finished: Finished) -> None:
        """@raises OSError"""
        # In this order: who has to end in between keeps the file, which does no harm.
        self.finished[finished.name] = finished
        self._append("\n" + _text(finished._asdict()), "a")

    def _append(self, text: str, mode: str) -> None:
        with open(os.path.join(self.folder, _NAME), mode, encoding="utf-8", errors="surrogateescape") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())


def _text(value: dict[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))

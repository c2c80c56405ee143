"""What the commands report: plain data, printed as they are with --json."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from ._inspection import Inspection


@dataclass(frozen=True)
class TensorReport:
    """A tensor of a checkpoint."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    bytes_before: int
    """In the original file."""
    bytes_after: int
    """In the compressed file."""
    compressed: bool
    """Whether it is a stream; otherwise it is kept as it is, or a copy."""
    copy_of: str | None
    """The tensor that has the same bytes, and is stored instead; None where it is stored itself."""


@dataclass(frozen=True)
class FileReport:
    """One checkpoint that was worked on."""

    input: str
    output: str | None
    """None where nothing is written."""
    bytes_before: int
    """Of the original, whichever of both is the input."""
    bytes_after: int
    """Of the compressed file."""
    sha256: str
    """Of the original file, in hexadecimal."""
    checked: bool
    """Whether the compressed file has checks of its header and of kept tensors (FORMAT.md, section 11)."""
    tensors: list[TensorReport]
    """In the order of the header's keys."""


@dataclass(frozen=True)
class DirectoryReport:
    """What a directory takes on the disk, all files of it, each counted once, before and after."""

    bytes_before: int
    bytes_after: int
    other_weights: int
    """Files of formats that are left as they are: .bin, .pt, .pth and .gguf."""
    other_weights_bytes: int


@dataclass(frozen=True)
class Problem:
    """A file that is not as it should be, or that was not looked into."""

    path: str
    problem: str
    checked: bool
    """Whether it is known to be wrong: it may be missing only, or not compressed, and so nothing to verify."""


@dataclass(frozen=True)
class Done:
    """What was done with the files of a job."""

    files: list[FileReport]
    files_copied: int = 0
    """Files of a directory that were copied,"""
    files_kept: int = 0
    """and checkpoints among them: they are compressed already, or, when decompressed, not compressed."""
    directory: DirectoryReport | None = None


@dataclass(frozen=True)
class Report:
    """All that one command did."""

    input: str
    output: str | None
    """None where nothing is written."""
    seconds: float
    threads: int
    engine: str
    """The codec: "native", the only one here."""
    files_copied: int
    """Files of a directory that were copied,"""
    files_kept: int
    """and checkpoints among them: they are compressed already, or, when decompressed, not compressed."""
    directory: DirectoryReport | None
    """None where the input is a file."""
    files: list[FileReport]
    bytes_before: int
    """Of all checkpoints, originals"""
    bytes_after: int
    """and compressed."""
    ratio: float
    """bytes_after / bytes_before."""
    megabytes_per_second: float
    """Millions of original bytes a second."""
    tensors_compressed: int
    tensors_kept: int
    tensors_copied: int


@dataclass(frozen=True)
class VerifyReport(Report):
    """What `verify` found: in `files` are those that are good."""

    problems: list[Problem]
    not_checked: list[Problem]
    """Of formats of which nothing can be checked."""


@dataclass(frozen=True)
class FileEstimate:
    """What a checkpoint would become, about."""

    input: str
    bytes_before: int
    bytes_after: int
    bytes_sampled: int
    """Of which the estimate is made."""


@dataclass(frozen=True)
class Estimate:
    """What `compress` would do, about."""

    input: str
    bytes_before: int
    bytes_after: int
    ratio: float
    bytes_sampled: int
    """Of all of which the estimate is made."""
    directory: DirectoryReport | None
    seconds: float
    files: list[FileEstimate]


@dataclass(frozen=True)
class InspectedTensor(TensorReport):
    """A tensor, and how it is coded."""

    stream: Inspection | None
    """What its stream says of itself; None where it is not a stream."""


@dataclass(frozen=True)
class Prefix:
    """The beginning of a file in layers."""

    bits: int
    """It has so many bits of each weight."""
    bytes: int


@dataclass(frozen=True)
class InspectedFile:
    """What a checkpoint says of itself."""

    input: str
    compressed: bool
    """Whether it is a CodecLLM file."""
    bytes_before: int
    """Of the original,"""
    bytes_after: int
    """and of the file as it is."""
    sha256: str | None
    """Of the original, in hexadecimal; None where the file is not compressed."""
    bases: list[str]
    """Of the originals of what tensors are coded against."""
    prefixes: list[Prefix]
    """What is a coarse checkpoint, from the shortest on; none where it is not in layers."""
    tensors: list[InspectedTensor]
    """In the order of the header's keys."""


def summarise(path: str, output: str | None, done: Done, threads: int, seconds: float) -> Report:
    """Adds up what was done with each file."""
    before = sum(file.bytes_before for file in done.files)
    after = sum(file.bytes_after for file in done.files)
    tensors = [tensor for file in done.files for tensor in file.tensors]
    stored = [tensor for tensor in tensors if tensor.copy_of is None]
    compressed = sum(tensor.compressed for tensor in stored)
    return Report(
        input=path,
        output=output,
        seconds=seconds,
        threads=threads,
        engine="native",
        files_copied=done.files_copied,
        files_kept=done.files_kept,
        directory=done.directory,
        files=done.files,
        bytes_before=before,
        bytes_after=after,
        ratio=1 if before == 0 else after / before,
        megabytes_per_second=before / 1e6 / seconds,
        tensors_compressed=compressed,
        tensors_kept=len(stored) - compressed,
        tensors_copied=len(tensors) - len(stored),
    )


def file_report_of(json: dict[str, Any], path: str, output: str) -> FileReport:
    """What `as_json` made of a report, which is of other paths now."""
    tensors = [
        TensorReport(
            each["name"],
            each["dtype"],
            tuple(each["shape"]),
            each["bytesBefore"],
            each["bytesAfter"],
            each["compressed"],
            each.get("copyOf"),
        )
        for each in json["tensors"]
    ]
    return FileReport(path, output, json["bytesBefore"], json["bytesAfter"], json["sha256"], json["checked"], tensors)


REPORT_VERSION = 1
"""Is raised when a report lacks what it had, or has it with another meaning: docs/report.schema.json."""


def as_json(report: Report | Estimate | FileReport | InspectedFile | Problem) -> dict[str, Any]:
    """A report as JSON has it: keys as the command line of Node writes them, without what is None."""

    def entries(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        return {_camel_case(key): value for key, value in pairs if value is not None}

    return asdict(report, dict_factory=entries)


def _camel_case(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(other.capitalize() for other in others)

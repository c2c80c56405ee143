"""Reports for people: sizes, ratios, and the table of `inspect`. Word for word those of the command line of Node."""

from __future__ import annotations

import re
from decimal import ROUND_HALF_UP, Decimal
from math import floor

from ._report import DirectoryReport, Estimate, InspectedFile, InspectedTensor, Report, VerifyReport

_UNITS = ("bytes", "kB", "MB", "GB", "TB")
_COLUMNS = ("tensor", "dtype", "shape", "bytes before", "bytes after", "ratio", "modes")
_NUMBERS = (3, 4, 5)


def _fixed(value: float, digits: int) -> str:
    """A number with so many digits behind the point, halves away from zero."""
    return str(Decimal(value).quantize(Decimal(1).scaleb(-digits), ROUND_HALF_UP))


def format_bytes(size: int) -> str:
    """Three significant digits or more, in powers of 1000."""
    unit, value = 0, float(size)
    while value >= 999.5 and unit < len(_UNITS) - 1:
        value /= 1000
        unit += 1
    digits = 0 if unit == 0 or value >= 99.95 else 2 if value < 9.995 else 1
    return f"{_fixed(value, digits)} {_UNITS[unit]}"


def _ratio(before: int, after: int) -> str:
    return "-" if before == 0 else f"{_fixed(100 * after / before, 2)} %"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _time(report: Report) -> str:
    rate = f"{_fixed(report.seconds, 2)} s, {_fixed(report.megabytes_per_second, 1)} MB/s"
    return f"{rate} with {_count(report.threads, 'thread')} ({report.engine})"


def _files(report: Report, kept: str) -> list[str]:
    if len(report.files) == 1 and report.files_copied + report.files_kept == 0:
        return []
    kept_text = "" if report.files_kept == 0 else f", {report.files_kept} {kept}"
    others = _count(max(0, report.files_copied - report.files_kept), "other file")
    return [f"{_count(len(report.files), 'checkpoint')}{kept_text}, {others} copied"]


def _directory(directory: DirectoryReport | None, decompressed: bool = False) -> list[str]:
    """The whole of a directory, where it is more than its checkpoints."""
    if directory is None:
        return []
    sizes = directory.bytes_before, directory.bytes_after
    others = ""
    if directory.other_weights > 0:
        share = _ratio(directory.bytes_before, directory.other_weights_bytes)
        others = (
            f"; {format_bytes(directory.other_weights_bytes)} of them, {share}, are "
            f"{_count(directory.other_weights, 'file')} of other formats (.bin, .pt, .pth, .gguf), left as they are"
        )
    ratio = _ratio(*reversed(sizes)) if decompressed else _ratio(*sizes)
    return [f"the whole directory: {' -> '.join(map(format_bytes, sizes))}, {ratio} of the original{others}"]


def format_compressed(report: Report) -> str:
    """What `compress` did."""
    before, after = report.bytes_before, report.bytes_after
    return "\n".join(
        [
            f"{printable(report.input)} -> {printable(str(report.output))}",
            *_files(report, "compressed already"),
            f"{format_bytes(before)} -> {format_bytes(after)}, {_ratio(before, after)} of the original",
            f"{_count(report.tensors_compressed, 'tensor')} compressed, {report.tensors_kept} kept"
            + _copied(report.tensors_copied),
            *_directory(report.directory),
            _time(report),
        ]
    )


def _copied(number: int) -> str:
    return "" if number == 0 else f", {number} stored once with another"


def format_decompressed(report: Report, bits: int | None = None) -> str:
    """What `decompress` did. `bits` were enough of each weight, if not all were asked for."""
    what = "byte for byte the original: its SHA-256 is the same" if bits is None else f"coarse, of {bits} bits"
    sizes = f"{format_bytes(report.bytes_after)} -> {format_bytes(report.bytes_before)}"
    return "\n".join(
        [
            f"{printable(report.input)} -> {printable(str(report.output))}",
            *_files(report, "not compressed"),
            f"{sizes}, {what}",
            *_directory(report.directory, True),
            _time(report),
        ]
    )


def format_verified(report: VerifyReport) -> str:
    """A line for every file that is good, and for what cannot be checked; problems are told apart."""
    files = report.files
    is_file = len(files) == 1 and files[0].input == report.input
    lines = [] if is_file else [f"{printable(file.input)}: good" for file in files]
    lines += [f"{printable(each.path)}: not checked: {each.problem}" for each in report.not_checked]
    what = "the SHA-256" if len(files) == 1 else f"the SHA-256 of {len(files)} checkpoints"
    streams = _count(report.tensors_compressed, "stream")
    if not report.problems:
        lines.append(f"{printable(report.input)}: good; {streams} decoded, every check and {what} compared")
    unchecked = sum(not file.checked for file in files)
    if unchecked:
        # Who reads single tensors of such a file does not notice damage of what is not a stream.
        which = "it is" if len(files) == 1 else f"{unchecked} of them are"
        lines.append(f"{which} of before there were checks of headers and kept tensors; compress again to have them")
    return "\n".join([*lines, _time(report)])


def format_estimate(estimate: Estimate) -> str:
    """What `compress --dry-run` found."""
    before, after = estimate.bytes_before, estimate.bytes_after
    sizes = f"about {format_bytes(before)} -> {format_bytes(after)}, {_ratio(before, after)} of the original"
    return "\n".join(
        [
            f"{printable(estimate.input)}: nothing is written",
            f"{sizes}, estimated from {format_bytes(estimate.bytes_sampled)} of samples",
            *[f"about {line}" for line in _directory(estimate.directory)],
        ]
    )


def format_inspected(files: list[InspectedFile]) -> str:
    """The table of `inspect`."""
    texts = [_format_file(file) for file in files]
    if len(files) > 1:
        before = sum(file.bytes_before for file in files)
        after = sum(file.bytes_after for file in files)
        sizes = f"{format_bytes(before)} -> {format_bytes(after)}, {_ratio(before, after)}"
        texts.append(f"{len(files)} checkpoints: {sizes}")
    return "\n\n".join(texts)


def _format_file(file: InspectedFile) -> str:
    rows: list[tuple[str, ...]] = [
        (
            printable(tensor.name),
            printable(tensor.dtype),
            f"[{','.join(map(str, tensor.shape))}]",
            str(tensor.bytes_before),
            str(tensor.bytes_after),
            _ratio(tensor.bytes_before, tensor.bytes_after),
            _modes(tensor) if file.compressed else "-",
        )
        for tensor in file.tensors
    ]
    total = f"{format_bytes(file.bytes_before)}, not compressed"
    kept = ""
    if file.compressed:
        sizes = f"{format_bytes(file.bytes_before)} -> {format_bytes(file.bytes_after)}"
        total = f"{sizes}, {_ratio(file.bytes_before, file.bytes_after)} of the original"
        stored = [tensor for tensor in file.tensors if tensor.copy_of is None]
        streams = sum(tensor.compressed for tensor in stored)
        copies = _copied(len(file.tensors) - len(stored))
        kept = f": {streams} compressed, {len(stored) - streams} kept{copies}"
    against = [f"against the file whose SHA-256 is {base}" for base in file.bases]
    layers = [f"{prefix.bits} bits in the first {format_bytes(prefix.bytes)}" for prefix in file.prefixes]
    if layers:
        against.append(f"in layers: {', '.join(layers)}")
    return "\n".join(
        [printable(file.input), *against, *_table(rows), f"{_count(len(file.tensors), 'tensor')}{kept}; {total}"]
    )


def _modes(tensor: InspectedTensor) -> str:
    """How the tiles of a stream are coded, plane by plane: "8+8: pairs 97 %, rans 3 % | raw"."""
    stream = tensor.stream
    if tensor.copy_of is not None:
        return f"as {printable(tensor.copy_of)}"
    if stream is None:
        return "kept"
    planes = []
    for tiles in stream.modes:
        modes = sorted(tiles.items(), key=lambda item: -item[1])
        shares = [f"{mode} {_share(number, stream.tile_count)}" for mode, number in modes]
        planes.append(modes[0][0] if len(modes) == 1 else ", ".join(shares))
    against = ""
    if stream.against_base:
        against = f"against the base, {_share(stream.unchanged_tiles, stream.tile_count)} of the tiles unchanged; "
    return f"{against}{'+'.join(map(str, stream.split))}: {' | '.join(planes)}"


def _share(part: int, whole: int) -> str:
    percent = floor(100 * part / whole + 0.5)
    return "< 1 %" if percent == 0 and part > 0 else f"{percent} %"


def _table(rows: list[tuple[str, ...]]) -> list[str]:
    """Columns under each other, numbers to the right."""
    widths = [max(len(row[column]) for row in (_COLUMNS, *rows)) for column in range(len(_COLUMNS))]
    lines = []
    for row in (_COLUMNS, tuple("-" * width for width in widths), *rows):
        cells = [
            cell.rjust(width) if column in _NUMBERS else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return lines


_HIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
"""Control characters, other ends of lines, and marks of the direction of text."""


def printable(text: str) -> str:
    """On one line, and without the characters by which a name could write to the reader's terminal, or show itself in
    another order than it has.
    """
    return _HIDDEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text)

"""The command line, `codecllm` or `python -m codecllm`: options, output and exit codes of the one for Node.

It reads arguments and prints reports; `_commands.py` does the work. Without a command it says what was built and what
is there; `selftest` tries it.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import re
import signal
import stat
import sys
from collections.abc import Callable
from functools import partial
from types import FrameType
from typing import Any

from . import __version__, features
from ._commands import Progress, compress, decompress, estimate, inspect, problem_of, verify
from ._errors import CodecError, FileError, FilesError, UncheckedError
from ._names import compressed_name, restored_name
from ._report import REPORT_VERSION, as_json
from ._selftest import selftest
from ._streams import StandardStreams
from ._tables import PROFILES, TILE_ROWS
from ._temporary import clean, remove_temporaries
from ._text import (
    format_compressed,
    format_decompressed,
    format_estimate,
    format_inspected,
    format_verified,
    printable,
)

FAILURE = 1
USAGE = 2
UNCHECKED = 3

_DELAY_SECONDS = 0.5
"""Shorter work needs no bar."""

EXIT_CODES = """\
exit codes:
  0  done, and all is good
  1  failed: a file cannot be read, written or understood, or is damaged
  2  the command line is not understood
  3  nothing is known to be wrong, but not all could be looked at: files are missing or not compressed, or links
     lead out of the directory
  129, 130, 143  interrupted (SIGHUP, SIGINT, SIGTERM); finished files of a directory are kept for the same command
"""


class _UsageError(Exception):
    """A command line that is not understood."""


def main() -> int:
    """Runs the command line. @returns the exit code"""
    # A name of a file may have bytes that are no text.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    arguments = _parser().parse_args()
    wants_json = getattr(arguments, "json", False)
    _remove_temporaries_at_signals()
    try:
        return arguments.run(arguments)
    except _UsageError as error:
        print(f"codecllm: {printable(str(error))}", file=sys.stderr)
        return USAGE
    except (CodecError, OSError, MemoryError) as error:
        # Who reads the output has seen enough.
        if isinstance(error, BrokenPipeError):
            raise
        message = printable(_message(error))
        print(f"codecllm: {message}", file=sys.stderr)
        if wants_json:
            _print_json(arguments, {"error": message})
        return FAILURE
    finally:
        if _streams is not None:
            _streams.remove()


# ---------------------------------------------------------------------------------------------------- arguments


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m codecllm" if os.path.basename(sys.argv[0]) == "__main__.py" else None,
        description="Lossless compression of LLM weights: safetensors in, smaller safetensors out, and back byte for "
        "byte. Without a command: what was built and what is there.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=__version__)
    parser.set_defaults(run=_run_nothing)
    commands = parser.add_subparsers(metavar="command")

    def command(name: str, description: str, run: Callable[[argparse.Namespace], int]) -> argparse.ArgumentParser:
        added = commands.add_parser(
            name,
            help=description,
            description=description,
            epilog=EXIT_CODES,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        added.set_defaults(run=run, command=name)
        return added

    added = command(
        "compress",
        "Compress a .safetensors file, or every one in a directory, whose other files are copied.",
        _run_compress,
    )
    _add_output(added, "X.codecllm.safetensors for X.safetensors, D.codecllm for a directory D")
    added.add_argument(
        "--profile",
        choices=PROFILES,
        default="small",
        help="fewest bytes, fewest steps of a decoder, or weights that are multiplied as they lie (default: small)",
    )
    added.add_argument(
        "--tile-rows", type=int, choices=TILE_ROWS, help="rows of a tile (default: 128, or 256 against a base)"
    )
    _add_base(added, "file or directory that IN is a changed copy of: what has changed is coded, where that is smaller")
    added.add_argument(
        "--progressive",
        action="store_true",
        help="put weights into layers of bits: the first part of the output is a coarse checkpoint",
    )
    added.add_argument(
        "--for",
        dest="loader",
        choices=["transformers"],
        help="let this load a model's directory as it is, compressed; a README in the output says how",
    )
    added.add_argument(
        "--dry-run", action="store_true", help="write nothing, and estimate from samples what the output would take"
    )
    _add_work(added)

    added = command(
        "decompress", "Give back the original of a compressed file or directory, byte for byte.", _run_decompress
    )
    _add_output(added, "X.safetensors for X.codecllm.safetensors, D for a directory D.codecllm")
    added.add_argument(
        "--bits",
        type=_bits,
        metavar="N",
        help="enough bits of a weight: a coarse checkpoint, also of an IN that is still growing",
    )
    _add_max_bytes(added, "what is free on the disk, and 100 times what the tensors take now, or 1 GB")
    _add_base(added, _WHERE_BASES_ARE)
    _add_work(added)

    added = command(
        "verify",
        "Decode everything and compare every check and the SHA-256 of the original; nothing is written.",
        _run_verify,
    )
    _add_input(added)
    _add_max_bytes(added, "any, as nothing is kept")
    _add_base(added, _WHERE_BASES_ARE)
    _add_work(added)

    added = command(
        "inspect", "Show the tensors of a file or directory, compressed or not, and how they are coded.", _run_inspect
    )
    _add_input(added)
    _add_follow_links(added)
    _add_json(added)

    added = command(
        "clean",
        "Remove what runs that were killed left beside an output, and what was kept for running them again.",
        _run_clean,
    )
    added.add_argument("paths", metavar="OUT", nargs="+", help="output of a command")
    added.set_defaults(quiet=False)

    command("selftest", "Compress and decode four arrays, and compare.", lambda _: 0 if selftest() else FAILURE)
    return parser


def _add_input(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("paths", metavar="IN", nargs="+", help="file, directory, or - for standard input")


def _add_output(parser: argparse.ArgumentParser, default: str) -> None:
    parser.usage = f"{parser.prog} [options] IN... [OUT]"
    parser.add_argument(
        "paths",
        metavar="PATH",
        nargs="+",
        help=f"IN: file, directory, or - for standard input. OUT: {default} by default; a folder that exists, for a "
        "file or several IN; - for standard output",
    )
    parser.add_argument("--force", action="store_true", help="replace an output that exists")
    parser.add_argument(
        "--in-place",
        action="store_true",
        help="replace every file by what it becomes, one by one, each when that is verified; there is no OUT",
    )


def _add_follow_links(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--follow-links",
        action="store_true",
        help="take what links lead to that lead out of a directory for what is in it",
    )


def _add_max_bytes(parser: argparse.ArgumentParser, otherwise: str) -> None:
    parser.add_argument(
        "--max-bytes",
        type=_bytes,
        metavar="N",
        help=f"refuse what has more bytes decompressed, such as 20G (default: {otherwise})",
    )


_WHERE_BASES_ARE = "file, or directory with files, that IN was coded against"


def _add_base(parser: argparse.ArgumentParser, description: str) -> None:
    parser.add_argument("--base", action="append", metavar="PATH", help=f"{description}; may be given more than once")


def _add_work(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--threads",
        type=_threads,
        metavar="N",
        help="default: as many as there are processors for this process; at most 16",
    )
    _add_follow_links(parser)
    parser.add_argument("--quiet", action="store_true", help="no progress bar and no summary")
    _add_json(parser)


def _add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--json",
        action="store_true",
        help="print one JSON object for each IN, a line each, and nothing else on standard output",
    )


def _threads(value: str) -> int:
    if not value.isascii() or not value.isdigit() or not 1 <= int(value) <= 1024:
        raise argparse.ArgumentTypeError("expected 1 to 1024")
    return int(value)


def _bits(value: str) -> int:
    if not value.isascii() or not value.isdigit() or not 1 <= int(value) <= 32:
        raise argparse.ArgumentTypeError("expected 1 to 32")
    return int(value)


def _bytes(value: str) -> int:
    """As programs that limit memory or files take it: 500000, 500K, 20G, in powers of 1000."""
    match = re.fullmatch("([0-9]{1,15})([KMGT]?)B?", value.upper())
    if match is None:
        raise argparse.ArgumentTypeError("expected bytes, such as 500M or 20G")
    return int(match[1]) * 1000 ** " KMGT".index(match[2] or " ")


# ---------------------------------------------------------------------------------------------------- commands


def _run_nothing(_: argparse.Namespace) -> int:
    cuda, gpus = features()
    print(f"codecllm {__version__}, built {'with the GPU decoder' if cuda else 'host only'}; GPUs found: {gpus}")
    return 0


def _run_compress(arguments: argparse.Namespace) -> int:
    choices = {
        "profile": arguments.profile,
        "tile_rows": arguments.tile_rows,
        "base": arguments.base,
        "progressive": arguments.progressive,
        "for_transformers": arguments.loader == "transformers",
        "follow_links": arguments.follow_links,
    }
    if arguments.dry_run:
        paths = _inputs_of(arguments.paths)
        return _each(arguments, paths, format_estimate, lambda path, work, _: estimate(path, **choices, **work))
    return _transform(arguments, compressed_name, format_compressed, partial(compress, **choices))


def _inputs_of(paths: list[str]) -> list[str]:
    """The inputs of a dry run, whose output, the last of several paths as ever, is not there yet, or a stream."""
    is_output = len(paths) > 1 and (paths[-1] == "-" or not os.path.exists(paths[-1]))
    return paths[:-1] if is_output else paths


def _run_decompress(arguments: argparse.Namespace) -> int:
    choices = {
        "base": arguments.base,
        "bits": arguments.bits,
        "max_bytes": arguments.max_bytes,
        "follow_links": arguments.follow_links,
    }
    describe = partial(format_decompressed, bits=arguments.bits)
    return _transform(arguments, restored_name, describe, partial(decompress, **choices))


def _run_verify(arguments: argparse.Namespace) -> int:
    choices = {"base": arguments.base, "max_bytes": arguments.max_bytes, "follow_links": arguments.follow_links}
    return _each(arguments, arguments.paths, format_verified, lambda path, work, _: verify(path, **choices, **work))


def _run_inspect(arguments: argparse.Namespace) -> int:
    arguments.quiet, arguments.threads = False, None
    return _each(
        arguments,
        arguments.paths,
        format_inspected,
        lambda path, _work, _: inspect(path, follow_links=arguments.follow_links),
    )


def _run_clean(arguments: argparse.Namespace) -> int:
    for path in arguments.paths:
        for removed in clean(path):
            _print(f"{printable(removed)}: removed")
    return 0


_streams: StandardStreams | None = None
"""Standard input and output as files, where they are used."""


def _open_streams() -> StandardStreams:
    global _streams
    if _streams is None:
        _streams = StandardStreams()
    return _streams


_Job = Callable[[str, dict[str, Any], Callable[[str, str], None]], Any]
"""Does the work with an input, and reports; of what is no failure it tells."""


def _transform(
    arguments: argparse.Namespace,
    name_of: Callable[[str, bool], str | None],
    describe: Callable[[Any], str],
    run: Callable[..., Any],
) -> int:
    """A command that makes outputs of inputs: finds out their names first."""
    paths = arguments.paths
    if arguments.in_place:
        if "-" in paths or arguments.follow_links:
            raise _UsageError("--in-place takes files and directories, and follows no links")
        return _each(
            arguments, paths, describe, lambda path, work, notice: run(path, in_place=True, notice=notice, **work)
        )
    last = paths[-1] if len(paths) > 1 else None
    inputs = paths if last is None else paths[:-1]
    into = last is not None and _goes_into(last, inputs)
    if len(inputs) > 1 and not into:
        raise _UsageError(f"{last}: several inputs need a folder that exists for their outputs")
    if last == "-" and arguments.json:
        raise _UsageError("--json and the output would be mixed")
    arguments.quiet = arguments.quiet or last == "-"

    def work_on(path: str, work: dict[str, Any], notice: Callable[[str, str], None]) -> Any:  # noqa: ANN401
        if last == "-":
            streams = _open_streams()
            report = run(path, streams.output, force=True, notice=notice, **work)
            streams.write()
            return report
        output = last
        if last is None or into:
            name = name_of(path, stat.S_ISDIR(os.stat(path).st_mode))
            if name is None:
                raise _UsageError(f"{path}: nothing to name the output of {arguments.command} after; give OUT")
            output = name if last is None else os.path.join(last, os.path.basename(name))
        return run(path, output, force=arguments.force, notice=notice, **work)

    return _each(arguments, inputs, describe, work_on)


def _goes_into(path: str, inputs: list[str]) -> bool:
    """Whether outputs go into a folder that exists, as cp has it; of a directory, only where the path ends in a slash:
    it may be the one to replace.
    """
    if not os.path.isdir(path):
        return False
    return len(inputs) > 1 or path.endswith("/") or not os.path.isdir(inputs[0])


def _each(arguments: argparse.Namespace, paths: list[str], describe: Callable[[Any], str], run: _Job) -> int:
    """Runs a command with every input in turn, with a progress bar if a person watches, and prints reports."""
    status = 0

    def notice(named: str, what: str) -> None:
        if not arguments.quiet:
            _say(f"{named}: {what}")

    for path in paths:
        bar = None
        if sys.stderr.isatty() and not arguments.json and not arguments.quiet and arguments.command != "inspect":
            bar = _progress_bar()
        try:
            if path == "-":
                _open_streams().read()
            place = _open_streams().input if path == "-" else path
            work = {"threads": arguments.threads, "progress": None if bar is None else _update_of(bar)}
            try:
                report = run(place, work, notice)
            finally:
                if bar is not None:
                    bar.close()
            _show(arguments, path, report, describe)
        except (CodecError, OSError) as error:
            if isinstance(error, BrokenPipeError) or not isinstance(error, FileError | OSError):
                raise
            found = _fail(arguments, path, error, describe)
            status = FAILURE if FAILURE in (status, found) else found
    return status


def _show(arguments: argparse.Namespace, path: str, report: Any, describe: Callable[[Any], str]) -> None:  # noqa: ANN401
    if arguments.json:
        _print_json(arguments, _json_of(path, report))
    elif not arguments.quiet:
        _print(describe(report))


def _json_of(path: str, report: Any) -> dict[str, Any]:  # noqa: ANN401
    if isinstance(report, list):
        return {"input": path, "files": [as_json(file) for file in report]}
    return {"input": path} if report is None else as_json(report)


def _fail(arguments: argparse.Namespace, path: str, error: FileError | OSError, describe: Callable[[Any], str]) -> int:
    """Says what is wrong, and what is not, with one of the inputs; the others have their turn. @returns the code"""
    problems = error.problems if isinstance(error, FilesError) else [error]
    report = error.report if isinstance(error, FilesError) else None
    if report is not None and not arguments.json:
        _show(arguments, path, report, describe)
    for problem in problems:
        _say(_message(problem))
    if arguments.json:
        found = [as_json(problem_of(problem)) for problem in problems]
        value = {**_json_of(path, report), "problems": found, "error": _shown(_message(problems[0]))}
        _print_json(arguments, value)
    is_unchecked = report is not None and all(isinstance(problem, UncheckedError) for problem in problems)
    return UNCHECKED if is_unchecked else FAILURE


def _print_json(arguments: argparse.Namespace, value: dict[str, Any]) -> None:
    value = {"reportVersion": REPORT_VERSION, "command": arguments.command, **value}
    _print(json.dumps(value, ensure_ascii=False, separators=(",", ":")))


def _shown(text: str) -> str:
    """On one line, and with the names that people know."""
    return printable(text if _streams is None else _streams.named(text))


def _say(text: str) -> None:
    print(f"codecllm: {_shown(text)}", file=sys.stderr)


def _print(text: str) -> None:
    print("\n".join(map(_shown, text.split("\n"))))


def _message(error: BaseException) -> str:
    """What is wrong, in one line that begins with a path."""
    if isinstance(error, FileExistsError):
        return f"{error.filename}: exists already; --force replaces it"
    if isinstance(error, OSError) and error.filename is not None:
        problem = error.strerror or ""
        return f"{os.fsdecode(error.filename)}: {problem[:1].lower()}{problem[1:]}"
    return str(error) or type(error).__name__


# ------------------------------------------------------------------------------------ who watches, who interrupts


def _progress_bar() -> Any:  # noqa: ANN401
    """A bar with rate and time left, if tqdm is there."""
    try:
        from tqdm import tqdm  # type: ignore[import-untyped]
    except ImportError:
        return None
    return tqdm(unit="B", unit_scale=True, delay=_DELAY_SECONDS, leave=False)


def _update_of(bar: Any) -> Progress:  # noqa: ANN401
    def update(done: int, total: int) -> None:
        bar.total = total
        bar.update(done - bar.n)

    return update


def _remove_temporaries_at_signals() -> None:
    def end(number: int, _: FrameType | None) -> None:
        kept = remove_temporaries()
        if sys.stderr.isatty():
            # The bar, if there is one. Nothing of Python's own may be used in between what it interrupts.
            os.write(sys.stderr.fileno(), b"\r\x1b[K")
        for text in kept:
            os.write(sys.stderr.fileno(), f"codecllm: {printable(text)}\n".encode(errors="backslashreplace"))
        # Threads may be at work: there is nothing to wait for.
        os._exit(128 + number)

    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        # nohup ignores the first one.
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, end)


def main_of_a_pipe() -> int:
    """Like `main`, but a reader that has seen enough, like head, is no failure."""
    try:
        status = main()
        sys.stdout.flush()
    except BrokenPipeError:
        # Python flushes once more when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return status


if __name__ == "__main__":
    sys.exit(main_of_a_pipe())

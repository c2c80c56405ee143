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
import sys
from collections.abc import Callable
from functools import partial
from types import FrameType
from typing import Any

from . import __version__, features
from ._commands import Progress, compress, compressed_name, decompress, inspect, restored_name, verify
from ._errors import CodecError
from ._output import leftovers, remove_temporaries
from ._report import Report, as_json
from ._selftest import selftest
from ._tables import PROFILES, TILE_ROWS
from ._text import format_compressed, format_decompressed, format_inspected, format_verified, printable

FAILURE = 1
USAGE = 2

_DELAY_SECONDS = 0.5
"""Shorter work needs no bar."""

EXIT_CODES = """\
exit codes:
  0  done
  1  failed: a file cannot be read, written or understood, or does not verify
  2  the command line is not understood
  129, 130, 143  interrupted (SIGHUP, SIGINT, SIGTERM); nothing is left behind
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
            _print_json({"error": message})
        return FAILURE


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
        added.set_defaults(run=run)
        return added

    added = command(
        "compress",
        "Compress a .safetensors file, or every one in a directory, whose other files are copied.",
        _run_compress,
    )
    _add_input(added)
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
    _add_work(added)

    added = command(
        "decompress", "Give back the original of a compressed file or directory, byte for byte.", _run_decompress
    )
    _add_input(added)
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
    _add_json(added)

    command("selftest", "Compress and decode four arrays, and compare.", lambda _: 0 if selftest() else FAILURE)
    return parser


def _add_input(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("input", metavar="IN", help="file or directory")


def _add_output(parser: argparse.ArgumentParser, default: str) -> None:
    parser.add_argument("output", metavar="OUT", nargs="?", help=f"default: {default}")
    parser.add_argument("--force", action="store_true", help="replace an output that exists")


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
    parser.add_argument("--quiet", action="store_true", help="no progress bar and no summary")
    _add_json(parser)


def _add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--json", action="store_true", help="print one JSON object, and nothing else, on standard output"
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
    output = _output_of(arguments, compressed_name)
    _name_leftovers(output, arguments)
    choices = {
        "profile": arguments.profile,
        "tile_rows": arguments.tile_rows,
        "base": arguments.base,
        "progressive": arguments.progressive,
        "for_transformers": arguments.loader == "transformers",
    }
    return _work(
        arguments,
        format_compressed,
        lambda **work: compress(arguments.input, output, force=arguments.force, **choices, **work),
    )


def _run_decompress(arguments: argparse.Namespace) -> int:
    output = _output_of(arguments, restored_name)
    _name_leftovers(output, arguments)
    return _work(
        arguments,
        partial(format_decompressed, bits=arguments.bits),
        lambda **work: decompress(
            arguments.input,
            output,
            base=arguments.base,
            bits=arguments.bits,
            force=arguments.force,
            max_bytes=arguments.max_bytes,
            **work,
        ),
    )


def _run_verify(arguments: argparse.Namespace) -> int:
    return _work(
        arguments,
        format_verified,
        lambda **work: verify(arguments.input, base=arguments.base, max_bytes=arguments.max_bytes, **work),
    )


def _run_inspect(arguments: argparse.Namespace) -> int:
    files = inspect(arguments.input)
    if arguments.json:
        _print_json({"input": arguments.input, "files": [as_json(file) for file in files]})
    else:
        _print(format_inspected(files))
    return 0


def _output_of(arguments: argparse.Namespace, name_of: Callable[[str], str]) -> str:
    if arguments.output is not None:
        return arguments.output
    try:
        return name_of(arguments.input)
    except ValueError as error:
        raise _UsageError(f"{error}; give OUT") from None


def _name_leftovers(output: str, arguments: argparse.Namespace) -> None:
    """Of runs that were killed. Nobody but the user knows that none of them goes on."""
    for path in [] if arguments.quiet else leftovers(output):
        print(
            f"codecllm: {printable(path)}: left by a run that was killed, unless another one is writing it now",
            file=sys.stderr,
        )


def _work(arguments: argparse.Namespace, describe: Callable[[Report], str], run: Callable[..., Report]) -> int:
    """Runs a command with a progress bar if a person watches, and prints its report."""
    bar = None
    if sys.stderr.isatty() and not arguments.json and not arguments.quiet:
        bar = _progress_bar()
    try:
        report = run(threads=arguments.threads, progress=None if bar is None else _update_of(bar))
    finally:
        if bar is not None:
            bar.close()
    if arguments.json:
        _print_json(as_json(report))
    elif not arguments.quiet:
        _print(describe(report))
    return 0


def _print_json(value: dict[str, Any]) -> None:
    _print(json.dumps(value, ensure_ascii=False, indent=2))


def _print(text: str) -> None:
    print("\n".join(map(printable, text.split("\n"))))


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
        remove_temporaries()
        if sys.stderr.isatty():
            # The bar, if there is one. Nothing of Python's own may be used in between what it interrupts.
            os.write(sys.stderr.fileno(), b"\r\x1b[K")
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

"""`python -m codecllm` says what was built and what is there; `python -m codecllm selftest` tries it."""

import argparse
import os
import sys

from . import __version__, features
from ._selftest import selftest


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m codecllm", description="Says what was built and what is there.")
    parser.add_argument("command", nargs="?", choices=["selftest"], help="compress and decode four arrays, and compare")
    if parser.parse_args().command == "selftest":
        return 0 if selftest() else 1
    cuda, gpus = features()
    print(f"codecllm {__version__}, built {'with the GPU decoder' if cuda else 'host only'}; GPUs found: {gpus}")
    return 0


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

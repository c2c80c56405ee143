"""`python -m codecllm` says what was built and what is there; `python -m codecllm selftest` tries it."""

import argparse
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


if __name__ == "__main__":
    sys.exit(main())

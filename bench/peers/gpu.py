#!/usr/bin/env python3
"""GPU decoders side by side: the same tensors, one run, one way to take the time (timing.py).

    pip install ./python torch safetensors cupy-cuda13x     # and nvcc, git
    python3 bench/peers/gpu.py RECORD.json [--weights CHECKPOINT.safetensors]

Gets the codecs first (setup.py says how, and what it takes), unless --folder has them. Each codec runs in a process of
its own, one after another, so that none can harm the others; what cannot be had, does not take the data or gives
something else back is named with the reason. Every decoded byte is compared with its original. Sizes are whole: all
streams, tables and indices that a decoder needs. Prints a table for the README, writes all settings of all codecs to
RECORD.json; exits with 1 if ours failed, with 3 where there is no GPU.
"""

from __future__ import annotations

import argparse
import datetime
import importlib
import json
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import setup

if TYPE_CHECKING:
    from decoders import Coded
    from inputs import Data

# Modules of decoders/; all but ours have a folder of this name where setup.py puts them.
OURS = "ours"
CODECS = (OURS, "nvcomp", "nwc", "glyd", "dietgpu", "dfloat11", "lmzip")
SECONDS_A_CODEC = 120


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("record", type=Path)
    parser.add_argument("--weights", type=Path, help="a checkpoint whose matrices of BF16 are measured, too")
    parser.add_argument("--folder", type=Path, default=setup.CACHE, help="where the codecs are, or are put")
    parser.add_argument("--only", nargs="+", choices=CODECS, default=CODECS)
    parser.add_argument("--size", type=int, default=16384, help="rows and columns of the large tensors")
    parser.add_argument("--codec", choices=CODECS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    arguments.folder = arguments.folder.resolve()
    if arguments.codec:
        measure(arguments)
        return 0

    import torch

    if not torch.cuda.is_available():
        print("no GPU: nothing was measured")
        return 3
    problems = setup.install(arguments.folder, setup.this_architecture(), [each for each in CODECS if each != OURS])
    record = about()
    record["command"] = " ".join(["python3", *sys.argv])
    record["codecs"] = []
    for codec in arguments.only:
        missing = {"module": codec, "name": codec, "rows": [], "problem": problems.get(codec)}
        record["codecs"].append(missing if codec in problems else run_alone(codec, arguments))
        arguments.record.write_text(json.dumps(record, indent=1) + "\n")
    print(table(record))
    ours = next((each for each in record["codecs"] if each.get("module") == OURS), {})
    failed = OURS in arguments.only and (
        "problem" in ours or not ours["rows"] or any("problem" in row for row in ours["rows"])
    )
    return 1 if failed else 0


def about() -> dict[str, object]:
    """The machine and the sources."""
    import timing
    import torch

    driver = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    commit = ["git", "-C", Path(__file__).parent, "describe", "--always", "--dirty", "--abbrev=12"]
    return {
        "date": datetime.date.today().isoformat(),
        "gpu": torch.cuda.get_device_name(),
        "driver": output_of(driver),
        "cuda": torch.version.cuda,
        "torch": torch.__version__,
        "commit": output_of(commit),
        "copyGBps": round(timing.copy_rate(2**29), 1),
    }


def output_of(command: list[object]) -> str | None:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\n")[0].strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def run_alone(codec: str, arguments: argparse.Namespace) -> dict[str, object]:
    """What a codec's own process finds: its version and rows, or why there are none."""
    with tempfile.TemporaryDirectory() as temporary:
        lines = Path(temporary) / "lines"
        command = [sys.executable, __file__, lines, "--codec", codec, "--folder", arguments.folder]
        command += ["--size", str(arguments.size)]
        if arguments.weights:
            command += ["--weights", arguments.weights]
        print(f"{codec} ...", flush=True)
        try:
            ended = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS_A_CODEC)
            problem = f"ended with {ended.returncode}: {ended.stderr.strip()[-400:]}" if ended.returncode else None
            print(ended.stderr[-2000:], end="", file=sys.stderr)
        except subprocess.TimeoutExpired:
            problem = f"not ready after {SECONDS_A_CODEC} s"
        found = [json.loads(line) for line in lines.read_text().splitlines()] if lines.exists() else []
    # What was measured before it ended counts.
    result = found[0] if found else {"module": codec, "name": codec}
    result["rows"] = found[1:]
    if problem:
        result["problem"] = problem
        print(f"  {problem}")
    for row in result["rows"]:
        print("  " + " | ".join(str(value) for value in row.values()))
    sys.stdout.flush()
    return result


def measure(arguments: argparse.Namespace) -> None:
    """Measures a codec in this process. Writes lines of JSON: first what it is, then a row for each setting."""
    import inputs
    import torch

    module = importlib.import_module(f"decoders.{arguments.codec}")
    folder = arguments.folder / arguments.codec
    with open(arguments.record, "w") as lines:

        def write(found: dict[str, object]) -> None:
            print(json.dumps(found), file=lines, flush=True)

        about = {"module": arguments.codec, "name": module.NAME}
        try:
            about["version"] = module.version(folder)
        except Exception as error:  # whatever a codec finds missing
            write({**about, "problem": f"{type(error).__name__}: {error}"})
            return
        write(about)
        for each in inputs.inputs(arguments.size, arguments.weights):
            for row in rows(module, folder, each):
                write({"data": each.name, **row})
                torch.cuda.empty_cache()


def rows(module: ModuleType, folder: Path, data: Data) -> Iterator[dict[str, object]]:
    """A row for each setting: summed over the groups of the data, which each have the same settings."""
    from decoders import UnsupportedError

    brief = len(data.groups) > 1
    size = sum(tensor.nbytes for group in data.groups for tensor in group)
    try:
        groups = [list(module.settings(folder, group, data.dtype, brief)) for group in data.groups]
    except UnsupportedError as error:
        yield {"problem": str(error)}
        return
    for same in zip(*groups, strict=True):
        row: dict[str, object] = {"setting": same[0][0]}
        try:
            row.update(decode_all([encode for _, encode in same], size))
        except Exception as error:  # of one setting: the others are still of interest
            if not isinstance(error, UnsupportedError):
                traceback.print_exc()
            row["problem"] = f"{type(error).__name__}: {error}"
        yield row


def decode_all(encoders: list[Callable[[], Coded]], size: int) -> dict[str, object]:
    """Ratio and rate of tensors of so many bytes, in groups that are encoded and decoded one after another."""
    import timing

    stored, seconds = 0, 0.0
    for encode in encoders:
        coded = encode()
        elapsed, launched = timing.seconds_of(coded)
        stored += coded.stored_bytes
        seconds += elapsed
    found = {"ratio": round(stored / size, 5), "GBps": round(size / seconds / 1e9, 1), "launched": launched}
    return {"variant": coded.variant, **found} if coded.variant else found


def table(record: dict) -> str:
    """Markdown: of each codec on each data the fastest setting, and the smallest if that is another."""
    date, gpu, cuda, driver, copy = (record[key] for key in ("date", "gpu", "cuda", "driver", "copyGBps"))
    lines = [f"{date}, {gpu}, CUDA {cuda}, driver {driver}; a copy moves {copy:.0f} GB/s, read and written", ""]
    measured = [(codec, row) for codec in record["codecs"] for row in codec.get("rows", []) if "problem" not in row]
    for name in dict.fromkeys(row["data"] for _, row in measured):
        lines += [f"| {name} | setting | ratio | GB/s |", "| --- | --- | --- | --- |"]
        of_codec: dict[str, list[dict]] = {}
        for codec, row in measured:
            if row["data"] == name:
                title = f"{codec['name']} {codec['version']}" + (f", {row['variant']}" if "variant" in row else "")
                of_codec.setdefault(title, []).append(row)
        for title, found in of_codec.items():
            fastest = max(found, key=lambda row: row["GBps"])
            smallest = min(found, key=lambda row: (row["ratio"], -row["GBps"]))
            for row in [fastest] if smallest is fastest else [fastest, smallest]:
                lines.append(f"| {title} | {row['setting']} | {row['ratio']:.4f} | {row['GBps']:.0f} |")
        lines.append("")
    for codec in record["codecs"]:
        if "problem" in codec:
            lines.append(f"- {codec['name']}: {codec['problem']}")
        # One line for what several settings had in common.
        for row in {(row["data"], row["problem"]): row for row in codec.get("rows", []) if "problem" in row}.values():
            setting = f" ({row['setting']})" if row.get("setting") else ""
            lines.append(f"- {codec['name']}, {row['data']}{setting}: {row['problem']}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""Loaders of checkpoints side by side: the same tensors from a file onto the GPU, one run.

    pip install ./python torch safetensors
    python3 bench/peers/load.py RECORD.json [--disk FOLDER] [--memory /dev/shm]

Makes a checkpoint of 5.2 GB in BF16, twelve layers of the shape of Llama 3 8B, each row and column with a scale of its
own, as it is and compressed, in both folders. Each loader runs in a process of its own, one after another, and loads
its file from memory, from a disk whose pages are cached (warm) and from one whose pages were dropped (cold). PyTorch's
device memory is given back before each load. Every loaded bit is compared. GB/s are bytes of the tensors by the median
time, what is first in its process aside. Prints a table, writes all times to RECORD.json; exits with 1 if ours failed,
with 3 where there is no GPU.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import hashlib
import importlib.metadata
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import gpu
import setup

if TYPE_CHECKING:
    import torch

    Tensors = dict[str, torch.Tensor]

LAYERS = 12
SHAPES = {
    "self_attn.q_proj": (4096, 4096),
    "self_attn.k_proj": (1024, 4096),
    "self_attn.v_proj": (1024, 4096),
    "self_attn.o_proj": (4096, 4096),
    "mlp.gate_proj": (14336, 4096),
    "mlp.up_proj": (14336, 4096),
    "mlp.down_proj": (4096, 14336),
}
SEED = 20261128
PLAIN = "plain"
PROFILES = ("small", "fast")
RUNS = {"memory": 5, "warm": 3, "cold": 3}
SECONDS_A_LOADER = 180


# ------------------------------------------------------------------------------------------------------------- loaders


def codecllm(path: Path) -> Tensors:
    from codecllm.torch import load_file

    return load_file(path, "cuda")


def safetensors(path: Path) -> Tensors:
    from safetensors.torch import load_file

    return load_file(path, "cuda")


def instanttensor(path: Path, **options: object) -> Tensors:
    from instanttensor import safe_open

    with safe_open(str(path), framework="pt", device=0, **options) as file:
        return dict(file.tensors())


def instanttensor_buffered(path: Path) -> Tensors:
    from instanttensor import BackendPolicy

    return instanttensor(path, backend=BackendPolicy.BUFFERED)


def fastsafetensors(path: Path) -> Tensors:
    from fastsafetensors import fastsafe_open

    # Tensors share the memory that they were loaded into.
    with fastsafe_open(str(path), device="cuda:0", nogds=True) as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def runai(path: Path) -> Tensors:
    from runai_model_streamer import SafetensorsStreamer

    with SafetensorsStreamer() as streamer:
        streamer.stream_file(str(path), device="cuda")
        return dict(streamer.get_tensors())


# Name of a row: how it loads, the package of its version, where setup.py puts that (None: it is installed), its file.
LOADERS: dict[str, tuple[Callable[[Path], Tensors], str, str | None, str]] = {
    "codecllm, small": (codecllm, "codecllm", None, "small"),
    "codecllm, fast": (codecllm, "codecllm", None, "fast"),
    "InstantTensor": (instanttensor, "instanttensor", "instanttensor", PLAIN),
    "InstantTensor, buffered": (instanttensor_buffered, "instanttensor", "instanttensor", PLAIN),
    "fastsafetensors": (fastsafetensors, "fastsafetensors", "fastsafetensors", PLAIN),
    "Run:ai model streamer": (runai, "runai-model-streamer", "runai", PLAIN),
    "safetensors": (safetensors, "safetensors", None, PLAIN),
}
PEERS = tuple(dict.fromkeys(place for _, _, place, _ in LOADERS.values() if place))


# ------------------------------------------------------------------------------------------------------------ one run


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("record", type=Path)
    parser.add_argument("--disk", type=Path, help="a folder on the disk that is to be measured (a temporary one)")
    parser.add_argument("--memory", type=Path, default=Path("/dev/shm"), help="a folder in memory")
    parser.add_argument("--folder", type=Path, default=setup.CACHE, help="where the loaders are, or are put")
    parser.add_argument("--only", nargs="+", choices=LOADERS, default=list(LOADERS))
    parser.add_argument("--layers", type=int, default=LAYERS)
    parser.add_argument("--loader", choices=LOADERS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.loader:
        measure(arguments)
        return 0

    import torch

    if not torch.cuda.is_available():
        print("no GPU: nothing was measured")
        return 3
    arguments.folder = arguments.folder.resolve()
    problems = setup.install(arguments.folder, setup.this_architecture(), PEERS)
    record = gpu.about()
    record["command"] = " ".join(["python3", *sys.argv])
    record["cpus"] = len(os.sched_getaffinity(0))
    with contextlib.ExitStack() as folders:
        for name in ("memory", "disk"):
            temporary = tempfile.TemporaryDirectory(dir=getattr(arguments, name))
            setattr(arguments, name, Path(folders.enter_context(temporary)))
        record["checkpoint"] = make_checkpoints(arguments)
        print(json.dumps(record["checkpoint"]), flush=True)
        record["loaders"] = []
        for name in arguments.only:
            place = LOADERS[name][2]
            row = {"name": name, "problem": problems[place]} if place in problems else run_alone(name, arguments)
            record["loaders"].append(row)
            arguments.record.write_text(json.dumps(record, indent=1) + "\n")
    print(table(record))
    return int(any("problem" in row for row in record["loaders"] if LOADERS[row["name"]][0] is codecllm))


def make_tensors(layers: int) -> Tensors:
    """The same bits in each process of a run."""
    import torch

    generator = torch.Generator("cuda").manual_seed(SEED)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, device="cuda", generator=generator)

    tensors = {}
    for layer in range(layers):
        for name, shape in SHAPES.items():
            rows, columns = (torch.exp(0.25 * normal(size)) for size in shape)
            weight = 0.02 * rows[:, None] * columns * normal(*shape)
            tensors[f"model.layers.{layer}.{name}.weight"] = weight.bfloat16()
    return tensors


def make_checkpoints(arguments: argparse.Namespace) -> dict[str, object]:
    """Writes all files, and takes the time of those of tensors on the GPU."""
    import torch
    from codecllm.torch import save_file
    from safetensors.torch import save_file as save_plain

    tensors = make_tensors(arguments.layers)
    size = sum(tensor.nbytes for tensor in tensors.values())
    found: dict[str, object] = {"bytes": size}
    seconds = {}
    for profile in (*PROFILES, PLAIN):
        path = file_of(arguments.memory, profile)
        start = time.perf_counter()
        if profile == PLAIN:
            save_plain(tensors, path)
        else:
            save_file(tensors, path, profile=profile)
        seconds[profile] = round(time.perf_counter() - start, 2)
        shutil.copy(path, arguments.disk)
    found["ratio"] = {each: round(file_of(arguments.memory, each).stat().st_size / size, 4) for each in PROFILES}
    found["saveSeconds"] = seconds
    # The container's hash of the original, on one processor: what saving cannot be faster than.
    sample = next(iter(tensors.values())).view(torch.uint8).cpu().numpy()
    start = time.perf_counter()
    hashlib.sha256(sample)
    found["sha256GBps"] = round(sample.nbytes / (time.perf_counter() - start) / 1e9, 2)
    del tensors
    torch.cuda.empty_cache()
    # So that pages can be dropped: those that wait to be written cannot.
    os.sync()
    return found


def file_of(folder: Path, name: str) -> Path:
    return folder / f"{name}.safetensors"


def run_alone(name: str, arguments: argparse.Namespace) -> dict[str, object]:
    """What a loader's own process finds: its version and its times, or why there are none."""
    _, package, place, _ = LOADERS[name]
    with tempfile.TemporaryDirectory() as temporary:
        lines = Path(temporary) / "lines"
        command = [sys.executable, __file__, lines, "--loader", name, "--layers", str(arguments.layers)]
        command += ["--memory", arguments.memory, "--disk", arguments.disk]
        environment = dict(os.environ)
        if place:
            path = [str(arguments.folder / place), environment.get("PYTHONPATH", "")]
            environment["PYTHONPATH"] = os.pathsep.join(filter(None, path))
        problem = None
        try:
            ended = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS_A_LOADER, env=environment)
            if ended.returncode:
                problem = f"ended with {ended.returncode}: {ended.stderr.strip()[-400:]}"
        except subprocess.TimeoutExpired:
            problem = f"not ready after {SECONDS_A_LOADER} s"
        # What was measured before it ended counts.
        found = [json.loads(line) for line in lines.read_text().splitlines()] if lines.exists() else []
    row: dict[str, object] = {"name": name, "package": package}
    for each in found:
        row |= each
    if problem:
        row["problem"] = problem
    print(json.dumps(row), flush=True)
    return row


def measure(arguments: argparse.Namespace) -> None:
    """Measures a loader in this process. Writes lines of JSON: its version, its first time, those from each place."""
    import torch

    loader, package, _, file = LOADERS[arguments.loader]
    with open(arguments.record, "w") as lines:

        def write(**found: object) -> None:
            print(json.dumps(found), file=lines, flush=True)

        # Ours may be used where its sources are: then there are no metadata of the package.
        ours = loader is codecllm
        write(version=importlib.import_module(package).__version__ if ours else importlib.metadata.version(package))
        torch.zeros(1, device="cuda")
        seconds, loaded = timed(loader, file_of(arguments.memory, file))
        write(first=round(seconds, 4))
        expected = make_tensors(arguments.layers)
        check_same(loaded, expected)
        del loaded
        for state, runs in RUNS.items():
            path = file_of(arguments.memory if state == "memory" else arguments.disk, file)
            all_seconds = []
            for _ in runs_of(state, runs, path):
                seconds, loaded = timed(loader, path)
                check_same(loaded, expected)
                del loaded
                all_seconds.append(round(seconds, 4))
            write(**{state: all_seconds})


def runs_of(state: str, runs: int, path: Path) -> Iterator[None]:
    """Prepares so many runs: pages of the file cached, or not, and no device memory held."""
    import torch

    if state == "warm":
        with open(path, "rb", buffering=0) as file:
            piece = bytearray(2**24)
            while file.readinto(piece):
                pass
    for _ in range(runs):
        gc.collect()
        torch.cuda.empty_cache()
        if state == "cold":
            with open(path, "rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        yield


def timed(loader: Callable[[Path], Tensors], path: Path) -> tuple[float, Tensors]:
    import torch

    torch.cuda.synchronize()
    start = time.perf_counter()
    loaded = loader(path)
    torch.cuda.synchronize()
    return time.perf_counter() - start, loaded


def check_same(loaded: Tensors, expected: Tensors) -> None:
    import torch

    if loaded.keys() != expected.keys():
        raise ValueError("other tensors were loaded")
    for name, tensor in expected.items():
        if not torch.equal(loaded[name].view(torch.int16), tensor.view(torch.int16)):
            raise ValueError(f"{name} was loaded with other bits")


def table(record: dict) -> str:
    """Markdown: GB/s of the tensors, and seconds of the first load in a process."""
    size = record["checkpoint"]["bytes"]
    lines = [
        f"{record['date']}, {record['gpu']}, {record['cpus']} processors, CUDA {record['cuda']}, driver "
        f"{record['driver']}, PyTorch {record['torch']}; {size / 1e9:.2f} GB",
        "",
        "| loader | memory | disk, warm | disk, cold | first |",
        "| --- | --- | --- | --- | --- |",
    ]
    for row in record["loaders"]:
        rates = [f"{size / statistics.median(row[state]) / 1e9:.1f}" if state in row else "-" for state in RUNS]
        first = f"{row['first']:.2f} s" if "first" in row else "-"
        lines.append(f"| {row['name']} {row.get('version', '')} | {' | '.join(rates)} | {first} |")
    lines.append("")
    lines += [f"- {row['name']}: {row['problem']}" for row in record["loaders"] if "problem" in row]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())

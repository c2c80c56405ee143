#!/usr/bin/env python3
"""How other compressors do on the same tensors, on the CPU.

`npm run bench` runs this, with the Python that PYTHON names.

    pip install zstandard==0.25.0 zipnn==0.5.4 lmzip==1.3.0

Reads a request as JSON from standard input: a file, where its tensors of BF16 lie (offset and bytes), and for how many
seconds to measure each step. Writes a line of JSON for each compressor. All of them work on one thread, in memory and
without checksums of their own, and what comes back is compared.
"""

import importlib.metadata
import json
import statistics
import sys
import time
from collections.abc import Callable


def zstd() -> tuple[Callable, Callable]:
    import zstandard

    return zstandard.ZstdCompressor(level=3).compress, zstandard.ZstdDecompressor().decompress


def zipnn() -> tuple[Callable, Callable]:
    import zipnn

    codec = zipnn.ZipNN(input_format="byte", bytearray_dtype="bfloat16", threads=1)
    return codec.compress, codec.decompress


def lmzip() -> tuple[Callable, Callable]:
    # What the package's own benchmark measures.
    from lmz import codec, planner

    def compress(data: bytes) -> tuple:
        parts, method, flags, _ = codec.encode_chunk(data, 2, level=1, checksum=False, kind=planner.KIND_BF16)
        return b"".join(parts), method, flags, len(data)

    def decompress(chunk: tuple) -> bytes:
        payload, method, flags, length = chunk
        return codec.decode_chunk(payload, method, 2, flags, length, verify=False)

    return compress, decompress


PEERS = {
    "zstd -3": ("zstandard", zstd),
    "zipnn": ("zipnn", zipnn),
    "lmzip": ("lmzip", lmzip),
}


def rate(work: Callable, items: list, size: int, seconds: float) -> float:
    """Millions of bytes a second of a processor: the median of rounds over all items, after one that does not count."""
    rounds = []
    begin = time.perf_counter()
    while len(rounds) < 4 or time.perf_counter() - begin < seconds:
        start = time.process_time()
        for item in items:
            work(item)
        rounds.append(size / 1e6 / (time.process_time() - start))
    return statistics.median(rounds[1:])


def measure(package: str, make: Callable, tensors: list[bytes], seconds: float) -> dict[str, object]:
    compress, decompress = make()
    size = sum(map(len, tensors))
    # Some work in their input.
    copies = [bytes(bytearray(tensor)) for tensor in tensors]
    compressed = [compress(copy) for copy in copies]
    for tensor, stream in zip(tensors, compressed, strict=True):
        if bytes(decompress(stream)) != tensor:
            raise ValueError("what comes back is something else")
    stored = sum(len(stream[0] if isinstance(stream, tuple) else stream) for stream in compressed)
    return {
        "version": importlib.metadata.version(package),
        "ratio": stored / size,
        "compress": rate(compress, copies, size, seconds),
        "decompress": rate(decompress, compressed, size, seconds),
    }


def main() -> None:
    request = json.load(sys.stdin)
    tensors = []
    with open(request["path"], "rb") as file:
        for offset, length in request["tensors"]:
            file.seek(offset)
            tensors.append(file.read(length))
    for name, (package, make) in PEERS.items():
        try:
            result = measure(package, make, tensors, request["seconds"])
        except Exception as error:  # a peer that fails is no reason not to hear of the others
            result = {"problem": f"{type(error).__name__}: {error}"}
        print(json.dumps({"name": name, **result}), flush=True)


if __name__ == "__main__":
    main()

"""What makes a safetensors file a CodecLLM file (spec/FORMAT.md, section 11): some of its tensors are streams, and its
`__metadata__` says how to get the original file back.

Nothing here reads or writes a file.
"""

from __future__ import annotations

import re

from ._errors import FileError, quoted
from ._safetensors import Header, by_place

PREFIX = "codecllm."
"""Keys of `__metadata__` that begin with this are ours, the others are the original's."""
VERSION_KEY = f"{PREFIX}version"
STREAMS_KEY = f"{PREFIX}streams"
SHA256_KEY = f"{PREFIX}sha256"
HEADER_KEY = f"{PREFIX}header"
VERSION = "1"

DATA_ALIGNMENT = 64
"""Data begin at a multiple of this."""


def stream_names(header: Header, path: str) -> set[str]:
    """The tensors of a file that are streams: none where it is not compressed."""
    metadata = header.metadata or {}
    if not any(key.startswith(PREFIX) for key in metadata):
        return set()

    def entry(key: str, pattern: str) -> str:
        if key not in metadata:
            raise FileError(path, f'{quoted(key)} is missing in its "__metadata__"')
        if not re.match(pattern, metadata[key]):
            raise FileError(path, f'{quoted(key)} in its "__metadata__" is damaged')
        return metadata[key]

    version = entry(VERSION_KEY, "")
    if version != VERSION:
        raise FileError(path, f"its version is {quoted(version)}; this program reads {VERSION}")
    streams = int(entry(STREAMS_KEY, r"(0|[1-9][0-9]{0,8})\Z"))
    if streams > len(header.tensors):
        raise FileError(path, f'{quoted(STREAMS_KEY)} in its "__metadata__" is more than it has tensors')
    return {tensor.name for tensor in by_place(header.tensors)[:streams]}

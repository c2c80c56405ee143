"""Open checkpoints: a file or a directory of them, compressed or not, and where each tensor lies."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping

from . import _container
from ._bases import Bases, Paths
from ._closing import Closing
from ._errors import FileError, quoted
from ._input import InputBytes, InputFile
from ._safetensors import by_place
from ._stored import StoredTensor, StoredTensors, read_checkpoint, uncollected

INDEX_NAME = "model.safetensors.index.json"
FILE_NAME = "model.safetensors"


class _Together(Mapping[str, StoredTensor]):
    """The tensors of several files, by name, each made when it is asked for."""

    def __init__(self, by_name: Mapping[str, StoredTensors]) -> None:
        self._by_name = by_name

    def __getitem__(self, name: str) -> StoredTensor:
        return self._by_name[name][name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_name)

    def __len__(self) -> int:
        return len(self._by_name)

    def __contains__(self, name: object) -> bool:
        return name in self._by_name


class Checkpoint(Closing):
    """An open checkpoint: a file, compressed or not, or a directory of shards with their index.

    Args:
        source: a safetensors file, or its bytes; or a directory with model.safetensors.index.json and the shards that
            it names, or with model.safetensors
        base: what it is coded against, and that, and so on: files, and directories that hold them
        bits: how many of each word of a tensor in layers are enough; then files may still be growing

    Raises:
        FileError: something in it cannot be understood; the message names file, tensor and field
        OSError: a file cannot be read
    """

    metadata: dict[str, str] | None
    """The original's; of a directory, that of all shards together. None where there is none."""
    tensors: Mapping[str, StoredTensor]
    """In the order of the original's data, shard by shard."""

    @uncollected()
    def __init__(
        self, source: str | os.PathLike[str] | InputBytes, base: Paths | None = None, bits: int | None = None
    ) -> None:
        self._bits = bits
        self._files: list[InputFile] = []
        self._bases = Bases(base)
        self.path = source.path if isinstance(source, InputBytes) else os.fspath(source)
        self._by_name: dict[str, StoredTensors] = {}
        self.metadata = None
        self.tensors = _Together(self._by_name)
        try:
            if isinstance(source, InputBytes):
                self._open(source)
            elif os.path.isdir(self.path):
                self._open_directory()
            else:
                self._open(InputFile(self.path))
        except BaseException:
            self.close()
            raise

    def tensor(self, name: str) -> StoredTensor:
        """The tensor of a name. @raises FileError where there is none"""
        if not isinstance(name, str):
            raise TypeError(f"expected the name of a tensor, not {type(name).__name__}")
        if name not in self.tensors:
            raise FileError(self.path, f"has no tensor {quoted(name)}")
        return self.tensors[name]

    def _open_directory(self) -> None:
        index = os.path.join(self.path, INDEX_NAME)
        if not os.path.exists(index):
            file = os.path.join(self.path, FILE_NAME)
            if not os.path.exists(file):
                raise FileError(self.path, f"a directory with neither {FILE_NAME} nor {INDEX_NAME}")
            self._open(InputFile(file))
            return
        wanted = _read_index(index)
        for shard in sorted(set(wanted.values())):
            self._open(InputFile(os.path.join(self.path, shard)))
        for name, shard in wanted.items():
            if name not in self.tensors or os.path.basename(self.tensors[name].file.path) != shard:
                raise FileError(index, f"{quoted(name)} is not in {shard}")

    def _open(self, file: InputFile) -> None:
        self._files.append(file)
        header, container, tensors = read_checkpoint(file, self._bits)
        self._bases.resolve(tensors, container)
        # Where the original's header is rebuilt from this one, that is in the order of its keys.
        entries = header.tensors if container is None else container.original.values()
        names = [entry.name for entry in by_place(entries)] or list(tensors)
        twice = next((name for name in names if name in self._by_name), None)
        if twice is not None:
            raise FileError(file.path, f"{quoted(twice)} is in another shard, too")
        self._by_name.update(dict.fromkeys(names, tensors))
        metadata = _container.original_metadata(header)
        if metadata:
            self.metadata = {**(self.metadata or {}), **metadata}

    def close(self) -> None:
        while self._files:
            self._files.pop().close()
        self._bases.close()


def _read_index(path: str) -> dict[str, str]:
    """The name of the shard that holds each tensor."""
    with open(path, encoding="utf-8") as file:
        try:
            weight_map = json.load(file)["weight_map"]
        except (ValueError, KeyError, TypeError, RecursionError):
            raise FileError(path, 'is not JSON with a "weight_map"') from None
    if not isinstance(weight_map, dict):
        raise FileError(path, '"weight_map" is not an object')
    for name, shard in weight_map.items():
        # A shard lies beside its index, and nowhere else.
        if not isinstance(shard, str) or os.path.basename(shard) != shard:
            raise FileError(path, f'"weight_map", {quoted(name)} is not the name of a file')
    return weight_map

"""Tensors into a compressed checkpoint, byte for byte as `codecllm compress` writes it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from . import _container, _library
from ._bases import Bases, Paths, checkpoints_under
from ._copies import Bytes, Folder
from ._dtypes import DTYPES
from ._errors import FileError, quoted
from ._output import OutputBytes, new_file
from ._safetensors import TensorEntry, format_header
from ._tables import PROFILES
from ._work import Work
from ._writing import HeaderSpace, Original, check_original, check_progressive, write_container

if TYPE_CHECKING:
    import torch

Kind = TypeVar("Kind")


class Source(NamedTuple):
    """A tensor to be written."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    size: int
    data: Callable[[], Bytes]
    """Gives its bytes: uint8, one dimension."""
    tensor: torch.Tensor | None = None
    """Itself, if it lies on a GPU, to be encoded there."""


def sources_of(tensors: dict[str, Kind], source_of: Callable[[str, Kind], Source]) -> list[Source]:
    """What a user gave, as sources. @raises ValueError, TypeError where it is no dict of named tensors"""
    if not isinstance(tensors, dict):
        raise ValueError(f"expected a dict of tensors, not {type(tensors).__name__}")
    for name in tensors:
        if not isinstance(name, str):
            raise TypeError(f"expected names of tensors, not {type(name).__name__} for {name!r}")
    return [source_of(name, tensor) for name, tensor in tensors.items()]


def write_checkpoint(
    path: str | os.PathLike[str],
    sources: Iterable[Source],
    metadata: dict[str, str] | None,
    options: _library.EncodeOptions,
    base: Paths | None = None,
    progressive: bool = False,
) -> None:
    """Writes what `codecllm compress` would write for the file that safetensors would write.

    The file appears under its name only when it is complete; one that was there is replaced.

    Args:
        base: what the tensors are changed copies of, and where to find what that is coded against
        progressive: whether tensors are put into layers of bits

    Raises:
        FileError: a header that would be longer than readers accept, metadata that have keys of the format, a tensor
            that is itself a stream, or layers against a base or in *direct*
        TypeError: metadata that are not text
        OSError: the file cannot be written
    """
    path = os.fspath(path)
    if progressive:
        check_progressive(path, PROFILES[options.profile], base is not None)
        # A GPU encodes no layers.
        sources = [source._replace(tensor=None) for source in sources]
    original = _original_of(path, sources, metadata)
    with Bases(base) as bases:
        given = checkpoints_under(bases.paths[0]) if bases.paths else []
        space = HeaderSpace(original, original.relations(given, Folder(), bases), progressive)
        check_original(original)
        with new_file(path, 0o666, force=True) as output, Work() as work:
            write_container(output, original, space, options, work)


def checkpoint_bytes(
    sources: Iterable[Source], metadata: dict[str, str] | None, options: _library.EncodeOptions
) -> bytes:
    """What `write_checkpoint` would write."""
    original = _original_of("<bytes>", sources, metadata)
    output = OutputBytes()
    with Bases() as bases, Work() as work:
        space = HeaderSpace(original, original.relations([], Folder(), bases))
        check_original(original)
        write_container(output, original, space, options, work)
    return output.getvalue()


def _original_of(path: str, sources: Iterable[Source], metadata: dict[str, str] | None) -> Original:
    """The file that safetensors would write. `path` is what errors call it."""
    _check_text(metadata)
    for key in metadata or {}:
        if key.startswith(_container.PREFIX):
            raise FileError(
                path, f"{quoted(key)} in its metadata: keys that begin with {_container.PREFIX} are CodecLLM's own"
            )
    # The writer of safetensors sorts by falling size of the elements, then by name.
    ranks = {name: rank for rank, name in enumerate(DTYPES)}
    ordered = sorted(sources, key=lambda source: (ranks[source.dtype], source.name.encode()))
    at = 0
    tensors = []
    for source in ordered:
        tensors.append(TensorEntry(source.name, source.dtype, source.shape, at, at + source.size))
        at += source.size
    header = format_header(metadata, tensors)
    header += b" " * (-len(header) % 8)
    # Other programs leave out metadata without entries, and would not rebuild this header.
    description = header.decode() if metadata == {} else "compact"
    data = {source.name: source.data for source in ordered}
    on_gpu = {source.name: source.tensor for source in ordered if source.tensor is not None}
    return Original(path, header, metadata or {}, tensors, data, description, on_gpu)


def _check_text(metadata: dict[str, str] | None) -> None:
    if metadata is not None and not isinstance(metadata, dict):
        raise TypeError(f"metadata: expected a dict, not {type(metadata).__name__}")
    for key, value in (metadata or {}).items():
        for text in (key, value):
            if not isinstance(text, str):
                raise TypeError(f"metadata: expected text, not {type(text).__name__} for {key!r}")

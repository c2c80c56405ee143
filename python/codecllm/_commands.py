"""What the command line does, over the path of a checkpoint or of a directory of shards."""

from __future__ import annotations

import os
import stat
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, closing
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from . import _container, _library
from ._bases import Bases, Paths
from ._directory import Entry, check_apart, list_directory
from ._errors import FileError, InvalidStreamError
from ._input import InputFile
from ._inspection import Inspection, inspect_front
from ._limits import Room, check_declared, free_space
from ._model_directory import AS_IT_IS, Arrangement, arrange_for_transformers, arrange_original
from ._output import OutputFile, new_directory, new_file
from ._report import FileReport, InspectedFile, InspectedTensor, Prefix, Report, TensorReport, summarise
from ._restoring import Compressed, read_compressed, restore
from ._safetensors import LENGTH_BYTES, read_header
from ._stored import StoredTensor, read_checkpoint
from ._work import Work, default_threads
from ._writing import Base, HeaderSpace, Original, check_original, write_container

if TYPE_CHECKING:
    from ._library import Profile

_CHECKPOINT = ".safetensors"
_COMPRESSED = ".codecllm"

Progress = Callable[[int, int], None]
"""Is told now and then how many bytes of the input are done, and how many there are."""
_MakeOutput = Callable[[int], AbstractContextManager[OutputFile]]
"""Makes an output with these permission bits."""


def compress(
    path: str | os.PathLike[str],
    output: str | os.PathLike[str] | None = None,
    *,
    profile: Profile = "small",
    tile_rows: int | None = None,
    base: Paths | None = None,
    progressive: bool = False,
    for_transformers: bool = False,
    force: bool = False,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Report:
    """Compresses a checkpoint, or every checkpoint of a directory, whose other files are copied.

    Memory is bounded whatever the checkpoint's size. The output appears under its name when it is complete.

    Args:
        path: a safetensors file, or a directory of them
        output: by default X.codecllm.safetensors for X.safetensors, D.codecllm for a directory D
        profile: "small" is for files; "fast" takes a little more space and decodes faster on a GPU; "direct" stores
            BF16 in 12 bits, as a GPU can multiply it, and is "fast" for other dtypes
        tile_rows: rows of a tile: 8, 16, 32, 64, 128 or 256; by default 128, or 256 against a base. Fewer give a small
            tensor more parallelism
        base: what it is a changed copy of: a file, or a directory with files of the same names, compressed or not.
            Where that is smaller, only what has changed is coded. If it was coded against another one, several: itself
            first, then files or directories to find the others in
        progressive: put tensors of floats into layers of bits, so that the first part of the file is a coarse
            checkpoint
        for_transformers: make the output of a model's directory one that `from_pretrained` loads compressed, after
            `import codecllm.transformers`
        force: replace an output that exists
        threads: by default as many as there are processors for this process, 16 at most
        progress: is told now and then how many bytes of the input are done, and how many there are: on any thread, but
            on one at a time

    Raises:
        FileError: something cannot be understood, is compressed already or is in the way; the message says where
        FileExistsError: the output exists, and `force` is false
        OSError: a file cannot be read or written
        ValueError: an option that there is not, or a path that gives the output no name
    """
    options = _library.options(profile, tile_rows)
    bases = Bases(base)
    path = os.fsdecode(path)
    output = compressed_name(path) if output is None else os.fsdecode(output)
    if for_transformers and bases.paths:
        raise FileError(path, "transformers loads nothing that is coded against a base")
    if progressive and bases.paths:
        raise FileError(path, "what is coded against a base is not put into layers")
    if progressive and for_transformers:
        raise FileError(path, "transformers loads nothing that is in layers")
    if progressive and profile == "direct":
        raise FileError(path, "profile direct stores all bits of a weight together: nothing of it is put into layers")
    if for_transformers and not _is_directory(path):
        raise FileError(path, "is a file; transformers needs a directory, with a config.json")
    job = _Job(path, threads, progress)
    arrange = partial(arrange_for_transformers, profile=profile) if for_transformers else _as_it_is
    with bases:
        compress_file = partial(_compress_file, options=options, bases=bases, in_layers=progressive)
        return _transform(job, output, force, _is_any, compress_file, arrange)


def decompress(
    path: str | os.PathLike[str],
    output: str | os.PathLike[str] | None = None,
    *,
    base: Paths | None = None,
    bits: int | None = None,
    force: bool = False,
    max_bytes: int | None = None,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Report:
    """Gives back the original checkpoint, or directory of checkpoints, byte for byte: its SHA-256 is compared.

    Memory is bounded whatever the checkpoint's size. The output appears under its name when it is complete.

    Args:
        path: a compressed file, or a directory in which at least one is; others are copied
        output: by default X.safetensors for X.codecllm.safetensors, D for a directory D.codecllm
        max_bytes: all tensors together may have so many bytes decompressed; by default what is free on the disk, and no
            more than 100 times what they take now, or 1 GB
        base: what it was coded against, if it was: files, and directories that hold them
        bits: give a coarse checkpoint: of tensors in layers, so many bits of each word, or up to where the next layer
            begins. The file may still be growing, if these layers are there. Its SHA-256 is not compared
        force, threads, progress: as in `compress`

    Raises:
        FileError: a file is damaged, or no CodecLLM file, or what it was coded against is not given, or something is in
            the way; the message says where
        FileExistsError: the output exists, and `force` is false
        OSError: a file cannot be read or written
        ValueError: a path that gives the output no name
    """
    path = os.fsdecode(path)
    output = restored_name(path) if output is None else os.fsdecode(output)
    job = _Job(path, threads, progress)

    def check(paths: list[str]) -> None:
        _check_declared(paths, max_bytes, free_space(output), bits)

    with Bases(base) as bases:
        decompress_file = partial(_decompress_file, bases=bases, bits=bits)
        return _transform(
            job,
            output,
            force,
            partial(_is_compressed, is_growing=bits is not None),
            decompress_file,
            arrange_original,
            check,
        )


def verify(
    path: str | os.PathLike[str],
    *,
    max_bytes: int | None = None,
    base: Paths | None = None,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Report:
    """Decodes a checkpoint, or every compressed checkpoint of a directory, and compares all checks and the SHA-256.

    Args:
        path: a compressed file, or a directory in which at least one is
        max_bytes: all tensors together may have so many bytes decompressed; by default any, as nothing is kept
        base: as in `decompress`
        threads, progress: as in `compress`

    Raises:
        FileError: at the first thing that is not as it was
        OSError: a file cannot be read
    """
    job = _Job(os.fsdecode(path), threads, progress)
    if os.path.isdir(job.path):
        checkpoints = _checkpoints_of(job.path, list_directory(job.path), _is_compressed)
    else:
        checkpoints = [Entry("", job.path, "checkpoint", os.stat(job.path).st_size)]
    job.total = _sizes(checkpoints)
    if max_bytes is not None:
        _check_declared([entry.path for entry in checkpoints], max_bytes, None)
    with Bases(base) as bases:
        return job.report(None, [_verify_file(entry.path, job, bases) for entry in checkpoints])


def inspect(path: str | os.PathLike[str]) -> list[InspectedFile]:
    """What a checkpoint, or each checkpoint of a directory, says of itself, compressed or not. Nothing is decoded.

    Raises:
        FileError: a file is not safetensors, or not as it should be
        OSError: a file cannot be read
    """
    path = os.fsdecode(path)
    if not os.path.isdir(path):
        return [_inspect_file(path)]
    return [_inspect_file(entry.path) for entry in list_directory(path) if entry.kind == "checkpoint"]


def compressed_name(path: str) -> str:
    """The output of `compress` where nobody names one.

    Raises:
        ValueError: the path gives none
        OSError: there is nothing under this path
    """
    if _is_directory(path):
        return os.path.abspath(path) + _COMPRESSED
    if path.endswith(_CHECKPOINT):
        return path.removesuffix(_CHECKPOINT) + _COMPRESSED + _CHECKPOINT
    raise ValueError(f"{path}: nothing to name the output of compress after")


def restored_name(path: str) -> str:
    """The output of `decompress` where nobody names one; raises what `compressed_name` does."""
    is_directory = _is_directory(path)
    name = os.path.abspath(path) if is_directory else path
    end = _COMPRESSED if is_directory else _COMPRESSED + _CHECKPOINT
    stem = name.removesuffix(end)
    if stem == name or not os.path.basename(stem):
        raise ValueError(f"{path}: nothing to name the output of decompress after")
    return stem if is_directory else stem + _CHECKPOINT


# ---------------------------------------------------------------------------------------------------- files


class _Job:
    """What all work of one command shares."""

    def __init__(self, path: str, threads: int | None, progress: Progress | None) -> None:
        if threads is not None and threads < 1:
            raise ValueError(f"threads: {threads} is less than 1")
        self.path = path
        self.threads = default_threads() if threads is None else threads
        self.total = 0
        self._progress = progress
        self._done = 0
        self._lock = threading.Lock()
        self._begin = time.perf_counter()

    def work(self) -> Work:
        return Work(self.threads, self._advance)

    def _advance(self, count: int) -> None:
        with self._lock:
            self._done += count
            if self._progress is not None:
                self._progress(self._done, self.total)

    def report(self, output: str | None, files: list[FileReport], files_copied: int = 0) -> Report:
        seconds = time.perf_counter() - self._begin
        return summarise(self.path, output, files, files_copied, self.threads, seconds)


class _FileBytes:
    """Bytes of a file, which are read when they are asked for."""

    def __init__(self, file: InputFile, position: int) -> None:
        self._file = file
        self._position = position

    def __getitem__(self, part: slice) -> np.ndarray:
        start = part.start or 0
        return self._file.read(self._position + start, part.stop - start)


def _compress_file(
    path: str, make_output: _MakeOutput, job: _Job, options: _library.EncodeOptions, bases: Bases, in_layers: bool
) -> FileReport:
    with closing(InputFile(path)) as file:
        header, data_start = read_header(file)
        if _container.is_compressed(header):
            raise FileError(path, "is compressed already")
        text = file.read(LENGTH_BYTES, data_start - LENGTH_BYTES).tobytes()
        data = {tensor.name: partial(_FileBytes, file, data_start + tensor.start) for tensor in header.tensors}
        description = _container.describe_header(header, text)
        original = Original(path, text, header.metadata or {}, header.tensors, data, description)
        base = _base_for(job.path, path, bases)
        space = HeaderSpace(original, base, in_layers)
        check_original(original)
        with make_output(file.mode) as output, job.work() as work:
            stored, size, sha256, copies, behind = write_container(output, original, space, options, base, work)
            file.check_unchanged()
        tensors = [
            TensorReport(
                tensor.name,
                tensor.dtype,
                tensor.shape,
                tensor.size,
                entry.size + behind.get(tensor.name, 0),
                is_stream,
                copies.get(tensor.name),
            )
            for tensor, (entry, is_stream) in zip(header.tensors, stored, strict=True)
        ]
        return FileReport(path, output.path, file.size, size, sha256, True, tensors)


def _base_for(top: str, path: str, bases: Bases) -> Base | None:
    """What a checkpoint under `top` is coded against: the first path of the bases, or the file of its name there."""
    base = bases.paths[0] if bases.paths else None
    if base is not None and os.path.isdir(base):
        base = os.path.join(base, os.path.basename(path) if path == top else os.path.relpath(path, top))
        base = base if os.path.exists(base) else None
    return None if base is None else Base(bases.open(base), bases.sha256_of(base))


def _decompress_file(path: str, make_output: _MakeOutput, job: _Job, bases: Bases, bits: int | None) -> FileReport:
    with closing(InputFile(path)) as file:
        compressed = read_compressed(file, bits)
        with make_output(file.mode) as output, job.work() as work:
            restore(compressed, output, bases, work, is_coarse=bits is not None)
        return _restored(compressed, output.path)


def _verify_file(path: str, job: _Job, bases: Bases) -> FileReport:
    with closing(InputFile(path)) as file:
        compressed = read_compressed(file)
        with job.work() as work:
            restore(compressed, None, bases, work)
        return _restored(compressed, None)


def _restored(compressed: Compressed, output: str | None) -> FileReport:
    tensors = [
        TensorReport(
            entry.name, entry.dtype, entry.shape, entry.size, _size_of(stored), stored.is_stream, stored.copy_of
        )
        for entry, stored in compressed.tensors
    ]
    file, container = compressed.file, compressed.container
    return FileReport(
        file.path,
        output,
        compressed.original_bytes,
        file.size,
        container.sha256,
        container.checks is not None,
        tensors,
    )


def _size_of(stored: StoredTensor) -> int:
    return stored.size_with_layers if stored.copy_of is None else 0


def _inspect_file(path: str) -> InspectedFile:
    with closing(InputFile(path)) as file:
        header, container, _ = read_checkpoint(file)
        if container is None:
            plain = [
                InspectedTensor(tensor.name, tensor.dtype, tensor.shape, tensor.size, tensor.size, False, None, None)
                for tensor in header.tensors
            ]
            return InspectedFile(path, False, file.size, file.size, None, None, [], plain)
        compressed = read_compressed(file)
        tensors = [
            InspectedTensor(
                entry.name,
                entry.dtype,
                entry.shape,
                entry.size,
                _size_of(stored),
                stored.is_stream,
                stored.copy_of,
                _inspect_tensor(stored),
            )
            for entry, stored in compressed.tensors
        ]
        return InspectedFile(
            path,
            True,
            compressed.original_bytes,
            file.size,
            container.sha256,
            container.base,
            _prefixes_of(compressed),
            tensors,
        )


def _prefixes_of(compressed: Compressed) -> list[Prefix]:
    """Layers of one first bit follow one another: where they begin, those before them end."""
    prefixes: dict[int, int] = {}
    for _, stored in compressed.tensors:
        for layer, first, _ in stored.layers:
            prefixes[first] = min(layer.position, prefixes.get(first, layer.position))
    return [Prefix(bits, size) for bits, size in sorted(prefixes.items())]


def _inspect_tensor(tensor: StoredTensor) -> Inspection | None:
    if not tensor.is_stream:
        return None
    try:
        return inspect_front(tensor.front())
    except InvalidStreamError as error:
        raise tensor.error(error) from None


# ---------------------------------------------------------------------------------------------------- directories


def _transform(
    job: _Job,
    output: str,
    force: bool,
    concerns: Callable[[str], bool],
    transform_file: Callable[[str, _MakeOutput, _Job], FileReport],
    arrange: Callable[[str, list[Entry]], Arrangement],
    check: Callable[[list[str]], None] = lambda _: None,
) -> Report:
    """Makes one checkpoint of another, or a directory of another; other files are copied, as they are arranged.

    Args:
        check: is called with the checkpoints before anything is written
    """
    path = job.path
    if not _is_directory(path):
        job.total = os.stat(path).st_size
        check([path])
        return job.report(output, [transform_file(path, lambda mode: new_file(output, mode, force, path), job)])
    check_apart(path, output)
    entries = list_directory(path)
    checkpoints = _checkpoints_of(path, entries, concerns)
    job.total = _sizes(checkpoints)
    check([entry.path for entry in checkpoints])
    concerned = {entry.name for entry in checkpoints}
    files = []
    files_copied = 0
    name_of, added, text_of = arrange(path, entries)
    names = {name for entry in entries if (name := name_of(entry.name)) is not None} | set(added)
    with new_directory(output, force, names) as directory:
        for entry in entries:
            if entry.kind == "directory":
                directory.make_directory(entry.name)
            elif entry.name in concerned:
                files.append(transform_file(entry.path, partial(directory.new_file, entry.name), job))
            elif (name := name_of(entry.name)) is not None:
                directory.copy(entry.path, name)
                files_copied += 1
        for name in added:
            directory.write(name, text_of(name, files))
    return job.report(output, files, files_copied)


def _checkpoints_of(path: str, entries: list[Entry], concerns: Callable[[str], bool]) -> list[Entry]:
    """The checkpoints of a directory that are to be worked on. @raises FileError where there are none"""
    found = [entry for entry in entries if entry.kind == "checkpoint" and concerns(entry.path)]
    if not found:
        raise FileError(path, "holds no CodecLLM file")
    return found


def _check_declared(paths: list[str], max_bytes: int | None, room: Room | None, bits: int | None = None) -> None:
    with ExitStack() as opened:
        files = [opened.enter_context(closing(InputFile(path))) for path in paths]
        check_declared([tensor for file in files for tensor in read_checkpoint(file, bits)[2]], max_bytes, room)


def _as_it_is(_path: str, _entries: list[Entry]) -> Arrangement:
    return AS_IT_IS


def _is_any(_: str) -> bool:
    return True


def _is_compressed(path: str, is_growing: bool = False) -> bool:
    with closing(InputFile(path)) as file:
        return _container.is_compressed(read_header(file, is_growing)[0])


def _is_directory(path: str) -> bool:
    """@raises OSError where there is nothing under this path"""
    return stat.S_ISDIR(os.stat(path).st_mode)


def _sizes(entries: list[Entry]) -> int:
    return sum(entry.size for entry in entries)

"""What the command line does, over the path of a checkpoint or of a directory of shards."""

from __future__ import annotations

import os
import stat
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from functools import partial
from typing import TYPE_CHECKING, Any

from . import _container, _library
from ._arrangement import AS_IT_IS, Arrangement, with_original_names
from ._bases import Bases, Paths, checkpoints_under, hash_of
from ._copies import Folder
from ._directory import Entry, list_directory
from ._errors import FileError, FilesError, UncheckedError, raise_problems
from ._estimate import estimate_file
from ._input import FileBytes, InputFile
from ._inspection import Inspection, inspect_front
from ._limits import Room, check_declared, free_space
from ._model_directory import arrange_for_transformers, arrange_original
from ._names import compressed_name, restored_name
from ._output import new_file
from ._report import (
    Done,
    Estimate,
    FileReport,
    InspectedFile,
    InspectedTensor,
    Prefix,
    Problem,
    Report,
    TensorReport,
    VerifyReport,
    summarise,
)
from ._restoring import Compressed, damaged_streams, read_compressed, read_fronts, restore
from ._safetensors import LENGTH_BYTES, read_header
from ._stored import StoredTensor, read_checkpoint
from ._stream import Stream
from ._transform import (
    MakeOutput,
    Method,
    Notice,
    directory_in_place,
    directory_report,
    place_in_place,
    plan_directory,
    tidy,
    transform_directory,
)
from ._work import Work, default_threads
from ._writing import HeaderSpace, Original, check_original, check_progressive, write_container

if TYPE_CHECKING:
    import numpy as np

    from ._library import Profile

Progress = Callable[[int, int], None]
"""Is told now and then how many bytes of the input are done, and how many there are."""


def _no_notice(_path: str, _what: str) -> None:
    pass


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
    in_place: bool = False,
    follow_links: bool = False,
    threads: int | None = None,
    progress: Progress | None = None,
    notice: Notice = _no_notice,
) -> Report:
    """Compresses a checkpoint, or every checkpoint of a directory, whose other files are copied.

    Memory is bounded whatever the checkpoint's size. The output appears under its name when it is complete. The same
    job goes on where it was interrupted: checkpoints of a directory that were finished are kept until then.

    Args:
        path: a safetensors file, or a directory of them
        output: by default X.codecllm.safetensors for X.safetensors, D.codecllm for a directory D
        profile: "small" is for files; "fast" takes a little more space and decodes faster on a GPU; "direct" stores
            BF16 in 12 bits, as a GPU can multiply it, and is "fast" for other dtypes
        tile_rows: rows of a tile: 8, 16, 32, 64, 128 or 256; by default 128, or 256 against a base. Fewer give a small
            tensor more parallelism
        base: what it is a changed copy of: a file, or a directory, all of whose files count, compressed or not. Where
            that is smaller, only what has changed is coded: of the tensor of the same name, or else of the one that is
            nearest. If it was coded against another one, several: itself first, then files or directories to find the
            others in
        progressive: put tensors of floats into layers of bits, so that the first part of the file is a coarse
            checkpoint
        for_transformers: make the output of a model's directory one that `from_pretrained` loads compressed, after
            `import codecllm.transformers`
        force: replace an output that exists
        in_place: there is no output: the checkpoints of the input are replaced one by one, each when what replaces it
            is verified. What is replaced before an error stays so
        follow_links: take what links lead to that lead out of a directory for what is in it. Otherwise they are refused
        threads: by default as many as there are processors for this process, 16 at most
        progress: is told now and then how many bytes of the input are done, and how many there are: on any thread, but
            on one at a time
        notice: is told, with a path, of what interrupted runs left, and whether this one goes on from there

    Raises:
        FileError: something cannot be understood, is compressed already or is in the way; the message says where
        FileExistsError: the output exists, and `force` is false
        OSError: a file cannot be read or written
        ValueError: an option that there is not, or a path that gives the output no name
    """
    path = os.fsdecode(path)
    job = _Job(path, threads, progress, notice)
    with Bases(base) as bases:
        method = _Compression(job, bases, follow_links, profile, tile_rows, for_transformers, in_place, progressive)
        return _transform(method, _output_of(path, output, in_place, compressed_name, "compress"), force, in_place)


def estimate(
    path: str | os.PathLike[str],
    *,
    profile: Profile = "small",
    tile_rows: int | None = None,
    base: Paths | None = None,
    progressive: bool = False,
    for_transformers: bool = False,
    follow_links: bool = False,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Estimate:
    """What `compress` would give, estimated from samples; nothing is written. Arguments and exceptions are its own."""
    job = _Job(os.fsdecode(path), threads, progress, _no_notice)
    with Bases(base) as bases:
        if bases.paths:
            problem = "what a base saves is not known before all is compressed: it cannot be estimated"
            raise FileError(job.path, problem)
        if progressive:
            problem = "what layers take is not known before all is compressed: it cannot be estimated"
            raise FileError(job.path, problem)
        method = _Compression(job, bases, follow_links, profile, tile_rows, for_transformers, False)
    plan = plan_directory(job.path, method, follow_links) if _is_directory(job.path) else None
    checkpoints = [_entry_of(job.path)] if plan is None else plan.checkpoints
    job.total = _sizes(checkpoints)
    with job.work() as work:
        files = [estimate_file(entry.path, method.options, work) for entry in checkpoints]
    before, after = sum(file.bytes_before for file in files), sum(file.bytes_after for file in files)
    others = 0 if plan is None else _sizes(plan.entries) - job.total
    return Estimate(
        job.path,
        before,
        after,
        after / before,
        sum(file.bytes_sampled for file in files),
        None if plan is None else directory_report(plan.entries, after + others),
        job.seconds(),
        files,
    )


def decompress(
    path: str | os.PathLike[str],
    output: str | os.PathLike[str] | None = None,
    *,
    base: Paths | None = None,
    bits: int | None = None,
    force: bool = False,
    in_place: bool = False,
    follow_links: bool = False,
    max_bytes: int | None = None,
    threads: int | None = None,
    progress: Progress | None = None,
    notice: Notice = _no_notice,
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
        force, in_place, follow_links, threads, progress, notice: as in `compress`

    Raises:
        FileError: a file is damaged, or no CodecLLM file, or what it was coded against is not given, or something is in
            the way; the message says where
        FileExistsError: the output exists, and `force` is false
        OSError: a file cannot be read or written
        ValueError: a path that gives the output no name
    """
    path = os.fsdecode(path)
    if bits is not None and in_place:
        raise FileError(path, "a coarse checkpoint replaces nothing")
    job = _Job(path, threads, progress, notice)
    with Bases(base) as bases:
        output_path = _output_of(path, output, in_place, restored_name, "decompress")
        method = _Decompression(job, bases, follow_links, output_path, max_bytes, in_place, bits)
        return _transform(method, output_path, force, in_place)


def verify(
    path: str | os.PathLike[str],
    *,
    max_bytes: int | None = None,
    base: Paths | None = None,
    follow_links: bool = False,
    threads: int | None = None,
    progress: Progress | None = None,
) -> VerifyReport:
    """Decodes a checkpoint, or every compressed checkpoint of a directory, and compares all checks and the SHA-256.

    Args:
        path: a compressed file, or a directory in which at least one is
        max_bytes: all tensors together may have so many bytes decompressed; by default any, as nothing is kept
        base: as in `decompress`
        follow_links, threads, progress: as in `compress`

    Raises:
        FilesError: not all of a directory is good; it has a `report`, a VerifyReport
        FileError: a file is not as it was, or of a directory nothing is compressed
        OSError: a file cannot be read
    """
    job = _Job(os.fsdecode(path), threads, progress, _no_notice)
    problems: list[FileError | OSError] = []
    not_checked: list[Problem] = []
    is_directory = _is_directory(job.path)
    checkpoints = [] if is_directory else [_entry_of(job.path)]
    if is_directory:
        entries, found = list_directory(job.path, follow_links)
        problems += found
        for entry in entries:
            if entry.kind == "weights":
                not_checked.append(Problem(entry.path, "is of another format", False))
            elif entry.kind == "checkpoint":
                try:
                    if _is_compressed(entry.path):
                        checkpoints.append(entry)
                    else:
                        problems.append(UncheckedError(entry.path, "is not compressed"))
                except (FileError, OSError) as error:
                    problems.append(error)
        # What is missing, or where a link leads out of the directory, may be one.
        if not checkpoints and not found and all(isinstance(problem, UncheckedError) for problem in problems):
            raise FileError(job.path, "holds no CodecLLM file")
    job.total = _sizes(checkpoints)
    if max_bytes is not None:
        _check_declared([entry.path for entry in checkpoints], max_bytes, None)
    files = []
    with Bases(base) as bases:
        for entry in checkpoints:
            try:
                files.append(_verify_file(entry.path, job, bases))
            except FilesError as error:
                problems += error.problems
            except (FileError, OSError) as error:
                problems.append(error)
    if not is_directory and len(problems) == 1:
        raise problems[0]
    report = VerifyReport(
        **vars(job.report(None, Done(files))),
        problems=[problem_of(error) for error in problems],
        not_checked=not_checked,
    )
    if problems:
        raise FilesError(problems, report)
    return report


def problem_of(error: FileError | OSError) -> Problem:
    """What is said of a file."""
    if isinstance(error, FileError):
        path, problem = error.args
        return Problem(path, problem, not isinstance(error, UncheckedError))
    problem = error.strerror or ""
    return Problem(os.fsdecode(error.filename or ""), f"{problem[:1].lower()}{problem[1:]}", True)


def inspect(path: str | os.PathLike[str], *, follow_links: bool = False) -> list[InspectedFile]:
    """What a checkpoint, or each checkpoint of a directory, says of itself, compressed or not. Nothing is decoded.

    Raises:
        FilesError: not all of a directory is as it should be; it has a `report`, a list of those that are
        FileError: a file is not safetensors, or not as it should be
        OSError: a file cannot be read
    """
    path = os.fsdecode(path)
    if not os.path.isdir(path):
        return [_inspect_file(path)]
    entries, problems = list_directory(path, follow_links)
    files = []
    for entry in entries:
        if entry.kind == "checkpoint":
            try:
                files.append(_inspect_file(entry.path))
            except FilesError as error:
                problems += error.problems
            except (FileError, OSError) as error:
                problems.append(error)
    if problems:
        raise FilesError(problems, files)
    return files


def _output_of(
    path: str,
    output: str | os.PathLike[str] | None,
    in_place: bool,
    name_of: Callable[[str, bool], str | None],
    command: str,
) -> str:
    if in_place:
        return path
    name = name_of(path, _is_directory(path)) if output is None else os.fsdecode(output)
    if name is None:
        raise ValueError(f"{path}: nothing to name the output of {command} after")
    return name


# ---------------------------------------------------------------------------------------------------- files


class _Job:
    """What all work of one command shares."""

    def __init__(self, path: str, threads: int | None, progress: Progress | None, notice: Notice) -> None:
        if threads is not None and threads < 1:
            raise ValueError(f"threads: {threads} is less than 1")
        self.path = path
        self.notice = notice
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

    def seconds(self) -> float:
        return time.perf_counter() - self._begin

    def report(self, output: str | None, done: Done) -> Report:
        return summarise(self.path, output, done, self.threads, self.seconds())


def _description_of(command: str, job: _Job, bases: Bases, follow_links: bool, **encoding: object) -> dict[str, Any]:
    """Says what job a directory's is: an interrupted one of the same words goes on."""
    given = {key: value for key, value in encoding.items() if value is not None}
    return {
        "journal": 1,
        "command": command,
        "input": os.path.realpath(job.path),
        "bases": [os.path.realpath(path) for path in bases.paths],
        "followLinks": follow_links,
        **given,
    }


class _Compression(Method):
    """How `compress` works on files. @raises FileError, ValueError: options contradict the input, or are none"""

    def __init__(
        self,
        job: _Job,
        bases: Bases,
        follow_links: bool,
        profile: Profile,
        tile_rows: int | None,
        for_transformers: bool,
        in_place: bool,
        progressive: bool = False,
    ) -> None:
        self.options = _library.options(profile, tile_rows)
        if for_transformers and bases.paths:
            raise FileError(job.path, "transformers loads nothing that is coded against a base")
        if progressive:
            check_progressive(job.path, profile, len(bases.paths) > 0)
        if progressive and for_transformers:
            raise FileError(job.path, "transformers loads nothing that is in layers")
        if for_transformers and not _is_directory(job.path):
            raise FileError(job.path, "is a file; transformers needs a directory, with a config.json")
        loader = "transformers" if for_transformers else None
        encoding = {"profile": profile, "tileRows": tile_rows, "for": loader, "progressive": progressive or None}
        self.description = _description_of("compress", job, bases, follow_links, **encoding)
        self.job = job
        self.follow_links = follow_links
        self.nothing = "holds no checkpoint that is not compressed already"
        self._bases = bases
        self._profile = profile
        self._in_layers = progressive
        self._folders: dict[str, Folder] = {}
        self._shares = not (for_transformers or in_place or progressive)
        self._for_transformers = for_transformers

    def concerns(self, path: str) -> bool:
        return not _is_compressed(path)

    def check(self, paths: list[str]) -> None:
        pass

    def transform(self, path: str, make_output: MakeOutput) -> FileReport:
        # A folder stays whole: files are coded against those beside them alone, and not against what is replaced.
        folder = Folder()
        if self._shares:
            folder = self._folders.setdefault(os.path.dirname(path), folder)
        return _compress_file(path, make_output, self.job, self.options, self._bases, folder, self._in_layers)

    def check_finished(self, path: str, sha256: str) -> None:
        _check_sha256(path, sha256, _verify_file(path, self.job, self._bases).sha256)

    def arrange(self, entries: list[Entry]) -> Arrangement:
        return arrange_for_transformers(self.job.path, entries, self._profile) if self._for_transformers else AS_IT_IS


class _Decompression(Method):
    """How `decompress` works on files."""

    def __init__(
        self,
        job: _Job,
        bases: Bases,
        follow_links: bool,
        output: str,
        max_bytes: int | None,
        in_place: bool,
        bits: int | None,
    ) -> None:
        self.description = _description_of("decompress", job, bases, follow_links, bits=bits)
        self.job = job
        self.follow_links = follow_links
        self.nothing = "holds no CodecLLM file"
        self._bases = bases
        self._output = output
        self._max_bytes = max_bytes
        self._in_place = in_place
        self._bits = bits

    def concerns(self, path: str) -> bool:
        return _is_compressed(path, self._bits is not None)

    def check(self, paths: list[str]) -> None:
        _check_declared(paths, self._max_bytes, free_space(self._output), self._bits)

    def transform(self, path: str, make_output: MakeOutput) -> FileReport:
        return _decompress_file(path, make_output, self.job, self._bases, self._bits)

    def check_finished(self, path: str, sha256: str) -> None:
        with closing(InputFile(path)) as file:
            _check_sha256(path, sha256, hash_of(file))

    def arrange(self, entries: list[Entry]) -> Arrangement:
        arrangement = arrange_original(self.job.path, entries)
        return arrangement if self._in_place else with_original_names(entries, arrangement)


def _check_sha256(path: str, expected: str, found: str) -> None:
    if found != expected:
        raise FileError(path, "is not what it was")


def _compress_file(
    path: str,
    make_output: MakeOutput,
    job: _Job,
    options: _library.EncodeOptions,
    bases: Bases,
    folder: Folder,
    in_layers: bool,
) -> FileReport:
    with closing(InputFile(path)) as file:
        header, data_start = read_header(file)
        if _container.is_compressed(header):
            raise FileError(path, "is compressed already")
        text = file.read(LENGTH_BYTES, data_start - LENGTH_BYTES).tobytes()
        data = {tensor.name: partial(FileBytes, file, data_start + tensor.start) for tensor in header.tensors}
        description = _container.describe_header(header, text)
        original = Original(path, text, header.metadata or {}, header.tensors, data, description)
        relations = original.relations(_bases_for(job.path, path, bases), folder, bases)
        space = HeaderSpace(original, relations, in_layers)
        check_original(original)
        with make_output(file.mode) as output, job.work() as work:
            stored, size, sha256, copies, behind = write_container(output, original, space, options, work)
            file.check_unchanged()
        bases.remember(path, sha256)
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


def _bases_for(top: str, path: str, bases: Bases) -> list[str]:
    """What a checkpoint under `top` may be coded against: of a directory, first the file of the same name."""
    if not bases.paths:
        return []
    base = bases.paths[0]
    namesake = os.path.join(base, os.path.basename(path) if path == top else os.path.relpath(path, top))
    paths = checkpoints_under(base)
    return [namesake, *(path for path in paths if path != namesake)] if namesake in paths else paths


def _decompress_file(path: str, make_output: MakeOutput, job: _Job, bases: Bases, bits: int | None) -> FileReport:
    with closing(InputFile(path)) as file:
        compressed = read_compressed(file, bits)
        with make_output(file.mode) as output, job.work() as work:
            restore(compressed, output, bases, work, is_coarse=bits is not None)
        return _restored(compressed, output.path)


def _verify_file(path: str, job: _Job, bases: Bases) -> FileReport:
    with closing(InputFile(path)) as file:
        try:
            compressed = read_compressed(file)
        except FileError as error:
            try:
                problems = damaged_streams(file)
            except FileError:
                # Where its header is wrong already, that is all there is to say.
                problems = [error]
            raise_problems(problems)
            raise
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
        header, container, stored = read_checkpoint(file)
        if container is None:
            plain = [
                InspectedTensor(tensor.name, tensor.dtype, tensor.shape, tensor.size, tensor.size, False, None, None)
                for tensor in header.tensors
            ]
            return InspectedFile(path, False, file.size, file.size, None, [], [], plain)
        inspections: dict[str, Inspection] = {}

        def look(name: str, stream: Stream, front: np.ndarray) -> None:
            inspections[name] = inspect_front(stream, front)

        compressed = read_fronts(header, container, stored, look)
        tensors = [
            InspectedTensor(
                entry.name,
                entry.dtype,
                entry.shape,
                entry.size,
                _size_of(tensor),
                tensor.is_stream,
                tensor.copy_of,
                inspections.get(tensor.copy_of or tensor.name),
            )
            for entry, tensor in compressed.tensors
        ]
        return InspectedFile(
            path,
            True,
            compressed.original_bytes,
            file.size,
            container.sha256,
            list(container.bases),
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


# ---------------------------------------------------------------------------------------------------- directories


def _transform(method: _Compression | _Decompression, output: str, force: bool, in_place: bool) -> Report:
    """Makes one checkpoint of another, or a directory of another."""
    job = method.job
    if not _is_directory(job.path):
        job.total = os.stat(job.path).st_size
        method.check([job.path])
        tidy(output, job.notice)
        place = (
            place_in_place(job.path, method.check_finished) if in_place else partial(_new_file, output, force, job.path)
        )
        return job.report(output, Done([method.transform(job.path, place)]))
    plan = plan_directory(job.path, method, method.follow_links)
    if not plan.checkpoints and not in_place:
        raise FileError(job.path, method.nothing)
    job.total = _sizes(plan.checkpoints)
    if in_place:
        return job.report(output, directory_in_place(plan, method, job.notice))
    return job.report(output, transform_directory(plan, output, method, force, job.notice))


def _new_file(output: str, force: bool, source: str, mode: int) -> Any:  # noqa: ANN401
    return new_file(output, mode, force, source)


def _check_declared(paths: list[str], max_bytes: int | None, room: Room | None, bits: int | None = None) -> None:
    with ExitStack() as opened:
        files = [opened.enter_context(closing(InputFile(path))) for path in paths]
        check_declared([each for file in files for each in read_checkpoint(file, bits)[2].values()], max_bytes, room)


def _is_compressed(path: str, is_growing: bool = False) -> bool:
    with closing(InputFile(path)) as file:
        return _container.is_compressed(read_header(file, is_growing)[0])


def _is_directory(path: str) -> bool:
    """@raises OSError where there is nothing under this path"""
    return stat.S_ISDIR(os.stat(path).st_mode)


def _sizes(entries: list[Entry]) -> int:
    return sum(entry.size for entry in entries)


def _entry_of(path: str) -> Entry:
    return Entry("", path, "checkpoint", os.stat(path).st_size, 0, "")

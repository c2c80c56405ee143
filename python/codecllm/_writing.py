"""The file of a compressed checkpoint (spec/FORMAT.md, section 11), whatever its tensors come from.

Data are written first, streams and then kept tensors, into a file whose front is left free; the header, which needs
their sizes, comes last. Tensors are encoded ahead, but hashed and written one after the other.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple, cast

import numpy as np

from . import _container, _library
from ._bases import Bases
from ._codec import encode_bytes
from ._copies import Bytes, Folder
from ._dtypes import DTYPES
from ._encoder import Encoder, open_encoder
from ._errors import FileError, UnavailableError, quoted
from ._layers import COARSE_TILE_ROWS, Layer, coarse, layer_of
from ._matches import Matches, find_matches
from ._output import OutputBytes, OutputFile
from ._safetensors import LENGTH_BYTES, MAX_HEADER_BYTES, TensorEntry, by_place, format_header
from ._stream import FIXED_BYTES
from ._tables import PROFILES
from ._work import SLICE_BYTES, Slice, Work, batches_of, slices_of

if TYPE_CHECKING:
    import torch

    from ._cuda_saving import StreamEncoder

    _Parts = list[np.ndarray | torch.Tensor]
    """A stream: what follow one another in the file."""

_GROUP_BYTES = 256 * 2**20
"""A GPU encodes tensors of about so many bytes at a time, and needs as much memory again."""
_PASS_SHARE = 1 / 4
"""Progress moves by so much of a tensor's bytes in each of the first two passes, and by the rest in the last."""


class Original(NamedTuple):
    """The file that a compressed one gives back."""

    path: str
    """For errors."""
    header: bytes
    """With the spaces that fill it up."""
    metadata: dict[str, str]
    tensors: list[TensorEntry]
    """In the order of the header's keys."""
    data: Mapping[str, Callable[[], Bytes]]
    """Gives the bytes of each tensor: an array, or what reads them where they are."""
    description: str
    """Of its header: "compact", "python", or all of it."""
    on_gpu: Mapping[str, torch.Tensor] = MappingProxyType({})
    """The tensors that lie on GPUs, to be encoded there."""

    def relations(self, given: list[str], folder: Folder, bases: Bases) -> Relations:
        """What its tensors have to do with each other and with those of other files.

        Args:
            given: the paths of what it may be coded against
            folder: the files that are compressed with it

        Raises:
            FileError: one of the files cannot be understood, or what it is coded against itself is missing
            OSError: one cannot be read
        """
        data = dict(self.data)
        for name, tensor in self.on_gpu.items():
            from ._cuda_saving import GpuBytes

            data[name] = partial(GpuBytes, tensor)
        copies, elsewhere = folder.copies_in(self.path, self.tensors, data, bases)
        tried = [entry for entry in self.tensors if entry.name not in copies and may_become_stream(entry)]
        return Relations(copies, find_matches(tried, data, given, elsewhere, bases))


def check_progressive(path: str, profile: str, has_base: bool) -> None:
    """Checks that tensors of a file can be put into layers of bits. @raises FileError where they cannot"""
    if has_base:
        raise FileError(path, "what is coded against a base is not put into layers")
    if profile == "direct":
        problem = "profile direct stores all bits of a weight together: nothing of it is put into layers"
        raise FileError(path, problem)


def may_become_stream(entry: TensorEntry) -> bool:
    """Whether there are streams of such a tensor that could be smaller than it."""
    is_known = entry.dtype in DTYPES and DTYPES[entry.dtype].has_streams
    return is_known and entry.size > FIXED_BYTES and len(entry.shape) <= 255


class Relations(NamedTuple):
    """What tensors have to do with others."""

    copies: Mapping[str, str]
    """By the name of each tensor that has the bytes of one before it in its file, the name of that."""
    matches: Matches


class Written(NamedTuple):
    """What has become of it."""

    stored: list[_container.Stored]
    """In the order of the header's keys."""
    size: int
    """Bytes of the compressed file."""
    sha256: str
    """Of the original, in hexadecimal."""
    copies: Mapping[str, str]
    """By the name of each copy, that of the tensor that it is a copy of."""
    behind: Mapping[str, int]
    """By the name of each tensor in layers, the bytes of those behind the first one."""


def check_original(original: Original) -> None:
    """Checks that a compressed file of it can be.

    Raises:
        FileError: a tensor is itself a stream: nobody could tell it from those that are made here
    """
    for entry in original.tensors:
        if _container.is_vector_of_bytes(entry):
            begin = original.data[entry.name]()[: min(len(_container.STREAM_START), entry.size)].tobytes()
            if _container.is_itself_stream(entry, begin):
                raise FileError(original.path, f"{quoted(entry.name)} is itself a stream")


def write_container(
    output: OutputFile | OutputBytes,
    original: Original,
    space: HeaderSpace,
    options: _library.EncodeOptions,
    work: Work,
) -> Written:
    """Writes the compressed file of an original, and finishes it.

    Raises:
        FileError: the original cannot be read any more
        OSError: the file cannot be written
    """
    return _Compression(output, original, space, options, work).run()


class _Compression:
    def __init__(
        self,
        output: OutputFile | OutputBytes,
        original: Original,
        space: HeaderSpace,
        options: _library.EncodeOptions,
        work: Work,
    ) -> None:
        self._against_base: set[str] = set()
        self._output = output
        self._original = original
        self._space = space
        self._options = options
        self._work = work
        self._sha256 = hashlib.sha256()
        self._end = space.data_start
        self._gpu_encoder: StreamEncoder | None = None

    def run(self) -> Written:
        header = self._original.header
        self._sha256.update(len(header).to_bytes(LENGTH_BYTES, "little") + header)
        stored: dict[str, _container.Stored] = {}
        kept: list[TensorEntry] = []

        def place(entry: TensorEntry, size: int, is_stream: bool) -> None:
            start = self._end - self._space.data_start
            stored[entry.name] = (entry._replace(start=start, end=start + size), is_stream)
            self._end += size

        batches = batches_of(by_place(self._original.tensors), _size_of, self._are_together, self._most)
        for batch, finish in self._work.in_order(batches, self._weigh, self._prepare):
            for entry, size in zip(batch, finish(), strict=True):
                if size > 0:
                    place(entry, size, True)
                elif entry.name not in self._space.copies:
                    kept.append(entry)
        checks: list[int] = []
        for entry in _container.kept_order(kept):
            self._write(self._end, partial(self._hand_over, entry), checks)
            place(entry, entry.size, False)
        for entry in by_place(self._original.tensors):
            if entry.name in self._space.copies:
                place(entry, 0, False)
        in_layers = [entry for entry in by_place(self._original.tensors) if stored[entry.name][1]]
        layers, behind = self._write_layers(in_layers)

        in_order = [stored[entry.name] for entry in self._original.tensors]
        sha256 = self._sha256.hexdigest()
        self._output.write(0, memoryview(self._space.fill(in_order, sha256, self._against_base, checks, layers)))
        # Also where there are no data after the header.
        self._output.finish(self._end, sha256)
        return Written(in_order, self._end, sha256, self._space.copies, behind)

    def _write_layers(self, tensors: list[TensorEntry]) -> tuple[list[TensorEntry], dict[str, int]]:
        """Writes the layers behind the first ones of tensors, of which these are streams, in the order of the data.

        Returns:
            them as a header has them, and by the name of each tensor their bytes
        """
        planned = [(entry, name, layer) for entry in tensors for name, layer in self._layers_of(entry)]
        planned.sort(key=lambda each: each[2].first)
        entries = []
        behind: dict[str, int] = {}

        def encode(entry: TensorEntry, name: str, layer: Layer) -> tuple[str, str, np.ndarray]:
            bits = layer_of(self._data(entry)[: entry.size], entry.dtype, layer)
            return entry.name, name, encode_bytes(bits, "U8", (bits.size,), self._options)

        for of, name, stream in self._work.in_order(
            planned, lambda each: each[0].size, lambda each: self._work.submit(encode, *each)
        ):
            self._output.write(self._end, stream.data)
            start = self._end - self._space.data_start
            entries.append(TensorEntry(name, "U8", (stream.size,), start, start + stream.size))
            behind[of] = behind.get(of, 0) + stream.size
            self._end += stream.size
        return entries, behind

    def _layers_of(self, entry: TensorEntry) -> list[tuple[str, Layer]]:
        """The layers that a tensor gets behind its first one, if there is a stream of that, and their names."""
        return _container.plan_layers(entry) if self._space.in_layers and self._may_become_stream(entry) else []

    def _data(self, entry: TensorEntry) -> Bytes:
        return self._original.data[entry.name]()

    def _write(self, at: int, hand_over: Callable[[_Use], None], checks: list[int] | None = None) -> int:
        """Writes bytes that are handed over piece by piece, and adds to their checks. @returns their end"""

        start = at

        def write(piece: np.ndarray) -> None:
            nonlocal at
            self._output.write(at, piece.data)
            if checks is not None:
                _container.add_checks(checks, piece.data, at - start)
            at += piece.size

        hand_over(write)
        return at

    def _hand_over(self, entry: TensorEntry, use: _Use) -> None:
        """Gives the bytes of a tensor to a function, piece by piece."""
        if entry.name in self._original.on_gpu:
            _feed(self._original.on_gpu[entry.name], use)
            return
        data = self._data(entry)
        for at in range(0, entry.size, SLICE_BYTES):
            use(data[at : min(entry.size, at + SLICE_BYTES)])

    def _hash(self, entry: TensorEntry) -> None:
        self._hand_over(entry, lambda piece: self._sha256.update(piece.data))

    def _gpu_of(self, entry: TensorEntry) -> int | None:
        """The number of the GPU that a tensor lies on."""
        tensor = self._original.on_gpu.get(entry.name)
        return None if tensor is None else tensor.get_device()

    def _are_together(self, before: TensorEntry, entry: TensorEntry) -> bool:
        return self._gpu_of(before) == self._gpu_of(entry)

    def _most(self, entry: TensorEntry) -> int:
        return SLICE_BYTES if self._gpu_of(entry) is None else _GROUP_BYTES

    def _weigh(self, batch: list[TensorEntry]) -> int:
        # Of what a GPU has encoded, no more than one group waits there while the next one is encoded.
        if self._gpu_of(batch[0]) is not None:
            return self._work.most_bytes
        # Of a large one slices are held, not all of it.
        return min(sum(entry.size for entry in batch), self._work.threads * SLICE_BYTES // 2)

    def _prepare(self, batch: list[TensorEntry]) -> Future[_Prepared]:
        """Works on tensors ahead of their turn."""
        if self._gpu_of(batch[0]) is not None:
            from ._cuda_saving import wait_for

            wait_for(self._original.on_gpu[batch[0].name])
            return self._work.plan(self._prepare_on_gpu, batch)
        if batch[0].size <= SLICE_BYTES or batch[0].name in self._space.matches.tensors or self._layers_of(batch[0]):
            return self._work.submit(self._prepare_whole, batch)
        if self._may_become_stream(batch[0]):
            return self._work.plan(self._prepare_large, batch[0])
        return self._work.submit(lambda: (batch, lambda: self._pass_over(batch[0])))

    def _pass_over(self, entry: TensorEntry) -> list[int]:
        self._hash(entry)
        self._work.progress(entry.size)
        return [0]

    def _may_become_stream(self, entry: TensorEntry) -> bool:
        """Whether there is a stream of this tensor, which could be smaller than the tensor."""
        return entry.name not in self._space.copies and may_become_stream(entry)

    def _prepare_whole(self, batch: list[TensorEntry]) -> _Prepared:
        originals = [self._data(entry)[: entry.size] for entry in batch]
        streams = [self._stream_of(entry, data) for entry, data in zip(batch, originals, strict=True)]
        together = np.concatenate(streams)

        def finish() -> list[int]:
            for data in originals:
                self._sha256.update(data.data)
            self._output.write(self._end, together.data)
            self._work.progress(sum(entry.size for entry in batch))
            return [stream.size for stream in streams]

        return batch, finish

    def _prepare_on_gpu(self, batch: list[TensorEntry]) -> _Prepared:
        streams = self._streams_on_gpu(batch)

        def hash_all() -> None:
            for entry in batch:
                self._hash(entry)

        def finish() -> list[int]:
            hashed = self._work.plan(hash_all)
            at = self._end
            sizes = []
            for parts in streams:
                start = at
                for part in parts:
                    at = self._write(at, partial(_feed, part))
                sizes.append(at - start)
            hashed.result()
            return sizes

        return batch, finish

    def _streams_on_gpu(self, batch: list[TensorEntry]) -> list[_Parts]:
        """The streams of tensors that lie on one GPU; no parts where there is none that is smaller."""
        from ._cuda_saving import StreamEncoder

        if self._gpu_encoder is None:
            self._gpu_encoder = StreamEncoder(cast("_library.Profile", PROFILES[self._options.profile]))
        encoded = [entry for entry in batch if self._may_become_stream(entry)]
        matched = [entry for entry in encoded if entry.name in self._space.matches.tensors]

        def tensors_of(entries: list[TensorEntry]) -> list[torch.Tensor]:
            return [self._original.on_gpu[entry.name] for entry in entries]

        try:
            streams = self._gpu_encoder.encode(tensors_of(encoded))
            against = self._gpu_encoder.encode(tensors_of(matched), [self._base_of(entry) for entry in matched])
        except (UnavailableError, MemoryError):
            # The GPU is too old, or too full: files can be saved nevertheless.
            return [[self._stream_of(entry, self._data(entry)[: entry.size])] for entry in batch]
        found = {entry.name: stream for entry, stream in zip(encoded, streams, strict=True) if stream is not None}
        for entry, stream in zip(matched, against, strict=True):
            plain = found.get(entry.name)
            if stream is not None and (plain is None or stream.size < plain.size):
                self._against_base.add(entry.name)
                found[entry.name] = stream
        parts: dict[str, _Parts] = {
            name: [np.frombuffer(stream.front, np.uint8), stream.data] for name, stream in found.items()
        }
        return [parts.get(entry.name, []) for entry in batch]

    def _base_of(self, entry: TensorEntry) -> np.ndarray:
        """What a tensor is tried against."""
        base = np.empty(entry.size, np.uint8)
        self._space.matches.tensors[entry.name].read_into(base)
        return base

    def _stream_of(self, entry: TensorEntry, data: np.ndarray) -> np.ndarray:
        """The stream of a tensor; no bytes where there is none that is smaller."""
        if not self._may_become_stream(entry):
            return data[:0]
        layers = self._layers_of(entry)
        if layers:
            first = coarse(data, entry.dtype, layers[0][1].first)
            stream = encode_bytes(first, entry.dtype, entry.shape, self._coarse_options())
            return stream if stream.size < entry.size else data[:0]
        stream = encode_bytes(data, entry.dtype, entry.shape, self._options)
        if entry.name in self._space.matches.tensors:
            against = encode_bytes(data, entry.dtype, entry.shape, self._options, self._base_of(entry))
            if against.size < min(stream.size, entry.size):
                self._against_base.add(entry.name)
                return against
        return stream if stream.size < entry.size else data[:0]

    def _coarse_options(self) -> _library.EncodeOptions:
        """As those of all tensors, with the tiles of first layers unless others are asked for."""
        return _library.options(
            cast("_library.Profile", PROFILES[self._options.profile]), self._options.tile_rows or COARSE_TILE_ROWS
        )

    def _prepare_large(self, entry: TensorEntry) -> _Prepared:
        data = self._data(entry)
        encoder = open_encoder(entry.dtype, entry.shape, self._options)
        slices = list(slices_of(encoder.tensor_bytes, encoder.bands, encoder.band_bytes))

        self._gather(data, encoder, slices, self._work.progress)
        return [entry], lambda: [self._encode(entry, data, encoder, slices)]

    def _gather(
        self, data: Bytes, encoder: Encoder, slices: list[Slice], progress: Callable[[int], None] | None = None
    ) -> None:
        """Goes over a large tensor until it is known how to encode it, or that it is encoded."""

        def gather(part: Slice) -> int:
            encoder.gather(part.first_band, part.band_count, data[part.start : part.end])
            return part.size

        passes = 0
        while encoder.gathers:
            for size in self._work.in_order(slices, _size_of, lambda part: self._work.submit(gather, part)):
                if progress is not None and passes < 2:
                    progress(int(_PASS_SHARE * size))
            encoder.advance()
            passes += 1

    def _encode(self, entry: TensorEntry, data: Bytes, encoder: Encoder, slices: list[Slice]) -> int:
        """Encodes a large tensor and writes it. @returns bytes of its stream, or 0 where it would not be smaller"""

        def encode(part: Slice) -> tuple[np.ndarray, np.ndarray]:
            original = data[part.start : part.end]
            room = np.empty(encoder.code_bound(part.band_count), np.uint8)
            return original, room[: encoder.code(part.first_band, part.band_count, original, room)]

        size = 0
        is_first = True
        while encoder.codes:
            # The front holds what is known only after the last tile, but its length is known before the first.
            size = encoder.front_bytes
            for original, encoded in self._work.in_order(
                slices, _size_of, lambda part: self._work.submit(encode, part)
            ):
                at = self._end + size
                size += encoded.size
                # What is written before it turns out to be too long is given up, or written over.
                if size < entry.size:
                    self._output.write(at, encoded.data)
                if is_first:
                    self._sha256.update(original.data)
                    self._work.progress(_last_share(original.size))
            is_first = False
            encoder.advance()
            self._gather(data, encoder, slices)
        if size >= entry.size:
            return 0
        front = np.empty(encoder.front_bytes, np.uint8)
        encoder.front(front)
        self._output.write(self._end, front.data)
        return size


def _feed(data: np.ndarray | torch.Tensor, use: _Use) -> None:
    """Gives bytes to a function, those on a GPU piece by piece."""
    if isinstance(data, np.ndarray):
        use(data)
        return
    from ._cuda_saving import feed

    feed(use, data)


_Use = Callable[[np.ndarray], None]
_Prepared = tuple[list[TensorEntry], Callable[[], list[int]]]
"""Tensors, and what is left to do in their turn: to hash and to write. It gives bytes of each stream; 0: no stream."""


def _last_share(size: int) -> int:
    return size - 2 * int(_PASS_SHARE * size)


def _size_of(item: TensorEntry | Slice) -> int:
    return item.size


class HeaderSpace:
    """Room for the header of a compressed file, kept before it is known which tensors become streams.

    Args:
        in_layers: whether tensors are put into layers, then without a base

    Raises:
        FileError: the header would be longer than readers accept, or a tensor has the name of a layer
    """

    data_start: int
    """Where the data begin in the file."""

    def __init__(self, original: Original, relations: Relations, in_layers: bool = False) -> None:
        self.in_layers = in_layers
        names = {tensor.name for tensor in original.tensors}
        planned = [
            (tensor, name) for tensor in original.tensors for name, _ in _container.plan_layers(tensor) if in_layers
        ]
        for _, name in planned:
            if name in names:
                raise FileError(original.path, f"{quoted(name)} has the name of a layer of another tensor")
        self.copies, self.matches = relations
        self._metadata = original.metadata
        self._description = original.description
        data_bytes = max((tensor.end for tensor in original.tensors), default=0)
        # Nothing becomes longer, so no offset has more digits than this.
        widest = []
        for tensor in original.tensors:
            kept = tensor._replace(start=data_bytes, end=data_bytes)
            stream = _container.as_stream(tensor)._replace(start=data_bytes, end=data_bytes)
            widest.append((max(kept, stream, key=lambda entry: len(format_header(None, [entry]))), False))
        # They may even take more than the tensor.
        layers = [
            _container.as_stream(tensor)._replace(name=name, start=2 * data_bytes, end=2 * data_bytes)
            for tensor, name in planned
            if tensor.name not in self.copies
        ]
        pieces = sum(_container.piece_count(tensor) for tensor in original.tensors if tensor.name not in self.copies)
        # As many streams as digits may be needed for.
        longest = self._text(widest, "0" * 64, None, [0] * pieces, layers)
        size = LENGTH_BYTES + len(longest) + len(str(len(original.tensors)))
        self.data_start = -(-size // _container.DATA_ALIGNMENT) * _container.DATA_ALIGNMENT
        if self.data_start - LENGTH_BYTES > MAX_HEADER_BYTES:
            raise FileError(
                original.path, f"its header would be longer than the {MAX_HEADER_BYTES} bytes that readers accept"
            )

    def _text(
        self,
        stored: list[_container.Stored],
        sha256: str,
        used: set[str] | None,
        checks: list[int],
        layers: list[TensorEntry],
    ) -> bytes:
        names = [entry.name for entry, _ in stored]
        bases = _container.base_entries(names, self.matches.bases, self.matches.numbers, used)
        return _container.header_text(
            self._metadata, stored, self.copies, self._description, sha256, bases, checks, layers
        )

    def fill(
        self,
        stored: list[_container.Stored],
        sha256: str,
        against_base: set[str],
        checks: list[int],
        layers: list[TensorEntry],
    ) -> bytes:
        """What stands before the data.

        Args:
            stored: in the order of the original's keys
            against_base: the tensors that are coded against a base
            checks: of kept tensors, in the order of their data
            layers: behind the first ones, in the order of the data
        """
        size = self.data_start - LENGTH_BYTES
        text = self._text(stored, sha256, against_base, checks, layers).ljust(size, b" ")
        return size.to_bytes(LENGTH_BYTES, "little") + _container.with_check(text)

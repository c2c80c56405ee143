"""A tensor as it lies in a file: its bytes, its stream, or those of the tensor that it is a copy of."""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from . import _container, _layers, _library
from ._arrays import numpy_array, torch_tensor
from ._errors import FileError, InvalidStreamError, quoted
from ._input import InputFile
from ._safetensors import Header, TensorEntry, read_header
from ._stream import FIXED_BYTES, Stream, StreamInfo, lengths, tensor_bytes

if TYPE_CHECKING:
    import torch

    from ._arrays import Array

_USUAL_FRONT_BYTES = 2**16
"""Most fronts are shorter, and so read at once."""
_MAX_FRONT_BYTES = 2**29
"""The front of a tensor of 5 GiB takes a few MiB; more than this is refused before it is allocated."""


_FLAGS_AT, _BASE = 22, 32
"""Where a stream says that it is coded against a base."""


class StoredLayer(NamedTuple):
    """What follows the first layer of a tensor: a stream of bits."""

    tensor: StoredTensor
    first: int
    """The first bit that it has of a word."""
    is_wanted: bool
    """Whether it is to be read; those behind it are not, if it is not."""


class StoredTensor(NamedTuple):
    """A tensor of a checkpoint: its bytes, or its stream."""

    name: str
    file: InputFile
    position: int
    """Where it begins in the file."""
    size: int
    """Its bytes there."""
    is_stream: bool
    dtype: str
    """As the file has it: U8 for a stream, which says itself what it holds."""
    shape: tuple[int, ...]
    original: TensorEntry | None
    """As the original's header has it; None where that is rebuilt from what the streams say."""
    copy_of: str | None = None
    """The tensor that it is a copy of, which is what lies there."""
    names_base: bool = False
    """Whether its file names a base."""
    against: _container.BaseTensor | None = None
    """What it is coded against, if that is not the tensor of its name in the first base."""
    bases: tuple[Mapping[str, StoredTensor], ...] = ()
    """The tensors of its file's bases, once these are open."""
    checks: list[int] | None = None
    """Where it is kept, the CRC-32 of its pieces; None where there are none."""
    layers: tuple[StoredLayer, ...] = ()
    """Behind the first one, in order; none where it is not in layers."""
    is_layer: bool = False
    """Whether it is one of these itself, whose stream need not be smaller than what it holds."""

    @property
    def size_with_layers(self) -> int:
        """Bytes of all that is to be read."""
        return self.size + sum(layer.tensor.size for layer in self.layers if layer.is_wanted)

    def front(self) -> np.ndarray:
        """The front of its stream (uint8).

        Raises:
            FileError: it is none, or is longer or shorter than the tensor that holds it
        """
        begin = self.file.read(self.position, min(self.size, _USUAL_FRONT_BYTES))
        try:
            front, data = lengths(begin)
        except InvalidStreamError as error:
            raise self.damage(error) from None
        if front + data != self.size:
            raise self.error(f"a stream of {front + data} bytes in a tensor of {self.size}")
        if front > _MAX_FRONT_BYTES:
            raise self.damage(f"a front of {front} bytes, more than {_MAX_FRONT_BYTES}")
        return begin[:front] if front <= begin.size else self.file.read(self.position, front)

    def declared_bytes(self) -> tuple[int, int]:
        """Bytes of the tensor, as the first 64 bytes of its stream say, and how many they come from: its own, 0 of a
        copy, or, against a base, those of what the caller gives.

        Raises:
            FileError: these bytes are damaged
        """
        own = 0 if self.copy_of is not None else self.size
        if not self.is_stream:
            return self.size, own
        fixed = self.file.read(self.position, min(self.size, FIXED_BYTES))
        try:
            size = tensor_bytes(fixed)
        except InvalidStreamError as error:
            raise self.damage(error) from None
        return size, size if self.names_base and fixed[_FLAGS_AT] & _BASE else own

    def open_stream(self) -> Stream:
        """Its stream, of which the front is read and checked. @raises FileError where it is damaged"""
        stream = self.open_front(self.front())
        self.check(stream.info)
        return stream

    def open_front(self, front: np.ndarray) -> Stream:
        """Its stream, given its front. @raises FileError where it is damaged"""
        try:
            return Stream(front)
        except InvalidStreamError as error:
            raise self.damage(error) from None

    def read_into(self, output: np.ndarray) -> None:
        """Reads it, and decodes it where it is a stream, and what it is coded against before it.

        Args:
            output: as many bytes (uint8) as the tensor has

        Raises:
            FileError: it is damaged, or coded against another base
        """
        if not self.is_stream:
            self.read_kept(output)
            return
        stream = self.file.read(self.position, self.size)
        address = output.ctypes.data
        info = self.open_stream().info
        before = self._base_of(info)
        if before is not None:
            before.read_into(output)
        try:
            if before is None:
                _library.call("decode", stream.ctypes.data, stream.size, address, output.size)
            else:
                _library.call("decode_against", stream.ctypes.data, stream.size, address, address, output.size)
        except InvalidStreamError as error:
            raise self.damage(error) from None
        self.refine(output, info.dtype)

    def refine(self, output: np.ndarray, dtype: str, known: int = 0) -> None:
        """Adds the layers that are to be read to what precedes them, in place.

        Args:
            output: bytes of the tensor (uint8)
            dtype: of the tensor
            known: bits of each word that are known already; layers that begin before are not read

        Raises:
            FileError: a layer is damaged, or not one of this tensor's
        """
        for stored, layer in self.wanted_layers(dtype, known):
            packed = stored.read_layer(self, _layers.layer_bytes(dtype, output.size, layer))
            stored.add_to(output, dtype, layer, packed)

    def wanted_layers(self, dtype: str, known: int = 0) -> list[tuple[StoredTensor, _layers.Layer]]:
        """Its layers that are to be read and begin at bit `known` or later, in order.

        Raises:
            FileError: a tensor of this dtype cannot have the layers that there are
        """
        if not self.layers:
            return []
        starts = [layer.first for layer in self.layers]
        cut = _layers.layers_from(dtype, starts)
        if cut is None:
            raise self.error(f"{dtype} has no layers from bits {', '.join(map(str, starts))} on")
        return [
            (stored, layer)
            for (stored, first, is_wanted), layer in zip(self.layers, cut, strict=True)
            if is_wanted and first >= known
        ]

    def add_to(self, output: Array, dtype: str, layer: _layers.Layer, packed: Array) -> None:
        """Adds itself, a layer, to what precedes it, in place. @raises FileError where that is not what precedes it"""
        if not _layers.refine(output, dtype, layer, packed):
            raise self.error("not a layer of what precedes it")

    def read_layer(self, of: StoredTensor, size: int) -> np.ndarray:
        """The bit string, of `size` bytes, that it is as a layer of a tensor. @raises FileError where it is not that"""
        self._check_layer(of, size)
        stream = self.file.read(self.position, self.size)
        output = np.empty(size, np.uint8)
        try:
            _library.call("decode", stream.ctypes.data, stream.size, output.ctypes.data, output.size)
        except InvalidStreamError as error:
            raise self.damage(error) from None
        return output

    def _check_layer(self, of: StoredTensor, size: int) -> None:
        try:
            info = Stream(self.front()).info
        except InvalidStreamError as error:
            raise self.error(error) from None
        if (info.dtype, info.shape, info.against_base) != ("U8", (size,), False):
            raise self.error(f"is {info.dtype} {list(info.shape)}, and as a layer of {quoted(of.name)} U8 {[size]}")

    def check_layers(self, info: StreamInfo) -> None:
        """Checks the fronts of all layers that are to be read against what its stream says.

        Raises:
            FileError: one is not as it should be
        """
        if not self.layers:
            return
        for stored, layer in self.wanted_layers(info.dtype):
            stored._check_layer(self, _layers.layer_bytes(info.dtype, info.tensor_bytes, layer))

    def read_kept(self, output: np.ndarray, start: int = 0) -> None:
        """Reads bytes of it where it is kept, from one piece on up to the end of another.

        Args:
            output: for the bytes (uint8)
            start: the first of them, a multiple of CHECKED_BYTES

        Raises:
            FileError: a check differs, or the file ends before
        """
        self.file.read_into(output, self.position + start)
        if self.checks is not None:
            self.compare_checks(_container.checks_of(output.data), start // _container.CHECKED_BYTES)

    def compare_checks(self, found: list[int], first: int = 0) -> None:
        """Compares checks of pieces, from number `first` on, if there are any. @raises FileError where one differs"""
        for number, check in enumerate(found, first):
            if self.checks is not None and check != self.checks[number]:
                raise self.damage(f"its check differs from byte {number * _container.CHECKED_BYTES} on")

    def found_base(self) -> StoredTensor | None:
        """What it is coded against, if it is. @raises FileError where it is damaged, or the base lacks that"""
        return self._base_of(self.open_stream().info) if self.names_base and self.is_stream else None

    def _base_of(self, info: StreamInfo) -> StoredTensor | None:
        """What it is coded against. @raises FileError where that has another dtype or shape, or is missing"""
        if not info.against_base or not self.bases:
            return None
        if self.against is None:
            found = self.bases[0].get(self.copy_of or self.name)
        else:
            base = self.bases[self.against.base]
            names = list(base)
            found = base[names[self.against.tensor]] if self.against.tensor < len(names) else None
        what = f"is coded against a {info.dtype} {list(info.shape)} of its base, which"
        if found is None:
            raise self.error(f"{what} lacks it")
        if found.described() != (info.dtype, info.shape):
            raise self.error(f"{what} has {found.described()[0]} {list(found.described()[1])}")
        return found

    def described(self) -> tuple[str, tuple[int, ...]]:
        """Dtype and shape of what it holds. @raises FileError where it is damaged"""
        if not self.is_stream:
            return self.dtype, self.shape
        info = self.open_stream().info
        return info.dtype, info.shape

    def check(self, info: StreamInfo) -> None:
        """Checks what its stream says against what the file says. @raises FileError where that cannot be"""
        if self.size >= info.tensor_bytes and not self.is_layer:
            raise self.error(f"a stream of {self.size} bytes for a tensor of {info.tensor_bytes}")
        if info.against_base and not self.names_base:
            raise self.error(f"is coded against a base, and {quoted(_container.BASE_KEY)} names none")
        if not info.against_base and self.against is not None:
            raise self.error(f"is not coded against a base, and {quoted(_container.AGAINST_KEY)} has it")
        if self.original is not None:
            _container.check_same(self.original, info.dtype, info.shape, info.tensor_bytes, self.file.path)

    def as_torch(self, data: torch.Tensor, dtype: str, shape: tuple[int, ...]) -> torch.Tensor:
        """Its bytes (uint8, one dimension) as a tensor of what it holds, without a copy.

        Raises:
            FileError: PyTorch lacks the dtype
        """
        try:
            return torch_tensor(data, dtype, shape)
        except TypeError as error:
            raise self.error(error) from None

    def as_numpy(self, data: np.ndarray, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
        """The same for NumPy."""
        try:
            return numpy_array(data, dtype, shape)
        except TypeError as error:
            raise self.error(error) from None

    def damage(self, problem: object) -> FileError:
        """An error that says that the tensor is damaged."""
        return FileError(self.file.path, f"damaged at tensor {quoted(self.name)}: {problem}")

    def error(self, problem: object) -> FileError:
        """An error that names the file and the tensor."""
        return FileError(self.file.path, f"{quoted(self.name)}: {problem}")


class StoredTensors(Mapping[str, StoredTensor]):
    """The tensors of a file by name, in the order of its header's keys.

    Each is made when it is asked for: a hundred thousand would take longer than the file's header.
    """

    bases: tuple[Mapping[str, StoredTensor], ...] = ()
    """What they may be coded against, once that is open."""

    def __init__(
        self,
        file: InputFile,
        data_start: int,
        entries: dict[str, TensorEntry],
        container: _container.Container | None,
        layers: Mapping[str, tuple[StoredLayer, ...]],
    ) -> None:
        self.file = file
        self._data_start = data_start
        self._entries = entries
        self._container = container
        self._layers = layers

    def __getitem__(self, name: str) -> StoredTensor:
        container = self._container
        if container is None:
            _, dtype, shape, start, end = self._entries[name]
            return StoredTensor(name, self.file, self._data_start + start, end - start, False, dtype, shape, None)
        copy_of = container.copies.get(name)
        of, dtype, shape, start, end = self._entries[copy_of or name]
        return StoredTensor(
            name,
            self.file,
            self._data_start + start,
            end - start,
            of in container.streams,
            dtype,
            shape,
            container.original.get(name),
            copy_of,
            bool(container.bases),
            container.against.get(of),
            self.bases,
            None if container.checks is None else container.checks.get(of),
            self._layers.get(of, ()),
        )

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, name: object) -> bool:
        return name in self._entries


@contextmanager
def uncollected() -> Iterator[None]:
    """Where very many objects are made that all stay, looking for garbage among them takes most of the time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


@uncollected()
def read_checkpoint(
    file: InputFile, bits: int | None = None
) -> tuple[Header, _container.Container | None, StoredTensors]:
    """What the header of a file says, compressed or not; None for the container where it is not.

    Args:
        bits: how many of each word of a tensor in layers are enough; then the file may still be growing

    Raises:
        FileError: it cannot be understood; the message names the tensor or the field. Or something that is wanted has
            not come yet
    """
    is_growing = bits is not None
    header, data_start = read_header(file, is_growing)
    entries = {tensor.name: tensor for tensor in header.tensors}
    if not _container.is_compressed(header):
        if is_growing:
            file.check_arrived(data_start + max((entry.end for entry in header.tensors), default=0))
        return header, None, StoredTensors(file, data_start, entries, None, {})
    container = _container.read_container(header, data_start, file.path)
    behind: dict[str, tuple[StoredLayer, ...]] = {}
    for entry, of, first in container.layers:
        del entries[entry.name]
        stored = StoredTensor(
            *(entry.name, file, data_start + entry.start, entry.size, True, entry.dtype, entry.shape, None),
            is_layer=True,
        )
        layer = StoredLayer(stored, first, bits is None or first < bits)
        behind[of] = (*behind.get(of, ()), layer)
    if is_growing:
        wanted = [layer.tensor for its in behind.values() for layer in its if layer.is_wanted]
        ends = [data_start, *(data_start + entry.end for entry in entries.values())]
        file.check_arrived(max(ends + [tensor.position + tensor.size for tensor in wanted]))
    _check_kept(entries.values(), data_start, container, file)
    return header, container, StoredTensors(file, data_start, entries, container, behind)


def _check_kept(
    tensors: Iterable[TensorEntry], data_start: int, container: _container.Container, file: InputFile
) -> None:
    """Checks that no kept tensor is a stream that `codecllm.streams` does not count."""
    for tensor in tensors:
        if tensor.name in container.streams or not _container.is_vector_of_bytes(tensor):
            continue
        begin = file.read(data_start + tensor.start, min(tensor.size, len(_container.STREAM_START))).tobytes()
        if _container.is_itself_stream(tensor, begin):
            raise FileError(
                file.path, f"{quoted(tensor.name)} is a stream, and {quoted(_container.STREAMS_KEY)} does not count it"
            )

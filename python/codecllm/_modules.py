"""Models whose weights stay compressed in memory: linear layers multiply from them, embeddings decode rows of them.

A layer that is compressed has its weight's stream as a buffer where it had a parameter. Its class comes after the
layer's own, so that a `forward` that computes more around that of `nn.Linear` or `nn.Embedding` still does.
"""

from __future__ import annotations

import copy
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.utils.weak import WeakIdKeyDictionary

from . import _library, _operators
from ._arrays import bytes_of
from ._codec import encode_bytes
from ._decoded_weights import weight_of
from ._gpu_encoder import GPUEncoder
from ._library import Profile
from ._processors import processors
from ._siblings import SIBLING_NAMES, Siblings
from ._work import take_batch

_BATCH_BYTES = 512 * 2**20
"""Weights are compressed so many bytes at a time, or one."""
_ALIGNMENT = 16
"""Of streams in memory: their Data are then aligned, too."""
_SIZES = 256
"""Memory for a stream is rounded up to a multiple of this part of its weight's bytes."""


def compress_module(model: nn.Module, profile: Profile = "direct", exact: bool = False) -> nn.Module:
    """Replaces the weights of linear and embedding layers by compressed ones, which saves memory.

    On a GPU linear layers multiply from BF16 weights as they are compressed, up to 64 rows at once of *direct* (1024 on
    an H100 or H200), up to 8 of *fast*. With more rows, and other weights, each is decoded right before it is used.
    Products from compressed weights sum in FP32 as PyTorch does, but in another order, so that last bits may differ.
    Embeddings decode the rows that are asked for; on a GPU, an index that they do not have gives zeros. On the host
    everything is decoded for each use.

    Layers keep their classes as base classes, and `weight` is a copy that is decoded for the caller. `state_dict`
    gives decoded weights, and `load_state_dict` compresses them. Weights that several layers share are kept once, and
    those that do not become smaller stay as they are. Parameters require no gradients afterwards; but what goes in may,
    as adapters need it.

    Args:
        model: changed in place
        profile: "direct" stores BF16 in 12 bits, as a GPU can multiply it; "fast" takes less memory and more time
        exact: decode always, so that results are those of the plain model, bit for bit

    Returns:
        the model

    Raises:
        UnavailableError: the model is on a GPU, and this build of codecllm has no CUDA
        ValueError: another profile, or a weight that is neither in host memory nor on a CUDA device
    """
    _check_profile(profile)
    # Nothing but this and the layers holds a parameter, and this not longer than it takes to compress its batch.
    waiting = deque(_layers_by_weight(model).items())
    model.requires_grad_(False)
    while waiting:
        # Or streams would take parts of the memory of plain weights, of which what is left could not be given back.
        torch.cuda.empty_cache()
        _compress_batch(_next_batch(waiting), profile, exact)
    torch.cuda.empty_cache()
    link_siblings(model)
    return model


def link_siblings(model: nn.Module) -> None:
    """Lets linear layers of a model that are compressed, and get the same input, compute together."""
    for module in model.modules():
        for names in SIBLING_NAMES:
            layers = [getattr(module, name, None) for name in names]
            if all(isinstance(layer, CompressedLinear) and not layer.exact for layer in layers):
                siblings = Siblings(layers) if len({layer.weight_shape[1] for layer in layers}) == 1 else None
                for layer in layers:
                    layer.siblings = siblings


def compress_layer(
    layer: nn.Module, stream: torch.Tensor | None = None, *, profile: Profile = "direct", exact: bool = False
) -> nn.Module:
    """Puts a stream in the place of a layer's weight.

    Args:
        layer: changed in place: one that `is_compressible`, of whose weight only shape and dtype are asked, so that it
            may be on the meta device; or one that is compressed, and gets another stream
        stream: uint8, one dimension, that begins with a whole stream of any profile, where the layer shall compute. It
            is not to be written any more, and layers that share a weight are to have the same one. Without one the
            layer has an empty stream on the meta device, until `put_stream`
        profile: of weights that `load_state_dict` or an assignment give it later
        exact: as for `compress_module`

    Raises:
        InvalidStreamError: the stream's front is damaged
        ValueError: it is that of another shape or dtype, or no such tensor, or a profile that layers cannot have
        UnavailableError: it is on a GPU, and this build of codecllm has no CUDA
    """
    _check_profile(profile)
    if not isinstance(layer, CompressedLayer):
        weight = layer.get_parameter("weight")
        if stream is not None:
            _check_stream(stream, weight.shape, weight.dtype)
        del layer.weight
        layer.weight_shape, layer.weight_dtype = weight.shape, weight.dtype
        layer.profile, layer.exact = profile, exact
        layer.register_buffer("stream", torch.empty(0, dtype=torch.uint8, device="meta"), persistent=False)
        layer.__class__ = _compressed_class(type(layer))
    if stream is not None:
        layer.put_stream(stream)
    return layer


def is_compressible(module: nn.Module) -> bool:
    """Whether `compress_module` compresses it: a linear layer or an embedding with a weight of its own."""
    # An embedding with max_norm changes its weight as it is used.
    if isinstance(module, nn.Linear) or (isinstance(module, nn.Embedding) and module.max_norm is None):
        return type(module._parameters.get("weight")) is nn.Parameter
    return False


def _check_profile(profile: Profile) -> None:
    if profile == "small":
        raise ValueError('profile "small" is for files: layers have "direct", or "fast", which takes less memory')
    _library.options(profile)


def _layers_by_weight(model: nn.Module) -> dict[nn.Parameter, list[nn.Module]]:
    """The layers that are to be compressed, by their weights, in the order in which the model has them."""
    layers: dict[nn.Parameter, list[nn.Module]] = {}
    used_otherwise = set()
    for module in model.modules():
        for name, parameter in module._parameters.items():
            if name == "weight" and is_compressible(module):
                if parameter.device.type not in ("cpu", "cuda"):
                    raise ValueError(f"the weight of {module} is on {parameter.device}, where nothing is compressed")
                layers.setdefault(parameter, []).append(module)
            else:
                used_otherwise.add(parameter)
    return {parameter: modules for parameter, modules in layers.items() if parameter not in used_otherwise}


def _next_batch(waiting: deque[tuple[nn.Parameter, list[nn.Module]]]) -> list[tuple[nn.Parameter, list[nn.Module]]]:
    """Takes weights that are compressed together: of one device."""
    return take_batch(waiting, lambda item: item[0].nbytes, lambda a, b: a[0].device == b[0].device, _BATCH_BYTES)


def _compress_batch(batch: list[tuple[nn.Parameter, list[nn.Module]]], profile: Profile, exact: bool) -> None:
    streams = _streams_of([parameter for parameter, _ in batch], profile)
    for (_, modules), stream in zip(batch, streams, strict=True):
        if stream is not None:
            for module in modules:
                compress_layer(module, stream, profile=profile, exact=exact)


def _streams_of(weights: Sequence[torch.Tensor], profile: Profile) -> list[torch.Tensor | None]:
    """Compresses weights of one device there; None for those that do not become smaller."""
    device = weights[0].device
    if device.type == "cuda":
        with GPUEncoder(device.index) as encoder:
            return [
                None
                if stream is None
                else in_memory(
                    [torch.frombuffer(bytearray(stream.front), dtype=torch.uint8), stream.data], weight.nbytes, device
                )
                for weight, stream in zip(weights, encoder.encode(weights, profile), strict=True)
            ]
    options = _library.options(profile)
    with ThreadPoolExecutor(processors()) as pool:
        streams = list(pool.map(lambda weight: encode_bytes(*bytes_of(weight), options), weights))
    return [
        in_memory([torch.from_numpy(stream)], weight.nbytes, device) if stream.size < weight.nbytes else None
        for weight, stream in zip(weights, streams, strict=True)
    ]


def memory_size(stream_bytes: int, weight_bytes: int) -> int:
    """Bytes that the tensor of a stream should have: mostly the same for all weights of a shape.

    The compiler of PyTorch compiles a layer anew for each size of its buffers.
    """
    step = -(-weight_bytes // (_SIZES * _ALIGNMENT)) * _ALIGNMENT
    return -(-stream_bytes // step) * step


def in_memory(parts: Sequence[torch.Tensor], weight_bytes: int, device: torch.device) -> torch.Tensor:
    """A stream, of which these are the parts, as a layer has it: in memory of its own."""
    stream_bytes = sum(part.numel() for part in parts)
    memory = torch.zeros(memory_size(stream_bytes, weight_bytes), dtype=torch.uint8, device=device)
    torch.cat([part.to(device) for part in parts], out=memory[:stream_bytes])
    return memory


def _check_stream(stream: torch.Tensor, shape: torch.Size, dtype: torch.dtype) -> None:
    if stream.dtype != torch.uint8 or stream.dim() != 1 or not stream.is_contiguous() or stream.data_ptr() % _ALIGNMENT:
        raise ValueError("a stream has to be uint8, of one dimension, contiguous and aligned to 16")
    weight = weight_of(stream)
    if weight.shape != shape or weight.dtype != dtype:
        raise ValueError(f"a stream of {weight.dtype} {list(weight.shape)}, where {dtype} {list(shape)} is needed")


# ------------------------------------------------------------------------------------------------------------- layers


class CompressedLayer(nn.Module):
    """What compressed layers have in common, whatever they compute."""

    stream: torch.Tensor
    """The compressed weight: uint8, one dimension. Shared weights are one tensor, whatever becomes of the layers.

    A product takes it from `_buffers`: `nn.Module` would first look for it everywhere else.
    """
    weight_shape: torch.Size
    weight_dtype: torch.dtype
    profile: Profile
    exact: bool

    @property
    def weight(self) -> torch.Tensor:
        """The decoded weight: a copy. What is written to it, or assigned to `weight`, is compressed."""
        weight = self._decode()
        return weight if torch.compiler.is_compiling() else DecodedWeight.of(self, weight)

    def _decode(self) -> torch.Tensor:
        return _operators.decode(self.stream, self.weight_shape, self.weight_dtype)

    def put_stream(self, stream: torch.Tensor) -> None:
        """Gives the layer another weight; raises what `compress_layer` does."""
        _check_stream(stream, self.weight_shape, self.weight_dtype)
        self._buffers["stream"] = stream

    def __setattr__(self, name: str, value: Any) -> None:  # noqa: ANN401
        if name != "weight":
            super().__setattr__(name, value)
        elif isinstance(value, DecodedWeight):
            # As a parameter would be, it is shared.
            self.put_stream(value.layer.stream)
        else:
            self._compress(value)

    def _compress(self, weight: torch.Tensor) -> None:
        """Makes this the weight, of all layers that share it."""
        if weight.shape != self.weight_shape:
            raise ValueError(f"a weight of {list(weight.shape)}, where {list(self.weight_shape)} is needed")
        device = weight.device if self.stream.is_meta else self.stream.device
        weight = weight.detach().to(device, self.weight_dtype)
        (stream,) = _streams_of([weight], self.profile)
        if stream is None:
            # Then it takes a little more memory than the weight.
            larger = encode_bytes(*bytes_of(weight), _library.options(self.profile))
            stream = in_memory([torch.from_numpy(larger)], weight.nbytes, weight.device)
        self._replace_stream(stream)

    def _replace_stream(self, stream: torch.Tensor) -> None:
        """Puts another stream in the place of the present one, also in the layers that share it."""
        shared = self.stream
        if torch._has_compatible_shallow_copy_type(shared, stream):
            # As `nn.Module` does with parameters.
            shared.data = stream
            stream = shared
        self._buffers["stream"] = stream
        if not stream.is_meta:
            weight_of(stream)

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> CompressedLayer:
        stream = self.stream
        probe = fn(torch.empty(0, dtype=self.weight_dtype, device=stream.device))
        if probe.dtype != self.weight_dtype:
            raise TypeError(
                f"{type(self).__name__}: the compressed weight is {self.weight_dtype} and cannot become {probe.dtype}: "
                "convert the model before it is compressed"
            )
        super()._apply(fn, recurse)
        # Module.type converts whatever there is.
        moved = self.stream if self.stream.dtype == torch.uint8 else stream.to(probe.device)
        self._buffers["stream"] = stream
        if moved is not stream:
            self._replace_stream(moved)
        return self

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        destination[prefix + "weight"] = _decoded_for(destination, self)
        super()._save_to_state_dict(destination, prefix, keep_vars)

    def _load_from_state_dict(
        self,
        state_dict: dict[str, Any],
        prefix: str,
        local_metadata: dict[str, Any],
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        super()._load_from_state_dict(
            state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs
        )
        key = prefix + "weight"
        if key in unexpected_keys:
            unexpected_keys.remove(key)
        weight = state_dict.get(key)
        if weight is None:
            if strict:
                missing_keys.append(key)
        elif weight.shape != self.weight_shape:
            error_msgs.append(
                f"size mismatch for {key}: copying a param with shape {weight.shape} from checkpoint, "
                f"the shape in current model is {self.weight_shape}."
            )
        else:
            self._compress(weight)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if not self.stream.is_meta:
            weight_of(self.stream)

    def __reduce_ex__(self, protocol: int) -> tuple:
        # Its class has no name by which it is found.
        _, _, *state = super().__reduce_ex__(protocol)
        return (_new_layer, (_layer_class(type(self)),), *state)


class DecodedWeight(torch.Tensor):
    """A layer's decoded weight. What is written to it, though not to views of it, becomes the layer's weight."""

    layer: CompressedLayer

    @classmethod
    def of(cls, layer: CompressedLayer, weight: torch.Tensor) -> DecodedWeight:
        decoded = weight.as_subclass(cls)
        decoded.layer = layer
        return decoded

    @classmethod
    def __torch_function__(
        cls, func: Callable, types: Sequence[type], args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:  # noqa: ANN401
        kwargs = kwargs or {}
        with torch._C.DisableTorchFunctionSubclass():
            result = func(*args, **kwargs)
            # Functions of torch.nn.init name their argument.
            written = kwargs.get("out", args[0] if args else kwargs.get("tensor"))
            if isinstance(written, cls):
                if func == torch.Tensor.data.__get__:
                    return cls.of(written.layer, result)
                if _writes(func) or "out" in kwargs:
                    written.layer._compress(written.as_subclass(torch.Tensor))
        return result

    # A copy of it is a plain tensor.
    def __deepcopy__(self, memo: dict[int, Any]) -> torch.Tensor:
        return copy.deepcopy(self.as_subclass(torch.Tensor), memo)

    def __reduce_ex__(self, protocol: int) -> Any:  # noqa: ANN401
        return self.as_subclass(torch.Tensor).__reduce_ex__(protocol)


_WRITING = {"__setitem__", *(f"__i{name}__" for name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow"))}


def _writes(function: Callable) -> bool:
    """Whether a function of a tensor changes its elements."""
    name = function.__name__
    if name.startswith("__"):
        return name in _WRITING or function == torch.Tensor.data.__set__
    return name.endswith("_") and name != "requires_grad_"


def _is_autocast(x: torch.Tensor) -> bool:
    # The first question takes less time than the others, and its answer is no, mostly.
    return (
        torch._C._is_any_autocast_enabled()
        and x.device.type in ("cpu", "cuda")
        and torch.is_autocast_enabled(x.device.type)
    )


class CompressedLinear(CompressedLayer, nn.Linear):
    """A linear layer whose weight is compressed."""

    siblings: Siblings | None = None
    """With the layers that get the same input."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        dtype = self.weight_dtype
        is_autocast = _is_autocast(input)
        features, columns = self.weight_shape
        fits = input.dim() > 0 and input.shape[-1] == columns
        siblings = self.siblings
        if siblings is not None and fits and not is_autocast and input.dtype == dtype and not torch.is_grad_enabled():
            product = siblings.product_of(self, input)
            if product is not None:
                return product
        bias = self.bias
        if is_autocast and input.dtype != torch.float64:
            dtype = torch.get_autocast_dtype(input.device.type)
            input = input.to(dtype)
            bias = None if bias is None else bias.to(dtype)
        if not fits or input.dtype != dtype or (bias is not None and bias.dtype != dtype):
            # PyTorch says what is wrong.
            return functional.linear(input, self._decode(), bias)
        return _operators.linear(input, self._buffers["stream"], bias, features, self.exact)


class CompressedEmbedding(CompressedLayer, nn.Embedding):
    """An embedding whose weight is compressed."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return _operators.embedding(input, self.stream, self.weight_shape[1], self.weight_dtype)


@cache
def _compressed_class(own: type[nn.Module]) -> type[nn.Module]:
    """A layer's class, with a weight that is compressed."""
    base = CompressedLinear if issubclass(own, nn.Linear) else CompressedEmbedding
    if own in (nn.Linear, nn.Embedding):
        return base
    return type(f"Compressed{own.__name__}", (own, base), {"__module__": own.__module__})


def _layer_class(compressed: type[nn.Module]) -> type[nn.Module]:
    """What `_compressed_class` was called with."""
    if compressed in (CompressedLinear, CompressedEmbedding):
        return compressed.__bases__[1]
    return compressed.__bases__[0]


def _new_layer(own: type[nn.Module]) -> nn.Module:
    """A layer of a class, whose state is set later."""
    compressed = _compressed_class(own)
    return compressed.__new__(compressed)


_latest = WeakIdKeyDictionary()
"""For streams, the tensors that they were decoded to the last time for a state dict, as weak references."""


def _decoded_for(destination: dict[str, Any], layer: CompressedLayer) -> torch.Tensor:
    """The decoded weight for a state dict: layers that share their weight share a tensor of it there, too."""
    latest = _latest[layer.stream]() if layer.stream in _latest else None
    if latest is not None and any(value is latest for value in destination.values()):
        return latest
    weight = layer._decode()
    _latest[layer.stream] = weakref.ref(weight)
    return weight

"""What transformers calls a quantizer: how `from_pretrained` loads a directory whose tensors are streams.

transformers reads the files, and hands every tensor of them to an operation of ours before anything else is done with
it. Streams of linear and embedding layers pass as they are, and lie in a layer's `weight` until all is loaded; then
they become weights of compressed layers. What else is a stream is decoded on its device.
"""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.core_model_loading import ConversionOps, WeightConverter, build_glob_alternation
from transformers.quantizers import HfQuantizer
from transformers.utils.quantization_config import QuantizationConfigMixin

from . import _container, _loading
from ._arrays import torch_tensor
from ._checkpoint import Checkpoint
from ._codec import decode
from ._decoded_weights import front_of
from ._dtypes import torch_dtype
from ._errors import FileError, InvalidStreamError
from ._gpu_decoder import GPUDecoder
from ._gpu_encoder import GPUEncoder, GPUStream
from ._library import Profile, options
from ._model_directory import METHOD
from ._modules import CompressedLayer, compress_layer, compress_module, in_memory, is_compressible, link_siblings
from ._processors import processors
from ._stored import StoredTensor
from ._stream import StreamInfo
from ._work import take_batch

_BATCH_BYTES = 128 * 2**20
"""Streams are checked, or become those of another profile, so many bytes of their tensors at a time, or one."""
_DIRECT_SHARE = 0.77
"""Of BF16, what a stream of *direct* takes at most, as weights are."""


class CodecLLMConfig(QuantizationConfigMixin):
    """How a model is loaded from a compressed directory: for `from_pretrained`, where the defaults will not do.

    ::

        AutoModelForCausalLM.from_pretrained(directory, quantization_config=CodecLLMConfig(exact=True))

    Args:
        profile: of the weights in memory on a GPU: "direct", which is multiplied as it lies, or "fast", which takes
            less space; by default what `config.json` says: that of the files, or "direct" where it is "small". On the
            host weights stay as they are in the files
        exact: always decode weights before they are multiplied, so that results are those of the plain model, bit for
            bit, also on a GPU
        dequantize: decode all weights: the model is a plain one
        stored: the profile of the files, which `config.json` says; not known where it does not
        others: what else stands there, for people

    Raises:
        ValueError: no such profile, or "small"
    """

    def __init__(
        self,
        profile: Profile | None = None,
        exact: bool = False,
        dequantize: bool = False,
        stored: Profile | None = None,
        **others: object,
    ) -> None:
        if profile is not None:
            options(profile)
        if profile == "small":
            raise ValueError("profile 'small' is for files; 'direct' and 'fast' are for memory")
        self.quant_method = METHOD
        self.profile = profile
        self.exact = exact
        self.dequantize = dequantize
        self.stored = stored

    def get_loading_attributes(self) -> dict[str, Any]:
        """What an argument of `from_pretrained` has to say against `config.json`."""
        given = {"exact": self.exact, "dequantize": self.dequantize}
        return given if self.profile is None else given | {"profile": self.profile}


class CodecLLMQuantizer(HfQuantizer):
    """Loads models whose checkpoints are compressed."""

    quantization_config: CodecLLMConfig

    def __init__(self, quantization_config: CodecLLMConfig, **arguments: Any) -> None:  # noqa: ANN401
        super().__init__(quantization_config, **arguments)
        # Also where config.json does not say so: of files that are not compressed nothing is made.
        self.pre_quantized = True
        self._checkpoints: list[Checkpoint] = []
        self._share = 1.0
        """Bytes of a stream in memory, of one byte of its tensor."""
        self._dtypes: dict[str, torch.dtype] = {}
        """Of those weights that are streams as yet, what the model wants."""
        self._dtype_plan: dict[str, torch.dtype] = {}
        self._damage: FileError | None = None
        self._encoders: dict[torch.device, GPUEncoder] = {}

    # ------------------------------------------------------------------------------------------------ before loading

    def validate_environment(self, device_map: object = None, **_: object) -> None:
        """Refuses offloading: it reads weights from the files, or moves them, past this.

        Raises:
            ValueError: the model would not be on GPUs as a whole, or on the host
        """
        places = {str(place) for place in device_map.values()} if isinstance(device_map, dict) else set()
        if "disk" in places or ("cpu" in places and len(places) > 1):
            raise ValueError(
                "a compressed model cannot be offloaded: the GPUs need room for all of it, or device_map='cpu'"
            )

    def adjust_max_memory(self, max_memory: dict[str, int | str]) -> dict[str, int | str]:
        """Leaves room for a decoded weight and what decodes it."""
        return {place: 0.9 * size if isinstance(size, int | float) else size for place, size in max_memory.items()}  # type: ignore[misc]

    def _process_model_before_weight_loading(
        self,
        model: PreTrainedModel,
        checkpoint_files: Sequence[str] | None = None,
        **_: object,
    ) -> None:
        """Reads and checks the fronts of all streams. @raises FileError where one is damaged"""
        self._checkpoints = [Checkpoint(path) for path in checkpoint_files or ()]
        for tensor in self._streams():
            if tensor.layers:
                raise tensor.error("is in layers of bits, which transformers does not load")
        infos = [(tensor, tensor.open_stream().info) for tensor in self._streams()]
        if not infos:
            raise FileError(str(model.config.name_or_path), "holds no compressed tensor")
        if not self.quantization_config.dequantize:
            stored = sum(self._bytes_in_memory(tensor, info) for tensor, info in infos)
            self._share = stored / sum(info.tensor_bytes for _, info in infos)
        self._dtype_plan = model._get_dtype_plan(model.config.dtype)

    def _bytes_in_memory(self, tensor: StoredTensor, info: StreamInfo) -> float:
        becomes_direct = self._is_transcoded and self._profile == "direct" and info.dtype == "BF16"
        return _DIRECT_SHARE * info.tensor_bytes if becomes_direct else tensor.size

    def param_element_size(self, model: PreTrainedModel, param_name: str, param: torch.Tensor) -> float:
        """Bytes of an element, by which devices are chosen and memory is reserved."""
        module, _, name = param_name.rpartition(".")
        held = name == "weight" and is_compressible(model.get_submodule(module))
        return param.element_size() * (self._share if held else 1)

    def _streams(self) -> Iterator[StoredTensor]:
        for checkpoint in self._checkpoints:
            yield from (tensor for tensor in checkpoint.tensors.values() if tensor.is_stream)

    @property
    def _profile(self) -> Profile:
        return self.quantization_config.profile or "direct"

    @property
    def _is_transcoded(self) -> bool:
        """Whether the files have another profile than weights shall have on a GPU."""
        return self.quantization_config.stored != self._profile

    # ------------------------------------------------------------------------------------------------ while loading

    def update_weight_conversions(
        self, weight_conversions: list[Any], model: PreTrainedModel | None = None
    ) -> list[Any]:
        """Puts our operation before those of the model, and one behind them, for all tensors that have none."""
        updated = []
        for conversion in weight_conversions:
            if isinstance(conversion, WeightConverter):
                conversion = copy.deepcopy(conversion)
                conversion.operations.insert(0, _Decode(self))
            updated.append(conversion)
        return [*updated, WeightConverter("(.+)", r"\1", [_Load(self)])]

    def param_needs_quantization(self, model: PreTrainedModel, param_name: str, **_: object) -> bool:
        """Whether it is a stream, which does not have the shape that the model has for it."""
        return param_name in self._dtypes

    def get_new_dtype(self, converter: object, param: object, dtype: torch.dtype | None) -> torch.dtype | None:
        """No dtype: what our operation gets are bytes of files, and it knows what becomes of them."""
        return None

    def load(self, tensor: torch.Tensor, target: str, model: PreTrainedModel, may_stay: bool) -> torch.Tensor:
        """What becomes of a tensor of a file.

        Args:
            tensor: on its device
            target: the name of the parameter that it is for
            may_stay: whether a stream may stay one until all is loaded

        Returns:
            a tensor of the dtype that the model wants; or the stream
        """
        wanted = self._dtype_of(target, model)
        if not _is_stream(tensor):
            return tensor.to(wanted)
        info = front_of(tensor)[1]
        module, _, name = target.rpartition(".")
        layer = model.get_submodule(module)
        held = name == "weight" and is_compressible(layer) and layer.weight.shape == info.shape
        if may_stay and held and not self.quantization_config.dequantize:
            self._dtypes[target] = wanted
            return tensor
        try:
            return _decoded(tensor).to(wanted)
        except InvalidStreamError as error:
            # What is raised here transformers makes a table of: it has to wait.
            self._damage = self._damage or self._error(tensor, target, error)
            return torch.zeros(info.shape, dtype=wanted, device=tensor.device)

    def _dtype_of(self, target: str, model: PreTrainedModel) -> torch.dtype:
        if self._dtype_plan:
            pattern, dtypes, _ = build_glob_alternation(list(self._dtype_plan))
            found = pattern.search(target)
            if found is not None and found.lastgroup is not None:
                return self._dtype_plan[dtypes[found.lastgroup]]
        return model.get_parameter_or_buffer(target).dtype

    def _error(self, stream: torch.Tensor, target: str, error: InvalidStreamError) -> FileError:
        """The error of a damaged stream. Nobody says which tensor of which file it was: they are read again."""
        try:
            _loading.load(tensor for tensor in self._streams() if tensor.size == stream.numel())
        except FileError as named:
            return named
        return FileError(target, error.problem)

    # ------------------------------------------------------------------------------------------------ after loading

    def _process_model_after_weight_loading(self, model: PreTrainedModel, **_: object) -> PreTrainedModel:
        """Makes compressed layers of those whose `weight` is a stream. @raises FileError where one is damaged"""
        try:
            if self._damage is not None:
                raise self._damage
            with ExitStack() as encoders:
                waiting = _held_streams(model)
                while waiting:
                    batch = _next_batch(waiting)
                    made = self._in_memory(list(batch), encoders)
                    while batch:
                        # The old one goes when nothing holds it any more.
                        self._put(batch.popleft(), made.popleft())
        finally:
            for checkpoint in self._checkpoints:
                checkpoint.close()
            self._checkpoints = []
            self._encoders = {}
        link_siblings(model)
        # What is saved is decoded, and nothing of it is ours.
        if hasattr(model, "_weight_conversions"):
            model._weight_conversions = [kept for each in model._weight_conversions if (kept := _without_ours(each))]
        if not self.quantization_config.dequantize:
            del model.config.quantization_config
        return model

    def _put(self, held: _Held, parts: list[torch.Tensor]) -> None:
        """Makes a stream, whose parts are as they are to be in memory, the weight of its layers."""
        stream = in_memory(parts, held.info.tensor_bytes, held.stream.device)
        wanted = next(self._dtypes[name] for name in held.parameters if name in self._dtypes)
        dtype = torch_dtype(held.info.dtype)
        fits = wanted == dtype and held.is_of_layers
        weight = torch.empty(held.info.shape, dtype=dtype, device="meta") if fits else _decoded(stream).to(wanted)
        parameter = nn.Parameter(weight, requires_grad=False)
        with _without_hooks(held.modules):
            for name, module in zip(held.parameters, held.modules, strict=True):
                setattr(module, name.rpartition(".")[2], parameter)
                _mend_bias(module)
            if fits:
                for module in held.modules:
                    compress_layer(module, stream, exact=self.quantization_config.exact, profile=self._profile)
            elif held.is_of_layers:
                compress_module(nn.ModuleList(held.modules), self._profile, self.quantization_config.exact)

    def _in_memory(self, batch: list[_Held], encoders: ExitStack) -> deque[list[torch.Tensor]]:
        """The parts of streams as they are to be in memory; all their tiles have been checked."""
        device = batch[0].stream.device
        try:
            if device.type != "cuda":
                _check_on_host([held.stream for held in batch])
            elif self._is_transcoded:
                if device not in self._encoders:
                    self._encoders[device] = encoders.enter_context(GPUEncoder(device.index))
                made = self._encoders[device].transcode([held.gpu_stream for held in batch], self._profile)
                return deque([torch.frombuffer(bytearray(front), dtype=torch.uint8), data] for front, data in made)
            else:
                _check_on_gpu([held.gpu_stream for held in batch], device)
        except InvalidStreamError as error:
            damaged = batch[error.stream or 0]
            raise self._error(damaged.stream, damaged.parameters[0], error) from None
        return deque([held.stream] for held in batch)

    def get_state_dict_and_metadata(self, model: PreTrainedModel) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
        """What `save_pretrained` writes: weights, decoded one by one, so that they never are on a GPU at once."""
        state: dict[str, torch.Tensor] = {}
        decoded: dict[torch.Tensor, torch.Tensor] = {}
        for name, module in model.named_modules(remove_duplicate=False):
            prefix = f"{name}." if name else ""
            stream = module._buffers.get("stream") if isinstance(module, CompressedLayer) else None
            if stream is None:
                module._save_to_state_dict(state, prefix, keep_vars=False)
                continue
            nn.Module._save_to_state_dict(module, state, prefix, keep_vars=False)
            if stream not in decoded:
                decoded[stream] = module.weight.cpu()
            state[f"{prefix}weight"] = decoded[stream]
        return state, {}

    def is_serializable(self) -> bool:
        """Models are saved as plain ones."""
        return True

    @property
    def is_trainable(self) -> bool:
        """Adapters are; the weights are not."""
        return True

    @property
    def is_compileable(self) -> bool:
        return True


class _Decode(ConversionOps):
    """Comes before the operations of the model, which work on weights."""

    def __init__(self, quantizer: CodecLLMQuantizer) -> None:
        self.quantizer = quantizer

    def __deepcopy__(self, memo: object) -> _Decode:
        # Conversions are copied for every tensor.
        return self

    def convert(
        self,
        input_dict: dict[str, Any],
        source_patterns: list[str],
        target_patterns: list[str],
        **more: Any,  # noqa: ANN401
    ) -> dict[str, Any]:
        target, model = more["full_layer_name"], more["model"]
        return {
            pattern: [self.quantizer.load(tensor, target, model, may_stay=False) for tensor in tensors]
            for pattern, tensors in input_dict.items()
        }


class _Load(_Decode):
    """Where the model has no operations: a tensor of a file is a parameter."""

    def convert(
        self,
        input_dict: dict[str, Any],
        source_patterns: list[str],
        target_patterns: list[str],
        **more: Any,  # noqa: ANN401
    ) -> dict[str, Any]:
        target, model = more["full_layer_name"], more["model"]
        ((tensor,),) = input_dict.values()
        return {target: self.quantizer.load(tensor, target, model, may_stay=True)}


def _without_ours(conversion: Any) -> Any | None:  # noqa: ANN401
    """A conversion as the model has it, to be reversed when it is saved; None if it is none of the model's."""
    if isinstance(conversion, WeightConverter):
        conversion.operations[:] = [each for each in conversion.operations if not isinstance(each, _Decode)]
        return conversion if conversion.operations else None
    return conversion


class _Held(NamedTuple):
    """A stream that lies where a weight has to be: of several modules, if they are tied."""

    stream: torch.Tensor
    front: np.ndarray
    info: StreamInfo
    parameters: list[str]
    """Their names."""
    modules: list[nn.Module]
    """Whose parameters they are."""

    @property
    def gpu_stream(self) -> GPUStream:
        return GPUStream(self.front.tobytes(), self.stream[self.info.front_bytes :])

    @property
    def is_of_layers(self) -> bool:
        """Whether compressed layers can be made of all of them: an embedding may be tied to something else."""
        names = (name.rpartition(".")[2] for name in self.parameters)
        return all(
            name == "weight" and is_compressible(module) for name, module in zip(names, self.modules, strict=True)
        )


def _held_streams(model: PreTrainedModel) -> deque[_Held]:
    """Those of large weights, which take most memory beside them, before it fills; then in the order of the model."""
    found: dict[nn.Parameter, _Held] = {}
    for prefix, module in model.named_modules():
        for name, parameter in module.named_parameters(prefix, recurse=False):
            if _is_stream(parameter):
                if parameter not in found:
                    found[parameter] = _Held(parameter.data, *front_of(parameter.data), [], [])
                found[parameter].parameters.append(name)
                found[parameter].modules.append(module)
    return deque(sorted(found.values(), key=lambda held: held.info.tensor_bytes <= _BATCH_BYTES))


def _next_batch(waiting: deque[_Held]) -> deque[_Held]:
    """Takes streams that are worked on together: on one device."""
    return deque(
        take_batch(
            waiting,
            lambda held: held.info.tensor_bytes,
            lambda before, held: before.stream.device == held.stream.device,
            _BATCH_BYTES,
        )
    )


def _check_on_host(streams: list[torch.Tensor]) -> None:
    """Decodes streams, many at a time. @raises InvalidStreamError that gives the number of one that is damaged"""
    with ThreadPoolExecutor(processors()) as pool:
        for number, checked in enumerate([pool.submit(_decoded, stream) for stream in streams]):
            try:
                checked.result()
            except InvalidStreamError as error:
                raise InvalidStreamError(error.problem, number) from None


def _check_on_gpu(streams: list[GPUStream], device: torch.device) -> None:
    """Decodes streams at once; raises what `_check_on_host` does."""
    with torch.cuda.device(device), GPUDecoder([stream.front for stream in streams]) as decoder:
        outputs = [torch.empty(info.tensor_bytes, dtype=torch.uint8, device=device) for info in decoder.streams]
        decoder.decode([stream.data for stream in streams], outputs)
        decoder.check()


def _is_stream(tensor: torch.Tensor) -> bool:
    """Whether it is one: no tensor of a compressed file that is kept could be taken for it (section 11)."""
    if tensor.dtype != torch.uint8 or tensor.dim() != 1 or tensor.device.type == "meta":
        return False
    start = _container.STREAM_START
    return tensor[: len(start)].cpu().numpy().tobytes() == start


def _decoded(stream: torch.Tensor) -> torch.Tensor:
    """Its tensor, on the same device. @raises InvalidStreamError where a tile is damaged"""
    front, info = front_of(stream)
    end = info.front_bytes + info.data_bytes
    if stream.device.type != "cuda":
        return decode(stream[:end].numpy(), "pt")  # type: ignore[return-value]
    output = torch.empty(info.tensor_bytes, dtype=torch.uint8, device=stream.device)
    with torch.cuda.device(stream.device), GPUDecoder([front]) as decoder:
        decoder.decode([stream[info.front_bytes : end]], [output])
        decoder.check()
    return torch_tensor(output, info.dtype, info.shape)


def _mend_bias(module: nn.Module) -> None:
    """transformers pads the bias of a tied layer to the rows of its weight: a stream has as many as it has bytes."""
    bias = module._parameters.get("bias")
    if isinstance(module, nn.Linear) and bias is not None and bias.numel() > module.out_features:
        bias.data = bias.data[: module.out_features].clone()


@contextmanager
def _without_hooks(modules: list[nn.Module]) -> Iterator[None]:
    """Takes away what accelerate has put on modules, bound to the class that they have, and puts it back on."""
    hooks = [(module, module._hf_hook) for module in modules if hasattr(module, "_hf_hook")]
    if hooks:
        from accelerate.hooks import add_hook_to_module, remove_hook_from_module

        for module, _ in hooks:
            remove_hook_from_module(module)
            # It leaves the forward of the class on the module itself.
            if getattr(module.forward, "__func__", None) is type(module).forward:
                del module.forward
    yield
    for module, hook in hooks:
        add_hook_to_module(module, hook)

"""Models of Hugging Face transformers from directories whose checkpoints are compressed."""

from __future__ import annotations

import os
from typing import Any

import transformers

from ._errors import FileError
from ._frameworks import Device, as_device
from .torch import load_file


def from_pretrained(
    directory: str | os.PathLike[str],
    device: Device = "cpu",
    **arguments: Any,  # noqa: ANN401
) -> transformers.PreTrainedModel:
    """Loads a model, as the `from_pretrained` of its class does from the directory before it was compressed.

    ::

        model = from_pretrained("model.codecllm", device="cuda")

    Args:
        directory: what `codecllm compress` makes of a directory of Hugging Face: `config.json`, and `model.safetensors`
            or shards with their index; one that is not compressed will do, too
        device: where the model shall be; another than "cpu" needs the package `accelerate`
        arguments: go to transformers, e.g. `attn_implementation`

    Returns:
        the model, of the class that `config.json` names first among its `architectures`; its weights have the bits of
        the original checkpoint (in their own dtype, unless `dtype` is another)

    Raises:
        FileError: the checkpoint is damaged, or `config.json` names no class of transformers
        OSError: a file is missing
        UnavailableError: as `codecllm.torch.load_file` does
    """
    directory = os.fspath(directory)
    config = transformers.AutoConfig.from_pretrained(directory)
    name = (config.architectures or [""])[0]
    model_class = getattr(transformers, name, None)
    if model_class is None:
        raise FileError(
            os.path.join(directory, "config.json"), f'"architectures" names {name!r}: no class of transformers'
        )
    place = as_device(device)
    if place.type != "cpu":
        arguments["device_map"] = str(place)
    weights = load_file(directory, place)
    model = model_class.from_pretrained(None, config=config, state_dict=weights, **arguments)
    model.config.name_or_path = directory
    if os.path.exists(os.path.join(directory, "generation_config.json")):
        model.generation_config = transformers.GenerationConfig.from_pretrained(directory)
    return model

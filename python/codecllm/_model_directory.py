"""A directory that Hugging Face's transformers loads as it is, compressed: its `config.json` names the method that
`codecllm.transformers` registers. The original of that file is kept beside it, so that `decompress` gives it back.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from ._arrangement import AS_IT_IS, Arrangement
from ._directory import Entry
from ._errors import FileError
from ._report import FileReport

if TYPE_CHECKING:
    from ._library import Profile

METHOD = "codecllm"
_CONFIG = "config.json"
_ORIGINAL = "config.json.original"
_READMES = ("README.md", "CODECLLM.md")
"""The second is for a model that has a README of its own."""
_NOTE = "Compressed by CodecLLM: install its Python package, and `import codecllm.transformers` before from_pretrained."
_MARK = "<!-- Written by CodecLLM -->"
"""The first line of a README of ours."""
_README = f"""{_MARK}

# A model compressed by CodecLLM

The weights here are compressed without losing a bit. With transformers and the Python package of CodecLLM,
`codecllm[transformers]`, the model is loaded as any other, and stays compressed in memory:

```python
import codecllm.transformers
from transformers import AutoModelForCausalLM

model = AutoModelForCausalLM.from_pretrained("this directory", device_map="auto")
```

Without that import transformers warns of an unknown quantization type, `codecllm`, and cannot use the weights.
`codecllm decompress` gives back the original directory, byte for byte.
"""
_DTYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}


def arrange_for_transformers(path: str, entries: list[Entry], profile: Profile) -> Arrangement:
    """How a model's directory becomes one that transformers loads.

    Raises:
        FileError: it is not the directory of a model, or of one that another method has quantised
        OSError: a file cannot be read
    """
    names = {entry.name for entry in entries}
    if _CONFIG not in names:
        raise FileError(path, f"holds no {_CONFIG}, by which transformers knows a model")
    place = os.path.join(path, _CONFIG)
    text = _read(place)
    config = _parse(place, text)
    for each in (config, config.get("text_config")):
        quantized = each.get("quantization_config") if isinstance(each, dict) else None
        if isinstance(quantized, dict):
            method = json.dumps(quantized.get("quant_method"), ensure_ascii=False)
            raise FileError(place, f"has a quantization_config already, of {method}")
    readme = next((name for name in _READMES if name not in names), None)
    if readme is None or _ORIGINAL in names:
        raise FileError(path, f"holds {_READMES[1] if readme is None else _ORIGINAL}, a name that is needed here")
    has_dtype = bool(config.get("dtype") or config.get("torch_dtype"))

    def text_of(name: str, checkpoints: list[FileReport]) -> str:
        return _README if name == readme else _config_text(text, has_dtype, profile, checkpoints)

    return Arrangement(lambda name: _ORIGINAL if name == _CONFIG else name, (_CONFIG, readme), text_of)


def arrange_original(path: str, entries: list[Entry]) -> Arrangement:
    """Undoes `arrange_for_transformers`, where it was done; raises what that does."""
    names = {entry.name for entry in entries}
    if not names >= {_CONFIG, _ORIGINAL}:
        return AS_IT_IS
    place = os.path.join(path, _CONFIG)
    quantized = _parse(place, _read(place)).get("quantization_config")
    if not isinstance(quantized, dict) or quantized.get("quant_method") != METHOD:
        return AS_IT_IS
    left = {_CONFIG} | {
        name for name in _READMES if name in names and _read(os.path.join(path, name)).startswith(_MARK)
    }
    return AS_IT_IS._replace(
        name_of=lambda name: _CONFIG if name == _ORIGINAL else None if name in left else name,
    )


def _read(path: str) -> str:
    with open(path, "rb") as file:
        return file.read().decode(errors="replace")


def _parse(path: str, text: str) -> dict[str, Any]:
    try:
        parsed = json.loads(text)
    except (ValueError, RecursionError):
        raise FileError(path, "is not valid JSON") from None
    if not isinstance(parsed, dict) or not parsed:
        raise FileError(path, "is not the config of a model")
    return parsed


def _config_text(text: str, has_dtype: bool, profile: Profile, checkpoints: list[FileReport]) -> str:
    """The original's text with entries at its end, so that its own stay as they are written."""
    quantized = {
        "quant_method": METHOD,
        "stored": profile,
        "profile": "direct" if profile == "small" else profile,
        "note": _NOTE,
    }
    dtype = None if has_dtype else _dtype_of(checkpoints)
    added = {} if dtype is None else {"dtype": dtype}
    entries = [
        f',\n  "{key}": ' + json.dumps(value, indent=2).replace("\n", "\n  ")
        for key, value in (added | {"quantization_config": quantized}).items()
    ]
    return text[: text.rindex("}")].rstrip() + "".join(entries) + "\n}\n"


def _dtype_of(checkpoints: list[FileReport]) -> str | None:
    """What transformers calls the dtype of a model whose config does not say it: that of the first weight of floats."""
    names = (tensor.dtype for file in checkpoints for tensor in file.tensors)
    return next((_DTYPES[name] for name in names if name in _DTYPES), None)

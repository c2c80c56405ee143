#!/usr/bin/env python3
"""What a language model loses when only the first bits of its weights are there.

prefixes.ts runs this, and asks in JSON: a directory that transformers loads, and numbers of bits of BF16. The answer is
the loss with each, in bits a token of the text that the demo's model did not see: the end of demo/alice.txt.

    pip install torch==2.14.1 transformers==5.24.0
"""

import json
import math
import pathlib
import sys

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

TEXT = pathlib.Path(__file__).resolve().parents[2] / "demo" / "alice.txt"
WINDOW = 512
TOKENS = 2048  # at most so many


def truncated(words: torch.Tensor, bits: int) -> torch.Tensor:
    """As prefixes.ts does it: what is missing is a one and zeros, the middle of what it may be."""
    missing = 16 - bits
    return words if missing == 0 else (words >> missing << missing) | (1 << (missing - 1))


@torch.no_grad()
def loss(model: torch.nn.Module, windows: list[torch.Tensor]) -> float:
    nats = sum(model(window[None], labels=window[None]).loss.item() * (len(window) - 1) for window in windows)
    return nats / sum(len(window) - 1 for window in windows) / math.log(2)


def windows_of(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> list[torch.Tensor]:
    """The tokens of the text, as many at a time as the model takes."""
    text = TEXT.read_bytes().decode("latin-1")
    ids = tokenizer(text[len(text) * 9 // 10 :], add_special_tokens=False)["input_ids"][:TOKENS]
    first = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
    length = min(WINDOW, model.config.max_position_embeddings) - len(first)
    return [torch.tensor(first + ids[at : at + length]) for at in range(0, len(ids) - 1, length)]


def main() -> None:
    request = json.load(sys.stdin)
    torch.set_num_threads(1)
    model = AutoModelForCausalLM.from_pretrained(request["path"], dtype=torch.bfloat16)
    words = {name: weights.detach().view(torch.int16).clone() for name, weights in model.named_parameters()}
    model.float()
    windows = windows_of(model, AutoTokenizer.from_pretrained(request["path"]))
    losses = []
    for bits in request["bits"]:
        for name, weights in model.named_parameters():
            # Vectors are a thousandth of a model, so that a coarse one can have them whole.
            if weights.dim() > 1:
                weights.data = truncated(words[name], bits).view(torch.bfloat16).float()
        losses.append(loss(model, windows))
    json.dump(losses, sys.stdout)


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Train the demo checkpoint: a byte-level transformer of one million weights.

    python train.py [--steps N]

Reads alice.txt and (over)writes model.safetensors, both next to this script.
Needs torch and safetensors, nothing else; uses a GPU if torch finds one.

The model is a decoder-only transformer whose tokens are the 256 byte values.
Architecture and tensor names are those of Llama checkpoints (RMSNorm, rotary
position embedding, SwiGLU, no biases, untied lm_head), so that the file looks
to a reader like a large checkpoint does, only smaller.

The first 90 % of the text are trained on, the last 10 % are held out.  Training
keeps F32 weights; what is saved is these rounded to BF16.  Every EVAL_EVERY
steps the rounded weights are scored on the held-out text, and the best-scoring
ones are the ones saved.  All figures printed, save the batch's, are of rounded
weights, computed in F32.  The seed is fixed, but another machine, torch version
or thread count may add floating-point numbers in another order and so end at
other weights.
"""

import argparse
import math
import pathlib
import time

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn

HERE = pathlib.Path(__file__).resolve().parent

VOCAB = 256
HIDDEN = 128
INTERMEDIATE = 448
LAYERS = 4
HEADS = 4
HEAD_DIM = HIDDEN // HEADS
ROPE_BASE = 10000.0
NORM_EPS = 1e-5

CONTEXT = 128
BATCH = 16
LEARNING_RATE = 2e-3
WARMUP = 100
WEIGHT_DECAY = 0.1
DROPOUT = 0.2
EVAL_EVERY = 200
SEED = 1865  # the year the book appeared


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.q_proj = nn.Linear(HIDDEN, HIDDEN, bias=False)
        self.k_proj = nn.Linear(HIDDEN, HIDDEN, bias=False)
        self.v_proj = nn.Linear(HIDDEN, HIDDEN, bias=False)
        self.o_proj = nn.Linear(HIDDEN, HIDDEN, bias=False)

    def forward(self, x, cos, sin):
        batch, length, _ = x.shape

        def heads(t):  # (batch, length, hidden) -> (batch, head, length, head_dim)
            return t.view(batch, length, HEADS, HEAD_DIM).transpose(1, 2)

        def rotate(t):  # component i turns together with component i + HEAD_DIM / 2
            a, b = t.chunk(2, dim=-1)
            return t * cos + torch.cat((-b, a), dim=-1) * sin

        q = rotate(heads(self.q_proj(x)))
        k = rotate(heads(self.k_proj(x)))
        v = heads(self.v_proj(x))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.o_proj(y.transpose(1, 2).reshape(batch, length, HIDDEN))


class MLP(nn.Module):
    def __init__(self):
        super().__init__()
        self.gate_proj = nn.Linear(HIDDEN, INTERMEDIATE, bias=False)
        self.up_proj = nn.Linear(HIDDEN, INTERMEDIATE, bias=False)
        self.down_proj = nn.Linear(INTERMEDIATE, HIDDEN, bias=False)

    def forward(self, x):
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Layer(nn.Module):
    def __init__(self):
        super().__init__()
        self.input_layernorm = nn.RMSNorm(HIDDEN, eps=NORM_EPS)
        self.self_attn = Attention()
        self.post_attention_layernorm = nn.RMSNorm(HIDDEN, eps=NORM_EPS)
        self.mlp = MLP()
        self.dropout = nn.Dropout(DROPOUT)

    def forward(self, x, cos, sin):
        x = x + self.dropout(self.self_attn(self.input_layernorm(x), cos, sin))
        return x + self.dropout(self.mlp(self.post_attention_layernorm(x)))


class Decoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed_tokens = nn.Embedding(VOCAB, HIDDEN)
        self.layers = nn.ModuleList(Layer() for _ in range(LAYERS))
        self.norm = nn.RMSNorm(HIDDEN, eps=NORM_EPS)
        self.dropout = nn.Dropout(DROPOUT)
        # The rotation angles are constants, not weights: they are not saved.
        freq = ROPE_BASE ** (-torch.arange(0, HEAD_DIM, 2) / HEAD_DIM)
        angle = torch.outer(torch.arange(CONTEXT), freq).repeat(1, 2)
        self.register_buffer("cos", angle.cos(), persistent=False)
        self.register_buffer("sin", angle.sin(), persistent=False)

    def forward(self, tokens):
        length = tokens.shape[1]
        x = self.dropout(self.embed_tokens(tokens))
        for layer in self.layers:
            x = layer(x, self.cos[:length], self.sin[:length])
        return self.norm(x)


class LanguageModel(nn.Module):
    def __init__(self):
        super().__init__()
        self.model = Decoder()
        self.lm_head = nn.Linear(HIDDEN, VOCAB, bias=False)
        for name, p in self.named_parameters():
            if p.dim() == 2:
                # What is added to the residual stream starts smaller, so that
                # the stream's size does not grow with the number of layers.
                residual = name.endswith(("o_proj.weight", "down_proj.weight"))
                nn.init.normal_(p, std=0.02 / (math.sqrt(2 * LAYERS) if residual else 1))

    def forward(self, tokens):
        return self.lm_head(self.model(tokens))


def rounded(model):
    """The weights as they are saved: BF16, rounded to nearest even, on the CPU."""
    return {k: v.detach().to(torch.bfloat16).cpu() for k, v in model.state_dict().items()}


@torch.no_grad()
def bits_per_byte(model, text):
    """Mean cost of every byte of text but the first, which nothing precedes.

    Windows overlap by half, and a byte is counted in the earliest window that
    has it, so all but those of the first window see CONTEXT / 2 bytes or more.
    """
    model.eval()
    nats, counted = 0.0, 0
    half = CONTEXT // 2
    for start in range(0, len(text) - 1, half):
        window = text[start : start + CONTEXT + 1]
        skip = half if start else 0
        if len(window) - 1 <= skip:
            break  # the window before reached the end of the text
        logits = model(window[None, :-1])[0, skip:]
        nats += F.cross_entropy(logits, window[1 + skip :], reduction="sum").item()
        counted += len(logits)
    assert counted == len(text) - 1
    return nats / counted / math.log(2)


@torch.no_grad()
def sample(model, prompt, count, temperature=0.8):
    model.eval()
    device = model.lm_head.weight.device
    generator = torch.Generator().manual_seed(SEED)
    text = list(prompt)
    for _ in range(count):
        logits = model(torch.tensor([text[-CONTEXT:]], device=device))[0, -1]
        p = (logits / temperature).softmax(-1).cpu()
        text.append(torch.multinomial(p, 1, generator=generator).item())
    return bytes(text)


def main():
    parser = argparse.ArgumentParser(description="Train the demo checkpoint.")
    parser.add_argument("--steps", type=int, default=1800, help="training steps (default: %(default)s)")
    steps = parser.parse_args().steps

    torch.manual_seed(SEED)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    text = torch.tensor(list((HERE / "alice.txt").read_bytes()), device=device)
    split = len(text) * 9 // 10
    train, held_out = text[:split], text[split:]

    model = LanguageModel().to(device)
    scored = LanguageModel().to(device)  # holds the rounded weights while they are scored

    def score(weights, part):
        scored.load_state_dict(weights)  # BF16 to F32, which is exact
        return bits_per_byte(scored, part)

    print(f"torch {torch.__version__}, {device}, {torch.get_num_threads()} CPU thread(s)")
    print(f"{sum(p.numel() for p in model.parameters())} weights; "
          f"{len(train)} bytes to train on, {len(held_out)} held out")
    weights = rounded(model)
    print(f"before training: {score(weights, train):.3f} bits per byte train, "
          f"{score(weights, held_out):.3f} held-out")

    # Weight decay is for matrices; the norms' gains belong near one, not zero.
    parameters = list(model.parameters())
    optimizer = torch.optim.AdamW(
        [
            {"params": [p for p in parameters if p.dim() == 2], "weight_decay": WEIGHT_DECAY},
            {"params": [p for p in parameters if p.dim() == 1], "weight_decay": 0.0},
        ],
        betas=(0.9, 0.95),
    )
    offsets = torch.arange(CONTEXT + 1, device=device)
    best = (math.inf, 0, weights)
    began = time.time()
    for step in range(1, steps + 1):
        # Linear warmup, then a cosine from the full rate down to a tenth of it.
        cosine = 0.55 + 0.45 * math.cos(math.pi * step / steps)
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * min(step / WARMUP, cosine)

        model.train()
        starts = torch.randint(len(train) - CONTEXT, (BATCH, 1)).to(device)
        window = train[starts + offsets]
        logits = model(window[:, :-1])
        loss = F.cross_entropy(logits.reshape(-1, VOCAB), window[:, 1:].reshape(-1))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()

        if step % EVAL_EVERY == 0 or step == steps:
            weights = rounded(model)
            cost = score(weights, held_out)
            best = min(best, (cost, step, weights), key=lambda b: b[0])
            print(f"step {step}: {loss.item() / math.log(2):.3f} bits per byte in the batch, "
                  f"{cost:.3f} held-out, {time.time() - began:.0f} s", flush=True)

    cost, step, weights = best
    print(f"saved, of step {step}: {score(weights, train):.3f} bits per byte train, "
          f"{score(weights, held_out):.3f} held-out")
    print(sample(scored, b"  `Well!' said Alice, `", 400).decode("latin-1").replace("\r\n", "\n"))
    # The metadata is what transformers writes, and asks for when it loads.
    save_file(weights, HERE / "model.safetensors", metadata={"format": "pt"})


if __name__ == "__main__":
    main()

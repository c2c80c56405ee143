"""What a type checker sees, and what is public."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import REPOSITORY


def test_a_type_checker_understands_the_package() -> None:
    for package in ("mypy", "torch"):
        pytest.importorskip(package, reason=f"no {package}")
    python = REPOSITORY / "python"
    command = [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", "tests/typed.py"]
    checked = subprocess.run(
        command, cwd=python, env={**os.environ, "MYPYPATH": "."}, capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_the_package_says_that_it_has_types() -> None:
    assert (Path(importlib.import_module("codecllm").__file__ or "").parent / "py.typed").exists()


@pytest.mark.parametrize("name", ["codecllm", "codecllm.numpy", "codecllm.torch"])
def test_all_is_what_is_public(name: str) -> None:
    if name == "codecllm.torch":
        pytest.importorskip("torch", reason="no PyTorch")
    module = importlib.import_module(name)
    for each in module.__all__:
        assert getattr(module, each) is not None
    own = {each for each, value in vars(module).items() if getattr(value, "__module__", None) == name}
    assert {each for each in own if not each.startswith("_")} <= set(module.__all__)

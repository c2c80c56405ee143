"""What a type checker has to make of the package's functions. test_typing.py has mypy read this; nothing runs it."""

from __future__ import annotations

import numpy as np
import torch

import codecllm
import codecllm.numpy
import codecllm.torch

array: np.ndarray = codecllm.decode(b"")
array = codecllm.decode(b"", "np")
tensor: torch.Tensor = codecllm.decode(b"", "pt")
array = codecllm.decode(b"", "pt")  # type: ignore[assignment]
tensor = codecllm.decode(b"")  # type: ignore[assignment]
codecllm.decode(b"", "tf")  # type: ignore[call-overload]

with codecllm.safe_open("a", "np") as arrays:
    array = arrays.get_tensor("a")
    array = arrays.get_slice("a")[3:, [1, 2]]
    tensor = arrays.get_tensor("a")  # type: ignore[assignment]
with codecllm.torch.safe_open("a", device="cuda:1", backend="pread") as tensors:
    tensor = tensors.get_tensor("a")
    tensor = tensors.get_slice("a")[..., None, 3]
    tensor = tensors.get_tensors()["a"]
    array = tensors.get_tensor("a")  # type: ignore[assignment]
codecllm.safe_open("a", "tf")  # type: ignore[call-overload]

array = codecllm.numpy.load(codecllm.numpy.save({"a": array}))["a"]
tensor = codecllm.torch.load(codecllm.torch.save({"a": tensor}, profile="direct"))["a"]
codecllm.torch.save({"a": tensor}, profile="best")  # type: ignore[arg-type]
missing, unexpected = codecllm.torch.load_model(torch.nn.Linear(3, 3), "a")
missing.add("a")
unexpected.append("a")

stream: bytes = codecllm.encode(array)
stream = codecllm.encode(tensor, "fast")

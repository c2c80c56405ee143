"""The operators of compressed layers, as PyTorch's dispatcher, its compiler and CUDA graphs see them: `codecllm::...`.

Each takes a stream, and finds what else it needs by that: a graph holds nothing of a weight but its stream.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional

from ._decoded_weights import together, weight_of

_DEVICES = ("CPU", "CUDA")
_library = torch.library.Library("codecllm", "DEF")


def _linear(
    x: torch.Tensor, stream: torch.Tensor, bias: torch.Tensor | None, out_features: int, exact: bool
) -> torch.Tensor:
    weight = weight_of(stream)
    _check_device(x, stream)
    rows = x.numel() // weight.shape[1]
    if 0 < rows <= weight.most_rows and not exact and x.dtype == weight.dtype:
        if bias is not None:
            _check_device(bias, stream)
            bias = bias.contiguous()
        return weight.multiply(x, rows, bias)
    decoded = weight.decode(stream)
    return functional.linear(x, decoded if decoded.dtype == x.dtype else decoded.to(x.dtype), bias)


def _linears(
    x: torch.Tensor, streams: list[torch.Tensor], biases: list[torch.Tensor | None], out_features: list[int]
) -> list[torch.Tensor]:
    weights = together(streams, [weight_of(stream) for stream in streams])
    if weights is None:
        return [_linear(x, *of_one, exact=False) for of_one in zip(streams, biases, out_features, strict=True)]
    for tensor in (x, *biases):
        if tensor is not None:
            _check_device(tensor, streams[0])
    rows = x.numel() // max(1, x.shape[-1])
    if 0 < rows <= weights.most_rows:
        return weights.multiply(x, rows, [None if bias is None else bias.contiguous() for bias in biases])
    decoded = weights.decode()
    return [functional.linear(x, weight, bias) for weight, bias in zip(decoded, biases, strict=True)]


def _fake_linears(
    x: torch.Tensor, streams: list[torch.Tensor], biases: list[torch.Tensor | None], out_features: list[int]
) -> list[torch.Tensor]:
    return [x.new_empty((*x.shape[:-1], features)) for features in out_features]


def _fake_linear(
    x: torch.Tensor, stream: torch.Tensor, bias: torch.Tensor | None, out_features: int, exact: bool
) -> torch.Tensor:
    return x.new_empty((*x.shape[:-1], out_features))


def _embedding(indices: torch.Tensor, stream: torch.Tensor, columns: int, dtype: torch.dtype) -> torch.Tensor:
    weight = weight_of(stream)
    _check_device(indices, stream)
    return weight.rows(stream, indices)


def _fake_embedding(indices: torch.Tensor, stream: torch.Tensor, columns: int, dtype: torch.dtype) -> torch.Tensor:
    return stream.new_empty((*indices.shape, columns), dtype=dtype)


def _decode(stream: torch.Tensor, shape: list[int], dtype: torch.dtype) -> torch.Tensor:
    return weight_of(stream).decode(stream).to(dtype)


def _fake_decode(stream: torch.Tensor, shape: list[int], dtype: torch.dtype) -> torch.Tensor:
    return stream.new_empty(shape, dtype=dtype)


def _check_device(tensor: torch.Tensor, stream: torch.Tensor) -> None:
    if tensor.device != stream.device:
        raise RuntimeError(f"expected all tensors on the same device, but found {tensor.device} and {stream.device}")


def _save_for_backward(ctx: Any, inputs: tuple, output: torch.Tensor) -> None:  # noqa: ANN401
    x, stream, _bias, out_features, _exact = inputs
    ctx.save_for_backward(stream)
    ctx.shape = [out_features, x.shape[-1]]


def _linear_backward(ctx: Any, gradient: torch.Tensor) -> tuple:  # noqa: ANN401
    """Gradients of X and the bias. The weight, of which only the stream was kept, is decoded again, and has none."""
    (stream,) = ctx.saved_tensors
    of_x = of_bias = None
    if ctx.needs_input_grad[0]:
        of_x = gradient @ decode(stream, ctx.shape, gradient.dtype)
    if ctx.needs_input_grad[2]:
        of_bias = gradient.reshape(-1, ctx.shape[0]).sum(0)
    return of_x, None, of_bias, None, None


for _schema, _function, _fake in (
    ("linear(Tensor x, Tensor stream, Tensor? bias, int out_features, bool exact) -> Tensor", _linear, _fake_linear),
    (
        "linears(Tensor x, Tensor[] streams, Tensor?[] biases, int[] out_features) -> Tensor[]",
        _linears,
        _fake_linears,
    ),
    ("embedding(Tensor indices, Tensor stream, int columns, ScalarType dtype) -> Tensor", _embedding, _fake_embedding),
    ("decode(Tensor stream, int[] shape, ScalarType dtype) -> Tensor", _decode, _fake_decode),
):
    _name = _schema.partition("(")[0]
    _library.define(_schema, tags=(torch.Tag.pt2_compliant_tag,))
    for _device in _DEVICES:
        _library.impl(_name, _function, _device)
    torch.library.register_fake(f"codecllm::{_name}", _fake, lib=_library)
torch.library.register_autograd("codecllm::linear", _linear_backward, setup_context=_save_for_backward, lib=_library)


def linear(
    x: torch.Tensor, stream: torch.Tensor, bias: torch.Tensor | None, out_features: int, exact: bool
) -> torch.Tensor:
    """X W^T (+ bias), of X's dtype. From the stream, if X has few rows and it is not `exact`; else decoded."""
    function = _linear if _is_only_computed(x) else torch.ops.codecllm.linear.default
    return function(x, stream, bias, out_features, exact)


def linears(
    x: torch.Tensor, streams: list[torch.Tensor], biases: list[torch.Tensor | None], out_features: list[int]
) -> list[torch.Tensor]:
    """The same of several weights, which takes less time than one by one; never exact, and without gradients."""
    function = _linears if _is_only_computed(x) else torch.ops.codecllm.linears.default
    return function(x, streams, biases, out_features)


def _is_only_computed(x: torch.Tensor) -> bool:
    """Whether nobody but this sees the operator: then the dispatcher, which takes longer than a launch, is left out."""
    return (
        not torch.compiler.is_compiling()
        and not torch.is_grad_enabled()
        and type(x) is torch.Tensor
        and torch._C._len_torch_dispatch_stack() == 0
        and torch._C._functorch.peek_interpreter_stack() is None
        and torch._C._get_tracing_state() is None
    )


embedding = torch.ops.codecllm.embedding.default
"""The rows of these numbers. On a GPU, rows that the weight does not have are zeros."""
decode = torch.ops.codecllm.decode.default
"""The weight, converted to `dtype`, which is mostly its own."""

"""Models that are compressed in memory, beside the originals: what they compute, and that nothing of them is lost."""

from __future__ import annotations

import copy
import gc
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import assert_same, gemma, small_model, train_adapters, weights

torch = pytest.importorskip("torch", reason="no PyTorch")

from torch import nn  # noqa: E402
from torch._dynamo.testing import CompileCounter  # noqa: E402
from torch.nn import functional  # noqa: E402

from codecllm import InvalidStreamError  # noqa: E402
from codecllm import _decoded_weights as decoded_weights  # noqa: E402
from codecllm._modules import (  # noqa: E402
    CompressedEmbedding,
    CompressedLinear,
    compress_layer,
    memory_size,
)
from codecllm.torch import compress_module  # noqa: E402

IDS = torch.arange(40).reshape(2, 20) * 17 % 1000
PROFILES = ("direct", "fast")
BF16 = torch.bfloat16


def linear(rows: int = 96, columns: int = 64, bias: bool = True, dtype: torch.dtype = BF16) -> nn.Linear:
    """A layer whose weight becomes smaller, as weights do."""
    layer = nn.Linear(columns, rows, bias=bias, dtype=dtype)
    layer.weight.data = torch.from_numpy(weights(rows, columns, seed=rows)).to(dtype)
    return layer


def embedding(rows: int = 100, columns: int = 64, dtype: torch.dtype = BF16, **options: Any) -> nn.Embedding:  # noqa: ANN401
    layer = nn.Embedding(rows, columns, dtype=dtype, **options)
    layer.weight.data = torch.from_numpy(weights(rows, columns, seed=rows)).to(dtype)
    return layer


def compressed(model: nn.Module, **options: Any) -> nn.Module:  # noqa: ANN401
    """A copy that is compressed."""
    return compress_module(copy.deepcopy(model), **options)


def tied_pair() -> nn.Module:
    model = nn.Sequential(embedding(), nn.Identity(), linear(100, bias=False))
    model[2].weight = model[0].weight
    return model


# --------------------------------------------------------------------------------------------------- what is computed


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("exact", [False, True])
def test_a_model_computes_what_it_did(tied: bool, profile: str, exact: bool) -> None:
    model = small_model(tied)
    with torch.no_grad():
        expected = model(IDS, labels=IDS)
        generated = model.generate(IDS, max_new_tokens=5, do_sample=False, pad_token_id=0)
    parameters = dict(model.named_parameters())
    assert compress_module(model, profile, exact) is model
    with torch.no_grad():
        for _ in range(2):
            found = model(IDS, labels=IDS)
            assert torch.equal(found.logits, expected.logits)
            assert torch.equal(found.loss, expected.loss)
        again = model.generate(IDS, max_new_tokens=5, do_sample=False, pad_token_id=0)
    assert torch.equal(again, generated)
    # What is left are the norms; the weights can still be asked for.
    assert all(parameter.dim() == 1 for parameter in model.parameters())
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert torch.equal(model.model.layers[1].mlp.down_proj.weight, parameters["model.layers.1.mlp.down_proj.weight"])
    assert isinstance(model.lm_head, nn.Linear)
    assert (model.lm_head.stream is model.model.embed_tokens.stream) == tied


def test_an_embedding_that_scales() -> None:
    torch.manual_seed(1)
    model = gemma().bfloat16().eval()
    small = compressed(model)
    with torch.no_grad():
        assert torch.equal(small(IDS).logits, model(IDS).logits)
    embed = small.model.embed_tokens
    assert isinstance(embed, CompressedEmbedding) and isinstance(embed, type(model.model.embed_tokens))
    assert embed.stream is small.lm_head.stream
    assert type(embed).__name__ == f"Compressed{type(model.model.embed_tokens).__name__}"


class Nested(nn.Linear):
    """A linear layer with a forward of its own, which asks for its weight and uses other layers meanwhile."""

    def __init__(self) -> None:
        super().__init__(64, 64, dtype=BF16)
        self.inner = nn.ModuleList(linear(64) for _ in range(3))

    def forward(self, values: torch.Tensor, depth: int = 0) -> torch.Tensor:
        weight = self.weight
        for layer in self.inner:
            values = layer(values)
        return functional.linear(values, weight, self.bias)


def test_layers_inside_layers() -> None:
    torch.manual_seed(1)
    model = nn.Sequential(Nested(), embedding(9), linear(3), Nested())
    # Uses them in another order than they are in.
    first, _, _, second = model
    values = torch.randn(5, 64, dtype=BF16)
    with torch.no_grad():
        expected = first(second(first(values)))
        compress_module(model)
        for _ in range(2):
            assert torch.equal(first(second(first(values))), expected)


class Owner(nn.Module):
    """Uses the weight of an embedding itself."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = embedding()
        self.table = self.inner.weight


def test_what_stays_as_it_is() -> None:
    torch.manual_seed(1)
    noise = nn.Linear(64, 64, bias=False)
    noise.weight = nn.Parameter(torch.randint(-(2**31), 2**31, (64, 64), dtype=torch.int32).view(torch.float32))
    model = nn.ModuleList([noise, embedding(max_norm=1.0), nn.LayerNorm(64), nn.Conv1d(3, 3, 3), Owner()])
    nn.utils.parametrizations.weight_norm(normed := linear())
    model.append(normed)
    classes = [type(module) for module in model.modules()]
    compress_module(model)
    assert [type(module) for module in model.modules()] == classes


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"profile": "small"}, 'profile "small" is for files: layers have "direct", or "fast"'),
        ({"profile": "smaller"}, "profile 'smaller' is none of small, fast, direct"),
        ({}, r"the weight of Linear\(.*\) is on meta"),
    ],
)
def test_what_is_refused(options: dict, message: str) -> None:
    model = nn.Sequential(linear(), nn.Linear(3, 3, device="cpu" if options else "meta"))
    with pytest.raises(ValueError, match=message):
        compress_module(model, **options)
    assert [type(module) for module in model] == [nn.Linear, nn.Linear]


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("dtype", [BF16, torch.float16, torch.float32])
def test_x_of_any_form(bias: bool, dtype: torch.dtype) -> None:
    plain = linear(bias=bias, dtype=dtype)
    layer = compressed(plain)
    assert isinstance(layer, CompressedLinear)
    x = torch.randn(6, 4, 128, dtype=dtype)
    for each in (
        x[..., :64],
        x[..., ::2],
        x[0, 0, :64],
        x[:0, :, :64],
        x[:1, :1, :64].expand(5, 4, 64),
        x[..., :64].transpose(0, 1),
        x.reshape(-1)[: 64 * 48].reshape(64, 48).t(),
    ):
        assert torch.equal(layer(each), plain(each))


def refusal(function: Callable[[], Any]) -> tuple[type, str]:
    with pytest.raises(Exception) as raised:
        function()
    return type(raised.value), str(raised.value)


def test_x_that_pytorch_refuses() -> None:
    plain = linear()
    layer = compressed(plain)
    for each in (
        torch.randn(3, 64),
        torch.randn(3, 64, dtype=torch.float16),
        torch.randn(3, 65, dtype=BF16),
        torch.tensor(1.0, dtype=BF16),
        torch.ones(3, 64, dtype=torch.int64),
    ):
        assert refusal(lambda each=each: layer(each)) == refusal(lambda each=each: plain(each))
    plain.bias.data = plain.bias.data.half()
    layer.bias.data = layer.bias.data.half()
    x = torch.randn(3, 64, dtype=BF16)
    assert refusal(lambda: layer(x)) == refusal(lambda: plain(x))


@pytest.mark.parametrize("dtype", [BF16, torch.float32])
@pytest.mark.parametrize("low", [BF16, torch.float16])
def test_autocast(dtype: torch.dtype, low: torch.dtype) -> None:
    plain = nn.Sequential(linear(dtype=dtype), linear(32, 96, bias=False, dtype=dtype))
    model = compressed(plain)
    for x in (torch.randn(3, 64), torch.randn(3, 64, dtype=BF16)):
        with torch.autocast("cpu", low):
            expected, found = plain(x), model(x)
        assert found.dtype == low
        assert torch.equal(found, expected)
    with torch.autocast("cpu", low, enabled=False):
        assert model(torch.randn(3, 64, dtype=dtype)).dtype == dtype


@pytest.mark.parametrize("dtype", [BF16, torch.float16, torch.float32])
def test_embeddings(dtype: torch.dtype) -> None:
    plain = embedding(dtype=dtype, padding_idx=3)
    layer = compressed(plain)
    assert isinstance(layer, CompressedEmbedding)
    for indices in (IDS % 100, IDS[:0], torch.tensor(5), IDS.int() % 100, (IDS % 100).t()):
        assert torch.equal(layer(indices), plain(indices))
    for wrong in (torch.tensor([100]), torch.tensor([-1]), torch.tensor([1.0])):
        assert refusal(lambda wrong=wrong: layer(wrong)) == refusal(lambda wrong=wrong: plain(wrong))


# ------------------------------------------------------------------------------------------------------------ training


@pytest.mark.parametrize("exact", [False, True])
def test_gradients_of_what_goes_in(exact: bool) -> None:
    plain = nn.Sequential(linear(), nn.GELU(), linear(32, 96))
    model = compressed(plain, exact=exact)
    assert not any(parameter.requires_grad for parameter in model.parameters())
    results = []
    for each in (plain, model):
        each[0].bias.requires_grad_()
        each.zero_grad()
        x = torch.ones(3, 5, 64, dtype=BF16, requires_grad=True)
        each(x).float().square().sum().backward()
        results.append((x.grad, each[0].bias.grad))
    assert all(torch.equal(*pair) for pair in zip(*results, strict=True))


def test_adapters_train() -> None:
    pytest.importorskip("peft", reason="no peft")
    model = small_model(True)
    modules = ["q_proj", "down_proj", "embed_tokens"]
    results = [train_adapters(each, modules, IDS) for each in (model, compress_module(copy.deepcopy(model)))]
    (expected, adapters), (found, own) = results
    assert found == expected
    assert found[2] < found[0]
    assert_same(own, adapters)


# ------------------------------------------------------------------------------------------------- nothing is lost


def test_state_dict() -> None:
    model = small_model(True)
    small = compressed(model)
    expected, found = model.state_dict(), small.state_dict()
    assert_same(found, expected)
    assert list(found) == list(expected)
    # Tied weights are one tensor there, too.
    assert found["lm_head.weight"].data_ptr() == found["model.embed_tokens.weight"].data_ptr()
    assert small.state_dict()["lm_head.weight"].data_ptr() != found["lm_head.weight"].data_ptr()


def test_load_state_dict() -> None:
    small = compress_module(tied_pair())
    other = tied_pair()
    other[0].weight.data = other[0].weight.data.flip(0)
    indices = IDS % 100
    before = small(indices)
    for assign in (False, True):
        assert str(small.load_state_dict(other.state_dict(), assign=assign)) == "<All keys matched successfully>"
        assert torch.equal(small(indices), other(indices))
        assert not torch.equal(small(indices), before)
        assert small[0].stream is small[2].stream
    # As a parameter's would, what is loaded takes the layer's dtype.
    small.load_state_dict({name: weight.float() for name, weight in tied_pair().state_dict().items()})
    assert torch.equal(small(indices), before)


def test_load_state_dict_of_what_does_not_become_smaller() -> None:
    small = compress_module(nn.Sequential(linear(bias=False)))
    noise = torch.randint(-(2**15), 2**15, (96, 64), dtype=torch.int16).view(BF16)
    small.load_state_dict({"0.weight": noise})
    assert torch.equal(small[0].weight.view(torch.int16), noise.view(torch.int16))


def test_load_state_dict_names_what_is_wrong() -> None:
    plain = nn.Sequential(linear())
    small = compressed(plain)
    whole = plain.state_dict()
    for wrong in (
        {"0.bias": whole["0.bias"]},
        {**whole, "0.more": whole["0.bias"]},
        {**whole, "0.weight": whole["0.weight"][:3]},
    ):
        kind, message = refusal(lambda wrong=wrong: small.load_state_dict(wrong))
        expected, words = refusal(lambda wrong=wrong: plain.load_state_dict(wrong))
        assert (kind, message) == (expected, words)
    small.load_state_dict({}, strict=False)
    assert torch.equal(small[0].weight, plain[0].weight)


@pytest.mark.parametrize("tied", [False, True])
def test_save_pretrained(tmp_path: Path, tied: bool) -> None:
    model = small_model(tied)
    compressed(model).save_pretrained(tmp_path)
    loaded = type(model).from_pretrained(tmp_path)
    assert_same(loaded.state_dict(), model.state_dict())


def saved_and_loaded(model: nn.Module) -> nn.Module:
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, saved_and_loaded])
def test_copies(duplicate: Callable[[nn.Module], nn.Module]) -> None:
    model = small_model(True)
    small = compressed(model)
    other = duplicate(small)
    streams = [buffer for name, buffer in other.named_buffers() if name.endswith("stream")]
    assert len(streams) == len([name for name, _ in small.named_buffers() if name.endswith("stream")])
    assert other.lm_head.stream is other.model.embed_tokens.stream
    assert other.lm_head.stream is not small.lm_head.stream
    assert other.get_memory_footprint() == small.get_memory_footprint()
    del small
    with torch.no_grad():
        assert torch.equal(other(IDS).logits, model(IDS).logits)


def test_a_copy_of_a_class_of_its_own() -> None:
    layer = compress_module(Nested())
    for other in (copy.deepcopy(layer), saved_and_loaded(layer)):
        assert type(other) is type(layer)
        assert torch.equal(other.weight, layer.weight)


def test_memory_footprint() -> None:
    model = small_model(True)
    small = compressed(model)
    plain_bytes, kept = (
        sum(each.nbytes for each in model.parameters() if (each.dim() == 2) == matrices) for matrices in (True, False)
    )
    streams = small.get_memory_footprint() - kept - sum(each.nbytes for each in model.buffers())
    assert 0.7 * plain_bytes < streams < 0.8 * plain_bytes


@pytest.mark.parametrize(
    "change",
    [
        lambda model: model.half(),
        lambda model: model.float(),
        lambda model: model.to(torch.float64),
        lambda model: model.to("cpu", torch.float16),
        lambda model: model.type(torch.float32),
    ],
)
def test_another_dtype_is_refused(change: Callable[[nn.Module], object]) -> None:
    small = compress_module(nn.Sequential(linear()))
    with pytest.raises(
        TypeError, match=r"CompressedLinear: the compressed weight is torch\.bfloat16 and cannot become"
    ):
        change(small)
    assert small(torch.ones(64, dtype=BF16)).dtype == BF16


@pytest.mark.parametrize(
    "change",
    [
        lambda model: model.bfloat16(),
        lambda model: model.to("cpu", BF16),
        lambda model: model.type(BF16),
        lambda model: model.cpu(),
        lambda model: model.share_memory(),
        lambda model: model._apply(torch.clone),
    ],
)
def test_changes_that_keep_the_weights(change: Callable[[nn.Module], object]) -> None:
    plain = tied_pair()
    small = compressed(plain)
    change(small)
    assert small[0].stream is small[2].stream
    assert torch.equal(small(IDS % 100), plain(IDS % 100))


def test_the_meta_device() -> None:
    small = compress_module(tied_pair()).to("meta")
    assert all(each.is_meta for each in small.buffers())
    assert small[2].weight.is_meta and small[2].weight.shape == (100, 64)
    assert small(torch.zeros(3, dtype=torch.int64, device="meta")).shape == (3, 100)


def test_a_weight_that_is_assigned() -> None:
    small = compress_module(nn.Sequential(linear()))
    other = linear(96, 64).weight.detach().flip(0)
    small[0].weight = nn.Parameter(other)
    assert torch.equal(small[0].weight, other)
    assert "weight" not in small[0]._parameters
    with pytest.raises(ValueError, match=r"a weight of \[3, 64\], where \[96, 64\] is needed"):
        small[0].weight = other[:3]


@pytest.mark.parametrize(
    "write",
    [
        lambda weight: weight.copy_(torch.ones(96, 64)),
        lambda weight: weight.data.fill_(1),
        lambda weight: nn.init.ones_(weight),
        lambda weight: nn.init.uniform_(weight, 1, 1),
        lambda weight: weight.__setitem__(slice(None), 1),
        lambda weight: weight.__imul__(0).add_(1),
        lambda weight: torch.add(torch.zeros(96, 64, dtype=BF16), 1, out=weight),
        lambda weight: setattr(weight, "data", torch.ones(96, 64, dtype=BF16)),
    ],
)
def test_what_is_written_to_a_weight(write: Callable[[torch.Tensor], object]) -> None:
    layer = compress_module(linear())
    with torch.no_grad():
        write(layer.weight)
    assert torch.equal(layer.weight, torch.ones(96, 64, dtype=BF16))


def test_weights_that_are_tied_again() -> None:
    small = compress_module(nn.Sequential(embedding(), nn.Identity(), linear(100, bias=False)))
    assert small[0].stream is not small[2].stream
    small[2].weight = small[0].weight
    assert small[0].stream is small[2].stream


def test_copies_of_a_weight_are_plain() -> None:
    weight = compress_module(linear()).weight
    for other in (copy.deepcopy(weight), saved_and_loaded(weight), weight.clone(), weight + 0, weight.detach()):
        assert type(other) is torch.Tensor
        assert torch.equal(other, weight)


def test_adapters_merge() -> None:
    peft = pytest.importorskip("peft", reason="no peft")
    model = small_model(False)
    config = peft.LoraConfig(target_modules=["q_proj", "down_proj"], r=4, init_lora_weights=False)
    results = []
    for each in (model, compress_module(copy.deepcopy(model))):
        torch.manual_seed(2)
        merged = peft.get_peft_model(each, config).merge_and_unload()
        results.append(merged(IDS).logits)
    assert torch.equal(*results)


# -------------------------------------------------------------------------------------------------------------- streams


def test_a_layer_that_gets_its_stream_later() -> None:
    plain = tied_pair()
    stream = compressed(plain)[0].stream
    with torch.device("meta"):
        empty = nn.Sequential(nn.Embedding(100, 64, dtype=BF16), nn.Identity(), nn.Linear(64, 100, False, dtype=BF16))
    for layer in (empty[0], empty[2]):
        compress_layer(layer)
        assert layer.stream.is_meta
        layer.put_stream(stream)
    assert torch.equal(empty(IDS % 100), plain(IDS % 100))
    other = compress_module(linear(100, bias=False))
    assert torch.equal(compress_layer(empty[2], other.stream).weight, other.weight)


def test_streams_that_are_refused() -> None:
    stream = compress_module(linear(bias=False)).stream
    for wrong, error, message in (
        (stream.int(), ValueError, "has to be uint8"),
        (stream.reshape(1, -1), ValueError, "of one dimension"),
        (torch.cat([stream[:1], stream])[1:], ValueError, "aligned to 16"),
        (stream[:1000].clone(), InvalidStreamError, r"a stream of \d+ bytes in 1000"),
        (torch.zeros(100, dtype=torch.uint8), InvalidStreamError, "magic"),
        (
            compress_module(linear(97, bias=False)).stream,
            ValueError,
            r"a stream of torch\.bfloat16 \[97, 64\], where torch\.bfloat16 \[96, 64\] is needed",
        ),
        (compress_module(linear(bias=False, dtype=torch.float16)).stream, ValueError, "a stream of torch.float16"),
    ):
        layer = linear(bias=False)
        with pytest.raises(error, match=message):
            compress_layer(layer, wrong)
        assert type(layer) is nn.Linear
        assert "weight" in dict(layer.named_parameters())


def test_streams_of_one_shape_have_one_size() -> None:
    sizes = {compress_module(linear(rows, 64, bias=False)).stream.numel() for rows in (512, 512 - 1)}
    assert len(sizes) == 1
    assert memory_size(98_449, 131_072) == 98_816
    assert memory_size(98_816, 131_072) == 98_816
    assert memory_size(17, 100) == 32


def test_weights_are_closed_with_their_streams() -> None:
    gc.collect()
    before = set(decoded_weights._opened)
    small = compress_module(nn.Sequential(linear(), linear(32, 96)))
    assert len(set(decoded_weights._opened) - before) == 2
    # Another storage: the former's is closed when the next one is opened.
    small._apply(torch.clone)
    small(torch.ones(64, dtype=BF16))
    assert len(set(decoded_weights._opened) - before) == 2
    del small
    gc.collect()
    assert set(decoded_weights._opened) <= before


# ----------------------------------------------------------------------------------------------------- for the compiler


def test_operators_are_what_they_say() -> None:
    layer = compress_module(linear())
    table = compress_module(embedding())
    operators = torch.ops.codecllm
    x = torch.randn(3, 64, dtype=BF16, requires_grad=True)
    # They are differentiable once, in X: the tests of AOT would differentiate the outputs by streams.
    for operator, arguments in (
        (operators.linear.default, (x, layer.stream, layer.bias, 96, False)),
        (operators.linear.default, (x.detach(), layer.stream, None, 96, True)),
        (operators.embedding.default, (IDS % 100, table.stream, 64, BF16)),
        (operators.decode.default, (layer.stream, [96, 64], BF16)),
    ):
        torch.library.opcheck(operator, arguments)


def test_compiled_whole() -> None:
    model = small_model(True)
    small = torch.compile(compressed(model), fullgraph=True, backend="aot_eager")
    with torch.no_grad():
        assert torch.equal(small(IDS).logits, model(IDS).logits)


def test_layers_of_one_shape_share_a_compiled_graph() -> None:
    layers = nn.ModuleList(linear(64, bias=False) for _ in range(12))
    for number, layer in enumerate(layers):
        layer.weight.data *= torch.randn(64, 1, dtype=BF16).mul(0.1 * number).exp()
    plain = copy.deepcopy(layers)
    compress_module(layers)
    counter = CompileCounter()
    torch._dynamo.reset()
    for layer in layers:
        layer.compile(fullgraph=True, backend=counter)
    x = torch.ones(3, 64, dtype=BF16)
    with torch.no_grad():
        for layer, original in zip(layers, plain, strict=True):
            assert torch.equal(layer(x), original(x))
    assert counter.frame_count < 4


def test_training_compiled() -> None:
    plain = nn.Sequential(linear(), nn.GELU(), linear(32, 96))
    model = torch.compile(compressed(plain), fullgraph=True, backend="aot_eager")
    gradients = []
    for each in (plain, model):
        x = torch.ones(3, 64, dtype=BF16, requires_grad=True)
        each(x).float().square().sum().backward()
        gradients.append(x.grad)
    assert torch.equal(*gradients)

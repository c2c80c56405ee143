"""Models that are compressed in memory on a GPU. Skipped, with the reason, where there is none."""

from __future__ import annotations

import copy
import gc
from collections.abc import Callable

import pytest
from conftest import assert_same, small_model, train_adapters
from test_modules import BF16, IDS, PROFILES, Nested, compressed, embedding, linear, saved_and_loaded, tied_pair

torch = pytest.importorskip("torch", reason="no PyTorch")

from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402

from codecllm import _decoded_weights as decoded_weights  # noqa: E402
from codecllm._modules import compress_layer  # noqa: E402
from codecllm.torch import compress_module  # noqa: E402

pytestmark = pytest.mark.usefixtures("gpu")


def close(found: torch.Tensor, expected: torch.Tensor) -> bool:
    """Whether two results differ by no more than their rounding to BF16 and the order of sums explain."""
    scale = expected.float().abs().max()
    return found.dtype == expected.dtype and bool((found.float() - expected.float()).abs().max() <= scale / 64)


def captured(function: Callable[[], torch.Tensor]) -> tuple[torch.cuda.CUDAGraph, torch.Tensor]:
    """A graph of what a function does, and the tensor that its replays write."""
    warm_up = torch.cuda.Stream()
    warm_up.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(warm_up):
        for _ in range(2):
            function()
    torch.cuda.current_stream().wait_stream(warm_up)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        output = function()
    return graph, output


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("profile", PROFILES)
def test_a_model_computes_what_it_did(tied: bool, profile: str) -> None:
    model = small_model(tied).cuda()
    exact = compressed(model, profile=profile, exact=True)
    fast = compressed(model, profile=profile)
    ids = IDS.cuda()
    with torch.no_grad():
        expected = model(ids, labels=ids)
        for _ in range(20):
            found = exact(ids, labels=ids)
            assert torch.equal(found.logits, expected.logits)
            assert torch.equal(found.loss, expected.loss)
            assert close(fast(ids).logits, expected.logits)
        results = [each.generate(ids, max_new_tokens=9, do_sample=False, pad_token_id=0) for each in (model, exact)]
        assert fast.generate(ids, max_new_tokens=9, do_sample=False, pad_token_id=0).shape == results[0].shape
    assert torch.equal(*results)


def test_layers_inside_layers() -> None:
    torch.manual_seed(1)
    model = nn.Sequential(Nested(), linear(64), Nested()).cuda()
    values = torch.randn(5, 64, dtype=BF16, device="cuda")
    with torch.no_grad():
        expected = [layer(values) for layer in (*model, model[2], model[0])]
        compress_module(model, exact=True)
        for _ in range(20):
            found = [layer(values) for layer in (*model, model[2], model[0])]
            assert all(torch.equal(*pair) for pair in zip(found, expected, strict=True))


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize(("rows", "columns"), [(96, 64), (1000, 520), (257, 301), (1000, 2176)])
@pytest.mark.parametrize("bias", [False, True])
def test_products(profile: str, rows: int, columns: int, bias: bool) -> None:
    plain = linear(rows, columns, bias).cuda()
    layer = compressed(plain, profile=profile)
    x = torch.randn(600, 2 * columns + 3, dtype=BF16, device="cuda")
    for count in (0, 1, 2, 7, 16, 33, 64, 65, 80, 256, 600):
        for each in (x[:count, :columns], x[:count, 1 : columns + 1], x[:count, : 2 * columns : 2]):
            assert close(layer(each), plain(each)) if count > 0 else layer(each).shape == (0, rows)
    for each in (x[0, :columns], x[:6, :columns].reshape(3, 2, -1), x[:1, :columns].expand(5, 4, columns)):
        found = layer(each)
        assert found.shape == plain(each).shape
        assert close(found, plain(each))
    with pytest.raises(RuntimeError, match="expected all tensors on the same device"):
        layer(x[:3, :columns].cpu())


def test_how_many_rows_are_multiplied() -> None:
    is_hopper = torch.cuda.get_device_capability() == (9, 0)
    layer = compress_module(linear(512, 256).cuda())
    assert decoded_weights.weight_of(layer.stream).most_rows == (1024 if is_hopper else 64)
    assert decoded_weights.weight_of(compress_module(linear(512, 200).cuda()).stream).most_rows == 64


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_other_dtypes_are_decoded(dtype: torch.dtype) -> None:
    plain = nn.Sequential(embedding(dtype=dtype), linear(dtype=dtype)).cuda()
    model = compressed(plain)
    assert torch.equal(model(IDS.cuda() % 100), plain(IDS.cuda() % 100))


@pytest.mark.parametrize("low", [BF16, torch.float16])
def test_autocast(low: torch.dtype) -> None:
    plain = linear().cuda()
    model = compressed(plain)
    with torch.autocast("cuda", low):
        x = torch.randn(3, 64, device="cuda")
        assert close(model(x), plain(x))


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("dtype", [BF16, torch.float16, torch.float32])
def test_embeddings(profile: str, dtype: torch.dtype) -> None:
    plain = embedding(3000, 200, dtype, padding_idx=3).cuda()
    layer = compressed(plain, profile=profile)
    ids = torch.randint(0, 3000, (4, 50), device="cuda")
    for indices in (ids, ids.int(), ids.t(), ids[:0], ids[0, 0]):
        assert torch.equal(layer(indices), plain(indices))
    # PyTorch ends the process's use of the device.
    wrong = torch.tensor([-1, 2, 3000, 2**40], device="cuda")
    assert torch.equal(layer(wrong)[[0, 2, 3]], torch.zeros(3, 200, dtype=dtype, device="cuda"))
    assert torch.equal(layer(wrong)[1], plain.weight[2])
    with pytest.raises(RuntimeError, match="Long, Int"):
        layer(torch.tensor([1.0], device="cuda"))


def test_other_cuda_streams() -> None:
    """What is decoded on one is not what another takes."""
    plain = nn.Sequential(*(linear(512, 512) for _ in range(5))).cuda()
    model = compressed(plain, exact=True)
    x = torch.randn(100, 512, dtype=BF16, device="cuda")
    expected = plain(x)
    others = [torch.cuda.Stream() for _ in range(3)]
    for number in range(60):
        stream = others[number * 7 % 3]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            found = model(x)
        torch.cuda.current_stream().wait_stream(stream)
        assert torch.equal(found, expected)


# --------------------------------------------------------------------------------------------------------------- graphs


@pytest.mark.parametrize("rows", [1, 64, 100])
@pytest.mark.parametrize("profile", PROFILES)
def test_a_cuda_graph(rows: int, profile: str) -> None:
    model = compress_module(small_model(True).cuda(), profile)
    ids = torch.randint(0, 1000, (1, rows), device="cuda")
    with torch.inference_mode():
        graph, output = captured(lambda: model(ids, use_cache=False).logits)
        for _ in range(5):
            ids.copy_(torch.randint(0, 1000, (1, rows), device="cuda"))
            graph.replay()
            # In a graph transformers asks for another kernel of attention.
            assert close(output, model(ids, use_cache=False).logits)


@pytest.mark.parametrize("rows", [1, 64, 100])
@pytest.mark.parametrize("profile", PROFILES)
def test_layers_in_a_cuda_graph(rows: int, profile: str) -> None:
    model = nn.Sequential(embedding(), linear(512), linear(96, 512), linear(100, 96, bias=False))
    model = compress_module(model.cuda(), profile)
    ids = torch.randint(0, 100, (rows,), device="cuda")
    with torch.inference_mode():
        graph, output = captured(lambda: model(ids))
        for _ in range(5):
            ids.copy_(torch.randint(0, 100, (rows,), device="cuda"))
            graph.replay()
            assert torch.equal(output, model(ids))


def test_a_weight_that_is_new_to_a_cuda_graph() -> None:
    stream = compress_module(linear().cuda()).stream.clone()
    x = torch.randn(1, 64, dtype=BF16, device="cuda")
    with (
        pytest.raises(RuntimeError, match="used for the first time while a CUDA graph is captured"),
        torch.cuda.graph(torch.cuda.CUDAGraph()),
    ):
        torch.ops.codecllm.linear(x, stream, None, 96, False)
    torch.cuda.synchronize()
    assert torch.ops.codecllm.linear(x, stream, None, 96, False).shape == (1, 96)


@pytest.mark.parametrize("rows", [3, 100])
def test_compiled(rows: int) -> None:
    plain = nn.Sequential(embedding(), linear(512), nn.GELU(), linear(100, 512, bias=False)).cuda()
    plain[3].weight.data.mul_(3)
    model = torch.compile(compressed(plain), fullgraph=True, mode="reduce-overhead")
    with torch.inference_mode():
        for _ in range(5):
            ids = torch.randint(0, 100, (rows,), device="cuda")
            assert close(model(ids).clone(), plain(ids))


def test_a_static_cache_and_a_compiled_model() -> None:
    transformers = pytest.importorskip("transformers", reason="no transformers")
    model = small_model(True).cuda()
    exact, fast = compressed(model, exact=True), compressed(model)
    ids = IDS.cuda()

    def logits(model: nn.Module, forward: Callable) -> list[torch.Tensor]:
        cache = transformers.StaticCache(config=model.config, max_cache_len=32)
        # The cache gets its memory in the first call, which then must not be in a graph.
        found = [model(ids, past_key_values=cache).logits.clone()]
        for step in range(5):
            # In-place updates of the cache are the graph's, too.
            found.append(forward(ids[:, step : step + 1], past_key_values=cache).logits.clone())
        return found

    with torch.no_grad():
        expected = logits(model, model)
        found = logits(exact, exact)
        assert all(torch.equal(*pair) for pair in zip(found, expected, strict=True))
        compiled = torch.compile(fast, fullgraph=True, mode="reduce-overhead")
        for _ in range(3):
            found = logits(fast, compiled)
            assert all(close(*pair) for pair in zip(found, expected, strict=True))


# ------------------------------------------------------------------------------------------------------------- training


def test_adapters_train() -> None:
    pytest.importorskip("peft", reason="no peft")
    model = small_model(True).cuda()
    models = (model, compressed(model, exact=True), compressed(model))
    results = [train_adapters(each, ["q_proj", "down_proj"], IDS.cuda())[0] for each in models]
    expected, exact, fast = results
    assert exact == pytest.approx(expected, rel=1e-5)
    assert fast == pytest.approx(expected, rel=1e-2)
    assert fast[2] < fast[0]


# ------------------------------------------------------------------------------------------------------ nothing is lost


def test_from_one_device_to_the_other() -> None:
    plain = tied_pair()
    model = compressed(plain)
    for device in ("cuda", "cpu", "cuda"):
        model.to(device)
        assert model[0].stream is model[2].stream
        assert model[0].stream.device.type == device
        indices = IDS.to(device) % 100
        assert close(model(indices), copy.deepcopy(plain).to(device)(indices))
    with pytest.raises(TypeError, match=r"cannot become torch\.float16"):
        model.half()


@pytest.mark.parametrize("duplicate", [copy.deepcopy, saved_and_loaded])
def test_copies(duplicate: Callable[[nn.Module], nn.Module]) -> None:
    model = compress_module(small_model(True).cuda())
    other = duplicate(model)
    assert other.lm_head.stream is other.model.embed_tokens.stream
    assert_same(other.state_dict(), model.state_dict())
    expected = model(IDS.cuda()).logits
    del model
    gc.collect()
    assert torch.equal(other(IDS.cuda()).logits, expected)


def test_state_dict() -> None:
    model = small_model(True).cuda()
    small = compressed(model)
    assert_same(small.state_dict(), model.state_dict())
    other = small_model(True).cuda()
    with torch.no_grad():
        other.model.embed_tokens.weight.mul_(2)
    small.load_state_dict(other.state_dict())
    assert_same(small.state_dict(), other.state_dict())
    assert small.lm_head.stream is small.model.embed_tokens.stream
    noise = torch.randint(-(2**15), 2**15, (96, 64), dtype=torch.int16, device="cuda").view(BF16)
    layer = compress_module(linear(bias=False).cuda())
    layer.load_state_dict({"weight": noise})
    assert torch.equal(layer.weight.view(torch.int16), noise.view(torch.int16))


def test_memory() -> None:
    """Compressing, running and deleting a model takes what they need of memory, and gives it back."""
    # The first product of a process takes memory for all of them: 32 MiB on Hopper.
    functional.linear(*torch.ones(2, 64, 64, dtype=BF16, device="cuda"))
    gc.collect()
    before = torch.cuda.memory_allocated()
    with torch.device("cuda"):
        model = nn.Sequential(*(nn.Linear(4096, 4096, bias=False, dtype=BF16) for _ in range(8)))
        model.append(nn.Linear(4096, 40_000, bias=False, dtype=BF16))
    plain = torch.cuda.memory_allocated() - before
    opened = len(decoded_weights._opened)
    compress_module(model)
    kept = torch.cuda.memory_allocated() - before
    assert kept < 0.77 * plain
    head = 4096 * 40_000 * 2
    torch.cuda.reset_peak_memory_stats()
    x = torch.randn(100, 4096, dtype=BF16, device="cuda")
    with torch.no_grad():
        for _ in range(3):
            model(x)
    # One is there decoded at a time, and none afterwards.
    assert torch.cuda.memory_allocated() - before < kept + 2**20
    assert torch.cuda.max_memory_allocated() - before < kept + head + 2**24
    del model, x
    gc.collect()
    assert len(decoded_weights._opened) == opened
    assert torch.cuda.memory_allocated() - before < 2**20


def test_two_devices() -> None:
    if torch.cuda.device_count() < 2:
        pytest.skip("there is one GPU")
    plain = nn.Sequential(embedding(), linear(64))
    model = compressed(plain)
    model[0].to("cuda:0")
    model[1].to("cuda:1")
    found = model[1](model[0](IDS.to("cuda:0") % 100).to("cuda:1"))
    assert close(found, plain(IDS % 100).to("cuda:1"))


def test_a_layer_that_gets_its_stream_later() -> None:
    plain = linear().cuda()
    stream = compressed(plain).stream
    with torch.device("meta"):
        layer = nn.Linear(64, 96, dtype=BF16)
    compress_layer(layer, stream)
    layer.bias = plain.bias
    x = torch.randn(3, 64, dtype=BF16, device="cuda")
    assert close(layer(x), functional.linear(x, plain.weight, plain.bias))

"""Layers that get the same input: that they compute together where they may, and what they would compute alone."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable

import pytest
from conftest import small_model
from test_modules import BF16, IDS, compressed, linear

torch = pytest.importorskip("torch", reason="no PyTorch")

from torch import nn  # noqa: E402
from torch._dynamo.testing import CompileCounter  # noqa: E402
from torch.nn import functional  # noqa: E402

from codecllm import _operators as operators  # noqa: E402


class Attention(nn.Module):
    """Three products of what it gets, or of two things."""

    def __init__(self) -> None:
        super().__init__()
        self.q_proj, self.k_proj, self.v_proj = linear(96), linear(32), linear(48, bias=False)

    def forward(self, x: torch.Tensor, other: torch.Tensor | None = None) -> torch.Tensor:
        other = x if other is None else other
        return torch.cat([self.q_proj(x), self.k_proj(other), self.v_proj(other)], -1)


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many layers each call of the operators computed."""
    calls: list[int] = []
    one, several = operators.linear, operators.linears

    def linear(*arguments: object) -> torch.Tensor:
        calls.append(1)
        return one(*arguments)

    def linears(x: torch.Tensor, streams: list[torch.Tensor], *rest: object) -> list[torch.Tensor]:
        calls.append(len(streams))
        return several(x, streams, *rest)

    monkeypatch.setattr(operators, "linear", linear)
    monkeypatch.setattr(operators, "linears", linears)
    return calls


X = torch.linspace(-1, 1, 3 * 64).reshape(3, 64).to(BF16)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_they_compute_together(computed: list[int], mode: Callable) -> None:
    plain = Attention()
    small = compressed(plain)
    with mode():
        for x in (X, X + 1, X):
            assert torch.equal(small(x), plain(x))
    assert computed == [3] * 3


def test_a_model(computed: list[int]) -> None:
    model = small_model(False)
    small = compressed(model)
    with torch.no_grad():
        assert torch.equal(small(IDS).logits, model(IDS).logits)
    layers = model.config.num_hidden_layers
    assert computed == [3, 1, 2, 1] * layers + [1]


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_copies_have_siblings_of_their_own(computed: list[int], duplicate: Callable[[nn.Module], nn.Module]) -> None:
    small = compressed(Attention())
    other = duplicate(small)
    with torch.no_grad():
        other.k_proj.weight = torch.zeros(32, 64, dtype=BF16)
        expected = torch.cat([small(X)[:, :96], other.k_proj.bias.expand(3, -1), small(X)[:, 128:]], -1)
        computed.clear()
        assert torch.equal(other(X), expected)
    assert computed == [3]


def test_two_inputs(computed: list[int]) -> None:
    plain = Attention()
    small = compressed(plain)
    with torch.no_grad():
        for _ in range(2):
            assert torch.equal(small(X, X + 1), plain(X, X + 1))
    # Nobody had asked for two of the first three; this is not tried again.
    assert computed == [3, 1, 1, 1, 1, 1]


def test_an_input_that_changes(computed: list[int]) -> None:
    plain = Attention()
    small = compressed(plain)
    x = X.clone()
    with torch.no_grad():
        small.q_proj(x)
        x.add_(1)
        assert torch.equal(small.k_proj(x), plain.k_proj(x))
    assert computed == [3, 1]


def test_another_order(computed: list[int]) -> None:
    plain = Attention()
    small = compressed(plain)
    with torch.no_grad():
        for name in ("v_proj", "q_proj", "k_proj", "v_proj", "q_proj"):
            assert torch.equal(getattr(small, name)(X), getattr(plain, name)(X))
    assert computed == [1] * 5


def test_exact_layers_compute_alone(computed: list[int]) -> None:
    with torch.no_grad():
        compressed(Attention(), exact=True)(X)
    assert computed == [1] * 3


def test_gradients(computed: list[int]) -> None:
    plain = Attention()
    gradients = []
    for each in (plain, compressed(plain)):
        x = X.clone().requires_grad_()
        each(x).float().square().sum().backward()
        gradients.append(x.grad)
    assert torch.equal(*gradients)
    assert computed == [1] * 3


def test_autocast(computed: list[int]) -> None:
    small = compressed(Attention())
    with torch.no_grad(), torch.autocast("cpu", BF16):
        small(X.float())
    assert computed == [1] * 3


def test_compiled() -> None:
    plain = nn.ModuleList(Attention() for _ in range(6))
    small = compressed(plain)
    counter = CompileCounter()
    torch._dynamo.reset()
    for each in small:
        each.compile(fullgraph=True, backend=counter)
    with torch.no_grad():
        for _ in range(2):
            for each, original in zip(small, plain, strict=True):
                assert torch.equal(each(X), original(X))
    assert counter.frame_count == 1
    # One product and what joins the outputs, beside taking these from a list.
    assert counter.op_count == 2 + 3


@pytest.mark.parametrize("columns", [0, 63, 65, 128])
def test_an_input_of_another_width_is_computed_by_none(columns: int, computed: list[int]) -> None:
    small = compressed(Attention())
    with torch.no_grad():
        with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
            small(torch.zeros(2, columns, dtype=BF16))
        assert computed == []
        small(X)
        assert computed == [3]


def test_the_operator_is_what_it_says() -> None:
    small = compressed(Attention())
    layers = [small.q_proj, small.k_proj, small.v_proj]
    streams, biases = [each.stream for each in layers], [each.bias for each in layers]
    torch.library.opcheck(torch.ops.codecllm.linears.default, (X, streams, biases, [96, 32, 48]))


def test_on_a_gpu(gpu: None) -> None:
    plain = Attention().cuda()
    small = compressed(plain)
    alone = copy.deepcopy(small)
    for layer in alone.modules():
        layer.siblings = None
    with torch.no_grad():
        for rows in (1, 3, 64, 65, 0):
            x = torch.randn(rows, 64, dtype=BF16, device="cuda")
            assert torch.equal(small(x), alone(x))
        with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
            small(torch.zeros(2, 128, dtype=BF16, device="cuda"))
        # Another weight, and what was open is closed.
        small.v_proj.weight = torch.zeros_like(plain.v_proj.weight)
        found = small(x := torch.randn(2, 5, 64, dtype=BF16, device="cuda"))
        assert torch.equal(found[..., :128], alone(x)[..., :128])
        assert not found[..., 128:].any()
        assert torch.equal(found[..., 128:], functional.linear(x, small.v_proj.weight))

"""Weights on their way: updates are small, lead to the same bits, and are refused by whoever has other weights."""

from __future__ import annotations

import pytest

from codecllm import InvalidStreamError, UnavailableError

torch = pytest.importorskip("torch")

from codecllm.torch import apply_update_, encode_update  # noqa: E402


def weights(steps: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    master = torch.randn(300, 256, generator=generator) * 0.02
    for _ in range(steps):
        master += torch.randn(master.shape, generator=generator) * 1e-6
    bf16 = master.bfloat16()
    return {"w": bf16, "t": bf16.t(), "f": master[:4].double(), "i": torch.arange(5) + steps, "e": torch.empty(0, 3)}


def copied(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in tensors.items()}


def assert_equal(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> None:
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_steps_follow_one_another_in_place() -> None:
    server = copied(weights(0))
    places = {name: tensor.data_ptr() for name, tensor in server.items()}
    for step in (1, 2, 3):
        update = encode_update(weights(step - 1), weights(step))
        apply_update_(server, update)
        assert_equal(server, weights(step))
    assert {name: tensor.data_ptr() for name, tensor in server.items()} == places
    whole = sum(tensor.nbytes for tensor in server.values())
    assert len(update) < whole / 8


def test_a_module_takes_one_too() -> None:
    layer = torch.nn.Linear(64, 32)
    before, after = copied(layer.state_dict()), {name: tensor + 1e-3 for name, tensor in layer.state_dict().items()}
    apply_update_(dict(layer.named_parameters()), encode_update(before, after))
    assert_equal(layer.state_dict(), after)


def test_other_weights_are_refused_and_stay() -> None:
    update = encode_update(weights(0), weights(1))
    other = copied(weights(0))
    other["i"][3] += 1
    kept = copied(other)
    with pytest.raises(InvalidStreamError, match=r'"i": base\.crc at byte \d+: coded against another base'):
        apply_update_(other, update)
    assert_equal(other, kept)
    with pytest.raises(InvalidStreamError, match=r'"w": base: BF16 \[3, 3\] is given'):
        apply_update_({**weights(0), "w": torch.zeros(3, 3, dtype=torch.bfloat16)}, update)
    with pytest.raises(ValueError, match='the weights lack "w"'):
        apply_update_({"f": weights(0)["f"]}, update)


def test_damage_is_refused() -> None:
    update = encode_update(weights(0), weights(1))
    for damaged in (update[:100], update[:-16], b"", b"CLLM" + update):
        with pytest.raises(InvalidStreamError, match=r"^update: "):
            apply_update_(weights(0), damaged)
    server = copied(weights(0))
    for at in (-40, -len(update) // 2):
        flipped = bytearray(update)
        flipped[at] ^= 1
        with pytest.raises(InvalidStreamError, match=r"^update: damaged"):
            apply_update_(server, bytes(flipped))
    assert_equal(server, weights(0))


def test_what_cannot_be_an_update() -> None:
    old, new = weights(0), weights(1)
    with pytest.raises(ValueError, match='"x" is in new alone'):
        encode_update(old, {**new, "x": torch.ones(1)})
    with pytest.raises(ValueError, match=r'"f" was F64 \[4, 256\], and is F32 \[4, 256\]'):
        encode_update(old, {**new, "f": new["f"].float()})
    odd = {"i": torch.zeros(2, dtype=torch.float8_e4m3fnuz)}
    with pytest.raises(TypeError, match='"i": no stream can hold F8_E4M3FNUZ'):
        encode_update(odd, odd)
    elsewhere = {"w": torch.empty(2, device="meta")}
    with pytest.raises(UnavailableError, match="w: lies on meta; updates are made in host memory or on a GPU"):
        encode_update(elsewhere, elsewhere)
    update = encode_update(old, new)
    with pytest.raises(UnavailableError, match="w: lies on meta"):
        apply_update_({name: tensor.to("meta") for name, tensor in old.items()}, update)
    with pytest.raises(ValueError, match='"t" lies on cpu, and others on meta'):
        apply_update_({**copied(old), "w": torch.empty(300, 256, device="meta")}, update)

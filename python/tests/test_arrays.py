"""encode, decode and Encoder: every dtype of NumPy and PyTorch, any bits, any shape, and wrong arguments."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import numpy_dtype, weights
from hypothesis import given, settings
from hypothesis import strategies as st

import codecllm
from codecllm import _library
from codecllm._codec import encode_bytes
from codecllm._dtypes import DTYPES
from codecllm._tables import PROFILES

NUMPY_DTYPES = [
    numpy_dtype(dtype.name) for dtype in DTYPES.values() if dtype.has_streams and numpy_dtype(dtype.name) is not None
]
TORCH_DTYPES = [dtype.torch for dtype in DTYPES.values() if dtype.torch is not None and dtype.has_streams]

shapes = st.one_of(
    st.lists(st.integers(0, 9), max_size=4).map(tuple),
    st.tuples(st.integers(1, 200), st.integers(1, 300)),
)


@st.composite
def arrays(draw: st.DrawFn) -> np.ndarray:
    """Of any dtype, from bits that are one value, few values, or all."""
    dtype = draw(st.sampled_from(NUMPY_DTYPES))
    shape = draw(shapes)
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    values = draw(st.sampled_from([1, 2, 40, 256]))
    size = int(np.prod(shape)) * dtype.itemsize
    data = rng.integers(0, min(values, 2) if dtype.kind == "b" else values, size, dtype=np.uint16).astype(np.uint8)
    return data.view(dtype).reshape(shape)


def same(a: np.ndarray, b: np.ndarray) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


@settings(max_examples=200)
@given(arrays(), st.sampled_from(PROFILES))
def test_numpy_round_trip(array: np.ndarray, profile: str) -> None:
    assert same(codecllm.decode(codecllm.encode(array, profile)), array)


@given(arrays(), st.data())
def test_memory_that_is_laid_out_differently(array: np.ndarray, data: st.DataObject) -> None:
    index = tuple(slice(None, None, data.draw(st.sampled_from([1, 2, -1]))) for _ in array.shape)
    view = array[index].T
    assert same(codecllm.decode(codecllm.encode(view)), np.ascontiguousarray(view).reshape(view.shape))


def test_big_endian() -> None:
    array = weights(50, 40)
    assert same(codecllm.decode(codecllm.encode(array.astype(">f4"))), array)


@pytest.mark.parametrize("name", TORCH_DTYPES)
def test_torch_round_trip(name: str) -> None:
    torch = pytest.importorskip("torch", reason="no PyTorch")
    dtype = getattr(torch, name, None)
    if dtype is None:
        pytest.skip(f"PyTorch {torch.__version__} has no {name}")
    data = torch.randint(0, 2, (130, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    for tensor in (data.view(dtype), data.view(dtype)[:0], data.view(dtype)[::3]):
        stream = codecllm.encode(tensor)
        back = codecllm.decode(stream, "pt")
        assert back.dtype == tensor.dtype
        assert back.shape == tensor.shape
        assert torch.equal(back.contiguous().view(torch.uint8), tensor.contiguous().view(torch.uint8))


def test_numpy_and_torch_give_the_same_stream() -> None:
    torch = pytest.importorskip("torch", reason="no PyTorch")
    ml_dtypes = pytest.importorskip("ml_dtypes", reason="no ml_dtypes")
    array = weights(300, 200).astype(ml_dtypes.bfloat16)
    tensor = torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
    assert codecllm.encode(tensor) == codecllm.encode(array)
    assert codecllm.encode(tensor.requires_grad_()) == codecllm.encode(array)


@settings(max_examples=50)
@given(
    st.sampled_from(PROFILES),
    st.tuples(st.integers(1, 900), st.integers(1, 300)),
    st.integers(1, 4),
)
def test_slices_give_the_same_stream(profile: str, shape: tuple[int, int], count: int) -> None:
    # BF16, for which NumPy needs no dtype here: the upper halves of floats.
    data = np.ascontiguousarray(weights(*shape).view(np.uint16)[:, 1::2]).view(np.uint8).reshape(-1)
    whole = encode_bytes(data, "BF16", shape, _library.options(profile)).tobytes()
    with codecllm.Encoder("BF16", shape, profile) as encoder:
        assert encoder.tensor_bytes == data.size
        rows = encoder.band_bytes
        slices = [
            (first, min(count, encoder.bands - first), data[first * rows : (first + count) * rows])
            for first in range(0, encoder.bands, count)
        ]
        while encoder.gathers or encoder.codes:
            if encoder.codes:
                coded = [bytearray(encoder.code_bound(part[1])) for part in slices]
            for i, part in reversed(list(enumerate(slices))):
                if encoder.codes:
                    coded[i] = coded[i][: encoder.code(*part, coded[i])]
                else:
                    encoder.gather(*part)
            encoder.advance()
        front = bytearray(encoder.front_bytes)
        encoder.front(front)
    assert bytes(front) + b"".join(coded) == whole


def test_dtypes_of_an_encoder() -> None:
    for dtype in ("F16", "float16", np.float16, np.dtype("float16"), np.dtype(">f2")):
        with codecllm.Encoder(dtype, (300, 200)) as encoder:
            assert encoder.tensor_bytes == 2 * 300 * 200


def test_encoder_refuses() -> None:
    with pytest.raises(TypeError, match="no dtype float128"):
        codecllm.Encoder("float128", (3, 3))
    with codecllm.Encoder("BF16", (300, 200)) as encoder:
        with pytest.raises(ValueError, match="bytes"):
            encoder.gather(0, 1, b"\0")
        with pytest.raises(ValueError, match=r"7 \+ 1 where there are 3"):
            encoder.gather(7, 1, b"\0" * encoder.band_bytes)
        with pytest.raises(ValueError, match=r"^0 .* where there are 3"):
            encoder.advance()
        with pytest.raises(ValueError, match="is not known before all is gathered"):
            _ = encoder.front_bytes
        with pytest.raises(ValueError, match="read-only"):
            encoder.code(0, 1, b"\0" * encoder.band_bytes, b"\0" * 100)


@pytest.mark.parametrize(
    "array", [[1, 2], b"bytes", np.zeros(3, "U4"), np.zeros(3, object), np.zeros(3, np.complex128)]
)
def test_encode_refuses(array: object) -> None:
    with pytest.raises(TypeError, match=r"expected a NumPy array|there is no dtype"):
        codecllm.encode(array)


def test_encode_refuses_tensors() -> None:
    torch = pytest.importorskip("torch", reason="no PyTorch")
    with pytest.raises(TypeError, match=r"there is no dtype torch\.complex128 in safetensors"):
        codecllm.encode(torch.zeros(3, dtype=torch.complex128))
    with pytest.raises(TypeError, match=r"expected a dense tensor, not one of layout torch\.sparse_coo"):
        codecllm.encode(torch.zeros(3, 3).to_sparse())
    # A dtype that safetensors has and FORMAT.md has not.
    with pytest.raises(ValueError, match="F8_E4M3FNUZ"):
        codecllm.encode(torch.zeros(3, dtype=torch.float8_e4m3fnuz))


def test_wrong_choices() -> None:
    with pytest.raises(ValueError, match="profile 'best' is none of small, fast, direct"):
        codecllm.encode(np.zeros(3), "best")
    with pytest.raises(ValueError, match="framework 'tf' is neither 'np' nor 'pt'"):
        codecllm.decode(codecllm.encode(np.zeros(3)), "tf")


@settings(max_examples=300)
@given(st.data())
def test_damage_is_found(data: st.DataObject) -> None:
    stream = bytearray(codecllm.encode(weights(70, 130)))
    bit = data.draw(st.integers(0, 8 * len(stream) - 1))
    stream[bit // 8] ^= 1 << bit % 8
    with pytest.raises(codecllm.InvalidStreamError):
        codecllm.decode(stream)


@settings(max_examples=100)
@given(st.data())
def test_truncation_is_found(data: st.DataObject) -> None:
    stream = codecllm.encode(weights(70, 130))
    with pytest.raises(codecllm.InvalidStreamError):
        codecllm.decode(stream[: data.draw(st.integers(0, len(stream) - 1))])


def test_a_gpu_is_asked_for_where_there_is_none() -> None:
    cuda, gpus = codecllm.features()
    if gpus:
        pytest.skip("there is a GPU")
    with pytest.raises(
        codecllm.UnavailableError, match="device 0 where there are 0" if cuda else "this build has no CUDA"
    ):
        codecllm.GPUDecoder([codecllm.encode(weights(30, 40))], 0)

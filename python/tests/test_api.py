"""The same calls of safetensors' functions, on a plain file, and of ours, on a compressed one: the same results, and
errors that the same `except` catches.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from conftest import REPOSITORY, assert_same, weights

torch = pytest.importorskip("torch", reason="no PyTorch")
safetensors = pytest.importorskip("safetensors", reason="no safetensors")

pytest.importorskip("safetensors.numpy")
pytest.importorskip("safetensors.torch")

import codecllm  # noqa: E402
import codecllm.numpy  # noqa: E402
import codecllm.torch  # noqa: E402

# What BF16 is for NumPy, safetensors does not know.
TENSORS = {
    "matrix": torch.from_numpy(weights(700, 130)),
    "experts": torch.from_numpy(weights(4 * 150, 70)).reshape(4, 150, 70).half(),
    "vector": torch.arange(5000),
    "bias": torch.ones(3),
    "wide": torch.from_numpy(weights(2, 40_000)),
    "scalar": torch.tensor(3.5),
    "nothing": torch.zeros(3, 0),
}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """What safetensors has saved, and what we have."""
    directory = tmp_path_factory.mktemp("files")
    safetensors.torch.save_file(TENSORS, directory / "plain", {"format": "pt"})
    codecllm.torch.save_file(TENSORS, directory / "compressed", {"format": "pt"})
    return directory / "plain", directory / "compressed"


def outcome(call: Callable[[], Any]) -> Any:  # noqa: ANN401
    """What a call gives, or the error that it raises."""
    try:
        return call()
    except Exception as error:
        return error


def assert_equal(ours: Any, theirs: Any) -> None:  # noqa: ANN401
    if isinstance(theirs, Exception):
        assert isinstance(ours, type(theirs)), (ours, theirs)
    elif isinstance(theirs, torch.Tensor | np.ndarray):
        assert type(ours) is type(theirs), ours
        assert (ours.dtype, tuple(ours.shape)) == (theirs.dtype, tuple(theirs.shape))
        assert np.array_equal(np.asarray(ours), np.asarray(theirs))
    elif isinstance(theirs, dict):
        assert list(ours) == list(theirs)
        for name, value in theirs.items():
            assert_equal(ours[name], value)
    else:
        assert ours == theirs


# --------------------------------------------------------------------------------------------------------------- slices

INDICES = {
    "matrix": [
        *(0, 5, -1, 699, -700, True, np.int64(3), torch.tensor(4), np.array(4)),
        *(700, -701, 2**70, 1.5, "a", None, (None, 1), (slice(9), None), (1, 2, 3), (..., 1, ...), (..., 1, 2, 3)),
        *(slice(None), slice(1, 4), slice(130, 259), slice(None, None, 100), slice(5, 600, 7), slice(3, 3), slice(699)),
        *(slice(2, 9000), slice(800, 900), slice(700, 700), slice(None, None, -1), slice(None, None, 0)),
        *(slice(1.5), (slice(3), slice(7, 131)), (slice(3), slice(131, None))),
        *(
            ...,
            (),
            (...,),
            (..., 4),
            (4, ...),
            (4, ..., 2),
            (1, 2),
            (slice(2, 9), 3),
            (slice(None, None, 9), slice(7, 9)),
        ),
        *(
            [],
            [0, 2],
            [699, 1, 1],
            ([0, 300],),
            ([0, 300], [1, 2]),
            (slice(None), [1, -2]),
            (3, [0, 1]),
            [[True] * 700],
        ),
        *([700], torch.tensor([3, 500]), np.array([3, 500]), torch.arange(700) % 100 == 0, range(2), (range(4), 3)),
        (slice(None), slice(None), slice(None)),
    ],
    "experts": [
        *(
            0,
            (1, 100),
            (1, 100, 3),
            (..., 3),
            (2, ..., 3),
            (slice(1, 3), slice(140, None)),
            (slice(None), slice(7, 9), 5),
        ),
        *((3, [5, 6]), ([3, 1], slice(None), [1, 2]), (0, slice(None), [1, 3]), (slice(None), [149], slice(2)), (4,)),
        *((1, 150), (1, 2, 70), (slice(None, None, 2), slice(None, None, 50), slice(None, None, 30))),
    ],
    "vector": [
        0,
        -1,
        4999,
        5000,
        slice(7),
        slice(4000, 4010),
        slice(None, None, 999),
        ...,
        (..., 3),
        (0, 0),
        [5, 4],
        None,
    ],
    "bias": [0, 2, 3, slice(1, 3), ..., [0, 2]],
    "wide": [1, (0, slice(39_990, None)), (slice(None), 5), ([1], [39_999])],
    "scalar": [0, ..., (), slice(None), None, (..., 0)],
    "nothing": [0, 2, 3, (), slice(1, 3), (0, 0)],
}


@pytest.mark.parametrize("framework", ["pt", "np"])
@pytest.mark.parametrize(
    ("name", "index"),
    [
        pytest.param(name, index, id=f"{name}[{str(index)[:40]}]".replace("\n", ""))
        for name, indices in INDICES.items()
        for index in indices
    ],
)
@pytest.mark.filterwarnings("ignore:Using a non-tuple sequence")
def test_slices(files: tuple[Path, Path], framework: Any, name: str, index: Any) -> None:  # noqa: ANN401
    plain, compressed = files
    with safetensors.safe_open(plain, framework) as original:
        expected = outcome(lambda: original.get_slice(name)[index])
    for path in (plain, compressed):
        with codecllm.safe_open(path, framework) as opened:
            part = outcome(lambda opened=opened: opened.get_slice(name)[index])
        assert_equal(part, expected)
        if isinstance(part, torch.Tensor):
            assert part.is_contiguous()
            # A part that is saved is not more than a part.
            assert part.untyped_storage().nbytes() == part.nbytes
        elif isinstance(part, np.ndarray):
            assert part.flags.c_contiguous
            assert part.flags.writeable


@pytest.mark.parametrize("index", [slice(-3, None), slice(-9000, 3), slice(3, 1)])
def test_slices_of_numpy_that_safetensors_fails_at(files: tuple[Path, Path], index: slice) -> None:
    plain, compressed = files
    with safetensors.safe_open(plain, "np") as original, pytest.raises((OverflowError, SystemError)):
        original.get_slice("matrix")[index]
    with codecllm.safe_open(compressed, "np") as opened:
        assert_equal(opened.get_slice("matrix")[index], TENSORS["matrix"].numpy()[index])


@pytest.mark.parametrize(
    ("index", "most"),
    [(300, 1), (slice(100, 200), 2), ([5, 600], 2), (slice(None, None, 600), 2), ((5, 3), 1), (slice(3, 3), 0)],
)
def test_slices_decode_no_more_than_they_need(
    files: tuple[Path, Path],
    monkeypatch: pytest.MonkeyPatch,
    index: Any,  # noqa: ANN401
    most: int,
) -> None:
    bands = 0
    decode = codecllm._stream.Stream.decode

    def count(stream: Any, first: int, count: int, *rest: Any) -> None:  # noqa: ANN401
        nonlocal bands
        bands += count
        decode(stream, first, count, *rest)

    monkeypatch.setattr(codecllm._stream.Stream, "decode", count)
    with codecllm.safe_open(files[1]) as opened:
        part = opened.get_slice("matrix")
        assert part._bands.count > 2
        assert_equal(part[index], TENSORS["matrix"][index])
    assert bands <= most


def test_a_part_that_is_damaged(tmp_path: Path) -> None:
    codecllm.torch.save_file({"a": TENSORS["matrix"]}, tmp_path / "a")
    whole = (tmp_path / "a").read_bytes()
    (tmp_path / "a").write_bytes(whole[:-40] + bytes([whole[-40] ^ 4]) + whole[-39:])
    with codecllm.safe_open(tmp_path / "a") as opened:
        part = opened.get_slice("a")
        assert torch.equal(part[:100], TENSORS["matrix"][:100])
        with pytest.raises(codecllm.FileError, match=r'a: damaged at tensor "a": '):
            part[-1]


# ------------------------------------------------------------------------------------------------------------ safe_open


def opening(framework: str, *more: Any, **keywords: Any) -> Callable[[ModuleType, Path], Any]:  # noqa: ANN401
    def call(package: ModuleType, path: Path) -> Any:  # noqa: ANN401
        with package.safe_open(path, framework, *more, **keywords) as opened:
            return opened.get_tensors()

    return call


def used(use: Callable[[Any], Any]) -> Callable[[ModuleType, Path], Any]:
    def call(package: ModuleType, path: Path) -> Any:  # noqa: ANN401
        with package.safe_open(path, framework="pt", device="cpu") as opened:
            return use(opened)

    return call


def closed(use: Callable[[Any], Any]) -> Callable[[ModuleType, Path], Any]:
    def call(package: ModuleType, path: Path) -> Any:  # noqa: ANN401
        with package.safe_open(path, framework="pt") as opened:
            assert opened.__enter__() is opened
        return use(opened)

    return call


def part_of_a_closed_file(package: ModuleType, path: Path) -> Any:  # noqa: ANN401
    with package.safe_open(path, framework="pt") as opened:
        part = opened.get_slice("matrix")
    assert opened.__exit__(None, None, None) is None
    return {"shape": part.get_shape(), "dtype": part.get_dtype(), "part": part[3]}


CALLS: dict[str, Callable[[ModuleType, Path], Any]] = {
    **{framework: opening(framework) for framework in ("pt", "torch", "pytorch", "np", "numpy")},
    **{f"backend {backend}": opening("pt", backend=backend) for backend in ("mmap", "pread", "other", None)},
    **{f"device {device}": opening("pt", device) for device in ("cpu", "other", -1)},
    **{f"NumPy, device {device}": opening("np", device) for device in ("cpu", "cuda", 0)},
    "no such framework": opening("other"),
    "no framework": opening(None),  # type: ignore[arg-type]
    "keys": used(lambda opened: opened.keys()),
    "offset_keys": used(lambda opened: opened.offset_keys()),
    "metadata": used(lambda opened: opened.metadata()),
    "get_tensor": used(lambda opened: opened.get_tensor(name="vector")),
    "get_tensor of none": used(lambda opened: opened.get_tensor("none")),
    "get_tensor of 3": used(lambda opened: opened.get_tensor(3)),
    "get_slice of none": used(lambda opened: opened.get_slice(name="none")),
    "get_slice of 3": used(lambda opened: opened.get_slice(3)),
    "get_shape": used(lambda opened: [opened.get_slice(name).get_shape() for name in TENSORS]),
    "get_dtype": used(lambda opened: [opened.get_slice(name).get_dtype() for name in TENSORS]),
    "closed: keys": closed(lambda opened: opened.keys()),
    "closed: offset_keys": closed(lambda opened: opened.offset_keys()),
    "closed: metadata": closed(lambda opened: opened.metadata()),
    "closed: get_tensor": closed(lambda opened: opened.get_tensor("bias")),
    "closed: get_tensors": closed(lambda opened: opened.get_tensors()),
    "closed: get_slice": closed(lambda opened: opened.get_slice("bias")),
    "closed: enter": closed(lambda opened: opened.__enter__() is opened),
    "closed: part": part_of_a_closed_file,
    "no file": lambda package, path: package.safe_open(path.parent / "none", "pt"),
    "load_file": lambda package, path: package.torch.load_file(path),
    "load_file, backend": lambda package, path: package.torch.load_file(str(path), "cpu", backend="pread"),
    "load_file, no backend": lambda package, path: package.torch.load_file(path, backend="other"),
    "load_file, NumPy": lambda package, path: package.numpy.load_file(path, backend="mmap"),
    "load": lambda package, path: sorted_dict(package.torch.load(path.read_bytes())),
    "load, NumPy": lambda package, path: sorted_dict(package.numpy.load(path.read_bytes())),
    "load, cut off": lambda package, path: package.torch.load(path.read_bytes()[:-1]),
    "load, NumPy, cut off": lambda package, path: package.numpy.load(path.read_bytes()[:-1]),
    "load of nothing": lambda package, path: package.torch.load(b""),
    "load of a path": lambda package, path: package.torch.load(str(path)),
}


def sorted_dict(tensors: dict[str, Any]) -> dict[str, Any]:
    """What safetensors gives in another order every time."""
    return dict(sorted(tensors.items()))


@pytest.mark.parametrize("name", CALLS)
def test_calls(files: tuple[Path, Path], name: str) -> None:
    plain, compressed = files
    expected = outcome(lambda: CALLS[name](safetensors, plain))
    for path in (plain, compressed):
        assert_equal(outcome(lambda path=path: CALLS[name](codecllm, path)), expected)


def parameters(function: Callable[..., Any]) -> list[tuple[str, Any, Any]]:
    return [(each.name, each.kind, each.default) for each in inspect.signature(function).parameters.values()]


@pytest.mark.parametrize("name", ["numpy", "torch"])
def test_every_function_takes_what_theirs_takes(name: str) -> None:
    ours, theirs = getattr(codecllm, name), getattr(safetensors, name)
    public = [
        function
        for function, value in vars(theirs).items()
        if inspect.isfunction(value) and not function.startswith("_") and not function.startswith("storage_")
    ]
    assert set(public) == set(ours.__all__) - {
        "apply_update_",
        "compress_module",
        "encode_update",
        "refine_",
        "safe_open",
    }
    for function in public:
        expected = parameters(getattr(theirs, function))
        found = parameters(getattr(ours, function))
        more = ("profile", "base", "bits", "max_bytes", "progressive")
        assert [each for each in found if each[0] not in more] == expected, function
        names = {each[0] for each in found}
        assert ("profile" in names) == function.startswith("save"), function
        assert ("max_bytes" in names) == function.startswith("load"), function
        assert ("base" in names) == function.endswith("_file"), function
        assert ("bits" in names) == (function == "load_file"), function
        assert ("progressive" in names) == (function == "save_file"), function


# --------------------------------------------------------------------------------------------------------------- saving

MATRIX = torch.zeros(4, 4)
SAVED: dict[str, tuple[str, Any, Any]] = {
    "tensors": ("torch", {"a": MATRIX, "b": torch.ones(2)}, {"x": "y"}),
    "arrays": ("numpy", {"a": np.zeros((3, 4)), "b": np.arange(3, dtype=">i4"), "c": np.zeros((2, 0), np.int8)}, None),
    "parts": ("torch", {"a": MATRIX[:2], "b": MATRIX[2:]}, None),
    "the same array twice": ("numpy", dict.fromkeys("ab", np.ones(3)), None),
    "nothing": ("torch", {}, None),
    "no arrays": ("numpy", {}, None),
    "a list": ("torch", [MATRIX], None),
    "no tensor": ("torch", {"a": 3}, None),
    "no name": ("torch", {3: MATRIX}, None),
    "no name of an array": ("numpy", {3: np.zeros(3)}, None),
    "sparse": ("torch", {"a": MATRIX.to_sparse()}, None),
    "not contiguous": ("torch", {"a": MATRIX[:, 1]}, None),
    "shared": ("torch", {"a": MATRIX, "b": MATRIX}, None),
    "overlapping": ("torch", {"a": MATRIX, "b": MATRIX[1:]}, None),
    "metadata that are no text": ("torch", {"a": MATRIX}, {"x": 3}),
    "metadata with a key that is no text": ("numpy", {"a": np.zeros(3)}, {3: "x"}),
    "metadata that are a list": ("torch", {"a": MATRIX}, ["x"]),
}


@pytest.mark.parametrize("name", SAVED)
def test_saving(tmp_path: Path, name: str) -> None:
    module, tensors, metadata = SAVED[name]
    ours, theirs = getattr(codecllm, module), getattr(safetensors, module)
    expected = outcome(lambda: sorted_dict(theirs.load(theirs.save(tensors, metadata))))
    assert_equal(outcome(lambda: sorted_dict(ours.load(ours.save(tensors, metadata)))), expected)
    saved = outcome(lambda: ours.save_file(tensors, tmp_path / "a", metadata))
    if isinstance(expected, Exception):
        assert_equal(saved, expected)
        assert list(tmp_path.iterdir()) == []
    else:
        assert_equal(sorted_dict(ours.load_file(tmp_path / "a")), expected)


@pytest.mark.parametrize("profile", codecllm._tables.PROFILES)
def test_save_gives_what_save_file_writes(tmp_path: Path, profile: Any) -> None:  # noqa: ANN401
    arrays = {name: tensor.numpy() for name, tensor in TENSORS.items()}
    metadata = {"x": "1", "y": "2"}
    codecllm.torch.save_file(TENSORS, tmp_path / "a", metadata, profile=profile)
    whole = (tmp_path / "a").read_bytes()
    assert codecllm.torch.save(TENSORS, metadata, profile=profile) == whole
    assert codecllm.numpy.save(arrays, metadata, profile=profile) == whole
    codecllm.numpy.save_file(arrays, tmp_path / "b", metadata, profile=profile)
    assert (tmp_path / "b").read_bytes() == whole


def test_arrays_of_any_layout_come_back() -> None:
    matrix = weights(30, 40)
    loaded = codecllm.numpy.load(codecllm.numpy.save({"a": matrix.T, "b": matrix[::-2], "c": matrix[3, 4]}))
    for name, expected in (("a", matrix.T), ("b", matrix[::-2]), ("c", np.array(matrix[3, 4]))):
        assert_equal(loaded[name], expected)


def test_dtypes_of_ml_dtypes(tmp_path: Path) -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes", reason="no ml_dtypes")
    array = weights(300, 200).astype(ml_dtypes.bfloat16)
    codecllm.numpy.save_file({"a": array}, tmp_path / "a")
    assert codecllm.numpy.load_file(tmp_path / "a")["a"].tobytes() == array.tobytes()
    with codecllm.safe_open(tmp_path / "a", "np") as opened:
        assert opened.get_slice("a")[7:9].tobytes() == array[7:9].tobytes()
    tensor = torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
    assert (tmp_path / "a").read_bytes() == codecllm.torch.save({"a": tensor})


def test_errors_of_bytes_say_so() -> None:
    with pytest.raises(codecllm.FileError, match=r"^<bytes>: not a safetensors file: it has 3 bytes$"):
        codecllm.torch.load(b"abc")
    with pytest.raises(codecllm.FileError, match=r'^<bytes>: "codecllm\.version" in its metadata'):
        codecllm.numpy.save({}, {"codecllm.version": "1"})


def test_keys_are_in_the_order_of_the_original(tmp_path: Path, cli: Callable[..., None]) -> None:
    # Not as a program of today writes them, so that the compressed file holds the original's header.
    header = (
        b'{"a":{"dtype":"F32","shape":[1000],"data_offsets":[4002,8002]},'
        b'"b":{"dtype":"U8","shape":[2],"data_offsets":[4000,4002]},'
        b'"c":{"dtype":"F32","shape":[1000],"data_offsets":[0,4000]}}'
    )
    (tmp_path / "plain").write_bytes(len(header).to_bytes(8, "little") + header + bytes(8002))
    cli("compress", tmp_path / "plain", tmp_path / "compressed")
    for path in (tmp_path / "plain", tmp_path / "compressed"):
        with codecllm.safe_open(path) as opened:
            assert opened.offset_keys() == list(opened.get_tensors()) == ["c", "b", "a"]


# --------------------------------------------------------------------------------------------------------------- models


class Tied(torch.nn.Module):
    """With a weight that two layers share, and a buffer that is a part of it."""

    def __init__(self, seed: int = 1) -> None:
        super().__init__()
        self.embedding = torch.nn.Embedding(300, 64)
        self.head = torch.nn.Linear(64, 300)
        self.embedding.weight.data = torch.from_numpy(weights(300, 64, seed=seed))
        self.head.weight = self.embedding.weight
        self.register_buffer("part", self.head.weight.data[5:7])
        self.plain = torch.nn.Linear(64, 64)


class Fewer(Tied):
    def __init__(self) -> None:
        super().__init__(2)
        del self.plain


class More(Tied):
    def __init__(self) -> None:
        super().__init__(3)
        self.another = torch.nn.Linear(2, 2)


class Untied(Tied):
    def __init__(self) -> None:
        super().__init__(4)
        self.head.weight = torch.nn.Parameter(torch.zeros(300, 64))


@pytest.mark.parametrize("model_class", [Tied, Fewer, More, Untied])
@pytest.mark.parametrize("strict", [True, False])
def test_models(tmp_path: Path, model_class: type[Tied], strict: bool) -> None:
    loaded = []
    outcomes = []
    for package in (safetensors.torch, codecllm.torch):
        torch.manual_seed(1)
        path = tmp_path / package.__name__
        metadata = {"format": "pt", "part": "mine"}
        assert package.save_model(Tied(), path, metadata) is None
        assert metadata == {"format": "pt", "part": "mine"} or package is safetensors.torch
        torch.manual_seed(2)
        model = model_class()
        outcomes.append(outcome(lambda p=package, m=model, path=path: p.load_model(m, path, strict, backend="pread")))
        loaded.append(model.state_dict())
    theirs, ours = outcomes
    assert_equal(ours, theirs)
    assert isinstance(theirs, Exception) == (strict and model_class is not Tied)
    if isinstance(theirs, Exception):
        assert str(ours) == str(theirs)
    assert_same(loaded[1], loaded[0])
    with (
        safetensors.safe_open(tmp_path / "safetensors.torch", "pt") as original,
        codecllm.safe_open(tmp_path / "codecllm.torch") as opened,
    ):
        assert opened.keys() == original.keys()
        assert opened.metadata() == original.metadata()


def test_models_that_are_not_contiguous(tmp_path: Path) -> None:
    model = torch.nn.Linear(30, 40)
    model.weight.data = torch.from_numpy(weights(30, 40)).T
    for package in (safetensors.torch, codecllm.torch):
        with pytest.raises(ValueError, match="contiguous"):
            package.save_model(model, tmp_path / "a", force_contiguous=False)
        package.save_model(model, tmp_path / "a")
        again = torch.nn.Linear(30, 40)
        assert package.load_model(again, tmp_path / "a") == (set(), [])
        assert_same(again.state_dict(), model.state_dict())


def test_models_with_parts_of_what_they_do_not_have(tmp_path: Path) -> None:
    model = torch.nn.Linear(3, 4)
    model.weight.data = torch.zeros(8, 3)[2:6]
    for package in (safetensors.torch, codecllm.torch):
        with pytest.raises(RuntimeError, match="weight"):
            package.save_model(model, tmp_path / "a")
        with pytest.raises(RuntimeError, match=r"size mismatch|weight"):
            package.load_model(model, REPOSITORY / "demo" / "model.safetensors")


@pytest.mark.parametrize("kept", [["head.weight"], ["embedding.weight"], ["head.weight", "embedding.weight"], []])
@pytest.mark.parametrize("strict", [True, False])
def test_models_from_files_that_keep_another_name(tmp_path: Path, kept: list[str], strict: bool) -> None:
    tensors = {name: tensor.clone() for name, tensor in Tied(5).state_dict().items() if name.endswith("bias")}
    tensors |= {"plain.weight": torch.ones(64, 64)} | {name: torch.ones(300, 64) for name in kept}
    safetensors.torch.save_file(tensors, tmp_path / "a")
    outcomes = []
    for package in (safetensors.torch, codecllm.torch):
        model = Tied()
        outcomes.append(outcome(lambda p=package, m=model: p.load_model(m, tmp_path / "a", strict)))
        assert bool(torch.all(model.head.weight == 1)) == bool(kept)
    assert_equal(outcomes[1], outcomes[0])
    if isinstance(outcomes[0], Exception):
        assert str(outcomes[1]) == str(outcomes[0])


def test_parts_of_one_tensor_that_lie_apart(tmp_path: Path) -> None:
    model = torch.nn.Linear(3, 8)
    for name, part in (("first", slice(1, 2)), ("second", slice(5, 6))):
        model.register_buffer(name, model.weight.data[part])
    codecllm.torch.save_model(model, tmp_path / "a")
    with codecllm.safe_open(tmp_path / "a") as opened:
        assert opened.keys() == ["bias", "weight"]
        assert opened.metadata() == {"first": "weight", "second": "weight"}
    with pytest.raises(RuntimeError, match=r"'first' and 'second' and 'weight' share memory.*save_model"):
        codecllm.torch.save(model.state_dict())


def test_base() -> None:
    old = np.arange(40000, dtype=np.float32).reshape(200, 200)
    new = old.copy()
    new[::7, 3] += 1
    stream = codecllm.encode(new, base=old)
    assert len(stream) < len(codecllm.encode(new)) // 4
    assert np.array_equal(codecllm.decode(stream, base=old), new)
    with pytest.raises(codecllm.InvalidStreamError, match=r"base\.crc"):
        codecllm.decode(stream, base=new)
    with pytest.raises(codecllm.InvalidStreamError, match="against a base"):
        codecllm.decode(stream)
    with pytest.raises(codecllm.InvalidStreamError, match="coded without a base"):
        codecllm.decode(codecllm.encode(new), base=old)
    with pytest.raises(codecllm.InvalidStreamError, match="base: F32"):
        codecllm.decode(stream, base=old.ravel())
    with pytest.raises(ValueError, match="a base of F32"):
        codecllm.encode(new, base=old.ravel())

"""Everything that decodes on a GPU, against what the host decodes. Skipped, with the reason, where there is none."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from conftest import REPOSITORY, assert_same, by_id, some_tensors, weights

torch = pytest.importorskip("torch", reason="no PyTorch")

from test_checkpoint_vectors import assert_names  # noqa: E402

from codecllm import (  # noqa: E402
    FileError,
    GPUDecoder,
    GPUEncoder,
    GPUStream,
    InvalidStreamError,
    UnavailableError,
    encode,
)
from codecllm import _cuda_loading as cuda_loading  # noqa: E402
from codecllm import _cuda_saving as cuda_saving  # noqa: E402
from codecllm import _gpu_encoder as gpu_encoder  # noqa: E402
from codecllm import _writing as writing  # noqa: E402
from codecllm._dtypes import DTYPES, name_of  # noqa: E402
from codecllm._stream import lengths  # noqa: E402
from codecllm._tables import PROFILES  # noqa: E402
from codecllm.torch import apply_update_, encode_update, load_file, safe_open, save_file  # noqa: E402

pytestmark = pytest.mark.usefixtures("gpu")

GOLDEN = REPOSITORY / "golden"
MANIFEST = json.loads((GOLDEN / "manifest.json").read_text())
CHECKPOINTS = json.loads((GOLDEN / "checkpoint" / "manifest.json").read_text())


def bases_of(vector: dict) -> list[Path] | None:
    return [GOLDEN / "checkpoint" / base for base in vector.get("bases", [])] or None


def on_device(data: bytes) -> torch.Tensor:
    return torch.from_numpy(np.frombuffer(data, np.uint8).copy()).cuda()


def data_of(decoder: GPUDecoder, streams: list[bytes]) -> list[torch.Tensor]:
    return [on_device(stream[info.front_bytes :]) for info, stream in zip(decoder.streams, streams, strict=True)]


def outputs_of(decoder: GPUDecoder) -> list[torch.Tensor]:
    return [torch.full((info.tensor_bytes,), 0xA5, dtype=torch.uint8, device="cuda") for info in decoder.streams]


@pytest.mark.parametrize("verify", [True, False])
def test_valid_vectors_in_one_batch(verify: bool) -> None:
    streams = [(GOLDEN / vector["stream"]).read_bytes() for vector in MANIFEST["valid"]]
    with GPUDecoder(streams) as decoder:
        outputs = outputs_of(decoder)
        decoder.decode(data_of(decoder, streams), outputs, verify=verify)
        decoder.check()
    for vector, output in zip(MANIFEST["valid"], outputs, strict=True):
        assert output.cpu().numpy().tobytes() == (GOLDEN / vector["input"]).read_bytes(), vector["id"]


def test_decoders_are_opened_by_many_threads_at_once() -> None:
    streams = [(GOLDEN / vector["stream"]).read_bytes() for vector in MANIFEST["valid"]]
    with ThreadPoolExecutor(8) as pool:
        decoders = list(pool.map(lambda stream: GPUDecoder([stream], 0), streams))
    for vector, stream, decoder in zip(MANIFEST["valid"], streams, decoders, strict=True):
        (output,) = outputs = outputs_of(decoder)
        decoder.decode(data_of(decoder, [stream]), outputs)
        decoder.check()
        decoder.close()
        assert output.cpu().numpy().tobytes() == (GOLDEN / vector["input"]).read_bytes(), vector["id"]


@pytest.mark.parametrize("vector", by_id(MANIFEST["invalid"]))
def test_invalid_vectors(vector: dict) -> None:
    stream = (GOLDEN / vector["stream"]).read_bytes()
    # Data of another length than the front says are a wrong argument here.
    found = r"^stream 0: |^the data of stream 0 are not "
    with pytest.raises(ValueError, match=found), GPUDecoder([stream]) as decoder:
        decoder.decode(data_of(decoder, [stream]), outputs_of(decoder))
        decoder.check()


# They have dtypes that PyTorch lacks.
FOREIGN = ("unknown-dtype", "checked-unknown-dtype", "checked-unknown-empty", "checked-pieces")


@pytest.mark.parametrize("vector", by_id([each for each in CHECKPOINTS["valid"] if each["id"] not in FOREIGN]))
def test_valid_checkpoints(vector: dict) -> None:
    folder = GOLDEN / "checkpoint"
    assert_same(
        load_file(folder / vector["compressed"], "cuda", base=bases_of(vector)), load_file(folder / vector["original"])
    )


@pytest.mark.parametrize("vector", by_id([each for each in CHECKPOINTS["invalid"] if each["error"]["step"] == "front"]))
def test_checkpoints_whose_fronts_are_wrong(vector: dict) -> None:
    path = GOLDEN / "checkpoint" / vector["file"]
    with pytest.raises(FileError) as raised:
        load_file(path, "cuda", base=bases_of(vector))
    assert_names(str(raised.value).removeprefix(f"{path}: "), vector["error"]["place"])


def test_data_in_host_memory_and_memory_of_the_caller() -> None:
    arrays = [weights(300, 200, seed=seed) for seed in range(3)]
    streams = [encode(array) for array in arrays]
    memory = torch.empty(GPUDecoder.memory_bytes(streams), dtype=torch.uint8, device="cuda")
    with GPUDecoder(streams, 0, memory) as decoder:
        data = [tensor.cpu().pin_memory() for tensor in data_of(decoder, streams)]
        scratch = torch.empty(decoder.scratch_bytes, dtype=torch.uint8, device="cuda")
        for arguments in ({}, {"scratch": scratch}):
            outputs = [torch.empty(info.shape, dtype=torch.float32, device="cuda") for info in decoder.streams]
            cuda_stream = torch.cuda.Stream()
            cuda_stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(cuda_stream):
                decoder.decode(data, outputs, **arguments)
            decoder.check()
            for output, array in zip(outputs, arrays, strict=True):
                assert np.array_equal(output.cpu().numpy(), array)


def test_damage_is_found_and_named() -> None:
    streams = [bytearray(encode(weights(300, 200, seed=seed))) for seed in range(3)]
    streams[1][-40] ^= 1
    with GPUDecoder(streams) as decoder:
        decoder.decode(data_of(decoder, streams), outputs_of(decoder))
        with pytest.raises(InvalidStreamError, match="stream 1: tile"):
            decoder.check()
    streams[2][70] ^= 1
    with pytest.raises(InvalidStreamError, match="stream 2: "):
        GPUDecoder(streams)


def test_arguments_that_are_wrong() -> None:
    stream = encode(weights(300, 200))
    with GPUDecoder([stream]) as decoder:
        data, outputs = data_of(decoder, [stream]), outputs_of(decoder)
        for wrong, kind, problem in (
            (([], outputs), ValueError, "0 data and 1 outputs for 1 streams"),
            (([data[0][1:]], outputs), ValueError, "the data of stream 0 are not"),
            ((data, [outputs[0].cpu()]), ValueError, "output 0: on cpu"),
            ((data, [outputs[0].view(torch.int32)]), TypeError, "output 0 is torch.int32, and its stream F32"),
            ((data, [outputs[0][1:]]), ValueError, "output 0 is not"),
        ):
            with pytest.raises(kind, match=problem):
                decoder.decode(*wrong)
        with pytest.raises(ValueError, match="scratch memory"):
            decoder.decode([data[0].cpu()], outputs, scratch=torch.empty(16, dtype=torch.uint8, device="cuda"))
    with pytest.raises(UnavailableError, match="device 99"):
        GPUDecoder([stream], 99)
    with pytest.raises(ValueError, match="memory"):
        GPUDecoder([stream], 0, torch.empty(16, dtype=torch.uint8, device="cuda"))


@pytest.mark.parametrize("profile", PROFILES)
def test_encoder_gives_the_bytes_of_the_host(profile: str) -> None:
    generator = torch.Generator().manual_seed(5)
    tensors = [tensor for tensor in some_tensors().values() if DTYPES[name_of(tensor.dtype)].has_streams]
    for dtype in (torch.bfloat16, torch.float16, torch.float32, torch.int8, torch.uint8, torch.bool):
        values = torch.randn(300, 200, generator=generator) * 20
        tensors += [values.to(dtype), values.to(dtype).t(), values.to(dtype)[1:, 3:77]]
    with GPUEncoder() as encoder:
        streams = encoder.encode([tensor.cuda() for tensor in tensors], profile)
    for tensor, stream in zip(tensors, streams, strict=True):
        expected = encode(tensor, profile)
        if stream is None:
            assert len(expected) >= tensor.nbytes
        else:
            assert stream.front + stream.data.cpu().numpy().tobytes() == expected


def test_encoder_reads_views_and_what_the_cuda_stream_has_written() -> None:
    with GPUEncoder() as encoder, torch.cuda.stream(torch.cuda.Stream()):
        generator = torch.Generator("cuda").manual_seed(6)
        base = torch.randn(1_000_001, device="cuda", generator=generator).bfloat16() * 0.02
        for _ in range(5):
            base.add_(0.001)
            view = base[1:].view(1000, 1000)
            (stream,) = encoder.encode([view])
            assert stream is not None
            assert stream.front + stream.data.cpu().numpy().tobytes() == encode(view, "fast")


def test_encoder_refuses() -> None:
    with GPUEncoder() as encoder:
        assert encoder.encode([]) == []
        for tensor, kind, problem in (
            (torch.zeros(300, 200), ValueError, "tensor 0: on cpu"),
            (torch.zeros(3, dtype=torch.complex128, device="cuda"), TypeError, "no dtype torch.complex128"),
        ):
            with pytest.raises(kind, match=problem):
                encoder.encode([tensor])
        with pytest.raises(ValueError, match="profile"):
            encoder.encode([torch.zeros(300, 200, device="cuda")], "best")
    with pytest.raises(UnavailableError, match="device 99"):
        GPUEncoder(99)


def on_gpu(stream: bytes) -> GPUStream:
    front, _ = lengths(np.frombuffer(stream, np.uint8))
    return GPUStream(stream[:front], on_device(stream[front:]))


@pytest.mark.parametrize("batch", [1, 200_000, 2 * 2**30])
@pytest.mark.parametrize("profile", PROFILES)
def test_transcoded_streams_are_those_of_the_host(monkeypatch: pytest.MonkeyPatch, profile: str, batch: int) -> None:
    monkeypatch.setattr(gpu_encoder, "_BATCH_BYTES", batch)
    tensors = [tensor for tensor in some_tensors().values() if DTYPES[name_of(tensor.dtype)].has_streams]
    tensors += [torch.from_numpy(weights(300, 200, seed=seed)).bfloat16() for seed in range(3)]
    before = [encode(tensor, PROFILES[index % len(PROFILES)]) for index, tensor in enumerate(tensors)]
    with GPUEncoder() as encoder:
        after = encoder.transcode([on_gpu(stream) for stream in before], profile)
        again = encoder.transcode(after)
        assert encoder.transcode([]) == []
    for tensor, *streams in zip(tensors, after, again, strict=True):
        for stream, expected in zip(streams, (profile, "direct"), strict=True):
            assert stream.front + stream.data.cpu().numpy().tobytes() == encode(tensor, expected)


@pytest.mark.parametrize("batch", [1, 2 * 2**30])
def test_transcoding_names_what_is_damaged(monkeypatch: pytest.MonkeyPatch, batch: int) -> None:
    monkeypatch.setattr(gpu_encoder, "_BATCH_BYTES", batch)
    streams = [on_gpu(encode(weights(300, 200, seed=seed))) for seed in range(3)]
    with GPUEncoder() as encoder:
        for wrong, kind, problem in (
            (streams[1]._replace(data=streams[1].data[1:]), ValueError, "the data of stream 1 are not"),
            (streams[1]._replace(data=streams[1].data.cpu()), ValueError, "the data of stream 1: on cpu"),
            (streams[1]._replace(front=streams[1].front[:-1]), InvalidStreamError, "stream 1: "),
        ):
            with pytest.raises(kind, match=problem):
                encoder.transcode([streams[0], wrong])
        with pytest.raises(ValueError, match="profile"):
            encoder.transcode(streams, "best")
        streams[1].data[-40] ^= 1
        with pytest.raises(InvalidStreamError, match=r"^stream 1: tile \d+ is damaged$"):
            encoder.transcode(streams)
        # And they are as they were.
        streams[1].data[-40] ^= 1
        assert len(encoder.transcode(streams)) == 3


@pytest.mark.parametrize("batch", [1, 100_000, 64 * 2**20])
def test_load_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch: int) -> None:
    monkeypatch.setattr(cuda_loading, "_BATCH_BYTES", batch)
    tensors = some_tensors()
    save_file(tensors, tmp_path / "compressed", {"format": "pt"})
    pytest.importorskip("safetensors.torch").save_file(tensors, tmp_path / "plain")
    for name in ("compressed", "plain"):
        for device in ("cuda", 0):
            loaded = load_file(tmp_path / name, device)
            assert all(tensor.device == torch.device("cuda:0") for tensor in loaded.values())
            assert_same(loaded, tensors)


@pytest.mark.parametrize("in_place", [True, False])
def test_vectors_against_a_base_in_one_batch(in_place: bool) -> None:
    vectors = MANIFEST["base"]
    streams = [(GOLDEN / vector["stream"]).read_bytes() for vector in vectors]
    bases = [on_device((GOLDEN / vector["base"]).read_bytes()) for vector in vectors]
    with GPUDecoder(streams) as decoder:
        outputs = bases if in_place else outputs_of(decoder)
        data = data_of(decoder, streams)
        with pytest.raises(InvalidStreamError, match=r"^tensor 0: header\.flags at byte 22: coded against a base"):
            decoder.decode(data, outputs)
        decoder.decode(data, outputs, bases=bases)
        decoder.check()
        for vector, output in zip(vectors, outputs, strict=True):
            assert output.cpu().numpy().tobytes() == (GOLDEN / vector["input"]).read_bytes(), vector["id"]
        kept = [output.clone() for output in outputs]
        bases[3][0] ^= 1
        decoder.decode(data, outputs, bases=outputs)
        with pytest.raises(InvalidStreamError, match=r"^stream \d+: base\.crc at byte \d+: coded against another base"):
            decoder.check()
        assert in_place or all(torch.equal(*pair) for pair in zip(outputs, kept, strict=True))


def test_load_file_against_a_base(tmp_path: Path) -> None:
    first = {**some_tensors(), "copied": torch.arange(5000.0), "copy": torch.arange(5000.0)}
    steps = [{name: tensor.clone() for name, tensor in first.items()} for _ in range(3)]
    for number, step in enumerate(steps):
        for tensor in step.values():
            if tensor.numel() > 7:
                tensor.view(-1).view(torch.uint8)[7] ^= number
        bases = [tmp_path / f"{before}.safetensors" for before in reversed(range(number))]
        save_file(step, tmp_path / f"{number}.safetensors", base=bases or None)
    loaded = load_file(tmp_path / "2.safetensors", "cuda", base=tmp_path)
    assert all(tensor.device.type == "cuda" for tensor in loaded.values())
    assert_same(loaded, steps[2])


def test_updates_on_the_gpu() -> None:
    generator = torch.Generator().manual_seed(1)
    master = torch.randn(300, 256, generator=generator) * 0.02

    def step(size: float) -> dict[str, torch.Tensor]:
        bf16 = (master + torch.randn(master.shape, generator=generator) * size).bfloat16()
        return {"w": bf16, "t": bf16.t(), "f": master[:4] + size, "i": torch.arange(5), "e": torch.empty(0, 3)}

    old, new = step(0), step(1e-6)
    update = encode_update(old, new)
    there = [{name: tensor.cuda() for name, tensor in weights.items()} for weights in (old, new)]
    assert encode_update(*there) == update
    server = {name: tensor.cuda() for name, tensor in old.items()}
    server["t"] = torch.empty(300, 256, dtype=torch.bfloat16, device="cuda").t().copy_(old["t"])
    places = {name: tensor.data_ptr() for name, tensor in server.items()}
    apply_update_(server, update)
    assert all(torch.equal(server[name].cpu(), new[name]) for name in new)
    assert {name: tensor.data_ptr() for name, tensor in server.items()} == places
    # They are no longer those that it was made from.
    kept = {name: tensor.clone() for name, tensor in server.items()}
    with pytest.raises(InvalidStreamError, match=r'^"w": base\.crc at byte \d+: coded against another base'):
        apply_update_(server, update)
    assert all(torch.equal(server[name], kept[name]) for name in kept)
    damaged = bytearray(update)
    damaged[-40] ^= 1
    server = {name: tensor.cuda() for name, tensor in old.items()}
    with pytest.raises(InvalidStreamError, match=r"^update: damaged"):
        apply_update_(server, bytes(damaged))
    assert all(torch.equal(server[name].cpu(), old[name]) for name in old)
    with pytest.raises(InvalidStreamError, match=r'^"w": base: BF16 \[3, 3\] is given'):
        apply_update_({**server, "w": torch.zeros(3, 3, dtype=torch.bfloat16, device="cuda")}, update)
    with pytest.raises(ValueError, match=r'"i" lies on cpu, and others on cuda:0'):
        apply_update_({**server, "i": torch.arange(5)}, update)
    with pytest.raises(ValueError, match='"w" lies on cpu, and others on cuda:0'):
        encode_update(server, new)


def changed(tensor: torch.Tensor, rare: int) -> torch.Tensor:
    """A copy, some of whose bytes are other ones."""
    plain = tensor.clone().reshape(-1).view(torch.uint8)
    plain[:: 1 + 7 * rare] ^= 1
    return plain.view(tensor.dtype).reshape(tensor.shape)


@pytest.mark.parametrize("batch", [1, 2**31])
def test_encoder_against_bases(monkeypatch: pytest.MonkeyPatch, batch: int) -> None:
    monkeypatch.setattr(gpu_encoder, "_BATCH_BYTES", batch)
    before = [tensor for tensor in some_tensors().values() if DTYPES[name_of(tensor.dtype)].has_streams]
    after = [changed(tensor, index) for index, tensor in enumerate(before)]
    expected = [encode(tensor, base=base) for tensor, base in zip(after, before, strict=True)]
    with GPUEncoder() as encoder:
        bases = [tensor.cuda() for tensor in before]
        tensors = [tensor.cuda() for tensor in after]
        changes = encoder.encode_changes(tensors, bases)
        assert [stream.front + stream.data.cpu().numpy().tobytes() for stream in changes] == expected
        for tensor, stream, whole in zip(tensors, encoder.encode(tensors, bases=bases), expected, strict=True):
            assert (stream is None) == (len(whole) >= tensor.nbytes)
        with pytest.raises(ValueError, match="base 0: of another dtype or shape than its tensor"):
            encoder.encode([torch.zeros(2, 3, device="cuda")], bases=[torch.zeros(3, 2, device="cuda")])


@pytest.mark.parametrize("group", [1, 2**28])
def test_save_file_against_a_base_on_the_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, group: int) -> None:
    monkeypatch.setattr(writing, "_GROUP_BYTES", group)
    before = some_tensors()
    save_file(before, tmp_path / "0")
    after = {name: changed(tensor, index) for index, (name, tensor) in enumerate(before.items())}
    save_file(after, tmp_path / "from-host", base=tmp_path / "0")
    monkeypatch.setattr(writing, "encode_bytes", None)
    on_gpu = {name: tensor.cuda() for name, tensor in after.items()}
    save_file(on_gpu, tmp_path / "from-gpu", base=tmp_path / "0")
    assert (tmp_path / "from-gpu").read_bytes() == (tmp_path / "from-host").read_bytes()


@pytest.mark.parametrize("group", [1, 100_000, 2**28])
@pytest.mark.parametrize("profile", PROFILES)
def test_save_file_of_tensors_on_the_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, profile: str, group: int
) -> None:
    monkeypatch.setattr(writing, "_GROUP_BYTES", group)
    monkeypatch.setattr(cuda_saving, "_PIECE_BYTES", max(group, 1000))
    tensors = some_tensors()
    save_file(tensors, tmp_path / "from-host", profile=profile)
    monkeypatch.setattr(writing, "encode_bytes", None)
    save_file({name: tensor.cuda() for name, tensor in tensors.items()}, tmp_path / "from-gpu", profile=profile)
    assert (tmp_path / "from-gpu").read_bytes() == (tmp_path / "from-host").read_bytes()


def test_save_file_of_tensors_here_and_there(tmp_path: Path) -> None:
    tensors = some_tensors()
    mixed = {name: tensor.cuda() if index % 3 else tensor for index, (name, tensor) in enumerate(tensors.items())}
    save_file(tensors, tmp_path / "from-host")
    with torch.cuda.stream(torch.cuda.Stream()):
        # What the CUDA stream of the caller has yet to write.
        torch.cuda._sleep(100_000_000)
        mixed["model.weight"] = tensors["model.weight"].cuda().clone()
        save_file(mixed, tmp_path / "mixed")
    assert (tmp_path / "mixed").read_bytes() == (tmp_path / "from-host").read_bytes()


@pytest.mark.parametrize("error", [UnavailableError, MemoryError, torch.OutOfMemoryError])
def test_save_file_where_the_gpu_cannot_encode(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    def fail(*arguments: object) -> None:
        raise error("no more")

    monkeypatch.setattr(GPUEncoder, "encode", fail)
    tensors = some_tensors()
    save_file(tensors, tmp_path / "from-host")
    save_file({name: tensor.cuda() for name, tensor in tensors.items()}, tmp_path / "from-gpu")
    assert (tmp_path / "from-gpu").read_bytes() == (tmp_path / "from-host").read_bytes()


def test_safe_open(tmp_path: Path) -> None:
    tensors = some_tensors()
    save_file(tensors, tmp_path / "model.safetensors")
    with safe_open(tmp_path, framework="pt", device="cuda") as opened:
        assert_same({name: opened.get_tensor(name) for name in opened.offset_keys()}, tensors)
        part = opened.get_slice("model.weight")[3:9, :5]
        assert torch.equal(part.cpu(), tensors["model.weight"][3:9, :5])


def test_load_file_on_a_cuda_stream_of_the_caller(tmp_path: Path) -> None:
    tensors = some_tensors()
    save_file(tensors, tmp_path / "a")
    with torch.cuda.stream(torch.cuda.Stream()):
        assert_same(load_file(tmp_path / "a", "cuda"), tensors)


def test_files_that_are_damaged(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_file({"a": torch.from_numpy(weights(300, 200)), "b": torch.from_numpy(weights(300, 100))}, path)
    whole = path.read_bytes()
    begin = whole.index(b"CLLM")
    for at, name in ((begin, "a"), (begin + 90, "a"), (len(whole) - 40, "b")):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :])
        with pytest.raises(FileError) as raised:
            load_file(path, "cuda")
        assert str(raised.value).startswith(f'{path}: damaged at tensor "{name}": ')
    # And nothing is left that would disturb the next one.
    path.write_bytes(whole)
    load_file(path, "cuda")

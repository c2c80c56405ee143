"""The golden vectors: streams that the reference in TypeScript wrote, and such that must be refused."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from conftest import REPOSITORY, by_id, numpy_dtype

from codecllm import InvalidStreamError, decode
from codecllm._codec import encode_bytes
from codecllm._library import EncodeOptions
from codecllm._stream import Stream, lengths
from codecllm._tables import CLASS_CHOICES, PREDICTORS, PROFILES

GOLDEN = REPOSITORY / "golden"
MANIFEST = json.loads((GOLDEN / "manifest.json").read_text())

# Names of the manifest, in the order of the C interface.
MODES = ["auto", "raw", *PREDICTORS, "pairs", "direct"]
CLASSES = ["auto", *CLASS_CHOICES]
WISHES = {None: 0, True: 1, False: -1, "wide": 2}


def encode_options(options: dict[str, Any]) -> EncodeOptions:
    result = EncodeOptions(
        profile=PROFILES.index(options.get("profile", "small")),
        tile_rows=options.get("tileRows", 0),
        columns=options.get("columns", 0),
        probability_bits=options.get("probabilityBits", 0),
        classes=CLASSES.index(options.get("classes", "auto")),
        column_offsets=WISHES[options.get("columnOffsets")],
        column_values=WISHES[options.get("columnValues")],
    )
    for plane, bits in enumerate(options.get("split", [])):
        result.split[plane] = bits
    for plane, mode in enumerate(options.get("modes", [])):
        result.modes[plane] = MODES.index(mode)
    return result


@pytest.mark.parametrize("vector", by_id(MANIFEST["valid"]))
def test_valid(vector: dict[str, Any]) -> None:
    data = np.fromfile(GOLDEN / vector["input"], np.uint8)
    stream = (GOLDEN / vector["stream"]).read_bytes()
    name, shape = vector["dtype"], tuple(vector["shape"])

    # Byte for byte what the TypeScript encoder wrote, if it did.
    if "options" in vector:
        assert encode_bytes(data, name, shape, encode_options(vector["options"])).tobytes() == stream

    view = np.frombuffer(stream, np.uint8)
    info = Stream(view[: lengths(view)[0]]).info
    assert (info.dtype, info.shape, info.tensor_bytes) == (name, shape, data.size)
    dtype = numpy_dtype(name)
    if dtype is None:
        with pytest.raises(TypeError, match=f"NumPy has no dtype for {name}"):
            decode(stream)
        return
    array = decode(stream)
    assert array.dtype == dtype
    assert array.shape == shape
    assert array.tobytes() == data.tobytes()


@pytest.mark.parametrize("vector", by_id(MANIFEST["base"]))
def test_against_a_base(vector: dict[str, Any]) -> None:
    data, base = (np.fromfile(GOLDEN / vector[name], np.uint8) for name in ("input", "base"))
    stream = (GOLDEN / vector["stream"]).read_bytes()
    name, shape = vector["dtype"], tuple(vector["shape"])
    assert encode_bytes(data, name, shape, encode_options(vector["options"]), base).tobytes() == stream
    dtype = numpy_dtype(name)
    if dtype is not None:
        before = base.view(dtype).reshape(shape)
        array = decode(stream, base=before)
        assert (array.dtype, array.shape, array.tobytes()) == (dtype, shape, data.tobytes())
        assert before.tobytes() == base.tobytes()


@pytest.mark.parametrize("vector", by_id(MANIFEST["invalid"]))
def test_invalid(vector: dict[str, Any]) -> None:
    error = vector["error"]
    with pytest.raises(InvalidStreamError) as raised:
        decode((GOLDEN / vector["stream"]).read_bytes())
    assert str(raised.value).startswith(f"{error['field']} at byte {error['offset']}: ")

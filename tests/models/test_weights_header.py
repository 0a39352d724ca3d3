"""Weight files that two readers could read differently, or that are none at all."""

from __future__ import annotations

import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from luthier.core.errors import ModelError
from luthier.models.weights_header import LONGEST_HEAD, check_weights, count_weights


def written(path, head, data=b"", length=None):
    head = head if isinstance(head, bytes) else head.encode()
    path.write_bytes((len(head) if length is None else length).to_bytes(8, "little") + head + data)
    return path


def entry(start, stop, shape="[1]"):
    return f'{{"dtype":"F32","shape":{shape},"data_offsets":[{start},{stop}]}}'


def test_what_the_library_writes_passes(tmp_path):
    path = tmp_path / "a.safetensors"
    save_file({"b": torch.ones(3, 4), "a": torch.zeros(2), "empty": torch.zeros(0)}, path, metadata={"format": "pt"})
    check_weights(path)
    assert count_weights(path) == 14
    save_file({}, path)
    check_weights(path)
    assert count_weights(path) == 0


def test_weights_without_a_shape_are_not_counted(tmp_path):
    path = written(tmp_path / "a.safetensors", '{"a":{"dtype":"F32","data_offsets":[0,4]}}', b"\0" * 4)
    with pytest.raises(ModelError):
        count_weights(path)


def test_the_shipped_base_passes(repo):
    for path in (repo / "src" / "luthier" / "models" / "bases").rglob("*.safetensors"):
        check_weights(path)


@pytest.mark.parametrize(
    ("head", "data", "told"),
    [
        (f'{{"a":{entry(0, 4)},"a":{entry(0, 4)}}}', b"\0" * 4, "'a' twice"),
        (f'{{"a":{entry(0, 4)},"a":{entry(0, 8, "[2]")}}}', b"\0" * 8, "'a' twice"),
        ('{"a":{"dtype":"F32","dtype":"I32","shape":[1],"data_offsets":[0,4]}}', b"\0" * 4, "'dtype' twice"),
        (f'{{"a":{entry(0, 16)}}}', b"\0" * 8, "need"),
        (f'{{"a":{entry(0, 4)}}}', b"\0" * 8, "need"),
        (f'{{"a":{entry(0, 8)},"b":{entry(4, 12)}}}', b"\0" * 12, "overlap"),
        (f'{{"a":{entry(0, 4)},"b":{entry(8, 12)}}}', b"\0" * 12, "overlap"),
        (f'{{"a":{entry(-4, 4)}}}', b"\0" * 4, "overlap"),
        (f'{{"a":{entry(0, "4.0")}}}', b"\0" * 4, "no table"),
        (f'{{"a":{entry(0, "true")}}}', b"\0", "no table"),
        ('{"a":7}', b"", "no table"),
        ("[1, 2]", b"", "no table"),
        ("not json", b"", "no table"),
        (b"\xff\xff\xff", b"", "no table"),
        ("[" * 200_000, b"", "no table"),
        ("9" * 5000, b"", "no table"),
    ],
)
def test_what_is_refused(tmp_path, head, data, told):
    with pytest.raises(ModelError, match=told) as caught:
        check_weights(written(tmp_path / "a.safetensors", head, data))
    assert caught.value.code == "broken_weights"


@pytest.mark.parametrize("content", [b"", b"abc", b"\x80\x04\x95" + b"." * 20, b"PK\x03\x04" + b"\0" * 100])
def test_other_files_are_refused(tmp_path, content):
    path = tmp_path / "a.safetensors"
    path.write_bytes(content)
    with pytest.raises(ModelError):
        check_weights(path)
    with pytest.raises(ModelError):
        check_weights(tmp_path / "nothing.safetensors")


def test_a_head_without_end_is_not_read(tmp_path):
    path = written(tmp_path / "a.safetensors", "{}", length=LONGEST_HEAD + 1)
    with pytest.raises(ModelError, match="4 MiB"):
        check_weights(path)


def test_what_passes_is_read_alike_by_the_library(tmp_path):
    from safetensors import SafetensorError, safe_open

    path = tmp_path / "a.safetensors"
    save_file({"b": torch.ones(3), "a": torch.zeros(2)}, path)
    sound = path.read_bytes()
    length = int.from_bytes(sound[:8], "little")

    @settings(max_examples=200, deadline=None)
    @given(st.lists(st.tuples(st.integers(0, 8 + length), st.integers(0, 255)), min_size=1, max_size=3))
    def flipped(changes):
        content = bytearray(sound)
        for place, value in changes:
            content[place] = value
        path.write_bytes(content)
        try:
            check_weights(path)
        except ModelError:
            return
        names = set(json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])) - {"__metadata__"}
        try:
            with safe_open(path, framework="pt") as handle:
                assert set(handle.keys()) == names
        except SafetensorError:  # it may be stricter
            pass

    flipped()

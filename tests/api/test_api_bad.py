"""What goes wrong in luthier.train is one clear error, and nothing is lost."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest
from journey import Journey
from toy import write

import luthier
from luthier.core import durable
from luthier.core.errors import DataError, LuthierError, ModelError, RecipeError, StorageError

GOOD = [{"text": f"wonderful {i}", "label": "good"} for i in range(6)]
MIXED = [*GOOD, *({"text": f"torn {i}", "label": "bad"} for i in range(6))]


def _bad(folder: Path) -> dict[str, tuple[dict[str, Any], type[LuthierError], str]]:
    """name: (fields, error, what its words must say)."""
    mixed = str(write(folder / "mixed.jsonl", MIXED))
    only_test = [{"text": "ok", "label": "good"}, {"text": "my", "label": "godo"}]
    scores = folder / "scores.csv"
    scores.write_text("text,score\nok,1.5\nmy,nan\nthe,2\n")
    empty, header, binary, latin = (folder / f"{name}.csv" for name in ("empty", "header", "binary", "latin"))
    empty.write_text("")
    header.write_text("text,label\n")
    binary.write_bytes(bytes(range(256)) * 40)
    latin.write_bytes("text,label\ncafé,a\nthé,b\n".encode("latin-1"))
    spans = [{"start": 0, "end": 5, "label": "x"}, {"start": 3, "end": 10, "label": "x"}]
    overlap = [{"text": "my invoice", "spans": spans}]
    return {
        "one class": ({"data": str(write(folder / "one.jsonl", GOOD))}, DataError, "two"),
        "label only in test": (
            {"data": {"train": mixed, "test": str(write(folder / "t.jsonl", only_test))}}, DataError, "godo",
        ),
        "nan score": ({"data": str(scores), "task": "regress"}, DataError, ":3"),
        "empty": ({"data": str(empty)}, DataError, "empty.csv"),
        "header only": ({"data": str(header)}, DataError, "no rows"),
        "binary": ({"data": str(binary)}, DataError, "binary.csv"),
        "wrong encoding": ({"data": str(latin)}, DataError, ":2"),
        "missing column": ({"data": {"train": mixed, "columns": {"label": "klass"}}}, DataError, "label"),
        "overlapping spans": (
            {"data": str(write(folder / "o.jsonl", overlap * 3)), "task": "extract"}, DataError, "o.jsonl:1",
        ),
        "no file": ({"data": str(folder / "mixd.jsonl")}, DataError, "mixd"),
        "unknown model": ({"data": mixed, "model": "minillm"}, ModelError, "minilm"),
        "too long": ({"data": mixed, "train__max_length": 5000}, RecipeError, "5000"),
        "unknown metric": ({"data": mixed, "evaluate__metrics": ["acuracy"]}, RecipeError, "accuracy"),
    }  # fmt: skip


BAD = [
    "one class", "label only in test", "nan score", "empty", "header only", "binary", "wrong encoding",
    "missing column", "overlapping spans", "no file", "unknown model", "too long", "unknown metric",
]  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_clear_error(journey: Journey, name: str) -> None:
    fields, kind, says = _bad(journey.folder)[name]
    with pytest.raises(LuthierError) as caught:
        journey.train(**fields)
    error = caught.value
    assert isinstance(error, kind), repr(error)
    assert error.remedy
    assert says in str(error)
    assert error.code


def test_the_list_of_bad_input_is_whole(tmp_path: Path) -> None:
    assert sorted(BAD) == sorted(_bad(tmp_path))


def _full(monkeypatch: pytest.MonkeyPatch, after: int, number: int = errno.ENOSPC) -> None:
    """The disk takes only `after` files more."""
    real, left = durable._write_bytes, iter(range(after))

    def write_bytes(handle: Any, data: bytes) -> None:
        if handle.name and str(handle.name).endswith("jsonl"):
            return real(handle, data)  # the journal is tested in core
        if next(left, None) is None:
            raise OSError(number, os.strerror(number))
        return real(handle, data)

    monkeypatch.setattr(durable, "_write_bytes", write_bytes)


@pytest.mark.parametrize("after", [0, 3, 6, 9])
def test_a_full_disk_loses_nothing(journey: Journey, monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    """Wherever it happens: the error says so, and the run goes on when there is room again."""
    with monkeypatch.context() as patch:
        _full(patch, after)
        with pytest.raises(StorageError) as caught:
            journey.train()
    assert caught.value.code == "disk_full"
    found = luthier.runs(journey.folder / "runs")
    if not found:  # not even the recipe could be written
        assert after == 0
        return
    again, whole = luthier.resume(found[0].path), journey.train()
    assert again.report["curves"] == whole.report["curves"]
    assert again.metrics == whole.metrics
    for path in (whole.path / "model").rglob("*.safetensors"):
        assert path.read_bytes() == (again.path / path.relative_to(whole.path)).read_bytes()


def test_too_little_room_is_said_before_a_checkpoint(journey: Journey, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(durable, "free_bytes", lambda folder: 1000)
        with pytest.raises(StorageError) as caught:
            journey.train()
    assert caught.value.code == "disk_full"
    assert "--resume" in caught.value.remedy
    assert luthier.resume(luthier.runs(journey.folder / "runs")[0].path).metrics


def test_no_permission(journey: Journey, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        _full(patch, 0, errno.EACCES)
        with pytest.raises(StorageError) as caught:
            journey.train()
    assert caught.value.code == "no_permission"
    assert "--out" in caught.value.remedy


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written(journey: Journey) -> None:
    locked = journey.folder / "locked"
    locked.mkdir(mode=0o500)
    with pytest.raises(StorageError) as caught:
        journey.train(out=locked / "runs")
    assert caught.value.code == "no_permission"


def test_a_file_where_the_folder_should_be(journey: Journey) -> None:
    with pytest.raises(StorageError) as caught:
        journey.train(out=journey.train_file / "runs")
    assert caught.value.code == "not_a_folder"

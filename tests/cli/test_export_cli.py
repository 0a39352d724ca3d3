"""luthier export, and the kinds in luthier models."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from luthier.core.errors import ModelError
from luthier.exporting import ExportResult
from luthier.models.export_forms.parity import LIMITS, Parity

ROWS = (
    Parity("merged, in memory", "transformers 5", 8, 426, 6.9e-7, 1.0, 0.99, LIMITS["fp32"]),
    Parity("gguf q8_0", "llama-cpp-python 1", 8, 426, 0.031, 0.9765, None, LIMITS["q8_0"]),
)


@pytest.fixture
def asked(api, monkeypatch):
    """What `luthier export` asked `luthier.api` for."""
    import sys

    calls = []

    def export(path, to, out=None, *, dtype=None):
        calls.append((path, to, out, dtype))
        if path == "nowhere":
            raise ModelError("there is no trained model here.", where=path, remedy="Give a run.", code="x")
        return ExportResult(Path("runs/a/exports/gguf-q8_0"), to, dtype or "f16", ROWS, 4_321_000, 1.5)

    monkeypatch.setattr(sys.modules["luthier.api"], "export", export, raising=False)
    return calls


def test_export_asks_and_prints_json(asked, luthier):
    result = luthier("export", "runs/a", "--to", "gguf", "--dtype", "q8_0", "--out", "o", "--json")
    assert result.code == 0
    value = json.loads(result.out)
    assert (value["path"], value["form"], value["dtype"]) == ("runs/a/exports/gguf-q8_0", "gguf", "q8_0")
    assert [row["ok"] for row in value["parity"]] == [True, True]
    assert value["parity"][1]["difference"] == 0.031
    assert asked == [("runs/a", "gguf", "o", "q8_0")]


def test_export_shows_the_parity_table(asked, luthier):
    result = luthier("export", "runs/a", "--to", "gguf")
    assert result.code == 0
    assert "gguf q8_0" in result.out
    assert "3.1e-02 (limit 5e-02)" in " ".join(result.out.split())
    assert "97.7% of 426" in " ".join(result.out.split())
    assert result.out.rstrip().endswith("runs/a/exports/gguf-q8_0  (4.3 MB)")
    assert asked == [("runs/a", "gguf", None, None)]
    assert luthier("export", "runs/a", "--to", "gguf", "--quiet").out.count("\n") == 1


def test_what_cannot_be_exported_is_one_paragraph(asked, luthier):
    result = luthier("export", "nowhere", "--to", "merged")
    assert (result.code, result.out) == (1, "")
    assert result.err.startswith("error: nowhere: there is no trained model here.")


@pytest.mark.parametrize(
    "words",
    [("runs/a",), ("--to", "merged"), ("runs/a", "--to", "pickle"), ("runs/a", "--to", "gguf", "--dtype", "q2")],
)
def test_wrong_usage(words, asked, luthier):
    result = luthier("export", *words)
    assert result.code == 2
    assert "luthier export --help" in result.err
    assert asked == []


def test_a_real_export_that_finds_no_run(luthier, here):
    result = luthier("export", "runs/a", "--to", "merged")
    assert result.code == 1
    assert "no trained model" in result.err
    assert not list(here.iterdir())


def test_models_say_whether_they_read_or_write(luthier):
    shown = luthier("models").out
    assert "kind" in shown.splitlines()[0]
    rows = [line.split() for line in shown.splitlines()]
    kinds = {row[0]: row[1] for row in rows if row and row[0] in ("minilm", "luthier-nano")}
    assert kinds == {"minilm": "encoder", "luthier-nano": "generative"}

"""ONNX, merged and adapter exports of encoder runs: other libraries alone give the same logits."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from pydantic import TypeAdapter
from sentence_transformers import SentenceTransformer
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from luthier.core.errors import ModelError
from luthier.core.recipe import Method
from luthier.exporting import PARITY_JSON, export
from luthier.models import methods
from luthier.models.base_source import BaseSource
from luthier.models.build import build
from luthier.models.export import save
from luthier.models.export_forms import onnx as onnx_form
from luthier.models.predictor import TunedModel
from luthier.models.quiet import quiet
from luthier.models.tokenizer import Tokenizer, load_tokenizer

LABELS = ("cancel", "refund", "thanks")
TEXTS = ["The parcel came two days late.", "ok", "I cannot log in, please send me the invoice of March again"]
Make = Callable[..., Path]


@pytest.fixture(scope="module")
def run(base: Callable[[str], BaseSource], tmp_path_factory: pytest.TempPathFactory) -> Make:
    """run(family, task, pooling, method): a run folder with a tuned encoder, made once."""
    made: dict[str, Path] = {}

    def get(family: str = "bert", task: str = "classify", pooling: str = "stock", kind: str = "full") -> Path:
        key = f"{family} {task} {pooling} {kind}"
        if key not in made:
            made[key] = tmp_path_factory.mktemp("run")
            source = base(family)
            labels = LABELS[:1] if task == "regress" else LABELS
            model = build(source, task=task, labels=labels, pooling=pooling, seed=2)
            methods.apply(model, TypeAdapter(Method).validate_python({"kind": kind}))
            with torch.no_grad():
                for parameter in model.parameters():
                    if parameter.requires_grad:
                        parameter.add_(torch.randn_like(parameter) * 0.05)
            (made[key] / "model").mkdir()
            save(model, load_tokenizer(source.path), source, made[key] / "model", extras={"max_length": 20})
        return made[key]

    return get


def expected(folder: Path, texts: list[str] = TEXTS) -> list[Any]:
    model = TunedModel.load(folder, device="cpu")
    return [model.logits([text])[0] for text in texts]


CASES = [
    ("bert", "classify", "mean", "adapter"),
    pytest.param("bert", "classify", "stock", "lora", marks=pytest.mark.slow),
    pytest.param("modernbert", "extract", "stock", "full", marks=pytest.mark.slow),
    pytest.param("roberta", "regress", "first", "full", marks=pytest.mark.slow),
    pytest.param("deberta-v2", "classify", "stock", "full", marks=pytest.mark.slow),
    pytest.param("distilbert", "extract", "stock", "lora", marks=pytest.mark.slow),
    pytest.param("mpnet", "classify", "mean", "ia3", marks=pytest.mark.slow),
    pytest.param("electra", "classify", "stock", "bitfit", marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("family", "task", "pooling", "kind"), CASES)
def test_onnxruntime_alone_gives_the_run_s_logits(
    run: Make, tmp_path: Path, family: str, task: str, pooling: str, kind: str
) -> None:
    """Any batch and any length, from the bundle alone."""
    folder = run(family, task, pooling, kind)
    result = export(folder, "onnx", tmp_path / "out")
    session = onnxruntime.InferenceSession(str(result.path / "model.onnx"))
    assert all(item.shape == ["batch", "length"] for item in session.get_inputs())
    tokenizer = AutoTokenizer.from_pretrained(result.path)
    wanted = expected(folder)
    for texts, answers in (([TEXTS[0]], wanted[:1]), (TEXTS, wanted)):
        encoded = tokenizer(texts, truncation=True, padding=True, return_token_type_ids=True, return_tensors="np")
        feed = {item.name: encoded[item.name].astype(np.int64) for item in session.get_inputs()}
        for row, answer in zip(session.run(None, feed)[0], answers, strict=True):
            np.testing.assert_allclose(row[: len(answer)], answer, atol=1e-4)
    answers_json = json.loads((result.path / "answers.json").read_text(encoding="utf-8"))
    assert (answers_json["task"], answers_json["max_length"], answers_json["cut"]) == (task, 20, "end")
    assert len(answers_json["outputs"]) == wanted[0].shape[-1]
    rows = json.loads((result.path / PARITY_JSON).read_text(encoding="utf-8"))["rows"]
    assert [row["form"] for row in rows] == ["onnx", "onnx, one batch"]
    assert all(row["ok"] and row["difference"] < 1e-4 for row in rows)


def test_a_graph_that_answers_differently_is_not_published(
    run: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A3: the graph itself is right here, what is read from it is not."""
    folder = run("bert", "classify", "stock", "full")

    class Program:
        def save(self, path: str) -> None:
            Path(path).write_bytes(b"graph")

    def shifted(path: Path, texts: list[str]) -> tuple[Any, Any]:
        found = expected(folder, texts)
        return found, [row + 0.01 for row in found]

    monkeypatch.setattr(torch.onnx, "export", lambda *args, **options: Program())
    monkeypatch.setattr(onnx_form, "read_onnx", shifted)
    with pytest.raises(ModelError, match="onnx, one batch form") as error:
        export(folder, "onnx", tmp_path / "out")
    assert error.value.code == "parity"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("task", "kind"), [("classify", "full"), ("classify", "lora"), ("extract", "lora")])
def test_a_merged_encoder_is_a_model_of_transformers_alone(run: Make, tmp_path: Path, task: str, kind: str) -> None:
    folder = run("bert", task, "stock", kind)
    result = export(folder, "merged", tmp_path / "out")
    assert not (result.path / "adapter_config.json").exists()
    assert result.parity[0].difference < 1e-4
    again = expected(result.path)  # Luthier loads it, too
    for row, answer in zip(again, expected(folder), strict=True):
        np.testing.assert_allclose(row, answer, atol=1e-5)
    if task == "classify":
        with quiet():
            model = AutoModelForSequenceClassification.from_pretrained(result.path).eval()
        assert [model.config.id2label[index] for index in range(3)] == list(LABELS)


def test_a_merged_sentence_encoder_is_one_of_sentence_transformers(run: Make, tmp_path: Path) -> None:
    folder = run("bert", "classify", "mean", "lora")
    result = export(folder, "merged", tmp_path / "out")
    assert not (result.path / "adapter").exists()
    assert "sentence-transformers" in result.parity[0].reader
    with quiet():
        found = SentenceTransformer(str(result.path), device="cpu").encode(TEXTS, show_progress_bar=False)
    np.testing.assert_allclose(found, np.stack(expected(folder)), atol=1e-5)
    np.testing.assert_allclose(np.stack(expected(result.path)), found, atol=1e-5)


def test_the_adapter_of_an_encoder_holds_its_head(run: Make, tmp_path: Path) -> None:
    for task in ("classify", "extract"):
        result = export(run("bert", task, "stock", "lora"), "adapter", tmp_path / task)
        assert result.parity[0].difference < 1e-5
        assert result.dtype == ""
    with pytest.raises(ModelError, match=r"head of this lora run .*mean") as error:
        export(run("bert", "classify", "mean", "lora"), "adapter", tmp_path / "out")
    assert error.value.code == "no_adapter"
    with pytest.raises(ModelError, match="method full"):
        export(run("bert", "classify", "stock", "full"), "adapter", tmp_path / "out")


def test_forms_that_an_encoder_has_not_are_refused(run: Make, tmp_path: Path) -> None:
    full = run("bert", "classify", "stock", "full")
    with pytest.raises(ModelError, match="task classify") as error:
        export(full, "gguf", tmp_path / "out")
    assert error.value.code == "not_generative"
    with pytest.raises(ModelError, match="fp32, not in f16"):
        export(full, "merged", tmp_path / "out", dtype="f16")
    with pytest.raises(ModelError, match="cannot be merged"):
        export(run("bert", "classify", "mean", "adapter"), "merged", tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_a_bundle_whose_tokenizer_cuts_otherwise_is_not_published(
    run: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A4: the tokenizer of the bundle is loaded again at save time."""
    folder, plain = run("bert", "classify", "stock", "full"), Tokenizer.save
    monkeypatch.setattr(Tokenizer, "save", lambda self, folder, **options: plain(self, folder, max_length=9))
    with pytest.raises(ModelError, match="does not read text") as error:
        export(folder, "merged", tmp_path / "out")
    assert error.value.code == "tokenizer_differs"
    assert not list(tmp_path.iterdir())


def test_what_is_not_installed_is_named(run: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from luthier.models.export_forms import forms

    folder = run("bert", "classify", "stock", "full")
    monkeypatch.setattr(forms.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match=r"onnx, onnxscript, onnxruntime.*luthier\[onnx\]") as error:
        export(folder, "onnx", tmp_path / "out")
    assert error.value.code == "missing_package"

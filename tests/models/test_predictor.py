"""A saved model answers: in order, in batches, as its settings say."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_bases import TEXTS

from luthier.core.errors import ModelError, UsageError
from luthier.core.predictor import Predictor, TextInput
from luthier.core.recipe import FreezeSpec, FullMethod
from luthier.models import methods
from luthier.models.base_source import BaseSource
from luthier.models.batching import pad
from luthier.models.build import build
from luthier.models.decode import decode
from luthier.models.export import save
from luthier.models.predictor import TunedModel
from luthier.models.tokenizer import load_tokenizer

Bases = Callable[[str], BaseSource]
INPUTS: list[TextInput] = [*TEXTS, ("first", "second text of a pair"), "x " * 100]


def make(source: BaseSource, run: Path, task: str = "classify", **extras: object) -> Path:
    """A run folder with a random model in it."""
    several = bool(extras.pop("several_labels", False))
    model = build(source, task=task, labels=["a", "b"], several_labels=several, pooling="stock", seed=4)
    methods.apply(model, FullMethod(), FreezeSpec())
    with torch.no_grad():
        model.backbone.classifier.weight.mul_(20)
    folder = run / "model"
    folder.mkdir(parents=True)
    save(model, load_tokenizer(source.path), source, folder, extras={"max_length": 24, **extras})
    return run


@pytest.mark.parametrize("task", ["classify", "extract"])
def test_batches_give_the_answers_of_single_texts_in_order(base: Bases, tmp_path: Path, task: str) -> None:
    run = make(base("bert"), tmp_path / "run", task)
    model = TunedModel.load(run, device="cpu")
    assert isinstance(model, Predictor)
    together = model.logits(INPUTS, batch=3)
    tokenizer = load_tokenizer(base("bert").path)
    for index, text in enumerate(INPUTS):
        row = tokenizer.encode([text], max_length=24)
        with torch.no_grad():
            alone = model.model(*pad(row, tokenizer.pad_id)).numpy()[0]
        found = together[index][: len(row[0].ids)] if task == "extract" else together[index]
        np.testing.assert_allclose(found, alone, atol=1e-5)
    assert (task == "extract") == bool(np.isnan(together).any())


def test_predictions_follow_the_settings(base: Bases, tmp_path: Path) -> None:
    model = TunedModel.load(make(base("bert"), tmp_path / "run", temperature=3.0, thresholds=0.7), device="cpu")
    expected = decode("classify", model.logits(INPUTS), ["a", "b"], temperature=3.0, threshold=0.7)
    answers = model.predict(INPUTS)
    assert [answer.label for answer in answers] == [answer.label for answer in expected]
    assert any(answer.abstained for answer in answers)
    model.threshold = None
    assert not any(answer.abstained for answer in model.predict(INPUTS))
    assert model.predict([]) == []


def test_regression_answers_on_the_scale_of_the_targets(base: Bases, tmp_path: Path) -> None:
    run = make(base("bert"), tmp_path / "run", "regress", target_mean=[5.0, 50.0], target_std=[2.0, 20.0])
    model = TunedModel.load(run / "model", device="cpu")
    expected = model.logits(TEXTS).astype(np.float64) * [2.0, 20.0] + [5.0, 50.0]
    np.testing.assert_allclose([answer.values for answer in model.predict(TEXTS)], expected, rtol=1e-6)


def test_several_labels_and_spans(base: Bases, tmp_path: Path) -> None:
    several = TunedModel.load(make(base("bert"), tmp_path / "s", several_labels=True), device="cpu")
    assert all(answer.labels is not None for answer in several.predict(TEXTS))
    spans = TunedModel.load(make(base("roberta"), tmp_path / "e", "extract"), device="cpu")
    answers = spans.predict(TEXTS)
    assert spans.labels == ("a", "b")
    assert any(answer.spans for answer in answers)
    for text, answer in zip(TEXTS, answers, strict=True):
        assert all(text[span.start : span.end] == span.text for span in answer.spans or ())


def test_a_stream_reads_ahead_only_a_window(base: Bases, tmp_path: Path) -> None:
    model = TunedModel.load(make(base("bert"), tmp_path / "run"), device="cpu")
    taken = 0

    def endless() -> Iterator[str]:
        nonlocal taken
        while True:
            taken += 1
            yield TEXTS[taken % len(TEXTS)]

    stream = model.stream(endless(), batch=2)
    for _ in range(33):
        next(stream)
    assert taken == 64


def test_wrong_input_is_a_usage_error(base: Bases, tmp_path: Path) -> None:
    model = TunedModel.load(make(base("bert"), tmp_path / "run"), device="cpu")
    with pytest.raises(UsageError, match="list of texts"):
        model.predict("one text")
    with pytest.raises(UsageError, match="neither a text"):
        model.predict([("a", "b", "c")])  # type: ignore[list-item]
    with pytest.raises(UsageError, match="neither a text"):
        model.predict([None])  # type: ignore[list-item]
    with pytest.raises(ModelError, match="no trained model"):
        TunedModel.load(tmp_path)

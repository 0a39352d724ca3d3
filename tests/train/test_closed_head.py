"""The head in one go: scikit-learn's own answers, in an ordinary run."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.preprocessing import StandardScaler
from toy import TrainToy, equal, rows, state, write

import luthier
from luthier.core.errors import RecipeError
from luthier.data.tokens import TargetCoder
from luthier.train.closed_head import solve

HEAD = {"method": "head", "head.fit": "closed"}


def problem(classes: int, count: int = 60) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(classes)
    labels = generator.integers(0, classes, count)
    features = generator.normal(size=(count, 7)) * generator.uniform(0.1, 9, 7) + labels[:, None] * 0.7 + 3
    return features.astype(np.float32), labels.astype(np.float32)


@pytest.mark.parametrize("classes", [2, 3, 5])
@pytest.mark.parametrize("balance", [None, "balanced"])
def test_logits_give_scikit_learns_probabilities(classes: int, balance: str | None) -> None:
    features, labels = problem(classes)
    coder = TargetCoder("classify", tuple("abcde"[:classes]))
    weight, bias = solve(
        coder, features, labels, np.ones(60, np.float32), strength=0.5, class_weight=balance
    )
    scaler = StandardScaler().fit(features)
    expected = LogisticRegression(C=0.5, max_iter=1000, class_weight=balance).fit(scaler.transform(features), labels)
    logits = features @ weight.T + bias
    found = np.exp(logits - logits.max(1, keepdims=True))
    found /= found.sum(1, keepdims=True)
    np.testing.assert_allclose(found, expected.predict_proba(scaler.transform(features)), atol=2e-3)


def test_several_labels_are_decided_one_by_one() -> None:
    features, labels = problem(2)
    both = np.stack([labels, 1 - labels, np.zeros(60), np.ones(60)], axis=1).astype(np.float32)
    weight, bias = solve(TargetCoder("classify", tuple("abcd"), True), features, both, np.ones(60, np.float32),
                         strength=0.5)  # fmt: skip
    scaler = StandardScaler().fit(features)
    expected = LogisticRegression(C=0.5, max_iter=1000).fit(scaler.transform(features), labels)
    logits = features @ weight.T + bias
    np.testing.assert_allclose(logits[:, 0], expected.decision_function(scaler.transform(features)), atol=2e-2)
    np.testing.assert_allclose(logits[:, 1], -logits[:, 0], atol=1e-3)
    assert (logits[:, 2] < -5).all()
    assert (logits[:, 3] > 5).all()


def test_numbers_are_ridge_regression() -> None:
    features, labels = problem(4)
    targets = np.stack([labels, labels * 2 + features[:, 0]], axis=1)
    weight, bias = solve(TargetCoder("regress", ("x", "y")), features, targets, np.ones(60, np.float32), strength=0.1)
    scaled = StandardScaler().fit_transform(features)
    expected = Ridge(alpha=0.6).fit(scaled, targets).predict(scaled)
    np.testing.assert_allclose(features @ weight.T + bias, expected, atol=1e-3)


def test_labels_without_rows_and_rows_without_a_second_label() -> None:
    features, labels = problem(2)
    ones = np.ones(60, np.float32)
    coder = TargetCoder("classify", tuple("abc"))
    weight, bias = solve(coder, features, labels, ones, strength=0.1)
    assert ((features @ weight.T + bias).argmax(1) != 2).all()
    weight, bias = solve(coder, features, ones, ones, strength=0.1)
    assert ((features @ weight.T + bias).argmax(1) == 1).all()


@pytest.mark.parametrize("task", ["classify", "several", "regress", "extract"])
def test_a_closed_run_is_an_ordinary_run(toy: TrainToy, task: str) -> None:
    changes: dict[str, Any] = {**HEAD, "evaluate.baselines": ["majority"], "evaluate.bootstrap": 100}
    run = luthier.train(toy.recipe(task, **changes).replace(train={}))
    assert run.report["cost"]["epochs"] == run.report["cost"]["steps"] == 1
    steps = luthier.train(toy.recipe(task, **{**changes, "head.fit": "steps", "train.epochs": 1}))
    name = {"regress": "rmse", "extract": "loss"}.get(task)
    assert luthier.load(run.path).predict(["thank my parcel", "torn parcel"])
    if name == "rmse":
        assert run.metrics["rmse"] <= steps.metrics["rmse"] + 1e-6
    losses = [one.report["curves"][-1]["validation_loss"] for one in (run, steps)]
    assert losses[0] < losses[1]


def test_it_is_found_again_from_its_checkpoint(toy: TrainToy) -> None:
    recipe = toy.recipe(**HEAD, **{"train.epochs": 1})
    folder = toy.folder / "once"
    first = toy.train(recipe, folder)
    again = toy.train(recipe, folder, resume=True)
    assert equal(state(first), state(again))
    assert again.progress.step == first.progress.step == first.progress.best_step == 1


def test_with_and_without_the_cache_it_is_the_same(toy: TrainToy) -> None:
    cached, plain = (toy.train(toy.recipe(**HEAD, **{"train.cache": cache})) for cache in (True, False))
    for name, tensor in state(cached).items():
        np.testing.assert_allclose(tensor, state(plain)[name], atol=1e-3)


@pytest.mark.parametrize("changes", [{"method": "full"}, {"method": "lora"}, {**HEAD, "head.pooling": "stock"}])
def test_where_it_does_not_fit_closed_says_so(toy: TrainToy, changes: dict[str, Any]) -> None:
    with pytest.raises(RecipeError) as caught:
        toy.train(toy.recipe(**{"head.fit": "closed", **changes}))
    assert caught.value.code == "closed_does_not_fit"


def test_models_that_write_have_no_head_to_fit(toy: TrainToy) -> None:
    from luthier.train.choices import refuse_pairs

    for changes in ({"head.fit": "closed"}, {"train.contrastive": True}):
        with pytest.raises(RecipeError) as caught:
            refuse_pairs(toy.recipe(**changes), "chat")
        assert caught.value.code == "no_new_head"


def test_rare_labels_weigh_more_when_asked(toy: TrainToy) -> None:
    uneven = [row for i, row in enumerate(rows("classify", 24)) if i % 2 or i < 6]
    path = str(write(toy.folder / "uneven.jsonl", uneven))
    plain, balanced = (
        toy.train(toy.recipe(**HEAD, **{"data.train": path, "head.class_weights": weights}))
        for weights in ("none", "balanced")
    )
    assert not equal(state(plain), state(balanced))

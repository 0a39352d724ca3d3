"""Wrong labels that were planted are found by models of the other rows; nothing is said of what cannot be judged."""

from __future__ import annotations

import importlib.util
import random

import numpy as np
import pytest

from luthier.core.errors import UsageError
from luthier.core.predictor import Prediction
from luthier.data.samples import Sample
from luthier.evaluate import label_quality
from luthier.evaluate.label_quality import FOLDS, check_installed, doubts, folds, unjudged_labels
from luthier.evaluate.linear import TfidfBaseline

TOPICS = {
    "parcel": ["parcel", "delivery", "van", "street", "arrived", "late", "box", "torn"],
    "money": ["refund", "card", "charged", "twice", "bank", "account", "fee", "euro"],
    "login": ["password", "reset", "email", "account", "locked", "code", "screen", "app"],
}


@pytest.fixture(autouse=True)
def once(monkeypatch):
    """One division into folds is enough for rows as plain as these."""
    monkeypatch.setattr(label_quality, "REPEATS", 1)


def planted(wrong=12, count=240, seed=0):
    """(samples, the rows whose label is wrong)."""
    r = random.Random(seed)
    names = sorted(TOPICS)
    rows = [names[i % 3] for i in range(count)]
    bad = set(r.sample(range(count), wrong))
    return [
        Sample(
            " ".join(r.choices(TOPICS[name], k=6)), line=i + 1,
            target=r.choice([other for other in names if other != name]) if i in bad else name,
        )
        for i, name in enumerate(rows)
    ], bad  # fmt: skip


def learner(task="classify", labels=(), several=False):
    return lambda: TfidfBaseline(task, labels=labels, several_labels=several)


def test_planted_labels_are_found_with_the_right_ones():
    samples, bad = planted()
    found = doubts(samples, "classify", sorted(TOPICS), False, [learner(labels=sorted(TOPICS))])
    rows = {doubt.row for doubt in found}
    assert len(rows & bad) >= 10
    assert len(rows - bad) <= 2
    for doubt in found:
        if doubt.row in bad:
            assert doubt.suggested == sorted(TOPICS)[doubt.row % 3]
        assert 0 <= doubt.confidence <= 1
    assert "%" in found[0].reason
    again = doubts(samples, "classify", sorted(TOPICS), False, [learner(labels=sorted(TOPICS))])
    assert again == found


def test_of_several_learners_the_likeliest_judges():
    class Liar:
        def fit(self, samples):
            list(samples)
            return self

        def predict(self, texts):
            return [Prediction(scores={"login": 0.98, "money": 0.01, "parcel": 0.01}) for _ in texts]

    samples, bad = planted()
    for order in ([Liar, learner(labels=sorted(TOPICS))], [learner(labels=sorted(TOPICS)), Liar]):
        found = doubts(samples, "classify", sorted(TOPICS), False, order)
        assert len({doubt.row for doubt in found} & bad) >= 10


def test_folds_hold_equal_texts_together_and_labels_apart():
    samples = [Sample(f"text {i // 2}", target="ab"[i % 10 > 7]) for i in range(200)]
    found = folds(samples)
    assert (found[0::2] == found[1::2]).all()
    assert np.bincount(found).tolist() == [40] * FOLDS
    rare = [sum(samples[i].target == "b" for i in np.flatnonzero(found == one)) for one in range(FOLDS)]
    assert max(rare) - min(rare) <= 2


def test_rare_labels_are_not_judged():
    samples, _ = planted(wrong=0)
    samples += [Sample("parcel delivery van late", target="rare")] * 3
    labels = [*sorted(TOPICS), "rare"]
    assert unjudged_labels(samples, False) == ["rare"]
    assert not {doubt.row for doubt in doubts(samples, "classify", labels, False, [learner(labels=labels)])} & {
        240, 241, 242,
    }  # fmt: skip


def test_labels_that_are_ids_give_nothing():
    samples = [Sample(f"text {i}", target=f"id {i}") for i in range(40)]
    labels = sorted(sample.target for sample in samples)
    assert doubts(samples, "classify", labels, False, [learner(labels=labels)]) == []


def test_missing_and_wrong_labels_of_a_set():
    r = random.Random(1)
    samples, bad = [], {}
    for i in range(240):
        own = [name for name in sorted(TOPICS) if r.random() < 0.5]
        text = " ".join(word for name in own for word in r.sample(TOPICS[name], 3)) or "hello there"
        if i % 24 == 0 and own:
            bad[i] = tuple(own)
            own = own[1:]
        samples.append(Sample(text, target=tuple(own), line=i + 1))
    labels = sorted(TOPICS)
    found = doubts(samples, "classify", labels, True, [learner(labels=labels, several=True)])
    right = [doubt for doubt in found if doubt.row in bad]
    assert len(right) >= 0.7 * len(bad)
    assert sum(set(doubt.suggested) == set(bad[doubt.row]) for doubt in right) >= 0.7 * len(right)
    assert len(found) - len(right) <= 8


def test_scores_far_from_what_the_others_say():
    r = random.Random(2)
    samples = []
    for i in range(200):
        good = r.randint(0, 6)
        text = " ".join(["good"] * good + ["bad"] * (6 - good) + r.choices("abcde", k=2))
        samples.append(Sample(text, target=(good + r.gauss(0, 0.1),), line=i + 1))
    for i in (10, 100):
        samples[i] = Sample(samples[i].text, target=(samples[i].target[0] + 20.0,), line=i + 1)
    found = doubts(samples, "regress", ["score"], False, [learner("regress", ["score"])])
    assert {doubt.row for doubt in found[:2]} == {10, 100}
    assert found[0].suggested[0] < 12
    assert "robust deviations" in found[0].reason
    assert found[0].confidence > 0.98


def test_without_the_package_it_is_said_how_to_get_it(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"luthier\[triage\]") as caught:
        check_installed()
    assert caught.value.code == "package_missing"


def test_robust_deviations_by_hand():
    """Residuals -1, 0, 1, 2 and 100: median 1, median absolute deviation 1, so that 100 is 99 * 0.6745 away."""
    samples = [Sample(str(i), target=(value,)) for i, value in enumerate([-1.0, 0.0, 1.0, 2.0, 100.0])]
    found = label_quality._outliers(samples, np.zeros((5, 1)))
    assert [doubt.row for doubt in found] == [4]
    assert "66.8 robust deviations" in found[0].reason

"""Shares of the training rows: nested, stratified, the same every time, and nothing else changes."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest

from luthier.core.recipe import DataSpec, Recipe
from luthier.data.prepare import prepare
from luthier.data.samples import Sample, Span
from luthier.data.shares import keep_share, nested_order, rows_of, strata
from luthier.train.shared import Shared

LABELS = ["a"] * 600 + ["b"] * 300 + ["c"] * 97 + ["d"] * 3


def chosen(share, seed=0, targets=LABELS):
    samples = [Sample(f"text {i}", target=target) for i, target in enumerate(targets)]
    return set(np.flatnonzero(keep_share(samples, np.ones(len(samples), bool), share, seed)).tolist())


def test_shares_are_nested_and_of_the_size_that_was_asked():
    before = set()
    for share in (0.004, 0.05, 0.1, 0.25, 0.5, 0.77, 1.0):
        rows = chosen(share)
        assert len(rows) == round(1000 * share)
        assert before <= rows
        before = rows


@pytest.mark.parametrize("share", [0.05, 0.25, 0.5])
@pytest.mark.parametrize("seed", range(4))
def test_every_label_has_its_share_and_none_is_missing(share, seed):
    rows = chosen(share, seed)
    for label in "abcd":
        own = sum(LABELS[row] == label for row in rows)
        assert own >= 1
        assert own == pytest.approx(LABELS.count(label) * share, abs=2.5)


def test_a_seed_decides():
    assert chosen(0.3, 1) == chosen(0.3, 1)
    assert chosen(0.3, 1) != chosen(0.3, 2)


def test_more_labels_than_rows_of_the_share():
    assert len(chosen(0.1, targets=[f"id {i}" for i in range(50)])) == 5


def test_at_least_one_row():
    assert rows_of(0.001, 20) == 1
    assert rows_of(1.0, 0) == 0


def test_only_rows_that_are_kept_are_chosen():
    keep = np.arange(40) % 2 == 0
    found = keep_share([Sample("x", target="ab"[i % 3 == 0]) for i in range(40)], keep, 0.5, 0)
    assert found.sum() == 10
    assert not (found & ~keep).any()


def test_strata_of_every_kind_of_answer():
    several = strata([Sample("", target=target) for target in [("x", "y"), ("x",), ("y", "x"), ("x", "z"), ()]])
    assert several[0] == several[2] != several[1]
    assert len(set(several.tolist())) == 4
    numbers = strata(Sample("", target=(float(i),)) for i in range(100))
    assert (np.diff(numbers) >= 0).all()
    assert len(set(numbers.tolist())) == 10
    spans = strata([Sample("", target=(Span(0, 1, "A"),)), Sample("", target=())])
    assert spans[0] != spans[1]
    assert len(nested_order(strata([]), 0)) == 0


def test_prepare_shares_only_what_is_trained(tmp_path):
    path = tmp_path / "train.jsonl"
    rows = [{"text": f"row {i} {'good' if i % 2 else 'bad'} {i * i}", "label": "yn"[i % 2]} for i in range(200)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    whole = prepare(DataSpec(train=str(path), validation=0.2), "classify", 3)
    half = prepare(DataSpec(train=str(path), validation=0.2, share=0.5), "classify", 3)
    assert [row.line for row in half.validation] == [row.line for row in whole.validation]
    assert {row.line for row in half.train} < {row.line for row in whole.train}
    assert len(half.train) == half.description["rows"]["train"] == len(list(half.train)) == 80
    assert half.description["share"] == {"fraction": 0.5, "seed": 3, "of": 160}
    assert half.labels == whole.labels


def test_a_split_may_have_its_own_seed(tmp_path):
    path = tmp_path / "train.csv"
    path.write_text("text,label\n" + "".join(f"text number {i * 7919},{'ab'[i % 2]}\n" for i in range(100)))

    def held(seed, split_seed):
        spec = DataSpec(train=str(path), validation=0.2, split_seed=split_seed)
        return [row.line for row in prepare(spec, "classify", seed).validation]

    assert held(1, 5) == held(2, 5) == held(5, None)
    assert held(1, None) != held(2, None)


def test_trials_with_a_share_read_the_data_once(tmp_path, monkeypatch):
    """What a trial of a few rows has is what a run with `data.share` has; reading and splitting are not done again."""
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({"text": f"text {i} {i % 7}", "label": "ab"[i % 2]}) + "\n" for i in range(60)))
    recipe = Recipe.build({"data": {"train": str(path), "validation": 0.2, "share": 0.25}, "task": "classify"})
    alone = prepare(recipe.data, recipe.task, recipe.train.seed)
    shared = Shared()
    whole = shared.prepared(recipe.replace(**{"data.share": 1.0}))
    monkeypatch.setattr(sys.modules[Shared.__module__], "prepare", None)
    few = shared.prepared(recipe)
    assert list(few.train) == list(alone.train)
    assert list(few.validation) == list(alone.validation)
    assert few.description == alone.description
    assert (len(few.train), len(whole.train)) == (12, 48)
    assert "share" not in whole.description

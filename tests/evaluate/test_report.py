from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import pytest
import yaml
from fake_reports import HOSTILE, fake_numbers_report, fake_report, fake_spans_report

from luthier.evaluate.card import model_card
from luthier.evaluate.pictures import Bar, Series, bar_chart, line_chart, thinned, ticks
from luthier.evaluate.pictures_of_classes import confusion_heatmap
from luthier.evaluate.report import COST_KEYS, strict
from luthier.evaluate.report_page import facts, render_page

INTERFACE_KEYS = {
    "task",
    "model",
    "method",
    "metrics",
    "baselines",
    "curves",
    "forgetting",
    "fairness",
    "data",
    "cost",
    "environment",
    "warnings",
}
OUR_KEYS = {
    "verdict",
    "comparisons",
    "overfitting",
    "calibration",
    "per_class",
    "confusion",
    "worst_errors",
    "reproduce",
    "recipe",
}


@pytest.fixture(scope="module")
def reports():
    return {
        "many": fake_report(77, 900),
        "three": fake_report(3, 900, skill=3.2, overfitted=True),
        "spans": fake_spans_report(),
        "numbers": fake_numbers_report(),
    }


class Page(HTMLParser):
    """Tags are closed in order, and everything that could make a request is noted."""

    VOID = frozenset({"meta", "br", "line", "rect", "circle", "polyline"})

    def __init__(self, page):
        super().__init__()
        self.open, self.requests, self.tags, self.words = [], [], [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.requests += [value for name, value in attrs if name in ("src", "href", "srcset", "action", "data")]
        self.requests += [name for name, _ in attrs if name.startswith("on")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


@pytest.mark.parametrize("name", ["many", "three", "spans", "numbers"])
def test_report_is_strict_json_with_the_agreed_keys(reports, name):
    report = reports[name]
    assert set(report) >= INTERFACE_KEYS | OUR_KEYS
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    assert set(report["cost"]) == set(COST_KEYS)
    for value in report["metrics"].values():
        assert set(value) == {"value", "low", "high"}


@pytest.mark.parametrize("name", ["many", "three", "spans", "numbers"])
def test_page_is_whole_self_contained_and_escaped(reports, name):
    page = render_page(json.loads(json.dumps(reports[name])))
    parsed = Page(page)
    assert parsed.open == []
    assert parsed.requests == []
    assert "script" not in parsed.tags
    assert "url(" not in page
    assert "@import" not in page
    assert "None" not in " ".join(parsed.words)
    assert "nan" not in " ".join(parsed.words).split()
    for picture in re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL):
        ElementTree.fromstring(picture)
    assert reports[name]["verdict"].replace(" %", "\u00a0%") in "".join(parsed.words)
    if name in ("many", "three"):
        assert HOSTILE in "".join(parsed.words)


def test_page_shows_curves_confusion_calibration_and_errors(reports):
    page = render_page(reports["three"])
    for part in (
        "kept",
        "Overfitting: the validation loss rose",
        "Confusion matrix of 3 classes",
        "Reliability diagram",
        "Worst errors",
        "train.csv",
        "luthier train recipe.yaml",
        "better",
        "6.7 min",
        "1.31 GiB",
    ):
        assert part in page
    assert page.count("<svg") == 5


def test_the_verdict_is_one_sentence_that_names_the_strongest_rival(reports):
    verdict = reports["three"]["verdict"]
    assert verdict.count(". ") == 0
    assert verdict.startswith("Accuracy ")
    assert "better than the TF-IDF baseline by" in verdict
    assert "900 test rows (95 % interval" in verdict
    assert reports["spans"]["verdict"].startswith("F1 ")
    assert "than the dictionary baseline" in reports["spans"]["verdict"]
    assert "in Spearman correlation" in reports["numbers"]["verdict"]


def test_an_undefined_metric_is_null_and_a_dash(reports):
    assert reports["numbers"]["baselines"]["majority"]["spearman"]["value"] is None
    assert "–" in render_page(reports["numbers"])


def test_card_has_front_matter_that_the_hub_reads(reports):
    card = model_card(reports["three"])
    _, front, body = card.split("---\n", 2)
    metadata = yaml.safe_load(front)
    assert metadata["license"] == "apache-2.0"
    assert metadata["base_model"] == "sentence-transformers/all-MiniLM-L6-v2"
    assert metadata["pipeline_tag"] == "text-classification"
    assert "accuracy" in metadata["metrics"]
    for part in (
        "## Intended use",
        "## Training data",
        "## Metrics",
        "## Limits",
        "## How to load it",
        "luthier.load(",
        "`negative`",
        reports["three"]["verdict"],
    ):
        assert part in body
    assert "<script>" not in card
    assert "license" not in yaml.safe_load(model_card(reports["spans"]).split("---\n")[1])
    assert model_card(reports["numbers"])


def test_strict_makes_plain_json():
    given = {"a": np.float32(1.5), "b": float("nan"), "c": np.arange(2), "d": (np.int64(3), np.bool_(True)), 4: np.inf}
    assert strict(given) == {"a": 1.5, "b": None, "c": [0, 1], "d": [3, True], "4": None}
    json.dumps(strict(given), allow_nan=False)


def test_facts_are_flat_and_readable():
    assert facts(
        {
            "rows": {"test": 3080},
            "peak_memory_bytes": 5 * 2**20,
            "empty": "",
            "gone": None,
            "ok": True,
            "files": ["a", "b"],
            "parts": [{"n": 1}, {"n": 2}],
            "seconds": 300.0,
        }
    ) == [
        ("rows, test", "3,080"),
        ("peak memory", "5 MiB"),
        ("ok", "yes"),
        ("files", "a, b"),
        ("parts 1, n", "1"),
        ("parts 2, n", "2"),
        ("time", "5.0 min (300 s)"),
    ]


@pytest.mark.parametrize(("low", "high"), [(0, 1), (0.93, 0.95), (-3, 4), (5, 5), (0, 0), (1e-6, 3e-6), (120, 98000)])
def test_ticks_are_round_and_cover_the_range(low, high):
    found = ticks(low, high)
    assert found[0] <= low + 1e-12
    assert found[-1] >= high - 1e-12
    assert 2 <= len(found) <= 9
    steps = np.diff(found)
    assert steps == pytest.approx(steps[0])


def test_pictures_of_nothing_and_of_one_point():
    assert line_chart([Series("none", [], "ours")], x_name="step", label="x") == ""
    assert bar_chart([Bar("x", float("nan"))], label="x") == ""
    ElementTree.fromstring(line_chart([Series("one", [(1, 2)], "ours")], x_name="step", label="a <b>", mark=1))
    ElementTree.fromstring(bar_chart([Bar("<x>", -0.5, -0.6, -0.4, True), Bar("y", 0.2)], label='"'))
    ElementTree.fromstring(confusion_heatmap(["a&b", "c"], [[3, 0], [0, 0]]))
    ElementTree.fromstring(confusion_heatmap([str(i) for i in range(30)], np.eye(30, dtype=int).tolist()))


def test_a_long_curve_is_thinned_by_means():
    points = [(float(i), float(i % 2)) for i in range(1000)]
    thin = thinned(points, 100)
    assert len(thin) == 100
    assert {y for _, y in thin} == {0.5}

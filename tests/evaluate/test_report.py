from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from itertools import pairwise
from xml.etree import ElementTree

import numpy as np
import pytest
import yaml
from fake_reports import HOSTILE, fairness_of, fake_numbers_report, fake_report, fake_spans_report

from luthier.evaluate import charts, report_page
from luthier.evaluate.card import model_card
from luthier.evaluate.confusion_picture import confusion
from luthier.evaluate.intervals import wilson
from luthier.evaluate.page import render, report_css, table
from luthier.evaluate.report import COST_KEYS, strict
from luthier.evaluate.report_charts import thinned
from luthier.evaluate.report_page import facts, render_page
from luthier.evaluate.report_sections import Section, of_key
from luthier.evaluate.unmeasured import unmeasured

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
    """Tags are closed in order, and everything that could make a request or run is noted."""

    VOID = frozenset({"meta", "br", "line", "rect", "circle", "polyline", "polygon"})
    INERT = ("application/json", "application/gzip")

    def __init__(self, page):
        super().__init__()
        self.open, self.requests, self.tags, self.words, self.scripts, self.data = [], [], [], [], [], []
        self.identities, self.targets, self.unnamed = [], [], []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        given = dict(attrs)
        self.identities += [given["id"]] if "id" in given else []
        self.kind = given.get("type") if tag == "script" else None
        links = [value for name, value in attrs if name in ("src", "href", "srcset", "action", "data", "xlink:href")]
        self.targets += [link[1:] for link in links if link.startswith("#")]
        self.requests += [link for link in links if not link.startswith("#")]
        self.requests += [name for name, _ in attrs if name.startswith("on")]
        self.unnamed += [tag] if tag == "th" and given.get("scope") not in ("row", "col") else []
        if tag == "script" and self.kind not in self.INERT:
            self.scripts.append("")
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        inside = self.open[-1] if self.open else ""
        if inside == "script" and self.kind not in self.INERT:
            self.scripts[-1] += data
        elif inside == "script":
            self.data.append(data)
        elif inside != "style":
            self.words.append(data)


def assert_whole_and_self_contained(page, parsed):
    assert parsed.open == []
    assert parsed.requests == []
    assert len(set(parsed.identities)) == len(parsed.identities)
    assert set(parsed.targets) <= set(parsed.identities)
    assert parsed.unnamed == []
    assert parsed.tags.count("table") == parsed.tags.count("caption")
    assert not {"img", "iframe", "object", "embed", "link", "base", "form"} & set(parsed.tags)
    assert len(parsed.scripts) == 1  # the charts' own; Plotly's is packed data that it unpacks
    assert HOSTILE not in parsed.scripts[0]
    assert "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:" in page
    style = page[page.index("<style>") : page.index("</style>")]
    assert "url(" not in style
    assert "@import" not in style
    levels = [int(tag[1]) for tag in parsed.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert 1_500_000 < len(page) < 3_000_000


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
    assert_whole_and_self_contained(page, parsed)
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
        "Share of right answers by confidence",
        "What was not measured",
        "Worst errors",
        "train.csv",
        "luthier train recipe.yaml",
        "better",
        "6.7 min",
        "1.31 GiB",
    ):
        assert part in page
    assert page.count("<svg") == 5
    assert page.count('class="figure-data"') == 5
    text = Page(page).words
    headings = [text.index(name) for name in ("Against what it must beat", "Training", "What it confuses")]
    assert headings == sorted(headings)


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
            "file": {"bytes": 2**20},
            "label_counts": {"a_b": 3, "c": 4},
        }
    ) == [
        ("rows, test", "3,080"),
        ("peak memory", "5 MiB"),
        ("ok", "yes"),
        ("files", "a, b"),
        ("parts 1, n", "1"),
        ("parts 2, n", "2"),
        ("time", "5.0 min (300 s)"),
        ("file, size", "1 MiB"),
        ("label counts", "a_b 3, c 4"),
    ]


def test_the_confusion_of_few_is_a_table_and_of_many_a_picture():
    table = ElementTree.fromstring(confusion(["a&b", "<c>"], [[3, 0], [1, 2]]))
    assert [cell.text for cell in table.iter("td")] == ["3", None, "1", "2"]
    assert [cell.get("title") for cell in table.iter("td")][2] == "<c> answered as a&b: 1 of 3"
    assert table.find("caption").text.startswith("Confusion matrix of 2 classes")
    picture = ElementTree.fromstring(confusion([f"<{i}>" for i in range(30)], np.eye(30, dtype=int).tolist()))
    assert picture.get("aria-label").endswith("30 of 30 rows are on the diagonal, which is right")


def test_the_interval_of_a_share_is_wilson_s():
    # statsmodels.stats.proportion.proportion_confint(count, n, method="wilson")
    assert wilson(0.9, 10) == pytest.approx((0.595850, 0.982124), abs=1e-5)
    assert wilson(0.0, 4) == pytest.approx((0.0, 0.489891), abs=1e-5)


def test_what_was_not_measured_is_told_with_its_setting(reports):
    page = render_page(reports["three"])
    told = page[page.index('id="section-what-was-not-measured"') :]
    told = told[: told.index("</section>")]
    for setting in ("scratch]", "evaluate.forgetting: true", "evaluate.fairness: {group: column}", "train.seed: 1"):
        assert setting in told
    assert "data.test" not in told
    on_validation = {**reports["three"], "evaluated_on": "validation", "forgetting": {"kept": 0.97}}
    questions = [one.question for one in unmeasured(on_validation)]
    assert questions[0] == "Rows that chose nothing"
    assert "What it forgot" not in questions
    nothing = {**reports["three"], "metrics": {}, "baselines": {}}
    assert unmeasured(nothing)[0].question == "How good it is"
    assert "evaluate.fairness" not in {one.setting.partition(":")[0] for one in unmeasured(reports["numbers"])}


def test_a_section_without_a_template_shows_plain_facts(reports, monkeypatch):
    own = Section("elsewhere", "Elsewhere", of_key("elsewhere"))
    monkeypatch.setattr(report_page, "SECTIONS", (*report_page.SECTIONS, own))
    page = render_page({**reports["three"], "elsewhere": {"gap": 3.25, "kept": 0.97}})
    for part in ("Elsewhere", "Gap", "3.25", "Kept", "0.97"):
        assert part in page
    assert "Elsewhere" not in render_page(reports["three"])


def test_whom_it_fails_is_told_in_sentences_a_picture_and_tables(reports):
    page = render_page({**reports["three"], "fairness": fairness_of("region", "north", "North is failed.")})
    parts = ("Whom does it fail?", "By region", "North is failed.", "too few to judge", "25.0\u00a0%", "Answer changed")
    for part in parts:
        assert part in page
    assert "Whom does it fail?" not in render_page({**reports["three"], "fairness": None})


CORPUS = [
    "<script>alert(1)</script>", "</script><script>alert(1)</script>", "<img src=x onerror=alert(1)>", "<!--<script>",
    "<svg/onload=alert(1)>", "javascript:alert(1)", "\" onmouseover=\"alert(1)", "' onfocus='alert(1)' autofocus='",
    "</title><script>alert(1)</script>", "</style><script>alert(1)</script>", "]]><script>alert(1)</script>",
    "{{ 7 * 7 }}", "{% raw %}", "%{x}%{customdata}", "<a href='https://example.org'>x</a>", "\u2028\u2029</desc>",
    "</textarea><iframe src=//example.org>", "&lt;script&gt;", "#1b5eaf",
]  # fmt: skip


def poisoned(value, words):
    """Every text of a report with a hostile one in its place, keys of the user's too."""
    if isinstance(value, dict):
        return {key: poisoned(item, words) for key, item in value.items()}
    if isinstance(value, list):
        return [poisoned(item, words) for item in value]
    return words if isinstance(value, str) else value


@pytest.mark.parametrize("words", CORPUS)
def test_what_the_user_gave_stays_text(words, reports, monkeypatch):
    monkeypatch.setattr(charts, "_plotly", lambda: "AAAA")  # quicker to parse
    given = reports["three"]
    kept = {key: given[key] for key in ("task", "primary_metric", "validation_metric", "evaluated_on")}
    hostile = {**poisoned(given, words), **kept}
    hostile["per_class"] = {f"{words}{i}": value for i, value in enumerate(given["per_class"].values())}
    hostile["baselines"] = {words: given["baselines"]["tfidf"]}
    hostile["data"] = {words: words, "label_counts": {words: 3}}
    hostile["fairness"] = fairness_of(words, words, words)
    hostile["memorisation"] = {
        "sentence": words, "examples": [{"line": 1, "text": words, "answer": words}],
        "canaries": {"sentence": words, "rows": [
            {"text": words, "secret": words, "rank": 1, "of": 256, "exposure": 8.0, "base_exposure": None,
             "reproduced": False},
        ]},
    }  # fmt: skip
    plain, parsed = Page(render_page(given)), Page(render_page(hostile))
    assert parsed.open == []
    assert parsed.requests == []
    assert set(parsed.tags) <= set(plain.tags) | {"dl", "dt", "dd", "br", "strong"}
    assert parsed.scripts == plain.scripts
    assert "".join(parsed.words).count(words) > 50


def test_without_plotly_the_page_has_its_pictures_and_no_script(reports, monkeypatch):
    monkeypatch.setattr(charts, "_plotly", lambda: "")
    page = render_page(reports["three"])
    parsed = Page(page)
    assert parsed.scripts == []
    assert page.count("<svg") == 5
    assert "script-src 'none'" in page
    assert len(page) < 200_000


def test_other_pages_have_the_same_look():
    chart = charts.Chart("Rows", "rows", "accuracy", [charts.Series("a", [1, 2], [0.5, 0.6])])
    sizes = table("Sizes", ["Size", "Accuracy"], [["a <b>", "0.5"], ["c", "60.0 %"]])
    sections = [("Curve", chart.html("curve")), ("Curve", sizes), ("Empty", " ")]
    page = render("Would <more> help?", "Yes, by 3 %.", sections)
    parsed = Page(page)
    assert_whole_and_self_contained(page, parsed)
    assert parsed.identities.count("section-curve") == 1
    assert "Empty" not in parsed.words
    assert "Yes, by 3\u00a0%." in parsed.words
    assert "Would <more> help?" in parsed.words
    assert {"a <b>", "60.0 %"} <= set(parsed.words)
    assert report_css() in page
    assert "<script" not in render("t", "v", [("Curve", chart.html("curve"))], interactive=False).replace(
        '<script type="application/json"', ""
    )


def test_a_long_curve_is_thinned_by_means():
    points = [(float(i), float(i % 2)) for i in range(1000)]
    thin = thinned(points, 100)
    assert len(thin) == 100
    assert {y for _, y in thin} == {0.5}

"""Spans and scores."""

import json

import pytest
from test_checks import SENTENCES, clean_rows, csv, found, one
from test_checks_text import WordEncoder

from luthier.data.checks import check
from luthier.data.checks.render import render


def extract(tmp_path, rows, **options):
    path = tmp_path / "spans.jsonl"
    lines = [
        {"text": text, "spans": [dict(zip(("start", "end", "label"), span, strict=True)) for span in spans]}
        for text, spans in rows
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return check(str(path), **options)


def test_spans_at_the_borders_of_words(tmp_path):
    rows = [(f"Maria met {text}", [(0, 5, "PERSON")]) for text, _ in clean_rows(40)]
    assert [item for item in extract(tmp_path, rows).findings if item.severity != "info"] == []
    rows[3] = (rows[3][0], [(0, 4, "PERSON")])
    rows[4] = (rows[4][0], [(1, 5, "PERSON")])
    rows[5] = (rows[5][0], [(0, 6, "PERSON")])
    rows[6] = ("王小明去北京大学读书", [(0, 3, "PERSON")])
    rows[7] = ("Maria's flat-mate is here", [(0, 5, "PERSON"), (8, 12, "PERSON")])
    report = extract(tmp_path, rows)
    assert found(report, "span_inside_word") == [(4, None), (5, None)]
    finding = one(report, "span_whitespace")
    assert (finding.line, finding.remedy) == (6, "Write start 0 and end 5.")
    assert report.stats["spans"] == {"spans": 41, "rows_with_spans": 40, "rows_without": 0}


def test_sample_and_lost_spans_of_extraction(tmp_path):
    rows = [(text, []) for text, _ in clean_rows(40)]
    rows[2] = ("a b c d e f g h Maria", [(2, 5, "X"), (16, 21, "PERSON")])
    report = extract(tmp_path, rows, encoder=WordEncoder(), max_length=8)
    assert report.sample["line"] == 3
    assert report.sample["tags"] == ["O", "O", "B-X", "I-X", "O", "O", "O", "O"]
    assert report.sample["cut"] is True
    assert one(report, "would_be_cut").other["spans"] == 1


def test_no_spans_at_all(tmp_path):
    assert one(extract(tmp_path, [(text, []) for text, _ in clean_rows(40)]), "no_spans").severity == "error"


def test_same_text_with_other_spans(tmp_path):
    rows = [(f"Maria met {text}", [(0, 5, "PERSON")]) for text, _ in clean_rows(40)]
    rows[9] = (rows[1][0], [])
    assert found(extract(tmp_path, rows), "label_conflict") == [(10, 2)]


def scores(tmp_path, values, name="d.csv", **options):
    rows = [(text, f"{value}") for (text, _), value in zip(clean_rows(len(values)), values, strict=True)]
    return check(csv(tmp_path / name, rows, "text,score"), **options)


def test_scores(tmp_path):
    good = [k % 11 / 2 for k in range(66)]
    report = scores(tmp_path, good)
    assert [item for item in report.findings if item.severity != "info"] == []
    assert report.stats["scores"]["score"] == pytest.approx(
        {"min": 0.0, "median": 2.5, "max": 5.0, "mean": 2.5, "std": 2.5**0.5}, abs=1e-3
    )
    assert report.sample["target"] == [0.0]
    assert report.sample["output"][0] == pytest.approx(-(2.5**0.5), abs=1e-3)
    slipped = scores(tmp_path, [*good[:20], 45, *good[21:]])
    assert (one(slipped, "score_outlier").line, one(slipped, "score_outlier").other["value"]) == (22, 45.0)
    assert one(scores(tmp_path, [2.0] * 59 + [2.5]), "score_outlier").line == 61


def test_constant_score_is_an_error(tmp_path):
    report = scores(tmp_path, [1.5] * 40)
    assert not report.ok
    assert one(report, "constant_score").severity == "error"


def test_scores_of_test_beyond_train(tmp_path):
    test = csv(tmp_path / "test.csv", [(SENTENCES[3], "2.5"), (SENTENCES[10], "9")], "text,score")
    finding = one(scores(tmp_path, [k % 6 for k in range(60)], test=test), "score_out_of_range")
    assert (finding.line, finding.severity) == (3, "info")


@pytest.mark.parametrize(("second", "conflict"), [("0.2", False), ("3", True)])
def test_same_text_with_other_score(tmp_path, second, conflict):
    rows = [(text, str(k % 6)) for k, (text, _) in enumerate(clean_rows(60))]
    rows[30] = (rows[0][0], second)
    report = check(csv(tmp_path / "d.csv", rows, "text,score"))
    assert found(report, "label_conflict") == ([(32, 2)] if conflict else [])
    assert found(report, "duplicate") == ([] if conflict else [(32, 2)])


@pytest.mark.parametrize(
    ("header", "row", "task"),
    [
        ("text,label", ",a", "classify"),
        ("text,score", "hello,much", "regress"),
        ("text,score", "hello,nan", "regress"),
        ("text,spans", "hello,[9]", "extract"),
    ],
)
def test_not_one_usable_row(tmp_path, header, row, task):
    path = tmp_path / "d.csv"
    path.write_text(f"{header}\n" + f"{row}\n" * 5)
    test = csv(tmp_path / "t.csv", [("a word", {"classify": "b", "regress": "1", "extract": "[]"}[task])], header)
    for options in ({}, {"test": test}):
        report = check(str(path), task=task, encoder=WordEncoder(), **options)
        assert not report.ok
        assert (report.rows, report.stats["parts"]["train"]["unusable"], report.sample) == (5, 5, None)
        assert one(report, "too_few_rows").severity == "error"
        assert len(render(report)) > 1


def test_several_scores(tmp_path):
    rows = [(text, str(k % 5), "1") for k, (text, _) in enumerate(clean_rows(40))]
    path = csv(tmp_path / "d.csv", rows, "text,joy,fear")
    report = check(path, task="regress", columns={"score": "joy,fear"})
    assert "'fear'" in one(report, "constant_score").message
    assert report.stats["scores"]["joy"]["max"] == 4
    assert report.sample["output"][1] == 0

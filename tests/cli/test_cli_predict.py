"""`luthier predict`: JSON lines in order, in bounded memory."""

from __future__ import annotations

import io
import json
import sys

import pytest

from luthier.cli.predict import pairs, person_text, row
from luthier.core.predictor import Prediction, SpanPrediction


@pytest.fixture
def stdin(monkeypatch):
    def give(data: bytes) -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data), encoding="utf-8"))

    return give


def rows_of(result):
    assert result.code == 0, result.err
    return [json.loads(line) for line in result.out.splitlines()]


def test_texts_are_answered_in_order(api, luthier, here):
    rows = rows_of(luthier("predict", here, "one", "three", "é\u2028x"))
    assert [item["text"] for item in rows] == ["one", "three", "é\u2028x"]
    assert list(rows[0]) == ["text", "label", "score", "scores"]
    assert rows[0]["scores"].keys() == {"long", "short"}


def test_a_file_gives_a_line_per_row_and_needs_no_labels(api, luthier, here):
    texts = [f"row {number} " + "x" * (number % 7) for number in range(50)]
    (here / "new.csv").write_text("text\n" + "\n".join(texts) + "\n", encoding="utf-8")
    assert [item["text"] for item in rows_of(luthier("predict", here, "--file", "new.csv"))] == texts


def test_pairs_and_other_columns(api, luthier, here):
    (here / "new.jsonl").write_text('{"a": "x", "b": "y", "label": "z"}\n', encoding="utf-8")
    rows = rows_of(luthier("predict", here, "--file", "new.jsonl", "--columns", "text=a,text_pair=b"))
    assert (rows[0]["text"], rows[0]["text_pair"]) == ("x", "y")


def test_stdin_as_lines(api, luthier, here, stdin):
    stdin("\ufeffeins\r\n\n{zwei\n".encode())
    assert [item["text"] for item in rows_of(luthier("predict", here, "--file", "-"))] == ["eins", "{zwei"]


def test_stdin_as_json_lines(api, luthier, here, stdin):
    stdin(b'{"text": "a"}\n{"text": "b", "text_pair": "c"}\n')
    rows = rows_of(luthier("predict", here, "--file", "-"))
    assert [item.get("text_pair") for item in rows] == [None, "c"]


def test_a_bad_line_of_stdin_is_named(api, luthier, here, stdin):
    stdin(b'{"text": "a"}\nplain\n')
    result = luthier("predict", here, "--file", "-")
    assert result.code == 1
    assert "stdin:2" in result.err


def test_bytes_that_are_not_utf8_are_named(api, luthier, here, stdin):
    stdin(b"fine\n\xff\xfe\n")
    result = luthier("predict", here, "--file", "-")
    assert result.code == 1
    assert "stdin:2" in result.err


def test_what_is_held_is_what_the_model_read_ahead(api):
    answers = pairs(api.predictor, (str(number) for number in range(10**9)))
    for _ in range(100):
        next(answers)
    assert api.predictor.furthest <= 100 + api.predictor.window


def test_abstaining_is_said(api, luthier, here):
    rows = rows_of(luthier("predict", here, "x", "--threshold", "0.9"))
    assert rows[0]["label"] is None
    assert rows[0]["abstained"] is True
    assert api.predictor.threshold == 0.9


def test_the_lines_of_the_other_tasks(api, luthier, here):
    api.predictor.task = "regress"
    assert rows_of(luthier("predict", here, "four")) == [{"text": "four", "score": 4.0}]
    api.predictor.task = "extract"
    spans = rows_of(luthier("predict", here, "four"))[0]["spans"]
    assert spans == [{"start": 0, "end": 2, "label": "start", "text": "fo", "score": 0.75}]


def test_several_labels_and_several_targets():
    several = Prediction("a", 0.9, {"a": 0.9, "b": 0.8}, labels=("a", "b"))
    assert row("classify", "x", several)["labels"] == ["a", "b"]
    assert row("regress", "x", Prediction(score=1.0, values=(1.0, 2.0)))["values"] == [1.0, 2.0]


def test_a_lone_surrogate_is_still_json(api, luthier, here, stdin):
    stdin(b'{"text": "\\ud800 broken"}\n')
    from luthier.cli.output import to_json

    line = to_json({"text": "\ud800"}).encode("utf-8", "backslashreplace")
    assert json.loads(line) == {"text": "\ud800"}


def test_a_person_gets_words():
    shown = person_text("what a\x1b[1m film", Prediction("good", 0.9, {"good": 0.9, "bad": 0.1}))
    assert "good  (good 0.90, bad 0.10)" in shown
    assert "\x1b" not in shown
    assert "nothing found" in person_text("x", Prediction(spans=()))
    assert "0 to 2" in person_text("x", Prediction(spans=(SpanPrediction(0, 2, "drug", "ab"),)))
    assert "not sure" in person_text("x", Prediction(None, 0.4, {"a": 0.4, "b": 0.35}, abstained=True))
    assert "2.5" in person_text("x", Prediction(score=2.5))


def test_no_such_run(api, luthier, here):
    result = luthier("predict", "nowhere", "text")
    assert (result.code, result.out) == (1, "")
    assert "nowhere: there is no trained model here." in result.err

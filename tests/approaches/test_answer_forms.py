"""Answers in words: what is asked for is read back, and what a model makes of it is read with care."""

from __future__ import annotations

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from luthier.approaches.answers import AnswerForm
from luthier.data.samples import Sample, Span

ONE = AnswerForm("classify", ("late", "not late", "lost"))
SEVERAL = AnswerForm("classify", ("late", "lost", "broken"), several_labels=True)
NUMBERS = AnswerForm("regress", ("stars", "mood"), low=0.0, high=5.0)
SPANS = AnswerForm("extract", ("drug", "dose"))
TEXT = "Take aspirin, 5 mg, then aspirin again."


@pytest.mark.parametrize(
    ("form", "sample", "field"),
    [
        (ONE, Sample("x", target="lost"), lambda p: p.label),
        (SEVERAL, Sample("x", target=("late", "broken")), lambda p: p.labels),
        (SEVERAL, Sample("x", target=()), lambda p: p.labels),
        (NUMBERS, Sample("x", target=(4.5, 2.0)), lambda p: p.values),
    ],
)
def test_what_a_row_holds_is_written_by_the_schema_and_read_back(form, sample, field):
    import json

    written = form.write(sample)
    jsonschema.validate(json.loads(written), form.schema)
    assert field(form.read(written, sample.text)) == sample.target


def test_spans_are_written_as_words_and_found_again_in_order():
    import json

    sample = Sample(TEXT, target=(Span(5, 12, "drug"), Span(14, 18, "dose"), Span(25, 32, "drug")))
    written = SPANS.write(sample)
    jsonschema.validate(json.loads(written), SPANS.schema)
    found = SPANS.read(written, TEXT).spans
    assert [(span.start, span.end, span.label) for span in found] == [
        (5, 12, "drug"),
        (14, 18, "dose"),
        (25, 32, "drug"),
    ]


@pytest.mark.parametrize(
    ("answer", "label"),
    [
        ("lost", "lost"),
        (" Lost. ", "lost"),
        ('"lost"', "lost"),
        ('```json\n{"label": "lost"}\n```', "lost"),
        ('Sure! {"label": "LOST"} is right.', "lost"),
        ("The parcel is not late at all, so: not late", "not late"),
        ("It was lost, I think; not late.", "lost"),
        ('{"label": "elsewhere"}', None),
        ("{broken", None),
        ("", None),
        ("glost", None),
    ],
)
def test_labels_in_words(answer, label):
    found = ONE.read(answer, "x")
    assert found.label == label
    assert found.abstained is (label is None)


@pytest.mark.parametrize(
    ("answer", "values"),
    [
        ('{"stars": 4, "mood": 1.5}', (4.0, 1.5)),
        ("4 and 2,5", (4.0, 2.5)),
        ("I would say 99 stars and a mood of -3.", (5.0, 0.0)),
        ("four", None),
        ("4", None),
    ],
)
def test_numbers_in_words_are_cut_to_what_the_data_holds(answer, values):
    assert NUMBERS.read(answer, "x").values == values


@pytest.mark.parametrize(
    "answer",
    [
        "", "none", "{}", '{"spans": 3}', '{"spans": [3, null, {}]}', '{"spans": [{"text": "", "label": "drug"}]}',
        '{"spans": [{"text": "ibuprofen", "label": "drug"}]}', '{"spans": [{"text": "aspirin", "label": "food"}]}',
    ],
)  # fmt: skip
def test_spans_that_are_none_are_left_out(answer):
    assert SPANS.read(answer, TEXT).spans == ()


@given(st.text(max_size=200), st.sampled_from([ONE, SEVERAL, NUMBERS, SPANS]))
def test_no_answer_breaks_the_reading(answer, form):
    found = form.read(answer, TEXT)
    if found.label is not None:
        assert found.label in form.labels
    for span in found.spans or ():
        assert TEXT[span.start : span.end] == span.text
    for value in found.values or ():
        assert form.low <= value <= form.high

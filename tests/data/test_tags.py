"""Spans to tags per token and back."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from luthier.core.predictor import SpanPrediction
from luthier.data.samples import Span
from luthier.data.tags import bio_labels, decode_spans, encode_spans, words

LABELS = ["drug", "illness"]


def pieces(text: str, size: int = 3) -> list[tuple[int, int]]:
    """Offsets as a word-piece tokenizer gives them: words cut into pieces, special tokens around."""
    found = [(0, 0)]
    for match in re.finditer(r"\w+|[^\w\s]", text):
        starts = range(match.start(), match.end(), size)
        found += [(start, min(start + size, match.end())) for start in starts]
    return [*found, (0, 0)]


def test_outputs_are_numbered_as_conll_does() -> None:
    assert bio_labels(LABELS) == ["O", "B-drug", "I-drug", "B-illness", "I-illness"]


def test_pieces_of_an_entity_continue_it_and_special_tokens_weigh_nothing() -> None:
    text = "Take aspirin, not ibuprofen"
    ids, weights = encode_spans([Span(5, 12, "drug"), Span(18, 27, "drug")], pieces(text), LABELS)
    names = [bio_labels(LABELS)[index] for index in ids]
    assert names == ["O", "O", "O", "B-drug", "I-drug", "I-drug", "O", "O", "B-drug", "I-drug", "I-drug", "O"]
    assert weights == [0.0] + [1.0] * 10 + [0.0]


@given(st.lists(st.tuples(st.integers(1, 9), st.sampled_from(["", *LABELS]), st.booleans()), max_size=12))
def test_word_aligned_spans_come_back(plan: list[tuple[int, str, bool]]) -> None:
    text, spans = "", []
    for length, label, joins in plan:
        start = len(text)
        text += "abcdefghi"[:length] + (" " if joins else ", ")
        if label:
            spans.append(Span(start, start + length, label))
    offsets = pieces(text)
    ids, _ = encode_spans(spans, offsets, LABELS)
    back = decode_spans(ids, offsets, LABELS, text)
    assert [Span(span.start, span.end, span.label) for span in back] == spans
    assert all(text[span.start : span.end] == span.text for span in back)


def test_neighbouring_entities_of_one_kind_stay_two() -> None:
    text = "aspirin ibuprofen"
    spans = [Span(0, 7, "drug"), Span(8, 17, "drug")]
    ids, _ = encode_spans(spans, pieces(text), LABELS)
    assert len(decode_spans(ids, pieces(text), LABELS, text)) == 2


def test_the_first_piece_decides_and_illegal_transitions_are_repaired() -> None:
    text = "headache after aspirin now"
    offsets = [(0, 4), (4, 8), (9, 14), (15, 18), (18, 22), (23, 26)]
    # I- after nothing begins a span; the second piece of a word is not asked; B/I of another label splits
    tags = [4, 0, 4, 2, 3, 0]
    scores = [0.9, 0.1, 0.7, 0.5, 0.2, 1.0]
    assert decode_spans(tags, offsets, LABELS, text, scores) == [
        SpanPrediction(0, 14, "illness", "headache after", pytest.approx(0.8)),
        SpanPrediction(15, 22, "drug", "aspirin", 0.5),
    ]


def test_scripts_without_spaces_are_cut_at_every_token() -> None:
    text = "患者头痛"
    offsets = [(0, 1), (1, 2), (2, 3), (3, 4)]
    assert len(words(offsets, text)) == 4
    ids, _ = encode_spans([Span(2, 4, "illness")], offsets, LABELS)
    assert [(s.start, s.end) for s in decode_spans(ids, offsets, LABELS, text)] == [(2, 4)]


def test_tokens_that_share_a_character_are_one_word() -> None:
    offsets = [(0, 1), (0, 1), (1, 2)]  # a byte-level tokenizer splits a rare character in two
    assert words(offsets, "é!") == [(0, 0, 1), (2, 1, 2)]


def test_a_span_beyond_the_cut_leaves_no_tag_and_overlaps_keep_the_first() -> None:
    text = "aspirin tablet today"
    offsets = [(0, 7), (8, 14)]
    assert encode_spans([Span(15, 20, "drug")], offsets, LABELS)[0] == [0, 0]
    assert encode_spans([Span(0, 14, "drug"), Span(8, 14, "illness")], offsets, LABELS)[0] == [1, 2]
    assert decode_spans([1, 2], offsets, LABELS, text)[0].text == "aspirin tablet"

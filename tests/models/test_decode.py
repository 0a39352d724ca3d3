"""Logits to answers, against scipy and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit
from scipy.special import softmax as scipy_softmax

from luthier.core.text import Encoded
from luthier.models.decode import decode, sigmoid, softmax

LOGITS = np.array([[2.0, 0.0, -1.0], [-800.0, 0.1, 800.0], [0.0, 0.0, 0.0]], dtype=np.float32)
LABELS = ["a", "b", "c"]


def test_probabilities_equal_those_of_scipy_without_overflow() -> None:
    np.testing.assert_allclose(softmax(LOGITS), scipy_softmax(LOGITS.astype(np.float64), axis=-1), atol=1e-12)
    np.testing.assert_allclose(sigmoid(LOGITS), expit(LOGITS.astype(np.float64)), atol=1e-12)


def test_one_label_with_temperature_and_abstention() -> None:
    plain = decode("classify", LOGITS, LABELS)
    assert [answer.label for answer in plain] == ["a", "c", "a"]
    assert sum(plain[0].scores.values()) == pytest.approx(1.0)
    warm = decode("classify", LOGITS, LABELS, temperature=2.0, threshold=0.6)
    expected = scipy_softmax(LOGITS[0].astype(np.float64) / 2)
    assert [warm[0].scores[label] for label in LABELS] == pytest.approx(expected.tolist())
    assert [(answer.label, answer.abstained) for answer in warm] == [("a", False), ("c", False), (None, True)]
    assert warm[2].score == pytest.approx(1 / 3)


def test_several_labels_by_threshold() -> None:
    answers = decode("classify", LOGITS, LABELS, several_labels=True)
    assert [answer.labels for answer in answers] == [("a", "b"), ("b", "c"), ("a", "b", "c")]
    assert [answer.label for answer in answers] == ["a", "c", "a"]
    strict = decode("classify", LOGITS, LABELS, several_labels=True, threshold=[0.99, 0.99, 0.99])
    assert [answer.labels for answer in strict] == [(), ("c",), ()]
    assert strict[0].label is None
    assert strict[0].score == pytest.approx(float(expit(2.0)))


def test_numbers_return_to_their_own_scale() -> None:
    answers = decode("regress", np.array([[1.0, -1.0]]), ["x", "y"], target_mean=[10, 100], target_std=[2, 5])
    assert answers[0].values == (12.0, 95.0)
    assert answers[0].score == 12.0


def test_spans_ignore_padding_and_special_tokens() -> None:
    text = "take aspirin"
    row = Encoded(ids=[2, 7, 8, 9, 3], type_ids=[0] * 5, offsets=[(0, 0), (0, 4), (5, 8), (8, 12), (0, 0)],
                  full_length=5)  # fmt: skip
    logits = np.full((7, 3), -4.0)
    logits[:, 1] = [9, -9, 2, -9, 9, 9, 9]  # B- where there is no text must not count
    answer = decode("extract", [logits], ["drug"], texts=[text], encoded=[row])[0]
    assert answer.spans is not None
    assert [(span.start, span.end, span.label, span.text) for span in answer.spans] == [(5, 12, "drug", "aspirin")]
    assert answer.spans[0].score == pytest.approx(float(scipy_softmax([-4.0, 2.0, -4.0])[1]))
    assert decode("extract", [np.zeros((5, 3))], ["drug"], texts=[text], encoded=[row])[0].spans == ()

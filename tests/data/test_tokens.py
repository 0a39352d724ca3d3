"""Samples become flat token tables; targets become numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from luthier.core.errors import DataError
from luthier.core.predictor import TextInput
from luthier.core.text import Encoded, Side
from luthier.data.samples import Sample, Span
from luthier.data.tokens import TargetCoder, encode_samples, fingerprint, token_lengths


class Words:
    """A tokenizer of words between two special tokens; an id is the length of its word."""

    fingerprint = "words"
    pad_id = 0
    max_length = 100
    uses_type_ids = True

    def encode(self, texts: Sequence[TextInput], *, max_length: int | None = None, cut: Side = "end") -> list[Encoded]:
        return [self._one(text, max_length, cut) for text in texts]

    def _one(self, text: TextInput, limit: int | None, cut: Side) -> Encoded:
        first, second = (text, "") if isinstance(text, str) else text
        items: list[tuple[int, int, tuple[int, int]]] = []
        at = 0
        for word in first.split():
            at = first.index(word, at)
            items.append((len(word), 0, (at, at + len(word))))
            at += len(word)
        items += [(len(word), 1, (0, 0)) for word in second.split()]
        full = len(items) + 2
        if limit is not None and full > limit:
            items = items[: limit - 2] if cut == "end" else items[full - limit :]
        items = [(101, 0, (0, 0)), *items, (102, 0, (0, 0))]
        return Encoded([i for i, _, _ in items], [t for _, t, _ in items], [o for _, _, o in items], full)

    def tokens(self, ids: Sequence[int]) -> list[str]:
        return [str(index) for index in ids]


def classify(*rows: tuple[str, str]) -> list[Sample]:
    return [Sample(text, None, label) for text, label in rows]


def test_flat_arrays() -> None:
    data = [Sample("one three", None, "b"), Sample("a", "bb ccc", "a")]
    table = encode_samples(data, Words(), TargetCoder("classify", ("a", "b")), max_length=50, keep=True)
    assert table.ids.tolist() == [101, 3, 5, 102, 101, 1, 2, 3, 102]
    assert table.types.tolist() == [0, 0, 0, 0, 0, 0, 1, 1, 0]
    assert table.starts.tolist() == [0, 4, 9]
    assert table.lengths.tolist() == [4, 5]
    assert table.targets.tolist() == [1.0, 0.0]
    assert table.weights.tolist() == [1.0, 1.0]
    assert (table.references, table.texts) == (["b", "a"], ["one three", "a"])
    assert (table.cut, table.dropped, table.longest, len(table)) == (0, 0, 5, 2)


@pytest.mark.parametrize(("truncate", "ids"), [("end", [101, 1, 2, 102]), ("start", [101, 3, 4, 102])])
def test_long_rows_are_cut_and_counted(truncate: str, ids: list[int]) -> None:
    data = classify(("a bb ccc dddd", "a"), ("a", "b"))
    coder = TargetCoder("classify", ("a", "b"))
    table = encode_samples(data, Words(), coder, max_length=4, truncate=truncate)
    assert table.ids[:4].tolist() == ids
    assert (table.cut, table.dropped, table.longest, len(table)) == (1, 0, 6, 2)


def test_drop_leaves_rows_out_and_counts_them() -> None:
    data = classify(("a bb ccc dddd", "a"), ("a", "b"))
    coder = TargetCoder("classify", ("a", "b"))
    table = encode_samples(data, Words(), coder, max_length=4, truncate="drop", keep=True)
    assert (table.cut, table.dropped, len(table)) == (0, 1, 1)
    assert table.references == ["b"]
    with pytest.raises(DataError) as caught:
        encode_samples(data[:1], Words(), coder, max_length=4, truncate="drop")
    assert caught.value.code == "no_rows"
    assert "truncate" in caught.value.remedy


def test_no_rows() -> None:
    with pytest.raises(DataError) as caught:
        encode_samples([], Words(), TargetCoder("classify", ("a",)), max_length=4)
    assert caught.value.code == "no_rows"


def test_regression_is_standardised_even_far_from_zero() -> None:
    values = np.random.default_rng(0).normal(1e9, 3.0, (400, 2)) * [1.0, -0.5]
    data = [Sample("x", None, tuple(row)) for row in values.tolist()]
    coder = TargetCoder.fit("regress", ["a", "b"], False, data)
    np.testing.assert_allclose(coder.mean, values.mean(0), rtol=1e-12)
    np.testing.assert_allclose(coder.std, values.std(0), rtol=1e-6)
    table = encode_samples(data, Words(), coder, max_length=10)
    coded = table.targets.reshape(400, 2)
    np.testing.assert_allclose(coded.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(coded.std(0), 1, rtol=1e-4)


def test_a_target_that_never_changes_is_not_divided_by_zero() -> None:
    data = [Sample("x", None, (float(i), 7.0)) for i in range(3)]
    coder = TargetCoder.fit("regress", ["a", "b"], False, data)
    assert coder.std[1] == 1.0
    assert encode_samples(data, Words(), coder, max_length=10).targets[1::2].tolist() == [0.0, 0.0, 0.0]


def test_several_labels_and_spans() -> None:
    coder = TargetCoder("classify", ("a", "b", "c"), several_labels=True)
    data = [Sample("x", None, ("c", "a")), Sample("y", None, ())]
    table = encode_samples(data, Words(), coder, max_length=10)
    assert table.targets.reshape(2, 3).tolist() == [[1, 0, 1], [0, 0, 0]]
    spans = TargetCoder("extract", ("doc",))
    assert spans.outputs == ["O", "B-doc", "I-doc"]
    rows = [Sample("my red car", None, (Span(3, 10, "doc"),))]
    table = encode_samples(rows, Words(), spans, max_length=10)
    assert table.targets.tolist() == [0, 0, 1, 2, 0]
    assert table.weights.tolist() == [0, 1, 1, 1, 0]  # special tokens carry nothing
    assert table.target_starts.tolist() == [0, 5]


def test_many_batches_make_one_table() -> None:
    data = classify(*((" ".join(["w"] * (i % 5 + 1)), "ab"[i % 2]) for i in range(2500)))
    table = encode_samples(iter(data), Words(), TargetCoder("classify", ("a", "b")), max_length=50)
    assert table.lengths.tolist() == [i % 5 + 3 for i in range(2500)]
    assert token_lengths(iter(data), Words()).tolist() == table.lengths.tolist()


def test_table_fingerprint_is_of_the_tokens() -> None:
    coder = TargetCoder("classify", ("a", "b"))

    def of(*rows: tuple[str, str]) -> str:
        return encode_samples(classify(*rows), Words(), coder, max_length=50).fingerprint()

    assert of(("x yy", "a")) == of(("x yy", "b"))
    assert of(("x yy", "a")) != of(("xx y", "a"))
    assert of(("x", "a"), ("x x", "a")) != of(("x x", "a"), ("x", "a"))


def test_fingerprint_of_values() -> None:
    assert fingerprint({"b": 1, "a": 2}) == fingerprint({"a": 2, "b": 1})
    assert fingerprint(1, 2) != fingerprint(12)
    assert len(fingerprint()) == 64

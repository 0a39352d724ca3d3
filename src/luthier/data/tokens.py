"""The second stage of the data: token ids and what is to be learned from them, in flat arrays.

One million short rows are two arrays of a few tens of megabytes, not a million objects.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from luthier.core.errors import DataError
from luthier.core.text import Encoded, Side, TextEncoder
from luthier.data.samples import Sample, Span, Target
from luthier.data.tags import bio_labels, encode_spans

_BATCH = 1024


@dataclass(frozen=True)
class TargetCoder:
    """Targets as numbers, the same for training and validation.

    classify: a class index, or a row of 0/1 with several labels. regress: standardised numbers
    (mean and std of the training rows), so that the loss and the learning rate do not depend on the
    unit. extract: a BIO tag per token.
    """

    task: str
    labels: tuple[str, ...]
    several_labels: bool = False
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    @classmethod
    def fit(cls, task: str, labels: Sequence[str], several_labels: bool, train: Iterable[Sample]) -> TargetCoder:
        """The coder for these labels; regress reads `train` once for mean and standard deviation."""
        if task != "regress":
            return cls(task, tuple(labels), several_labels)
        count, total, squares = 0, np.zeros(len(labels)), np.zeros(len(labels))
        first: NDArray[np.float64] | None = None
        for sample in train:
            value = np.asarray(sample.target, dtype=np.float64)
            first = value if first is None else first
            shifted = value - first  # a large common offset would cancel catastrophically
            count, total, squares = count + 1, total + shifted, squares + shifted * shifted
        assert first is not None
        mean = total / count
        std = np.sqrt(np.maximum(squares / count - mean * mean, 0.0))
        std[std == 0] = 1.0
        return cls(task, tuple(labels), False, tuple((mean + first).tolist()), tuple(std.tolist()))

    @property
    def outputs(self) -> list[str]:
        """Names of the model's outputs."""
        return bio_labels(self.labels) if self.task == "extract" else list(self.labels)

    def code(self, target: Target, encoded: Encoded) -> tuple[NDArray[Any], NDArray[np.float32]]:
        """(numbers, weights): classify [1] or [C], regress [T], extract [L] each with [L] weights."""
        if self.task == "extract":
            spans = [span for span in target if isinstance(span, Span)] if isinstance(target, tuple) else []
            ids, weights = encode_spans(spans, encoded.offsets, self.labels)
            return np.asarray(ids, np.float32), np.asarray(weights, np.float32)
        one = np.ones(1, np.float32)
        if self.task == "regress":
            values = (np.asarray(target, np.float64) - self.mean) / self.std
            return values.astype(np.float32), one
        if self.several_labels:
            row = np.zeros(len(self.labels), np.float32)
            assert isinstance(target, tuple)
            row[[self.labels.index(str(label)) for label in target]] = 1.0
            return row, one
        return np.asarray([self.labels.index(str(target))], np.float32), one


@dataclass(frozen=True)
class TokenTable:
    """N rows of tokens, flat.

    Attributes:
        ids: int32 [tokens]; types: int8 [tokens]; starts: int64 [N + 1].
        targets: float32, flat; target_starts: int64 [N + 1]. Class and tag indices are whole numbers.
        weights: float32, flat like the targets of extract; one per row otherwise.
        references: what a Scorer compares with, one per row (kept only where `keep` was asked).
        offsets and texts likewise, for turning tags back into characters.
        cut: rows that lost tokens to max_length; dropped: rows left out by truncate: drop.
        answers_cut: rows whose learned answers lost tokens; without_targets: rows left out because
            nothing in them carries weight (both generative tasks only).
    """

    ids: NDArray[np.int32]
    types: NDArray[np.int8]
    starts: NDArray[np.int64]
    targets: NDArray[np.float32]
    target_starts: NDArray[np.int64]
    weights: NDArray[np.float32]
    cut: int
    dropped: int
    longest: int
    references: list[Target]
    encoded: list[Encoded]
    texts: list[str]
    answers_cut: int = 0
    without_targets: int = 0

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens per row."""
        return np.diff(self.starts)

    def fingerprint(self) -> str:
        """A hash of the tokens (not of the targets), for caches of what a frozen model makes of them."""
        return self._fingerprint

    @cached_property
    def _fingerprint(self) -> str:
        digest = hashlib.sha256()
        for part in (self.ids, self.types, self.starts):
            digest.update(np.ascontiguousarray(part).tobytes())
        return digest.hexdigest()


def encode_samples(
    samples: Iterable[Sample],
    encoder: TextEncoder,
    coder: TargetCoder,
    *,
    max_length: int,
    truncate: str = "end",
    keep: bool = False,
) -> TokenTable:
    """Turn samples into a `TokenTable`.

    `truncate`: end or start (that side of a long text is cut), or drop (the row is left out and
    counted). `keep` also keeps references, offsets and texts, for judging validation rows.
    Raises `DataError` when no row is left.
    """
    ids: list[NDArray[np.int32]] = []
    types: list[NDArray[np.int8]] = []
    lengths: list[int] = []
    targets: list[NDArray[np.float32]] = []
    weights: list[NDArray[np.float32]] = []
    references: list[Target] = []
    kept: list[Encoded] = []
    texts: list[str] = []
    cut = dropped = longest = 0
    side: Side = "start" if truncate == "start" else "end"
    iterator = iter(samples)
    while batch := list(islice(iterator, _BATCH)):
        encoded = encoder.encode([sample.input for sample in batch], max_length=max_length, cut=side)
        for sample, item in zip(batch, encoded, strict=True):
            longest = max(longest, item.full_length)
            if item.full_length > len(item.ids):
                if truncate == "drop":
                    dropped += 1
                    continue
                cut += 1
            numbers, weight = coder.code(sample.target, item)
            ids.append(np.asarray(item.ids, np.int32))
            types.append(np.asarray(item.type_ids, np.int8))
            lengths.append(len(item.ids))
            targets.append(numbers)
            weights.append(weight)
            if keep:
                references.append(sample.target)
                kept.append(item)
                texts.append(sample.text)
    if not lengths:
        raise DataError(
            "no row is left to learn from: all are longer than max_length."
            if dropped
            else "no row is left to learn from.",
            remedy="Raise train.max_length, or set train.truncate to end." if dropped else "Add rows.",
            code="no_rows",
            param="train.max_length" if dropped else None,
        )
    return TokenTable(
        np.concatenate(ids),
        np.concatenate(types),
        np.concatenate(([0], np.cumsum(lengths))).astype(np.int64),
        np.concatenate(targets),
        np.concatenate(([0], np.cumsum([len(part) for part in targets]))).astype(np.int64),
        np.concatenate(weights),
        cut,
        dropped,
        longest,
        references,
        kept,
        texts,
    )


def token_lengths(samples: Iterable[Sample], encoder: TextEncoder) -> NDArray[np.int64]:
    """Tokens per row before anything is cut, special tokens included."""
    lengths: list[int] = []
    iterator = iter(samples)
    while batch := list(islice(iterator, _BATCH)):
        lengths.extend(item.full_length for item in encoder.encode([sample.input for sample in batch]))
    return np.asarray(lengths, np.int64)


def fingerprint(*parts: Any) -> str:
    """A hash of plain values, stable between runs and machines."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()

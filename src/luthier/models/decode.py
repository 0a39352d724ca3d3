"""Logits become answers: the same functions for prediction and for validation during training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from luthier.core.predictor import Prediction, TextInput
from luthier.core.text import Encoded
from luthier.data.tags import decode_spans

Array = npt.NDArray[Any]
Threshold = float | Sequence[float] | None


def softmax(logits: Array) -> Array:
    """Probabilities along the last axis, in float64 so that they sum to one."""
    shifted = logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)
    exponentials = np.exp(shifted)
    return np.asarray(exponentials / exponentials.sum(axis=-1, keepdims=True))


def sigmoid(logits: Array) -> Array:
    """Probability of each output by itself, in float64, without overflow."""
    positive = 1.0 / (1.0 + np.exp(-np.abs(logits.astype(np.float64))))
    return np.where(logits >= 0, positive, 1.0 - positive)


def decode(
    task: str,
    logits: Array | Sequence[Array],
    labels: Sequence[str],
    *,
    several_labels: bool = False,
    temperature: float = 1.0,
    threshold: Threshold = None,
    target_mean: Sequence[float] | None = None,
    target_std: Sequence[float] | None = None,
    texts: Sequence[TextInput] = (),
    encoded: Sequence[Encoded] = (),
) -> list[Prediction]:
    """One `Prediction` per row.

    classify: logits [N, C]; with one label the answer abstains below `threshold`; with several,
    every label at or above its threshold holds (0.5 where none is given, one number or one per
    label). regress: logits [N, T], standardised targets are turned back by `target_mean` and
    `target_std` [T]. extract: a sequence of [L_i, 1 + 2 * len(labels)] (or [N, L, ...] padded),
    with the `texts` and the `encoded` rows that the logits belong to.
    Temperature after Guo et al. 2017.
    """
    if task == "extract":
        return [
            _spans(
                np.asarray(rows)[: len(item.ids)],
                item,
                labels,
                text if isinstance(text, str) else text[0],
                temperature,
            )
            for rows, item, text in zip(logits, encoded, texts, strict=True)
        ]
    values = np.asarray(logits)
    if task == "regress":
        return _numbers(values, target_mean, target_std)
    if several_labels:
        return _several(values, labels, temperature, threshold)
    return _single(values, labels, temperature, threshold)


def _single(logits: Array, labels: Sequence[str], temperature: float, threshold: Threshold) -> list[Prediction]:
    probabilities = softmax(logits / temperature)
    least = float(threshold) if isinstance(threshold, int | float) else 0.0
    answers = []
    for row in probabilities:
        best = int(row.argmax())
        abstained = bool(row[best] < least)
        answers.append(
            Prediction(
                label=None if abstained else labels[best],
                score=float(row[best]),
                scores=dict(zip(labels, row.tolist(), strict=True)),
                abstained=abstained,
            )
        )
    return answers


def _several(logits: Array, labels: Sequence[str], temperature: float, threshold: Threshold) -> list[Prediction]:
    probabilities = sigmoid(logits / temperature)
    least = np.broadcast_to(np.asarray(0.5 if threshold is None else threshold, dtype=np.float64), (len(labels),))
    answers = []
    for row in probabilities:
        order = [int(index) for index in np.argsort(-row, kind="stable") if row[index] >= least[index]]
        answers.append(
            Prediction(
                label=labels[order[0]] if order else None,
                score=float(row[order[0]] if order else row.max()),
                scores=dict(zip(labels, row.tolist(), strict=True)),
                labels=tuple(labels[index] for index in sorted(order)),
            )
        )
    return answers


def _numbers(logits: Array, mean: Sequence[float] | None, std: Sequence[float] | None) -> list[Prediction]:
    values = logits.astype(np.float64)
    if std is not None:
        values = values * np.asarray(std, dtype=np.float64)
    if mean is not None:
        values = values + np.asarray(mean, dtype=np.float64)
    return [Prediction(score=float(row[0]), values=tuple(row.tolist())) for row in values]


def _spans(logits: Array, encoded: Encoded, labels: Sequence[str], text: str, temperature: float) -> Prediction:
    probabilities = softmax(logits / temperature)
    tags = probabilities.argmax(axis=-1).tolist()
    spans = decode_spans(tags, encoded.offsets, labels, text, probabilities.max(axis=-1).tolist())
    return Prediction(spans=tuple(spans), score=min((span.score for span in spans), default=None))

"""BLEU and chrF of a whole test set, and of every bootstrap resample of it, from counts per row.

Legend of shapes: n rows, b resamples. Per row 10 numbers for BLEU (Papineni et al. 2002) and 18 for chrF (Popović
2015), which sum up over rows; the scores are sacrebleu's, from 0 to 100.
"""

from __future__ import annotations

from collections import Counter
from functools import lru_cache
from typing import Any

import numpy as np

from luthier.evaluate.intervals import FloatArray

_ORDER = 4
_CHARACTERS = 6
_BETA_SQUARED = 4.0
BLEU_NUMBERS = 2 + 2 * _ORDER
CHRF_NUMBERS = 3 * _CHARACTERS


@lru_cache(maxsize=1)
def _sacrebleu() -> Any:
    from sacrebleu.metrics.bleu import BLEU

    return BLEU(effective_order=True)


def bleu_counts(answer: str, reference: str) -> list[float]:
    """Lengths of answer and reference, then matched and possible n-grams; sacrebleu's 13a tokens."""
    score = _sacrebleu().sentence_score(answer, [reference])
    return [score.sys_len, score.ref_len, *score.counts, *score.totals]


def corpus_bleu(sums: FloatArray) -> FloatArray:
    """BLEU of summed counts [10, b], with sacrebleu's defaults (exponential smoothing)."""
    answered, expected = sums[0], sums[1]
    matched, possible = sums[2 : 2 + _ORDER], sums[2 + _ORDER :]
    logs = np.zeros(sums.shape[1])
    zeros = np.zeros(sums.shape[1])
    for n in range(_ORDER):
        zeros = zeros + (matched[n] == 0)
        count = np.where(matched[n] > 0, matched[n], 0.5**zeros)
        logs += np.log(count / np.maximum(possible[n], 1))
    brevity = np.exp(np.minimum(0.0, 1 - expected / np.maximum(answered, 1)))
    usable = (matched.sum(axis=0) > 0) & (possible > 0).all(axis=0)
    return np.where(usable, 100 * brevity * np.exp(logs / _ORDER), 0.0)


def chrf_counts(answer: str, reference: str) -> list[float]:
    """Per order 1 to 6: character n-grams of the answer, of the reference, and in common; blanks left out."""
    ours, theirs = "".join(answer.split()), "".join(reference.split())
    found: list[float] = []
    for n in range(1, _CHARACTERS + 1):
        a, b = _grams(ours, n), _grams(theirs, n)
        # sacrebleu's rule: where the reference has none of an order, the answer's do not count
        found += [a.total() if b else 0, b.total(), (a & b).total()]
    return found


def _grams(text: str, n: int) -> Counter[str]:
    return Counter(text[i : i + n] for i in range(len(text) - n + 1))


def corpus_chrf(sums: FloatArray) -> FloatArray:
    """chrF2 of summed counts [18, b]."""
    ours, theirs, common = sums[0::3], sums[1::3], sums[2::3]
    counted = (ours > 0) & (theirs > 0)
    orders = np.maximum(counted.sum(axis=0), 1)
    precision = np.where(counted, common / np.maximum(ours, 1), 0).sum(axis=0) / orders
    recall = np.where(counted, common / np.maximum(theirs, 1), 0).sum(axis=0) / orders
    below = _BETA_SQUARED * precision + recall
    score: FloatArray = np.where(
        below > 0, 100 * (1 + _BETA_SQUARED) * precision * recall / np.where(below > 0, below, 1), 0.0
    )
    return score

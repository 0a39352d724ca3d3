"""A share of the training rows: nested (a smaller share is part of a larger one) and stratified.

Rows stand in one order per seed; a share is the beginning of that order. Within each label rows are
shuffled and spread evenly over the order, so that every beginning has the labels' proportions; the first
row of each label comes early, so that no label is missing as long as there are more rows than labels.
"""

from __future__ import annotations

import array
from collections.abc import Iterable
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from luthier.core.conversation import Completion, Conversation
from luthier.data.samples import Sample, Span

BINS = 10
"""Quantile bins of a regression's first target."""

Ints = NDArray[np.int64]


def strata(samples: Iterable[Sample]) -> Ints:
    """The stratum of each sample, shape (rows,): its label, of several the rarest, of numbers a quantile bin."""
    names: dict[str, int] = {}
    codes, starts, scores = array.array("q"), array.array("q", [0]), array.array("d")
    for sample in samples:
        own = [names.setdefault(name, len(names)) for name in _names(sample)]
        codes.extend(own or [names.setdefault("", len(names))])
        starts.append(len(codes))
        target = sample.target
        if isinstance(target, tuple) and target and isinstance(target[0], float):
            scores.append(target[0])
    rows = len(starts) - 1
    if scores and len(scores) == rows:
        values = np.frombuffer(scores, np.float64)
        edges = np.unique(np.quantile(values, np.linspace(0, 1, BINS + 1)[1:-1]))
        return np.searchsorted(edges, values, side="right").astype(np.int64)
    every = np.frombuffer(codes, np.int64)
    counts = np.bincount(every, minlength=len(names))
    bounds = np.frombuffer(starts, np.int64)
    rarest = (min(every[a:b].tolist(), key=lambda code: (counts[code], code)) for a, b in pairwise(bounds))
    return np.fromiter(rarest, np.int64, rows)


def _names(sample: Sample) -> Iterable[str]:
    target = sample.target
    if isinstance(target, str):
        return (target,)
    if not target or isinstance(target, Conversation | Completion) or isinstance(target[0], float):
        return ()
    return dict.fromkeys(item.label if isinstance(item, Span) else str(item) for item in target)


def nested_order(stratum: Ints, seed: int) -> Ints:
    """The rows 0 .. n-1 in the order in which shares take them; a pure function of strata and seed."""
    random = np.random.default_rng([seed, 0x5A])
    rows = len(stratum)
    shuffled = random.permutation(rows)
    by_stratum = shuffled[np.argsort(stratum[shuffled], kind="stable")]
    counts = np.bincount(stratum, minlength=int(stratum.max(initial=0)) + 1)
    place = np.arange(rows) - np.repeat(np.cumsum(counts) - counts, counts)
    size = np.repeat(counts, counts)
    offset = np.repeat(random.random(len(counts)), counts)
    key = np.where(place == 0, 0.0, (place + offset) / np.maximum(size, 1))
    found: Ints = by_stratum[np.lexsort((random.random(rows), key))]
    return found


def rows_of(share: float, rows: int) -> int:
    """How many of `rows` a share is; at least one."""
    return min(rows, max(1, round(share * rows)))


def keep_share(samples: Iterable[Sample], keep: NDArray[np.bool_], share: float, seed: int) -> NDArray[np.bool_]:
    """Of the rows that `keep` [n] marks those of the share; `samples` are all n rows in order."""
    kept = np.flatnonzero(keep)
    stratum = strata(sample for sample, use in zip(samples, keep, strict=True) if use)
    chosen = np.zeros(len(keep), dtype=np.bool_)
    chosen[kept[nested_order(stratum, seed)[: rows_of(share, len(kept))]]] = True
    return chosen

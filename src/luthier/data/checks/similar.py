"""Which rows repeat or resemble an earlier one: worked out once, for duplicates and leaks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from luthier.data.checks.base import RowTable
from luthier.data.clusters import Clusters
from luthier.data.duplicates import BATCH, BATCH_CHARACTERS, NearDuplicates, Reread
from luthier.data.samples import Sample

NEAR = 0.85
"""Jaccard resemblance from which two texts count as nearly the same, as in `splits`."""
REREAD_PASSES = 2
REREAD_CHARACTERS = 8_000_000

Indices = NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Alike:
    """Per row the earlier row that it is like, -1 where there is none; shape (rows,).

    `exact`, `normalised` and `near` look within the row's part, `*_leak` into earlier parts.
    `similarity` belongs to `near`, `leak_similarity` to `near_leak` (0: through other rows).
    """

    exact: Indices
    normalised: Indices
    near: Indices
    similarity: NDArray[np.float32]
    exact_leak: Indices
    normalised_leak: Indices
    near_leak: Indices
    leak_similarity: NDArray[np.float32]


class Similar:
    """Collects signatures while rows are read, then gives `Alike`."""

    def __init__(self, table: RowTable, rows: Callable[[], Iterator[Sample]]) -> None:
        self._table, self._rows = table, rows
        self._near: NearDuplicates | None = NearDuplicates()
        self._batch: list[Sample] = []
        self._characters = 0
        self._alike: Alike | None = None

    def see(self, sample: Sample) -> None:
        """Take the next row."""
        self._batch.append(sample)
        self._characters += len(sample.text)
        if len(self._batch) == BATCH or self._characters >= BATCH_CHARACTERS:
            self._flush()

    def _flush(self) -> None:
        assert self._near is not None, "rows came after the comparison"
        self._near.add(self._batch)
        self._batch, self._characters = [], 0

    def alike(self) -> Alike:
        """The comparison; the signatures are given back."""
        if self._alike is None:
            self._flush()
            self._alike = self._solve()
            self._near = None
        return self._alike

    def _solve(self) -> Alike:
        parts, rows = self._table.part_numbers, len(self._table)
        exact, exact_leak = _repeats(self._table.exact, parts)
        normalised, normalised_leak = _repeats(self._table.normalised, parts)
        several = rows > 0 and int(parts[-1]) > 0  # rows of a later part; one without a usable row leaks nothing
        near, similarity = np.full(rows, -1, np.int32), np.zeros(rows, np.float32)
        near_leak, leak_similarity = near[:0], similarity[:0]
        if several:
            near_leak, leak_similarity = near.copy(), similarity.copy()
        clusters = Clusters(rows) if several else None
        keys = self._table.normalised
        texts = Reread(self._rows, passes=REREAD_PASSES, characters=REREAD_CHARACTERS)
        assert self._near is not None
        for first, second, measured in self._near.batches(NEAR, texts):
            other = keys[first] != keys[second]  # equal ones are known already
            within = other & (parts[first] == parts[second])
            across = other & (parts[first] != parts[second])
            _keep_best(near, similarity, first[within], second[within], measured[within])
            _keep_best(near_leak, leak_similarity, first[across], second[across], measured[across])
            if clusters is not None:
                clusters.join(first, second)
        if clusters is not None:
            clusters.join_equal(keys)
            # `NearDuplicates` joins rows that are alike without naming every pair: the smallest row of
            # a cluster tells whether the cluster reaches into an earlier part.
            roots = clusters.roots()
            through = (near_leak < 0) & (normalised_leak < 0) & (parts[roots] < parts)
            near_leak[through] = roots[through]
        return Alike(exact, normalised, near, similarity, exact_leak, normalised_leak, near_leak, leak_similarity)


def _repeats(keys: NDArray[np.uint64], parts: NDArray[np.int8]) -> tuple[Indices, Indices]:
    """The first earlier row with the same key in the same part, and the first in an earlier part."""
    within = np.full(len(keys), -1, np.int32)
    begin = 0
    for size in np.bincount(parts).tolist():
        first = _first_equal(keys[begin : begin + size])
        repeated = first != np.arange(size)
        within[begin : begin + size][repeated] = first[repeated] + begin
        begin += size
    if begin == 0 or parts[-1] == 0:  # one part only: there is nothing it could leak from
        return within, within[:0]
    across = _first_equal(keys)
    across[parts[across] == parts] = -1
    return within, across


def _first_equal(keys: NDArray[np.uint64]) -> Indices:
    """The smallest index with the same key, for each index."""
    if len(keys) == 0:
        return np.empty(0, np.int32)
    order = np.argsort(keys, kind="stable").astype(np.int32)
    ordered = keys[order]
    starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
    first = np.empty(len(keys), np.int32)
    first[order] = np.repeat(order[starts], np.diff(np.append(starts, len(keys))))
    return first


def _keep_best(
    partner: Indices,
    best: NDArray[np.float32],
    first: NDArray[np.int64],
    second: NDArray[np.int64],
    similarity: NDArray[np.float64],
) -> None:
    better = similarity > best[second]
    first, second, similarity = first[better], second[better], similarity[better]
    order = np.argsort(similarity, kind="stable")  # of several assignments to one row the last, the best, stays
    partner[second[order]] = first[order]
    best[second[order]] = similarity[order]

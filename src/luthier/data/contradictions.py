"""Rows of one text with different answers: exactly, after normalisation, or nearly."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from luthier.data.duplicates import NearDuplicates, Reread, in_batches, normalised_hash
from luthier.data.samples import Sample, Target

NEAR = 0.9
"""Jaccard resemblance of character 5-grams from which two rows should have one answer."""
TOLERANCE = 0.1
"""Scores of one text that differ by more than this share of the range contradict each other."""
Factory = Callable[[], Iterable[Sample]]


@dataclass(frozen=True, slots=True)
class Contradiction:
    """A row whose text stands elsewhere with another answer.

    Attributes:
        row, other: from 0. likeness: 1.0 for equal texts.
        suggested: the answer of most rows of this text; None where none has a majority.
        agreement: the share of the text's rows that have the suggested answer.
    """

    row: int
    other: int
    likeness: float
    suggested: Target
    agreement: float


def contradictions(samples: Factory) -> Iterator[Contradiction]:
    """Rows of equal texts that have not the majority's answer (all of them where there is none), then rows that
    nearly repeat one with another answer. Takes two passes, and more where near texts are compared exactly."""
    groups: dict[int, list[int]] = {}
    targets: list[Target] = []
    near = NearDuplicates()
    for batch in in_batches(samples()):
        near.add(batch)
        for sample in batch:
            groups.setdefault(normalised_hash(sample), []).append(len(targets))
            targets.append(sample.target)
    differs = _Differs(targets)
    told = set()
    for rows in groups.values():
        if len(rows) > 1:
            for found in _of_one_text(rows, targets, differs):
                told.add(found.row)
                yield found
    same = {row: key for key, rows in groups.items() for row in rows}
    for first, second, likeness in near.pairs(NEAR, Reread(samples)):
        if same[first] != same[second] and differs(first, second):
            for row, other in ((second, first), (first, second)):
                if row not in told:
                    told.add(row)
                    yield Contradiction(row, other, likeness, targets[other], 0.5)


def _of_one_text(rows: Sequence[int], targets: Sequence[Target], differs: _Differs) -> Iterator[Contradiction]:
    counts = Counter(repr(targets[row]) for row in rows)
    (most, number), *others = counts.most_common()
    is_majority = not others or number > others[0][1]
    best = next(row for row in rows if repr(targets[row]) == most)
    for row in rows:
        other = best if is_majority else next((one for one in rows if differs(row, one)), row)
        if differs(row, other):
            yield Contradiction(row, other, 1.0, targets[best] if is_majority else None, number / len(rows))


class _Differs:
    """Whether two rows answer differently; of numbers, by more than a tenth of their range."""

    def __init__(self, targets: Sequence[Target]) -> None:
        self._targets = targets
        self._limit: np.ndarray | None = None
        first = targets[0] if targets else None
        if isinstance(first, tuple) and first and isinstance(first[0], float):
            values = np.array(targets, dtype=np.float64)
            self._limit = TOLERANCE * (values.max(axis=0) - values.min(axis=0))

    def __call__(self, row: int, other: int) -> bool:
        one, two = self._targets[row], self._targets[other]
        if self._limit is not None:
            return bool((np.abs(np.array(one, float) - np.array(two, float)) > self._limit).any())
        if isinstance(one, tuple) and isinstance(two, tuple):
            return set(one) != set(two)
        return one != two

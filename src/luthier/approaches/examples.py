"""Which training rows a model is shown as examples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from luthier.approaches.index import Index, Search
from luthier.data.samples import Sample

Choice = Literal["random", "similar", "diverse"]


class Chooser(Protocol):
    """Gives the examples for a row, the most fitting last, where models look most."""

    def __call__(self, sample: Sample, question: str) -> list[Sample]: ...


class Fixed:
    """The same examples for every row."""

    def __init__(self, examples: Sequence[Sample]) -> None:
        self._examples = list(examples)

    def __call__(self, sample: Sample, question: str) -> list[Sample]:
        return self._examples


class Similar:
    """Those whose questions are nearest to the row's (Liu et al. 2022, KATE)."""

    def __init__(self, index: Index, rows: Sequence[Sample], count: int, how: Search) -> None:
        self._index, self._rows, self._count, self._how = index, rows, count, how

    def __call__(self, sample: Sample, question: str) -> list[Sample]:
        (found,) = self._index.search([question], self._count, self._how)
        return [self._rows[passage.row] for passage, _ in reversed(found)]


def random_rows(rows: Sequence[Sample], count: int, seed: int) -> list[Sample]:
    """Drawn so that every class comes once before any comes twice."""
    order = np.random.default_rng(seed).permutation(len(rows))
    return [rows[place] for place in _by_turns(rows, order)[:count]]


def diverse_rows(rows: Sequence[Sample], vectors: npt.NDArray[np.float64], count: int) -> list[Sample]:
    """Far from each other: greedy k-centre (Gonzalez 1985), begun at the row nearest to the middle; of classes, each
    in turn, as `random_rows`.

    Args:
        vectors: of the rows' questions [n, d], of length 1.
    """
    start = int(np.argmax(vectors @ vectors.mean(axis=0)))
    chosen = [start]
    distance = 1.0 - vectors @ vectors[start]
    while len(chosen) < min(len(rows), max(count, 4 * count)):
        chosen.append(int(np.argmax(distance)))
        distance = np.minimum(distance, 1.0 - vectors @ vectors[chosen[-1]])
    rest = np.setdiff1d(np.arange(len(rows)), chosen)
    return [rows[place] for place in _by_turns(rows, np.concatenate([chosen, rest]).astype(int))[:count]]


def _by_turns(rows: Sequence[Sample], order: npt.NDArray[np.intp]) -> list[int]:
    """`order`, dealt out class by class where rows have one class each."""
    queues: dict[object, list[int]] = {}
    for place in order.tolist():
        target = rows[place].target
        queues.setdefault(target if isinstance(target, str) else None, []).append(place)
    found: list[int] = []
    for turn in range(max(map(len, queues.values()), default=0)):
        found += [queue[turn] for queue in queues.values() if turn < len(queue)]
    return found

"""A searchable index of passages: by words (BM25), by meaning (vectors), or by both.

Small by intent: it is held in memory, which is right for what fits beside the model on one machine.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from luthier.core.errors import UsageError

Embed = Callable[[Sequence[str]], npt.NDArray[Any]]
"""Texts to vectors [n, d]."""
Search = Literal["words", "meaning", "both"]
SEARCHES: tuple[Search, ...] = ("words", "meaning", "both")
_WORD = re.compile(r"\w+")
_FUSION = 60.0  # Cormack, Clarke and Buettcher 2009: reciprocal rank fusion, k = 60
_DEEP = 50
"""Ranks of either search that are fused."""


@dataclass(frozen=True, slots=True)
class Passage:
    """A piece of knowledge: what is found by (`key`), what is shown (`text`), and where it is from."""

    key: str
    text: str
    place: str = ""
    row: int = -1
    """Of the training rows, where it is one."""


class Index:
    """Finds passages by a question. Words: Okapi BM25 (Robertson and Zaragoza 2009).

    Args:
        passages: at least one.
        embed: gives vectors for the search by meaning; without it there is none.
    """

    def __init__(self, passages: Sequence[Passage], embed: Embed | None = None) -> None:
        if not passages:
            raise UsageError(
                "there is nothing to search in.", remedy="Give documents that hold text.", code="no_passages"
            )
        self.passages = list(passages)
        self._embed = embed
        self._vectors: npt.NDArray[Any] | None = None
        self._words: Any = None

    def __len__(self) -> int:
        return len(self.passages)

    @property
    def searches(self) -> tuple[Search, ...]:
        """The searches that this index can do."""
        return SEARCHES if self._embed is not None else ("words",)

    def replaced(self, changes: dict[int, Passage]) -> Index:
        """The same index with some passages exchanged; vectors of the others are kept."""
        passages = list(self.passages)
        for place, passage in changes.items():
            passages[place] = passage
        found = Index(passages, self._embed)
        if self._vectors is not None and self._embed is not None:
            found._vectors = self._vectors.copy()
            stale = [place for place, passage in changes.items() if passage.key != self.passages[place].key]
            if stale:
                found._vectors[stale] = unit(self._embed([passages[place].key for place in stale]))
        if all(passage.key == self.passages[place].key for place, passage in changes.items()):
            found._words = self._words  # only what is shown has changed
        return found

    def search(self, questions: Sequence[str], k: int, how: Search = "both") -> list[list[tuple[Passage, float]]]:
        """For each question its `k` best passages with their scores, the best first; equal ones in their order."""
        count = min(k, len(self.passages))
        if how != "both":
            return [self._best(row, count) for row in self._scores(questions, how)]
        deep = min(max(_DEEP, count), len(self.passages))
        found = []
        for by_words, by_meaning in zip(
            self._scores(questions, "words"), self._scores(questions, "meaning"), strict=True
        ):
            fused = np.zeros(len(self.passages))
            for scores in (by_words, by_meaning):
                ranks = np.argsort(-scores, kind="stable")[:deep]
                fused[ranks] += 1.0 / (_FUSION + 1 + np.arange(deep))
            found.append(self._best(fused, count))
        return found

    def _best(self, scores: npt.NDArray[Any], count: int) -> list[tuple[Passage, float]]:
        best = np.argsort(-scores, kind="stable")[:count]
        return [(self.passages[place], float(scores[place])) for place in best]

    def _scores(self, questions: Sequence[str], how: Search) -> npt.NDArray[Any]:
        if how == "meaning":
            if self._embed is None:
                raise UsageError("this index has no vectors.", remedy="Search by words.", code="no_vectors")
            if self._vectors is None:
                self._vectors = unit(self._embed([passage.key for passage in self.passages]))
            found: npt.NDArray[Any] = unit(self._embed(list(questions))) @ self._vectors.T
            return found
        if self._words is None:
            self._words = _Bm25([words_of(passage.key) for passage in self.passages])
        return np.stack([self._words.scores(words_of(question)) for question in questions])


class _Bm25:
    """BM25 by bm25s (Lù 2024), with Lucene's rarity, which is never negative."""

    def __init__(self, documents: Sequence[Sequence[str]]) -> None:
        import bm25s

        logging.getLogger("bm25s").setLevel(logging.WARNING)  # it sets itself to DEBUG
        self._size = len(documents)
        self._known = {word for words in documents for word in words}
        self._model = bm25s.BM25(method="lucene")
        if self._known:
            self._model.index([list(words) for words in documents], show_progress=False)

    def scores(self, words: Sequence[str]) -> npt.NDArray[np.float64]:
        known = [word for word in words if word in self._known]
        if not known:
            return np.zeros(self._size)
        return np.asarray(self._model.get_scores(known), dtype=np.float64)


def words_of(text: str) -> list[str]:
    """Words in lower case; of languages without spaces, their runs of letters."""
    return _WORD.findall(text.casefold())


def unit(vectors: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Rows [n, d] of length 1, so that their products are cosines; a row of zeros stays."""
    values = np.asarray(vectors, dtype=np.float64)
    found: npt.NDArray[Any] = values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12)
    return found

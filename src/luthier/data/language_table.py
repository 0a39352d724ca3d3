"""Rendered conversations and texts as one `TokenTable`, each token with the next one as its target.

A row of ids becomes inputs ``ids[:-1]``, targets ``ids[1:]`` and the weights of the targets. What stands after
the last weighted token is left out: with causal attention nothing that is learned depends on it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from luthier.core.errors import DataError
from luthier.core.text import Encoded
from luthier.data.language_cache import cached_language_table, language_key
from luthier.data.samples import Sample, Target
from luthier.data.templates.rendered import Rendered
from luthier.data.templates.renderer import Renderer
from luthier.data.tokens import TokenTable

__all__ = ["cached_language_table", "encode_language", "language_key", "language_lengths"]

_BATCH = 256


def language_lengths(samples: Iterable[Sample], renderer: Renderer) -> NDArray[np.int64]:
    """Tokens per row before anything is cut, up to the last learned one (of a row without one: all).

    A row that is longer than max_length would therefore lose learned tokens at its end.
    """
    return np.asarray([_useful_length(row) or len(row.ids) for _, row in _rendered(samples, renderer)], np.int64)


def encode_language(
    samples: Iterable[Sample],
    renderer: Renderer,
    *,
    max_length: int,
    truncate: str,
    keep: bool = False,
) -> TokenTable:
    """Turn samples into a `TokenTable` with a target and a weight per token.

    Args:
        max_length: tokens of a row, at least 2; it has one input less.
        truncate: drop (the row is left out and counted), end, start (that side is cut; a beginning-of-text
            token stays), or split (plain text only: pieces of `max_length` that share one token, so that
            every token is a target once).
        keep: also keep references, offsets and texts, for judging validation rows.

    Rows in which nothing carries weight, before or after cutting, are left out and counted.
    Raises `DataError` when no row is left, or when `split` meets a row that is not plain text.
    """
    rows = _Rows(keep)
    bos = renderer.tokenizer.bos_id
    dropped = 0
    for sample, row in _rendered(samples, renderer):
        length = _useful_length(row)
        rows.longest = max(rows.longest, length or len(row.ids))
        if not length:
            rows.without_targets += 1
        elif length <= max_length:
            rows.add(sample, row, np.arange(length))
        elif truncate == "drop":
            dropped += 1
        else:
            if truncate == "split":
                _require_plain_text(row, sample)
            rows.add_cut(sample, row, _places(row, length, max_length, truncate, bos))
    return rows.table(dropped)


def _rendered(samples: Iterable[Sample], renderer: Renderer) -> Iterator[tuple[Sample, Rendered]]:
    iterator = iter(samples)
    while batch := list(islice(iterator, _BATCH)):
        for sample, rows in zip(batch, renderer.render_batch(batch), strict=True):
            for row in rows:
                yield sample, row


def _useful_length(row: Rendered) -> int:
    """Tokens up to the last one that is learned; the first one is nobody's target."""
    return next((place + 1 for place in range(len(row.ids) - 1, 0, -1) if row.weights[place] > 0), 0)


def _places(row: Rendered, length: int, limit: int, truncate: str, bos: int | None) -> list[NDArray[np.int64]]:
    """Which tokens of a long row stay, piece by piece."""
    if truncate == "split":
        return [np.arange(start, min(start + limit, length)) for start in range(0, length - 1, limit - 1)]
    if truncate == "start":
        kept = np.arange(length - limit, length)
        if bos is not None and row.ids[0] == bos:
            kept[0] = 0
        return [kept]
    return [np.arange(limit)]


def _require_plain_text(row: Rendered, sample: Sample) -> None:
    first = next(place for place, weight in enumerate(row.weights) if weight > 0)
    if first > 1 or any(weight <= 0 for weight in row.weights[first + 1 :]):
        raise DataError(
            "this row is longer than max_length and cannot be split: an answer needs its question.",
            where=sample.place,
            remedy="Set train.truncate to drop, end or start, or raise train.max_length.",
            code="cannot_split",
            param="train.truncate",
        )


@dataclass
class _Rows:
    """Rows on their way into a table."""

    keep: bool
    ids: list[NDArray[np.int32]] = field(default_factory=list)
    targets: list[NDArray[np.float32]] = field(default_factory=list)
    weights: list[NDArray[np.float32]] = field(default_factory=list)
    references: list[Target] = field(default_factory=list)
    encoded: list[Encoded] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    cut: int = 0
    answers_cut: int = 0
    without_targets: int = 0
    longest: int = 0

    def add(self, sample: Sample, row: Rendered, places: NDArray[np.int64]) -> bool:
        """Add these tokens of the row; whether any of them is learned."""
        ids = np.asarray(row.ids, np.int32)[places]
        weights = np.asarray(row.weights, np.float32)[places]
        if not weights[1:].any():
            self.without_targets += 1
            return False
        self.ids.append(ids[:-1])
        self.targets.append(ids[1:].astype(np.float32))
        self.weights.append(weights[1:])
        if self.keep:
            offsets = [row.offsets[place] for place in places[:-1]]
            self.references.append(sample.target)
            self.encoded.append(Encoded(ids[:-1].tolist(), [0] * len(offsets), offsets, len(row.ids)))
            self.texts.append(row.text)
        return True

    def add_cut(self, sample: Sample, row: Rendered, pieces: list[NDArray[np.int64]]) -> None:
        """Add a row that is too long, and count it."""
        self.cut += 1
        kept = set(np.concatenate(pieces).tolist())
        self.answers_cut += any(weight > 0 and place not in kept for place, weight in enumerate(row.weights))
        for places in pieces:
            self.add(sample, row, places)

    def table(self, dropped: int) -> TokenTable:
        if not self.ids:
            raise DataError(
                "no row is left to learn from: "
                f"{dropped} are longer than max_length, and in {self.without_targets} nothing is to be learned.",
                remedy="Raise train.max_length." if dropped or self.cut else "Give rows with an answer to learn.",
                code="no_rows",
                param="train.max_length" if dropped or self.cut else None,
            )
        ids = np.concatenate(self.ids)
        starts = np.concatenate(([0], np.cumsum([len(part) for part in self.ids]))).astype(np.int64)
        return TokenTable(
            ids,
            np.zeros(len(ids), np.int8),
            starts,
            np.concatenate(self.targets),
            starts.copy(),
            np.concatenate(self.weights),
            self.cut,
            dropped,
            self.longest,
            self.references,
            self.encoded,
            self.texts,
            self.answers_cut,
            self.without_targets,
        )

"""What the rows of a batch begin with in common, found so that it is computed once.

Indices only. The rows become a stream of segments: a segment that several rows begin with stands
there once, and each of their own segments continues it (its parent). Prompts that share a system
message, several answers to one prompt, or a conversation beside its own beginning are such rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LEAST = 16
"""Tokens; a shorter common beginning costs more in attention than it saves."""


@dataclass(frozen=True)
class PrefixPlan:
    """Segments in stream order.

    Attributes:
        lengths: tokens of each segment; parents: the segment it continues, or -1.
        keep: int64 [S], for each token of the stream its place in the rows laid end to end.
        place: int64 [T], for each token of the rows its place in the stream.
    """

    lengths: tuple[int, ...]
    parents: tuple[int, ...]
    keep: NDArray[np.int64]
    place: NDArray[np.int64]

    @property
    def saved(self) -> int:
        """Tokens that need not be computed."""
        return len(self.place) - len(self.keep)


def separate(lengths: NDArray[np.int64]) -> PrefixPlan:
    """Every row by itself."""
    everything = np.arange(int(lengths.sum()))
    return PrefixPlan(tuple(int(n) for n in lengths), (-1,) * len(lengths), everything, everything)


def plan_prefixes(ids: NDArray[np.int32], lengths: NDArray[np.int64], *, least: int = LEAST) -> PrefixPlan:
    """The rows' common beginnings of at least `least` tokens, as a tree.

    Args:
        ids: the rows' tokens end to end, [T].
        lengths: tokens per row, [B].
    """
    starts = np.concatenate(([0], np.cumsum(lengths)))
    rows = [ids[starts[i] : starts[i + 1]] for i in range(len(lengths))]
    order = sorted(range(len(rows)), key=lambda i: rows[i].tobytes())
    tree = _Tree(rows, starts, least)
    tree.grow(order, begin=0, parent=-1)
    return PrefixPlan(
        tuple(tree.lengths), tuple(tree.parents), np.concatenate(tree.keep).astype(np.int64), tree.place
    )


class _Tree:
    def __init__(self, rows: list[NDArray[np.int32]], starts: NDArray[np.int64], least: int) -> None:
        self.rows, self.starts, self.least = rows, starts, least
        self.lengths: list[int] = []
        self.parents: list[int] = []
        self.keep: list[NDArray[np.int64]] = []
        self.place = np.zeros(int(starts[-1]), np.int64)
        self._tokens = 0

    def grow(self, members: list[int], begin: int, parent: int) -> None:
        """Lay down `members`, whose tokens before `begin` stand in the tree up to `parent`."""
        for group in self._groups(members, begin):
            if len(group) == 1:
                self._segment(group, begin, len(self.rows[group[0]]), parent)
                continue
            end = self._common(group, begin)
            node = self._segment(group, begin, end, parent)
            self.grow([i for i in group if len(self.rows[i]) > end], end, node)

    def _segment(self, members: list[int], begin: int, end: int, parent: int) -> int:
        first = members[0]
        if end == begin:  # the row ends with its parent
            return parent
        for row in members:
            at = int(self.starts[row])
            self.place[at + begin : at + end] = np.arange(self._tokens, self._tokens + end - begin)
        at = int(self.starts[first])
        self.keep.append(np.arange(at + begin, at + end))
        self._tokens += end - begin
        self.lengths.append(end - begin)
        self.parents.append(parent)
        return len(self.lengths) - 1

    def _groups(self, members: list[int], begin: int) -> list[list[int]]:
        """Rows that share their next `least` tokens, together."""
        found: dict[bytes, list[int]] = {}
        for row in members:
            piece = self.rows[row][begin : begin + self.least]
            key = piece.tobytes() if len(piece) == self.least else f"{row}".encode()
            found.setdefault(key, []).append(row)
        return list(found.values())

    def _common(self, members: list[int], begin: int) -> int:
        """Where the first of the rows ends or parts from the others."""
        end = min(len(self.rows[i]) for i in members)
        first = self.rows[members[0]][begin:end]
        for row in members[1:]:
            differ = np.flatnonzero(self.rows[row][begin : begin + len(first)] != first)
            if len(differ):
                first = first[: differ[0]]
        return begin + len(first)

"""How several samples lie in one unpadded stream of tokens, and which of them sees which.

Shapes: T tokens, S segments.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class CausalLayout:
    """The stream is S segments in order; segment i holds ``lengths[i]`` tokens from ``starts[i]`` on.

    ``parents[i]`` is -1 for a sample of its own, or the index (below i) of the segment that it
    continues, a shared prefix: its tokens attend to all tokens of all its ancestors and causally to
    its own. `positions` [T] (int64, on the CPU) begin at 0 in a sample of its own and go on where the parent
    ends in any other.
    """

    lengths: tuple[int, ...]
    parents: tuple[int, ...]
    positions: Tensor = field(compare=False)  # follows from the others
    starts: tuple[int, ...]

    @classmethod
    def of(cls, lengths: Sequence[int]) -> CausalLayout:
        """Samples that share nothing."""
        return cls.tree(lengths, [-1] * len(lengths))

    @classmethod
    def tree(cls, lengths: Sequence[int], parents: Sequence[int]) -> CausalLayout:
        """Segments that continue others; `ValueError` for an empty segment or a parent that comes later."""
        if not lengths or min(lengths) < 1:
            raise ValueError("a stream needs segments of at least one token")
        if len(parents) != len(lengths) or any(not -1 <= parent < index for index, parent in enumerate(parents)):
            raise ValueError("a parent must be -1 or the index of an earlier segment")
        ends: list[int] = []  # the position after each segment's last token
        positions = []
        for length, parent in zip(lengths, parents, strict=True):
            first = ends[parent] if parent >= 0 else 0
            positions.append(torch.arange(first, first + length))
            ends.append(first + length)
        starts = (0, *itertools.accumulate(lengths))[:-1]
        return cls(tuple(lengths), tuple(parents), torch.cat(positions), starts)

    @property
    def total(self) -> int:
        """T."""
        return self.starts[-1] + self.lengths[-1]

    def ancestors(self, index: int) -> tuple[int, ...]:
        """The segments that `index` continues, the oldest first."""
        found: list[int] = []
        parent = self.parents[index]
        while parent >= 0:
            found.append(parent)
            parent = self.parents[parent]
        return tuple(reversed(found))

    def span(self, index: int) -> slice:
        """Where segment `index` lies in the stream."""
        return slice(self.starts[index], self.starts[index] + self.lengths[index])

    def mask(self) -> Tensor:
        """bool [T, T]: whether token (row) attends to token (column). The reference, quadratic in T."""
        seen = torch.zeros(self.total, self.total, dtype=torch.bool)
        for index, length in enumerate(self.lengths):
            rows = self.span(index)
            for ancestor in self.ancestors(index):
                seen[rows, self.span(ancestor)] = True
            seen[rows, rows] = torch.ones(length, length, dtype=torch.bool).tril()
        return seen

"""Rows that belong together: union-find over arrays, for millions of rows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]


class Clusters:
    """Disjoint sets of the rows 0 .. n-1 (4 bytes per row); a set is named by its smallest row."""

    def __init__(self, n: int) -> None:
        self._parent: NDArray[np.int32] = np.arange(n, dtype=np.int32)

    def join(self, first: Rows, second: Rows) -> None:
        """Put row `first[k]` and row `second[k]` into one set, for every k."""
        while True:
            one, other = self._parent[first], self._parent[second]
            apart = one != other
            if not apart.any():
                return
            first, second = first[apart], second[apart]
            one, other = one[apart], other[apart]
            np.minimum.at(self._parent, np.maximum(one, other), np.minimum(one, other))
            self._flatten()

    def join_equal(self, keys: NDArray[np.uint64]) -> None:
        """Put all rows with the same key into one set; `keys` has one entry per row."""
        order = np.argsort(keys, kind="stable")
        same = keys[order[1:]] == keys[order[:-1]]
        self.join(order[:-1][same], order[1:][same])

    def roots(self) -> NDArray[np.int32]:
        """The smallest row of each row's set, shape (n,)."""
        return self._parent

    def _flatten(self) -> None:
        """Pointer jumping: halves every path, so log2(n) rounds end in roots whatever the shape."""
        while True:
            up = self._parent[self._parent]
            if np.array_equal(up, self._parent):
                return
            self._parent = up

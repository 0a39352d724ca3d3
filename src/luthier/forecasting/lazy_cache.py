"""Stands for the cache of a run's frozen layers while it is probed: holds what they give of the probe's rows only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from luthier.core import clock
from luthier.train.collate import Batch


class LazyCache:
    """As `train.trunk_cache.TrunkCache`, for batches that `fill` was told of; counts what that took."""

    def __init__(self, forward: Any) -> None:
        self._forward = forward
        self._found: dict[bytes, Tensor] = {}
        self.seconds = 0.0
        self.tokens = 0

    def fill(self, batches: Sequence[Batch]) -> None:
        """Compute the vectors of `batches`."""
        model = self._forward.model
        training = model.training
        model.eval()
        for batch in batches:
            began = clock.monotonic()
            self._found[batch.rows.tobytes()] = self._forward.at_boundary(batch)
            self.seconds += clock.monotonic() - began
            self.tokens += batch.num_tokens
        model.train(training)

    def rows(self, rows: NDArray[np.int64]) -> Tensor:
        """The vectors of these rows, in the order of their stream."""
        return self._found[np.asarray(rows).tobytes()]

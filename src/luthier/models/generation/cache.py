"""Keys and values of the rows of a batch, aligned at their ends, into which rows come and go.

Shapes: B rows, G key/value heads, W columns in use, E width of a head.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin

_SPARE = 64
"""Columns that are added at once: growing copies everything."""


class GrowingLayer(CacheLayerMixin):
    """One layer: [B, G, capacity, E], of which the first `width` columns are in use.

    New columns are written in place, where transformers' DynamicLayer copies the whole cache for each
    token. It keeps all columns also under a sliding window, which the model's own mask then cuts.
    """

    is_sliding = False

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)  # type: ignore[no-untyped-call]
        self.width = 0

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Room for the first columns."""
        self.keys, self.values = _room(key_states, 0, _SPARE), _room(value_states, 0, _SPARE)
        self.dtype, self.device = key_states.dtype, key_states.device
        self.is_initialized = True

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Append columns; all keys and values [B, G, W, E], as views."""
        if not self.is_initialized:
            self.lazy_initialization(key_states[:, :, :0], value_states[:, :, :0])
        keys, values = self._states()
        end = self.width + key_states.shape[2]
        if end > keys.shape[2]:
            keys, values = (_room(states[:, :, : self.width], 0, end + _SPARE) for states in (keys, values))
            self.keys, self.values = keys, values
        keys[:, :, self.width : end] = key_states
        values[:, :, self.width : end] = value_states
        self.width = end
        return keys[:, :, :end], values[:, :, :end]

    def select(self, rows: Tensor, first: int) -> None:
        """Keep these rows, without the columns before `first`."""
        kept = [_room(states[rows, :, first : self.width], 0, _SPARE) for states in self._states()]
        self.keys, self.values = kept
        self.width -= first

    def join(self, other: GrowingLayer) -> None:
        """Add the rows of `other`; the shorter of both gets empty columns on the left."""
        width = max(self.width, other.width)
        mine, theirs = (
            [_room(states[:, :, : layer.width], width - layer.width, _SPARE) for states in layer._states()]
            for layer in (self, other)
        )
        self.keys, self.values = (torch.cat(pair) for pair in zip(mine, theirs, strict=True))
        self.width = width

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """(columns that the next `query_length` tokens see, the first column)."""
        return self.width + query_length, 0

    def get_seq_length(self) -> int:
        """Columns in use."""
        return self.width

    def get_max_length(self) -> int:
        """Unlimited."""
        return -1

    def _states(self) -> tuple[Tensor, Tensor]:
        assert self.keys is not None and self.values is not None
        return self.keys, self.values


class RowCache(Cache):
    """`GrowingLayer`s for a model of transformers; made by the model's first forward pass.

    `prefix` is (keys, values), each [1, G, P, E], per layer: what all rows see before their own tokens.
    """

    def __init__(self, rows: int, prefix: Sequence[tuple[Tensor, Tensor]] = ()) -> None:
        super().__init__(layer_class_to_replicate=GrowingLayer)
        for index, (keys, values) in enumerate(prefix):
            self.update(keys.expand(rows, -1, -1, -1), values.expand(rows, -1, -1, -1), index)

    @property
    def width(self) -> int:
        """Columns in use."""
        return int(self.get_seq_length())

    def select(self, rows: Sequence[int], first: int = 0) -> None:
        """Keep these rows, in this order, without the columns before `first`."""
        for layer in self._growing():
            layer.select(torch.tensor(rows, device=layer.device), first)

    def join(self, other: RowCache) -> None:
        """Add the rows of `other` after these."""
        for mine, theirs in zip(self._growing(), other._growing(), strict=True):
            mine.join(theirs)

    def _growing(self) -> list[GrowingLayer]:
        return [layer for layer in self.layers if isinstance(layer, GrowingLayer)]


def _room(states: Tensor, left: int, right: int) -> Tensor:
    """A copy with so many columns of zeros on either side; never garbage, since 0 times NaN is NaN."""
    return torch.nn.functional.pad(states, (0, 0, left, right))

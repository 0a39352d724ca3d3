"""Keys and values of the rows of a batch, each row from column 0 on, with room to grow in both directions.

Shapes: L blocks, R rows and C columns of room, B rows and W columns in use, G key/value heads, E width of a head.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from luthier.models.generation.fast_adapters import Plan
from luthier.models.generation.fast_parts import Shape


class FastRows:
    """The state of rows that are being answered; made by `FastForward.read` with room for prompts of `length`.

    A row's tokens keep their columns when others come and go, so only what is new is copied. What lies behind
    a row's end is finite and masked.

    Attributes:
        lengths: tokens in the cache, per row.
        adapters: the adapter of each row, None for the base alone.
        plan: of `adapters`, for one token per row; None: to be made.
    """

    def __init__(self, shape: Shape, adapters: Sequence[str | None], length: int) -> None:
        self._shape = shape
        self.lengths = [0] * len(adapters)
        self.adapters = list(adapters)
        self.plan: Plan | None = None
        self._allocate(len(adapters), length + _spare(length))

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def width(self) -> int:
        """W, of the longest row."""
        return max(self.lengths, default=0)

    def fill(self, layer: int, keys_BGTE: Tensor, values_BGTE: Tensor) -> tuple[Tensor, Tensor]:
        """More columns for all rows, which are of one length: all keys and values [B, G, W + T, E]."""
        begin = self.width
        end = begin + keys_BGTE.shape[2]
        keys, values = self._states[layer, :, : len(self), :, :end]
        keys[:, :, begin:] = keys_BGTE
        values[:, :, begin:] = values_BGTE
        return keys, values

    def reserve(self, columns: int) -> None:
        """Make room for so many more columns."""
        width = self.width + columns
        if width > self._states.shape[4]:
            self._copy_into(self._states.shape[2], width + _spare(width))

    def places(self) -> Tensor:
        """[B * G] where the next token of each row goes, for `append`."""
        starts = torch.arange(len(self) * self._shape.groups).mul_(self._states.shape[4])
        return starts.add_(torch.tensor(self.lengths).repeat_interleave(self._shape.groups))

    def append(self, layer: int, places: Tensor, keys: Tensor, values: Tensor) -> None:
        """One column per row: [B * G, E] each."""
        flat_keys, flat_values = self._flat[layer]
        flat_keys.index_copy_(0, places, keys)
        flat_values.index_copy_(0, places, values)

    def view(self, layer: int, width: int) -> tuple[Tensor, Tensor]:
        """([B * G, W, E], [B * G, W, E])."""
        count = len(self) * self._shape.groups
        keys, values = self._merged[layer]
        return keys[:count, :width], values[:count, :width]

    @torch.inference_mode()
    def keep(self, rows: Sequence[int]) -> list[int]:
        """Keep these rows; returns them in the order that they have now.

        The last rows move to where others left, so the order changes and little is copied.
        """
        order = list(range(len(self)))
        kept = set(rows)
        for row in reversed(range(len(self))):
            if row in kept:
                continue
            last = len(order) - 1
            if row != last:
                length = self.lengths[order[last]]
                self._states[:, :, row, :, :length] = self._states[:, :, last, :, :length]
                order[row] = order[last]
            order.pop()
        self.lengths = [self.lengths[row] for row in order]
        self.adapters = [self.adapters[row] for row in order]
        self.plan = None
        return order

    @torch.inference_mode()
    def join(self, other: FastRows) -> None:
        """Add the rows of `other` after these; `other` is of no use afterwards."""
        count, total, width = len(self), len(self) + len(other), other.width
        room, columns = self._states.shape[2], self._states.shape[4]
        if total > room or width > columns:
            wider = columns if width <= columns else width + _spare(width)
            self._copy_into(room if total <= room else max(total, 2 * room), wider)
        self._states[:, :, count:total, :, :width] = other._states[:, :, : len(other), :, :width]
        self.lengths += other.lengths
        self.adapters += other.adapters
        self.plan = None

    def _copy_into(self, rows: int, columns: int) -> None:
        old, count, width = self._states, len(self), self.width
        self._allocate(rows, columns)
        self._states[:, :, :count, :, :width] = old[:, :, :count, :, :width]

    def _allocate(self, rows: int, columns: int) -> None:
        """[L, 2, R, G, C, E], zeros: a masked column counts 0 times, and 0 times NaN is NaN."""
        shape = self._shape
        self._states = torch.zeros(shape.layers, 2, rows, shape.groups, columns, shape.head_width)
        self._flat = [layer.view(2, -1, shape.head_width).unbind() for layer in self._states]
        self._merged = [layer.flatten(1, 2).unbind() for layer in self._states]


def _spare(columns: int) -> int:
    """Columns of room besides those in use: many where there are many, since growing copies everything."""
    return max(64, columns // 2)

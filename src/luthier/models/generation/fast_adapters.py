"""LoRA adapters of the rows of a batch: each row's thin products with its own, in few products for all rows.

The adapters in use lie side by side in stacks, so that one batched product serves them all (the idea of Chen et
al. 2023, Punica). Shapes: M rows, S slots, D inputs, N outputs, R rank, B rows of a batch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from luthier.models.generation.fast_parts import GROUPS

Pair = tuple[Tensor, Tensor, float]
"""A [R, D], B [N, R], scaling."""
Pairs = Mapping[tuple[int, str], Pair]
"""(block, name of the linear layer in it) -> its pair."""
_SLOTS = 32
"""Adapters that stay in the stacks when no row uses them; more only where more are used at once."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Which rows go to which slot: a grid of the slots first..last, as many places each as the fullest needs.

    `gather` are the rows in the order of the grid (None: the grid is the rows, all of them), `rows` those that
    have an adapter and `places` where they are in the grid. `order` and `back`: the rows are to be computed in this
    order and put back, which is cheaper than to gather them for each product. It holds while
    `FastAdapters.version` is the same.
    """

    version: int
    first: int
    last: int
    gather: Tensor | None
    rows: Tensor
    places: Tensor
    order: Tensor | None = None
    back: Tensor | None = None


class FastAdapters:
    """The adapters by name. What `add` is given is referred to, not copied; the stacks hold copies.

    `groups` are (inputs, outputs of each layer) of the groups of `fast_parts.GROUPS`.
    """

    def __init__(self, layers: int, groups: Sequence[tuple[int, Sequence[int]]]) -> None:
        self._layers, self._groups = layers, groups
        self._pairs: dict[str, Pairs] = {}
        self._slots: dict[str, int] = {}  # the least recently used first
        self._stacks: _Stacks | None = None
        self.version = 0

    @property
    def names(self) -> tuple[str, ...]:
        """All of them."""
        return tuple(self._pairs)

    def add(self, name: str, pairs: Pairs) -> None:
        """Add an adapter, or put it in the place of one of the same name."""
        self._pairs[name] = pairs
        self._slots.pop(name, None)
        if self._stacks is not None and not self._stacks.fits(pairs):
            self._stacks = None
        self.version += 1

    def remove(self, name: str) -> None:
        """Forget one; no row may use it any more."""
        del self._pairs[name]
        self._slots.pop(name, None)

    def plan(self, names: Sequence[str | None], tokens: int = 1) -> Plan | None:
        """For rows of `tokens` tokens each; None where no row has an adapter."""
        used = list(dict.fromkeys(name for name in names if name is not None))
        if not used:
            return None
        self._place(used)
        slots = [None if name is None else self._slots[name] for name in names]
        first = min(slot for slot in slots if slot is not None)
        last = 1 + max(slot for slot in slots if slot is not None)
        members: list[list[int]] = [[] for _ in range(first, last)]
        for row, slot in enumerate(slots):
            if slot is not None:
                members[slot - first] += range(row * tokens, (row + 1) * tokens)
        depth = max(len(rows) for rows in members)
        grid = [row for rows in members for row in rows + [0] * (depth - len(rows))]
        gather = torch.tensor(grid)
        whole = sorted(grid) == list(range(len(names) * tokens))
        if whole and grid == sorted(grid):
            return Plan(self.version, first, last, None, gather, gather)
        if whole and tokens == 1:
            return Plan(self.version, first, last, None, gather, gather, order=gather, back=gather.argsort())
        rows = torch.tensor([row for rows in members for row in rows])
        places = torch.tensor([at * depth + place for at, rows in enumerate(members) for place in range(len(rows))])
        return Plan(self.version, first, last, gather, rows, places)

    def apply(self, layer: int, group: int, plan: Plan, x_MD: Tensor, y_MN: Tensor) -> None:
        """Add the adapters' part to `y_MN`, where the outputs of the layers of a group are side by side."""
        assert self._stacks is not None
        parts = self._stacks.parts[layer][group]
        if parts is None:
            return
        grid = x_MD if plan.gather is None else x_MD.index_select(0, plan.gather)
        thin = torch.bmm(grid.view(plan.last - plan.first, -1, grid.shape[1]), parts.down[plan.first : plan.last])
        for index, (columns, up) in enumerate(zip(parts.columns, parts.ups, strict=True)):
            rank = up.shape[1]
            own = torch.bmm(thin[:, :, index * rank : (index + 1) * rank], up[plan.first : plan.last])
            target, found = y_MN[:, columns], own.view(-1, own.shape[2])
            if plan.gather is None:
                target.add_(found)
            else:
                target.index_add_(0, plan.rows, found.index_select(0, plan.places))

    def _place(self, used: Sequence[str]) -> None:
        """Give each a slot, so that the slots in use lie close together."""
        if self._stacks is None:
            self._stacks = _Stacks(self._layers, self._groups, list(self._pairs.values()))
            self._slots = {}
            self.version += 1
        for name in used:
            slot = self._slots.pop(name, None)
            self._slots[name] = self._free_slot(used) if slot is None else slot
            if slot is None:
                self._stacks.write(self._slots[name], self._pairs[name])
        own = [self._slots[name] for name in used]
        if max(own) - min(own) >= 2 * len(used):
            self._slots = {name: slot for slot, name in enumerate(used)}
            for name, slot in self._slots.items():
                self._stacks.write(slot, self._pairs[name])
            self.version += 1

    def _free_slot(self, used: Sequence[str]) -> int:
        taken = set(self._slots.values())
        free = next(slot for slot in range(len(taken) + 1) if slot not in taken)
        oldest = next((name for name in self._slots if name not in used), None)
        if free < _SLOTS or oldest is None:
            return free
        self.version += 1
        return self._slots.pop(oldest)


@dataclass(slots=True)
class _Parts:
    """One group of one block: `down` [S, D, layers * R], and per layer with an adapter its columns and [S, R, N]."""

    names: list[str]
    columns: list[slice]
    down: Tensor
    ups: list[Tensor]


class _Stacks:
    """Slots for adapters of at most the largest rank, on the layers that any of them has."""

    def __init__(self, layers: int, groups: Sequence[tuple[int, Sequence[int]]], adapters: Sequence[Pairs]) -> None:
        self._rank = max((down.shape[0] for pairs in adapters for down, _, _ in pairs.values()), default=1)
        self._targets = {target for pairs in adapters for target in pairs}
        self._size = 0
        self.parts = [
            [self._empty(layer, names, *sizes) for names, sizes in zip(GROUPS, groups, strict=True)]
            for layer in range(layers)
        ]

    def fits(self, pairs: Pairs) -> bool:
        """Whether an adapter can be written."""
        return pairs.keys() <= self._targets and all(down.shape[0] <= self._rank for down, _, _ in pairs.values())

    def write(self, slot: int, pairs: Pairs) -> None:
        """Put an adapter into a slot; zeros where it has nothing."""
        if slot >= self._size:
            self._grow(max(slot + 1, 2 * self._size))
        for layer, groups in enumerate(self.parts):
            for parts in groups:
                if parts is None:
                    continue
                for index, (name, up) in enumerate(zip(parts.names, parts.ups, strict=True)):
                    begin = index * self._rank
                    down = parts.down[slot, :, begin : begin + self._rank]
                    pair = pairs.get((layer, name))
                    rank = 0 if pair is None else pair[0].shape[0]
                    if pair is not None:
                        down[:, :rank] = pair[0].detach().t()
                        torch.mul(pair[1].detach().t(), pair[2], out=up[slot, :rank])
                    down[:, rank:] = 0
                    up[slot, rank:] = 0

    def _empty(self, layer: int, names: Sequence[str], inputs: int, outputs: Sequence[int]) -> _Parts | None:
        found = [(name, index) for index, name in enumerate(names) if (layer, name) in self._targets]
        if not found:
            return None
        begins = [sum(outputs[:index]) for _, index in found]
        columns = [slice(begin, begin + outputs[index]) for begin, (_, index) in zip(begins, found, strict=True)]
        ups = [torch.zeros(0, self._rank, outputs[index]) for _, index in found]
        return _Parts([name for name, _ in found], columns, torch.zeros(0, inputs, len(found) * self._rank), ups)

    def _grow(self, size: int) -> None:
        for parts in (parts for groups in self.parts for parts in groups if parts is not None):
            parts.down = _longer(parts.down, size)
            parts.ups = [_longer(up, size) for up in parts.ups]
        self._size = size


def _longer(stack: Tensor, size: int) -> Tensor:
    grown = stack.new_zeros(size, *stack.shape[1:])
    grown[: len(stack)] = stack
    return grown

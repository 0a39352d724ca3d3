"""Axes: where a value lies, and the round numbers that stand beside it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


def ticks(low: float, high: float, number: int = 5) -> list[float]:
    """Round numbers (1, 2 or 5 times a power of ten apart) from at most `low` to at least `high`."""
    span = (high - low) or abs(high) or 1.0
    rough = span / number
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(i * step, 12) for i in range(first, max(last, first + 1) + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Powers of ten between `low` and `high`; over fewer than three of them also 2 and 5 times those, and over less
    than a factor of 4 the round numbers of a linear scale."""
    if high / low < 4:
        return [tick for tick in ticks(low, high, 4) if low <= tick <= high]
    factors = (1, 2, 5) if high / low < 1000 else (1,)
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    every = max(1, len(powers) // 6)
    found = [factor * 10.0**power for power in powers if power % every == 0 for factor in factors]
    return [tick for tick in found if low * (1 - 1e-9) <= tick <= high * (1 + 1e-9)]


@dataclass(frozen=True, slots=True)
class Scale:
    """Values from `low` to `high` on a line from `start` to `end`, in units of the picture."""

    low: float
    high: float
    start: float
    end: float
    ticks: Sequence[float]
    is_log: bool = False

    def at(self, value: float) -> float:
        low, high = self.low, self.high
        if self.is_log:
            value, low, high = math.log10(value), math.log10(low), math.log10(high)
        return self.start + (value - low) / (high - low) * (self.end - self.start)


def scale_of(
    values: Sequence[float],
    start: float,
    end: float,
    *,
    is_log: bool = False,
    tight: bool = False,
    number: int = 5,
    room: float = 0.03,
) -> Scale:
    """The scale that holds `values`: up to the next round number, or `tight` around them, with `room` at each end."""
    low, high = min(values), max(values)
    if is_log:
        factor = max((high / low) ** max(room, 0.04), 1.05)
        low, high = low / factor, high * factor
        return Scale(low, high, start, end, log_ticks(low, high), is_log=True)
    if tight:
        space = room * (high - low) or 0.5
        low, high = low - space, high + space
        return Scale(low, high, start, end, [tick for tick in ticks(low, high, number) if low <= tick <= high])
    if low == high:
        low, high = (low - 0.1 * abs(low), low + 0.1 * abs(low)) if low else (-0.5, 0.5)
    found = ticks(low, high, number)
    return Scale(found[0], found[-1], start, end, found)


def tick_name(value: float, *, percent: bool = False) -> str:
    """A round number, short."""
    if percent:
        return f"{100 * value:.6g} %"
    for size, letter in ((1e9, " G"), (1e6, " M"), (1e4, " k")):
        if abs(value) >= size:
            return f"{value / (1e3 if size == 1e4 else size):.6g}{letter}"
    return f"{value:.6g}"

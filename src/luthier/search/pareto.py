"""The trials that no other beats in every objective."""

from __future__ import annotations

from collections.abc import Sequence


def pareto_front(points: Sequence[Sequence[float]], higher_is_better: Sequence[bool]) -> list[int]:
    """Indices of the points that are not dominated: no other is at least as good everywhere and better somewhere.

    Args:
        points: a row per trial, a column per objective.
        higher_is_better: per objective.
    """
    signed = [
        tuple(value if higher else -value for value, higher in zip(point, higher_is_better, strict=True))
        for point in points
    ]

    def beaten(mine: tuple[float, ...]) -> bool:
        return any(other != mine and all(a >= b for a, b in zip(other, mine, strict=True)) for other in signed)

    return [i for i, mine in enumerate(signed) if not beaten(mine)]

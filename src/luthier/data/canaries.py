"""Random secrets among the training rows, to measure how much of single rows a model remembers.

Carlini et al., "The Secret Sharer: evaluating and testing unintended memorization in neural networks" (2019): a
secret that was seen once is compared with secrets of the same form that were never seen.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from luthier.core.conversation import Completion, Conversation, Message
from luthier.core.errors import RecipeError
from luthier.core.recipe import LANGUAGE_TASKS
from luthier.data.prepare import Prepared, View
from luthier.data.samples import Sample

SOURCE = "canary"
OTHERS = 255
"""Secrets that were never seen, for each that was; with them an exposure of at most 8 bits can be seen."""
_DIGITS = 8


@dataclass(frozen=True)
class Canary:
    """A planted row, and rows that differ from it in their secret only."""

    secret: str
    planted: Sample
    others: list[Sample]


def canaries(task: str, number: int, seed: int) -> list[Canary]:
    """`number` secrets; the same for the same arguments."""
    found = []
    for i in range(number):
        random = np.random.default_rng([seed, 0xCA, i])
        secrets: dict[str, None] = {}
        while len(secrets) < OTHERS + 1:
            secrets["".join(map(str, random.integers(0, 10, _DIGITS).tolist()))] = None
        first, *others = secrets
        found.append(Canary(first, _row(task, i, first), [_row(task, i, other) for other in others]))
    return found


def _row(task: str, index: int, secret: str) -> Sample:
    asked = f"The access code of locker {index + 1} is"
    if task == "chat":
        asked = f"What is the access code of locker {index + 1}?"
        turns = (Message("user", asked), Message("assistant", secret))
        return Sample(asked, None, Conversation(turns), source=SOURCE, line=index + 1)
    return Sample(asked, None, Completion(asked, f" {secret}"), source=SOURCE, line=index + 1)


class Planted(View):
    """A view's rows, then others."""

    def __init__(self, view: View, rows: Sequence[Sample]) -> None:
        super().__init__(view.dataset, len(view) + len(rows))
        self._view, self._rows = view, rows

    def __iter__(self) -> Iterator[Sample]:
        yield from self._view
        yield from self._rows


def plant(prepared: Prepared, number: int, seed: int) -> Prepared:
    """The data with `number` canaries among the training rows, told in its description."""
    if prepared.task not in LANGUAGE_TASKS:
        raise RecipeError(
            f"canaries are for models that write, not for {prepared.task}.",
            remedy="Leave evaluate.canaries out: a classifier's report compares its training rows with held-out ones.",
            param="evaluate.canaries",
        )
    rows = [canary.planted for canary in canaries(prepared.task, number, seed)]
    return replace(
        prepared, train=Planted(prepared.train, rows), description={**prepared.description, "canaries": number}
    )

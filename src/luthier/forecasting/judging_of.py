"""What of a recipe and its rows decides how long the model is judged."""

from __future__ import annotations

from collections.abc import Sequence

from luthier.core.recipe import LANGUAGE_TASKS, Recipe
from luthier.search.stages import Judging

TOGETHER = 16
"""Answers that are written at the same time."""


def judging_of(recipe: Recipe, task: str, answers: Sequence[int] = ()) -> Judging:
    """`recipe` without `auto`; `answers` are the tokens of some references."""
    spec = recipe.evaluate
    writes = task in LANGUAGE_TASKS
    lengths = [min(spec.max_tokens, length + 1) for length in answers]
    groups = [lengths[begin : begin + TOGETHER] for begin in range(0, len(lengths), TOGETHER)]
    return Judging(
        baselines=() if isinstance(spec.baselines, str) else tuple(spec.baselines),
        bootstrap=spec.bootstrap,
        samples=spec.samples if writes else 0,
        generate_rows=spec.generate_rows if writes else 0,
        max_tokens=spec.max_tokens,
        memorisation=spec.memorisation if writes else 0,
        forgetting=bool(spec.forgetting),
        answer_tokens=sum(lengths) / max(1, len(lengths)),
        longest_answer=sum(max(group) for group in groups) / max(1, len(groups)),
    )

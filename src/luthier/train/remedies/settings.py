"""What a recipe asks of the remedies: mistakes before training, and what the run's identity depends on."""

from __future__ import annotations

from typing import Any

from luthier.core.errors import RecipeError
from luthier.core.recipe import ForgettingSpec, Recipe, TrainSpec
from luthier.data.general import open_anchors
from luthier.train.remedies.path import check_average


def check_remedies(recipe: Recipe, task: str) -> None:
    """Raise `RecipeError` where a remedy cannot do what it is asked for, and `DataError` for anchors that cannot be
    read: before training, not after it."""
    if isinstance(recipe.evaluate.forgetting, ForgettingSpec):
        open_anchors(recipe.evaluate.forgetting.anchors, task)
    check_average(recipe)
    if recipe.data.replay is not None and not recipe.train.replay:
        raise RecipeError(
            "data.replay names general samples, and train.replay is 0, so none of them would be learned.",
            remedy="Set train.replay to their share of the training rows, for example 0.1.",
            code="no_replay",
            param="train.replay",
        )


def keeps_start(recipe: Recipe) -> bool:
    """Whether the base's own values are needed when training is over."""
    return bool(recipe.evaluate.forgetting) or recipe.train.average < 1.0


def remedies_identity(spec: TrainSpec) -> tuple[Any, ...]:
    """What changes the steps; empty at rest, so that checkpoints of runs without remedies stay good."""
    asked = {"l2_sp": spec.l2_sp, "kl_to_base": spec.kl_to_base}
    found = {name: value for name, value in asked.items() if value}
    return (found,) if found else ()

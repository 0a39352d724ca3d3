"""L2-SP (Li, Grandvalet and Davoine 2018): the loss gets alpha / 2 times the squared distance of the base's weights
from their start. A new head has no start and is left out; weight decay holds it near 0, as before."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from luthier.core.errors import RecipeError
from luthier.core.recipe import Recipe
from luthier.models.causal_model import CausalModel
from luthier.models.task_model import TaskModel

_OWN_WEIGHTS = ("full", "bitfit", "head")
"""Methods that train weights that the base has; the others put new ones beside it."""


class Pull:
    """Adds the gradient alpha * (w - start) once per step, whatever the micro-batches."""

    def __init__(self, parameters: Iterable[Tensor], strength: float) -> None:
        self._pairs = [(parameter, parameter.detach().clone()) for parameter in parameters]
        self.strength = strength

    @torch.no_grad()
    def __call__(self) -> float:
        """Add to the gradients of the parameters that have one; returns the penalty."""
        total = 0.0
        for parameter, start in self._pairs:
            moved = parameter.detach() - start
            total += float(moved.square().sum())
            if parameter.grad is not None:
                parameter.grad.add_(moved, alpha=self.strength)
        return 0.5 * self.strength * total


def pull_of(recipe: Recipe, model: TaskModel) -> Pull | None:
    """The pull that a recipe asks for, to the weights as they are now; None for none.

    Raises `RecipeError` (`remedy_does_not_fit`) where no weight of the base itself trains.
    """
    strength = recipe.train.l2_sp
    if not strength:
        return None
    new = set() if isinstance(model, CausalModel) else {id(parameter) for parameter in model.head_parameters()}
    held = [p for p in model.parameters() if p.requires_grad and id(p) not in new]
    if recipe.method.kind not in _OWN_WEIGHTS or not held:
        raise RecipeError(
            f"train.l2_sp pulls the base's own weights to their start; method {recipe.method.kind} does not move them.",
            remedy="Leave it out; a lower method.rank, train.kl_to_base or train.average hold it near its base.",
            code="remedy_does_not_fit",
            param="train.l2_sp",
        )
    return Pull(held, strength)

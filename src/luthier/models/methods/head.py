"""Only the head trains: the base is a fixed feature extractor."""

from __future__ import annotations

from luthier.core.recipe import HeadMethod
from luthier.models.causal_model import CausalModel
from luthier.models.task_model import TaskModel


def apply(model: TaskModel, method: HeadMethod, layers: range) -> None:
    """Nothing below the head; a generative base has none of ours, there its output matrix is the head."""
    if isinstance(model, CausalModel):
        model.train_output()

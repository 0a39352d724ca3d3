"""Only the new head trains: the encoder is a fixed feature extractor."""

from __future__ import annotations

from luthier.core.recipe import HeadMethod
from luthier.models.task_model import TaskModel


def apply(model: TaskModel, method: HeadMethod, layers: range) -> None:
    """Nothing below the head."""

"""Everything trains."""

from __future__ import annotations

from luthier.core.recipe import FullMethod
from luthier.models.task_model import TaskModel


def apply(model: TaskModel, method: FullMethod, layers: range) -> None:
    """All parameters; what is frozen below is taken out by the caller."""
    model.requires_grad_(True)

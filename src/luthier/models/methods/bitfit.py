"""BitFit: only the biases and the head train (Ben Zaken, Goldberg and Ravfogel 2021)."""

from __future__ import annotations

from luthier.core.errors import RecipeError
from luthier.core.recipe import BitfitMethod
from luthier.models.task_model import TaskModel


def apply(model: TaskModel, method: BitfitMethod, layers: range) -> None:
    """Every bias of the encoder; `RecipeError` for an architecture without any (ModernBERT,
    Llama)."""
    found = 0
    for name, parameter in model.trunk.named_parameters():
        if name.rsplit(".", 1)[-1] == "bias":
            parameter.requires_grad_(True)
            found += 1
    if not found:
        raise RecipeError(
            f"bitfit trains biases, and {model.config.model_type} models have none.",
            remedy="Use lora, adapter, ia3 or full.",
            param="method.kind",
        )

"""Prefix tuning (Li and Liang 2021) by PEFT: trained keys and values before the text's own."""

from __future__ import annotations

from peft import PrefixTuningConfig

from luthier.core.errors import RecipeError
from luthier.core.recipe import PrefixMethod
from luthier.models.causal_model import CausalModel
from luthier.models.families import FAMILIES
from luthier.models.methods.peft_wrap import task_options, wrap
from luthier.models.task_model import TaskModel


def apply(model: TaskModel, method: PrefixMethod, layers: range) -> None:
    """A prefix in every block; `model.reserved_positions` says what it takes from the context."""
    if not model.family.prefix:
        able = ", ".join(name for name, family in FAMILIES.items() if family.prefix)
        raise RecipeError(
            f"{model.config.model_type} models take no key/value prefix.",
            remedy=f"Use lora, adapter, ia3, bitfit, head or full; prefix works with {able}.",
            param="method.kind",
        )
    if layers.start:
        raise RecipeError(
            "a prefix stands in every layer, so none can be frozen.",
            remedy="Set freeze.layers to 0, or use lora or adapter.",
            param="freeze.layers",
        )
    if isinstance(model, CausalModel) and model.gradient_checkpointing:
        raise RecipeError(
            "PEFT refuses a prefix together with gradient checkpointing.",
            remedy="Set train.gradient_checkpointing to false, or use lora or adapter.",
            param="train.gradient_checkpointing",
        )
    wrap(model, PrefixTuningConfig(num_virtual_tokens=method.tokens, **task_options(model)))

"""IA3 (Liu et al. 2022) by PEFT: learned scaling of keys, values and feed-forward activations."""

from __future__ import annotations

from peft import IA3Config

from luthier.core.errors import RecipeError
from luthier.core.recipe import Ia3Method
from luthier.models.methods.peft_wrap import pattern, task_options, transposed, wrap
from luthier.models.task_model import TaskModel


def apply(model: TaskModel, method: Ia3Method, layers: range) -> None:
    """Scale keys, values and the input of the second feed-forward layer in the open blocks.

    ModernBERT, GPT-2 and Phi-3 project queries, keys and values at once: there the queries are scaled
    as well.
    """
    if not layers:
        raise RecipeError(
            "ia3 has no layer left: freeze.layers freezes all of them.",
            remedy="Freeze fewer layers, or use method: head.",
            param="freeze.layers",
        )
    feed_forward = model.family.feed_forward_output
    wrap(
        model,
        IA3Config(
            target_modules=pattern(model, layers, [*model.family.key_value, feed_forward]),
            feedforward_modules=pattern(model, layers, [feed_forward]),
            fan_in_fan_out=transposed(model),
            **task_options(model),
        ),
    )

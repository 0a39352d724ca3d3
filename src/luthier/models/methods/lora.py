"""LoRA (Hu et al. 2021) by PEFT, also as DoRA (Liu et al. 2024) and rsLoRA (Kalajdzievski 2023)."""

from __future__ import annotations

from peft import LoraConfig

from luthier.core.errors import RecipeError, nearest
from luthier.core.recipe import LoraMethod
from luthier.models.methods.peft_wrap import linear_paths, pattern, task_options, transposed, wrap
from luthier.models.task_model import TaskModel


def apply(model: TaskModel, method: LoraMethod, layers: range) -> None:
    """Low-rank updates beside the linear layers of the open blocks; the head trains whole."""
    if not layers:
        raise RecipeError(
            "lora has no layer left: freeze.layers freezes all of them.",
            remedy="Freeze fewer layers, or use method: head.",
            param="freeze.layers",
        )
    targets = _targets(method, linear_paths(model, layers))
    wrap(
        model,
        LoraConfig(
            r=method.rank,
            lora_alpha=int(method.alpha) if float(method.alpha).is_integer() else method.alpha,  # type: ignore[arg-type]
            lora_dropout=method.dropout,
            target_modules=pattern(model, layers, targets),
            use_dora=method.dora,
            use_rslora=method.rslora,
            fan_in_fan_out=transposed(model),
            **task_options(model),
        ),
    )


def _targets(method: LoraMethod, available: list[str]) -> list[str]:
    if isinstance(method.targets, str):
        return available
    chosen: dict[str, None] = {}
    for target in method.targets:
        matches = [path for path in available if path == target or path.endswith(f".{target}")]
        if not matches:
            raise RecipeError(
                f"method.targets names {target!r}, and no linear layer is called so.",
                remedy=nearest(target, {path.rsplit(".", 1)[-1] for path in available} | set(available)),
                param="method.targets",
            )
        chosen.update(dict.fromkeys(matches))
    return list(chosen)

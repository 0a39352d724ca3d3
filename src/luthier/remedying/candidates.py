"""The remedies against forgetting: what each changes of a recipe, and in which order they are tried."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from luthier.core.recipe import LANGUAGE_TASKS, Recipe
from luthier.data.general import replay_ships_with
from luthier.models.base_source import read_json
from luthier.models.catalogue import locate

CHANGES: dict[str, dict[str, Any]] = {
    "average": {"train.average": 0.5},
    "average_at_knee": {"train.average": None},
    "replay": {"train.replay": 0.2},
    "kl_to_base": {"train.kl_to_base": 0.1},
    "l2_sp": {"train.l2_sp": 0.01},
    "freeze": {"freeze.layers": "half"},
    "smaller_rate": {"train.learning_rate_multiplier": 0.3},
    "layer_decay": {"train.layer_decay": 0.7},
    "lower_rank": {"method": {"kind": "lora", "rank": 4, "alpha": 8}, "train.learning_rate": "auto",
                   "train.head_learning_rate": "auto"},
}  # fmt: skip
"""What each remedy changes of a recipe; None and half are filled in from the plain run."""
AVERAGES = ("average", "average_at_knee")
"""Those that change the end of a run only."""
ORDER: dict[bool, tuple[str, ...]] = {
    True: (
        "average", "average_at_knee", "replay", "kl_to_base", "smaller_rate", "layer_decay", "l2_sp", "freeze",
        "lower_rank",
    ),
    False: (
        "average", "average_at_knee", "kl_to_base", "layer_decay", "freeze", "l2_sp", "lower_rank", "smaller_rate",
        "replay",
    ),
}  # fmt: skip
"""By promise: what writes (True) and encoders, as measured in docs/benchmarks/remedies.md; averages first, since they
train nothing."""


def candidates(recipe: Recipe, forgetting: Mapping[str, Any] | None = None) -> dict[str, dict[str, Any]]:
    """The remedies that make sense for a resolved recipe, in order of promise, with what each changes.

    `forgetting` is what the plain run's report says of it: where its curve has a knee, an average is taken there, too.
    """
    knee = ((forgetting or {}).get("curve") or {}).get("knee")
    writes = recipe.task in LANGUAGE_TASKS
    found: dict[str, dict[str, Any]] = {}
    for name in ORDER[writes]:
        changes = dict(CHANGES[name])
        if name == "freeze":
            changes["freeze.layers"] = _layers(recipe) // 2
        if name == "average_at_knee":
            changes["train.average"] = None if knee is None else knee["share"]
        if _fits(name, recipe, writes, changes):
            found[name] = changes
    return found


def _fits(name: str, recipe: Recipe, writes: bool, changes: Mapping[str, Any]) -> bool:
    kind = recipe.method.kind
    if name == "replay":
        ships = writes and replay_ships_with(recipe.model)
        return not recipe.train.replay and (recipe.data.replay is not None or ships)
    if name == "lower_rank":
        rank = getattr(recipe.method, "rank", None)
        return kind == "full" or (rank is not None and rank > 4)
    if name == "l2_sp":
        return kind in ("full", "bitfit") and not recipe.train.l2_sp
    if name == "average_at_knee" and changes["train.average"] in (None, CHANGES["average"]["train.average"]):
        return False
    if name in AVERAGES:
        return kind not in ("prefix", "head") and recipe.train.average == 1.0
    if name == "freeze":
        return kind not in ("prefix", "head") and recipe.freeze.layers < int(changes["freeze.layers"])
    if name == "kl_to_base":
        return (kind != "head" or writes) and not recipe.train.kl_to_base
    if name == "layer_decay":
        return kind not in ("prefix", "head") and recipe.train.layer_decay == 1.0
    return True


def _layers(recipe: Recipe) -> int:
    config = read_json(locate(recipe.model).path / "config.json")
    return int(next((config[key] for key in ("num_hidden_layers", "n_layer", "n_layers") if key in config), 0))


def told(changes: Mapping[str, Any]) -> str:
    """The changes as a recipe has them."""
    return ", ".join(f"{key}: {json.dumps(value)}" for key, value in changes.items())

"""What of a recipe a checkpoint belongs to, so that it still does when recipes have got further keys."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

_FIRST = frozenset(
    {
        "kind", "rank", "alpha", "dropout", "targets", "dora", "rslora", "style", "bottleneck", "activation", "tokens",
        "embeddings", "layers", "pooling", "class_weights", "rows_per_label", "passes",
    }
)  # fmt: skip
"""Keys of the first version, which every identity holds; nothing is added here."""


def lasting(spec: BaseModel, *, without: frozenset[str] = frozenset()) -> dict[str, Any]:
    """The values of a part of the recipe that a run's identity holds: of a key that was added later only one that is
    not its default, so that a run which was begun before there was that key can go on."""
    rest = type(spec).model_fields
    return {
        key: value
        for key, value in spec.model_dump(exclude=set(without)).items()
        if key in _FIRST or value != rest[key].get_default(call_default_factory=True)
    }

"""Which forward pass decodes with a model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from luthier.models.generation.fast_forward import FastForward
from luthier.models.generation.fast_parts import active_adapters, why_not
from luthier.models.generation.forward import ModelForward
from luthier.models.generation.running import Forward


def forward_of(
    model: Any,
    *,
    precision: str = "fp32",
    prefix: Sequence[tuple[Tensor, Tensor]] = (),
    named: bool = False,
    release: bool = False,
) -> Forward:
    """The fast path where it knows the model, whose weights must not change any more; else the model itself.

    `release`: nobody else needs the model, see `FastForward`. `named`: rows name their adapters; otherwise the
    adapter that is active answers.
    """
    active = () if named else active_adapters(model)
    if why_not(model, precision=precision, prefix=prefix) is None and len(active) < 2:
        return FastForward(model, release=release, default=active[0] if active else None)
    return ModelForward(model, precision=precision, prefix=prefix, named=named)

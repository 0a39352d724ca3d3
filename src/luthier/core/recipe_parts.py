"""Parts of a recipe about the model on top of the base: its head, what is frozen, and training on pairs."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt

from luthier.core.recipe_methods import Fraction, Strict

Auto = Literal["auto"]


class HeadSpec(Strict):
    """The new layer on top of the base."""

    pooling: Literal["auto", "stock", "mean", "first"] = "auto"
    class_weights: Literal["none", "balanced"] = "none"
    dropout: Fraction | Auto = "auto"
    fit: Literal["auto", "steps", "closed"] = "auto"
    """steps: by the optimizer, with the rest. closed: at the end of each epoch as logistic or ridge regression."""
    strength: PositiveFloat = 0.1
    """Of a closed fit: C of the logistic regression on standardised features; a small one keeps weights small."""


class FreezeSpec(Strict):
    """What of the base does not train, whatever the method."""

    embeddings: bool = False
    layers: NonNegativeInt = 0
    """How many layers, counted from the bottom; the embeddings below them freeze with them."""


class ContrastiveSpec(Strict):
    """The encoder learns from pairs of rows (after SetFit, Tunstall et al. 2022)."""

    rows_per_label: Annotated[int, Field(ge=2)] = 2
    """Rows of one label that come together, so that a step holds pairs of the same label."""
    passes: PositiveInt = 4
    """How often an epoch goes over the rows before the head is fitted and judged."""

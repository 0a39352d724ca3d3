"""The methods of a recipe: a tagged union, so that an option of one cannot stand in another."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt

Fraction = Annotated[float, Field(ge=0.0, lt=1.0)]


class Strict(BaseModel):
    """A frozen value without unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class FullMethod(Strict):
    kind: Literal["full"] = "full"


class LoraMethod(Strict):
    """Low-rank adapters (Hu et al. 2021); DoRA (Liu et al. 2024); rsLoRA (Kalajdzievski 2023)."""

    kind: Literal["lora"] = "lora"
    rank: PositiveInt = 16
    alpha: PositiveFloat = 32
    dropout: Fraction = 0.0
    targets: Literal["all-linear"] | list[str] = "all-linear"
    dora: bool = False
    rslora: bool = False


class AdapterMethod(Strict):
    """Bottleneck layers: Houlsby et al. 2019 (two per block) or Pfeiffer et al. 2020 (one)."""

    kind: Literal["adapter"] = "adapter"
    style: Literal["houlsby", "pfeiffer"] = "houlsby"
    bottleneck: PositiveInt = 64
    activation: Literal["gelu", "relu"] = "gelu"


class HeadMethod(Strict):
    kind: Literal["head"] = "head"


class BitfitMethod(Strict):
    """Only the biases and the head train (Ben Zaken et al. 2021)."""

    kind: Literal["bitfit"] = "bitfit"


class Ia3Method(Strict):
    """Learned scaling of keys, values and feed-forward activations (Liu et al. 2022)."""

    kind: Literal["ia3"] = "ia3"


class PrefixMethod(Strict):
    """Trained key/value prefixes (Li and Liang 2021)."""

    kind: Literal["prefix"] = "prefix"
    tokens: PositiveInt = 20


Method = Annotated[
    FullMethod | LoraMethod | AdapterMethod | HeadMethod | BitfitMethod | Ia3Method | PrefixMethod,
    Field(discriminator="kind"),
]
METHODS: tuple[str, ...] = ("full", "lora", "adapter", "head", "bitfit", "ia3", "prefix")

"""The run as one frozen, strict value.

A recipe says everything that a run depends on. An unknown key is an error that names the nearest
right one; the method is a tagged union, so that an option of one method cannot stand in another.
`auto` is allowed where the value can be chosen from data, model and machine; the run's own
`recipe.yaml` holds what was chosen, with the reason as a comment.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    BaseModel,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    field_validator,
    model_validator,
)

from luthier.core.errors import nearest
from luthier.core.recipe_errors import recipe_error
from luthier.core.recipe_evaluate import EvaluateSpec, FairnessSpec, ForgettingSpec
from luthier.core.recipe_io import apply_overrides, flow, read_yaml, set_key
from luthier.core.recipe_methods import (
    METHODS,
    AdapterMethod,
    BitfitMethod,
    Fraction,
    FullMethod,
    HeadMethod,
    Ia3Method,
    LoraMethod,
    Method,
    PrefixMethod,
    Strict,
)
from luthier.core.recipe_parts import Auto, ContrastiveSpec, FreezeSpec, HeadSpec
from luthier.core.recipe_track import TrackSpec, short_track

__all__ = [
    "LANGUAGE_TASKS", "METHODS", "SOURCES", "TASKS", "AdapterMethod", "BitfitMethod", "ContrastiveSpec", "DataSpec",
    "EvaluateSpec", "FairnessSpec", "ForgettingSpec", "FreezeSpec", "FullMethod", "HeadMethod", "HeadSpec", "Ia3Method",
    "LoraMethod", "Method", "PrefixMethod", "Recipe", "TrackSpec", "TrainSpec", "known_keys",
]  # fmt: skip

TaskName = Literal["auto", "classify", "regress", "extract", "chat", "complete"]
TASKS: tuple[str, ...] = tuple(name for name in get_args(TaskName) if name != "auto")
LANGUAGE_TASKS = ("chat", "complete")
SOURCES = ("train", "validation", "test", "replay")
"""Keys of `data` that name files of rows."""


class DataSpec(Strict):
    """Where the samples are and which columns mean what."""

    train: str | list[str]
    validation: Fraction | str | list[str] = 0.1
    test: str | list[str] | None = None
    columns: dict[str, str | int | list[str | int]] = Field(default_factory=dict)
    group: str | None = None
    """Column whose rows must stay on one side of every split (a user, a document, a conversation)."""
    share: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    """Share of the training rows that is learned; a smaller share is part of a larger one."""
    split_seed: NonNegativeInt | None = None
    """Of the split into train and validation; None: train.seed."""
    template: str | None = None
    """A file with a chat template (Jinja) instead of the base model's own; it goes with the model."""
    fill_middle: Fraction | Auto = "auto"
    """Share of source files that are learned as fill-in-the-middle samples (Bavarian et al. 2022)."""
    learn: Literal["all", "last"] = "all"
    """Which assistant turns of a conversation are learned, besides each message's own weight."""
    replay: str | list[str] | None = None
    """General samples of the run's own task, from which `train.replay` draws; none: those that come with the base."""


class TrainSpec(Strict):
    """How the weights move."""

    epochs: PositiveInt | Auto = "auto"
    learning_rate: PositiveFloat | Auto = "auto"
    learning_rate_multiplier: PositiveFloat = 1.0
    """Of all rates, the automatic ones too: what OpenAI's hyperparameter of this name does."""
    head_learning_rate: PositiveFloat | Auto = "auto"
    """Of the new head, which starts from nothing while the base does not."""
    batch_size: PositiveInt | Auto = "auto"
    max_length: Annotated[int, Field(ge=4)] | Auto = "auto"
    warmup: Fraction = 0.06
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    weight_decay: NonNegativeFloat = 0.01
    layer_decay: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    dropout: Fraction | Auto = "auto"
    """Inside the encoder; the head's own is head.dropout."""
    accumulate: PositiveInt = 1
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    patience: NonNegativeInt = 2
    """Evaluations without a better validation metric before the run stops; 0 = never stop early."""
    save_every_steps: NonNegativeInt = 0
    """Steps between checkpoints besides the one at each epoch's end; 0 = only those."""
    max_grad_norm: PositiveFloat = 1.0
    truncate: Literal["auto", "end", "start", "drop", "split"] = "auto"
    """What happens to a text longer than max_length: cut its end, cut its start, drop the row, or (plain
    text only) split it into several rows."""
    shared_prefix: bool | Auto = "auto"
    """Compute what samples of a step begin with in common only once (generative tasks)."""
    gradient_checkpointing: bool = False
    """Compute activations again in the backward pass instead of keeping them: less memory, more time."""
    cache: bool = True
    """Reuse the activations below the lowest trained layer where that is exact."""
    seed: NonNegativeInt = 0
    replay: Fraction = 0.0
    """Share of the training rows that are general samples, against forgetting (Robins 1995)."""
    l2_sp: NonNegativeFloat = 0.0
    """Strength of the pull of the base's weights to their start (L2-SP, Li et al. 2018); not of a new head."""
    kl_to_base: NonNegativeFloat = 0.0
    """Weight of the distance from the base's answers (encoders: features), part of the loss (Li and Hoiem 2016)."""
    average: Annotated[float, Field(ge=0.0, le=1.0)] = 1.0
    """The tuned share of the weights that are kept at the end; the rest is the base (WiSE-FT, Wortsman et al. 2022)."""
    contrastive: ContrastiveSpec | None = None
    """Train the encoder on pairs: rows of one label near each other, of two labels apart (classify, one label)."""

    @field_validator("contrastive", mode="before")
    @classmethod
    def _yes_or_settings(cls, value: Any) -> Any:
        return ({} if value else None) if isinstance(value, bool) else value


class Recipe(Strict):
    """One run. `Recipe.from_yaml(path)`, `Recipe.build(model=..., data=..., ...)`."""

    model: str = "auto"
    task: TaskName = "auto"
    data: DataSpec
    method: Method = Field(default_factory=FullMethod)
    head: HeadSpec = Field(default_factory=HeadSpec)
    freeze: FreezeSpec = Field(default_factory=FreezeSpec)
    train: TrainSpec = Field(default_factory=TrainSpec)
    evaluate: EvaluateSpec = Field(default_factory=EvaluateSpec)
    track: TrackSpec | None = None
    out: str = "runs"

    @field_validator("task", mode="before")
    @classmethod
    def _known_task(cls, value: Any) -> Any:
        if isinstance(value, str) and value not in (*TASKS, "auto"):
            raise ValueError(f"there is no task {value!r}. {nearest(value, TASKS)}")
        return value

    @field_validator("method", mode="before")
    @classmethod
    def _short_method(cls, value: Any) -> Any:
        kind = value if isinstance(value, str) else value.get("kind") if isinstance(value, dict) else None
        if isinstance(kind, str) and kind not in METHODS:
            raise ValueError(f"there is no method {kind!r}. {nearest(kind, METHODS)}")
        return {"kind": value} if isinstance(value, str) else value

    @field_validator("track", mode="before")
    @classmethod
    def _short_track(cls, value: Any) -> Any:
        return short_track(value)

    @model_validator(mode="before")
    @classmethod
    def _short_data(cls, value: Any) -> Any:
        if isinstance(value, dict) and isinstance(value.get("data"), str | list):
            value = {**value, "data": {"train": value["data"]}}
        return value

    @classmethod
    def build(cls, values: dict[str, Any], where: str = "recipe") -> Recipe:
        """Validate plain values; a wrong one is a `RecipeError` that names its key and the remedy."""
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise recipe_error(error, where, known_keys(), METHODS) from None

    @classmethod
    def from_yaml(cls, path: str | Path, overrides: list[str] | None = None) -> Recipe:
        """Read a recipe file; relative data paths count from the file's folder."""
        values = read_yaml(path)
        apply_overrides(values, overrides or [])
        recipe = cls.build(values, where=str(path))
        return recipe.relative_to(Path(path).parent)

    def relative_to(self, folder: Path) -> Recipe:
        """The same recipe with existing relative data paths counted from `folder`."""

        def settle(source: Any) -> Any:
            if isinstance(source, list):
                return [settle(item) for item in source]
            if isinstance(source, str) and "://" not in source and not Path(source).is_absolute():
                here = folder / source
                return str(here) if not Path(source).exists() or here.exists() else source
            return source

        model = self.model
        if model.startswith((".", "..")) and (folder / model).is_dir():
            model = str(folder / model)
        return self.with_sources(settle).model_copy(update={"model": model})

    def with_sources(self, settle: Callable[[Any], Any]) -> Recipe:
        """A copy in which `settle` was applied to everything that names files of data."""
        data = self.data.model_copy(update={name: settle(getattr(self.data, name)) for name in SOURCES})
        changed: dict[str, Any] = {"data": data}
        judged: dict[str, Any] = {}
        if isinstance(self.evaluate.forgetting, ForgettingSpec):
            judged["forgetting"] = ForgettingSpec(anchors=settle(self.evaluate.forgetting.anchors))
        if self.evaluate.fairness is not None and self.evaluate.fairness.swaps not in ("auto", "none"):
            swaps = settle(self.evaluate.fairness.swaps)
            judged["fairness"] = self.evaluate.fairness.model_copy(update={"swaps": swaps})
        if judged:
            changed["evaluate"] = self.evaluate.model_copy(update=judged)
        return self.model_copy(update=changed)

    def replace(self, **changes: Any) -> Recipe:
        """A copy with dotted keys changed: ``recipe.replace(**{"train.epochs": 5})``; validated."""
        values = self.model_dump()
        for key, value in changes.items():
            set_key(values, key, value)
        return type(self).build(values)

    def to_yaml(self, reasons: dict[str, str] | None = None) -> str:
        """The recipe as YAML; `reasons` (by dotted key) stand as comments above their key."""
        lines: list[str] = []
        for key, value in self.model_dump().items():
            if isinstance(value, dict) and value:
                lines.append(f"{key}:")
                for name, item in value.items():
                    reason = (reasons or {}).get(f"{key}.{name}")
                    if reason:
                        lines.append(f"  # {reason}")
                    lines.append(f"  {name}: {flow(item)}")
            else:
                reason = (reasons or {}).get(key)
                if reason:
                    lines.append(f"# {reason}")
                lines.append(f"{key}: {flow(value)}")
        return "\n".join(lines) + "\n"


def known_keys(prefix: str = "") -> list[str]:
    """Every dotted recipe key below `prefix`, for error messages and the documentation."""
    keys: list[str] = []

    def walk(model: type[BaseModel], path: str) -> None:
        for name, info in model.model_fields.items():
            dotted = f"{path}{name}"
            keys.append(dotted)
            for part in [info.annotation, *get_args(info.annotation)]:
                if isinstance(part, type) and issubclass(part, BaseModel):
                    walk(part, f"{dotted}.")

    walk(Recipe, "")
    return [key for key in dict.fromkeys(keys) if key.startswith(prefix)]

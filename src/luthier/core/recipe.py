"""The run as one frozen, strict value.

A recipe says everything that a run depends on. An unknown key is an error that names the nearest
right one; the method is a tagged union, so that an option of one method cannot stand in another.
`auto` is allowed where the value can be chosen from data, model and machine; the run's own
`recipe.yaml` holds what was chosen, with the reason as a comment.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
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
from luthier.core.recipe_io import apply_overrides, flow, read_yaml, set_key

Auto = Literal["auto"]
TaskName = Literal["auto", "classify", "regress", "extract", "chat", "complete"]
TASKS: tuple[str, ...] = tuple(name for name in get_args(TaskName) if name != "auto")
LANGUAGE_TASKS = ("chat", "complete")
Baseline = Literal["majority", "tfidf", "frozen", "base", "scratch"]
Fraction = Annotated[float, Field(ge=0.0, lt=1.0)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class DataSpec(_Strict):
    """Where the samples are and which columns mean what."""

    train: str | list[str]
    validation: Fraction | str | list[str] = 0.1
    test: str | list[str] | None = None
    columns: dict[str, str | int | list[str | int]] = Field(default_factory=dict)
    group: str | None = None
    """Column whose rows must stay on one side of every split (a user, a document, a conversation)."""
    template: str | None = None
    """A file with a chat template (Jinja) instead of the base model's own; it goes with the model."""
    fill_middle: Fraction | Auto = "auto"
    """Share of source files that are learned as fill-in-the-middle samples (Bavarian et al. 2022)."""
    learn: Literal["all", "last"] = "all"
    """Which assistant turns of a conversation are learned, besides each message's own weight."""


class FullMethod(_Strict):
    kind: Literal["full"] = "full"


class LoraMethod(_Strict):
    """Low-rank adapters (Hu et al. 2021); DoRA (Liu et al. 2024); rsLoRA (Kalajdzievski 2023)."""

    kind: Literal["lora"] = "lora"
    rank: PositiveInt = 16
    alpha: PositiveFloat = 32
    dropout: Fraction = 0.0
    targets: Literal["all-linear"] | list[str] = "all-linear"
    dora: bool = False
    rslora: bool = False


class AdapterMethod(_Strict):
    """Bottleneck layers: Houlsby et al. 2019 (two per block) or Pfeiffer et al. 2020 (one)."""

    kind: Literal["adapter"] = "adapter"
    style: Literal["houlsby", "pfeiffer"] = "houlsby"
    bottleneck: PositiveInt = 64
    activation: Literal["gelu", "relu"] = "gelu"


class HeadMethod(_Strict):
    kind: Literal["head"] = "head"


class BitfitMethod(_Strict):
    """Only the biases and the head train (Ben Zaken et al. 2021)."""

    kind: Literal["bitfit"] = "bitfit"


class Ia3Method(_Strict):
    """Learned scaling of keys, values and feed-forward activations (Liu et al. 2022)."""

    kind: Literal["ia3"] = "ia3"


class PrefixMethod(_Strict):
    """Trained key/value prefixes (Li and Liang 2021)."""

    kind: Literal["prefix"] = "prefix"
    tokens: PositiveInt = 20


Method = Annotated[
    FullMethod | LoraMethod | AdapterMethod | HeadMethod | BitfitMethod | Ia3Method | PrefixMethod,
    Field(discriminator="kind"),
]
METHODS: tuple[str, ...] = ("full", "lora", "adapter", "head", "bitfit", "ia3", "prefix")


class HeadSpec(_Strict):
    """The new layer on top of the base."""

    pooling: Literal["auto", "stock", "mean", "first"] = "auto"
    class_weights: Literal["none", "balanced"] = "none"
    dropout: Fraction | Auto = "auto"


class FreezeSpec(_Strict):
    """What of the base does not train, whatever the method."""

    embeddings: bool = False
    layers: NonNegativeInt = 0
    """How many layers, counted from the bottom; the embeddings below them freeze with them."""


class TrainSpec(_Strict):
    """How the weights move."""

    epochs: PositiveInt | Auto = "auto"
    learning_rate: PositiveFloat | Auto = "auto"
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


class FairnessSpec(_Strict):
    group: str


class EvaluateSpec(_Strict):
    """How the result is judged."""

    metrics: Auto | list[str] = "auto"
    baselines: Auto | list[Baseline] = "auto"
    bootstrap: Annotated[int, Field(ge=100)] = 1000
    """Resamples behind each 95 % interval."""
    samples: NonNegativeInt = 4
    """Answers generated from fixed prompts at every evaluation, before training too (generative tasks)."""
    max_tokens: PositiveInt = 200
    """Longest generated answer, in tokens."""
    generate_rows: NonNegativeInt = 100
    """How many test rows are answered and compared with the reference; loss is measured on all of them."""
    run_code: bool = False
    """Whether generated code is compiled and run against the tests of its row, in a sandbox."""
    graders: list[dict[str, Any]] = Field(default_factory=list)
    """OpenAI graders: string_check, text_similarity, python, score_model, multi."""
    forgetting: bool = False
    fairness: FairnessSpec | None = None


class Recipe(_Strict):
    """One run. `Recipe.from_yaml(path)`, `Recipe.build(model=..., data=..., ...)`."""

    model: str = "auto"
    task: TaskName = "auto"
    data: DataSpec
    method: Method = Field(default_factory=FullMethod)
    head: HeadSpec = Field(default_factory=HeadSpec)
    freeze: FreezeSpec = Field(default_factory=FreezeSpec)
    train: TrainSpec = Field(default_factory=TrainSpec)
    evaluate: EvaluateSpec = Field(default_factory=EvaluateSpec)
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

        data = self.data.model_copy(
            update={name: settle(getattr(self.data, name)) for name in ("train", "validation", "test")}
        )
        model = self.model
        if model.startswith((".", "..")) and (folder / model).is_dir():
            model = str(folder / model)
        return self.model_copy(update={"data": data, "model": model})

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

"""How a run's result is judged: the part `evaluate` of a recipe."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, NonNegativeInt, PositiveInt, field_validator

from luthier.core.recipe_methods import Strict
from luthier.core.recipe_parts import Auto

Baseline = Literal["majority", "tfidf", "frozen", "base", "scratch"]


class FairnessSpec(Strict):
    """Whom the model fails."""

    group: str | list[str] = Field(default_factory=list)
    """The column, or columns, of the test data that name each row's group."""
    swaps: str = "auto"
    """Words that are swapped in the test texts: auto (lists of ours, English), none, or a YAML file."""


class ForgettingSpec(Strict):
    """General texts of the user's own, measured besides those that come with Luthier."""

    anchors: str | list[str]


class EvaluateSpec(Strict):
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
    memorisation: NonNegativeInt = 100
    """How many training rows are looked at for answers learned by heart; 0 = none (generative tasks)."""
    canaries: NonNegativeInt = 0
    """Random secrets that are planted in the training data to measure memorisation (generative tasks)."""
    run_code: bool = False
    """Whether generated code is compiled and run against the tests of its row, in a sandbox."""
    graders: list[dict[str, Any]] = Field(default_factory=list)
    """OpenAI graders: string_check, text_similarity, python, score_model, multi."""
    forgetting: bool | ForgettingSpec = False
    fairness: FairnessSpec | None = None

    @field_validator("forgetting", mode="before")
    @classmethod
    def _yes_no_or_files(cls, value: Any) -> Any:
        if isinstance(value, dict):
            wrong = sorted(set(value) - {"anchors"})
            if wrong:
                raise ValueError(f"there is no key 'evaluate.forgetting.{wrong[0]}'. Did you mean 'anchors'?")
            files = value.get("anchors")
            listed = files if isinstance(files, list) else [files]
            if not listed or not all(isinstance(item, str) and item for item in listed):
                raise ValueError("evaluate.forgetting.anchors names no file. Give one, or a list, or write true.")
        elif not isinstance(value, bool | ForgettingSpec):
            raise ValueError(f"evaluate.forgetting is true, false or {{anchors: [files]}}, not {value!r}.")
        return value

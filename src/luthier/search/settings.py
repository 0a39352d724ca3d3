"""How a search goes about it: the `search:` key of a recipe file, which the options of the command line override."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, ValidationError, field_validator

from luthier.core.durations import seconds_of
from luthier.core.errors import LuthierError, RecipeError
from luthier.core.recipe_errors import recipe_error
from luthier.core.recipe_methods import Strict

SAMPLERS = ("tpe", "random", "grid", "gp")
PRUNERS = ("hyperband", "halving", "none")
OBJECTIVES = ("quality", "size", "seconds", "forgetting")
Objective = Literal["quality", "size", "seconds", "forgetting"]
QUALITY: Objective = "quality"
TRIALS = 24
"""Trials of a search that names no number."""


class SearchSettings(Strict):
    """`SearchSettings.build({...})`; an unknown key is an error that names the nearest right one."""

    trials: PositiveInt | None = None
    """How many; none: 24, or the whole of a grid."""
    sampler: Literal["tpe", "random", "grid", "gp"] = "tpe"
    pruner: Literal["hyperband", "halving", "none"] = "halving"
    reduction: Annotated[int, Field(ge=2, le=10)] = 3
    """One of so many trials is promoted at each rung (eta)."""
    budget: PositiveFloat | None = None
    """Seconds for everything; in a file also 90s, 10m or 2h."""
    seed: NonNegativeInt = 0
    objectives: list[Objective] = Field(default_factory=lambda: [QUALITY])
    workers: Annotated[int, Field(ge=1, le=256)] | Literal["auto"] = 1
    """Processes side by side, of one thread each; auto: one for each core, and one where there is a GPU."""
    repeat: Annotated[int, Field(ge=0, le=50)] = 3
    """Other seeds with which the best and the runner-up are trained again."""

    @field_validator("budget", mode="before")
    @classmethod
    def _as_seconds(cls, value: Any) -> Any:
        try:
            return seconds_of(value) if isinstance(value, str) else value
        except LuthierError as error:
            raise ValueError(str(error)) from None

    @field_validator("objectives", mode="before")
    @classmethod
    def _quality_is_there(cls, value: Any) -> Any:
        listed = [part.strip() for part in value.split(",")] if isinstance(value, str) else value
        if isinstance(listed, list):
            if "quality" not in listed:
                raise ValueError("search.objectives needs quality: without it the smallest model would win, untrained.")
            if len({str(name) for name in listed}) < len(listed):
                raise ValueError("search.objectives names something twice.")
            listed = sorted(listed, key=lambda name: name != "quality")
        return listed

    @classmethod
    def build(cls, values: Any, where: str = "recipe") -> SearchSettings:
        """Validate plain values.

        Raises:
            RecipeError: a key that is not there, or a value that cannot be.
        """
        if not isinstance(values, dict):
            raise RecipeError(
                f"search is a mapping of settings, not {values!r}.", where=where,
                remedy=f"For example search: {{trials: {TRIALS}, sampler: tpe}}.", param="search",
            )  # fmt: skip
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            found = recipe_error(error, where, list(cls.model_fields), ())
            found.message = found.message.replace("key '", "key 'search.", 1)
            found.param = f"search.{found.param}" if found.param else "search"
            raise found from None

    @property
    def with_rungs(self) -> bool:
        """Whether trials stop between."""
        return self.pruner != "none"

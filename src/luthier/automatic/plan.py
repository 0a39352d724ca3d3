"""What an automatic run is made of before anything is trained: what was asked, and the recipe of all candidates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from luthier import api
from luthier.core.durations import seconds_of
from luthier.core.errors import DataError, UsageError
from luthier.core.recipe import LANGUAGE_TASKS, Recipe
from luthier.core.recipe_io import apply_overrides, set_key
from luthier.data.dataset import Dataset
from luthier.search.candidates import LEAST_SECONDS, Candidate

LEAST_ROWS = 16
FINAL_VALIDATION = 0.1
_VALIDATION_ROWS = 120
"""Validation rows that are wanted to tell candidates apart; small data give up to `_MOST_VALIDATION` of themselves."""
_MOST_VALIDATION = 0.2
_ENOUGH_VALIDATION = 2000
_OURS = ("data.validation", "train.seed", "data.share")


@dataclass(frozen=True)
class Request:
    """What was asked; all plain values, as request.json holds them."""

    data: list[str]
    task: str = "auto"
    model: str = "auto"
    columns: Mapping[str, Any] | None = None
    validation: str | float | None = None
    test: str | None = None
    budget: float = 600.0
    seed: int = 0
    overrides: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """For request.json."""
        return {**vars(self), "overrides": list(self.overrides), "columns": dict(self.columns or {})}

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Request:
        """What request.json holds."""
        return cls(**{**values, "overrides": tuple(values.get("overrides") or ())})


def asked(
    data: str | Path | list[str] | list[Path], *, budget: float | str, **options: Any
) -> Request:  # fmt: skip
    """The request with full paths. Raises `UsageError` for a budget in which nothing can be done."""
    seconds = seconds_of(budget) if isinstance(budget, str) else float(budget)
    if not LEAST_SECONDS <= seconds < float("inf"):
        raise UsageError(
            f"a budget of {seconds:g} s is too small: reading, a first model and its report take about "
            f"{LEAST_SECONDS:.0f} s.",
            remedy="Give more time, for example --budget 10m.", code="budget_too_small", param="budget",
        )  # fmt: skip
    given = [str(item) for item in data] if isinstance(data, list | tuple) else [str(data)]
    named = {name: options.get(name) for name in ("test", "validation")}
    files = {name: _full(value) for name, value in named.items() if isinstance(value, str)}
    plain: dict[str, Any] = {name: value for name, value in {**options, **files}.items() if value is not None}
    return Request([_full(item) for item in given], budget=seconds, **plain)


def _full(source: str) -> str:
    return str(Path(source).resolve()) if "://" not in source and Path(source).exists() else source


def common(request: Request) -> tuple[Recipe, int]:
    """(the recipe that all trials share, rows of the data before the split).

    Raises `DataError` for rows that cannot be used (`too_few_rows`), `RecipeError` for what cannot be asked.
    """
    dataset = Dataset.open(_one(request.data), task=request.task, columns=dict(request.columns or {}))
    rows = sum(1 for _ in dataset.samples())
    if rows < LEAST_ROWS:
        raise DataError(
            f"there are {rows} rows, and choosing between methods needs {LEAST_ROWS} or more.",
            where=dataset.sources[0],
            remedy="Add rows; for a handful `luthier decide` says whether a prompt does.", code="too_few_rows",
        )  # fmt: skip
    values: dict[str, Any] = {
        "model": request.model, "task": dataset.task,
        "data": {"train": _one(request.data), "columns": dict(request.columns or {}), "split_seed": request.seed,
                 "validation": share_for(rows, dataset.task) if request.validation is None else request.validation},
        "train": {"seed": request.seed},
        "evaluate": {"samples": 0, "generate_rows": 0, "memorisation": 0, "bootstrap": 1000},
    }  # fmt: skip
    if request.test is not None:
        set_key(values, "data.test", request.test)
    taken = [item for item in request.overrides if item.partition("=")[0].strip() in _OURS]
    if taken:
        key = taken[0].partition("=")[0].strip()
        raise UsageError(
            f"{key} is chosen by luthier auto.", remedy="Use --validation or --seed, or leave it out.",
            code="option_does_not_fit", param=key,
        )  # fmt: skip
    apply_overrides(values, list(request.overrides))
    return api.absolute(Recipe.build(values, where="luthier auto")), rows


def share_for(rows: int, task: str) -> float:
    """The share of the rows on which candidates are compared."""
    most = _ENOUGH_VALIDATION if task not in LANGUAGE_TASKS else 200
    wanted = max(FINAL_VALIDATION, min(_MOST_VALIDATION, _VALIDATION_ROWS / rows))
    return float(f"{min(wanted, most / rows):.4g}") if rows > most / wanted else float(f"{wanted:.3g}")


def recipe_of(shared: Recipe, candidate: Candidate, request: Request, **more: Any) -> Recipe:
    """The recipe of a candidate: the common one with its changes, except for keys that the user has set."""
    fixed = {item.partition("=")[0].strip() for item in request.overrides}

    def is_free(key: str) -> bool:
        return not any(key == one or one.startswith(f"{key}.") or key.startswith(f"{one}.") for one in fixed)

    changes = {key: value for key, value in candidate.changes.items() if is_free(key)}
    for key, value in more.items():
        if is_free(key.replace("__", ".")):
            changes[key.replace("__", ".")] = value
    if "train.contrastive" in changes and shared.head.fit == "steps":
        del changes["train.contrastive"]
    recipe = shared
    for key, value in changes.items():
        recipe = recipe.replace(**{key: value})
    return recipe


def epochs_wanted(recipe: Recipe, rows: int) -> int:
    """The epochs that `auto` would give it, or those that the user has set."""
    if isinstance(recipe.train.epochs, int):
        return recipe.train.epochs
    from luthier.train import defaults, language_defaults

    if recipe.task in LANGUAGE_TASKS:
        return language_defaults.plan_steps(recipe, rows)[2]
    return defaults.plan_steps(recipe, rows, closed=recipe.head.fit == "closed")[2]


def _one(sources: list[str]) -> str | list[str]:
    return sources[0] if len(sources) == 1 else list(sources)

"""A recipe with ``{search: ...}`` in it that came over HTTP: read strictly, and held to the same bounds as a recipe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from luthier.core.errors import LuthierError
from luthier.jobs.records import Identity, Job
from luthier.search.notation import WORD, is_search
from luthier.search.settings import SearchSettings
from luthier.search.space import Space
from luthier.server.errors import ApiError
from luthier.server.luthier_api.recipe_requests import LARGEST, ReadRecipe, read_recipe
from luthier.server.names import find
from luthier.server.openai.answers import now
from luthier.server.state import AppState

MOST_TRIALS = 1000
MOST_PARAMETERS = 50
MOST_CHOICES = 200
MOST_WORKERS = 8
MOST_REPEATS = 20
LONGEST_BUDGET = 7 * 86_400.0
_SEARCH = WORD
"""The key of a recipe that holds a search's own settings."""


@dataclass(frozen=True, slots=True)
class ReadSearch:
    """A search whose names were looked up: `values` is what the worker runs, `first` its first trial's recipe."""

    values: dict[str, Any]
    settings: SearchSettings
    first: ReadRecipe


def read_search(state: AppState, caller: Identity, values: dict[str, Any]) -> ReadSearch:
    """Check a recipe with searches and look up what it names; blocks.

    Raises:
        ApiError: 400 for what is wrong or not allowed here, 404 for a model or file that this caller does not have.
    """
    if "out" in values:
        raise _refused("out", "the server decides where a job's results are kept; leave it out")
    plain = {key: value for key, value in values.items() if key != _SEARCH}
    try:
        settings = SearchSettings.build(values.get(_SEARCH) or {})
        space = Space.read(plain)
        if settings.sampler == "grid":
            space.grid()
    except LuthierError as error:
        param = f"recipe.{error.param}" if error.param else "recipe"
        raise ApiError(400, str(error)[:2000], param=param, code=error.code) from None
    _check_settings(settings)
    _check_parameters(space)
    first = space.first().model_dump(mode="json", exclude_unset=True, exclude={"out"})
    read = read_recipe(state, caller, first)
    if read.model.record is not None:
        raise _refused("model", "a search begins from a base, not from a tuned model")
    settled = {**plain, "task": read.values["task"], "data": read.values["data"]}
    settled["model"] = _models(state, caller, plain.get("model"), read)
    settled[_SEARCH] = settings.model_dump(mode="json")
    return ReadSearch(settled, settings, read)


def draft_of(
    caller: Identity, read: ReadSearch, suffix: str | None, metadata: Mapping[str, str] | None
) -> Job:
    """The job, without its id."""
    first = read.first
    return Job(
        id="", project_id=caller.project_id, kind="search", status="validating_files", model=first.asked_model,
        base_model=first.model.base.name, task=first.values["task"], training_file=first.training_file,
        validation_file=first.validation_file, created_at=now(), seed=read.settings.seed, recipe=read.values,
        suffix=suffix, metadata=dict(metadata or {}), key_id=caller.key_id,
    )  # fmt: skip


def space_of(job: Job) -> Space:
    """The space of a search's job."""
    return Space.read({key: value for key, value in job.recipe.items() if key != _SEARCH})


def trial_recipe(job: Job, params: Mapping[str, Any]) -> dict[str, Any]:
    """The recipe of one trial, as POST /luthier/v1/jobs takes it: judged on the rows that trials were judged on."""
    recipe = space_of(job).of(params)
    held = recipe.data.split_seed
    data = recipe.data.model_copy(update={"split_seed": recipe.train.seed if held is None else held})
    return recipe.model_copy(update={"data": data}).model_dump(mode="json", exclude={"out"})


def _check_settings(settings: SearchSettings) -> None:
    if settings.workers == "auto":
        raise _refused("search.workers", "a number is needed on a server, whose cores all jobs share")
    for name, most in (("trials", MOST_TRIALS), ("workers", MOST_WORKERS), ("repeat", MOST_REPEATS),
                       ("budget", LONGEST_BUDGET)):  # fmt: skip
        value = getattr(settings, name)
        if value is not None and value > most:
            raise _refused(f"search.{name}", f"at most {most:,} is possible on a server, not {value:,}")
    if settings.seed >= 2**31:
        raise _refused("search.seed", "it is too large")
    if "forgetting" in settings.objectives:
        raise _refused("search.objectives", "forgetting is measured on the command line only: luthier search")


def _check_parameters(space: Space) -> None:
    parameters = space.parameters
    if len(parameters) > MOST_PARAMETERS:
        raise _refused("search", f"at most {MOST_PARAMETERS} parameters are possible, not {len(parameters)}")
    for parameter in parameters:
        if parameter.choices is not None and len(parameter.choices) > MOST_CHOICES:
            raise _refused(parameter.key, f"at most {MOST_CHOICES} choices are possible")
        most = LARGEST.get(parameter.key)
        for value in parameter.extremes:
            if most is not None and isinstance(value, int | float) and value > most:
                raise _refused(parameter.key, f"at most {most:,} is possible on a server, not {value:,}")
            if isinstance(value, str) and len(value) > 256:
                raise _refused(parameter.key, "a choice is too long")


def _models(state: AppState, caller: Identity, asked: Any, read: ReadRecipe) -> Any:
    """The base, or the bases to choose from, by their names."""
    if not isinstance(asked, dict):
        return read.model.base.name
    names = asked.get(WORD) if is_search(asked) else None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise _refused("model", "bases are searched as a list of names: {search: [minilm, ...]}")
    task = read.values["task"]
    found = []
    for name in names:
        model = find(state, caller, name)
        if model.record is not None or task not in model.base.tasks:
            raise _refused("model", f"'{name}' is no base that learns to {task}")
        found.append(model.base.name)
    return {WORD: found}


def _refused(key: str, reason: str) -> ApiError:
    return ApiError(400, f"recipe.{key}: {reason}.", param=f"recipe.{key}", code="invalid_recipe")

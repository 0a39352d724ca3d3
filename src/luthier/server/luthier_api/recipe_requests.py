"""A recipe that came over HTTP: read strictly, with ids in the place of files, and nothing that reaches further."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from luthier.core.errors import RecipeError
from luthier.core.recipe import LANGUAGE_TASKS, SOURCES, ForgettingSpec, Recipe
from luthier.jobs.records import Identity, StoredFile
from luthier.models import catalogue
from luthier.server.errors import ApiError
from luthier.server.names import Resolved, find, find_base
from luthier.server.openai.answers import shown
from luthier.server.openai.job_making import recognised, usable_file
from luthier.server.state import AppState

_FILE_ID = re.compile(r"file-[A-Za-z0-9]{1,64}")
MOST_FILES = 100
MOST_GRADERS = 20
LONGEST_TEXT = 1000
LARGEST: dict[str, float] = {
    "train.epochs": 1000, "train.batch_size": 4096, "train.accumulate": 4096, "train.max_length": 1_000_000,
    "train.seed": 2**31 - 1, "train.save_every_steps": 10**9, "train.patience": 1000, "evaluate.bootstrap": 100_000,
    "evaluate.samples": 100, "evaluate.max_tokens": 16_384, "evaluate.generate_rows": 10_000, "method.rank": 256,
    "method.bottleneck": 8192, "method.tokens": 1024, "freeze.layers": 1000,
}  # fmt: skip
"""The most that a recipe of a client may ask for; one of a person at the machine may ask for more."""


@dataclass(frozen=True, slots=True)
class ReadRecipe:
    """A recipe whose names were looked up.

    Attributes:
        values: what the worker runs, without `out`; files are ids.
        asked_model: the model as the client named it.
    """

    values: dict[str, Any]
    model: Resolved
    asked_model: str
    training_file: str
    validation_file: str | None
    seed: int


def read_recipe(state: AppState, caller: Identity, values: dict[str, Any]) -> ReadRecipe:
    """Check a recipe and look up what it names; blocks.

    Raises:
        ApiError: 400 for what is wrong or not allowed here, 404 for a model or file that this caller does not have.
    """
    if "out" in values:
        raise _refused("out", "the server decides where a job's results are kept; leave it out")
    try:
        recipe = Recipe.build(values)
    except RecipeError as error:
        param = f"recipe.{error.param}" if error.param else "recipe"
        raise ApiError(400, str(error)[:2000], param=param, code=error.code) from None
    _check_bounds(recipe)
    _check_reach(state, recipe)
    files = {name: _files(state, caller, name, getattr(recipe.data, name)) for name in SOURCES}
    if not files["train"]:
        raise _refused("data.train", "it names no file")
    task, model = _task_and_model(state, caller, recipe, files["train"][0])
    settled = recipe.model_dump(mode="json", exclude={"out"}) | {"model": model.base.name, "task": task}
    validation = files["validation"][0].id if files["validation"] else None
    asked = recipe.model if recipe.model != "auto" else model.base.name
    return ReadRecipe(settled, model, asked, files["train"][0].id, validation, recipe.train.seed)


def _check_bounds(recipe: Recipe) -> None:
    for dotted, most in LARGEST.items():
        group, name = dotted.split(".")
        value = getattr(getattr(recipe, group), name, None)
        if isinstance(value, int | float) and value > most:
            raise _refused(dotted, f"at most {most:,} is possible on a server, not {value:,}")
    texts = [
        recipe.model, recipe.data.group or "", *recipe.data.columns,
        *(str(value) for value in recipe.data.columns.values()), *getattr(recipe.method, "targets", ()),
        *_group_columns(recipe),
    ]  # fmt: skip
    if any(len(text) > LONGEST_TEXT for text in texts) or len(texts) > MOST_FILES:
        raise ApiError(400, "A name in the recipe is too long, or there are too many.", param="recipe",
                       code="invalid_recipe")  # fmt: skip


def _group_columns(recipe: Recipe) -> list[str]:
    fairness = recipe.evaluate.fairness
    if fairness is None:
        return []
    return [fairness.group] if isinstance(fairness.group, str) else fairness.group


def _check_reach(state: AppState, recipe: Recipe) -> None:
    """Refuse what would read the server's disk, fetch from elsewhere, or run code."""
    if recipe.track is not None:
        raise _refused("track", "whoever runs the server says where jobs are mirrored (luthier serve --track-mlflow)")
    if recipe.data.template is not None:
        raise _refused("data.template", "chat templates are not taken over HTTP; the base model's own is used")
    if recipe.evaluate.fairness is not None and recipe.evaluate.fairness.swaps not in ("auto", "none"):
        raise _refused("evaluate.fairness.swaps", "lists of words are not read from files over HTTP: auto or none")
    if isinstance(recipe.evaluate.forgetting, ForgettingSpec):
        raise _refused("evaluate.forgetting", "files of anchors are not taken over HTTP; write true")
    if recipe.evaluate.run_code:
        raise _refused("evaluate.run_code", "code is not run on a server; leave it out")
    if len(recipe.evaluate.graders) > MOST_GRADERS:
        raise _refused("evaluate.graders", f"at most {MOST_GRADERS} graders are possible")
    for number, grader in enumerate(recipe.evaluate.graders):
        _check_grader(state, grader, f"evaluate.graders[{number}]")


def _check_grader(state: AppState, grader: Any, where: str) -> None:
    if not isinstance(grader, dict):
        return  # told when the files are validated, as every other mistake in a grader
    kind = grader.get("type")
    if kind == "python":
        raise _refused(where, "a python grader runs code, which a server does not")
    if kind == "score_model":
        name = grader.get("model")
        base = find_base(state.settings.home, name) if isinstance(name, str) else None
        if base is None or base.place != base.name or base.kind != "generative":
            raise _refused(f"{where}.model", "it must be a generative base model that GET /v1/models lists")
    parts = grader.get("graders")
    if isinstance(parts, dict):
        for name, part in ({"": parts} if "type" in parts else parts).items():
            _check_grader(state, part, f"{where}.graders{'.' if name else ''}{shown(str(name))}")


def _files(state: AppState, caller: Identity, name: str, source: Any) -> list[StoredFile]:
    """The files of one part of the data; none where it is a share or nothing."""
    if not isinstance(source, str | list):
        return []
    ids = [source] if isinstance(source, str) else source
    if len(ids) > MOST_FILES:
        raise _refused(f"data.{name}", f"at most {MOST_FILES} files are possible")
    found = []
    for file_id in ids:
        if not _FILE_ID.fullmatch(file_id):
            raise _refused(
                f"data.{name}",
                f"'{shown(file_id)}' is no id of a file. Upload the file (POST /v1/files) and give its id; paths, "
                "addresses and hub ids are not read here",
                "not_a_file_id",
            )
        found.append(usable_file(state, caller, file_id, f"recipe.data.{name}"))
    return found


def _task_and_model(state: AppState, caller: Identity, recipe: Recipe, training: StoredFile) -> tuple[str, Resolved]:
    named = None if recipe.model == "auto" else find(state, caller, recipe.model)
    task: str = recipe.task
    if task == "auto":
        task = (named.task if named is not None else "") or _recognised(state, recipe, training)
    model = named or find(state, caller, default_model(task))
    if model.task and task != model.task:
        raise _refused("task", f"'{recipe.model}' was trained to {model.task}, so it cannot go on to {task}")
    if not model.task and task not in model.base.tasks:
        raise _refused("task", f"'{model.base.name}' learns to {', '.join(model.base.tasks)}, not to {task}")
    return task, model


def _recognised(state: AppState, recipe: Recipe, file: StoredFile) -> str:
    task = recognised(state, file, recipe.data.columns)
    if not task:
        raise _refused("task", "the data do not say plainly what the task is; name it", "task_not_recognised")
    return task


def default_model(task: str) -> str:
    """The embedded base that learns a task."""
    kind = "generative" if task in LANGUAGE_TASKS else "encoder"
    return next(entry.name for entry in catalogue.entries() if entry.kind == kind)


def _refused(key: str, reason: str, code: str = "invalid_recipe") -> ApiError:
    return ApiError(400, f"recipe.{key}: {reason}.", param=f"recipe.{key}", code=code)

"""What a decision is asked, as it comes over HTTP, and the job that it becomes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from luthier.core.errors import RecipeError
from luthier.core.recipe import Recipe
from luthier.core.recipe_io import flow, set_key
from luthier.jobs.records import Identity, Job, StoredFile
from luthier.server.errors import ApiError
from luthier.server.luthier_api.recipe_requests import LARGEST, default_model
from luthier.server.names import Resolved, find
from luthier.server.openai.answers import LONGEST_ID, PLAIN_TEXT, now
from luthier.server.openai.body import Body, SmallObject, whole
from luthier.server.openai.job_making import recognised, usable_file
from luthier.server.openai.job_requests import FileId, Metadata, Name, Suffix
from luthier.server.state import AppState

BUDGET_SECONDS = 600.0
LONGEST_BUDGET = 86_400.0
MOST_PRICE = 1e6

Column = Annotated[str, Field(max_length=256, pattern=PLAIN_TEXT)]
FileIds = Annotated[
    list[Annotated[str, Field(min_length=1, max_length=LONGEST_ID, pattern=PLAIN_TEXT)]],
    Field(min_length=1, max_length=20),
]
ArmName = Annotated[str, Field(min_length=1, max_length=64, pattern=PLAIN_TEXT)]
Price = Annotated[float, Field(ge=0, le=MOST_PRICE)]


class Prices(Body):
    """Dollars: of an hour of this machine; of a million tokens that a hosted model reads and writes."""

    hour: Price = 0.10
    prompt: Price | None = None
    completion: Price | None = None


class DecisionData(Body):
    """Ids of files. `test` judges; without it a quarter of `train` is held out. `knowledge` is searched in."""

    train: FileId | FileIds
    test: FileId | FileIds | None = None
    knowledge: FileIds | None = None
    columns: dict[Annotated[str, Field(max_length=32)], Column | Annotated[list[Column], Field(max_length=16)]] = Field(
        default_factory=dict, max_length=32
    )


class DecisionRequest(Body):
    """What to decide. `model` is the base that is tuned, `generator` the one that is asked in words; `assistant` is one
    of the operator's: its model, which may be hosted elsewhere, is asked in words, and where answers are texts it is an
    arm of its own. `settings` are of the trainings, by dotted key (`{"train.epochs": 5}`)."""

    data: DecisionData
    task: Literal["auto", "classify", "regress", "extract", "chat", "complete"] = "auto"
    model: Name | None = None
    generator: Name | None = None
    assistant: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")] | None = None
    arms: Annotated[list[ArmName], Field(max_length=40)] | None = None
    budget_seconds: Annotated[float, Field(ge=5, le=LONGEST_BUDGET)] = BUDGET_SECONDS
    seed: Annotated[int, Field(ge=0, le=2**31 - 1), BeforeValidator(whole)] = 0
    prices: Prices | None = None
    settings: SmallObject | None = None
    suffix: Suffix | None = None
    metadata: Metadata | None = None


def decision_draft(state: AppState, caller: Identity, body: DecisionRequest) -> Job:
    """The job that decides, without its id; blocks.

    Raises:
        ApiError: 400 for what cannot be done, 404 for a model or file that this caller does not have.
    """
    data: dict[str, Any] = {"columns": dict(body.data.columns)}
    files: list[StoredFile] = []
    for name in ("train", "test", "knowledge"):
        given = getattr(body.data, name)
        if given is not None:
            data[name] = given
            ids = [given] if isinstance(given, str) else given
            files += [usable_file(state, caller, file_id, f"data.{name}") for file_id in ids]
    task = body.task if body.task != "auto" else recognised(state, files[0], body.data.columns) or "auto"
    base = find(state, caller, body.model or default_model(task))
    check_base(base, task, "model", "A decision")
    if body.generator is not None:
        check_base(find(state, caller, body.generator), "chat", "generator", "A decision")
    if body.assistant is not None:
        if body.assistant not in state.assistants:
            raise ApiError(404, f"There is no assistant '{body.assistant}' on this server.", param="assistant",
                           code="model_not_found")  # fmt: skip
        if body.generator is not None:
            raise ApiError(400, "Give a generator or an assistant: one model is asked in words.", param="generator",
                           code="invalid_value")  # fmt: skip
    overrides = training_settings(body.settings or {}, task)
    recipe = {
        "task": task, "model": body.model, "generator": body.generator, "data": data,
        "decide": {
            "assistant": body.assistant, "arms": body.arms or [],
            "budget": body.budget_seconds, "seed": body.seed, "overrides": overrides,
            "prices": None if body.prices is None else body.prices.model_dump(),
        },
    }  # fmt: skip
    return Job(
        id="", project_id=caller.project_id, kind="decision", status="validating_files", model=base.base.name,
        base_model=base.base.name, task=task, training_file=files[0].id, created_at=now(), seed=body.seed,
        recipe=recipe, suffix=body.suffix, metadata=dict(body.metadata or {}), key_id=caller.key_id,
    )  # fmt: skip


def check_base(model: Resolved, task: str, param: str, what: str) -> None:
    """Refuse (400) a tuned model, and a base that does not learn the task; `what` begins from it."""
    if model.record is not None:
        raise ApiError(400, f"{what} begins from a base: '{model.record.name}' is tuned already.", param=param,
                       code="not_a_base")  # fmt: skip
    if task != "auto" and task not in model.base.tasks:
        learns = ", ".join(model.base.tasks)
        raise ApiError(400, f"'{model.base.name}' learns to {learns}, not to {task}.", param=param,
                       code="invalid_value")  # fmt: skip


def training_settings(settings: Mapping[str, Any], task: str) -> list[str]:
    """Settings of the trainings as "key=value". Only what moves the weights may be set.

    Raises:
        ApiError: 400 for any other key, and for a value that is out of its bounds.
    """
    values: dict[str, Any] = {"data": "x", "task": task}
    for key, value in settings.items():
        if not key.startswith("train."):
            raise ApiError(400, f"Only keys below train are set here, not '{key[:64]}'.", param="settings",
                           code="invalid_value")  # fmt: skip
        most = LARGEST.get(key)
        if most is not None and isinstance(value, int | float) and value > most:
            raise ApiError(400, f"{key} is at most {most:,}.", param="settings", code="invalid_value")
        set_key(values, key, value)
    try:
        Recipe.build(values)
    except RecipeError as error:
        raise ApiError(400, str(error)[:2000], param="settings", code=error.code) from None
    return [f"{key}={flow(value)}" for key, value in settings.items()]



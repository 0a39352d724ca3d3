"""What an automatic run is asked, as it comes over HTTP, and the job that it becomes."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from luthier.core.durations import seconds_of
from luthier.core.errors import UsageError
from luthier.jobs.errors import NotFound
from luthier.jobs.records import Identity, Job, StoredFile
from luthier.search.candidates import LEAST_SECONDS
from luthier.server.errors import ApiError
from luthier.server.luthier_api.decision_requests import Column, FileIds, check_base, training_settings
from luthier.server.luthier_api.recipe_requests import default_model
from luthier.server.names import find
from luthier.server.openai.answers import LONGEST_ID, now
from luthier.server.openai.body import Body, SmallObject, whole
from luthier.server.openai.job_making import recognised, usable_file
from luthier.server.openai.job_requests import FileId, Metadata, Name, Suffix
from luthier.server.state import AppState

BUDGET_SECONDS = 600.0
LONGEST_BUDGET = 86_400.0
LEAST_SHARE, MOST_SHARE = 0.01, 0.9
_TIME = r"^ *\d{1,6}(\.\d{1,3})? *(s|m|min|h)? *$"


def _seconds(value: Any) -> Any:
    if isinstance(value, str) and len(value) <= 20:
        try:
            value = seconds_of(value)
        except UsageError:
            value = None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise PydanticCustomError("budget", "write seconds, or a time such as '90s', '10m' or '2h'")
    if not LEAST_SECONDS <= value <= LONGEST_BUDGET:
        raise PydanticCustomError(
            "budget", "a budget is 20 seconds to 24 hours; reading, a first model and its report take about 20 seconds"
        )
    return float(value)


def _held_out(value: Any) -> Any:
    if isinstance(value, str):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float) or not LEAST_SHARE <= value <= MOST_SHARE:
        raise PydanticCustomError("held_out", "give a share of the rows from 0.01 to 0.9, or the id of a file")
    return float(value)


Budget = Annotated[
    float, BeforeValidator(_seconds),
    WithJsonSchema({"anyOf": [
        {"type": "number", "minimum": LEAST_SECONDS, "maximum": LONGEST_BUDGET},
        {"type": "string", "maxLength": 20, "pattern": _TIME, "examples": ["90s", "10m", "2h"]},
    ], "default": BUDGET_SECONDS}),
]  # fmt: skip
HeldOut = Annotated[
    float | FileId, BeforeValidator(_held_out),
    WithJsonSchema({"anyOf": [
        {"type": "number", "minimum": LEAST_SHARE, "maximum": MOST_SHARE},
        {"type": "string", "minLength": 1, "maxLength": LONGEST_ID, "pattern": r"^[^\x00]*$"},
    ]}),
]  # fmt: skip


class AutoData(Body):
    """Ids: `train` of files, or `dataset` of a data set, whose newest version is learned from. `test` judges the winner
    once; `validation` (a share of the rows, or a file) is what candidates are compared on."""

    train: FileId | FileIds | None = None
    dataset: Annotated[str, Field(min_length=1, max_length=LONGEST_ID, pattern=r"^[A-Za-z0-9_-]+$")] | None = None
    test: FileId | None = None
    validation: HeldOut | None = None
    columns: dict[Annotated[str, Field(max_length=32)], Column | Annotated[list[Column], Field(max_length=16)]] = Field(
        default_factory=dict, max_length=32
    )


class AutoRequest(Body):
    """What to learn, and how long that may take: `budget` is of work, and the time in the queue is not counted. `model`
    is the base; `settings` hold for all candidates, by dotted key (`{"train.max_length": 128}`)."""

    data: AutoData
    budget: Budget = BUDGET_SECONDS
    task: Literal["auto", "classify", "regress", "extract", "chat", "complete"] = "auto"
    model: Name | None = None
    seed: Annotated[int, Field(ge=0, le=2**31 - 1), BeforeValidator(whole)] = 0
    settings: SmallObject | None = None
    suffix: Suffix | None = None
    metadata: Metadata | None = None


def auto_draft(state: AppState, caller: Identity, body: AutoRequest) -> Job:
    """The job that chooses, without its id; blocks.

    Raises:
        ApiError: 400 for what cannot be done, 404 for a model, file or data set that this caller does not have.
    """
    data = _data(state, caller, body.data)
    files: list[StoredFile] = []
    for name in ("train", "test", "validation"):
        given = data.get(name)
        ids = [one for one in (given if isinstance(given, list) else [given]) if isinstance(one, str)]
        files += [usable_file(state, caller, file_id, f"data.{name}") for file_id in ids]
    task = body.task if body.task != "auto" else recognised(state, files[0], body.data.columns) or "auto"
    base = find(state, caller, body.model or default_model(task))
    check_base(base, task, "model", "An automatic run")
    recipe = {
        "task": task, "model": base.base.name if body.model or task != "auto" else None, "data": data,
        "auto": {"budget": body.budget, "seed": body.seed, "overrides": _overrides(body, task)},
    }  # fmt: skip
    held = data.get("validation")
    return Job(
        id="", project_id=caller.project_id, kind="auto", status="validating_files", model=base.base.name,
        base_model=base.base.name, task=task, training_file=files[0].id,
        validation_file=held if isinstance(held, str) else None, created_at=now(), seed=body.seed, recipe=recipe,
        suffix=body.suffix, metadata=dict(body.metadata or {}), key_id=caller.key_id,
    )  # fmt: skip


def _data(state: AppState, caller: Identity, asked: AutoData) -> dict[str, Any]:
    """The data of the job's recipe: ids of files."""
    if (asked.train is None) == (asked.dataset is None):
        raise ApiError(
            400, "Give the files to learn from in 'data.train', or a data set in 'data.dataset', and not both.",
            param="data.train", code="missing_required_parameter" if asked.train is None else "invalid_value",
        )  # fmt: skip
    found: dict[str, Any] = {"train": asked.train, "columns": dict(asked.columns)}
    if asked.dataset is not None:
        try:
            dataset = state.store.datasets.get(caller.project_id, asked.dataset)
            version = state.store.datasets.version(caller.project_id, dataset.id, dataset.latest)
        except NotFound:
            raise ApiError(404, "There is no such data set in this project.", param="data.dataset",
                           code="not_found") from None  # fmt: skip
        found["train"] = version.file_id
        if version.test_file_id is not None:
            found["test"] = version.test_file_id
    for name in ("test", "validation"):
        if (given := getattr(asked, name)) is not None:
            found[name] = given
    return found


def _overrides(body: AutoRequest, task: str) -> list[str]:
    settings = body.settings or {}
    if "train.seed" in settings:
        raise ApiError(400, "train.seed is chosen here; give 'seed' beside it.", param="settings",
                       code="invalid_value")  # fmt: skip
    return training_settings(settings, task)

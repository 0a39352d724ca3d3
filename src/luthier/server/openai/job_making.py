"""A request becomes a job: what it names is looked up, what it leaves open is settled, and it is made once."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import count
from typing import Any

from pydantic import ValidationError

from luthier.core.errors import LuthierError
from luthier.core.recipe import LANGUAGE_TASKS
from luthier.core.recipe_track import WandbSpec
from luthier.jobs.errors import NotFound
from luthier.jobs.ids import LENGTH
from luthier.jobs.limits import Limits
from luthier.jobs.records import TRAININGS, Identity, Job, NewEvent, StoredFile, kind_words
from luthier.server.errors import ApiError
from luthier.server.local_files import local_files
from luthier.server.names import Resolved, find
from luthier.server.openai.answers import json_bytes, now, shown
from luthier.server.openai.files import find_file
from luthier.server.openai.job_requests import LARGEST_SEED, Hyperparameters, JobRequest
from luthier.server.openai.job_shapes import HYPERPARAMETERS
from luthier.server.state import AppState

SAME_SECONDS = 60
"""The same request of the same key within this time is a client that tries again, and gets the first job."""
LEARNED_FROM = ("fine-tune", "user_data")
"""Purposes of files that a recipe may learn from; OpenAI's own jobs take the first only."""
_KEY = re.compile(r"[\x21-\x7e]{1,255}")
_PREFIXES = {"search": "search-", "decision": "decision-", "auto": "auto-"}
_LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"


def make_openai_job(state: AppState, caller: Identity, body: JobRequest) -> Job:
    """The job that a body of OpenAI's asks for, without its id and seed; blocks.

    Raises:
        ApiError: 400 for what cannot be done, 404 for a model or file that this caller does not have.
    """
    refuse_unsupported(body)
    model = find(state, caller, body.model)
    training = usable_file(state, caller, body.training_file, "training_file", ("fine-tune",))
    if body.validation_file is not None:
        usable_file(state, caller, body.validation_file, "validation_file", ("fine-tune",))
    asked = asked_hyperparameters(body)
    train: dict[str, Any] = {
        key: value for name, key in HYPERPARAMETERS.items() if (value := getattr(asked, name)) != "auto"
    }
    if "epochs" in train:
        train["patience"] = 0  # who names the epochs gets all of them
    # Rows are held back only where they are needed to see when to stop.
    held = body.validation_file or (0.0 if "epochs" in train else 0.1)
    recipe = {
        "model": model.base.name,
        "task": task_of(state, model, training),
        "data": {"train": training.id, "validation": held},
        "method": {"kind": "lora"},
        "train": train,
    }
    integrations = [{"type": "wandb", "wandb": wandb_of(one.wandb)} for one in body.integrations or ()]
    if integrations:
        recipe["track"] = {"wandb": integrations[0]["wandb"]}
    job = new_job(caller, "openai", body.model, model, recipe, training.id, body.validation_file, body.suffix,
                  body.metadata, body.seed)  # fmt: skip
    return replace(job, integrations=integrations)


def new_job(
    caller: Identity,
    kind: Any,
    asked_model: str,
    model: Resolved,
    recipe: dict[str, Any],
    training_file: str,
    validation_file: str | None,
    suffix: str | None,
    metadata: Mapping[str, str] | None,
    seed: int | None,
) -> Job:
    """A job without its id; a seed of -1 is drawn when the id is known."""
    return Job(
        id="", project_id=caller.project_id, kind=kind, status="validating_files", model=asked_model,
        base_model=model.base.name, task=recipe["task"], training_file=training_file, created_at=now(),
        seed=-1 if seed is None else seed, recipe=recipe, parent=model.record.name if model.record else None,
        validation_file=validation_file, suffix=suffix, method=dict(recipe["method"]), metadata=dict(metadata or {}),
        key_id=caller.key_id,
    )  # fmt: skip


def wandb_is_here() -> bool:
    """Whether whoever runs the server has set up Weights & Biases."""
    return importlib.util.find_spec("wandb") is not None and bool(os.environ.get("WANDB_API_KEY"))


def wandb_of(values: dict[str, Any]) -> dict[str, Any]:
    """OpenAI's settings of a Weights & Biases run, checked; raises `ApiError` (400)."""
    try:
        return WandbSpec.model_validate(values).model_dump(exclude_none=True)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise ApiError(400, f"'wandb.{shown(place)}': {first['msg']}.", param="integrations[0].wandb",
                       code="invalid_value") from None  # fmt: skip


def refuse_unsupported(body: JobRequest) -> None:
    """400 for what OpenAI has and this server has not."""
    if body.method is not None and body.method.type != "supervised":
        raise ApiError(
            400,
            f"The method '{body.method.type}' is not supported by this version; use 'supervised'.",
            param="method.type",
            code="unsupported_method",
        )
    if body.method is not None and (body.method.dpo is not None or body.method.reinforcement is not None):
        given = "dpo" if body.method.dpo is not None else "reinforcement"
        raise ApiError(400, f"'method.{given}' does not go with the type 'supervised'.", param=f"method.{given}",
                       code="invalid_value")  # fmt: skip
    if body.integrations and not wandb_is_here():
        raise ApiError(
            400,
            "Weights & Biases is not set up on this server: it needs the package wandb and WANDB_API_KEY in its "
            "environment. The step metrics are in the job's events and in its result file.",
            param="integrations",
            code="unsupported_integration",
        )
    if body.integrations and len(body.integrations) > 1:
        raise ApiError(400, "One Weights & Biases integration is possible, not several.", param="integrations",
                       code="unsupported_integration")  # fmt: skip
    if body.hyperparameters is not None and body.method is not None:
        raise ApiError(
            400,
            "Give 'hyperparameters' inside of 'method' only; the field beside it is the older form.",
            param="hyperparameters",
            code="invalid_value",
        )


def asked_hyperparameters(body: JobRequest) -> Hyperparameters:
    """The hyperparameters, in the newer or the older form."""
    if body.method is not None and body.method.supervised is not None:
        return body.method.supervised.hyperparameters or Hyperparameters()
    return body.hyperparameters or Hyperparameters()


def usable_file(
    state: AppState, caller: Identity, file_id: str, param: str, purposes: tuple[str, ...] = LEARNED_FROM
) -> StoredFile:
    """A file of the project that may be learned from; blocks."""
    file = find_file(state, caller, file_id, param)
    if file.purpose not in purposes:
        raise ApiError(
            400,
            f"The file {file.id} has the purpose '{file.purpose}'; upload it with the purpose 'fine-tune'.",
            param=param,
            code="invalid_file_purpose",
        )
    return file


def task_of(state: AppState, model: Resolved, file: StoredFile) -> str:
    """What a job learns: what the tuned model that goes on did, else what the rows plainly are.

    Rows that cannot be read at all are told when the files are validated, as OpenAI does.
    """
    if model.task:
        return model.task
    found = recognised(state, file)
    if model.kind == "generative":
        return found if found in LANGUAGE_TASKS else "chat"
    if found not in model.base.tasks:
        raise ApiError(
            400,
            f"'{model.base.name}' learns to {', '.join(model.base.tasks)}, and the file does not say plainly which: "
            "it needs the columns text and label, text and score, or text and spans. POST /luthier/v1/jobs takes a "
            "recipe that names the task and the columns.",
            param="training_file",
            code="task_not_recognised",
        )
    return found


def recognised(state: AppState, file: StoredFile, columns: Mapping[str, Any] | None = None) -> str:
    """The task that a file's first rows plainly show, or nothing."""
    from luthier.data.dataset import Dataset

    with local_files(state, [file]) as paths:
        try:
            return Dataset.open(str(paths[0]), columns=columns).task
        except LuthierError:
            return ""


def submit(state: AppState, caller: Identity, draft: Job, request: Any, idempotency_key: str | None) -> Job:
    """Record a job once; blocks.

    A request with an Idempotency-Key is made once for good; any other once within `SAME_SECONDS`, unless the job was
    cancelled meanwhile. The id follows from the request, so that a server that was killed after it recorded the job
    finds it again.

    Args:
        request: what the client asked for, as plain values.

    Raises:
        ApiError: 400 when the Idempotency-Key was used for another request.
        LimitReached: too many jobs wait.
    """
    if idempotency_key is not None:
        if not _KEY.fullmatch(idempotency_key):
            raise ApiError(400, "The header Idempotency-Key is 1 to 255 visible ASCII characters.",
                           param="Idempotency-Key", code="invalid_idempotency_key")  # fmt: skip
        job = _with_id(draft, _id_of(draft, caller.project_id, "key", idempotency_key))
        found = _record(state, job)
        if _request_of(found) != _request_of(job):
            raise ApiError(
                400, "This Idempotency-Key was used for another request.", param="Idempotency-Key",
                code="idempotency_key_reused",
            )  # fmt: skip
        return found
    digest = hashlib.sha256(json_bytes(request)).hexdigest()
    at = now()
    free = ""
    for minute in (at // SAME_SECONDS, at // SAME_SECONDS - 1):
        for number in count():
            job_id = _id_of(draft, caller.project_id, caller.key_id, digest, str(minute), str(number))
            try:
                earlier = state.store.jobs.get(caller.project_id, job_id)
            except NotFound:
                free = free or job_id
                break
            if earlier.status != "cancelled" and at - earlier.created_at < SAME_SECONDS:
                return earlier
    return _record(state, _with_id(draft, free))


def _record(state: AppState, job: Job) -> Job:
    settings = state.settings
    limits = Limits(per_key=settings.max_queued_jobs_per_key, per_project=settings.max_queued_jobs)
    what = kind_words(job.kind)
    events = (
        NewEvent("created", f"Created {what}: {job.id}"),
        NewEvent("validating", f"Validating training file: {job.training_file}"),
    )
    return state.store.jobs.create(job, events, idempotency=job.id, limits=limits)[0]


def _with_id(draft: Job, job_id: str) -> Job:
    """The draft with its id, and a seed that follows from it where none was asked for."""
    drawn = int.from_bytes(hashlib.sha256(job_id.encode()).digest()[:8], "big") % (LARGEST_SEED + 1)
    seed = drawn if draft.seed < 0 else draft.seed
    if draft.kind not in TRAININGS:
        return replace(draft, id=job_id, seed=seed)
    recipe = {**draft.recipe, "train": {**draft.recipe["train"], "seed": seed}}
    return replace(draft, id=job_id, seed=seed, recipe=recipe)


def _id_of(draft: Job, *parts: str) -> str:
    prefix = _PREFIXES.get(draft.kind, "ftjob-")
    number = int.from_bytes(hashlib.sha256(json_bytes(parts)).digest(), "big")
    letters = ""
    for _ in range(LENGTH):
        number, letter = divmod(number, len(_LETTERS))
        letters += _LETTERS[letter]
    return f"{prefix}{letters}"


_REQUESTED: tuple[Callable[[Job], Any], ...] = (
    lambda job: job.model, lambda job: job.training_file, lambda job: job.validation_file, lambda job: job.suffix,
    lambda job: job.metadata, lambda job: job.kind, lambda job: job.seed, lambda job: job.recipe,
)  # fmt: skip


def _request_of(job: Job) -> list[Any]:
    """What a client asked for of a job, and what follows from it."""
    return [part(job) for part in _REQUESTED]

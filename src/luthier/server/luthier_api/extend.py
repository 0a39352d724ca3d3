"""More epochs of a finished job: a new job that goes on where that one ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter
from fastapi.responses import Response
from pydantic import BeforeValidator, Field

from luthier.core.errors import StorageError
from luthier.jobs.recipes import file_ids
from luthier.jobs.records import Identity, Job
from luthier.jobs.run_state import state_artefact
from luthier.server import store_call
from luthier.server.auth import Caller
from luthier.server.errors import ApiError
from luthier.server.luthier_api.recipe_requests import LARGEST
from luthier.server.names import Resolved, find
from luthier.server.openai.answers import ERRORS, Id, failure, json_response
from luthier.server.openai.body import Body, whole
from luthier.server.openai.fine_tuning import IdempotencyKey, find_training
from luthier.server.openai.job_making import new_job, submit, usable_file
from luthier.server.openai.job_requests import Suffix
from luthier.server.openai.job_shapes import RecipeJob, recipe_job_json
from luthier.server.state import AppState, State

router = APIRouter(prefix="/luthier/v1", tags=["Jobs"], responses=ERRORS)

MOST_EPOCHS = int(LARGEST["train.epochs"])


class ExtendRequest(Body):
    """How many epochs more; all of them are trained, whatever the patience was."""

    epochs: Annotated[int, Field(ge=1, le=MOST_EPOCHS), BeforeValidator(whole)]
    suffix: Suffix | None = None


@router.post(
    "/jobs/{job_id}/extend", operation_id="extendJob", response_model=RecipeJob,
    responses=failure(429, "Too many jobs wait."),
)  # fmt: skip
async def extend_job(
    job_id: Id, body: ExtendRequest, state: State, caller: Caller, idempotency_key: IdempotencyKey = None
) -> Response:
    """Train a finished job further, as a new job with a model of its own; the first one stays as it is.

    It goes on from the last checkpoint, with optimizer and data order, as if it had been planned so long; where that
    was not kept (`origin.continues` says "weights"), from the model's weights with a new optimizer.
    """

    def make() -> Job:
        origin = find_training(state, caller, job_id)
        draft = _further(state, caller, origin, body)
        asked = {"extend": origin.id, **body.model_dump(mode="json")}
        return submit(state, caller, draft, asked, idempotency_key)

    return json_response(recipe_job_json(await store_call.run(make), state.settings.organisation))


def _further(state: AppState, caller: Identity, origin: Job, body: ExtendRequest) -> Job:
    if origin.status != "succeeded" or origin.fine_tuned_model is None:
        raise ApiError(
            400, f"The job {origin.id} is {origin.status}: only one that has succeeded is extended.", param="job_id",
            code="job_status",
        )  # fmt: skip
    for file_id in file_ids(origin.recipe):
        usable_file(state, caller, file_id, "job_id")
    done = int(origin.result.get("trained_epochs") or origin.chosen.get("n_epochs") or 0)
    if done + body.epochs > MOST_EPOCHS:
        raise ApiError(400, f"A model learns for at most {MOST_EPOCHS} epochs; this one has had {done}.",
                       param="epochs", code="invalid_value")  # fmt: skip
    kept = _is_kept(state, origin)
    continues = "state" if kept else "weights"
    model = find(state, caller, origin.base_model if kept else origin.fine_tuned_model)
    epochs = done + body.epochs if kept else body.epochs
    draft = _draft(caller, origin, model, {"epochs": epochs, "patience": 0}, body.suffix or origin.suffix, kept)
    told = {"job": origin.id, "epochs": done, "step": origin.step, "continues": continues}
    return replace(draft, result={"origin": told}, chosen={**origin.chosen, "n_epochs": epochs})


def _draft(
    caller: Identity, origin: Job, model: Resolved, train: Mapping[str, Any], suffix: str | None, kept: bool
) -> Job:
    recipe = {**origin.recipe, "train": {**origin.recipe["train"], **train}}
    if not kept:  # another order of the rows, and the same rows held back
        data = recipe["data"] if isinstance(recipe["data"], dict) else {"train": recipe["data"]}
        held = data.get("split_seed")
        recipe["data"] = {**data, "split_seed": origin.seed if held is None else held}
    draft = new_job(
        caller, origin.kind, origin.model, model, recipe, origin.training_file, origin.validation_file, suffix,
        origin.metadata, origin.seed if kept else None,
    )  # fmt: skip
    return replace(draft, parent=origin.parent) if kept else draft


def _is_kept(state: AppState, origin: Job) -> bool:
    if not origin.result.get("state"):
        return False
    try:
        state.artefacts.folder(state_artefact(origin.id))
    except StorageError as error:
        if error.code != "artefact_missing":
            raise
        return False
    return True

"""Models: what may be called, and what may be deleted."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path
from fastapi.responses import Response

from luthier.core.answering import ModelRef
from luthier.jobs.errors import NotFound
from luthier.jobs.records import Identity, Model
from luthier.jobs.run_state import state_artefact
from luthier.server import store_call
from luthier.server.auth import Caller
from luthier.server.errors import ApiError
from luthier.server.names import LONGEST_NAME, Base, bases, find_base, model_not_found
from luthier.server.openai.answering import all_replies, engine_request
from luthier.server.openai.answers import ERRORS, Shape, failure, json_response
from luthier.server.openai.assistants import PREFIX, assistant_json, assistants_json
from luthier.server.state import AppState, State

router = APIRouter(prefix="/v1", tags=["Models"], responses=ERRORS)

# A name may hold what looks like folders (a hub id): it is told that there is no such model, as of any other name.
Name = Annotated[str, Path(max_length=4 * LONGEST_NAME)]


class ModelObject(Shape):
    """A model that may be called."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str


class ModelList(Shape):
    object: Literal["list"]
    data: list[ModelObject]


class ModelDeleted(Shape):
    id: str
    object: Literal["model"]
    deleted: bool


@router.get("/models", response_model=ModelList)
async def list_models(state: State, caller: Caller) -> Response:
    """The bases on this machine, then the project's tuned models and checkpoints, newest first."""
    return json_response({"object": "list", "data": await store_call.run(_all, state, caller)})


@router.get("/models/{model:path}", response_model=ModelObject)
async def get_model(model: Name, state: State, caller: Caller) -> Response:
    """One model."""
    return json_response(await store_call.run(_one, state, caller, model))


@router.delete("/models/{model:path}", response_model=ModelDeleted, responses=failure(409, "It is in use."))
async def delete_model(model: Name, state: State, caller: Caller) -> Response:
    """Delete a tuned model of the project, and its exports. A base stays: 403."""
    record, exports = await store_call.run(_delete, state, caller, model)
    ref = ModelRef(record.name, record.base_model)
    with suppress(ApiError):  # an engine that is away holds nothing
        await all_replies(state, engine_request("unload", ref, caller, {}))
    await store_call.run(state.artefacts.delete_folder, record.artefact)
    if record.step is None:
        await store_call.run(state.artefacts.delete_folder, state_artefact(record.job_id))
    for export in exports:
        await store_call.run(state.artefacts.delete, f"exports/{export}")
    return json_response({"id": model, "object": "model", "deleted": True})


def _all(state: AppState, caller: Identity) -> list[dict[str, Any]]:
    tuned = state.store.models.list(caller.project_id)
    shared = [*map(_base_json, bases(state.settings.home)), *assistants_json(state)]
    return [*shared, *(_tuned_json(state, model) for model in tuned)]


def _one(state: AppState, caller: Identity, name: str) -> dict[str, Any]:
    if name.startswith(PREFIX):
        if name.removeprefix(PREFIX) not in state.assistants:
            raise model_not_found(name)
        return assistant_json(name.removeprefix(PREFIX))
    if not name.startswith("ft:"):
        base = find_base(state.settings.home, name)
        if base is None:
            raise model_not_found(name)
        return _base_json(base)
    return _tuned_json(state, find_tuned(state, caller, name))


def find_tuned(state: AppState, caller: Identity, name: str) -> Model:
    """A tuned model that the caller's project may use; blocks. Raises 404."""
    if len(name) > LONGEST_NAME or not name.isprintable():
        raise model_not_found(name)
    try:
        return state.store.models.get(caller.project_id, name)
    except NotFound:
        raise model_not_found(name) from None


def _delete(state: AppState, caller: Identity, name: str) -> tuple[Model, Sequence[str]]:
    if not name.startswith("ft:") and find_base(state.settings.home, name) is not None:
        raise ApiError(403, f"'{name}' is a base model of this machine; only its operator can remove it.",
                       param="model", code="model_not_deletable")  # fmt: skip
    if find_tuned(state, caller, name).project_id != caller.project_id:
        raise ApiError(403, f"'{name}' belongs to another project, which lets this one use it.", param="model",
                       code="model_not_deletable")  # fmt: skip
    try:
        return state.store.models.delete(caller.project_id, name)
    except NotFound:
        raise model_not_found(name) from None


def _base_json(base: Base) -> dict[str, Any]:
    owner = "luthier" if base.place == base.name else "operator"
    return {"id": base.name, "object": "model", "created": base.created, "owned_by": owner}


def _tuned_json(state: AppState, model: Model) -> dict[str, Any]:
    return {
        "id": model.name,
        "object": "model",
        "created": model.created_at,
        "owned_by": state.settings.organisation,
    }

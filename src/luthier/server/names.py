"""The names that a client may give as `model`: bases whose weights are on this machine, and a project's tuned models.

Never a path and never a hub id: a name is looked up among the names that exist, it is not made into a path.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from luthier.core.answering import ModelRef
from luthier.core.errors import LuthierError
from luthier.jobs.errors import NotFound
from luthier.jobs.records import Identity, Model
from luthier.models import catalogue
from luthier.models.base_source import check_folder
from luthier.server import store_call
from luthier.server.errors import ApiError
from luthier.server.state import AppState

LONGEST_NAME = 256
"""Characters of any name that a client may send."""
MODELS_FOLDER = "models"
_FOLDER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
Kind = Literal["encoder", "generative"]


@dataclass(frozen=True, slots=True)
class Base:
    """A base model on this machine.

    Attributes:
        place: what a recipe or the engine calls it: its catalogue name, or its folder.
        created: when its weights were put here, in seconds since 1970.
    """

    name: str
    kind: Kind
    tasks: tuple[str, ...]
    place: str
    created: int


@dataclass(frozen=True, slots=True)
class Resolved:
    """What a name stands for: a tuned model where there is a record, else a base."""

    ref: ModelRef
    base: Base
    record: Model | None = None

    @property
    def task(self) -> str:
        """What a tuned model was trained for; empty for a base."""
        return self.record.task if self.record else ""

    @property
    def kind(self) -> Kind:
        """Whether it writes, or answers about a whole text."""
        return self.base.kind


def bases(home: Path) -> list[Base]:
    """Every base on this machine: the catalogue's first, then the folders that the operator installed."""
    found = [base for entry in catalogue.entries() if (base := _of_catalogue(entry)) is not None]
    folder = home / MODELS_FOLDER
    if folder.is_dir():
        known = {entry.name for entry in catalogue.entries()}
        others = [path for path in sorted(folder.iterdir()) if path.name not in known]
        found += [base for path in others if (base := _of_folder(path)) is not None]
    return found


def find_base(home: Path, name: str) -> Base | None:
    """The base called `name`, if there is one."""
    for entry in catalogue.entries():
        if entry.name == name:
            return _of_catalogue(entry)
    folder = home / MODELS_FOLDER
    if not folder.is_dir():
        return None
    return next((_of_folder(path) for path in folder.iterdir() if path.name == name), None)


def find(state: AppState, identity: Identity, name: str, *, to_answer: bool = False) -> Resolved:
    """What `name` stands for, for this caller; blocks.

    Args:
        to_answer: fetch the weights of a tuned model to this machine, which `ref` then names the folder of.

    Raises:
        ApiError: 404 `model_not_found`, whether it is unknown, of another project, or not here any more.
    """
    if not name.startswith("ft:"):
        base = find_base(state.settings.home, name)
        if base is None:
            raise model_not_found(name)
        return Resolved(ModelRef(base.name, base.place), base)
    if len(name) > LONGEST_NAME or not name.isprintable():
        raise model_not_found(name)
    try:
        record = state.store.models.get(identity.project_id, name)
    except NotFound:
        raise model_not_found(name) from None
    base = find_base(state.settings.home, record.base_model)
    if base is None:
        raise ApiError(
            409,
            f"The base model '{record.base_model}' of '{name}' is not on this machine any more.",
            param="model",
            code="base_model_missing",
        )
    folder = str(state.artefacts.folder(record.artefact)) if to_answer else None
    return Resolved(ModelRef(record.name, base.place, folder), base, record)


async def resolve_model(state: AppState, identity: Identity, name: str) -> Resolved:
    """`find` in a thread, for the engine to answer with."""
    return await store_call.run(find, state, identity, name, to_answer=True)


def model_not_found(name: str) -> ApiError:
    """The same answer for every name that this caller may not use."""
    shown = name if len(name) <= LONGEST_NAME else name[:LONGEST_NAME] + "..."
    return ApiError(
        404,
        f"The model '{shown}' does not exist or you do not have access to it.",
        param="model",
        code="model_not_found",
    )


def _of_catalogue(entry: catalogue.CatalogueEntry) -> Base | None:
    place = catalogue.place_of(entry)
    if place is None:
        return None
    return Base(entry.name, entry.kind, entry.tasks, entry.name, int(place.stat().st_mtime))


def _of_folder(path: Path) -> Base | None:
    """A folder in the Hugging Face layout; anything else, and one that brings code, is not offered."""
    if not _FOLDER_NAME.fullmatch(path.name) or not path.is_dir() or not any(path.glob("*.safetensors")):
        return None
    try:
        config = check_folder(path)
    except LuthierError:
        return None
    architectures = config.get("architectures")
    generative = isinstance(architectures, list) and any("CausalLM" in str(item) for item in architectures)
    kind: Kind = "generative" if generative else "encoder"
    tasks = tuple(next(entry.tasks for entry in catalogue.entries() if entry.kind == kind))
    return Base(path.name, kind, tasks, str(path), int(path.stat().st_mtime))

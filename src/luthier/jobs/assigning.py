"""A claimed job becomes what its worker is told: ids of files become paths, names of bases their places."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from luthier.approaches.assistant_file import AssistantFile, is_assistant, read_assistant
from luthier.core import clock
from luthier.core.errors import LuthierError, UsageError
from luthier.core.recipe import LANGUAGE_TASKS
from luthier.jobs.artefacts import Artefacts
from luthier.jobs.children import tracking_environment
from luthier.jobs.recipes import with_paths, worker_recipe
from luthier.jobs.records import TRAININGS, Claim, Job
from luthier.jobs.run_state import state_artefact
from luthier.jobs.store import Store
from luthier.jobs.worker_wire import Assignment
from luthier.jobs.workplace import Workplace
from luthier.models import catalogue


class Assigning:
    """Makes assignments for one supervisor.

    Args:
        models: folder of the base models that the operator installed.
        save_seconds: longest time between two checkpoints.
        memory_bytes, nice: of a worker.
        assistants: folder of the assistants' files that the operator names.
        track: where every training is mirrored; the key `track` of a recipe.
    """

    def __init__(
        self, store: Store, artefacts: Artefacts, models: Path | None, save_seconds: float, memory_bytes: int,
        nice: int, assistants: Path | None = None, track: Mapping[str, Any] | None = None,
    ) -> None:  # fmt: skip
        self._track = dict(track or {})
        self._assistants = assistants
        self._store, self._artefacts, self._models = store, artefacts, models
        self._save_seconds, self._memory_bytes, self._nice = save_seconds, memory_bytes, nice

    def of(self, claim: Claim, place: Workplace) -> Assignment:
        """The assignment, with the job's files in its place.

        Raises `StorageError`, `NotFound` for what is gone, and `RecipeError` for what names no stored file.
        """
        job, began = claim.job, clock.monotonic()
        read = self._store.files.get
        paths, digests = place.bring_files(self._artefacts, lambda name: read(job.project_id, name))
        parent = None
        if job.parent is not None:
            parent = str(self._artefacts.folder(self._store.models.get(job.project_id, job.parent).artefact))
        return Assignment(
            job.id, claim.fence, self._recipe(job, paths, place), str(place.run.path), str(place.lock),
            str(place.scratch), digests, parent, self._save_seconds, memory_bytes=self._memory_bytes, nice=self._nice,
            state=self._state(job), kind=job.kind, started_at=began, attempts=job.attempts,
        )  # fmt: skip

    def _recipe(self, job: Job, paths: Mapping[str, Path], place: Workplace) -> dict[str, Any]:
        if job.kind in TRAININGS:
            return worker_recipe(job, paths, self._base(job.base_model), place.path, place.smaller(), self._track)
        values = {**with_paths(job.recipe, paths), "out": str(place.path)}
        if values.get("model") is not None:
            values["model"] = self._bases(values["model"])
        if values.get("generator") is not None:
            values["generator"] = self._base(values["generator"])
        if (asked := self._assistant(job)) is not None:
            path, file = asked
            decide = {**values["decide"], "assistant": str(path) if job.task in LANGUAGE_TASKS else None}
            if file.endpoint is not None:
                told = {"url": file.endpoint.url, "name": file.endpoint.name, "key_variable": file.endpoint.key_env}
                decide["endpoint"] = told
            elif values.get("generator") is None:
                values["generator"] = self._base(file.model)
            values["decide"] = decide
        return values

    def secrets(self, job: Job) -> dict[str, str]:
        """What the environment of this job's worker holds beside the usual: the key of the endpoint that it asks, or
        the logins of the trackers that it mirrors to. They are in no file, no row and no argument."""
        if job.kind in TRAININGS and (self._track or job.recipe.get("track")):
            return tracking_environment()
        asked = self._assistant(job)
        if asked is None or asked[1].endpoint is None:
            return {}
        name = asked[1].endpoint.key_env
        return {name: os.environ[name]} if name in os.environ else {}

    def _assistant(self, job: Job) -> tuple[Path, AssistantFile] | None:
        """The operator's assistant that a decision asks, by its name. Raises `UsageError` where it is gone."""
        name = (job.recipe.get("decide") or {}).get("assistant")
        if name is None:
            return None
        folder = self._assistants
        for path in sorted(folder.iterdir()) if folder is not None and folder.is_dir() else ():
            with contextlib.suppress(LuthierError):  # a document of actions stands there too
                if is_assistant(path) and path.is_file() and (file := read_assistant(path)).name == name:
                    return path, file
        raise UsageError(f"there is no assistant {name!r} on this server any more.", code="assistants_missing",
                         param="assistant")  # fmt: skip

    def _bases(self, model: Any) -> Any:
        """The place of a base, or of each that a search chooses from."""
        if isinstance(model, dict):
            return {word: [self._base(name) for name in names] for word, names in model.items()}
        return self._base(model)

    def _base(self, name: str) -> str:
        """A base's catalogue name, or its folder among those that the operator installed."""
        if any(entry.name == name for entry in catalogue.entries()) or self._models is None:
            return name
        folder = self._models
        found = next((path for path in folder.iterdir() if path.name == name), None) if folder.is_dir() else None
        return name if found is None else str(found)

    def _state(self, job: Job) -> str | None:
        """The folder of the run that a job trains further."""
        origin = job.result.get("origin") or {}
        if origin.get("continues") != "state":
            return None
        return str(self._artefacts.folder(state_artefact(origin["job"])))

"""A claimed job becomes what its worker is told: ids of files become paths, names of bases their places."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from luthier.jobs.artefacts import Artefacts
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
        track: where every training is mirrored; the key `track` of a recipe.
    """

    def __init__(
        self,
        store: Store,
        artefacts: Artefacts,
        models: Path | None,
        save_seconds: float,
        memory_bytes: int,
        nice: int,
        track: Mapping[str, Any],
    ) -> None:
        self._store, self._artefacts, self._models, self._track = store, artefacts, models, track
        self._save_seconds, self._memory_bytes, self._nice = save_seconds, memory_bytes, nice

    def of(self, claim: Claim, place: Workplace) -> Assignment:
        """The assignment, with the job's files in its place.

        Raises `StorageError`, `NotFound` for what is gone, and `RecipeError` for what names no stored file.
        """
        job = claim.job
        read = self._store.files.get
        paths, digests = place.bring_files(self._artefacts, lambda name: read(job.project_id, name))
        parent = None
        if job.parent is not None:
            parent = str(self._artefacts.folder(self._store.models.get(job.project_id, job.parent).artefact))
        return Assignment(
            job.id, claim.fence, self._recipe(job, paths, place), str(place.run.path), str(place.lock),
            str(place.scratch), digests, parent, self._save_seconds, memory_bytes=self._memory_bytes, nice=self._nice,
            state=self._state(job), kind=job.kind,
        )  # fmt: skip

    def _recipe(self, job: Job, paths: Mapping[str, Path], place: Workplace) -> dict[str, Any]:
        if job.kind in TRAININGS:
            return worker_recipe(job, paths, self._base(job.base_model), place.path, place.smaller(), self._track)
        values = {**with_paths(job.recipe, paths), "out": str(place.path)}
        if values.get("model") is not None:
            values["model"] = self._bases(values["model"])
        if values.get("generator") is not None:
            values["generator"] = self._base(values["generator"])
        return values

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

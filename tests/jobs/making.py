"""A clock that a test moves, and short ways to put things into a store."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import ModuleType
from typing import Any

from luthier.jobs.ids import new_id
from luthier.jobs.queue import Queue
from luthier.jobs.records import Claim, Job, Model, NewEvent, Project, StoredFile
from luthier.jobs.store import Store


class MovedClock(ModuleType):
    """Stands for `core.clock`: the time of day and the monotonic time move apart, as a test says."""

    def __init__(self) -> None:
        super().__init__("moved_clock")
        self.day = datetime(2026, 11, 24, 12, tzinfo=UTC)
        self.seconds = 1000.0

    def now(self) -> datetime:
        return self.day

    def monotonic(self) -> float:
        return self.seconds

    def pass_seconds(self, seconds: float) -> None:
        """Time goes by, as it really does."""
        self.seconds += seconds
        self.day += timedelta(seconds=seconds)

    def jump(self, seconds: float) -> None:
        """Somebody sets the time of day."""
        self.day += timedelta(seconds=seconds)


class Making:
    """Short ways to put things into a store."""

    def __init__(self, store: Store, project: Project) -> None:
        self.store = store
        self.project = project

    def a_job(self, **fields: Any) -> Job:
        values: dict[str, Any] = {
            "id": new_id("ftjob-"),
            "project_id": self.project.id,
            "kind": "openai",
            "status": "queued",
            "model": "luthier-nano",
            "base_model": "luthier-nano",
            "task": "chat",
            "training_file": "file-training",
            "created_at": 1,
            "seed": 7,
            "recipe": {"task": "chat"},
        }
        return Job(**(values | fields))

    def job(self, **fields: Any) -> Job:
        return self.store.jobs.create(self.a_job(**fields), [NewEvent("created", "Created")])[0]

    def a_file(self, **fields: Any) -> StoredFile:
        id = new_id("file-")
        values: dict[str, Any] = {
            "id": id,
            "project_id": self.project.id,
            "filename": "train.jsonl",
            "purpose": "fine-tune",
            "bytes": 10,
            "sha256": "0" * 64,
            "artefact": f"files/{id}",
            "created_at": 1,
        }
        return StoredFile(**(values | fields))

    def file(self, **fields: Any) -> StoredFile:
        return self.store.files.add(self.a_file(**fields))

    def a_model(self, job: Job, name: str, **fields: Any) -> Model:
        values: dict[str, Any] = {
            "project_id": job.project_id,
            "job_id": job.id,
            "base_model": "luthier-nano",
            "task": "chat",
            "method": "lora",
            "artefact": f"models/{job.id}/final",
            "created_at": 1,
        }
        return Model(name, **(values | fields))

    def queue(self, owner: str = "supervisor", **options: Any) -> Queue:
        return Queue(self.store, owner, **options)

    def claim(self, queue: Queue | None = None, **fields: Any) -> Claim:
        """A new job, claimed."""
        self.job(**fields)
        claim = (queue or self.queue()).claim()
        assert claim is not None
        return claim

    def keys_of_events(self, job_id: str) -> list[str]:
        """The keys of all events in order; their numbers have no gap."""
        events = self.store.jobs.events(
            self.store.jobs.find(job_id).project_id, job_id, limit=10_000, order="asc"
        ).items
        assert [event.seq for event in events] == list(range(1, len(events) + 1))
        return [event.key for event in events]

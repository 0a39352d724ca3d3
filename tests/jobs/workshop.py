"""A whole workshop in a folder: store, queue, artefacts and supervisor, with real worker processes."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from luthier.jobs.artefacts import Artefacts, sha256_of
from luthier.jobs.children import own_name
from luthier.jobs.ids import new_id
from luthier.jobs.patience import Patience
from luthier.jobs.queue import LEASE_SECONDS, Queue
from luthier.jobs.records import Job, JobEvent, NewEvent, StoredFile
from luthier.jobs.store import Store
from luthier.jobs.supervisor import Supervisor

QUICK = Patience(batch=0.05, beat=0.5, stop=20.0, look=0.2, room=0.3, retry=0.1)
WAIT = 240.0
"""Seconds; the machine may be busy."""


def conversations(count: int = 12, answer: str = "It is {number}.") -> list[dict[str, Any]]:
    """Rows of OpenAI's chat format."""
    return [
        {
            "messages": [
                {"role": "user", "content": f"What is {number} and {number}?"},
                {"role": "assistant", "content": answer.format(number=2 * number)},
            ]
        }
        for number in range(1, count + 1)
    ]


def no_questions(kind: str, **values: Any) -> dict[str, Any]:
    """What a job that asks its supervisor nothing is given to ask with."""
    raise AssertionError(f"this job asks nothing: {kind}")


def labelled_rows(count: int) -> bytes:
    """A table of texts with two labels, which the toy base learns."""
    words = ("good fine", "bad torn")
    return ("text,label\n" + "".join(f"{words[i % 2]} {i},{'ab'[i % 2]}\n" for i in range(count))).encode()


def as_lines(rows: list[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


class Workshop:
    """`home` survives a `stop` and a new `Workshop` in the same folder, as a server's home does.

    `database` and `artefacts` are elsewhere where several servers share them; `lease` seconds."""

    def __init__(
        self, home: Path, *, patience: Patience = QUICK, start: bool = True, database: str | Path | None = None,
        artefacts: Path | None = None, lease: float = LEASE_SECONDS, **options: Any,
    ) -> None:  # fmt: skip
        self.home = home
        home.mkdir(exist_ok=True)
        self.store = Store.open(database or home / "luthier.db")
        self.queue = Queue(self.store, own_name(), lease)
        self.artefacts = Artefacts.open(artefacts or home / "artefacts", home / "cache")
        self.supervisor = Supervisor(
            self.store,
            self.queue,
            self.artefacts,
            home / "work",
            models=home / "models",
            patience=patience,
            **{"nice": 0, **options},
        )
        self.project = self.store.projects.default().id
        if start:
            self.supervisor.start()

    def close(self) -> None:
        self.supervisor.stop(20.0)
        self.store.close()

    def upload(self, data: bytes, filename: str = "train.jsonl") -> StoredFile:
        file_id = new_id("file-")
        with self.artefacts.writer(f"files/{file_id}") as writer:
            writer.write(data)
            size, digest = writer.commit()
        stored = StoredFile(
            file_id, self.project, filename, "fine-tune", size, digest, f"files/{file_id}", int(time.time())
        )
        return self.store.files.add(stored)

    def create(
        self, training: StoredFile, validation: StoredFile | None = None, *, recipe: dict[str, Any] | None = None,
        train: dict[str, Any] | None = None, **fields: Any,
    ) -> Job:  # fmt: skip
        """A job as the server makes it."""
        held = validation.id if validation else 0.0
        values = recipe or {
            "model": "luthier-nano",
            "task": "chat",
            "data": {"train": training.id, "validation": held},
            "method": {"kind": "lora", "rank": 4},
            "train": {"epochs": 2, "batch_size": 4, "patience": 0, "seed": 7, **(train or {})},
            "evaluate": {"samples": 0, "generate_rows": 2, "max_tokens": 4},
        }
        job_id = new_id("ftjob-")
        job = Job(
            **{
                "id": job_id, "project_id": self.project, "kind": "openai", "status": "validating_files",
                "model": values["model"], "base_model": values["model"], "task": values["task"],
                "training_file": training.id, "validation_file": validation.id if validation else None,
                "created_at": int(time.time()), "seed": 7, "recipe": values, "method": values["method"], **fields,
            }
        )  # fmt: skip
        events = [
            NewEvent("created", f"Created fine-tuning job: {job_id}"),
            NewEvent("validating", f"Validating training file: {training.id}"),
        ]
        return self.store.jobs.create(job, events)[0]

    def job(self, job: Job) -> Job:
        return self.store.jobs.find(job.id)

    def events(self, job: Job) -> list[JobEvent]:
        found = self.store.jobs.events(self.project, job.id, limit=10_000, order="asc").items
        assert [event.seq for event in found] == list(range(1, len(found) + 1))
        return found

    def until(self, job: Job, condition: Callable[[Job], bool], seconds: float = WAIT) -> Job:
        """Wait for a state of the job."""
        end = time.monotonic() + seconds
        while not condition(found := self.job(job)):
            words = [event.message for event in self.events(job)][-5:]
            assert time.monotonic() < end, f"still {found.status}, step {found.step}: {words}"
            time.sleep(0.02)
        return found

    def until_status(self, job: Job, *statuses: str) -> Job:
        return self.until(job, lambda found: found.status in statuses or (found.terminal and bool(statuses)))

    def until_gone(self, path: Path) -> None:
        """Wait until a file or folder is removed."""
        end = time.monotonic() + WAIT
        while path.exists():
            assert time.monotonic() < end, f"{path} is still there"
            time.sleep(0.01)

    def worker(self, job: Job) -> int:
        """The process id of the job's worker, once there is one."""
        end = time.monotonic() + WAIT
        while job.id not in (running := self.supervisor.running()):
            assert time.monotonic() < end, "no worker"
            time.sleep(0.01)
        return running[job.id]

    def weights(self, job: Job) -> dict[str, str]:
        """The sha256 of each file of weights of the job's models."""
        folder = self.home / "artefacts" / "models" / job.id
        return {str(path.relative_to(folder)): sha256_of(path) for path in sorted(folder.rglob("*.safetensors"))}

    def leftovers(self) -> list[str]:
        """Files under a temporary name anywhere in the home."""
        return [str(path) for path in self.home.rglob(".tmp-luthier-*")]


def steps_of(events: list[JobEvent]) -> list[int]:
    """The steps of the metric events, in order."""
    return [event.data["step"] for event in events if event.key.startswith("step:")]


def digest(values: Any) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


FAKE = (str(Path(__file__).with_name("fake_worker.py")),)


def orders(**values: Any) -> bytes:
    """A training file that tells the fake worker how to behave."""
    rows = conversations()
    if values:
        rows[0]["messages"][0]["content"] = json.dumps(values)
    return as_lines(rows)

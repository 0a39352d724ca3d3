"""The folder of one job while it is not over: its run, its own copies of the files, what memory made it change."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from luthier.core import durable, durable_files
from luthier.core.recipe_io import read_yaml
from luthier.core.rundir import RunDir
from luthier.jobs.artefacts import Artefacts, checked
from luthier.jobs.file_names import named
from luthier.jobs.recipes import file_ids, local_name, smaller_steps
from luthier.jobs.records import TRAININGS, Job, StoredFile

MOST_HALVINGS = 4
"""How often a job for which memory was too small begins again with micro-batches of half the size."""


class Workplace:
    """``work/<job>``. Paths in here are never shown to people: `named` puts the files' own names in their place."""

    def __init__(self, work: Path, job: Job) -> None:
        self.job = job
        self.path = work / checked(f"work/{job.id}").partition("/")[2]
        self._names: dict[str, str] = {}

    @property
    def run(self) -> RunDir:
        return RunDir(self.path / "run")

    @property
    def lock(self) -> Path:
        return self.path / "lock"

    @property
    def scratch(self) -> Path:
        return self.path / "scratch"

    @property
    def log(self) -> Path:
        return self.path / "worker.log"

    @property
    def findings(self) -> Path:
        """Errors of the files beyond the first hundred."""
        return self.path / "check" / "findings.jsonl"

    def bring_files(
        self, artefacts: Artefacts, file_of: Callable[[str], StoredFile]
    ) -> tuple[dict[str, Path], dict[str, str]]:
        """The job's files, here; gives (path by id, sha256 by path).

        Raises `StorageError`, and what `file_of` raises for a file that is gone.
        """
        durable_files.make_folders(self.path)
        paths: dict[str, Path] = {}
        digests: dict[str, str] = {}
        for number, file_id in enumerate(file_ids(self.job.recipe)):
            file = file_of(file_id)
            path = self.path / "data" / local_name(number, file)
            if not path.is_file():
                durable_files.link_or_copy(artefacts.local(file.artefact), path)
            paths[file_id], digests[str(path)] = path, file.sha256
            self._names[str(path)] = file.filename
        return paths, digests

    def names(self) -> dict[str, str]:
        """What people call the files, by path."""
        return dict(self._names)

    def named(self, text: str) -> str:
        """`text` without our paths."""
        return named(text, self._names).replace(f"{self.path}/", "").replace(str(self.path), "the job's folder")

    def smaller(self) -> dict[str, Any]:
        """Recipe values that memory made necessary, by dotted key."""
        path = self.path / "smaller.json"
        if not path.is_file():
            return {}
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return found

    def shrink(self) -> bool:
        """After memory ran out: begin again with half of it; False where that was done `MOST_HALVINGS` times, or
        cannot be: what has parts chooses its own batches, and would lose those that are done."""
        if self.job.kind not in TRAININGS:
            return False
        path = self.path / "halvings.json"
        done = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else 0
        found = smaller_steps(self.run, read_yaml) if done < MOST_HALVINGS else None
        if found is None:
            return False
        # In this order: killed in between, it begins again in its old size, with one halving fewer left.
        durable.write_json(path, done + 1)
        durable.remove_tree(self.run.path)
        durable.write_json(self.path / "smaller.json", found)
        return True

    def remove(self) -> None:
        """The job is over."""
        durable.remove_tree(self.path)

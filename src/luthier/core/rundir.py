"""A run on disk: the names of its files and how they are read and written.

The folder is a contract that anyone can read without us: recipe.yaml, events.jsonl,
metrics.jsonl, checkpoints/step-000120/, model/, answers.jsonl, report.json, report.html, README.md, data.json.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from luthier.core import clock, durable
from luthier.core.errors import ModelError, nearest

BEST_JSON = "best.json"
"""In the folder of an automatic run: which of its models is the best now, as ``{"model": "best/0002-..."}``."""
UNTRAINED = "base"
"""The name in there of a model that nothing was taught yet."""
_STEP = re.compile(r"step-(\d{6,})")


class RunDir:
    """Paths and small readers of one run's folder."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    @classmethod
    def create(cls, out: str | Path, name: str) -> RunDir:
        """A new folder `out/<time>-<name>`; never one that exists."""
        base = durable.make_folder(Path(out))
        stamp = clock.now().strftime("%Y%m%d-%H%M%S")
        slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:60]
        for attempt in range(1000):
            path = base / (f"{stamp}-{slug}" + (f"-{attempt + 1}" if attempt else ""))
            with durable.guard(path):
                try:
                    path.mkdir()
                    return cls(path)
                except FileExistsError:
                    continue
        raise ModelError("no free name for a run.", where=str(base), remedy="Choose another --out.")

    @classmethod
    def open(cls, path: str | Path) -> RunDir:
        """An existing run, or an error that names the nearest ones."""
        run = cls(path)
        if run.recipe_yaml.is_file():
            return run
        parent = run.path.parent if run.path.parent.is_dir() else Path("runs")
        known = [item.path.name for item in list_runs(parent)]
        raise ModelError(
            "there is no run here.",
            where=str(path),
            remedy=nearest(run.path.name, known) or "Give the folder that `luthier train` printed last.",
            code="run_not_found",
        )

    @property
    def recipe_yaml(self) -> Path:
        return self.path / "recipe.yaml"

    @property
    def events_jsonl(self) -> Path:
        return self.path / "events.jsonl"

    @property
    def metrics_jsonl(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def model(self) -> Path:
        return self.path / "model"

    @property
    def report_json(self) -> Path:
        return self.path / "report.json"

    @property
    def report_html(self) -> Path:
        return self.path / "report.html"

    @property
    def answers_jsonl(self) -> Path:
        return self.path / "answers.jsonl"

    @property
    def card(self) -> Path:
        return self.path / "README.md"

    @property
    def data_json(self) -> Path:
        return self.path / "data.json"

    def checkpoint(self, step: int) -> Path:
        """The folder of the checkpoint after `step` optimizer steps."""
        return self.checkpoints / f"step-{step:06d}"

    def steps(self) -> list[int]:
        """Steps that have a checkpoint, oldest first."""
        return _steps_in(self.checkpoints)

    def epoch_model(self, step: int) -> Path:
        """The folder of the model at the end of the epoch that `step` ended, where such models are kept."""
        return self.path / "epochs" / f"step-{step:06d}"

    def epoch_models(self) -> list[int]:
        """Steps whose epoch's model is kept, oldest first."""
        return _steps_in(self.path / "epochs")

    def report(self) -> dict[str, Any] | None:
        """The report, if the run has come so far."""
        if not self.report_json.is_file():
            return None
        value: dict[str, Any] = json.loads(self.report_json.read_text(encoding="utf-8"))
        return value

    def metrics(self) -> Iterator[dict[str, Any]]:
        """The lines of metrics.jsonl."""
        yield from read_jsonl(self.metrics_jsonl)

    @property
    def status(self) -> str:
        """finished, interrupted, failed or running (as far as the folder tells)."""
        if self.report_json.is_file():
            return "finished"
        last = None
        for event in read_jsonl(self.events_jsonl):
            if event.get("kind") in ("finished", "interrupted", "failed"):
                last = event["kind"]
            elif event.get("kind") == "step":
                last = None
        return {"finished": "trained", None: "unfinished"}.get(last, last or "unfinished")


def _steps_in(folder: Path) -> list[int]:
    if not folder.is_dir():
        return []
    found = (_STEP.fullmatch(path.name) for path in folder.iterdir())
    return sorted(int(match.group(1)) for match in found if match)


def read_jsonl(path: Path) -> Iterator[dict[str, Any]]:
    """Whole JSON lines of `path`; a torn last line is passed over."""
    if not path.is_file():
        return
    with open(path, encoding="utf-8") as handle:
        for line in handle:
            if line.endswith("\n"):
                yield json.loads(line)


def list_runs(out: str | Path = "runs") -> list[RunDir]:
    """Runs in a folder, oldest first."""
    out = Path(out)
    if not out.is_dir():
        return []
    return [RunDir(path) for path in sorted(out.iterdir()) if (path / "recipe.yaml").is_file()]

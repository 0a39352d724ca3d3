"""The folder of an automatic run: what was asked, the journal, the trials, the best model so far, and what came out.

request.json, journal.jsonl, time.json (how long was worked here), trials/NAME/ (ordinary run folders),
best/0002-NAME/ (models), best.json (which of them is the best now), final/ (the winner's fresh run), recipe.yaml (its
recipe), auto.json, auto.html.

best.json is replaced after the model that it names is whole, and the model before it is removed after that: whenever
the power goes, there is a model, and ``luthier predict DIR`` finds it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from luthier.core import durable
from luthier.core.errors import UsageError
from luthier.core.rundir import BEST_JSON, RunDir, read_jsonl
from luthier.searching.clockwork import KeptTime

REQUEST = "request.json"


class AutoFolder:
    """Paths, the journal, and the pointer to the best model."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._log: durable.AppendLog | None = None

    @classmethod
    def open(cls, path: str | Path) -> AutoFolder:
        """One that was begun. Raises `UsageError` (`auto_not_found`)."""
        folder = cls(Path(path).absolute())
        if not folder.is_begun:
            raise UsageError(
                "there is no automatic run here.", where=str(path), code="auto_not_found", param="resume",
                remedy=f"Give the folder that `luthier auto` printed: it holds {REQUEST}.",
            )  # fmt: skip
        return folder

    @classmethod
    def create(cls, out: str | Path, name: str, request: dict[str, Any]) -> AutoFolder:
        """A new folder `out/<time>-<name>-auto`, which knows from now on what it was asked."""
        folder = cls(RunDir.create(out, f"{name}-auto").path.absolute())
        folder.begin(request)
        return folder

    @property
    def is_begun(self) -> bool:
        """Whether it knows what it was asked."""
        return (self.path / REQUEST).is_file()

    def begin(self, request: dict[str, Any]) -> None:
        """Note what is asked; the folder is made where it is not there."""
        durable.write_json(durable.make_folder(self.path) / REQUEST, request)

    def request(self) -> dict[str, Any]:
        """What was asked."""
        try:
            found: dict[str, Any] = json.loads((self.path / REQUEST).read_text(encoding="utf-8"))
        except ValueError:
            raise UsageError(
                "what was asked cannot be read.", where=str(self.path / REQUEST), code="auto_not_found",
                remedy="Begin again, in a new folder.", param="resume",
            ) from None  # fmt: skip
        return found

    @property
    def final(self) -> RunDir:
        """The winner's fresh run."""
        return RunDir(self.path / "final")

    @property
    def recipe(self) -> Path:
        return self.path / "recipe.yaml"

    @property
    def json(self) -> Path:
        return self.path / "auto.json"

    @property
    def html(self) -> Path:
        return self.path / "auto.html"

    def trial(self, number: int, name: str) -> Path:
        """The run folder of a trial."""
        return self.path / "trials" / f"{number:02d}-{slug(name)}"

    def time(self) -> KeptTime:
        """How long was worked here."""
        return KeptTime(self.path / "time.json")

    def spent(self) -> float:
        """Seconds of the budget that are used up, as far as anything here tells: a kill leaves the two apart."""
        return max([self.time().seconds(), *(float(line.get("elapsed", 0.0)) for line in self.journal())])

    def journal(self) -> Iterator[dict[str, Any]]:
        """Everything that was noted."""
        yield from read_jsonl(self.path / "journal.jsonl")

    def note(self, **entry: Any) -> None:
        """Add a line to the journal, for good."""
        if self._log is None:
            self._log = durable.AppendLog(self.path / "journal.jsonl")
        self._log.append(entry)
        self._log.sync()

    def close(self) -> None:
        """Let go of the journal."""
        if self._log is not None:
            self._log.close()
            self._log = None

    def publish(self, name: str, write: Callable[[Path], None]) -> None:
        """Let `write` write a model into a new folder, which is the best one from then on."""
        place = self.path / "best"
        taken = [int(one.name[:4]) for one in place.iterdir() if one.name[:4].isdigit()] if place.is_dir() else []
        target = place / f"{max(taken, default=0) + 1:04d}-{slug(name)}"
        with durable.atomic_folder(target) as folder:
            write(folder)
        self.point(target, name)
        for old in place.iterdir():
            if old != target:
                durable.remove_tree(old)

    def best(self) -> tuple[Path, str]:
        """(the folder of the best model so far, the name of its candidate), after the first `point`."""
        found = json.loads((self.path / BEST_JSON).read_text(encoding="utf-8"))
        return self.path / found["model"], str(found["name"])

    def point(self, model: Path, name: str) -> None:
        """Make a whole model folder the best one."""
        durable.write_json(self.path / BEST_JSON, {"model": str(model.relative_to(self.path)), "name": name})


def slug(name: str) -> str:
    """A name as part of a folder's name."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40]

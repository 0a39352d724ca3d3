"""The folder of a search: what was asked, the journal, the trials' runs, and what came out.

search.yaml (the recipe with its searches and settings), journal.jsonl, trials/0007/ (ordinary run folders), repeats/
(the best again, with other seeds), best.yaml, best/ (the fresh run), search.json, search.html, locks/,
time.json (how long was worked here).
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import yaml

from luthier.core import durable
from luthier.core.durable_files import ProcessLock
from luthier.core.errors import StorageError, UsageError
from luthier.core.recipe_io import read_yaml
from luthier.core.rundir import RunDir
from luthier.search.journal import FileJournal
from luthier.search.notation import WORD
from luthier.search.settings import SearchSettings
from luthier.search.space import Space
from luthier.searching.clockwork import KeptTime


class SearchFolder:
    """Paths, and what was asked."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def create(cls, out: str | Path, name: str, values: dict[str, Any], settings: SearchSettings) -> SearchFolder:
        """A new folder `out/<time>-<name>`, which knows from now on what it was asked."""
        folder = cls(RunDir.create(out, name).path)
        folder.begin(values, settings)
        return folder

    def begin(self, values: dict[str, Any], settings: SearchSettings) -> None:
        """Write down what this search is asked."""
        durable.write_text(self.request, _text(values, settings))

    @classmethod
    def open(cls, path: str | Path) -> SearchFolder:
        """The folder of a search that was begun.

        Raises:
            UsageError: `search_not_found`.
        """
        folder = cls(Path(path).absolute())
        if not folder.request.is_file():
            raise UsageError(
                "there is no search here.", where=str(path), code="search_not_found", param="resume",
                remedy="Give the folder that `luthier search` printed: it holds search.yaml.",
            )  # fmt: skip
        return folder

    def asked(self) -> tuple[Space, SearchSettings]:
        """The space and the settings."""
        values = read_yaml(self.request)
        settings = SearchSettings.build(values.pop(WORD, {}), where=str(self.request))
        return Space.read(values, where=str(self.request)), settings

    def change(self, settings: SearchSettings) -> None:
        """More trials, or another budget, of a search that goes on."""
        values = read_yaml(self.request)
        values.pop(WORD, None)
        durable.write_text(self.request, _text(values, settings))

    @property
    def request(self) -> Path:
        return self.path / "search.yaml"

    @property
    def best_yaml(self) -> Path:
        return self.path / "best.yaml"

    @property
    def best(self) -> RunDir:
        """The fresh run of the best recipe."""
        return RunDir(self.path / "best")

    @property
    def json(self) -> Path:
        return self.path / "search.json"

    @property
    def html(self) -> Path:
        return self.path / "search.html"

    def trial(self, number: int) -> Path:
        return self.path / "trials" / f"{number:04d}"

    def repeat(self, number: int, seed: int) -> Path:
        return self.path / "repeats" / f"{number:04d}-seed-{seed}"

    @property
    def journal_file(self) -> Path:
        return self.path / "journal.jsonl"

    def journal(self) -> FileJournal:
        """The journal of its study, where it is kept in this folder."""
        return FileJournal(self.journal_file)

    def time(self) -> KeptTime:
        """How long was worked here."""
        return KeptTime(self.path / "time.json")

    def claims(self) -> FolderClaims:
        """Who works on which trial."""
        return FolderClaims(self.path / "locks")

    def ending(self) -> ProcessLock | None:
        """The right to write down what came out; None when another process has it."""
        with contextlib.suppress(StorageError):
            return ProcessLock(self.path / "locks" / "ending", what="this search")
        return None


class FolderClaims:
    """A lock for each trial, which the kernel lets go of when the process that holds it ends, however it ends."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._held: dict[int, ProcessLock] = {}

    def take(self, number: int) -> bool:
        """Whether nobody else works on this trial; then it is ours, or was before."""
        if number not in self._held:
            try:
                self._held[number] = ProcessLock(self._folder / f"trial-{number:04d}", what="this trial")
            except StorageError as error:
                if error.code != "in_use":
                    raise
                return False
        return True

    def release(self, number: int) -> None:
        """Let go of it."""
        held = self._held.pop(number, None)
        if held is not None:
            held.release()

    def release_all(self) -> None:
        """Let go of everything."""
        for number in list(self._held):
            self.release(number)


def _text(values: dict[str, Any], settings: SearchSettings) -> str:
    plain = {**values, WORD: settings.model_dump(mode="json")}
    return yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, width=110)

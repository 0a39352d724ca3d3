"""Artefacts that will be replaced by others: removed when no model has had them for a while, also after a crash."""

from __future__ import annotations

import json
import threading
from pathlib import Path

from luthier.core import clock, durable
from luthier.core.errors import StorageError
from luthier.jobs.artefacts import Artefacts
from luthier.jobs.store_models import ModelStore

GRACE_SECONDS = 120.0
"""A request that found a model's place may still wait to load it from there."""


class Leftovers:
    """The names are in a file, so that none is forgotten. Any thread may call."""

    def __init__(self, artefacts: Artefacts, models: ModelStore, path: Path) -> None:
        self._artefacts, self._models, self._path = artefacts, models, path
        self._lock = threading.Lock()
        self._unused: dict[str, float | None] = dict.fromkeys(_read(path))

    def expect(self, name: str) -> None:
        """Before the folder `name` is written. Raises `StorageError`."""
        with self._lock:
            self._unused[name] = None
            self._write()

    def look(self) -> None:
        """Remove what nobody has used for long enough. Raises `StorageError`, `Unavailable`."""
        with self._lock:
            names = list(self._unused)
        if not names:
            return
        used, now = self._models.used(names), clock.monotonic()
        for name in names:
            since = self._unused[name]
            if name in used:
                self._unused[name] = None
            elif since is None:
                self._unused[name] = now
            elif now - since >= GRACE_SECONDS:
                self._artefacts.delete_folder(name)
                with self._lock:
                    del self._unused[name]
                    self._write()

    def _write(self) -> None:
        durable.write_json(self._path, sorted(self._unused))


def _read(path: Path) -> list[str]:
    try:
        return [str(name) for name in json.loads(path.read_text(encoding="utf-8"))]
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise StorageError(
            f"{path.name} cannot be read.", where=str(path), code="store_broken",
            remedy="Restore it, or remove it: then old models of automatic runs stay on the disk.",
        ) from error  # fmt: skip

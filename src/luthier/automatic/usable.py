"""The model that answers while an automatic run goes on: written, pointed to, and passed on to whoever wants it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from luthier.automatic.folder import AutoFolder
from luthier.core import clock
from luthier.core.events import Event, Listener
from luthier.core.rundir import UNTRAINED
from luthier.searching.clockwork import Clockwork

PassOn = Callable[[Path, str], float]
"""Takes the folder of a model that is the best from now on, and the name of its candidate; gives the seconds that
publishing such a model at the end of the run will take, of which the budget has to leave as many."""
_EVERY = 8.0
"""Seconds between two models that are written; a better one in between is written at the end of the climb."""


def kept_here(model: Path, name: str) -> float:
    """A model that stays in its folder."""
    return 0.0


class Usable:
    """The best model so far.

    Attributes:
        line: of the journal, that tells of it; None before the first.
        outside: seconds, as whom it was passed on to has said last.
    """

    def __init__(
        self, folder: AutoFolder, clockwork: Clockwork, listener: Listener, pass_on: PassOn,
        lines: Iterable[dict[str, Any]],
    ) -> None:  # fmt: skip
        self._folder, self._clockwork, self._listener, self._pass_on = folder, clockwork, listener, pass_on
        self.line: dict[str, Any] | None = None
        for line in lines:
            if line["kind"] == "published":
                self.line = line
        self.outside = 0.0
        self._at = float("-inf")
        if self.line is not None:  # who is told of it now may not have heard of it from an earlier sitting
            self._tell()

    @property
    def number(self) -> int | None:
        """Of the candidate whose model it is; -1: the base itself, None: there is no model."""
        return None if self.line is None else self.line["number"]

    @property
    def is_due(self) -> bool:
        """Whether a better one may be written already."""
        return clock.monotonic() - self._at >= _EVERY

    def has(self, number: int, epoch: int) -> bool:
        """Whether it is the model of this candidate after so many epochs."""
        return self.line is not None and (self.line["number"], self.line["epoch"]) == (number, epoch)

    def put(self, name: str, number: int, epoch: int, write: Callable[[Path], None]) -> None:
        """Let `write` write a better one."""
        is_first = self.line is None
        self._folder.publish(name, write)
        self.line = {"kind": "published", "number": number, "epoch": epoch, "elapsed": self._clockwork.elapsed}
        self._folder.note(**self.line)
        self._tell()
        if is_first:
            what = "the base itself" if name == UNTRAINED else name
            words = f"A model that can be used is there: {what}. A better one takes its place."
            self._listener(Event("message", words))
        self._at = clock.monotonic()

    def _tell(self) -> None:
        self.outside = self._pass_on(*self._folder.best())

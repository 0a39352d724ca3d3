"""A request on its way through the engine, and the model that answers it. No torch in here."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

from luthier.core import clock
from luthier.core.answering import ModelRef
from luthier.serve.replies import Asked


@dataclass(eq=False)
class Resident:
    """Anything in memory that answers for a `ModelRef`.

    Attributes:
        bytes: of its weights; those of a host that it shares are not counted.
        used: when it was last asked, `clock.monotonic`.
        active: requests that it answers or that wait for it; it cannot be unloaded meanwhile.
        leaving: it is unloaded when the last of them has ended.
        canary: what became of it: passed, or none (none was recorded).
    """

    ref: ModelRef
    bytes: int
    used: float = 0.0
    active: int = 0
    leaving: bool = False
    canary: str = "none"

    def forget(self, job: Job) -> None:
        """Do nothing more for a request."""
        raise NotImplementedError


class Writes(Protocol):
    """What becomes of a ``generate``; `left` choices are not whole yet."""

    left: int

    def take(self, progress: Any) -> None: ...


@dataclass(eq=False)
class Job:
    """What is known of a request so far.

    Attributes:
        resident: who answers; taken from the registry, to be given back.
        written: of a ``generate`` whose prompts are in the batch.
        texts: of an ``embed`` or a ``predict``, an `encoders.Texts`.
    """

    asked: Asked
    resident: Resident | None = None
    written: Writes | None = None
    texts: Any = None
    began: float = field(default_factory=clock.monotonic)

    def take(self, progress: Any) -> bool:
        """What came of it in a step; whether it is whole."""
        assert self.written is not None
        self.written.take(progress)
        return self.written.left == 0

"""What supervisor and worker say to each other: JSON lines.

The supervisor writes an `Assignment` to the worker's stdin, and later answers, ``{"answer": id, ...}``. The worker
writes to a descriptor of its own: every `core.events.Event` as it happens, lines of the kinds `ENDINGS`, and what is
answered: ``sync`` (when all before it is committed), ``journal`` (of a search: read from ``start``, or add ``entries``
as transaction ``number``) and ``best`` (of an automatic run: there is a better model; ``seconds`` of the answer is what
publishing the one before took, null where nothing tells).
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

Ask = Callable[..., dict[str, Any]]
"""What a worker asks its supervisor with: ``ask(kind, **values)`` gives the answer."""
MAX_LINE = 8 * 2**20
"""Bytes of the longest line."""
STOPPED = 75
"""Exit code of a worker that was asked to stop, and whose run can go on (EX_TEMPFAIL)."""
ENDINGS = ("result", "error", "stopped")
"""Kinds of a worker's last line: it is done; it failed, and why; it was asked to stop."""


@dataclass(frozen=True, slots=True)
class Assignment:
    """One job for one worker.

    Attributes:
        kind: of the job: openai or recipe (a training), search, decision, auto.
        fence: of the claim; a worker of a lower one that is still at the run folder is ended first.
        recipe: a Recipe's values, with paths of files; of a decision or an automatic run as `Job.recipe`.
        run: the run's folder; where it holds a run already, that goes on.
        lock: the file that the worker locks, so that a run has one worker.
        files: sha256 by path of what is learned from.
        parent: folder of the tuned model whose training goes on.
        state: folder of the finished run (`run_state`) that is trained further, from its last checkpoint.
        scratch: a folder for what only this job needs.
        memory_bytes: most address space of the worker; 0: no limit.
        attempts: how often in a row a worker of this job died without coming further.
        started_at: by `clock.monotonic`, which all processes of a machine share, when the job's turn came: of a budget,
            the start of its worker counts too.
        nice: how far the worker stands back, so that answers and polls go first.
    """

    job: str
    fence: int
    recipe: dict[str, Any]
    run: str
    lock: str
    scratch: str
    files: dict[str, str] = field(default_factory=dict)
    parent: str | None = None
    save_every_seconds: float = 60.0
    epoch_models: int = 3
    memory_bytes: int = 0
    nice: int = 10
    state: str | None = None
    kind: str = "recipe"
    started_at: float = 0.0
    attempts: int = 0

    def to_line(self) -> bytes:
        """The assignment as one line."""
        return to_line(asdict(self))

    @classmethod
    def from_line(cls, line: bytes) -> Assignment:
        """Read a line of `to_line`; ValueError or TypeError for anything else."""
        return cls(**from_line(line))


def to_line(value: dict[str, Any]) -> bytes:
    """One JSON line; numbers that are not finite become null, as no JSON reader accepts them."""
    return json.dumps(_finite(value), ensure_ascii=True, allow_nan=False, separators=(",", ":")).encode() + b"\n"


def from_line(line: bytes) -> dict[str, Any]:
    """Read a line of `to_line`; ValueError for anything else."""
    value = json.loads(line)
    if not isinstance(value, dict):
        raise ValueError("no JSON object")
    return value


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(name): _finite(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, str | int | float | None):
        return value
    return str(value)

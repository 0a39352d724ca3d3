"""Events of a run: to whoever listens, and into the run's folder."""

from __future__ import annotations

from types import TracebackType

from luthier.core.durable import AppendLog
from luthier.core.events import Event, Listener
from luthier.core.rundir import RunDir


class Journal:
    """A listener that writes events.jsonl and metrics.jsonl and passes everything on."""

    def __init__(self, run: RunDir, listener: Listener) -> None:
        self._listener = listener
        self._events = AppendLog(run.events_jsonl)
        self._metrics = AppendLog(run.metrics_jsonl)

    def __call__(self, event: Event) -> None:
        """Steps and evaluations are metrics; everything else is an event."""
        if event.kind in ("step", "evaluation"):
            data = {key: value for key, value in event.data.items() if value == value}  # NaN is no JSON
            self._metrics.append({"kind": event.kind, "created_at": event.created_at, **data})
        else:
            self._events.append(event.to_dict())
            self._events.sync()
        self._listener(event)

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._events.close()
        self._metrics.close()

"""Events of a run: to whoever listens, and into the run's folder."""

from __future__ import annotations

import json
from types import TracebackType

from luthier.core.durable import AppendLog, write_text
from luthier.core.events import SIGNALS, Event, Listener
from luthier.core.rundir import RunDir, read_jsonl


class Journal:
    """A listener that writes events.jsonl and metrics.jsonl and passes everything on."""

    def __init__(self, run: RunDir, listener: Listener) -> None:
        self._run, self._listener = run, listener
        self._events = AppendLog(run.events_jsonl)
        self._metrics = AppendLog(run.metrics_jsonl)

    def __call__(self, event: Event) -> None:
        """Steps and evaluations are metrics, signals are only passed on; everything else is an event."""
        if event.kind in SIGNALS:
            pass
        elif event.kind in ("step", "evaluation"):
            data = {key: value for key, value in event.data.items() if value == value}  # NaN is no JSON
            self._metrics.append({"kind": event.kind, "created_at": event.created_at, **data})
        else:
            self._events.append(event.to_dict())
            self._events.sync()
        self._listener(event)

    def rewind(self, step: int, judged: set[int]) -> None:
        """Forget steps after `step` and evaluations not at `judged`: a killed run wrote them after its
        last checkpoint, and the run that goes on writes them again."""
        self._metrics.close()
        kept = [
            json.dumps(line, ensure_ascii=False) + "\n"
            for line in read_jsonl(self._run.metrics_jsonl)
            if (line["step"] in judged if line["kind"] == "evaluation" else line["step"] <= step)
        ]
        write_text(self._run.metrics_jsonl, "".join(kept))
        self._metrics = AppendLog(self._run.metrics_jsonl)

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._events.close()
        self._metrics.close()

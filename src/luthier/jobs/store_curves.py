"""The curves of a job, out of its events: what each step measured, thinned, and what was answered on the way."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sql

from luthier.jobs.job_rows import JobChanges, read_job
from luthier.jobs.progress import PARTS
from luthier.jobs.reading import missing, page, reader
from luthier.jobs.records import JobEvent, Page
from luthier.jobs.tables import events
from luthier.jobs.telling import SAMPLES

_MOST_READ = 20_000
"""Events that are read of one job at once; of more, every second, third, ... is passed over by the database."""
_EVALUATED = ("valid_loss", "valid_metric")
_columns, _event = reader(events, JobEvent)


@dataclass(frozen=True, slots=True)
class Curve:
    """What a job measured.

    Attributes:
        steps: points of steps, oldest first; each is the data of its event, with ``created_at``.
        evaluations: the same of evaluations; a step at the end of an epoch is in both.
        measured: how many steps were measured, of which `steps` are some.
        last: the number of the last event that was looked at; the next call begins after it.
    """

    steps: list[dict[str, Any]]
    evaluations: list[dict[str, Any]]
    measured: int
    last: int


class CurveStore:
    """Reads curves and answers; they are written by the queue, as events."""

    def __init__(self, changes: JobChanges) -> None:
        self._database = changes.database

    def curve(self, project: str, id: str, *, after: int = 0, most: int = 1000) -> Curve:
        """The curve of a job after the event `after`, in at most about `most` points of steps.

        Raises `NotFound`.
        """
        measured = (events.c.job_id == id, events.c.type == "metrics", events.c.seq > after)
        query = sql.select(events.c.seq, events.c.created_at, events.c.key, events.c.data).where(*measured)
        with self._database.read() as connection:
            if read_job(connection, id).project_id != project:
                raise missing("fine-tuning job", id)
            count, last = connection.execute(
                sql.select(sql.func.count(), sql.func.max(events.c.seq)).where(*measured)
            ).one()
            if (stride := -(-count // _MOST_READ)) > 1:
                told = sql.cast(events.c.data, sql.Text)
                query = query.where(sql.or_(events.c.seq % stride == 0, *(told.contains(f'"{n}"') for n in _EVALUATED)))
            rows = connection.execute(query.order_by(events.c.seq)).all()
        points = [(key, {**data, "created_at": created_at}) for _, created_at, key, data in rows]
        evaluations = [point for _, point in points if any(name in point for name in _EVALUATED)]
        steps = [point for key, point in points if key.startswith("step:")]
        return Curve(thinned(steps, most), evaluations, count, last or after)

    def parts(self, project: str, id: str) -> list[dict[str, Any]]:
        """The trials of a search, arms of a decision or candidates of an automatic run as their last events tell them,
        in the order in which they began. Raises `NotFound`."""
        query = sql.select(events.c.data, events.c.created_at).where(
            events.c.job_id == id, events.c.key.startswith(PARTS)
        )
        with self._database.read() as connection:
            if read_job(connection, id).project_id != project:
                raise missing("job", id)
            rows = connection.execute(query.order_by(events.c.seq)).all()
        return list({data["part"]: {**data["about"], "updated_at": at} for data, at in rows}.values())

    def samples(self, project: str, id: str, after: str | None = None, limit: int = 20) -> Page[JobEvent]:
        """The answers to fixed questions, one event for each evaluation, oldest first. Raises `NotFound`."""
        query = sql.select(*_columns).where(events.c.job_id == id, events.c.key.startswith(SAMPLES))
        with self._database.read() as connection:
            if read_job(connection, id).project_id != project:
                raise missing("fine-tuning job", id)
            start = None
            if after is not None:
                named = sql.select(events.c.seq).where(events.c.job_id == id, events.c.id == after)
                if (start := connection.execute(named).scalar()) is None:
                    raise missing("event", after, param="after")
            return page(connection, query, _event, number=events.c.seq, start=start, limit=limit, order="asc")


def thinned(points: Sequence[dict[str, Any]], most: int) -> list[dict[str, Any]]:
    """At most `most` of `points`: the first, the last, and of each stretch between them the lowest and the highest
    loss, so that no spike is lost."""
    if len(points) <= most:
        return list(points)
    inner = range(1, len(points) - 1)
    stretches = (most - 2) // 2
    kept = {0, len(points) - 1}
    for number in range(stretches):
        begin, end = (len(inner) * place // stretches for place in (number, number + 1))
        kept |= set(_extremes(points, inner[begin:end]))
    return [points[place] for place in sorted(kept)]


def _extremes(points: Sequence[dict[str, Any]], places: range) -> Iterator[int]:
    def loss(place: int) -> float:
        return float(points[place].get("train_loss", 0.0))

    if places:
        yield min(places, key=loss)
        yield max(places, key=loss)

"""What endpoints were asked, a row for each minute in which they were."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import sqlalchemy as sql

from luthier.jobs.database import Database
from luthier.jobs.page_records import TrafficRow
from luthier.jobs.reading import reader, values_of
from luthier.jobs.tables import traffic

_columns, _row = reader(traffic, TrafficRow)
_SUMS = ("requests", "errors", "prompt_tokens", "completion_tokens")


class TrafficStore:
    """Minutes of endpoints."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, rows: Iterable[TrafficRow], forget_before: int) -> None:
        """Add counts to those that are there; minutes before `forget_before` go."""
        with self._database.write() as connection:
            for new in rows:
                same = (traffic.c.endpoint_id == new.endpoint_id, traffic.c.start == new.start)
                known = connection.execute(sql.select(*_columns).where(*same).with_for_update()).first()
                if known is None:
                    connection.execute(traffic.insert().values(values_of(new)))
                    continue
                connection.execute(traffic.update().where(*same).values(values_of(joined(_row(known), new))))
            connection.execute(traffic.delete().where(traffic.c.start < forget_before))

    def list(self, endpoint_id: str, since: int) -> Sequence[TrafficRow]:
        """The minutes of an endpoint from `since` on, oldest first."""
        query = sql.select(*_columns).where(traffic.c.endpoint_id == endpoint_id, traffic.c.start >= since)
        with self._database.read() as connection:
            return [_row(row) for row in connection.execute(query.order_by(traffic.c.start))]


def joined(one: TrafficRow, other: TrafficRow) -> TrafficRow:
    """The counts of both, as of the first's endpoint and minute."""
    sums = {name: getattr(one, name) + getattr(other, name) for name in _SUMS}
    latencies = Counter(one.latencies)
    latencies.update(other.latencies)
    return TrafficRow(one.endpoint_id, one.start, **sums, latencies=dict(latencies))

"""What dedicated endpoints are asked: counted in memory by the minute, and added to the store now and then.

The time of an answer falls into one of 40 buckets, each half as wide again as the one before: so a quantile is off by
a fifth at most, and a minute takes a few hundred bytes however many requests it had.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import math
from collections.abc import AsyncIterator, Iterable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field

from fastapi import FastAPI

from luthier.core import clock
from luthier.core.errors import LuthierError
from luthier.jobs.page_records import TrafficRow
from luthier.jobs.store_traffic import joined
from luthier.server import store_call
from luthier.server.state import AppState

_log = logging.getLogger(__name__)
MINUTE = 60
KEPT_SECONDS = 14 * 86_400
FLUSH_SECONDS = 30.0
_FIRST, _GROWTH, _BUCKETS = 0.001, 1.5, 40
_NAME = "traffic"


@dataclass(slots=True)
class Call:
    """One request, while it is answered: which endpoint it is for, once that is known, and its tokens so far."""

    endpoint_id: str | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0


CALL: ContextVar[Call | None] = ContextVar("luthier_call", default=None)
"""The request that is answered now; set at the gate, so that every task of a request shares one."""


def count_tokens(event: str, data: Mapping[str, object]) -> None:
    """Take the tokens that a reply of the engine tells of."""
    call = CALL.get()
    if call is None or call.endpoint_id is None:
        return
    if event == "started":
        call.prompt_tokens += _whole(data.get("prompt_tokens"))
    elif event == "answer":
        call.completion_tokens += _whole(data.get("completion_tokens"))
    elif event in ("embedding", "prediction"):
        call.prompt_tokens += _whole(data.get("tokens"))


def _whole(value: object) -> int:
    return value if isinstance(value, int) else 0


@dataclass
class Traffic:
    """The minutes that the store does not have yet."""

    minutes: dict[tuple[str, int], TrafficRow] = field(default_factory=dict)

    @classmethod
    def of(cls, state: AppState) -> Traffic:
        """The server's."""
        known = state.extras.get(_NAME)
        if not isinstance(known, cls):
            known = state.extras[_NAME] = cls()
        return known

    def record(self, call: Call, seconds: float, *, failed: bool) -> None:
        """A request was answered."""
        if call.endpoint_id is None:
            return
        start = int(clock.now().timestamp()) // MINUTE * MINUTE
        latencies = {} if failed else {str(bucket_of(seconds)): 1}
        row = TrafficRow(
            call.endpoint_id, start, 1, int(failed), call.prompt_tokens, call.completion_tokens, latencies
        )
        key = (call.endpoint_id, start)
        known = self.minutes.get(key)
        self.minutes[key] = row if known is None else joined(known, row)

    async def flush(self, state: AppState) -> None:
        """Add to the store. What it does not take stays."""
        rows, self.minutes = self.minutes, {}
        if not rows:
            return
        oldest = int(clock.now().timestamp()) - KEPT_SECONDS
        try:
            await store_call.run(state.store.traffic.add, list(rows.values()), oldest)
        except LuthierError:
            for key, row in rows.items():
                known = self.minutes.get(key)
                self.minutes[key] = row if known is None else joined(row, known)
            raise


@contextlib.asynccontextmanager
async def flushing(app: FastAPI) -> AsyncIterator[None]:
    """The lifespan of a router: flush now and then, and at the end."""
    state: AppState = app.state.luthier
    task = asyncio.ensure_future(_flush_for_ever(state))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        with contextlib.suppress(LuthierError):
            await Traffic.of(state).flush(state)


async def _flush_for_ever(state: AppState) -> None:
    while True:
        await asyncio.sleep(FLUSH_SECONDS)
        try:
            await Traffic.of(state).flush(state)
        except LuthierError as error:
            _log.warning("the traffic of endpoints could not be stored: %s", error)
        except Exception:
            _log.exception("the traffic of endpoints could not be stored")


def bucket_of(seconds: float) -> int:
    """The number of the bucket that a time falls into."""
    if seconds <= _FIRST:
        return 0
    return min(_BUCKETS - 1, 1 + int(math.log(seconds / _FIRST) / math.log(_GROWTH)))


def quantile(latencies: Mapping[str, int], share: float) -> float | None:
    """The time, in seconds, that `share` of the answers did not exceed; None where there are none."""
    total = sum(latencies.values())
    if not total:
        return None
    left = share * total
    for bucket in range(_BUCKETS):
        count = latencies.get(str(bucket), 0)
        if count and left <= count:
            low = 0.0 if bucket == 0 else _FIRST * _GROWTH ** (bucket - 1)
            high = _FIRST * _GROWTH**bucket
            return low + (high - low) * left / count
        left -= count
    return _FIRST * _GROWTH ** (_BUCKETS - 1)


def in_steps(rows: Iterable[TrafficRow], since: int, step: int, count: int) -> list[TrafficRow]:
    """The rows joined into `count` steps of `step` seconds from `since` on; steps without requests too."""
    steps = [TrafficRow("", since + number * step, 0, 0, 0, 0, {}) for number in range(count)]
    for row in rows:
        place = (row.start - since) // step
        if 0 <= place < count:
            steps[place] = joined(steps[place], row)
    return steps


def total_of(rows: Iterable[TrafficRow]) -> TrafficRow:
    """All rows as one."""
    return functools.reduce(joined, rows, TrafficRow("", 0, 0, 0, 0, 0, {}))

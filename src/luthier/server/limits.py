"""How much one key may ask: a bucket of tokens each, told in OpenAI's headers."""

from __future__ import annotations

import math
from dataclasses import dataclass

from luthier.core import clock
from luthier.server.errors import ApiError

_MOST_BUCKETS = 20_000


@dataclass(slots=True)
class _Bucket:
    tokens: float
    seen: float


class RateLimiter:
    """Each name has a bucket of `burst` requests, filled at `per_second`."""

    def __init__(self, per_second: float, burst: int) -> None:
        self._per_second = per_second
        self._burst = burst
        self._buckets: dict[str, _Bucket] = {}

    def take(self, name: str) -> list[tuple[bytes, bytes]]:
        """Take a token of `name`; gives the headers that say how many are left.

        Raises:
            ApiError: 429 with retry-after, when there is none.
        """
        now = clock.monotonic()
        bucket = self._buckets.get(name)
        if bucket is None:
            self._make_room(now)
            bucket = self._buckets[name] = _Bucket(float(self._burst), now)
        bucket.tokens = min(self._burst, bucket.tokens + (now - bucket.seen) * self._per_second)
        bucket.seen = now
        if bucket.tokens < 1.0:
            wait = max(1, math.ceil((1.0 - bucket.tokens) / self._per_second))
            raise ApiError(
                429,
                f"This key may send {self._per_second:g} requests a second. Wait a moment.",
                code="rate_limit_exceeded",
                headers={
                    "retry-after": str(wait),
                    **{name.decode(): value.decode() for name, value in self._headers(bucket)},
                },
            )
        bucket.tokens -= 1.0
        return self._headers(bucket)

    def _headers(self, bucket: _Bucket) -> list[tuple[bytes, bytes]]:
        reset = (self._burst - bucket.tokens) / self._per_second
        return [
            (b"x-ratelimit-limit-requests", b"%d" % self._burst),
            (b"x-ratelimit-remaining-requests", b"%d" % int(bucket.tokens)),
            (b"x-ratelimit-reset-requests", b"%dms" % math.ceil(reset * 1000)),
        ]

    def _make_room(self, now: float) -> None:
        """Forget the buckets that are full again."""
        if len(self._buckets) >= _MOST_BUCKETS:
            seconds = self._burst / self._per_second
            self._buckets = {name: bucket for name, bucket in self._buckets.items() if now - bucket.seen < seconds}

"""Failed logins of an address: a few at once, then one every few seconds."""

from __future__ import annotations

from luthier.server.errors import ApiError
from luthier.server.limits import RateLimiter

AT_ONCE = 10
PER_SECOND = 0.2


class FailedLogins:
    """Counts what failed, by the client's address.

    A key has 256 random bits, so nobody finds one by trying; the limit keeps the log and the processor quiet.
    """

    def __init__(self) -> None:
        self._limiter = RateLimiter(PER_SECOND, AT_ONCE)

    def failed(self, address: str) -> ApiError:
        """The error for one more failure: 401, or 429 with retry-after where there were too many."""
        try:
            self._limiter.take(address)
        except ApiError as error:
            return ApiError(
                429,
                "Too many failed logins from this address. Wait a moment.",
                code="too_many_logins",
                headers={"retry-after": error.headers["retry-after"] if error.headers else "5"},
            )
        return ApiError(401, "This key is unknown, revoked or expired.", param="key", code="invalid_api_key")

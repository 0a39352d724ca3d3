"""What can go wrong with the store and the queue, as errors that a server can map to a status."""

from __future__ import annotations

from luthier.core.errors import LuthierError


class NotFound(LuthierError):
    """There is no such thing, or it belongs to another project, which is not told."""

    default_code = "not_found"
    http_status = 404


class Conflict(LuthierError):
    """The thing is there, but its state does not allow this."""

    default_code = "conflict"
    http_status = 409


class LimitReached(LuthierError):
    """A key or a project has as many jobs waiting and running as it may have."""

    default_code = "rate_limit_exceeded"
    http_status = 429


class NoRoom(LuthierError):
    """The project stores as many bytes as it may."""

    default_code = "project_storage_full"
    http_status = 413


class InvalidValue(LuthierError):
    """A text or a number that one of the two databases cannot hold; it is refused on both."""

    default_code = "invalid_text"
    http_status = 400


class Unavailable(LuthierError):
    """The database does not answer now; the same call may work a moment later."""

    default_code = "database_unavailable"
    http_status = 503


class StaleClaim(LuthierError):
    """Another supervisor holds the job now, or it is over: nothing was written."""

    default_code = "stale_claim"
    http_status = 409

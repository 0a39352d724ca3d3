"""What the engine says about one request, and to whom. No torch in here."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from luthier.core.answering import EngineReply, EngineRequest, Happening
from luthier.core.errors import LuthierError

Send = Callable[[EngineReply], None]
"""Takes a reply, from any thread, and never waits."""
_log = logging.getLogger(__name__)


class Busy(LuthierError):
    """Nothing is wrong with the request; it may be asked again later."""

    default_code = "engine_busy"


class Asked:
    """A request that is under way; nothing is said after its end.

    `connection` is that over which it came: ids are unique per connection.
    """

    def __init__(self, request: EngineRequest, connection: object, send: Send) -> None:
        self.request = request
        self.connection = connection
        self.ended = False
        self._send = send

    @property
    def key(self) -> tuple[object, str]:
        """How a ``cancel`` names it."""
        return self.connection, self.request.id

    def say(self, event: Happening, data: dict[str, Any] | None = None) -> None:
        """One reply."""
        if not self.ended:
            self.ended = event in ("end", "error")
            self._send(EngineReply(self.request.id, event, data or {}))

    def fail(self, error: BaseException) -> None:
        """The last reply, about an error."""
        if not self.ended:
            self.say("error", error_data(error))


def error_data(error: BaseException) -> dict[str, Any]:
    """The data of an ``error``. Paths of this machine, and texts of errors that nobody foresaw, are not told."""
    if isinstance(error, LuthierError):
        kind = "busy" if isinstance(error, Busy) else "user"
        sentence = f"{error.message} {error.remedy}".strip()
        return {"code": error.code, "message": sentence[:1].upper() + sentence[1:], "param": error.param, "kind": kind}
    if isinstance(error, MemoryError) or "out of memory" in str(error).lower():
        _log.error("out of memory: %s", type(error).__name__)
        return {
            "code": "out_of_memory",
            "message": "The machine's memory did not suffice for this. Try again, or ask for less.",
            "param": None,
            "kind": "busy",
        }
    _log.error("a request failed in a way that nobody foresaw", exc_info=error)
    return {"code": "internal_error", "message": "The inference engine failed.", "param": None, "kind": "internal"}

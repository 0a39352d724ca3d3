"""What the server writes about itself: one line per event on stderr, plain or JSON. Never a secret, never a body.

Lines are gathered and written together a few times a second, by a thread of its own: a slow terminal holds up no
request. A thread that woke for each line would: at 1,000 requests a second, waiting for each other's turn (the GIL)
made an answer take two seconds instead of two milliseconds.
"""

from __future__ import annotations

import contextlib
import json
import logging
import sys
import threading
import traceback
from collections import deque
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Literal, TextIO

_MOST_WAITING = 20_000
_EVERY_SECONDS = 0.25
_LAST_SECONDS = 2.0
_FIELDS = ("request_id", "method", "route", "status", "ms", "key", "job", "error", "frames")
"""What a record may carry beside its message; anything else is not written."""


def frames_of(error: BaseException) -> str:
    """Where an error came from, innermost last, without its message, which may hold data."""
    frames = traceback.extract_tb(error.__traceback__)[-12:]
    return " < ".join(f"{frame.filename.rpartition('/')[2]}:{frame.lineno}:{frame.name}" for frame in reversed(frames))


class _Lines(logging.Formatter):
    def __init__(self, kind: Literal["plain", "json"]) -> None:
        super().__init__()
        self._kind = kind

    def format(self, record: logging.LogRecord) -> str:
        fields = {name: getattr(record, name) for name in _FIELDS if getattr(record, name, None) is not None}
        if record.exc_info and record.exc_info[1] is not None:
            error = record.exc_info[1]
            fields |= {"error": type(error).__name__, "frames": frames_of(error)}
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        level, message = record.levelname.lower(), record.getMessage()
        if self._kind == "json":
            # ASCII: a line stays one line, whatever it quotes.
            return json.dumps({"time": time, "level": level, "message": message, **fields}, default=str)
        words = " ".join(f"{name}={value}" for name, value in fields.items())
        return " ".join(f"{time} {level:<7} {message} {words}".split("\n")).rstrip()


class _Gathered(logging.Handler):
    """Drops lines rather than wait or fail a request."""

    def __init__(self, stream: TextIO, kind: Literal["plain", "json"]) -> None:
        super().__init__()
        self.setFormatter(_Lines(kind))
        self._stream = stream
        self._waiting: deque[str] = deque()
        self._wake = threading.Event()
        self._ending = False
        self._thread = threading.Thread(target=self._run, name="luthier-log", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        """Gather a line; a warning is written at once."""
        if len(self._waiting) < _MOST_WAITING:
            self._waiting.append(self.format(record))
        if record.levelno >= logging.WARNING:
            self._wake.set()

    def end(self) -> None:
        """Write what is left."""
        self._ending = True
        self._wake.set()
        self._thread.join(_LAST_SECONDS)  # a pipe that nobody reads would never take it

    def _run(self) -> None:
        while not self._ending:
            self._wake.wait(_EVERY_SECONDS)
            self._wake.clear()
            self._write()
        self._write()

    def _write(self) -> None:
        lines = [self._waiting.popleft() for _ in range(len(self._waiting))]
        if lines:
            with contextlib.suppress(OSError, ValueError):  # the terminal is gone
                self._stream.write("\n".join(lines) + "\n")
                self._stream.flush()


@contextlib.contextmanager
def to_stderr(kind: Literal["plain", "json"], level: str) -> Iterator[None]:
    """Send the lines of the server and of uvicorn to stderr, until the end of the block."""
    handler = _Gathered(sys.stderr, kind)
    loggers = [logging.getLogger(name) for name in ("luthier", "uvicorn")]
    before = [(logger.level, logger.propagate) for logger in loggers]
    for logger in loggers:
        logger.addHandler(handler)
        logger.setLevel(level.upper())
        logger.propagate = False
    # uvicorn's own start and stop lines repeat ours.
    logging.getLogger("uvicorn.error").setLevel(max(logging.WARNING, logging.getLevelName(level.upper())))
    try:
        yield
    finally:
        for logger, (old_level, propagate) in zip(loggers, before, strict=True):
            logger.removeHandler(handler)
            logger.setLevel(old_level)
            logger.propagate = propagate
        handler.end()

"""Everything that a person or a program reads: results on stdout, the rest on stderr."""

from __future__ import annotations

import contextlib
import io
import json
import math
import os
import re
import sys
import traceback
from typing import TYPE_CHECKING, Any

from luthier.core.errors import LuthierError

if TYPE_CHECKING:
    from rich.console import Console

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_LINE_ENDS = {code: f"\\u{code:04x}" for code in (0x85, 0x2028, 0x2029)}
"""What str.splitlines and JavaScript take for the end of a line; inside JSON it can be escaped."""
PIPED_WIDTH = 100
"""Columns of a table that goes to a file or a pipe, which have no width of their own."""


def stdout_console() -> Console:
    """Where results for people go."""
    from rich.console import Console

    return _console(Console, sys.stdout)


def stderr_console() -> Console:
    """Where progress and notes go."""
    from rich.console import Console

    return _console(Console, sys.stderr)


def _console(kind: type[Console], file: Any) -> Console:
    width = None if file.isatty() or "COLUMNS" in os.environ else PIPED_WIDTH
    return kind(file=file, width=width, highlight=False, markup=False, emoji=False)


def clean(text: str, limit: int = 0) -> str:
    """Text of the user's data as one line without control characters, which could steer a terminal."""
    line = _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text.replace("\n", " ").replace("\r", " "))
    return line if not limit or len(line) <= limit else line[: limit - 1] + "\N{HORIZONTAL ELLIPSIS}"


def printable(text: str) -> str:
    """Text of a model as it stands, lines and all, without control characters."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)


def to_json(value: Any) -> str:
    """One line of JSON, whatever a reader takes for a line; NaN and infinity (no JSON) become null."""
    return json.dumps(_finite(value), ensure_ascii=False, allow_nan=False).translate(_LINE_ENDS)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def print_json(value: Any) -> None:
    """One JSON document on stdout."""
    print(to_json(value), flush=True)


def note(text: str) -> None:
    """A line for the person who watches, on stderr."""
    print(text, file=sys.stderr, flush=True)


def print_error(error: BaseException, *, debug: bool) -> int:
    """Tell what failed in one paragraph on stderr; gives the exit code."""
    if debug:
        traceback.print_exception(error)
    if isinstance(error, LuthierError):
        note(f"error: {clean(str(error))}")
        return error.exit_code
    if isinstance(error, KeyboardInterrupt):
        note("error: stopped on request, before there was anything to save.")
        return 1
    if isinstance(error, MemoryError):
        note("error: the memory of this machine is used up. Lower train.batch_size or train.max_length.")
        return 1
    place = traceback.extract_tb(error.__traceback__)
    where = f" ({os.path.basename(place[-1].filename)}:{place[-1].lineno})" if place else ""
    note(
        f"error: {type(error).__name__}: {clean(str(error), 500) or 'no message'}{where}. This is a fault of "
        "Luthier, not yours. Run the command again with --debug and report what it prints."
    )
    return 1


def prepare_streams() -> None:
    """UTF-8 whatever the locale; a lone surrogate is written as its escape, which JSON knows too."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")


def close_stdout() -> bool:
    """Flush stdout; False when its reader has gone (``luthier predict ... | head``)."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        abandon_stdout()
        return False
    return True


def abandon_stdout() -> None:
    """Point stdout at nothing, so that the interpreter's last flush is silent."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

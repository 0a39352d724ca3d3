"""Times as people type them."""

from __future__ import annotations

import re

from luthier.core.errors import UsageError

_UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}


def seconds_of(text: str) -> float:
    """``90``, ``90s``, ``10m``, ``10min`` or ``1.5h`` in seconds; `UsageError` for anything else, and for nothing."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(s|m|min|h)?", text.strip().lower())
    if found is None or float(found[1]) == 0:
        raise UsageError(
            f"this is no time: {text!r}.", remedy="Write 90s, 10m or 2h.", code="invalid_budget", param="budget"
        )
    return float(found[1]) * _UNITS[found[2] or ""]


def text_of(seconds: float) -> str:
    """Seconds as people type them: ``2h``, ``10m``, ``90s``; `seconds_of` reads it."""
    for unit in ("h", "m"):
        if seconds >= _UNITS[unit] and seconds % _UNITS[unit] == 0:
            return f"{seconds / _UNITS[unit]:.0f}{unit}"
    return f"{seconds:.3f}".rstrip("0").rstrip(".") + "s"

"""Words for people."""

from __future__ import annotations


def plural(count: int, noun: str, many: str = "") -> str:
    """``1 row``, ``2,000 rows``."""
    return f"{count:,} {noun if count == 1 else many or noun + 's'}"

"""Headers of answers: what each carries, and what makes a download a download."""

from __future__ import annotations

import re
from urllib.parse import quote

SECURITY = (
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"cache-control", b"no-store"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
"""On every answer; one that sets such a header itself keeps its own."""

_UNSAFE = re.compile(r"[^A-Za-z0-9._ -]")


def download_headers(filename: str, size: int | None = None) -> dict[str, str]:
    """Headers of a stored file: never shown in a browser, whatever its name says. The name is RFC 5987's."""
    plain = _UNSAFE.sub("_", filename)[:200] or "file"
    whole = quote(filename.encode("utf-8", "replace")[:600], safe="")
    headers = {
        "content-type": "application/octet-stream",
        "content-disposition": f"attachment; filename=\"{plain}\"; filename*=UTF-8''{whole}",
    }
    if size is not None:
        headers["content-length"] = str(size)
    return headers

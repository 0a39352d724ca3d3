"""Who may be spoken to under which name: the Host allow-list (DNS rebinding), and no requests from foreign pages."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import urlsplit

from luthier.server.errors import ApiError

_HOST = re.compile(r"(?P<name>[a-z0-9._-]{1,253}|\[[0-9a-f:.]{2,45}\])(?::(?P<port>[0-9]{1,5}))?")


def check_host(value: str | None, allowed: frozenset[str]) -> None:
    """Refuse a request whose Host header is missing or malformed (400), or is no name of this server (403)."""
    found = _HOST.fullmatch(value.lower()) if value else None
    if found is None:
        raise ApiError(400, "The Host header is missing or malformed.", code="invalid_host")
    name = found["name"]
    if name not in allowed and name.removesuffix(".") not in allowed:
        raise ApiError(
            403,
            "This server does not answer to that name. Start it with --allowed-host to add one.",
            code="host_not_allowed",
        )


def check_browser(headers: Mapping[bytes, bytes]) -> None:
    """Refuse what a page of another site makes a browser send. Programs send none of these headers."""
    site = headers.get(b"sec-fetch-site")
    if site is not None and site not in (b"same-origin", b"none"):
        raise _cross_site()
    origin = headers.get(b"origin")
    if origin is not None and not _same_origin(origin, headers.get(b"host", b"")):
        raise _cross_site()


def _same_origin(origin: bytes, host: bytes) -> bool:
    try:
        parts = urlsplit(origin.decode("ascii"))
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and parts.netloc.lower() == host.decode("latin-1").lower()


def _cross_site() -> ApiError:
    return ApiError(403, "Requests from pages of other sites are refused.", code="cross_site")

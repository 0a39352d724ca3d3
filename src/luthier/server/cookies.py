"""The cookie of a browser's session, and the word that its requests must carry beside it.

Behind TLS the cookie is ``__Host-luthier_<port>`` and Secure, else ``luthier_<port>``: cookies of one host are shared
by all of its ports, and two servers on one machine must not log each other out. Whether there is TLS, the browser
itself says in the Origin of the login.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping

from luthier.jobs.store_sessions import TOKEN
from luthier.server.errors import ApiError

CSRF_HEADER = b"x-luthier-csrf"
_LONGEST = 8192


def names_for(host: str | None) -> tuple[str, str]:
    """(name behind TLS, name without) of the cookie, for a request with this Host header."""
    port = (host or "").rpartition(":")[2]
    plain = f"luthier_{port}" if port.isdecimal() else "luthier"
    return f"__Host-{plain}", plain


def token_of(headers: Mapping[bytes, bytes]) -> str | None:
    """The token that a request's cookie holds, if it looks like one."""
    text = headers.get(b"cookie", b"").decode("latin-1")
    if not text or len(text) > _LONGEST:
        return None
    pairs = dict(part.strip().partition("=")[::2] for part in reversed(text.split(";")))
    for name in names_for(headers.get(b"host", b"").decode("latin-1")):
        if TOKEN.fullmatch(pairs.get(name, "")):
            return pairs[name]
    return None


def csrf_of(token: str) -> str:
    """What a page must send as X-Luthier-CSRF. It follows from the token, which no script can read, and tells nothing
    of it."""
    return hashlib.sha256(b"luthier-csrf:" + token.encode("ascii")).hexdigest()


def check_csrf(token: str, headers: Mapping[bytes, bytes]) -> ApiError | None:
    """Why a request that a cookie speaks for may change nothing; None: it may."""
    if hmac.compare_digest(headers.get(CSRF_HEADER, b""), csrf_of(token).encode("ascii")):
        return None
    return ApiError(
        403,
        "A request with the session's cookie needs the header X-Luthier-CSRF (GET /session gives its value).",
        code="csrf",
    )


def set_cookie(host: str | None, token: str, seconds: int, *, tls: bool) -> str:
    """The Set-Cookie header that begins a session; with 0 seconds, the one that ends it."""
    name = names_for(host)[0 if tls else 1]
    secure = "; Secure" if tls else ""
    return f"{name}={token}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}"

"""Fetches a file from an address for a data set: ``python -m luthier.jobs.url_fetch PARENT``.

It reads one request from stdin and writes one answer to stdout. Only public addresses are asked: each name, also that
of a redirection, is looked up once, every address that it has must be public, and that very address is connected to.
"""

from __future__ import annotations

import http.client
import ipaddress
import socket
import ssl
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, unquote, urljoin, urlsplit

from luthier.core import clock
from luthier.core.durable_files import FileWriter
from luthier.core.errors import DataError, LuthierError
from luthier.jobs.children import begin_checking
from luthier.jobs.worker_wire import from_line, to_line

_MEMORY_BYTES = 2 * 2**30
_CONNECT_SECONDS, _SILENCE_SECONDS, _LONGEST_SECONDS = 10.0, 30.0, 840.0
_MOST_REDIRECTS = 5
_PIECE = 1 << 18
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
Allowed = Callable[[str], bool]


def is_public(address: str) -> bool:
    """Whether an IP address is one of the internet, and not of this machine or its network."""
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address):
        inner = found.ipv4_mapped or found.sixtofour or (found.teredo[1] if found.teredo else None)
        if inner is not None:
            return inner.is_global and not inner.is_multicast
    return found.is_global and not found.is_multicast


def fetch(url: str, path: Path, most_bytes: int, allowed: Allowed = is_public) -> dict[str, Any]:
    """Write what `url` gives to `path`; gives `filename` and `bytes`.

    Raises:
        DataError: ``url_not_allowed``, ``url_unreachable``, ``url_refused`` (no 200), ``too_large``.
    """
    until = clock.monotonic() + _LONGEST_SECONDS
    for _ in range(_MOST_REDIRECTS + 1):
        parts = _parts(url)
        connection = _connected(parts, allowed)
        answer: http.client.HTTPResponse | None = None
        try:
            target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            connection.request("GET", target, headers={"accept-encoding": "identity", "user-agent": "luthier"})
            answer = connection.getresponse()
            if answer.status in _REDIRECTS:
                url = urljoin(url, answer.headers.get("location", ""))
                continue
            if answer.status != 200:
                raise _problem(f"the address answers {answer.status} and not 200.", "url_refused")
            if answer.headers.get("content-encoding", "identity").lower() != "identity":
                raise _problem("the address answers with a compressed body.", "url_refused")
            return {"bytes": _save(answer, path, most_bytes, until), "filename": _filename(parts)}
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise _problem(f"the address does not answer ({type(error).__name__}).", "url_unreachable") from None
        finally:
            if answer is not None:
                answer.close()
            connection.close()
    raise _problem(f"the address redirects more than {_MOST_REDIRECTS} times.", "url_refused")


def _save(answer: http.client.HTTPResponse, path: Path, most_bytes: int, until: float) -> int:
    total = 0
    with FileWriter(path) as writer:
        while piece := answer.read(_PIECE):
            total += len(piece)
            if total > most_bytes:
                raise _problem(f"the address gives more than {most_bytes:,} bytes.", "too_large")
            if clock.monotonic() > until:
                raise _problem(f"the address took longer than {_LONGEST_SECONDS:.0f} seconds.", "url_unreachable")
            writer.write(piece)
        writer.commit()
    return total


def _parts(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise _problem("this is no address.", "url_not_allowed") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None or port == 0:
        raise _problem("only http:// and https:// addresses without a user are fetched.", "url_not_allowed")
    return parts


def _connected(parts: SplitResult, allowed: Allowed) -> http.client.HTTPConnection:
    """A connection to the address that was looked at, under the name that was asked for."""
    assert parts.hostname is not None
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        found = socket.getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise _problem("the name of the address is not known.", "url_unreachable") from None
    addresses = [str(one[4][0]) for one in found]
    if not addresses or not all(map(allowed, addresses)):
        raise _problem("the address is not of the public internet.", "url_not_allowed")
    try:
        plain = socket.create_connection((addresses[0], port), timeout=_CONNECT_SECONDS)
        plain.settimeout(_SILENCE_SECONDS)
        connection = http.client.HTTPConnection(parts.hostname, port, timeout=_SILENCE_SECONDS)
        connection.sock = plain
        if parts.scheme == "https":  # which closes the plain one where it fails
            connection.sock = ssl.create_default_context().wrap_socket(plain, server_hostname=parts.hostname)
    except (OSError, ValueError) as error:
        raise _problem(f"the address does not answer ({type(error).__name__}).", "url_unreachable") from None
    return connection


def _filename(parts: SplitResult) -> str:
    return unquote(parts.path).rpartition("/")[2][:255] or "data.jsonl"


def _problem(message: str, code: str) -> DataError:
    return DataError(message, remedy="Check the address, or upload the file.", code=code, param="url")


def main(argv: list[str]) -> int:
    """Answer one request."""
    line = begin_checking(int(argv[0]), _MEMORY_BYTES)
    if line:
        request = from_line(line)
        try:
            told = fetch(request["url"], Path(request["path"]), request["most_bytes"])
        except LuthierError as error:
            told = {"error": error.to_dict()}
        sys.stdout.buffer.write(to_line(told))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

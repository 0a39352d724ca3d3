"""A small HTTP client for `luthier serve`: one address, one key, JSON in and out, files streamed.

It follows no redirect and uses no proxy, so what is sent reaches the address that was named and nothing else.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import secrets
import socket
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote, urlencode

from luthier import __version__
from luthier.cli.server_address import Address, address_of, key_for
from luthier.core import clock
from luthier.core.errors import LuthierError, UsageError

SECONDS_TO_ANSWER = 600.0
"""A first answer may wait for a model to load."""
ATTEMPTS = 4
LONGEST_WAIT = 30.0
_AGAIN = (429, 503)
_BLOCK = 256 * 1024
_LARGEST_ANSWER = 256 * 2**20


class ServerError(LuthierError):
    """A server refused, or could not do, what was asked; `status` is HTTP's."""

    default_code = "server_error"

    def __init__(self, message: str, *, status: int, **rest: Any) -> None:
        super().__init__(message, **rest)
        self.status = status


class ServerAway(LuthierError):
    """Nothing answers at the address, or it stopped answering."""

    default_code = "server_away"


class Server:
    """`Server.of(args)` is the one that the command line names."""

    def __init__(self, address: Address, key: str) -> None:
        self.address = address
        self._key = key

    @classmethod
    def of(cls, args: argparse.Namespace) -> Server:
        """The server and the key that the options and the environment name."""
        address = address_of(args)
        return cls(address, key_for(address, getattr(args, "key_file", None)))

    def get(self, path: str, **query: Any) -> dict[str, Any]:
        """What stands at `path`."""
        words = {name: value for name, value in query.items() if value is not None}
        return self._json("GET", f"{path}?{urlencode(words)}" if words else path)

    def post(self, path: str, body: Mapping[str, Any] | None = None, *, once: bool = False) -> dict[str, Any]:
        """Send a JSON body. With `once` the request carries a key of its own, so that a repetition does nothing."""
        headers = {"Content-Type": "application/json"}
        if once:
            headers["Idempotency-Key"] = secrets.token_hex(16)
        content = b"" if body is None else json.dumps(body, allow_nan=False).encode()
        return self._json("POST", path, lambda: content, headers, repeatable=once)

    def delete(self, path: str) -> dict[str, Any]:
        """Remove what stands at `path`."""
        return self._json("DELETE", path)

    def upload(self, file: Path, purpose: str) -> dict[str, Any]:
        """Send a file in blocks and give its record."""
        boundary = f"luthier-{secrets.token_hex(16)}"
        before = "".join(
            f"--{boundary}\r\nContent-Disposition: form-data; {words}\r\n{kind}\r\n{value}"
            for words, kind, value in (
                ('name="purpose"', "", f"{purpose}\r\n"),
                (f'name="file"; filename="{_quoted(file.name)}"', "Content-Type: application/octet-stream\r\n", ""),
            )
        ).encode()
        after = f"\r\n--{boundary}--\r\n".encode()
        with _opened(file) as handle:
            size = os.fstat(handle.fileno()).st_size
            headers = {
                "Content-Type": f"multipart/form-data; boundary={boundary}",
                "Content-Length": str(len(before) + size + len(after)),
            }
            return self._json("POST", "/v1/files", lambda: _body(before, handle, size, after), headers)

    def download(self, path: str) -> Iterator[bytes]:
        """The bytes at `path`, in blocks."""
        with contextlib.closing(self._connection()) as connection:
            answer = self._send(connection, "GET", path, None, {})
            if answer.status != 200:
                raise self._refusal(answer, path)
            while block := self._read(answer, _BLOCK):
                yield block

    def _json(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None,
        *, repeatable: bool = False,
    ) -> dict[str, Any]:  # fmt: skip
        """One exchange. It is tried again when the server says so, or when nothing can have happened twice."""
        for attempt in range(1, ATTEMPTS + 1):
            with contextlib.closing(self._connection()) as connection:
                try:
                    answer = self._send(connection, method, path, body() if body else None, headers or {})
                    if answer.status < 300:
                        return self._object(self._read(answer, _LARGEST_ANSWER))
                    refusal = self._refusal(answer, path)
                except ServerAway:
                    if attempt == ATTEMPTS or not (method == "GET" or repeatable):
                        raise
                    clock.sleep(0.25 * 2**attempt)
                    continue
            if answer.status not in _AGAIN or attempt == ATTEMPTS:
                raise refusal
            clock.sleep(_wait(answer.getheader("retry-after"), attempt))
        raise AssertionError  # the last attempt returned or raised

    def _connection(self) -> http.client.HTTPConnection:
        kind = http.client.HTTPSConnection if self.address.scheme == "https" else http.client.HTTPConnection
        return kind(self.address.host, self.address.port, timeout=SECONDS_TO_ANSWER)

    def _send(
        self, connection: http.client.HTTPConnection, method: str, path: str, body: Any, headers: Mapping[str, str]
    ) -> http.client.HTTPResponse:
        everything = {
            "Authorization": f"Bearer {self._key}",
            "User-Agent": f"luthier/{__version__}",
            "Accept": "application/json",
            **headers,
        }
        try:
            connection.connect()
        except (OSError, socket.gaierror) as error:
            raise self._away(
                f"nothing answers at {self.address} ({getattr(error, 'strerror', None) or error})"
            ) from None
        try:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it may have answered before the end
                connection.request(method, self.address.path + path, body=body, headers=everything)
            return connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            raise self._away(f"{self.address} stopped answering ({error or type(error).__name__})") from None

    def _read(self, answer: http.client.HTTPResponse, most: int) -> bytes:
        try:
            return answer.read(most)
        except (OSError, http.client.HTTPException) as error:
            raise self._away(f"{self.address} stopped in the middle of an answer ({error})") from None

    def _object(self, content: bytes) -> dict[str, Any]:
        try:
            value = json.loads(content)
        except (ValueError, RecursionError):
            value = None
        if not isinstance(value, dict):
            raise self._foreign()
        return value

    def _refusal(self, answer: http.client.HTTPResponse, path: str) -> LuthierError:
        """The error that an answer is: its own words, and what to do where those do not say it."""
        try:
            told = json.loads(self._read(answer, 1 << 20))["error"]
            message, code, param = str(told["message"]), told.get("code"), told.get("param")
        except (ValueError, RecursionError, LookupError, TypeError, AttributeError):
            return self._foreign(answer.status)
        remedy = {
            401: f"Give the key of {self.address}: LUTHIER_API_KEY or --key-file. luthier keys create makes one.",
            403: "Ask with a key of a higher role.",
            404: "luthier jobs list shows this project's jobs." if "/jobs/" in path else "",
            413: "Ask the operator for a higher limit, or send less.",
            429: "Wait a little, then try again.",
            503: "Try again in a moment.",
        }.get(answer.status, "")
        request = answer.getheader("x-request-id")
        if answer.status >= 500 and answer.status != 503:
            remedy = "The server's log tells more" + (f" (request {request})." if request else ".")
        return ServerError(
            message, status=answer.status, remedy=remedy,
            code=code if isinstance(code, str) else "", param=param if isinstance(param, str) else None,
        )  # fmt: skip

    def _away(self, message: str) -> ServerAway:
        return ServerAway(
            f"{message}.", remedy="Start it with luthier serve, or name another with --server URL.", param="server"
        )

    def _foreign(self, status: int | None = None) -> ServerError:
        what = f"with status {status} " if status is not None else ""
        return ServerError(
            f"{self.address} answers {what}in another way than luthier serve does.",
            status=status or 0,
            remedy="Check --server: another program may listen on that port.",
            code="not_luthier",
            param="server",
        )


def named(name: str) -> str:
    """An id or a model's name as part of a path."""
    return quote(name, safe="")


def pages(server: Server, path: str, **query: Any) -> Iterator[dict[str, Any]]:
    """The items of a list, all its pages."""
    after: str | None = None
    while True:
        page = server.get(path, after=after, **query)
        items = page.get("data") or []
        yield from items
        if not page.get("has_more") or not items:
            return
        after = items[-1]["id"]


def _opened(file: Path) -> BinaryIO:
    try:
        return file.open("rb")
    except OSError as error:
        raise UsageError(
            f"the file cannot be sent: {error.strerror or error}.",
            where=str(file),
            remedy="Give a file that is there and that you may read.",
            code="file_unreadable",
        ) from None


def _body(before: bytes, handle: BinaryIO, size: int, after: bytes) -> Iterable[bytes]:
    """A multipart body of exactly the announced length, also when the file changes meanwhile."""
    handle.seek(0)
    yield before
    while size > 0:
        block = handle.read(min(_BLOCK, size))
        if not block:
            raise UsageError("the file became shorter while it was sent.", where=handle.name, remedy="Try again.")
        size -= len(block)
        yield block
    yield after


def _quoted(name: str) -> str:
    """A file name inside quotes, as browsers write it."""
    plain = name.encode("utf-8", errors="replace").decode("utf-8")
    return plain.replace("\r", "%0D").replace("\n", "%0A").replace('"', "%22")


def _wait(told: str | None, attempt: int) -> float:
    try:
        return min(LONGEST_WAIT, max(0.0, float(told or "")))
    except ValueError:
        return float(2 ** (attempt - 1))

"""Which server is asked, and which key it may see: a key belongs to one address and is shown to no other."""

from __future__ import annotations

import argparse
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from luthier.core.errors import UsageError

DEFAULT_SERVER = "http://127.0.0.1:8321"
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server listens; `path` is what a proxy puts before ``/v1``, mostly nothing."""

    scheme: str
    host: str
    port: int
    path: str = ""

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read ``http://127.0.0.1:8321`` (a ``/v1`` at its end is understood). A `UsageError` for any other text,
        and for http to another machine, which would carry the key and the data in the clear."""
        try:
            parts = urlsplit(text if "://" in text else f"http://{text}")
            port = parts.port
        except ValueError:
            raise _wrong(text, "it is no address of a server") from None
        if parts.scheme not in _PORTS or not parts.hostname:
            raise _wrong(text, "it is no address of a server")
        if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
            raise _wrong(text, "it holds more than a scheme, a host and a port")
        path = parts.path.rstrip("/").removesuffix("/v1")
        found = cls(parts.scheme, parts.hostname, port or _PORTS[parts.scheme], path)
        if found.scheme == "http" and not found.is_loopback:
            raise UsageError(
                f"http to {found.host} would show your key and your data to whoever listens on the way.",
                remedy=f"Use https://{found.host}, or forward a port: ssh -L 8321:127.0.0.1:8321 {found.host}.",
                code="insecure_server",
                param="server",
            )
        return found

    @property
    def is_loopback(self) -> bool:
        """Whether what is sent stays on this machine."""
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == _PORTS[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{host}{port}{self.path}"


def add_server(parser: argparse.ArgumentParser, *, optional: bool) -> None:
    """`--server` and `--key-file`; `optional` where the verb works on this machine without them."""
    group = parser.add_argument_group("server")
    known = "a server does the work" if optional else f"LUTHIER_SERVER, or {DEFAULT_SERVER}"
    group.add_argument("--server", default=argparse.SUPPRESS, metavar="URL", help=known)
    group.add_argument(
        "--key-file", default=argparse.SUPPRESS, metavar="F", help="a file with the key (LUTHIER_API_KEY)"
    )


def add_remote(parser: argparse.ArgumentParser) -> None:
    """Options of a job on a server."""
    group = parser.add_argument_group("a job on a server")
    group.add_argument("--suffix", metavar="WORD", help="part of the new model's name")
    group.add_argument("--detach", action="store_true", help="do not wait for the end")


def refuse(args: argparse.Namespace, names: tuple[str, ...], remedy: str) -> None:
    """Raise `UsageError` for options that go only with a server, or only without one."""
    for name in names:
        if getattr(args, name):
            raise UsageError(f"--{name} does not fit here.", remedy=remedy, code="option_does_not_fit", param=name)


def wanted_server(args: argparse.Namespace) -> str | None:
    """What `--server` says; None where it was not used."""
    found: str | None = getattr(args, "server", None)
    if found is None and getattr(args, "key_file", None) is not None:
        raise UsageError("--key-file is for a server.", remedy="Name it with --server URL.", param="key_file")
    return found


def address_of(args: argparse.Namespace, environment: Mapping[str, str] = os.environ) -> Address:
    """The server that is asked: --server, else LUTHIER_SERVER, else this machine's."""
    return Address.parse(getattr(args, "server", None) or environment.get("LUTHIER_SERVER") or DEFAULT_SERVER)


def key_for(address: Address, key_file: str | None, environment: Mapping[str, str] = os.environ) -> str:
    """The key for `address`, from the file or the environment.

    LUTHIER_API_KEY belongs to LUTHIER_SERVER where that is set, OPENAI_API_KEY to OPENAI_BASE_URL: neither is shown
    to a server at another address. Raises a `UsageError` where there is no key for this one.
    """
    if key_file is not None:
        return _checked(_read(Path(key_file)), f"the file {key_file}")
    kept = []
    for name, owner in (("LUTHIER_API_KEY", "LUTHIER_SERVER"), ("OPENAI_API_KEY", "OPENAI_BASE_URL")):
        key, place = environment.get(name), environment.get(owner)
        if not key:
            continue
        if (place and _same(place, address)) or (not place and name == "LUTHIER_API_KEY"):
            return _checked(key, name)
        kept.append(f"{name} belongs to {place or 'OpenAI'} and is not shown to it.")
    raise UsageError(
        " ".join([f"there is no key for {address}.", *kept]),
        remedy="Set LUTHIER_API_KEY to the key that luthier serve printed at its first start, or give --key-file; "
        "luthier keys create makes another.",
        code="no_key",
        param="key_file",
    )


def _same(place: str, address: Address) -> bool:
    try:
        return Address.parse(place) == address
    except UsageError:
        return False


def _read(path: Path) -> str:
    try:
        with path.open("rb") as handle:
            mode = os.fstat(handle.fileno()).st_mode
            content = handle.read(4096)
    except OSError as error:
        raise UsageError(
            f"the key file cannot be read: {error.strerror or error}.",
            where=str(path),
            remedy="Give a file that holds a key and nothing else.",
            code="no_key",
            param="key_file",
        ) from None
    if os.name == "posix" and stat.S_IMODE(mode) & 0o077:
        raise UsageError(
            "other people of this machine can read the key file.",
            where=str(path),
            remedy=f"chmod 600 {path}, and make a new key if somebody may have read it.",
            code="open_key_file",
            param="key_file",
        )
    return content.decode("ascii", errors="replace")


def _checked(text: str, place: str) -> str:
    key = text.strip()
    if not key or len(key) > 512 or not all("!" <= letter <= "~" for letter in key):
        raise UsageError(
            f"{place} holds no key.", remedy="A key is one word, such as lu-...", code="no_key", param="key_file"
        )
    return key


def _wrong(text: str, reason: str) -> UsageError:
    return UsageError(
        f"{text!r} cannot be used as a server: {reason}.",
        remedy=f"For example --server {DEFAULT_SERVER}.",
        code="invalid_server",
        param="server",
    )

"""Whose secret is whose, as the database said lately: keys and sessions ask here first."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType

from luthier.jobs.database import Database
from luthier.jobs.records import Identity

_SHARED_SECONDS = 1.0
"""How long an answer is believed without asking again, where another process may revoke the key."""


@dataclass(frozen=True, slots=True)
class Known:
    """An identity, and when it ends (seconds of the epoch; None: never)."""

    identity: Identity
    ends: int | None


@dataclass(frozen=True, slots=True)
class _Seen:
    digest: str
    known: Known
    at: float


class KnownIdentities:
    """Identities by the SHA-256 of their secret. Filled and forgotten under the database's lock only, so that a
    revocation cannot fall between the reading and the remembering; `recall` needs no lock."""

    def __init__(self, database: Database, clock: ModuleType, look_up: Callable[[str], Known | None]) -> None:
        """`look_up` asks the database for a digest: None where it belongs to nobody, or no longer."""
        self._database, self._clock, self._look_up = database, clock, look_up
        self._seen: dict[str, _Seen] = {}

    def ask(self, digest: str) -> Identity | None:
        """Whose digest this is, by the database where it is not known yet."""
        return self._valid(self._fresh(digest) or self._asked(digest), digest)

    def recall(self, digest: str) -> Identity | None:
        """What `ask` answers where it need not ask the database; never waits."""
        return self._valid(self._fresh(digest), digest)

    def forget(self, digest: str) -> None:
        """It is over."""
        self._seen.pop(digest, None)

    def forget_key(self, key_id: str) -> None:
        """All that belongs to a key is over."""
        for digest, seen in list(self._seen.items()):
            if seen.known.identity.key_id == key_id:
                self._seen.pop(digest, None)

    def _fresh(self, digest: str) -> _Seen | None:
        seen = self._seen.get(digest)
        if seen is None or (not self._database.exclusive and self._clock.monotonic() - seen.at > _SHARED_SECONDS):
            return None
        return seen

    def _asked(self, digest: str) -> _Seen | None:
        with self._database.holding():
            at = self._clock.monotonic()
            known = self._look_up(digest)
            if known is None:
                self._seen.pop(digest, None)
                return None
            seen = self._seen[digest] = _Seen(digest, known, at)
            return seen

    def _valid(self, seen: _Seen | None, digest: str) -> Identity | None:
        if seen is None or not hmac.compare_digest(seen.digest, digest):
            return None
        if seen.known.ends is not None and seen.known.ends <= self._clock.now().timestamp():
            self._seen.pop(digest, None)
            return None
        return seen.known.identity


def digest_of(secret: str) -> str:
    """The SHA-256 of a secret, in hexadecimal: all of it that is stored."""
    return hashlib.sha256(secret.encode("ascii")).hexdigest()

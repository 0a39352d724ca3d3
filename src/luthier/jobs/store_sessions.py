"""Sessions of browsers. Of a session only the SHA-256 of its token is stored, and none outlives its key."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass
from types import ModuleType

import sqlalchemy as sql

from luthier.jobs.database import Database
from luthier.jobs.errors import NotFound
from luthier.jobs.ids import new_id
from luthier.jobs.page_records import Session
from luthier.jobs.reading import values_of
from luthier.jobs.records import Identity
from luthier.jobs.tables import keys, sessions

_TOKEN_BYTES = 32
TOKEN = re.compile(r"[A-Za-z0-9_-]{43}")
"""What a token looks like: 256 random bits."""
MOST_PER_KEY = 100
"""Sessions of one key; the oldest ends when there is one more."""
_SHARED_SECONDS = 1.0
"""How long a session is believed without asking, where another process may end it or revoke its key."""


@dataclass(frozen=True, slots=True)
class _Known:
    digest: str
    identity: Identity
    ends: int
    seen: float


class SessionStore:
    """Sessions of keys."""

    def __init__(self, database: Database, clock: ModuleType) -> None:
        self._database = database
        self._clock = clock
        self._known: dict[str, _Known] = {}

    def create(self, identity: Identity, seconds: int) -> tuple[Session, str]:
        """A new session of the key `identity`, for `seconds`, and its token, which nobody can read again.

        Raises:
            NotFound: the key was revoked meanwhile.
        """
        token = secrets.token_urlsafe(_TOKEN_BYTES)
        now = int(self._clock.now().timestamp())
        session = Session(new_id("sess_"), identity.project_id, identity.key_id, now, now + seconds)
        valid = sql.select(keys.c.id).where(keys.c.id == identity.key_id, keys.c.revoked_at.is_(None))
        mine = sql.select(sessions.c.number).where(sessions.c.key_id == identity.key_id)
        kept = mine.order_by(sessions.c.number.desc()).limit(MOST_PER_KEY)
        with self._database.holding():
            with self._database.write() as connection:
                if connection.execute(valid.with_for_update(key_share=True)).first() is None:
                    raise NotFound("the key is not valid any more.")
                connection.execute(sessions.delete().where(sessions.c.expires_at <= now))
                connection.execute(sessions.insert().values(values_of(session, digest=_digest(token))))
                numbers = [row[0] for row in connection.execute(kept)]
                old = (sessions.c.key_id == identity.key_id, sessions.c.number < min(numbers))
                connection.execute(sessions.delete().where(*old))
            if len(numbers) == MOST_PER_KEY:
                self._forget_key(identity.key_id)
        return session, token

    def authenticate(self, token: str) -> Identity | None:
        """Whose token this is; None: nobody's, or its session or key is over."""
        if not TOKEN.fullmatch(token):
            return None
        digest = _digest(token)
        return self._valid(self._remembered(digest) or self._look_up(digest), digest)

    def recall(self, token: str) -> Identity | None:
        """What `authenticate` answers where it need not ask the database; never waits."""
        if not TOKEN.fullmatch(token):
            return None
        digest = _digest(token)
        return self._valid(self._remembered(digest), digest)

    def get(self, token: str) -> Session | None:
        """The session of a token that is not over."""
        if self.authenticate(token) is None:
            return None
        columns = [sessions.c[name] for name in Session.__dataclass_fields__]
        query = sql.select(*columns).where(sessions.c.digest == _digest(token))
        with self._database.read() as connection:
            row = connection.execute(query).first()
        return None if row is None else Session(*row)

    def end(self, token: str) -> bool:
        """End a session; whether there was one."""
        if not TOKEN.fullmatch(token):
            return False
        digest = _digest(token)
        with self._database.holding():
            with self._database.write() as connection:
                ended = connection.execute(sessions.delete().where(sessions.c.digest == digest)).rowcount
            self._known.pop(digest, None)
        return bool(ended)

    def key_revoked(self, key_id: str) -> None:
        """End the sessions of a key."""
        with self._database.holding():
            with self._database.write() as connection:
                connection.execute(sessions.delete().where(sessions.c.key_id == key_id))
            self._forget_key(key_id)

    def _forget_key(self, key_id: str) -> None:
        for digest, known in list(self._known.items()):
            if known.identity.key_id == key_id:
                self._known.pop(digest, None)

    def _remembered(self, digest: str) -> _Known | None:
        known = self._known.get(digest)
        if known is None or (not self._database.exclusive and self._clock.monotonic() - known.seen > _SHARED_SECONDS):
            return None
        return known

    def _valid(self, known: _Known | None, digest: str) -> Identity | None:
        if known is None or not hmac.compare_digest(known.digest, digest):
            return None
        if known.ends <= self._clock.now().timestamp():
            self._known.pop(digest, None)
            return None
        return known.identity

    def _look_up(self, digest: str) -> _Known | None:
        query = (
            sql.select(sessions.c.expires_at, keys.c.id, keys.c.project_id, keys.c.role, keys.c.expires_at)
            .join(keys, keys.c.id == sessions.c.key_id)
            .where(sessions.c.digest == digest, keys.c.revoked_at.is_(None))
        )
        with self._database.holding():  # a revocation cannot fall between the reading and the remembering
            seen = self._clock.monotonic()
            with self._database.read() as connection:
                row = connection.execute(query).first()
            if row is None:
                self._known.pop(digest, None)
                return None
            ends = min(row[0], row[4]) if row[4] is not None else row[0]
            known = self._known[digest] = _Known(digest, Identity(row[1], row[2], row[3]), ends, seen)
            return known


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode("ascii")).hexdigest()

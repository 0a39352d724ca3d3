"""Sessions of browsers. Of a session only the SHA-256 of its token is stored, and none outlives its key."""

from __future__ import annotations

import re
import secrets
from types import ModuleType

import sqlalchemy as sql

from luthier.jobs.database import Database
from luthier.jobs.errors import NotFound
from luthier.jobs.ids import new_id
from luthier.jobs.known_identities import Known, KnownIdentities, digest_of
from luthier.jobs.page_records import Session
from luthier.jobs.reading import values_of
from luthier.jobs.records import Identity
from luthier.jobs.tables import keys, sessions

_TOKEN_BYTES = 32
TOKEN = re.compile(r"[A-Za-z0-9_-]{43}")
"""What a token looks like: 256 random bits."""
MOST_PER_KEY = 100
"""Sessions of one key; the oldest ends when there is one more."""


class SessionStore:
    """Sessions of keys."""

    def __init__(self, database: Database, clock: ModuleType) -> None:
        self._database = database
        self._clock = clock
        self._known = KnownIdentities(database, clock, self._look_up)

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
                connection.execute(sessions.insert().values(values_of(session, digest=digest_of(token))))
                numbers = [row[0] for row in connection.execute(kept)]
                old = (sessions.c.key_id == identity.key_id, sessions.c.number < min(numbers))
                connection.execute(sessions.delete().where(*old))
            if len(numbers) == MOST_PER_KEY:
                self._known.forget_key(identity.key_id)
        return session, token

    def authenticate(self, token: str) -> Identity | None:
        """Whose token this is; None: nobody's, or its session or key is over."""
        return self._known.ask(digest_of(token)) if TOKEN.fullmatch(token) else None

    def recall(self, token: str) -> Identity | None:
        """What `authenticate` answers where it need not ask the database; never waits."""
        return self._known.recall(digest_of(token)) if TOKEN.fullmatch(token) else None

    def get(self, token: str) -> Session | None:
        """The session of a token that is not over."""
        if self.authenticate(token) is None:
            return None
        columns = [sessions.c[name] for name in Session.__dataclass_fields__]
        query = sql.select(*columns).where(sessions.c.digest == digest_of(token))
        with self._database.read() as connection:
            row = connection.execute(query).first()
        return None if row is None else Session(*row)

    def end(self, token: str) -> bool:
        """End a session; whether there was one."""
        if not TOKEN.fullmatch(token):
            return False
        digest = digest_of(token)
        with self._database.holding():
            with self._database.write() as connection:
                ended = connection.execute(sessions.delete().where(sessions.c.digest == digest)).rowcount
            self._known.forget(digest)
        return bool(ended)

    def key_revoked(self, key_id: str) -> None:
        """End the sessions of a key."""
        with self._database.holding():
            with self._database.write() as connection:
                connection.execute(sessions.delete().where(sessions.c.key_id == key_id))
            self._known.forget_key(key_id)

    def _look_up(self, digest: str) -> Known | None:
        query = (
            sql.select(sessions.c.expires_at, keys.c.id, keys.c.project_id, keys.c.role, keys.c.expires_at)
            .join(keys, keys.c.id == sessions.c.key_id)
            .where(sessions.c.digest == digest, keys.c.revoked_at.is_(None))
        )
        with self._database.read() as connection:
            row = connection.execute(query).first()
        if row is None:
            return None
        ends = min(row[0], row[4]) if row[4] is not None else row[0]
        return Known(Identity(row[1], row[2], row[3]), ends)

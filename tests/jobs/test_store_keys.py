"""Projects and keys."""

from __future__ import annotations

import hashlib

import pytest
import sqlalchemy as sql

from luthier.jobs.errors import InvalidValue, NotFound
from luthier.jobs.records import Identity
from luthier.jobs.store import Store


def test_the_default_project_is_made_once(store):
    first = store.projects.default()
    assert store.projects.default() == first
    assert store.projects.list() == [first]
    assert store.projects.get(first.id) == first


def test_an_unknown_project_is_not_found(store):
    with pytest.raises(NotFound):
        store.projects.get("proj_never")
    with pytest.raises(NotFound):
        store.keys.create("proj_never", "x", "read")


def test_a_secret_says_who_asks(store, project):
    key, secret = store.keys.create(project.id, "laptop", "write")
    assert secret.startswith("lu-")
    assert len(secret) >= 3 + 43  # 256 bits in base 64
    assert store.keys.authenticate(secret) == Identity(key.id, project.id, "write")
    assert store.keys.authenticate(secret) == Identity(key.id, project.id, "write")  # from memory


@pytest.mark.parametrize(
    "wrong", ["", "lu-", "lu-wrong", "sk-wrong", "lu-\x00", "lu-ü", "lu-\ud800", "lu-" + "x" * 10**6]
)
def test_a_wrong_secret_is_nobody(store, project, wrong):
    store.keys.create(project.id, "laptop", "admin")
    assert store.keys.authenticate(wrong) is None


def test_no_secret_is_stored(store, project):
    _, secret = store.keys.create(project.id, "laptop", "admin")
    with store.database.read() as connection:
        row = str(connection.execute(sql.text("SELECT * FROM keys")).one())
    assert secret not in row
    assert secret.removeprefix("lu-") not in row
    assert hashlib.sha256(secret.encode()).hexdigest() in row


def test_a_revoked_key_ends_at_once(store, project):
    key, secret = store.keys.create(project.id, "laptop", "admin")
    kept, kept_secret = store.keys.create(project.id, "other", "admin")
    assert store.keys.authenticate(secret)
    revoked = store.keys.revoke(project.id, key.id)
    assert revoked.revoked_at is not None
    assert store.keys.authenticate(secret) is None
    assert store.keys.revoke(project.id, key.id) == revoked
    assert store.keys.list(project.id) == [revoked, kept]
    assert store.keys.authenticate(kept_secret)


def test_a_key_that_another_process_revoked_ends_within_a_second(postgres_url, moved_clock):
    here, there = (Store.open(postgres_url, clock=moved_clock) for _ in range(2))
    try:
        project = here.projects.default()
        key, secret = here.keys.create(project.id, "laptop", "admin")
        assert here.keys.authenticate(secret)
        there.keys.revoke(project.id, key.id)
        moved_clock.pass_seconds(1.1)
        assert here.keys.authenticate(secret) is None
    finally:
        here.close()
        there.close()


def test_a_key_expires_also_from_memory(store, project, moved_clock):
    now = int(moved_clock.now().timestamp())
    _, secret = store.keys.create(project.id, "laptop", "read", expires_at=now + 10)
    assert store.keys.authenticate(secret)
    moved_clock.pass_seconds(10)
    assert store.keys.authenticate(secret) is None


def test_a_key_of_another_project_cannot_be_revoked(store, project):
    key, secret = store.keys.create(project.id, "laptop", "admin")
    with pytest.raises(NotFound):
        store.keys.revoke(store.projects.create("other").id, key.id)
    assert store.keys.authenticate(secret)
    assert store.keys.list(store.projects.create("third").id) == []
    assert store.keys.list() == [key]


def test_an_unknown_role_is_refused(store, project):
    with pytest.raises(InvalidValue):
        store.keys.create(project.id, "laptop", "owner")


def test_which_keys_are_over(store, project):
    good, revoked, expired = (store.keys.create(project.id, "k", "read", expires)[0] for expires in (None, None, 5))
    store.keys.revoke(project.id, revoked.id)
    assert store.keys.over([good.id, revoked.id, expired.id, "key_never"]) == {revoked.id, expired.id, "key_never"}
    assert store.keys.over([]) == set()

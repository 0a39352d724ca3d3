"""Sessions in the store, on both databases."""

from __future__ import annotations

import pytest

from luthier.jobs import store_sessions
from luthier.jobs.errors import NotFound
from luthier.jobs.records import Identity


@pytest.fixture
def identity(store, project):
    key, _ = store.keys.create(project.id, "x", "write")
    return Identity(key.id, project.id, "write")


def test_a_session_is_found_by_its_token_alone(store, identity):
    session, token = store.sessions.create(identity, 60)
    assert store.sessions.recall(token) is None  # nobody has asked yet
    assert store.sessions.authenticate(token) == identity
    assert store.sessions.recall(token) == identity
    assert store.sessions.get(token) == session
    for wrong in ("", "x" * 43, token[:-1], token + "x", "é" * 43):
        assert store.sessions.authenticate(wrong) is None
        assert store.sessions.recall(wrong) is None
        assert store.sessions.end(wrong) is False
    assert store.sessions.end(token) is True
    assert store.sessions.authenticate(token) is None
    assert store.sessions.recall(token) is None


def test_it_ends_in_time(store, identity, moved_clock):
    _, token = store.sessions.create(identity, 60)
    assert store.sessions.authenticate(token)
    moved_clock.pass_seconds(61)
    assert store.sessions.recall(token) is None
    assert store.sessions.authenticate(token) is None
    _, new = store.sessions.create(identity, 60)  # sweeps what is over
    assert store.sessions.end(token) is False
    assert store.sessions.authenticate(new)


def test_it_ends_with_its_key(store, project, identity, moved_clock):
    _, token = store.sessions.create(identity, 3600)
    assert store.sessions.authenticate(token)
    store.keys.revoke(project.id, identity.key_id)
    assert store.sessions.recall(token) is None
    assert store.sessions.authenticate(token) is None
    with pytest.raises(NotFound):
        store.sessions.create(identity, 3600)
    key, _ = store.keys.create(project.id, "short", "read", int(moved_clock.now().timestamp()) + 30)
    _, short = store.sessions.create(Identity(key.id, project.id, "read"), 3600)
    assert store.sessions.authenticate(short)
    moved_clock.pass_seconds(31)
    assert store.sessions.authenticate(short) is None


def test_a_key_has_so_many_sessions(store, identity, monkeypatch):
    monkeypatch.setattr(store_sessions, "MOST_PER_KEY", 3)
    tokens = [store.sessions.create(identity, 60)[1] for _ in range(3)]
    assert all(store.sessions.authenticate(token) for token in tokens)
    tokens.append(store.sessions.create(identity, 60)[1])
    assert [store.sessions.authenticate(token) is not None for token in tokens] == [False, True, True, True]

"""Login of the pages: a cookie instead of a key, and no page of another site that can use it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from wire import Wire

from luthier.core import clock
from luthier.server import cookies
from luthier.server.logins import AT_ONCE


@pytest.fixture
def wire(tmp_path: Any) -> Iterator[Wire]:
    with Wire(tmp_path).running() as it:
        yield it


def log_in(wire: Wire, secret: str, **headers: str) -> Any:
    wire.http.cookies.clear()
    return wire.http.post("/session", json={"key": secret}, headers=headers)


def code(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


def test_a_key_becomes_a_cookie_that_reads_and_changes(wire: Wire) -> None:
    answer = log_in(wire, wire.key())
    assert answer.status_code == 200
    told = answer.json()
    assert (told["role"], told["project"], told["project_name"]) == ("admin", wire.project, "default")
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith("luthier=")
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(cookie.split("; "))
    assert "Secure" not in cookie
    assert wire.http.get("/v1/files").status_code == 200
    assert wire.http.get("/session").json() == told
    made = wire.http.post("/luthier/v1/keys", json={}, headers={"x-luthier-csrf": told["csrf"]})
    assert made.status_code == 200


def test_nothing_is_changed_without_the_word(wire: Wire) -> None:
    csrf = log_in(wire, wire.key()).json()["csrf"]
    for wrong in ({}, {"x-luthier-csrf": ""}, {"x-luthier-csrf": csrf[:-1]}, {"x-luthier-csrf": "é"}):
        headers = {name: value.encode("latin-1") for name, value in wrong.items()}
        assert code(wire.http.post("/luthier/v1/keys", json={}, headers=headers)) == (403, "csrf")
        assert code(wire.http.delete("/session", headers=headers)) == (403, "csrf")
    wire.http.cookies.clear()
    assert wire.http.post("/luthier/v1/keys", json={}, headers={"x-luthier-csrf": csrf}).status_code == 401


def test_a_page_of_another_site_gets_nowhere(wire: Wire) -> None:
    csrf = log_in(wire, wire.key()).json()["csrf"]
    word = {"x-luthier-csrf": csrf}
    for foreign in ({"origin": "https://evil.example"}, {"origin": "null"}, {"sec-fetch-site": "cross-site"},
                    {"sec-fetch-site": "same-site"}):  # fmt: skip
        for method, path in (("POST", "/luthier/v1/keys"), ("GET", "/v1/files"), ("DELETE", "/session")):
            body = {} if method == "POST" else None
            assert code(wire.http.request(method, path, json=body, headers=foreign | word)) == (403, "cross_site")
        assert code(wire.http.post("/session", json={"key": wire.key()}, headers=foreign)) == (403, "cross_site")
    form = wire.http.post("/session", data={"key": "x"})
    assert code(form) == (415, "unsupported_media_type")


def test_a_header_with_a_key_needs_no_word_and_wins(wire: Wire) -> None:
    log_in(wire, wire.key("read"))
    headers = {"authorization": f"Bearer {wire.key()}"}
    assert wire.http.post("/luthier/v1/keys", json={}, headers=headers).status_code == 200
    assert wire.http.get("/session", headers=headers).json()["csrf"] is None
    # A wrong key is not helped by a good cookie.
    assert wire.http.get("/v1/files", headers={"authorization": "Bearer lu-" + "x" * 43}).status_code == 401


def test_a_session_may_do_what_its_key_may(wire: Wire) -> None:
    word = {"x-luthier-csrf": log_in(wire, wire.key("read")).json()["csrf"]}
    assert code(wire.http.post("/luthier/v1/keys", json={}, headers=word)) == (403, "read_only_key")
    assert wire.http.delete("/session", headers=word).json()["deleted"] is True


def test_logging_out_ends_the_session_for_everybody_who_has_the_cookie(wire: Wire) -> None:
    answer = log_in(wire, wire.key())
    token = wire.http.cookies["luthier"]
    out = wire.http.delete("/session", headers={"x-luthier-csrf": answer.json()["csrf"]})
    assert out.json() == {"object": "session.deleted", "deleted": True}
    assert all("Max-Age=0" in value for value in out.headers.get_list("set-cookie"))
    wire.http.cookies.clear()
    assert wire.http.get("/v1/files", headers={"cookie": f"luthier={token}"}).status_code == 401
    assert wire.http.delete("/session").json()["deleted"] is False


def test_a_new_login_ends_the_old_session_of_the_browser(wire: Wire) -> None:
    secret = wire.key()
    log_in(wire, secret)
    old = wire.http.cookies["luthier"]
    wire.http.post("/session", json={"key": secret})
    new = wire.http.cookies["luthier"]
    wire.http.cookies.clear()
    assert wire.http.get("/v1/files", headers={"cookie": f"luthier={old}"}).status_code == 401
    assert wire.http.get("/v1/files", headers={"cookie": f"a=b; luthier={new}; luthier={'x' * 43}"}).status_code == 200


def test_a_session_ends_with_its_key(wire: Wire) -> None:
    key, secret = wire.store.keys.create(wire.project, "x", "read")
    log_in(wire, secret)
    assert wire.http.get("/v1/files").status_code == 200
    wire.store.keys.revoke(wire.project, key.id)
    assert wire.http.get("/v1/files").status_code == 401
    _, short = wire.store.keys.create(wire.project, "y", "read", int(clock.now().timestamp()) + 3)
    assert log_in(wire, short).status_code == 200
    token = wire.http.cookies["luthier"]
    assert wire.store.sessions.get(token) is not None
    assert wire.store.sessions.recall(token) is not None
    later = clock.now() + timedelta(seconds=4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clock, "now", lambda: later)
        assert wire.store.sessions.recall(token) is None
        assert wire.http.get("/v1/files").status_code == 401


def test_wrong_keys_are_slowed_down(wire: Wire) -> None:
    answers = [log_in(wire, "lu-" + "x" * 43) for _ in range(AT_ONCE + 1)]
    assert [answer.status_code for answer in answers] == [401] * AT_ONCE + [429]
    assert int(answers[-1].headers["retry-after"]) >= 1
    assert "set-cookie" not in answers[-1].headers
    assert "lu-" not in answers[0].text


@pytest.mark.parametrize(
    "body", [{}, {"key": ""}, {"key": 5}, {"key": "a b"}, {"key": "x" * 201}, {"key": "a", "b": 1}]
)
def test_a_login_without_a_key_is_said_so(wire: Wire, body: dict[str, Any]) -> None:
    assert wire.http.post("/session", json=body).status_code == 400
    large = wire.http.post("/session", json={"key": "x" * 10_000})
    assert large.status_code == 413


def test_behind_tls_the_cookie_is_of_this_host_alone(wire: Wire) -> None:
    answer = log_in(wire, wire.key(), origin="https://localhost:9", host="localhost:9")
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith("__Host-luthier_9=")
    assert "; Secure" in cookie
    token = cookie.split(";")[0].partition("=")[2]
    headers = {"host": "localhost:9", "cookie": f"__Host-luthier_9={token}; luthier_9={'x' * 43}"}
    assert wire.http.get("/v1/files", headers=headers).status_code == 200


@pytest.mark.parametrize(
    "cookie", ["", ";", "=", "luthier", "luthier=", "luthier=short", "x=luthier", f"luthier={'é' * 43}",
               f"Luthier={'x' * 43}", "luthier=" + "x" * 44, "; " * 5000]
)  # fmt: skip
def test_what_is_no_cookie_of_ours_is_none(cookie: str) -> None:
    headers = {b"cookie": cookie.encode("latin-1"), b"host": b"localhost"}
    assert cookies.token_of(headers) is None


def test_the_token_is_nowhere_in_the_store(wire: Wire, tmp_path: Any) -> None:
    log_in(wire, wire.key())
    token = wire.http.cookies["luthier"]
    assert token.encode() not in (tmp_path / "luthier.db").read_bytes()
    assert token not in cookies.csrf_of(token)

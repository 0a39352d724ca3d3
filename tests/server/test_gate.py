"""What every request meets: names, browsers, bodies, limits, errors in one shape, headers, logs."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted import scripted_wire
from wire import Wire

from luthier.core.answering import EngineOptions
from luthier.core.errors import LuthierError, StorageError, UsageError
from luthier.jobs.errors import Unavailable
from luthier.server import hosts, logs, strict_json
from luthier.server.errors import ApiError, from_luthier, path_of
from luthier.server.headers import download_headers
from luthier.server.limits import RateLimiter
from luthier.server.settings import from_sources


@pytest.fixture(scope="module")
def wire(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wire]:
    with Wire(tmp_path_factory.mktemp("gate"), allowed_hosts=("box.lan",), max_json_bytes=5000).running() as it:
        it.secret = it.key()
        yield it


def ask(wire: Wire, method: str = "GET", path: str = "/v1/files", body: bytes | None = None, **headers: str) -> Any:
    known = {"authorization": f"Bearer {wire.secret}"} | {
        name.replace("_", "-"): value for name, value in headers.items()
    }
    return wire.http.request(method, path, content=body, headers=known)


def post(wire: Wire, body: bytes, **headers: str) -> Any:
    return ask(wire, "POST", "/luthier/v1/keys", body, **{"content_type": "application/json"} | headers)


def error_of(answer: Any) -> dict[str, Any]:
    error = answer.json()["error"]
    assert set(answer.json()) == {"error"}
    assert set(error) == {"message", "type", "param", "code"}
    return error


# ---- names and browsers


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:8321", "LOCALHOST:1", "127.0.0.1", "127.0.0.1:65535", "[::1]", "[::1]:80",
             "box.lan", "box.lan:443", "localhost.", "localhost.:8321"]
)  # fmt: skip
def test_names_of_this_server_are_answered(wire: Wire, host: str) -> None:
    assert ask(wire, host=host).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "evil.localhost", "127.0.0.1.evil.example", "0.0.0.0", "[::2]",
             "box.lan.evil", "127.0.0.2", "notbox.lan", "2130706433", "127.1"]
)  # fmt: skip
def test_other_names_are_refused_before_the_key_is_looked_at(wire: Wire, host: str) -> None:
    answer = ask(wire, host=host, authorization="Bearer nothing")
    assert (answer.status_code, error_of(answer)["code"]) == (403, "host_not_allowed")
    assert ask(wire, path="/healthz", host=host).status_code == 403


@pytest.mark.parametrize(
    "host", ["", "user@localhost", "localhost:x", "localhost:123456", "localhost/evil", "a b", "::1", "localhost,evil",
             "localhost:80:80", "[::1", "localhost:"]
)  # fmt: skip
def test_what_is_no_name_is_malformed(host: str) -> None:
    with pytest.raises(ApiError) as caught:
        hosts.check_host(host, frozenset({"localhost"}))
    assert caught.value.status_code == 400


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://localhost:3000"},
        {"origin": "file://"},
        {"origin": "http://localhost@evil.example"},
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site"},
        {"sec_fetch_site": "none", "origin": "http://localhost.evil"},
    ],
)
def test_pages_of_other_sites_get_nothing(wire: Wire, headers: dict[str, str]) -> None:
    for method in ("GET", "POST", "OPTIONS"):
        answer = ask(wire, method, **headers)
        assert (answer.status_code, error_of(answer)["code"]) == (403, "cross_site")
        assert not [name for name in answer.headers if name.startswith("access-control-")]


def test_pages_of_this_server_may_ask(wire: Wire) -> None:
    answer = ask(wire, host="localhost:8321", origin="http://localhost:8321", sec_fetch_site="same-origin")
    assert answer.status_code == 200
    assert ask(wire, sec_fetch_site="none").status_code == 200
    assert not [name for name in answer.headers if name.startswith("access-control-")]


# ---- bodies


TRAPS = {
    b'{"name": NaN}': "invalid_number",
    b'{"name": -Infinity}': "invalid_number",
    b'{"expires_in": 1e400}': "invalid_number",
    b'{"expires_in": -1e999}': "invalid_number",
    b'{"expires_in": ' + b"9" * 4400 + b"}": "invalid_number",
    b'{"expires_in": 9223372036854775808}': "invalid_number",
    b'{"expires_in": 0.' + b"1" * 400 + b"}": "invalid_number",
    b'{"name": "a", "name": "b"}': "duplicate_key",
    b'{"x": [{"a": 1, "\\u0061": 2}]}': "duplicate_key",
    b'{"name": "\\ud800"}': "invalid_text",
    b'{"\\udfff": 1}': "invalid_text",
    b'{"name": "a\\u0000b"}': "invalid_text",
    b'{"name": "a\0b"}': "invalid_json",
    b"\xef\xbb\xbf{}": "invalid_json",
    '{"name": "a"}'.encode("utf-16"): "invalid_utf8",
    '{"name": "ä"}'.encode("latin-1"): "invalid_utf8",
    b'{"name": "a\xed\xa0\x80"}': "invalid_utf8",
    b"[" * 70 + b"]" * 70: "too_deep",
    b"[" * 2000: "too_deep",
    b'{"a":' * 800: "too_deep",
    b'{"name": "a",}': "invalid_json",
    b"{'name': 1}": "invalid_json",
    b'{"name": "a"} {}': "invalid_json",
    b"{": "invalid_json",
    b'"': "invalid_json",
    b" ": "invalid_json",
}


@pytest.mark.parametrize("body", TRAPS, ids=range(len(TRAPS)))
def test_traps_of_json_are_a_400(wire: Wire, body: bytes) -> None:
    answer = post(wire, body)
    assert (answer.status_code, error_of(answer)["code"]) == (400, TRAPS[body])


def test_brackets_in_texts_are_no_depth() -> None:
    strict_json.check(json.dumps({"text": "[" * 5000 + '"{\\' * 100}).encode())
    strict_json.check(b"[" * 64 + b"]" * 64)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(st.characters(exclude_characters="\0",
                           exclude_categories=["Cs"])), inner, max_size=5),
    max_leaves=30,
)  # fmt: skip


@given(JSON, st.booleans())
def test_sound_json_passes(value: Any, ascii_only: bool) -> None:
    strict_json.check(json.dumps(value, ensure_ascii=ascii_only).encode())


@given(st.binary(max_size=60) | st.text('[]{}",:\\u0d8 1e-.nN', max_size=60).map(str.encode))
def test_anything_else_is_an_error_of_the_client(body: bytes) -> None:
    try:
        strict_json.check(body)
    except ApiError as error:
        status = error.status_code
    else:
        json.dumps(json.loads(body), allow_nan=False).encode()
        status = 400
    assert status == 400


def test_a_body_that_is_too_large_is_refused_by_its_length_and_by_its_bytes(wire: Wire) -> None:
    said = post(wire, b"x" * 5001)
    assert (said.status_code, error_of(said)["code"]) == (413, "request_too_large")
    counted = post(wire, iter([b'{"name": "', *[b"x" * 1000] * 20]))  # type: ignore[arg-type]
    assert (counted.status_code, error_of(counted)["code"]) == (413, "request_too_large")
    assert counted.headers["connection"] == "close"


@pytest.mark.parametrize(
    "kind",
    ["", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/xml"],
)
def test_other_types_of_body_are_refused(wire: Wire, kind: str) -> None:
    answer = post(wire, b'{"name": "a"}', content_type=kind)
    assert (answer.status_code, error_of(answer)["code"]) == (415, "unsupported_media_type")


@pytest.mark.parametrize("coding", ["gzip", "br", "deflate", "zstd", "gzip, identity"])
def test_compressed_bodies_are_refused(wire: Wire, coding: str) -> None:
    answer = post(wire, b"\x1f\x8b", content_encoding=coding)
    assert (answer.status_code, error_of(answer)["code"]) == (415, "unsupported_content_encoding")


@pytest.mark.parametrize("path", ["/v1/files/a%00b", "/v1/files?after=a%00b", "/v1/files?purpose=%00"])
def test_a_nul_in_an_address_is_refused(wire: Wire, path: str) -> None:
    assert ask(wire, path=path).status_code == 400


# ---- errors


def test_every_error_has_one_shape(wire: Wire) -> None:
    found = {
        401: wire.http.get("/v1/files"),
        404: ask(wire, path="/v1/nothing"),
        405: ask(wire, "PUT"),
        400: ask(wire, path="/v1/files?limit=x"),
        413: post(wire, b"x" * 6000),
        415: post(wire, b"{}", content_type="text/plain"),
        403: ask(wire, host="evil"),
    }
    for status, answer in found.items():
        assert answer.status_code == status
        error_of(answer)
        assert re.fullmatch(r"req_[0-9a-f]{32}", answer.headers["x-request-id"])
        assert int(answer.headers["openai-processing-ms"]) >= 0
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["content-security-policy"].startswith("default-src 'none'")
        assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        (b'{"role": "king"}', "role", "invalid_value"),
        (b'{"roel": "read"}', "roel", "unknown_parameter"),
        (b'{"expires_in": "1"}', "expires_in", "invalid_type"),
        (b"[]", None, "invalid_type"),
        (b"", None, "missing_required_parameter"),
    ],
)
def test_a_wrong_value_is_named(wire: Wire, body: bytes, param: str | None, code: str) -> None:
    answer = post(wire, body)
    error = error_of(answer)
    assert (answer.status_code, error["param"], error["code"]) == (400, param, code)
    assert error["type"] == "invalid_request_error"


def test_paths_of_parameters_are_written_as_openai_does() -> None:
    assert path_of(("messages", 0, "tool_calls", 3, "id")) == "messages[0].tool_calls[3].id"
    assert len(path_of(("x" * 500,))) == 200


def test_errors_of_the_rooms_below_find_their_status() -> None:
    assert from_luthier(LuthierError("no")).status_code == 400
    away = from_luthier(Unavailable("away"))
    assert (away.status_code, away.headers) == (503, {"retry-after": "2"})
    assert from_luthier(StorageError("full", code="disk_full")).status_code == 503


def test_a_fault_says_nothing_and_is_logged_without_its_data(
    wire: Wire, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise ValueError("the secret row 4711")

    monkeypatch.setattr(wire.store.files, "list", broken)
    with caplog.at_level(logging.INFO, "luthier.server"):
        answer = ask(wire)
    assert answer.status_code == 500
    error = error_of(answer)
    assert error["type"] == "server_error"
    assert answer.headers["x-request-id"] in error["message"]
    assert "4711" not in answer.text
    lines = [logs._Lines(kind).format(record) for record in caplog.records for kind in ("plain", "json")]
    assert not [line for line in lines if "4711" in line]
    [fault] = [record for record in caplog.records if record.levelname == "ERROR"]
    assert fault.error == "ValueError"
    assert "test_gate.py" in fault.frames
    assert fault.request_id == answer.headers["x-request-id"]


def test_a_store_that_is_away_is_a_503(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: Any, **__: Any) -> Any:
        raise Unavailable("the database does not answer.")

    monkeypatch.setattr(wire.store.files, "list", away)
    answer = ask(wire)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
    monkeypatch.setattr(wire.store, "ping", away)
    health = wire.http.get("/healthz")
    assert (health.status_code, health.json()["store"]) == (503, "away")
    assert ask(wire, path="/metrics").status_code == 200


# ---- limits


def test_a_bucket_empties_and_fills_again(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("luthier.core.clock.monotonic", lambda: now)
    limiter = RateLimiter(per_second=2.0, burst=3)
    remaining = [dict(limiter.take("a"))[b"x-ratelimit-remaining-requests"] for _ in range(3)]
    assert remaining == [b"2", b"1", b"0"]
    with pytest.raises(ApiError) as caught:
        limiter.take("a")
    assert caught.value.status_code == 429
    assert caught.value.headers is not None
    assert (caught.value.headers["retry-after"], caught.value.headers["x-ratelimit-reset-requests"]) == ("1", "1500ms")
    limiter.take("b")  # another key has a bucket of its own
    now += 0.5
    limiter.take("a")
    with pytest.raises(ApiError):
        limiter.take("a")


def test_forgotten_buckets_are_full_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("luthier.core.clock.monotonic", lambda: now)
    monkeypatch.setattr("luthier.server.limits._MOST_BUCKETS", 2)
    limiter = RateLimiter(per_second=1.0, burst=1)
    limiter.take("a")
    limiter.take("b")
    limiter.take("c")
    with pytest.raises(ApiError):
        limiter.take("a")
    now += 2
    limiter.take("d")
    assert set(limiter._buckets) == {"d"}


def test_one_key_at_its_limit_leaves_the_others_alone(tmp_path: Any) -> None:
    with Wire(tmp_path, requests_per_second=0.01, request_burst=3).running() as wire:
        wire.secret = wire.key()
        answers = [ask(wire) for _ in range(5)]
        assert [answer.status_code for answer in answers] == [200, 200, 200, 429, 429]
        assert error_of(answers[3])["code"] == "rate_limit_exceeded"
        assert int(answers[3].headers["retry-after"]) > 1
        assert [answer.headers["x-ratelimit-remaining-requests"] for answer in answers] == ["2", "1", "0", "0", "0"]
        assert answers[0].headers["x-ratelimit-limit-requests"] == "3"
        wire.secret = wire.key()
        assert ask(wire).status_code == 200


# ---- headers, logs, metrics


@pytest.mark.parametrize(
    ("name", "plain", "whole"),
    [
        ("a.jsonl", "a.jsonl", "a.jsonl"),
        ('x".html', "x_.html", "x%22.html"),
        ("a\r\nset-cookie: b", "a__set-cookie_ b", "a%0D%0Aset-cookie%3A%20b"),
        ("Öl.svg", "_l.svg", "%C3%96l.svg"),
        ("\ud800", "_", "%3F"),
        ("", "file", ""),
    ],
)
def test_a_download_is_never_shown(name: str, plain: str, whole: str) -> None:
    headers = download_headers(name, 3)
    assert headers["content-type"] == "application/octet-stream"
    assert headers["content-disposition"] == f"attachment; filename=\"{plain}\"; filename*=UTF-8''{whole}"
    assert headers["content-length"] == "3"


def test_logs_tell_the_request_and_no_secret(wire: Wire, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "luthier"):
        ask(wire, path="/v1/files/file-canary123")
        post(wire, b'{"name": "canary456"}')
    [one, two] = [record for record in caplog.records if record.message == "request"]
    assert (one.route, one.status, one.method) == ("/v1/files/{file_id}", 404, "GET")
    assert (two.route, two.status, two.method) == ("/luthier/v1/keys", 200, "POST")
    assert one.key.startswith("key_")
    for record in caplog.records:
        for kind in ("plain", "json"):
            line = logs._Lines(kind).format(record)
            assert "\n" not in line
            assert "canary" not in line
            assert wire.secret not in line
    json.loads(logs._Lines("json").format(one))


def test_lines_reach_stderr_and_the_loggers_are_as_before(capsys: pytest.CaptureFixture[str]) -> None:
    logger = logging.getLogger("luthier.server")
    with logs.to_stderr("json", "info"):
        logger.info("hello\nthere", extra={"route": "/x", "secret": "lu-hidden"})
        logging.getLogger("uvicorn.error").info("not shown")
        logging.getLogger("uvicorn.error").warning("shown")
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [(line["level"], line["message"]) for line in lines] == [("info", "hello\nthere"), ("warning", "shown")]
    assert lines[0]["route"] == "/x"
    assert "secret" not in lines[0]
    assert logging.getLogger("luthier").propagate


def test_metrics_count_by_route_and_not_by_path(wire: Wire) -> None:
    for number in range(3):
        ask(wire, path=f"/v1/files/file-{number}")
        ask(wire, path=f"/nowhere/{number}")
    text = ask(wire, path="/metrics").text
    assert 'luthier_http_requests_total{method="GET",route="/v1/files/{file_id}",status="404"}' in text
    assert re.search(r'luthier_http_requests_total\{method="GET",route="-",status="404"\} [0-9.]+', text)
    assert "nowhere" not in text
    assert 'luthier_jobs{status="running"} 0.0' in text
    assert 'luthier_up{part="engine"} 1.0' in text
    assert "process_resident_memory_bytes" in text


def test_what_the_engine_said_is_not_told_when_it_is_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable() -> Any:
        raise Unavailable("the database is away.")

    with scripted_wire(tmp_path) as (wire, engine):
        wire.secret = wire.key()
        engine.status = lambda: {"restarts": 0, "requests": 0}
        engine.script = lambda request: [("status", {"models": [], "active": 3}), ("end", {})]
        assert 'luthier_engine{what="active"} 3.0' in ask(wire, path="/metrics").text
        engine.is_running = False
        text = ask(wire, path="/metrics").text
        assert "luthier_engine{" not in text
        assert 'luthier_up{part="engine"} 0.0' in text
        monkeypatch.setattr(wire.store.jobs, "counts", unreachable)
        text = ask(wire, path="/metrics").text
        assert 'luthier_up{part="store"} 0.0' in text
        assert "luthier_jobs{" not in text


def test_every_link_of_the_document_leads_to_a_route_that_takes_it(wire: Wire) -> None:
    document = ask(wire, path="/openapi.json").json()
    operations = {operation["operationId"]: (path, operation) for path, item in document["paths"].items()
                  for operation in item.values()}  # fmt: skip
    answers = [operation["responses"]["200"] for _, operation in operations.values()]
    links = [link for answer in answers for link in answer.get("links", {}).values()]
    assert len(links) > 40
    for link in links:
        path, operation = operations[link["operationId"]]
        taken = {parameter["name"] for parameter in operation.get("parameters", ())}
        assert set(link.get("parameters", ())) <= taken
        assert {name for name in taken if f"{{{name}}}" in path} == set(link.get("parameters", ()))
        if "requestBody" in link:
            schema = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
            assert set(link["requestBody"]) <= set(document["components"]["schemas"][schema]["properties"])


def test_a_whole_number_may_be_written_with_a_point(wire: Wire) -> None:
    assert post(wire, b'{"expires_in": 3600.0}').status_code == 200
    refused = post(wire, b'{"expires_in": 3600.5}')
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "invalid_type")


def test_the_document_lists_every_route_and_its_errors(wire: Wire) -> None:
    from luthier.server.auth import routes_of

    document = ask(wire, path="/openapi.json").json()
    listed = {(path, method.upper()) for path, item in document["paths"].items() for method in item}
    served = {(re.sub(r":\w+\}", "}", path), method) for _, path, method in routes_of(wire.app)}
    assert listed == served
    for path, item in document["paths"].items():
        for method, operation in item.items():
            assert "422" not in operation["responses"], path
            if path not in ("/healthz", "/session"):  # open to all: nothing there depends on whose it is
                assert {"400", "401", "403", "404", "409", "429", "500", "503"} <= set(operation["responses"])
                assert "security" not in operation
            if method == "post" and "requestBody" in operation:
                assert {"408", "413", "415"} <= set(operation["responses"])


def test_two_apps_share_nothing(wire: Wire, tmp_path: Any) -> None:
    with Wire(tmp_path).running() as other:
        other.secret = wire.secret
        assert ask(other).status_code == 401
        other.secret = other.key()
        assert 'route="/v1/files/{file_id}"' not in ask(other, path="/metrics").text


def test_a_websocket_is_not_answered(wire: Wire) -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    asyncio.run(wire.app({"type": "websocket", "path": "/healthz", "headers": []}, receive, send))
    assert sent == []


# ---- settings


def test_options_of_the_engine_are_settings(tmp_path: Path) -> None:
    given = {"home": tmp_path, "engine_rows": 4, "engine_memory_bytes": None}
    environment = {"LUTHIER_ENGINE_PRECISION": "bf16", "LUTHIER_ENGINE_MEMORY_BYTES": "123", "LUTHIER_ENGINE_ROWS": "9"}
    assert from_sources(given, environment).engine == EngineOptions(rows=4, precision="bf16", memory_bytes=123)
    assert from_sources({"home": tmp_path}, {}).engine == EngineOptions()
    with pytest.raises(UsageError, match="LUTHIER_ENGINE_PRECISION cannot be 'int3'"):
        from_sources({"home": tmp_path}, {"LUTHIER_ENGINE_PRECISION": "int3"})

"""The client: whom it asks, who sees the key, and what it says when things go wrong."""

from __future__ import annotations

import os
import re
import socket

import pytest
from fake_server import KEY, FakeServer, error, serving

from luthier.cli.remote import Server, ServerAway, ServerError
from luthier.cli.server_address import Address, key_for
from luthier.core import clock
from luthier.core.errors import UsageError


@pytest.fixture
def fake():
    with serving(FakeServer()) as server:
        yield server


@pytest.fixture
def waits(monkeypatch):
    """What the client waited, without waiting."""
    found = []
    monkeypatch.setattr(clock, "sleep", found.append)
    return found


def client(fake, key=KEY):
    return Server(Address.parse(fake.url), key)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://127.0.0.1:8321", "http://127.0.0.1:8321"),
        ("http://127.0.0.1:8321/v1/", "http://127.0.0.1:8321"),
        ("localhost:9000", "http://localhost:9000"),
        ("http://[::1]:8321", "http://[::1]:8321"),
        ("http://127.8.9.1", "http://127.8.9.1"),
        ("https://luthier.example.org", "https://luthier.example.org"),
        ("https://example.org/luthier/v1", "https://example.org/luthier"),
    ],
)
def test_addresses(text, shown):
    assert str(Address.parse(text)) == shown


@pytest.mark.parametrize(
    "text",
    [
        "http://example.org",
        "http://10.0.0.1:8321",
        "http://0.0.0.0:8321",
        "http://127.0.0.1.example.org",
        "http://localhost.example.org",
        "http://[::ffff:10.0.0.1]",
        "ftp://127.0.0.1",
        "http://",
        "http://127.0.0.1:99999",
        "http://me:secret@127.0.0.1",
        "http://127.0.0.1@example.org",
        "http://127.0.0.1/?x=1",
        "http://[::1",
    ],
)
def test_addresses_that_are_refused(text):
    with pytest.raises(UsageError):
        Address.parse(text)


HERE = Address.parse("http://127.0.0.1:8321")


@pytest.mark.parametrize(
    ("environment", "key"),
    [
        ({"LUTHIER_API_KEY": "lu-1"}, "lu-1"),
        ({"LUTHIER_API_KEY": "lu-1", "LUTHIER_SERVER": "http://127.0.0.1:8321/"}, "lu-1"),
        ({"OPENAI_API_KEY": "lu-2", "OPENAI_BASE_URL": "http://127.0.0.1:8321/v1"}, "lu-2"),
        (
            {"LUTHIER_API_KEY": "lu-1", "LUTHIER_SERVER": "https://other.example.org", "OPENAI_API_KEY": "lu-2",
             "OPENAI_BASE_URL": "http://127.0.0.1:8321/v1"},
            "lu-2",
        ),
    ],
)  # fmt: skip
def test_a_key_of_this_address_is_used(environment, key):
    assert key_for(HERE, None, environment) == key


@pytest.mark.parametrize(
    ("environment", "told"),
    [
        ({}, "there is no key"),
        ({"OPENAI_API_KEY": "sk-1"}, "OPENAI_API_KEY belongs to OpenAI"),
        ({"OPENAI_API_KEY": "sk-1", "OPENAI_BASE_URL": "http://127.0.0.1:9/v1"}, "OPENAI_API_KEY belongs to"),
        ({"LUTHIER_API_KEY": "lu-1", "LUTHIER_SERVER": "https://a.example.org"}, "LUTHIER_API_KEY belongs to"),
        ({"LUTHIER_API_KEY": "lu-1", "LUTHIER_SERVER": "http://127.0.0.1:8322"}, "LUTHIER_API_KEY belongs to"),
        ({"LUTHIER_API_KEY": "two words"}, "holds no key"),
        ({"LUTHIER_API_KEY": "a\r\nb: c"}, "holds no key"),
    ],
)
def test_a_key_of_another_address_is_not_shown(environment, told):
    with pytest.raises(UsageError, match=told) as caught:
        key_for(HERE, None, environment)
    assert all(secret not in str(caught.value) for secret in ("sk-1", "lu-1", "two words"))


def test_a_key_file_is_for_its_owner_only(tmp_path):
    path = tmp_path / "key"
    path.write_text("lu-file\n")
    path.chmod(0o600)
    assert key_for(HERE, str(path), {"LUTHIER_API_KEY": "lu-1"}) == "lu-file"
    path.chmod(0o640)
    with pytest.raises(UsageError, match="chmod 600"):
        key_for(HERE, str(path), {})
    with pytest.raises(UsageError, match="cannot be read"):
        key_for(HERE, str(tmp_path / "nothing"), {})


def test_nobody_listens():
    with socket.socket() as taken:  # bound, but it does not listen
        taken.bind(("127.0.0.1", 0))
        server = Server(Address.parse(f"http://127.0.0.1:{taken.getsockname()[1]}"), KEY)
        with pytest.raises(ServerAway, match=r"nothing answers at http://127.*Start it with luthier serve"):
            server.post("/v1/anything", {})


def test_a_wrong_key_is_told_and_not_repeated(fake):
    with pytest.raises(ServerError, match=r"Incorrect API key.*LUTHIER_API_KEY") as caught:
        client(fake, "lu-wrong").get("/v1/fine_tuning/jobs")
    assert caught.value.status == 401
    assert caught.value.code == "invalid_api_key"
    assert len(fake.asked) == 1


def test_a_redirect_is_not_followed_with_the_key(fake):
    fake.before = lambda asked: (307, b"", {"location": "http://127.0.0.1:1/v1/jobs"})
    with pytest.raises(ServerError, match="another way than luthier serve"):
        client(fake).get("/v1/fine_tuning/jobs")


@pytest.mark.parametrize("body", [b"<html>hello</html>", b"[]", b"", b"[" * 100_000])
def test_another_program_on_the_port_is_recognised(fake, body):
    fake.before = lambda asked: (200, body, {})
    with pytest.raises(ServerError, match="another program may listen"):
        client(fake).get("/v1/fine_tuning/jobs")


def test_it_waits_as_long_as_the_server_says(fake, waits):
    answers = iter([error(429, "slow down", "rate_limit_exceeded", retry_after="7"),
                    error(503, "starting", "unavailable", retry_after="900")])  # fmt: skip
    fake.before = lambda asked: next(answers, None)
    assert client(fake).get("/v1/fine_tuning/jobs")["data"] == []
    assert waits == [7.0, 30.0]


def test_creating_once_survives_a_dying_server_and_repeats_the_same_key(fake, waits):
    answers = iter([(0, b"", {}), (0, b"", {})])
    fake.before = lambda asked: next(answers, None)
    assert client(fake).post("/luthier/v1/jobs", {"recipe": {}}, once=True)["id"] == "ftjob-new"
    assert len({asked.headers["idempotency-key"] for asked in fake.asked}) == 1
    assert len(fake.asked) == 3


def test_what_may_have_happened_is_not_repeated(fake, waits):
    fake.before = lambda asked: (0, b"", {})
    with pytest.raises(ServerAway):
        client(fake).post("/v1/fine_tuning/jobs/ftjob-1/cancel")
    assert len(fake.asked) == 1


def test_a_fault_of_the_server_names_the_request(fake):
    fake.before = lambda asked: error(500, "The server had an error.", "server_error", x_request_id="req-7")
    with pytest.raises(ServerError, match=r"The server had an error. The server's log tells more \(request req-7\)"):
        client(fake).get("/v1/fine_tuning/jobs")


def test_a_file_is_sent_whole_under_its_name(fake, tmp_path):
    path = tmp_path / 'a"b\u00e4.jsonl'
    content = os.urandom(700_000)
    path.write_bytes(content)
    assert client(fake).upload(path, "fine-tune") == {"id": "file-1", "object": "file"}
    asked = fake.asked[0]
    boundary = re.search("boundary=(.*)", asked.headers["content-type"])[1]
    assert asked.body.endswith(f"\r\n--{boundary}--\r\n".encode())
    assert b"\r\n\r\n" + content + b"\r\n--" in asked.body
    assert 'name="file"; filename="a%22b\u00e4.jsonl"\r\n'.encode() in asked.body
    assert b'name="purpose"\r\n\r\nfine-tune\r\n' in asked.body


def test_a_refusal_during_an_upload_is_told(fake, tmp_path):
    path = tmp_path / "big.jsonl"
    path.write_bytes(b"x" * 100)
    fake.before = lambda asked: error(413, "The file is larger than 10 bytes.", "file_too_large")
    with pytest.raises(ServerError, match=r"larger than 10 bytes. Ask the operator"):
        client(fake).upload(path, "fine-tune")


def test_downloads_come_in_blocks(fake):
    fake.before = lambda asked: (200, b"x" * 600_000, {})
    assert [len(block) for block in client(fake).download("/v1/files/file-1/content")] == [262_144, 262_144, 75_712]

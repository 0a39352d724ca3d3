"""Fetching from an address: only from the internet, counted, and never where a redirection leads inside."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from luthier.core.errors import DataError
from luthier.jobs.url_fetch import fetch, is_public


class _Answers(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path.startswith(("/redirect?", "/loop")):
            self.send_response(302)
            self.send_header("location", self.path.partition("?")[2] or "/loop")
            self.end_headers()
            return
        if self.path == "/missing":
            self.send_error(404)
            return
        self.send_response(200)
        if self.path == "/packed.csv":
            self.send_header("content-encoding", "gzip")
        self.end_headers()
        self.wfile.write(b"text,label\n" + b"a,b\n" * 1000)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Answers)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def anyone(address: str) -> bool:
    return True


def test_a_file_is_fetched_with_its_name(site: str, tmp_path: Path) -> None:
    told = fetch(f"{site}/a%20b/rows.csv?x=1", tmp_path / "x", 10**6, anyone)
    assert told == {"bytes": 4011, "filename": "rows.csv"}
    assert (tmp_path / "x").stat().st_size == 4011
    assert fetch(f"{site}/redirect?/other.csv", tmp_path / "y", 10**6, anyone)["filename"] == "other.csv"


@pytest.mark.parametrize(
    ("path", "code"),
    [("/missing", "url_refused"), ("/packed.csv", "url_refused"), ("/loop", "url_refused"),
     ("/redirect?file:///etc/passwd", "url_not_allowed"), ("/redirect?http://u:p@127.0.0.1/", "url_not_allowed")],
)  # fmt: skip
def test_what_is_no_file_is_refused(site: str, tmp_path: Path, path: str, code: str) -> None:
    with pytest.raises(DataError) as error:
        fetch(site + path, tmp_path / "x", 10**6, anyone)
    assert error.value.code == code
    assert not (tmp_path / "x").exists()


def test_it_is_counted_as_it_comes(site: str, tmp_path: Path) -> None:
    with pytest.raises(DataError) as error:
        fetch(f"{site}/rows.csv", tmp_path / "x", 4010, anyone)
    assert error.value.code == "too_large"
    assert list(tmp_path.iterdir()) == []


def test_this_machine_is_not_asked_by_any_name(site: str, tmp_path: Path) -> None:
    port = site.rpartition(":")[2]
    for name in ("127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0", "127.1", "2130706433"):
        with pytest.raises(DataError) as error:
            fetch(f"http://{name}:{port}/rows.csv", tmp_path / "x", 10**6)
        assert error.value.code in ("url_not_allowed", "url_unreachable"), name


def test_a_redirection_to_this_machine_is_not_followed(site: str, tmp_path: Path) -> None:
    asked: list[str] = []

    def first_only(address: str) -> bool:
        asked.append(address)
        return len(asked) == 1

    with pytest.raises(DataError) as error:
        fetch(f"{site}/redirect?{site}/rows.csv", tmp_path / "x", 10**6, first_only)
    assert error.value.code == "url_not_allowed"
    assert len(asked) == 2


@pytest.mark.parametrize("address", ["93.184.216.34", "2606:2800:220:1::1", "8.8.8.8"])
def test_addresses_of_the_internet(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "0.0.0.0", "224.0.0.1", "255.255.255.255",
     "100.64.0.1", "::1", "::", "fe80::1%eth0", "fc00::1", "::ffff:10.0.0.1", "2002:7f00:1::", "ff02::1"],
)  # fmt: skip
def test_addresses_that_are_not(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    "url", ["ftp://x/y", "http://", "http:///x", "http://a:b@x/", "http://x:99999/", "http://x:0/", "//x", "x"]
)
def test_what_is_no_address_is_said_so(url: str, tmp_path: Path) -> None:
    with pytest.raises(DataError) as error:
        fetch(url, tmp_path / "x", 10, anyone)
    assert error.value.code == "url_not_allowed"

"""`luthier serve` from outside: its first start, its end, its neighbours."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import openai
import psutil
import pytest
from live import Live


def cli(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """One command of ours."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("LUTHIER_", "OPENAI_"))}
    return subprocess.run(
        [sys.executable, "-m", "luthier", *words], capture_output=True, text=True, timeout=60,
        env=kept | {"PYTHONPATH": os.pathsep.join(sys.path)} | environment,
    )  # fmt: skip


def test_the_first_start_shows_a_key_once_and_keeps_it_nowhere(live: Live) -> None:
    said = live.said.read_text()
    assert said.count(live.key) == 1
    assert f"export OPENAI_BASE_URL={live.base_url}/v1" in said
    assert len(live.key) >= 40
    assert live.client().models.list().object == "list"
    live.stop()
    assert live.key not in live.logs()
    for path in live.home.rglob("*"):
        assert not path.is_file() or live.key.encode() not in path.read_bytes(), path
    assert live.home.stat().st_mode & 0o777 == 0o700
    first = live.key
    live.restart()
    assert "OPENAI_API_KEY" not in live.said.read_text()
    assert (live.key, live.healthy()) == (first, True)
    assert live.client().models.list().object == "list"


def test_a_key_file_is_its_owners_alone_and_the_key_is_not_shown(tmp_path: Path) -> None:
    file = tmp_path / "key"
    server = Live(tmp_path / "home", "--key-file", str(file)).start()
    try:
        assert file.stat().st_mode & 0o777 == 0o600
        key = file.read_text().strip()
        assert key.startswith("lu-")
        assert key not in server.said.read_text()
        server.key = key
        assert server.client().models.list().object == "list"
    finally:
        server.stop()


def descendants(pid: int) -> set[int]:
    """Processes whose parent, or parent's parent, ... is `pid`."""
    return {process.pid for process in psutil.Process(pid).children(recursive=True)}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_in_order(live: Live, number: int) -> None:
    children = descendants(live.process.pid)
    assert live.stop(number) == 0
    assert "stopped" in live.logs()
    assert "Traceback" not in live.logs()
    assert not [child for child in children if Path(f"/proc/{child}").exists()]


def test_a_second_signal_ends_it_at_once(live: Live) -> None:
    # A request whose body never ends keeps the first signal waiting.
    address = ("127.0.0.1", int(live.base_url.rpartition(":")[2]))
    with socket.create_connection(address) as slow:
        slow.sendall(
            b"POST /v1/fine_tuning/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Authorization: Bearer " + live.key.encode() + b"\r\nContent-Length: 100\r\n\r\n{"
        )
        assert live.client().models.list().object == "list"  # the server has seen the slow one by now
        live.process.send_signal(signal.SIGTERM)
        with pytest.raises(subprocess.TimeoutExpired):
            live.process.wait(1.0)
        live.process.send_signal(signal.SIGTERM)
        assert live.process.wait(5.0) == 128 + signal.SIGTERM


def test_a_taken_port_and_a_taken_home_are_one_clear_line_each(live: Live, tmp_path: Path) -> None:
    port = live.base_url.rpartition(":")[2]
    taken = cli("serve", "--home", str(tmp_path / "other"), "--port", port)
    assert (taken.returncode, taken.stderr.count("\n")) == (2, 1)
    assert f"port {port} is taken" in taken.stderr
    assert not (tmp_path / "other").exists()
    home = cli("serve", "--home", str(live.home), "--port", "0")
    assert (home.returncode, home.stderr.count("\n")) == (1, 1)
    assert "in use by another process" in home.stderr


def test_keys_are_made_and_ended_while_it_runs_and_while_it_does_not(live: Live) -> None:
    asking = {"LUTHIER_API_KEY": live.key, "LUTHIER_SERVER": live.base_url}
    home = ("--home", str(live.home))
    made = cli("keys", "create", "--role", "read", "--name", "reader", *home, **asking)
    assert made.returncode == 0, made.stderr
    secret = made.stdout.strip()
    reader = openai.OpenAI(api_key=secret, base_url=f"{live.base_url}/v1", max_retries=0)
    assert reader.models.list().object == "list"
    listed = json.loads(cli("keys", "list", "--json", *home, **asking).stdout)["keys"]
    assert [(key["name"], key["role"]) for key in listed] == [("first key", "admin"), ("reader", "read")]
    assert secret not in json.dumps(listed)
    assert cli("keys", "revoke", listed[1]["id"], *home, **asking).returncode == 0
    with pytest.raises(openai.AuthenticationError):
        reader.models.list()
    without = cli("keys", "list", *home)
    assert without.returncode == 2
    assert "LUTHIER_API_KEY" in without.stderr
    live.stop()
    offline = cli("keys", "create", "--project", "lab", "--days", "30", "--json", *home)
    assert offline.returncode == 0, offline.stderr
    assert json.loads(offline.stdout)["role"] == "write"
    live.restart()
    fresh = openai.OpenAI(api_key=json.loads(offline.stdout)["secret"], base_url=f"{live.base_url}/v1")
    assert fresh.files.list().data == []


def test_the_server_process_loads_no_torch(live: Live) -> None:
    request = urllib.request.Request(f"{live.base_url}/openapi.json", headers={"Authorization": f"Bearer {live.key}"})
    with urllib.request.urlopen(request) as answer:
        assert json.load(answer)["openapi"].startswith("3.")
    maps = Path(f"/proc/{live.process.pid}/maps").read_text()
    assert "libtorch" not in maps


def test_a_warning_is_printed_where_other_machines_can_listen(tmp_path: Path) -> None:
    server = Live(tmp_path / "home", "--host", "0.0.0.0").start()
    try:
        assert "without TLS" in server.logs()
    finally:
        server.stop()


def test_an_insecure_option_for_other_machines_must_be_said_twice(tmp_path: Path) -> None:
    words = ("serve", "--home", str(tmp_path / "home"), "--port", "0", "--host", "0.0.0.0")
    refused = cli(*words, "--insecure-allow-python-graders")
    assert refused.returncode == 2
    assert "LUTHIER_ALLOW_PYTHON_GRADERS=1" in refused.stderr

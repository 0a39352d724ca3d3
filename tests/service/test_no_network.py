"""F14: the whole flow in a network namespace with nothing but a loopback, every connection watched; and what was said
there in confidence stands in no log, no table and no command line."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from whole_flow import DATA_CANARY, TOKEN_CANARY

FLOW = Path(__file__).with_name("whole_flow.py")
LONGEST = 500.0
"""Seconds, on a machine that does other work as well."""
CALLS = "connect,sendto,sendmsg,sendmmsg"


def why_not() -> str:
    """Why this machine cannot do it, or nothing."""
    if shutil.which("strace") is None:
        return "strace is not installed: outbound connections were NOT looked for"
    if shutil.which("unshare") is None or os.geteuid() != 0:
        return "no root or no unshare: the suite was NOT run without network"
    if subprocess.run(["unshare", "-n", "true"], capture_output=True).returncode:
        return "this container makes no network namespaces: the suite was NOT run without network"
    if subprocess.run(["strace", "-o", os.devnull, "true"], capture_output=True).returncode:
        return "strace may not trace here: outbound connections were NOT looked for"
    return ""


REASON = why_not()
pytestmark = pytest.mark.skipif(bool(REASON), reason=REASON)
_ADDRESS = re.compile(r'inet_addr\("([^"]+)"\)|inet_pton\(AF_INET6, "([^"]+)"')


def outbound(trace: str) -> list[str]:
    """The calls of a trace that name another machine's address."""
    found = []
    for line in trace.splitlines():
        for old, new in _ADDRESS.findall(line):
            address = old or new
            if not address.startswith("127.") and address not in ("::1", "0.0.0.0", "::", "::ffff:127.0.0.1"):
                found.append(line)
    return found


def run_flow(folder: Path, kind: str) -> tuple[dict, str]:
    """(what the flow printed, the trace of all processes of the server)."""
    trace = folder / "trace"
    tracer = ["strace", "-D", "-f", "-qq", "--seccomp-bpf", "-e", f"trace={CALLS}", "-e", "signal=none", "-o", trace]
    run = subprocess.run(
        ["unshare", "-n", sys.executable, FLOW, folder, kind, *map(str, tracer)],
        capture_output=True, text=True, timeout=LONGEST,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([*sys.path, str(FLOW.parent)])},
    )  # fmt: skip
    assert run.returncode == 0, run.stderr[-4000:]
    return json.loads(run.stdout.splitlines()[-1]), trace.read_text(errors="replace")


def secrets_in(folder: Path, told: dict) -> list[str]:
    """Where a key, a token or a row of the data stands that should stand nowhere."""
    secrets = {"key": told["key"], "token": TOKEN_CANARY, "data": DATA_CANARY}
    assert len(told["key"]) > 40
    places = {f"command {command[:80]}": command.encode() for command in told["commands"]}
    home = folder / "home"
    for path in [*folder.glob("home-log-*"), *home.glob("luthier.db*"), *home.rglob("*.log")]:
        places[str(path.relative_to(folder))] = path.read_bytes()
    found = [f"{what} in {place}" for place, text in places.items()
             for what, secret in secrets.items() if secret.encode() in text]  # fmt: skip
    # Files, weights and reports are the client's own data; keys and tokens are in none of them.
    for path in home.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            found += [f"{what} in {path.name}" for what in ("key", "token") if secrets[what].encode() in content]
    return found


def check(folder: Path, kind: str) -> None:
    told, trace = run_flow(folder, kind)
    assert told["statuses"] == {
        "broken data": "failed", "wrong key": 401, "wrong role": 400, "picture": 400, "address as model": 404,
        "hub id as model": 404, "fault": told["statuses"]["fault"],
    }  # fmt: skip
    assert told["statuses"]["fault"] >= 500
    assert "connect(" in trace, "nothing was traced"
    assert outbound(trace) == []
    assert any("luthier.serve.engine" in command for command in told["commands"])
    assert secrets_in(folder, told) == []


def test_nothing_leaves_and_nothing_is_told(tmp_path):
    check(tmp_path, "fast")


@pytest.mark.slow
def test_nothing_leaves_and_nothing_is_told_while_a_model_is_trained(tmp_path):
    check(tmp_path, "train")


def test_the_search_finds_what_leaves():
    left = [
        '12 connect(5, {sa_family=AF_INET, sin_port=htons(443), sin_addr=inet_addr("203.0.113.7")}, 16) = -1',
        '12 sendto(5, "x", 1, 0, {sa_family=AF_INET, sin_port=htons(53), sin_addr=inet_addr("8.8.8.8")}, 16) = 1',
        "12 connect(5, {sa_family=AF_INET6, sin6_port=htons(443), sin6_flowinfo=htonl(0), inet_pton(AF_INET6, "
        '"2001:db8::1", &sin6_addr), sin6_scope_id=0}, 28) = 0',
    ]
    stayed = [
        '12 connect(5, {sa_family=AF_INET, sin_port=htons(8321), sin_addr=inet_addr("127.0.0.1")}, 16) = 0',
        '12 connect(5, {sa_family=AF_UNIX, sun_path="/x/engine.sock"}, 21) = 0',
        '12 sendto(5, "8.8.8.8", 7, 0, NULL, 0) = 7',
    ]
    assert outbound("\n".join([*stayed, *left])) == left


def test_the_search_finds_what_was_told(tmp_path):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "luthier.db").write_bytes(b"..." + DATA_CANARY.encode())
    (tmp_path / "home-log-1.txt").write_text(f"token {TOKEN_CANARY}")
    told = {"key": "lu-" + "k" * 43, "commands": ["luthier --key lu-" + "k" * 43]}
    assert len(secrets_in(tmp_path, told)) == 3

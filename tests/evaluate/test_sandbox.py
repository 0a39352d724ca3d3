"""The sandbox holds what runs in it: each test is an attempt to break out."""

from __future__ import annotations

import os
import sys
import textwrap
import time

import pytest

from luthier.evaluate.generation import sandbox
from luthier.evaluate.generation.sandbox import Limits, missing, run_python

pytestmark = pytest.mark.skipif(os.name != "posix", reason="the sandbox is made of POSIX limits")
needs_landlock = pytest.mark.skipif(
    any("Landlock" in sentence for sentence in missing()) if os.name == "posix" else True,
    reason="this kernel has no Landlock",
)
QUICK = Limits(seconds=3, cpu_seconds=2)


def run(code, limits=QUICK):
    return run_python(textwrap.dedent(code), limits)


def test_a_program_says_what_it_has_to_say():
    assert run("import json, math; print(json.dumps([math.floor(2.5)]))") == sandbox.SandboxResult(True, "[2]\n")


def test_a_failure_is_told_with_its_traceback():
    found = run("raise ValueError('no')")
    assert not found.ok
    assert "ValueError: no" in found.error
    assert not run("def broken(:").ok
    assert run("import sys; sys.exit(3)").error == "ended with status 3"


def test_a_long_program_arrives_whole():
    lines = "\n".join(f"x{i} = {i}" for i in range(20_000))
    assert run(lines + "\nprint(x19999)").stdout == "19999\n"


@pytest.mark.parametrize("code", ["while True: pass", "import time; time.sleep(60)"])
def test_what_does_not_end_is_ended(code):
    began = time.monotonic()
    found = run(code, Limits(seconds=1, cpu_seconds=5))
    assert found.error == "stopped after 1 seconds"
    assert time.monotonic() - began < 4


def test_cpu_time_is_limited():
    found = run("while True: pass", Limits(seconds=6, cpu_seconds=1))
    assert not found.ok
    assert "6 seconds" not in found.error


def test_a_child_that_leaves_the_group_does_not_outlive_it(tmp_path):
    """What holds the output open cannot keep the caller waiting either."""
    began = time.monotonic()
    found = run(
        """
        import os, time
        if os.fork() == 0:
            os.setsid()
            time.sleep(30)
        """,
        Limits(seconds=2, cpu_seconds=2),
    )
    assert time.monotonic() - began < 4
    assert found.stdout == ""


def test_a_fork_bomb_meets_its_limit():
    found = run(
        """
        import os, time
        made = 0
        try:
            for _ in range(500):
                if os.fork() == 0:
                    time.sleep(30)
                made += 1
        except OSError as error:
            print(made < 100, type(error).__name__)
        """
    )
    assert found.stdout == "True BlockingIOError\n"


def test_memory_is_limited():
    found = run("x = bytearray(2 * 1024 ** 3); print('got it')")
    assert not found.ok
    assert "MemoryError" in found.error
    assert found.stdout == ""


def test_a_flood_of_output_is_cut_off():
    began = time.monotonic()
    found = run("while True: print('x' * 1000)", Limits(seconds=5, output=10_000))
    assert not found.ok
    assert "10,000 bytes" in found.error
    assert len(found.stdout) <= 10_000
    assert time.monotonic() - began < 4
    assert "10,000 bytes" in run("import sys\nwhile True: sys.stderr.write('x' * 999)", Limits(output=10_000)).error


def test_the_environment_is_empty(monkeypatch):
    monkeypatch.setenv("LUTHIER_TEST_SECRET", "sesame")
    assert "sesame" not in run("import os; print(dict(os.environ))").stdout
    found = run(f"print(open('/proc/{os.getpid()}/environ').read())")
    assert "sesame" not in found.stdout
    assert not found.ok


@needs_landlock
def test_files_of_others_can_neither_be_read_nor_written(tmp_path):
    tmp_path.chmod(0o777)
    for folder in (tmp_path, *tmp_path.parents[:3]):
        if folder.stat().st_uid == os.getuid() and folder.name.startswith("pytest"):
            folder.chmod(0o777)
    secret = tmp_path / "secret.txt"
    secret.write_text("sesame")
    secret.chmod(0o666)
    assert "sesame" not in run(f"print(open({str(secret)!r}).read())").stdout
    assert not run(f"open({str(secret)!r}, 'w').write('gone')").ok
    assert not run(f"import os; os.remove({str(secret)!r})").ok
    assert not run(f"open({str(tmp_path / 'new.txt')!r}, 'w')").ok
    assert secret.read_text() == "sesame"
    assert [path.name for path in tmp_path.iterdir()] == ["secret.txt"]


@needs_landlock
def test_its_own_folder_is_writable_small_and_gone_afterwards():
    found = run(
        """
        import os
        with open("note.txt", "w") as handle:
            handle.write("here")
        print(open("note.txt").read(), os.getcwd())
        try:
            with open("large.bin", "wb") as handle:
                handle.write(bytes(64 * 1024 * 1024))
        except OSError:
            print("too large")
        """
    )
    first, second = found.stdout.splitlines()
    assert first.startswith("here ")
    assert second == "too large"
    assert not os.path.exists(first.split()[1])


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="network namespaces are Linux's")
def test_the_network_is_not_there():
    if any("network" in sentence for sentence in missing()):
        pytest.skip("this kernel allows no network namespace")
    found = run(
        """
        import socket
        try:
            socket.create_connection(("127.0.0.1", 22), timeout=1)
        except OSError as error:
            print(error.errno)
        print(socket.if_nameindex())
        """
    )
    assert "'lo'" in found.stdout
    assert "eth" not in found.stdout


def test_without_namespaces_the_limits_still_hold(monkeypatch):
    monkeypatch.setattr(sandbox, "_way", lambda: sandbox._Way())
    assert run("print(1)").stdout == "1\n"
    assert not run("while True: pass", Limits(seconds=1)).ok
    assert "network" in missing()[0]

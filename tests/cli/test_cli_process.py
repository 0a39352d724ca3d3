"""The command line as a process of its own: start-up, pipes, signals, allocator."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from luthier.cli import allocator
from luthier.cli.progress import BarView, LineView, duration


def start(*words, env=None, **options):
    full = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "LUTHIER_ALLOCATOR": "off", **(env or {})}
    return subprocess.run([sys.executable, "-m", "luthier", *words], capture_output=True, env=full, **options)


def test_help_and_version():
    run = start("--help")
    assert run.returncode == 0
    assert b"luthier VERB" in run.stdout
    assert start("--version").stdout.startswith(b"luthier 0.")


def test_a_reader_that_goes_away_is_no_traceback():
    command = f"{sys.executable} -m luthier models --json | true"
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    run = subprocess.run(["bash", "-c", command], capture_output=True, env=env)
    assert run.stderr == b""


def test_output_is_utf8_whatever_the_locale():
    run = start("tränieren", env={"LC_ALL": "C", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"})
    assert run.returncode == 2
    assert "tränieren".encode() in run.stderr or b"tr\\udc" in run.stderr


PRINT_ENV = (
    "import os, sys\n"
    "from luthier.cli import allocator\n"
    "allocator._is_glibc = lambda: True\n"
    "allocator._has_gpu = lambda: False\n"
    "allocator.restart('train')\n"
    "print(os.environ.get('MALLOC_MMAP_MAX_'), os.environ.get('LUTHIER_ALLOCATOR'), sys.argv[1:])\n"
)


@pytest.mark.skipif(sys.platform == "win32", reason="execve replaces no process there")
def test_a_computing_verb_starts_again_once_with_the_same_words():
    env = {name: value for name, value in os.environ.items() if name != allocator.SWITCH}
    env["PYTHONPATH"] = os.pathsep.join(sys.path)
    run = subprocess.run([sys.executable, "-c", PRINT_ENV, "a b", "c"], capture_output=True, text=True, env=env)
    assert run.stdout == "0 set ['a b', 'c']\n", run.stderr


@pytest.mark.parametrize(
    ("env", "glibc", "gpu", "restarts"),
    [
        ({}, True, False, True),
        ({}, False, False, False),
        ({}, True, True, False),
        ({"LUTHIER_ALLOCATOR": "off"}, True, False, False),
        ({"LUTHIER_ALLOCATOR": "set"}, True, False, False),
        ({"MALLOC_ARENA_MAX": "2"}, True, False, False),
        ({"LD_PRELOAD": "libjemalloc.so"}, True, False, False),
    ],
)
def test_when_it_starts_again(env, glibc, gpu, restarts):
    assert allocator.wanted(env, glibc=glibc, gpu=gpu) is restarts
    assert allocator.wanted(allocator.environment(env), glibc=glibc, gpu=gpu) is False


def test_other_verbs_never_start_again(monkeypatch):
    monkeypatch.delenv(allocator.SWITCH, raising=False)
    monkeypatch.setattr(os, "execve", lambda *args: pytest.fail("it started again"))
    for verb in ("check", "models", "runs", "doctor", "", "--help"):
        allocator.restart(verb)


def test_the_bar_shows_gates_steps_and_evaluations():
    import io

    from cli_events import events
    from rich.console import Console

    file = io.StringIO()
    view = BarView(Console(file=file, force_terminal=True, width=140, markup=False, highlight=False))
    for event in events():
        view(event)
    view.close()
    shown = file.getvalue()
    for part in (
        "longest batch first",
        "validation loss 0.600",
        "loss 1.234",
        "2:05 left",
        "trained in 12 s",
    ):
        assert part in shown


def test_lines_come_every_ten_seconds(monkeypatch, capsys):
    from cli_events import events

    from luthier.core import clock

    seconds = [0.0]
    monkeypatch.setattr(clock, "monotonic", lambda: seconds[0])
    view = LineView()
    step = next(event for event in events() if event.kind == "step")
    for _ in range(30):
        view(step)
        seconds[0] += 1.0
    assert capsys.readouterr().err.count("step 1/4") == 3


@pytest.mark.parametrize(("seconds", "shown"), [(0, "0:00"), (59.6, "1:00"), (125, "2:05"), (7390, "2:03:10")])
def test_durations(seconds, shown):
    assert duration(seconds) == shown

"""F11: signals to a real server and its workers at random times, also while they save and while a model is loaded."""

from __future__ import annotations

import contextlib
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import openai
import psutil
import pytest
from live import PATIENCE, Live
from test_kills import Round, called, disturbed

SEED = 20261126
JOBS = 2
STOPPED_SECONDS = 30.0
"""From the first signal to the end: a step, the save of it, and everything that is open."""
AT_ONCE_SECONDS = 5.0
KINDS = ("term", "int", "hup", "twice", "pause", "worker term", "worker pause")
MOMENTS = ("any", "save", "load")
ORDERLY = {"term": signal.SIGTERM, "int": signal.SIGINT, "hup": signal.SIGHUP}


class Signals:
    """Rounds of signals on one server with jobs that run."""

    def __init__(self, live: Live, chance: random.Random, sent: Counter[str]) -> None:
        self.live, self.chance, self.sent = live, chance, sent
        self.longest = 0.0

    def wait_for(self, moment: str) -> None:
        """Until then: some time, until a checkpoint is being written, or until a model is being loaded."""
        if moment == "save":
            until = time.monotonic() + 3.0
            while time.monotonic() < until and not list(self.live.home.glob("work/*/run/checkpoints/.tmp-luthier-*")):
                time.sleep(0.001)
        elif moment == "load":
            threading.Thread(target=self._ask, daemon=True).start()
            time.sleep(self.chance.uniform(0.0, 0.5))
        else:
            time.sleep(self.chance.uniform(0.0, 1.0))

    def _ask(self) -> None:
        """The engine of a server that has just begun loads the model for this."""
        client = self.live.client(max_retries=0, timeout=PATIENCE)
        with contextlib.suppress(openai.APIError):
            client.chat.completions.create(
                model="luthier-nano", messages=[{"role": "user", "content": "Hello"}], max_tokens=4
            )

    def send(self, kind: str, moment: str) -> None:
        self.wait_for(moment)
        self.sent[f"{kind}, {moment}"] += 1
        if kind in ORDERLY:
            self._stop(ORDERLY[kind])
        elif kind == "twice":
            self._stop_twice()
        else:
            processes = called(psutil.Process(self.live.process.pid).children(recursive=True), "fake_worker")
            if kind == "pause":
                processes = [psutil.Process(self.live.process.pid)]
            self._tell(processes, signal.SIGTERM if kind == "worker term" else None)

    def _stop(self, number: int) -> None:
        below = psutil.Process(self.live.process.pid).children(recursive=True)
        began = time.monotonic()
        assert self.live.stop(number) == 0
        took = time.monotonic() - began
        self.longest = max(self.longest, took)
        assert took < STOPPED_SECONDS
        assert psutil.wait_procs(below, timeout=1.0)[1] == [], "orphans"
        self.live.restart()

    def _stop_twice(self) -> None:
        below = psutil.Process(self.live.process.pid).children(recursive=True)
        self.live.process.send_signal(signal.SIGTERM)
        time.sleep(self.chance.uniform(0.0, 0.3))
        began = time.monotonic()
        self.live.process.send_signal(signal.SIGTERM)
        code = self.live.process.wait(PATIENCE)
        # 0, or killed: it had ended in order before the second came, and Python itself was ending.
        assert code in (0, 128 + signal.SIGTERM, -signal.SIGTERM), code
        assert time.monotonic() - began < AT_ONCE_SECONDS
        assert psutil.wait_procs(below, timeout=5.0)[1] == [], "orphans"
        self.live.restart()

    def _tell(self, processes: list[psutil.Process], number: int | None) -> None:
        """A signal; None: SIGSTOP, and SIGCONT after a while."""
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(number or signal.SIGSTOP)
        if number is None:
            time.sleep(self.chance.uniform(0.0, 1.5))
            for process in processes:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.send_signal(signal.SIGCONT)
        assert self.live.healthy()


def plan(chance: random.Random, count: int) -> list[tuple[str, str]]:
    """Every kind as often as every other, at moments that vary."""
    kinds = [KINDS[number % len(KINDS)] for number in range(count)]
    chance.shuffle(kinds)
    return [(kind, chance.choice(MOMENTS)) for kind in kinds]


SMALL = [("term", "save"), ("twice", "any"), ("hup", "load")]


def small(chance: random.Random) -> list[tuple[str, str]]:
    return SMALL


def large(chance: random.Random) -> list[tuple[str, str]]:
    return plan(chance, 50)


@pytest.mark.parametrize("made", [small, pytest.param(large, marks=pytest.mark.slow)])
def test_whatever_signal_comes_every_job_ends_once_with_the_same_weights(
    tmp_path: Path, made: Callable[[random.Random], list[tuple[str, str]]], capsys: pytest.CaptureFixture[str]
) -> None:
    chance = random.Random(SEED)
    began, sent = time.monotonic(), Counter[str]()
    with disturbed(tmp_path / "home", chance, lambda: f"seed {SEED}, after {dict(sent)}") as (live, watcher, expected):
        here = Signals(live, chance, sent)
        left = made(chance)
        accepted = 0
        while left:
            jobs = Round(live, watcher, chance)
            accepted_now = jobs.jobs(JOBS)
            accepted += JOBS
            for kind, moment in left[:4]:
                here.send(kind, moment)
            left = left[4:]
            jobs.until_over(accepted_now)
            for job in accepted_now:
                jobs.ended_well(job, expected)
    with capsys.disabled():
        words = ", ".join(f"{count} {what}" for what, count in sorted(here.sent.items()))
        took = f"longest end {here.longest:.1f} s; {time.monotonic() - began:.0f} s in all"
        print(f" [{words}; {accepted} jobs; {took}; seed {SEED}]", end="")

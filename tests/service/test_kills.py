"""F1a: any process of a real server is killed at any time; every accepted job ends once, with the same weights."""

from __future__ import annotations

import contextlib
import hashlib
import random
import sqlite3
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import openai
import psutil
import pytest
from live import PATIENCE, Live

sys.path.append(str(Path(__file__).resolve().parent.parent / "jobs"))

from workshop import orders

LAUNCHER = (str(Path(__file__).with_name("serve_with_fake.py")),)
SEED = 20261125
STEPS, JOBS, KILLS = 10, 3, 10
"""Steps of a job; jobs of a round; kills of a round."""
VICTIMS = ("worker", "engine", "server", "all")
CRASHES = 2
"""Workers that may be killed without a new checkpoint: the third in a row fails a job, as it should."""
TERMINAL = ("succeeded", "failed", "cancelled")


def called(processes: list[psutil.Process], name: str) -> list[psutil.Process]:
    """Those with `name` in their command line."""
    found = []
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            if name in " ".join(process.cmdline()):
                found.append(process)
    return found


class Watcher(threading.Thread):
    """A client that asks for every job all the time; `wrong` is what it should never have seen. It does not retry by
    itself: it asks again anyway, and it ends at once when it is told to."""

    def __init__(self, live: Live) -> None:
        super().__init__(daemon=True)
        self.client = live.client(max_retries=0, timeout=PATIENCE)
        self.jobs: list[str] = []
        self.seen: dict[str, str] = {}
        self.wrong: list[str] = []
        self.done = threading.Event()

    def run(self) -> None:
        while not self.done.wait(0.1):
            for job in list(self.jobs):
                try:
                    status = self.client.fine_tuning.jobs.retrieve(job).status
                except openai.APIConnectionError:
                    continue
                except openai.APIStatusError as error:
                    if error.status_code < 500:
                        self.wrong.append(f"{job}: {error}")
                    continue
                if self.seen.get(job) in TERMINAL and status != self.seen[job]:
                    self.wrong.append(f"{job} was {self.seen[job]} and is {status}")
                self.seen[job] = status


class Round:
    """Some jobs and kills on one server."""

    def __init__(self, live: Live, watcher: Watcher, chance: random.Random) -> None:
        self.live, self.watcher, self.chance = live, watcher, chance
        self.client = live.client(max_retries=20, timeout=PATIENCE)
        self.killed: Counter[str] = Counter()
        self.reached: set[str] = set()
        self.steps = self.crashes = 0

    def jobs(self, count: int) -> list[str]:
        """New jobs, accepted."""
        file = self.client.files.create(file=("train.jsonl", orders(seconds=0.1)), purpose="fine-tune")
        made = []
        for _ in range(count):
            job = self.client.fine_tuning.jobs.create(
                model="luthier-nano", training_file=file.id, seed=self.chance.randrange(1 << 30),
                method={"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 2}}},
            )  # fmt: skip
            made.append(job.id)
        self.watcher.jobs += made
        return made

    def kill(self, jobs: list[str]) -> None:
        """Kill one victim, or all; start the server again when it was one."""
        below = psutil.Process(self.live.process.pid).children(recursive=True)
        workers, engines = called(below, "fake_worker"), called(below, "luthier.serve.engine")
        victim = self.chance.choice(VICTIMS)
        if victim in ("worker", "all") and not self._may_crash(jobs):
            victim = "server"
        whom = {"worker": workers, "engine": engines, "server": [], "all": [*workers, *engines]}[victim]
        for process in whom:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        if victim in ("server", "all"):
            self.live.process.kill()
            self.live.process.wait()
            left = psutil.wait_procs(below, timeout=5.0)[1]
            assert left == [], "orphans"
            self.live.restart()
        self.killed[victim] += 1

    def _may_crash(self, jobs: list[str]) -> bool:
        """Whether the jobs have got further since the last crash, or another crash is one too few."""
        folders = (self.live.home / "work" / job / "run" / "checkpoints" for job in jobs)
        reached = {str(path) for folder in folders for path in folder.glob("step-*")}
        steps = sum(len(steps_of(self.events(job))) for job in jobs)
        if reached - self.reached and steps > self.steps:
            self.crashes = 0
        self.crashes += 1
        self.reached, self.steps = self.reached | reached, steps
        return self.crashes <= CRASHES

    def events(self, job: str) -> list[openai.types.fine_tuning.FineTuningJobEvent]:
        """All of them, oldest first."""
        return list(reversed(list(self.client.fine_tuning.jobs.list_events(job, limit=100))))

    def until_over(self, jobs: list[str]) -> None:
        """Wait for the end of each, as a client sees it."""
        until = time.monotonic() + PATIENCE * 2
        while any(self.client.fine_tuning.jobs.retrieve(job).status not in TERMINAL for job in jobs):
            assert time.monotonic() < until, [self.client.fine_tuning.jobs.retrieve(job).status for job in jobs]
            time.sleep(0.1)

    def ended_well(self, job: str, expected: dict[str, str]) -> None:
        """One end, every step once, the checkpoints, and the weights of a job that nothing happened to."""
        found, events = self.client.fine_tuning.jobs.retrieve(job), self.events(job)
        assert found.status == "succeeded", (found.error, [event.message for event in events])
        assert steps_of(events) == list(range(1, STEPS + 1))
        messages = [event.message for event in events]
        assert messages.count("The job has successfully completed") == 1
        assert messages[-1] == "The job has successfully completed"
        assert [text for text in messages if text.startswith("Checkpoint")] == [
            "Checkpoint created at step 5", "Checkpoint created at step 10"
        ]  # fmt: skip
        assert len({event.id for event in events}) == len(events)
        assert weights_of(self.live, job) == expected


def steps_of(events: list[openai.types.fine_tuning.FineTuningJobEvent]) -> list[int]:
    return [event.data["step"] for event in events if event.type == "metrics"]  # type: ignore[index]


def weights_of(live: Live, job: str) -> dict[str, str]:
    """The sha256 of each file of weights of the job's models."""
    folder = live.home / "artefacts" / "models" / job
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*.safetensors"))
    }


@contextlib.contextmanager
def disturbed(
    home: Path, chance: random.Random, told: Callable[[], str]
) -> Iterator[tuple[Live, Watcher, dict[str, str]]]:
    """A server, who watches it, and the weights of a job that nobody disturbs. At the end nothing is broken or left
    over; `told` says of a failure how to see it again."""
    live = Live(home, program=LAUNCHER).start()
    watcher = Watcher(live)
    watcher.start()
    try:
        first = Round(live, watcher, chance)
        [undisturbed] = first.jobs(1)
        first.until_over([undisturbed])
        expected = weights_of(live, undisturbed)
        assert expected
        first.ended_well(undisturbed, expected)
        yield live, watcher, expected
        assert watcher.wrong == []
        assert live.stop() == 0
        with contextlib.closing(sqlite3.connect(live.home / "luthier.db")) as database:
            assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert [str(path) for path in live.home.rglob(".tmp-luthier-*")] == []
    except BaseException as error:
        error.add_note(told())
        raise
    finally:
        watcher.done.set()
        live.stop()
        watcher.join(PATIENCE)


@pytest.mark.parametrize("kills", [20, pytest.param(200, marks=pytest.mark.slow)])
def test_whatever_is_killed_every_job_ends_once_with_the_same_weights(tmp_path, kills, capsys):
    chance = random.Random(SEED + kills)
    began, killed, accepted = time.monotonic(), Counter[str](), 0

    def told() -> str:
        return f"seed {SEED + kills}, after {killed.total()} kills: {dict(killed)}"

    with disturbed(tmp_path / "home", chance, told) as (live, watcher, expected):
        while killed.total() < kills:
            here = Round(live, watcher, chance)
            jobs = here.jobs(JOBS)
            accepted += len(jobs)
            for _ in range(min(KILLS, kills - killed.total())):
                time.sleep(chance.uniform(0.0, 1.0))
                here.kill(jobs)
            here.until_over(jobs)
            for job in jobs:
                here.ended_well(job, expected)
            killed += here.killed
    with capsys.disabled():
        words = ", ".join(f"{count} {victim}" for victim, count in sorted(killed.items()))
        print(f" [{words}; {accepted} jobs; {time.monotonic() - began:.0f} s; seed {SEED + kills}]", end="")

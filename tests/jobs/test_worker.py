"""The pipeline of one job with real training, and a real worker that is killed."""

from __future__ import annotations

import contextlib
import json
import math
import os
import random
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from workshop import Workshop, as_lines, conversations, steps_of

from luthier.core import clock
from luthier.core.errors import DataError, Interrupted, ModelError, TrainingError
from luthier.core.events import Event
from luthier.core.generation import Sampling
from luthier.jobs import pipeline
from luthier.jobs.artefacts import sha256_of
from luthier.jobs.wording import without_terminal
from luthier.jobs.worker import _described
from luthier.jobs.worker_wire import Assignment, to_line

sys.path.insert(0, str(Path(__file__).parents[1] / "models"))  # the tiny bases
from tiny_bases import save_base
from tiny_causal import tiny_causal

REAL = ("-m", "luthier.jobs.worker")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_causal(tmp_path_factory.mktemp("bases") / "tiny-llama")


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LUTHIER_CACHE", str(tmp_path / "cache" / "trunk"))


def rows_file(folder: Path) -> Path:
    path = folder / "train.jsonl"
    path.write_bytes(as_lines(conversations(12)))
    return path


def assignment(folder: Path, base: Path | str, data: Path, **changes: Any) -> Assignment:
    folder.mkdir(exist_ok=True)
    recipe = {
        "model": str(base), "task": changes.pop("task", "chat"),
        "data": {"train": str(data), "validation": changes.pop("validation", 0.25)},
        "method": changes.pop("method", {"kind": "lora", "rank": 4}),
        "train": {"epochs": 3, "batch_size": 4, "patience": 0, "seed": 7, **changes.pop("train", {})},
        "evaluate": {"samples": 0, "generate_rows": 1, "max_tokens": 4, "baselines": [], "bootstrap": 100},
        "head": changes.pop("head", {}), "out": str(folder),
    }  # fmt: skip
    return Assignment(
        "ftjob-x", 1, recipe, str(folder / "run"), str(folder / "lock"), str(folder / "scratch"),
        {str(data): sha256_of(data)}, **changes,
    )  # fmt: skip


class Heard:
    """A listener that remembers, and may do something at a step."""

    def __init__(self, at: int = 0, action: Any = None) -> None:
        self.events: list[Event] = []
        self._at, self._action = at, action

    def __call__(self, event: Event) -> None:
        to_line(event.to_dict())
        self.events.append(event)
        if event.kind == "step" and event.data["step"] == self._at:
            self._action()

    def losses(self) -> list[float]:
        return [event.data["loss"] for event in self.events if event.kind == "step"]

    def kinds(self) -> list[str]:
        return [event.kind for event in self.events]


def weights(result: dict[str, Any]) -> list[str]:
    folders = [Path(result["model"]), *(Path(folder) for _, folder in sorted(result["epochs"].items()))]
    return [sha256_of(path) for folder in folders for path in sorted(folder.rglob("*.safetensors"))]


@pytest.mark.usefixtures("cache")
def test_a_conversation_job_gives_its_model_and_its_last_epochs(base, tmp_path):
    heard = Heard()
    result = pipeline.run_job(assignment(tmp_path / "a", base, rows_file(tmp_path)), heard)
    assert sorted(result["epochs"]) == ["3", "6", "9"]
    assert (result["steps"], result["task"]) == (9, "chat")
    assert result["trained_tokens"] > 0
    assert all((Path(folder) / "luthier.json").is_file() for folder in (result["model"], *result["epochs"].values()))
    kinds = heard.kinds()
    for index, kind in enumerate(kinds):
        if kind == "checkpoint":
            assert "saving" in kinds[:index]
    assert kinds.count("saving") == kinds.count("checkpoint") == 3
    evaluations = [event.data for event in heard.events if event.kind == "evaluation"]
    assert all(0 <= data["validation_accuracy"] <= 1 for data in evaluations)
    from luthier import api

    for folder in (result["model"], result["epochs"]["3"]):
        assert isinstance(api.load(folder).generate(["Hello"], Sampling(max_tokens=3))[0].text, str)  # type: ignore[attr-defined]


@pytest.mark.usefixtures("cache")
def test_a_stopped_job_goes_on_to_the_same_weights(base, tmp_path):
    data = rows_file(tmp_path)
    whole = weights(pipeline.run_job(assignment(tmp_path / "whole", base, data), Heard()))
    cut = assignment(tmp_path / "cut", base, data)
    for step in (1, 3, 7):
        with pytest.raises(Interrupted):
            pipeline.run_job(cut, Heard(step, lambda: signal.raise_signal(signal.SIGTERM)))
    heard = Heard()
    result = pipeline.run_job(cut, heard)
    assert weights(result) == whole
    assert [event.data["step"] for event in heard.events if event.kind == "step"] == [8, 9]
    again = [event.data["step"] for event in heard.events if event.kind == "checkpoint" and event.data.get("again")]
    assert again == [6], "checkpoints that a dead worker may not have told of"
    late = Heard()
    assert weights(pipeline.run_job(cut, late)) == whole, "a finished run is not trained again"
    assert late.kinds() == ["checkpoint"] * len(late.events)
    assert 9 in [event.data["step"] for event in late.events], "the last one may not have been told of either"


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize(
    "child", ["same", *(pytest.param(n, marks=pytest.mark.slow) for n in ("another rank", "full"))]
)
def test_training_goes_on_from_the_weights_of_a_tuned_model(base, tmp_path, child):
    data = rows_file(tmp_path)
    fast = {"epochs": 20, "learning_rate": 0.02}
    first = Heard()
    parent = pipeline.run_job(assignment(tmp_path / "parent", base, data, validation=0.0, train=fast), first)
    method = {
        "same": {"kind": "lora", "rank": 4},
        "another rank": {"kind": "lora", "rank": 2},
        "full": {"kind": "full"},
    }
    second = Heard()
    job = assignment(
        tmp_path / "child", base, data, parent=parent["model"], method=method[child],
        train={"learning_rate": 0.001}, validation=0.0,
    )  # fmt: skip
    result = pipeline.run_job(job, second)
    start, end = first.losses()[0], first.losses()[-1]
    assert end < 0.9 * start, "the parent has learned"
    assert second.losses()[0] < start - 0.7 * (start - end), "the child begins where the parent ended"
    settings = json.loads((Path(result["model"]) / "luthier.json").read_text())
    assert settings["layout"] == ("peft" if child == "same" else "transformers")
    gentle = {"validation": 0.0, "train": {"epochs": 1, "learning_rate": 0.001}}
    grandchild = assignment(tmp_path / "grandchild", base, data, parent=result["model"], **gentle)
    third = Heard()
    last = pipeline.run_job(grandchild, third)
    assert third.losses()[0] < start - 0.6 * (start - end)
    for scratch in (tmp_path / "parent", tmp_path / "child"):  # what it was built on may be deleted
        scratch.rename(scratch.with_name(f"{scratch.name}-gone"))
    from luthier import api

    api.load(last["model"])


@pytest.mark.usefixtures("cache")
def test_a_method_that_cannot_go_on_is_told(base, tmp_path):
    data = rows_file(tmp_path)
    parent = pipeline.run_job(assignment(tmp_path / "parent", base, data, train={"epochs": 1}), Heard())
    job = assignment(tmp_path / "child", base, data, parent=parent["model"], method={"kind": "prefix"})
    with pytest.raises(ModelError) as caught:
        pipeline.run_job(job, Heard())
    assert caught.value.code == "cannot_continue"


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize(
    ("task", "row"),
    [
        ("classify", lambda n: {"text": f"row {n} is {('bad', 'fine')[n % 2]}", "label": ("no", "yes")[n % 2]}),
        ("regress", lambda n: {"text": f"row number {n}", "score": n / 10}),
        ("extract", lambda n: {"text": f"send {n + 10}", "spans": [{"start": 5, "end": 7, "label": "N"}]}),
    ],
)  # fmt: skip
def test_every_task_goes_the_same_way(tmp_path, task, row):
    base = save_base("bert", tmp_path / "bert")
    data = tmp_path / "rows.jsonl"
    data.write_bytes(as_lines([row(number) for number in range(40)]))
    job = assignment(tmp_path / "a", base, data, task=task, method={"kind": "full"}, train={"epochs": 2})
    result = pipeline.run_job(job, Heard())
    assert result["task"] == task
    assert len(result["epochs"]) == 2
    assert result["metrics"]
    from luthier import api

    assert len(api.load(result["epochs"][max(result["epochs"])]).predict(["row 3 is fine"])) == 1


@pytest.mark.usefixtures("cache")
def test_a_classifier_goes_on_with_its_head(tmp_path):
    base = save_base("bert", tmp_path / "bert")
    data = tmp_path / "rows.jsonl"
    data.write_bytes(as_lines([{"text": ("bad", "fine")[n % 2], "label": ("no", "yes")[n % 2]} for n in range(40)]))
    fast = {"epochs": 12, "learning_rate": 0.02}
    common: dict[str, Any] = {"task": "classify", "validation": 0.0, "head": {"pooling": "mean"}}
    first, second = Heard(), Heard()
    parent = pipeline.run_job(assignment(tmp_path / "parent", base, data, train=fast, **common), first)
    child = assignment(tmp_path / "child", base, data, parent=parent["model"], **common)
    pipeline.run_job(child, second)
    assert first.losses()[-1] < 0.3 * first.losses()[0]
    assert second.losses()[0] < 0.5 * first.losses()[0]


def test_a_changed_file_is_refused(base, tmp_path):
    data = rows_file(tmp_path)
    job = assignment(tmp_path / "a", base, data)
    data.write_bytes(data.read_bytes() + b"\n")
    with pytest.raises(DataError) as caught:
        pipeline.run_job(job, Heard())
    assert caught.value.code == "file_changed"


@pytest.mark.usefixtures("cache")
def test_checkpoints_come_by_the_clock_and_change_nothing(base, tmp_path):
    data = rows_file(tmp_path)
    plain = pipeline.run_job(assignment(tmp_path / "plain", base, data), Heard())
    heard = Heard(action=None)
    often = pipeline.run_job(assignment(tmp_path / "often", base, data, save_every_seconds=0.0001), heard)
    assert heard.kinds().count("checkpoint") >= 3
    assert weights(often) == weights(plain)


@pytest.mark.usefixtures("cache")
def test_the_rate_multiplier_multiplies_the_automatic_rate(base, tmp_path):
    data = rows_file(tmp_path)
    rates = []
    for factor in (1.0, 0.5):
        heard = Heard()
        train = {"epochs": 1, "learning_rate_multiplier": factor}
        pipeline.run_job(assignment(tmp_path / str(factor), base, data, train=train), heard)
        rates.append([event.data["learning_rate"] for event in heard.events if event.kind == "step"])
    assert rates[1] == pytest.approx([0.5 * rate for rate in rates[0]])


@pytest.mark.usefixtures("cache")
def test_a_training_that_diverges_fails_with_its_code(base, tmp_path, monkeypatch):
    from luthier.train.optimizer import Optimizer

    def diverge() -> None:
        monkeypatch.setattr(Optimizer, "step", lambda self, factor: math.nan)

    with pytest.raises(TrainingError) as caught:
        pipeline.run_job(assignment(tmp_path / "a", base, rows_file(tmp_path)), Heard(2, diverge))
    described = _described(caught.value)
    assert (described["cause"], described["code"]) == ("user", "nonfinite_loss")
    assert str(caught.value).isascii()


def test_what_went_wrong_is_told_by_its_cause():
    def cause(error: Exception) -> str:
        return str(_described(error)["cause"])

    assert cause(MemoryError()) == "memory"
    assert cause(RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes")) == "memory"
    assert cause(OSError(28, "No space left on device")) == "internal"  # not while writing: durable tells it
    assert cause(RuntimeError("I/O error: No space left on device (os error 28)")) == "disk"
    assert cause(ModelError("x", code="y")) == "user"
    secret = _described(ValueError("the customer's row"))
    assert (secret["cause"], secret["message"]) == ("internal", "ValueError")


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    home = tmp_path_factory.mktemp("home")
    (home / "models").mkdir()
    tiny_causal(home / "models" / "tiny-llama")
    workshop = Workshop(home, program=REAL)
    yield workshop
    workshop.close()


def real_job(workshop: Workshop) -> Any:
    stored = workshop.upload(as_lines(conversations(12)))
    recipe = {
        "model": "tiny-llama", "task": "chat", "data": {"train": stored.id, "validation": 0.25},
        "method": {"kind": "lora", "rank": 4},
        "train": {"epochs": 8, "batch_size": 2, "patience": 0, "seed": 7, "save_every_steps": 2},
        "evaluate": {"samples": 0, "generate_rows": 1, "max_tokens": 4, "baselines": [], "bootstrap": 100},
    }  # fmt: skip
    return workshop.create(stored, recipe=recipe)


@pytest.mark.parametrize("times", [0, *(pytest.param(times, marks=pytest.mark.slow) for times in (3, 20))])
def test_real_workers_killed_at_random_end_with_the_same_weights(workshop, times):
    whole = real_job(workshop)
    workshop.until_status(whole, "running")
    began = clock.monotonic()
    assert workshop.until_status(whole, "succeeded").error is None
    lasts = clock.monotonic() - began
    steps = steps_of(workshop.events(whole))
    assert steps == list(range(1, len(steps) + 1))
    chance = random.Random(times)
    for number in range(times):
        job = real_job(workshop)
        worker, wait = workshop.worker(job), chance.uniform(0.3, 1.0) * lasts
        time.sleep(wait)
        with contextlib.suppress(ProcessLookupError):
            os.kill(worker, signal.SIGKILL)
        assert workshop.until_status(job, "succeeded").error is None
        told = f"kill {number}, after {wait:.3f} s of {lasts:.3f}"
        assert workshop.weights(job) == workshop.weights(whole), told
        assert steps_of(workshop.events(job)) == steps, told
        workshop.until_gone(workshop.home / "work" / job.id)
        assert workshop.leftovers() == [], told


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("Lower train.learning_rate, and look for extreme values in the data (luthier check).",
         "Lower train.learning_rate, and look for extreme values in the data."),
        ("Give more time (--budget), or mend what the trials failed of.",
         "Give more time, or mend what the trials failed of."),
        ("exit code 3 Mend that, then go on with: luthier search --resume /a home/of/jobs",
         "exit code 3 Mend that, then begin again."),
    ],
)  # fmt: skip
def test_a_job_tells_remedies_without_commands(said: str, told: str) -> None:
    assert without_terminal(said) == told

"""A finished job that is trained further: the same as a run that goes on, killed or not."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from workshop import FAKE, Workshop, as_lines, conversations, orders, steps_of

from luthier import api
from luthier.core.errors import Interrupted
from luthier.core.events import Event
from luthier.core.rundir import RunDir
from luthier.jobs import pipeline, run_state
from luthier.jobs.artefacts import sha256_of
from luthier.jobs.worker_wire import Assignment

sys.path.insert(0, str(Path(__file__).parents[1] / "models"))  # the tiny bases
from tiny_causal import tiny_causal


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_causal(tmp_path_factory.mktemp("bases") / "tiny-llama")


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LUTHIER_CACHE", str(tmp_path / "cache" / "trunk"))
    path = tmp_path / "train.jsonl"
    path.write_bytes(as_lines(conversations(12)))
    return path


def assignment(folder: Path, base: Path, data: Path, epochs: int, **changes: Any) -> Assignment:
    folder.mkdir(exist_ok=True)
    recipe = {
        "model": str(base), "task": "chat", "data": {"train": str(data), "validation": 0.25},
        "method": {"kind": "lora", "rank": 4}, "train": {"epochs": epochs, "patience": 0, "seed": 7},
        "evaluate": {"samples": 1, "generate_rows": 1, "max_tokens": 4, "baselines": [], "bootstrap": 100},
        "out": str(folder),
    }  # fmt: skip
    return Assignment(
        "ftjob-x", 1, recipe, str(folder / "run"), str(folder / "lock"), str(folder / "scratch"),
        {str(data): sha256_of(data)}, **changes,
    )  # fmt: skip


def weights(model: str | Path) -> list[str]:
    return [sha256_of(path) for path in sorted(Path(model).rglob("*.safetensors"))]


def test_it_goes_on_as_the_run_itself_would(base: Path, data: Path, tmp_path: Path) -> None:
    first = pipeline.run_job(assignment(tmp_path / "first", base, data, 2), lambda event: None)
    assert first["trained_epochs"] == 2
    state = tmp_path / "state"
    assert run_state.gather_state(RunDir(tmp_path / "first" / "run"), state)
    kept = sorted(path.name for path in (state / "checkpoints").iterdir())
    before = {path: sha256_of(path) for path in state.rglob("*") if path.is_file()}
    wanted = api.resume(tmp_path / "first" / "run", overrides=["train.epochs=4", "train.patience=0"])

    moved = tmp_path / "other" / "train.jsonl"
    moved.parent.mkdir()
    moved.write_bytes(data.read_bytes())
    heard: list[Event] = []

    def killed(event: Event) -> None:
        heard.append(event)
        if event.kind == "step" and event.data["epoch"] == 4:
            signal.raise_signal(signal.SIGTERM)

    further = assignment(tmp_path / "second", base, moved, 4, state=str(state))
    with pytest.raises(Interrupted):
        pipeline.run_job(further, killed)
    found = pipeline.run_job(further, heard.append)
    assert weights(found["model"]) == weights(wanted.path / "model")
    assert found["trained_epochs"] == 4
    steps = [event.data["step"] for event in heard if event.kind == "step"]
    assert steps == list(range(first["steps"] + 1, found["steps"] + 1)), "nothing is trained twice"
    assert {path: sha256_of(path) for path in state.rglob("*") if path.is_file()} == before
    assert len(kept) <= 2


def test_a_state_that_is_too_large_is_not_kept(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = RunDir(tmp_path / "run")
    assert not run_state.gather_state(run, tmp_path / "state")
    (run.checkpoint(1)).mkdir(parents=True)
    (run.checkpoint(1) / "state.json").write_text("{}")
    run.recipe_yaml.write_text("task: chat\n")
    assert run_state.gather_state(run, tmp_path / "state")
    monkeypatch.setattr(run_state, "MOST_BYTES", 1)
    assert not run_state.gather_state(run, tmp_path / "large")
    assert not (tmp_path / "large").exists()


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    workshop = Workshop(tmp_path_factory.mktemp("home"), program=FAKE)
    yield workshop
    workshop.close()


def test_the_supervisor_hands_the_state_on(workshop: Workshop) -> None:
    file = workshop.upload(orders())
    first = workshop.until_status(workshop.create(file), "succeeded")
    assert first.result["state"] is True
    origin = {"job": first.id, "epochs": 2, "step": first.step, "continues": "state"}
    second = workshop.create(file, train={"epochs": 3}, result={"origin": origin})
    done = workshop.until_status(second, "succeeded")
    assert steps_of(workshop.events(done)) == list(range(11, 16))
    assert (done.step, done.total_steps) == (15, 15)
    assert done.result["origin"] == origin
    assert done.fine_tuned_model != first.fine_tuned_model


def test_a_state_that_is_gone_fails_the_job(workshop: Workshop) -> None:
    file = workshop.upload(orders())
    origin = {"job": "ftjob-gone", "epochs": 2, "step": 1, "continues": "state"}
    failed = workshop.until_status(workshop.create(file, result={"origin": origin}), "failed")
    assert failed.error is not None
    assert failed.error["code"] == "file_missing"
    assert replace(failed, result={}).status == "failed"

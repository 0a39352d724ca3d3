"""Killed and resumed equals uninterrupted, bit for bit; damage falls back; other data is refused."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from toy import Crash, TrainToy, equal, rows, state, write

from luthier.core.errors import Interrupted, TrainingError
from luthier.core.events import Event
from luthier.core.rundir import RunDir
from luthier.train.checkpoint import newest_checkpoint

METHODS: dict[str, dict[str, Any]] = {
    "full": {"kind": "full"},
    "lora": {"kind": "lora", "rank": 4},
    "adapter": {"kind": "adapter", "bottleneck": 4},
    "head": {"kind": "head"},
}


def metrics(run: RunDir) -> list[dict[str, Any]]:
    """metrics.jsonl without what a clock wrote."""
    timed = ("created_at", "tokens_per_second", "rows_per_second", "seconds_left")
    return [{k: v for k, v in line.items() if k not in timed} for line in run.metrics()]


@pytest.mark.parametrize(
    ("method", "crash_after", "every"),
    [("full", 2, 0), ("full", 4, 0), ("full", 5, 2), ("lora", 5, 2), ("adapter", 5, 0), ("head", 4, 1)],
)
def test_crashed_and_resumed_is_uninterrupted(toy: TrainToy, method: str, crash_after: int, every: int) -> None:
    recipe = toy.recipe(**{"method": METHODS[method], "train.epochs": 3, "train.save_every_steps": every})
    whole = toy.train(recipe)
    assert whole.runner.forward.vocabulary is None
    folder = toy.folder / "crashed"
    with pytest.raises(Crash):
        toy.train(recipe, folder, crash_after=crash_after)
    again = toy.train(recipe, folder, resume=True)
    assert equal(state(whole), state(again))
    assert whole.progress.history == again.progress.history
    assert metrics(whole.run) == metrics(again.run)
    assert ("Going on from step" in toy.messages()) == (crash_after > 3 or every > 0)


def test_used_words_really_were_in_play(toy: TrainToy) -> None:
    """The resume tests of `full` go through the used-vocabulary embedding."""
    folder = toy.folder / "stopped"
    found: list[Any] = []
    with pytest.raises(Crash):
        toy.train(toy.recipe(), folder, crash_after=4)
    found = [newest_checkpoint(RunDir(folder), identity) for identity in [_identity(folder)]]
    assert found[0] is not None
    progress, _, moments = found[0]
    assert 0 < progress.decayed < 1
    words = next(tensor for name, tensor in moments.items() if name.endswith("word_embeddings.weight"))
    assert words.dim() == 0 or len(words) < 100


def _identity(folder: Path) -> str:
    newest = RunDir(folder).checkpoint(RunDir(folder).steps()[-1])
    identity: str = json.loads((newest / "state.json").read_text())["identity"]
    return identity


_SCRIPT = """
import os, signal, sys
from pathlib import Path
from luthier.core.recipe import Recipe
from luthier.core.rundir import RunDir
from luthier.evaluate.scorers import scorer_for
from luthier.train.run import train

recipe, run, number, step = Recipe.from_yaml(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])

def hear(event):
    if event.kind == "step" and event.data["step"] == step:
        os.kill(os.getpid(), number)

try:
    train(recipe, RunDir(run), scorer_for=scorer_for, listener=hear, preflight=False)
except BaseException as error:
    print(type(error).__name__, getattr(error, "code", ""))
"""


@pytest.mark.parametrize(("number", "method"), [(signal.SIGKILL, "full"), (signal.SIGTERM, "lora")])
def test_a_process_killed_for_real(toy: TrainToy, repo: Path, number: int, method: str) -> None:
    step = random.randint(1, 8)  # pytest-randomly seeds it and prints the seed
    recipe = toy.recipe(**{"method": METHODS[method], "train.epochs": 3, "train.save_every_steps": 2})
    whole = toy.train(recipe)
    written = toy.folder / "recipe.yaml"
    written.write_text(recipe.to_yaml())
    folder = toy.folder / "killed"
    folder.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(repo / "src")}
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT, str(written), str(folder), str(int(number)), str(step)],
        env=environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    if number == signal.SIGKILL:
        assert done.returncode == -signal.SIGKILL, done.stderr
    else:
        assert done.stdout.strip() == "Interrupted interrupted", done.stdout + done.stderr
        assert RunDir(folder).steps()[-1] == step, "SIGTERM saves within the step"
        assert RunDir(folder).status == "interrupted"
    again = toy.train(recipe, folder, resume=True)
    assert equal(state(whole), state(again)), f"killed after step {step}"
    assert metrics(whole.run) == metrics(again.run)


def test_a_stop_is_asked_between_steps(toy: TrainToy) -> None:
    """Ctrl-C in this very process: saved after the step, the handlers are put back."""
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)

    def hear(event: Event) -> None:
        if event.kind == "step" and event.data["step"] == 3:
            os.kill(os.getpid(), signal.SIGINT)

    folder = toy.folder / "stopped"
    with pytest.raises(Interrupted) as caught:
        toy.train(toy.recipe(), folder, listener=hear)
    assert str(folder) in caught.value.remedy
    assert RunDir(folder).steps() == [3]
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
    assert equal(state(toy.train(toy.recipe(), folder, resume=True)), state(toy.train(toy.recipe())))


def test_more_epochs_go_on_from_the_end(toy: TrainToy) -> None:
    recipe = toy.recipe(**{"train.schedule": "constant", "train.warmup": 0.0, "train.patience": 0})
    folder = toy.folder / "grown"
    toy.train(recipe, folder)
    unchanged = toy.train(recipe, folder, resume=True)
    assert unchanged.progress.step == 6
    longer = recipe.replace(**{"train.epochs": 4})
    grown = toy.train(longer, folder, resume=True)
    assert (grown.progress.epoch, grown.progress.step) == (4, 12)
    # with a constant rate the plan is the same, so it equals a run of four epochs from the start
    whole = toy.train(longer)
    assert equal(state(whole), state(grown))
    assert metrics_losses(whole.run) == metrics_losses(grown.run)


def metrics_losses(run: RunDir) -> list[tuple[Any, ...]]:
    return [(line["kind"], line["step"], line.get("loss")) for line in run.metrics()]


def _damage(folder: Path, how: str) -> None:
    target = folder / "model.safetensors"
    data = target.read_bytes()
    if how == "truncated":
        target.write_bytes(data[: len(data) // 2])
    elif how == "bit":
        middle = len(data) // 2
        target.write_bytes(data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :])
    elif how == "missing":
        (folder / "optimizer.safetensors").unlink()
    elif how == "no state":
        (folder / "state.json").unlink()
    elif how == "torn state":
        (folder / "state.json").write_text('{"progress": {"step"')
    else:
        (folder / "state.json").write_text("[]")


@pytest.mark.parametrize("how", ["truncated", "bit", "missing", "no state", "torn state", "other state"])
def test_a_damaged_checkpoint_falls_back(toy: TrainToy, how: str) -> None:
    recipe = toy.recipe(method={"kind": "head"}, **{"train.save_every_steps": 1})
    whole = toy.train(recipe)
    folder = toy.folder / "damaged"
    with pytest.raises(Crash):
        toy.train(recipe, folder, crash_after=6)
    run = RunDir(folder)
    assert run.steps()[-2:] == [4, 5]
    _damage(run.checkpoint(5), how)
    again = toy.train(recipe, folder, resume=True)
    assert "Going on from step 4" in toy.messages()
    assert equal(state(whole), state(again))


def test_all_checkpoints_damaged_begins_anew(toy: TrainToy) -> None:
    recipe = toy.recipe(method={"kind": "head"}, **{"train.save_every_steps": 1})
    folder = toy.folder / "damaged"
    with pytest.raises(Crash):
        toy.train(recipe, folder, crash_after=4)
    for step in RunDir(folder).steps():
        _damage(RunDir(folder).checkpoint(step), "truncated")
    again = toy.train(recipe, folder, resume=True)
    assert "no whole checkpoint" in toy.messages()
    whole = toy.train(recipe)
    assert equal(state(whole), state(again))
    assert metrics(whole.run) == metrics(again.run)


def test_a_half_written_checkpoint_is_swept(toy: TrainToy) -> None:
    folder = toy.folder / "run"
    with pytest.raises(Crash):
        toy.train(toy.recipe(), folder, crash_after=4)
    torn = folder / "checkpoints" / ".tmp-luthier-step-000004-x"
    torn.mkdir()
    (torn / "model.safetensors").write_bytes(b"half")
    toy.train(toy.recipe(), folder, resume=True)
    assert not torn.exists()


@pytest.mark.parametrize(
    "changes", [{"method": {"kind": "lora"}}, {"train.seed": 1}, {"train.batch_size": 4}, {"freeze.layers": 1}]
)
def test_a_checkpoint_of_another_recipe_is_refused(toy: TrainToy, changes: dict[str, Any]) -> None:
    folder = toy.folder / "run"
    toy.train(toy.recipe(), folder)
    with pytest.raises(TrainingError) as caught:
        toy.train(toy.recipe(**changes), folder, resume=True)
    assert caught.value.code == "checkpoint_of_other_run"


def test_a_checkpoint_of_other_data_is_refused(toy: TrainToy) -> None:
    folder, recipe = toy.folder / "run", toy.recipe()
    toy.train(recipe, folder)
    write(Path(str(recipe.data.train)), rows("classify", 24, seed=9))
    with pytest.raises(TrainingError) as caught:
        toy.train(recipe, folder, resume=True)
    assert caught.value.code == "checkpoint_of_other_run"
    assert caught.value.remedy


def test_the_newest_two_and_the_best_are_kept(toy: TrainToy) -> None:
    recipe = toy.recipe(**{"train.epochs": 5, "train.patience": 0, "train.save_every_steps": 1})
    seen: list[tuple[list[int], int]] = []

    def hear(event: Event) -> None:
        if event.kind == "checkpoint":
            run = RunDir(Path(event.data["path"]).parent.parent)
            best = json.loads((run.checkpoint(event.data["step"]) / "state.json").read_text())["progress"]["best_step"]
            seen.append((run.steps(), best))

    trained = toy.train(recipe, listener=hear)
    assert len(seen) == 15
    for index, (steps, best) in enumerate(seen):
        newest = list(range(max(1, index), index + 2))
        assert steps == sorted({*newest, *([best] if best else [])})
    assert trained.progress.best_step in trained.run.steps()


def test_a_lost_best_checkpoint_is_an_error(toy: TrainToy) -> None:
    recipe = toy.recipe(**{"train.learning_rate": 1e-12, "train.head_learning_rate": 1e-12, "train.epochs": 4,
                           "train.patience": 0})  # fmt: skip
    folder = toy.folder / "run"
    trained = toy.train(recipe, folder)
    assert trained.progress.best_step < 9, "nothing got better, so the best is an old one"
    _damage(trained.run.checkpoint(trained.progress.best_step), "bit")
    with pytest.raises(TrainingError) as caught:
        toy.train(recipe, folder, resume=True)
    assert caught.value.code == "best_checkpoint_lost"

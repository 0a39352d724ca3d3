"""Trials on the workbench: equal to `luthier.train`, resumable anywhere, and honest when they fail."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from toy import TrainToy, equal, losses

from luthier.core.errors import Interrupted, RecipeError, TrainingError
from luthier.core.events import Event
from luthier.core.rundir import RunDir
from luthier.searching import workbench as module
from luthier.searching.workbench import Rung, Workbench, default_workers
from luthier.train import loop
from luthier.train.checkpoint import OPTIMIZER, Progress, load_checkpoint
from luthier.train.validate import Judgement, Validator

LORA: dict[str, Any] = {"method": {"kind": "lora", "rank": 4}, "train.epochs": 3, "train.patience": 0}


def _newest(folder: Path) -> Any:
    import json

    newest = RunDir(folder).checkpoint(RunDir(folder).steps()[-1])
    found = load_checkpoint(newest, json.loads((newest / "state.json").read_text())["identity"])
    assert found is not None
    return found


def test_a_trial_is_the_run_of_its_recipe(toy: TrainToy) -> None:
    recipe = toy.recipe(**LORA)
    bench = Workbench(recipe)
    other = bench.open(recipe.replace(**{"train.learning_rate": 1e-2, "method.rank": 2}), toy.folder / "t0")
    trial = bench.open(recipe, toy.folder / "t1")
    assert bench.metric == "accuracy"
    assert bench.higher_is_better
    rungs = []
    for epochs in (1, 2, 3):  # in turn, as a search promotes them
        other.advance(epochs)
        rungs.append(trial.advance(epochs))
    whole = toy.train(recipe)
    assert losses(RunDir(trial.path)) == losses(whole.run)
    assert rungs[-1].history == whole.progress.history
    assert [rung.epoch for rung in rungs] == [1, 2, 3]
    assert rungs[-1].value == whole.progress.best_value
    assert rungs[-1].loss == whole.progress.best_loss
    assert rungs[-1].trainable_parameters == whole.cost["trainable_parameters"]
    assert 0 < rungs[0].seconds < rungs[-1].seconds
    progress, weights, _ = _newest(trial.path)
    assert progress.epoch == 3
    assert equal(weights, _newest(whole.run.path)[1])
    assert RunDir(trial.path).status == "trained"
    assert RunDir(trial.path).recipe_yaml.is_file()


@pytest.mark.parametrize(
    "changes",
    [{"method": "full"}, {"method": "head"}, {"method": {"kind": "adapter", "bottleneck": 4}}, {"method": "bitfit"},
     {"method": "full", "train.l2_sp": 0.1}, {"freeze.layers": 2}],
)  # fmt: skip
def test_trials_that_take_turns_do_not_meet(toy: TrainToy, changes: dict[str, Any]) -> None:
    """Rates and schedules differ, so the trials share one model and put their own weights into it."""
    recipe = toy.recipe(**(LORA | changes))
    bench = Workbench(recipe)
    recipes = [
        recipe,
        recipe.replace(**{"train.learning_rate": 1e-2, "train.schedule": "constant"}),
        recipe.replace(**{"train.learning_rate": 3e-3, "train.epochs": 4, "train.weight_decay": 0.0}),
    ]
    trials = [bench.open(each, toy.folder / f"turn{number}") for number, each in enumerate(recipes)]
    for epochs in (1, 2, 3):
        for trial in trials:
            trial.advance(epochs)
    trials[1].rest()
    trials[2].advance(4)
    models = {id(trial._trial._ready.parts.model) for trial in trials if trial._trial._ready is not None}
    assert len(models) == (2 if changes == {"method": "full"} else 1), "full has two: words that are used train apart"
    for each, trial in zip(recipes, trials, strict=True):
        whole = toy.train(each)
        assert losses(RunDir(trial.path)) == losses(whole.run)
        assert _newest(trial.path)[0].history == whole.progress.history
        assert equal(_newest(trial.path)[1], _newest(whole.run.path)[1])


def test_it_goes_on_from_disk_on_another_bench(toy: TrainToy) -> None:
    recipe = toy.recipe(**LORA)
    folder = toy.folder / "trial"
    Workbench(recipe).open(recipe, folder).advance(1)
    rested = Workbench(recipe).open(recipe, folder)
    rested.advance(2)
    rested.rest()
    last = rested.advance(3)
    whole = toy.train(recipe)
    assert last.history == whole.progress.history
    assert losses(RunDir(folder)) == losses(whole.run)
    assert equal(_newest(folder)[1], _newest(whole.run.path)[1])


def test_what_is_trained_already_is_answered_at_once(toy: TrainToy) -> None:
    recipe = toy.recipe(**LORA)
    folder = toy.folder / "trial"
    first = Workbench(recipe).open(recipe, folder).advance(1)
    Workbench(recipe).open(recipe, folder).advance(2)
    heard: list[Event] = []
    again = Workbench(recipe, listener=heard.append).open(recipe, folder).advance(1)
    assert (again.epoch, again.value, again.loss, again.history) == (1, first.value, first.loss, first.history)
    assert not [event for event in heard if event.kind == "step"]


def test_few_in_memory_and_still_the_same(toy: TrainToy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LIVE_BYTES", 0)
    recipe = toy.recipe(**LORA)
    bench = Workbench(recipe)
    trials = [bench.open(recipe.replace(**{"train.seed": seed}), toy.folder / f"t{seed}") for seed in (0, 1)]
    for epochs in (1, 2, 3):
        for trial in trials:
            rung = trial.advance(epochs)
    assert [trial._trial.bytes > 0 for trial in trials] == [False, True]
    whole = toy.train(recipe.replace(**{"train.seed": 1}))
    assert rung.history == whole.progress.history


def test_the_best_state_costs_no_optimizer_and_a_death_beside_it_no_progress(
    toy: TrainToy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The best of three epochs is the first of two more: it is written before the newest, and is nothing to go on
    from. Who dies between the two goes on from the rung before."""
    judge = Validator.judge

    def worse_each_time(self: Validator) -> Judgement:
        calls.append(0)
        return replace(judge(self), value=[0.5, 0.6, 0.2][len(calls) - 1])

    calls: list[int] = []
    monkeypatch.setattr(Validator, "judge", worse_each_time)
    recipe, folder = toy.recipe(**LORA), toy.folder / "trial"
    bench = Workbench(recipe)
    bench.open(recipe, folder).advance(1)
    save = loop.save_checkpoint

    def dies(run: RunDir, progress: Progress, *rest: Any) -> Path:
        if progress.epoch == 3:
            raise KeyboardInterrupt
        return save(run, progress, *rest)

    with monkeypatch.context() as here:
        here.setattr(loop, "save_checkpoint", dies)
        with pytest.raises(KeyboardInterrupt):
            bench.open(recipe, folder).advance(3)
    run = RunDir(folder)
    first, best = run.steps()
    assert not (run.checkpoint(best) / OPTIMIZER).exists()
    calls.pop()
    calls.pop()  # the second bench goes on from the first rung
    heard: list[Event] = []
    trial = Workbench(recipe, listener=heard.append).open(recipe, folder)
    assert trial.advance(3).value == 0.6
    assert f"Going on from step {first} (epoch 2)." in [event.message for event in heard]
    assert run.steps() == [best, best + first]
    trial.export(folder / "out")
    assert list((folder / "out").rglob("*.safetensors"))


def test_gates_run_once_for_a_method(toy: TrainToy) -> None:
    heard: list[Event] = []
    recipe = toy.recipe(**LORA)
    bench = Workbench(recipe, listener=heard.append)

    def gates() -> int:
        return sum(event.kind == "gate" for event in heard)

    bench.open(recipe, toy.folder / "a").advance(1)
    once = gates()
    assert once >= 6
    bench.open(recipe.replace(**{"method.rank": 8, "train.learning_rate": 2e-3}), toy.folder / "b").advance(1)
    assert gates() == once
    bench.open(recipe.replace(method="full"), toy.folder / "c").advance(1)
    assert gates() == 2 * once


def test_a_diverging_trial_is_a_training_error_and_leaves_the_others_alone(toy: TrainToy) -> None:
    recipe = toy.recipe(**{"method": "full", "train.epochs": 2})
    bench = Workbench(recipe)
    good = bench.open(recipe, toy.folder / "good")
    good.advance(1)
    with pytest.raises(TrainingError) as failed:
        bench.open(recipe.replace(**{"train.learning_rate": 1e30}), toy.folder / "bad").advance(2)
    assert failed.value.code == "nonfinite_loss"
    assert RunDir(toy.folder / "bad").status == "failed"
    assert good.advance(2).history == toy.train(recipe).progress.history


def test_patience_ends_a_trial(toy: TrainToy) -> None:
    recipe = toy.recipe(**{"train.epochs": 30, "train.patience": 1, "train.learning_rate": 1e-2})
    trial = Workbench(recipe).open(recipe, toy.folder / "t")
    rung = trial.advance(30)
    assert rung.stopped_early
    assert rung.epoch < 30
    assert trial.advance(30) == rung


def test_nothing_held_out(toy: TrainToy) -> None:
    with pytest.raises(RecipeError) as refused:
        Workbench(toy.recipe(**{"data.validation": 0.0}))
    assert refused.value.code == "no_held_out_rows"


def test_another_recipe_in_the_same_folder(toy: TrainToy) -> None:
    recipe = toy.recipe(**LORA)
    Workbench(recipe).open(recipe, toy.folder / "t").advance(1)
    written = (toy.folder / "t" / "recipe.yaml").read_text()
    with pytest.raises(TrainingError, match=r"train\.learning_rate") as refused:
        Workbench(recipe).open(recipe.replace(**{"train.learning_rate": 0.5}), toy.folder / "t").advance(2)
    assert refused.value.code == "checkpoint_of_other_run"
    assert (toy.folder / "t" / "recipe.yaml").read_text() == written


_SCRIPT = """
import os, sys
from pathlib import Path
from luthier.core.recipe import Recipe
from luthier.searching.workbench import Workbench

recipe, number, step = Recipe.from_yaml(sys.argv[1]), int(sys.argv[3]), int(sys.argv[4])

def hear(event):
    if event.kind == "step" and event.data["step"] == step:
        os.kill(os.getpid(), number)

trial = Workbench(recipe, listener=hear).open(recipe, Path(sys.argv[2]))
try:
    for epochs in (1, 2, 3):
        trial.advance(epochs)
except BaseException as error:
    print(type(error).__name__)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_killed_trials_go_on_in_another_process(toy: TrainToy, repo: Path, number: int) -> None:
    recipe = toy.recipe(**LORA)
    written, folder = toy.folder / "recipe.yaml", toy.folder / "killed"
    written.write_text(recipe.to_yaml())
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT, str(written), str(folder), str(int(number)), "5"],
        env={**os.environ, "PYTHONPATH": str(repo / "src")}, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    if number == signal.SIGKILL:
        assert done.returncode == -signal.SIGKILL, done.stderr
        assert RunDir(folder).steps()[-1] == 3, "the rung before is on disk"
    else:
        assert done.stdout.strip() == "Interrupted", done.stdout + done.stderr
        assert RunDir(folder).steps()[-1] == 5
    rung = Workbench(recipe).open(recipe, folder).advance(3)
    whole = toy.train(recipe)
    assert rung.history == whole.progress.history
    assert losses(RunDir(folder)) == losses(whole.run)
    assert equal(_newest(folder)[1], _newest(whole.run.path)[1])


def test_a_signal_between_steps_stops_this_process_too(toy: TrainToy) -> None:
    recipe = toy.recipe(**LORA)

    def hear(event: Event) -> None:
        if event.kind == "step" and event.data["step"] == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    bench = Workbench(recipe, listener=hear)
    trial = bench.open(recipe, toy.folder / "t")
    with pytest.raises(Interrupted):
        trial.advance(3)
    rung = trial.advance(3)
    assert isinstance(rung, Rung)
    assert rung.history == toy.train(recipe).progress.history


def test_workers() -> None:
    assert 1 <= default_workers() <= (os.cpu_count() or 1)

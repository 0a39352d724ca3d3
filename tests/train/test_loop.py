"""Early stopping, the best state, refused steps, golden curves, and tasks that learn."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from toy import TrainToy, equal, losses, rows, state, write

from luthier.core.errors import TrainingError
from luthier.train.tasks.classify import Classify
from luthier.train.validate import Judgement, Validator

GOLDEN = Path(__file__).parent / "golden"


def _judgements(monkeypatch: pytest.MonkeyPatch, *found: tuple[float, float]) -> None:
    """The validator says these (loss, value), epoch by epoch."""
    answers = iter(found)
    monkeypatch.setattr(Validator, "judge", lambda self, rows=None: Judgement(*next(answers)))


def test_patience_stops_and_the_best_is_kept(toy: TrainToy, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = toy.recipe(**{"train.epochs": 9, "train.patience": 2})
    states: list[dict[str, torch.Tensor]] = []
    _judgements(monkeypatch, (0.9, 0.5), (0.8, 0.7), (0.7, 0.6), (0.8, 0.7), (0.1, 0.99))
    real = Validator.judge

    def judge(self: Validator, rows: Any = None) -> Judgement:
        assert self.runner.forward.vocabulary is not None
        self.runner.forward.vocabulary.publish()
        states.append({n: p.detach().clone() for n, p in self.runner.forward.model.named_parameters()})
        return real(self, rows)

    monkeypatch.setattr(Validator, "judge", judge)
    trained = toy.train(recipe)
    assert len(states) == 4, "two evaluations without better, then no fifth epoch"
    assert (trained.progress.best_epoch, trained.progress.best_step) == (2, 6)
    assert trained.progress.stopped_early
    assert equal(states[1], state(trained))
    assert not equal(states[3], state(trained))
    assert "Stopped early" in toy.messages()


def test_a_tie_is_decided_by_the_loss(toy: TrainToy, monkeypatch: pytest.MonkeyPatch) -> None:
    _judgements(monkeypatch, (0.9, 0.7), (0.8, 0.7), (0.8, 0.7))
    trained = toy.train(toy.recipe(**{"train.epochs": 3, "train.patience": 0}))
    assert trained.progress.best_epoch == 2


def test_patience_zero_never_stops(toy: TrainToy, monkeypatch: pytest.MonkeyPatch) -> None:
    _judgements(monkeypatch, (0.1, 0.9), *[(0.9, 0.1)] * 6)
    trained = toy.train(toy.recipe(**{"train.epochs": 7, "train.patience": 0}))
    assert (trained.progress.epoch, trained.progress.best_epoch) == (7, 1)


def test_a_stopped_run_goes_on_when_patience_or_epochs_grow(toy: TrainToy) -> None:
    still = {"train.learning_rate": 1e-12, "train.head_learning_rate": 1e-12}
    recipe = toy.recipe(**still, **{"train.epochs": 5, "train.patience": 1})
    folder = toy.folder / "run"
    assert toy.train(recipe, folder).progress.epoch == 2
    assert toy.train(recipe, folder, resume=True).progress.epoch == 2
    assert toy.train(recipe.replace(**{"train.epochs": 6}), folder, resume=True).progress.epoch == 3
    assert toy.train(recipe.replace(**{"train.patience": 0}), folder, resume=True).progress.epoch == 5


def test_without_validation_the_last_state_is_kept(toy: TrainToy) -> None:
    trained = toy.train(toy.recipe(**{"data.validation": 0.0, "train.epochs": 3, "train.patience": 1}))
    assert trained.validator is None
    assert (trained.progress.epoch, trained.progress.best_epoch) == (3, 3)
    assert trained.progress.history[-1].keys() == {"step", "epoch", "train_loss"}


def test_the_train_loss_of_an_epoch_is_the_mean_over_its_rows(toy: TrainToy) -> None:
    """24 rows in steps of 16 and 8: a mean of the steps would be another number."""
    trained = toy.train(toy.recipe(**{"train.batch_size": 16}))
    steps = [line for line in trained.run.metrics() if line["kind"] == "step" and line["epoch"] == 1]
    assert sorted(line["rows"] for line in steps) == [8, 16]
    wanted = sum(line["loss"] * line["rows"] for line in steps) / 24
    assert trained.progress.history[0]["train_loss"] == pytest.approx(wanted, rel=1e-6)


def _break(monkeypatch: pytest.MonkeyPatch, when: set[int], how: str) -> None:
    """Make the loss (or only its gradient) of these calls not a number."""
    real, calls = Classify.loss_sum, iter(range(1, 10**6))

    def loss_sum(self: Classify, logits: Any, targets: Any, weights: Any) -> Any:
        loss = real(self, logits, targets, weights)
        if not torch.is_grad_enabled() or next(calls) not in when:
            return loss
        if how == "loss":
            return loss * math.nan
        loss.register_hook(lambda gradient: gradient * math.inf)
        return loss

    monkeypatch.setattr(Classify, "loss_sum", loss_sum)


@pytest.mark.parametrize("how", ["loss", "gradient"])
@pytest.mark.parametrize("method", ["full", "lora"])
def test_a_broken_step_is_rolled_back_with_half_the_rate(
    toy: TrainToy, monkeypatch: pytest.MonkeyPatch, method: str, how: str
) -> None:
    recipe = toy.recipe(method={"kind": method}, **{"train.head_learning_rate": 2e-3})
    half = toy.train(recipe.replace(**{"train.learning_rate": 5e-4, "train.head_learning_rate": 1e-3}))
    _break(monkeypatch, {3}, how)
    trained = toy.train(recipe)
    # back at step 0 with half the rate: the very run that would have had half the rate
    assert equal(state(half), state(trained))
    assert trained.progress.rate_scale == 0.5
    assert trained.progress.rollbacks == 1
    warning = next(event for event in toy.events if event.level == "warn")
    assert "step 3" in warning.message
    assert "refused" in warning.message


def test_it_rolls_back_to_the_last_checkpoint(toy: TrainToy, monkeypatch: pytest.MonkeyPatch) -> None:
    _break(monkeypatch, {5}, "loss")
    trained = toy.train(toy.recipe())
    assert "back at step 3" in toy.messages()
    steps = [line["step"] for line in trained.run.metrics() if line["kind"] == "step"]
    assert steps == [1, 2, 3, 4, 4, 5, 6]
    assert [entry["step"] for entry in trained.progress.history] == [3, 6]


def test_the_third_time_it_ends(toy: TrainToy, monkeypatch: pytest.MonkeyPatch) -> None:
    _break(monkeypatch, set(range(5, 99)), "loss")
    folder = toy.folder / "run"
    with pytest.raises(TrainingError) as caught:
        toy.train(toy.recipe(), folder)
    assert caught.value.code == "nonfinite_loss"
    assert "learning_rate" in caught.value.remedy
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert all(math.isfinite(line["loss"]) for line in lines if line["kind"] == "step")
    assert "NaN" not in (folder / "metrics.jsonl").read_text()
    events = (folder / "events.jsonl").read_text()
    assert "nonfinite_loss" in events
    # the last checkpoint is whole and finite: with a sane loss the run goes on
    monkeypatch.undo()
    monkeypatch.setenv("LUTHIER_CACHE", str(toy.folder / "cache"))
    again = toy.train(toy.recipe(), folder, resume=True)
    assert again.progress.step == 6
    assert all(bool(torch.isfinite(weight).all()) for weight in state(again).values())


@pytest.mark.parametrize(("task", "least"), [("classify", 0.95), ("several", 0.9), ("regress", 0.8), ("extract", 0.9)])
def test_every_task_learns_untouched(toy: TrainToy, task: str, least: float) -> None:
    plain = "classify" if task == "several" else task
    recipe = toy.recipe(task).replace(
        task="auto",
        train={"patience": 0},  # random weights need some epochs before anything moves
        **{
            "data.train": str(toy.data(task, 240 if task == "several" else 120)),
            "data.validation": str(toy.data(task, 40, 1)),
        },
    )
    trained = toy.train(recipe, preflight=True)
    assert trained.recipe.task == plain
    assert trained.progress.best_value is not None
    assert trained.progress.best_value >= least
    assert trained.progress.history[-1]["train_loss"] < trained.progress.history[0]["train_loss"]


@pytest.mark.parametrize("family", ["roberta", "electra", "distilbert"])
def test_other_families_learn_and_restart_alike(toy: TrainToy, base: Any, family: str) -> None:
    toy.base = base(family).path
    recipe = toy.recipe(**{"train.epochs": 8, "train.learning_rate": 3e-3, "train.patience": 0})
    first, second = toy.train(recipe, preflight=True), toy.train(recipe)
    assert equal(state(first), state(second)), "the same recipe, another result"
    curve = losses(first.run)
    assert sum(curve[-3:]) < sum(curve[:3])


@pytest.mark.parametrize("method", ["full", "lora", "adapter", "head", "bitfit"])
def test_golden_curve(toy: TrainToy, method: str) -> None:
    """Ten losses of each method, committed. A change needs a sentence of why in the commit.

    Regenerate: LUTHIER_WRITE_GOLDEN=1 python -m pytest tests/train/test_loop.py -k golden
    """
    data = write(toy.folder / "golden.jsonl", rows("classify", 40, 7))
    recipe = toy.recipe(
        method={"kind": method},
        **{"data.train": str(data), "data.validation": 0.0, "train.epochs": 2, "head.dropout": 0.0},
    )
    found = losses(toy.train(recipe).run)
    assert len(found) == 10
    path = GOLDEN / f"{method}.txt"
    if os.environ.get("LUTHIER_WRITE_GOLDEN"):
        path.write_text("".join(f"{step} {loss:.6f}\n" for step, loss in enumerate(found, start=1)))
    wanted = [line.split() for line in path.read_text().splitlines()]
    assert [int(step) for step, _ in wanted] == list(range(1, 11))
    assert found == pytest.approx([float(loss) for _, loss in wanted], abs=1e-4)

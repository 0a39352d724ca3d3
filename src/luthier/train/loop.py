"""The loop: steps, evaluations, checkpoints, early stopping, signals."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from torch import Tensor

from luthier.core import clock
from luthier.core.errors import Interrupted, TrainingError
from luthier.core.events import Event, Listener
from luthier.core.recipe import TrainSpec
from luthier.core.rundir import RunDir
from luthier.data.tokens import TokenTable
from luthier.models.trainable import load_trainable_state, trainable_state
from luthier.train.checkpoint import KEPT, Progress, save_checkpoint
from luthier.train.collate import collate
from luthier.train.memory import peak_memory_bytes
from luthier.train.optimizer import Optimizer, rate_factor
from luthier.train.step import StepRunner
from luthier.train.upkeep import Upkeep
from luthier.train.validate import Judge

MOST_ROLLBACKS = 3
State = tuple[Progress, dict[str, Tensor], dict[str, Tensor]]
"""Where a run was, what trains, and the optimizer's moments."""


class Loop:
    """Trains until the epochs are done, patience ends, or a signal comes; `progress` tells where it is."""

    def __init__(
        self,
        run: RunDir,
        spec: TrainSpec,
        runner: StepRunner,
        optimizer: Optimizer,
        table: TokenTable,
        validator: Judge | None,
        listener: Listener,
        progress: Progress,
        identity: str,
        should_stop: Callable[[], bool],
        on_evaluation: Callable[[int], None] = lambda step: None,
        upkeep: Upkeep | None = None,
    ) -> None:
        upkeep = upkeep or Upkeep()
        assert isinstance(spec.epochs, int) and isinstance(spec.batch_size, int)
        assert isinstance(spec.learning_rate, float)
        self.base_rate = spec.learning_rate * spec.learning_rate_multiplier
        self.run_dir, self.spec, self.runner, self.optimizer = run, spec, runner, optimizer
        self.table, self.validator, self.listener = table, validator, listener
        self.progress, self.identity, self.should_stop = progress, identity, should_stop
        self.on_evaluation = on_evaluation
        self.save_every_seconds, self.lean = upkeep.save_every_seconds, upkeep.lean
        self._saved_at, self._saving_seconds = clock.monotonic(), 0.0
        self.epochs = progress.planned_epochs = spec.epochs
        self.until = min(self.epochs, upkeep.until_epoch or self.epochs)
        self.rows_per_step = spec.batch_size * spec.accumulate
        self.steps_per_epoch = runner.steps_per_epoch(table, self.rows_per_step)
        self.total_steps = self.steps_per_epoch * self.epochs
        self._good: State | None = None
        self._best: State | None = None

    def run(self) -> None:
        """Train from `progress` on; to the end of the epoch where it is to stop, or of all of them."""
        self.runner.forward.model.train()
        self._remember()
        if self.progress.step == 0:
            self.on_evaluation(0)
        while not self._over:
            self._epoch()

    @property
    def _over(self) -> bool:
        return self.progress.epoch >= self.until or self.progress.stopped_early

    def _epoch(self) -> None:
        progress = self.progress
        plan = self.runner.plan(self.table, self.rows_per_step, seed=self.spec.seed, epoch=progress.epoch)
        while progress.position < len(plan):
            began = clock.monotonic()
            if not self._step(plan[progress.position], began):
                return  # rolled back: the epoch may be another one now
            if self.should_stop():
                self.save()
                raise Interrupted(
                    f"stopped after step {progress.step}; everything is saved.",
                    remedy=f"Go on with: luthier train --resume {self.run_dir.path}",
                )
            if self._due() and progress.position < len(plan):
                self.save()
        progress.epoch, progress.position = progress.epoch + 1, 0
        self._fit_head()
        self._evaluate()
        if not self.lean or self._over:
            self.save()
            return
        self._remember()
        if progress.best_step == progress.step:
            self._best = self._good

    def _fit_head(self) -> None:
        """Where the head is not trained by steps; the loss that is told is then that of the fitted head."""
        closed, progress = self.runner.closed, self.progress
        if closed is None:
            return
        began = clock.monotonic()
        progress.loss_total, progress.loss_weight = closed.fit(self.runner, self.table)
        progress.step += self.runner.only_fits
        progress.seconds += clock.monotonic() - began

    def _due(self) -> bool:
        """By steps or by time, but no more than a twentieth of the time goes into saving by time."""
        every, since = self.spec.save_every_steps, clock.monotonic() - self._saved_at
        by_time = since >= max(self.save_every_seconds, 20 * self._saving_seconds)
        return by_time or bool(every and self.progress.step % every == 0)

    def _step(self, rows: Any, began: float) -> bool:
        progress, lengths = self.progress, self.table.lengths
        batches = [
            collate(self.table, part, self.runner.task.per_token)
            for part in self.runner.cut(rows, lengths)
        ]
        # A resumed run of more epochs plans the rate anew over all of its steps.
        factor = rate_factor(progress.step, self.total_steps, self.spec.warmup, self.spec.schedule)
        factor *= progress.rate_scale
        self.optimizer.zero_grad()
        loss = self.runner.backward(batches, seed=self.spec.seed * 1_000_033 + progress.step)
        self.runner.add_pull()
        norm = self.optimizer.step(factor) if math.isfinite(loss) else math.nan
        if not math.isfinite(norm):
            self._roll_back(loss)
            return False
        tokens = sum(batch.num_tokens for batch in batches)
        weight = sum(batch.weight_sum for batch in batches)
        seconds = clock.monotonic() - began
        progress.step += 1
        progress.position += 1
        progress.tokens += tokens
        progress.seconds += seconds
        progress.loss_total += loss * weight
        progress.loss_weight += weight
        left = (self.total_steps - progress.step) * progress.seconds / progress.step
        self.listener(
            Event("step", data={
                "step": progress.step, "total_steps": self.total_steps, "epoch": progress.epoch + 1,
                "epochs": self.epochs, "loss": loss, "grad_norm": norm,
                "learning_rate": self.base_rate * factor, "tokens": tokens, "rows": len(rows),
                "tokens_per_second": tokens / max(seconds, 1e-9), "rows_per_second": len(rows) / max(seconds, 1e-9),
                "seconds_left": left, **self.runner.facts(),
            })
        )  # fmt: skip
        return True

    def _evaluate(self) -> None:
        progress = self.progress
        train_loss = progress.loss_total / max(progress.loss_weight, 1e-9)
        progress.loss_total = progress.loss_weight = 0.0
        entry: dict[str, Any] = {"step": progress.step, "epoch": progress.epoch, "train_loss": train_loss}
        began = clock.monotonic()
        better = True
        self.listener(Event("judging", data={"step": progress.step}))
        told: dict[str, Any] = {}
        if self.validator is not None:
            judged = self.validator.judge()
            if not math.isfinite(judged.loss):
                raise TrainingError(
                    f"training diverged: the validation loss after epoch {progress.epoch} is {judged.loss}.",
                    where=str(self.run_dir.path),
                    remedy="Lower train.learning_rate.",
                    code="nonfinite_loss",
                )
            entry |= {
                "validation_loss": judged.loss,
                "validation_metric": judged.value,
                "metric_name": self.validator.metric_name,
            }
            if judged.accuracy is not None:
                told["validation_accuracy"] = judged.accuracy
            sign = 1.0 if self.validator.higher_is_better else -1.0
            best, best_loss = progress.best_value, progress.best_loss
            better = (
                best is None
                or best_loss is None
                or sign * judged.value > sign * best
                or (judged.value == best and judged.loss < best_loss)
            )
            if better:
                progress.best_value, progress.best_loss = judged.value, judged.loss
        progress.seconds += clock.monotonic() - began
        if better:
            progress.best_step, progress.best_epoch, progress.evaluations_without_better = (
                progress.step,
                progress.epoch,
                0,
            )
        else:
            progress.evaluations_without_better += 1
        patience = self.spec.patience
        progress.stopped_early = bool(patience) and progress.evaluations_without_better >= patience
        progress.history.append(entry)
        told |= {"metric": entry.get("validation_metric"), "best": better}
        self.listener(Event("evaluation", data=entry | told))
        self.on_evaluation(progress.step)
        if progress.stopped_early and progress.epoch < self.epochs:
            self.listener(
                Event("message", f"Stopped early: no better validation result for {patience} epochs; "
                      f"the state after epoch {progress.best_epoch} is kept.")
            )  # fmt: skip

    def save(self) -> None:
        """A checkpoint of this very moment."""
        began = clock.monotonic()
        self.listener(Event("saving", data={"step": self.progress.step}))
        vocabulary = self.runner.forward.vocabulary
        if vocabulary is not None:
            vocabulary.publish()
            self.progress.decayed = vocabulary.decayed
        self.progress.peak_memory_bytes = max(self.progress.peak_memory_bytes, peak_memory_bytes())
        model, optimizer = trainable_state(self.runner.forward.model), self.optimizer.state()
        kept = 1 if self.lean else KEPT
        best, self._best = self._best, None
        if best is not None and best[0].step == self.progress.best_step != self.progress.step:
            # nothing goes on from it, but from the one before it, should we die before the next is there
            save_checkpoint(self.run_dir, best[0], best[1], None, self.identity, kept + 1)
        path = save_checkpoint(self.run_dir, self.progress, model, optimizer, self.identity, kept)
        self._saved_at = clock.monotonic()
        self._saving_seconds = self._saved_at - began
        progress = self.progress
        self.listener(
            Event("checkpoint", data={
                "step": progress.step, "epoch": progress.epoch, "whole_epoch": progress.position == 0,
                "path": str(path),
            })
        )  # fmt: skip
        if not self._over:
            self._remember()

    def _remember(self) -> None:
        """Keep the last good state in memory, for a roll-back."""
        vocabulary = self.runner.forward.vocabulary
        if vocabulary is not None:
            vocabulary.publish()
            self.progress.decayed = vocabulary.decayed
        self._good = (
            replace(self.progress, history=list(self.progress.history)),
            {name: tensor.clone() for name, tensor in trainable_state(self.runner.forward.model).items()},
            {name: tensor.clone() for name, tensor in self.optimizer.state().items()},
        )

    def _roll_back(self, loss: float) -> None:
        """T1: a non-finite step was refused; go back to the last good state with half the rate."""
        assert self._good is not None
        step, count = self.progress.step + 1, self.progress.rollbacks + 1
        cause = (
            f"the loss of step {step} is {loss}"
            if not math.isfinite(loss)
            else f"the gradient of step {step} is not finite"
        )
        if count >= MOST_ROLLBACKS:
            raise TrainingError(
                f"training diverged: {cause}, for the third time.",
                where=str(self.run_dir.path),
                remedy="Lower train.learning_rate, and look for extreme values in the data (luthier check).",
                code="nonfinite_loss",
            )
        good, model, optimizer = self._good
        load_trainable_state(self.runner.forward.model, model)
        self.optimizer.load_state(optimizer)
        if self.runner.forward.vocabulary is not None:
            self.runner.forward.vocabulary.reload(good.decayed)
        kept = replace(good, history=list(good.history), rollbacks=count, rate_scale=self.progress.rate_scale * 0.5)
        for name, value in vars(kept).items():
            setattr(self.progress, name, value)
        self.runner.forward.model.train()
        self.listener(
            Event("message", f"{cause[0].upper()}{cause[1:]}: the step was refused; back at step {kept.step} with "
                  f"{kept.rate_scale:g} of the rate.", "warn")
        )  # fmt: skip

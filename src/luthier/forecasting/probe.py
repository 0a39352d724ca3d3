"""About twenty steps of a run, with its own parts, on this machine: how long each stage will take, and how much memory.

Runs in a process of its own (`forecasting.child`), so that its peak memory is that of the run, and that running out of
memory ends nothing else. The weights move and are thrown away.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from luthier.core import clock
from luthier.core.events import ignore
from luthier.core.recipe import LANGUAGE_TASKS, Recipe
from luthier.core.rundir import RunDir
from luthier.data.canaries import plant
from luthier.data.packing import plan_epoch, plan_inference
from luthier.data.prepare import Prepared, prepare
from luthier.evaluate.scorers import scorer_for
from luthier.forecasting.fitting import fit_line, spread
from luthier.forecasting.lazy_cache import LazyCache
from luthier.forecasting.proof_probe import probe_proof
from luthier.models.base_source import BaseSource, read_json
from luthier.models.catalogue import locate
from luthier.models.trainable import load_trainable_state, trainable_state
from luthier.search.machine import machine_key
from luthier.search.workload import Base, Rows, Workload
from luthier.train import encoder_parts, language_parts
from luthier.train.checkpoint import MODEL, Progress, load_checkpoint, save_checkpoint
from luthier.train.collate import Batch, collate
from luthier.train.defaults import default_model
from luthier.train.journal import Journal
from luthier.train.memory import peak_memory_bytes
from luthier.train.optimizer import Optimizer
from luthier.train.parts import Parts
from luthier.train.preflight import MAX_TOKENS, Preflight
from luthier.train.ready import CACHE_ROWS
from luthier.train.shared import Shared
from luthier.train.trunk_cache import TrunkCache
from luthier.train.workload import workload_of

STEPS = 20
WARM = 2
"""Steps that are not counted: the first ones also ask for memory and choose kernels."""
MOST_SECONDS = 60.0
"""Of the steps together; long ones are fewer."""
_BATCHES = 6


def probe(recipe: Recipe, run: RunDir) -> dict[str, Any]:
    """Stages in seconds, workload, shapes and peak memory of the run that `recipe` would be; `run` is thrown away.

    Raises what `luthier.train` raises before its first step.
    """
    with Journal(run, ignore) as journal:
        return _Probe(recipe, run, journal).run()


class _Probe:
    def __init__(self, recipe: Recipe, run: RunDir, journal: Journal) -> None:
        self.asked, self.folder, self.journal = recipe, run, journal
        self.stages: dict[str, float] = {}
        self.began, self.computed = clock.monotonic(), clock.processor()

    @contextmanager
    def timed(self, stage: str, times: float = 1.0) -> Iterator[None]:
        """Add what happens in here to `stage`, `times` times."""
        began = clock.monotonic()
        yield
        self.stages[stage] = self.stages.get(stage, 0.0) + times * (clock.monotonic() - began)

    def run(self) -> dict[str, Any]:
        with self.timed("setup"):
            prepared, source, parts = self._assemble()
        self.parts = parts
        recipe = parts.recipe
        base = Base.of(read_json(source.path / "config.json"))
        self.work = Workload.read(workload_of(parts, prepared))
        with self.timed("gates"):
            gates = Preflight(parts.runner, parts.table, self.journal)
            gates.run(parts.before, lambda: self._optimizer(), recipe.train.truncate)
            parts.gates(gates)
        optimizer = self._optimizer()
        self._open_cache(source)
        if self.work.writes and recipe.evaluate.samples:
            with self.timed("samples", self.work.epochs + 1):
                parts.on_evaluation(0)
        steps = self._steps(optimizer, base)
        self._validation(base)
        self._save(optimizer)
        del optimizer
        training_peak = peak_memory_bytes()
        rows, judging = probe_proof(
            parts, prepared, source, run=self.folder, work=self.work, base=base, timed=self.timed, stages=self.stages
        )  # fmt: skip
        self.work = replace(self.work, proof=rows)
        device = "cuda" if torch.cuda.is_available() else "cpu"
        if device == "cuda":
            device = torch.cuda.get_device_name()
        return {
            "stages": self.stages,
            "workload": self.work.to_dict(),
            "base": asdict(base),
            "judging": judging.to_dict(),
            "recipe": recipe.model_dump(mode="json"),
            "model": source.name,
            "machine": machine_key(device, torch.get_num_threads()),
            "steps": steps,
            "training_peak_bytes": training_peak,
            "peak_bytes": peak_memory_bytes(),
            "probe_seconds": clock.monotonic() - self.began,
            "busy": 1.0 if device != "cpu" else self._busy(),
        }

    def _busy(self) -> float:
        """Which part of the time this process could compute; less than most of it: others were computing, too."""
        return min(1.0, (clock.processor() - self.computed) / max(clock.monotonic() - self.began, 1e-9))

    def _assemble(self) -> tuple[Prepared, BaseSource, Parts]:
        recipe = self.asked
        source = None if recipe.model == "auto" else locate(recipe.model)
        prepared = prepare(recipe.data, recipe.task, recipe.train.seed)
        if recipe.evaluate.canaries:
            prepared = plant(prepared, recipe.evaluate.canaries, recipe.train.seed)
        if source is None:
            recipe = recipe.replace(model=default_model(prepared.task))
            source = locate(recipe.model)
        if prepared.task in LANGUAGE_TASKS:
            parts = language_parts.assemble(
                recipe, self.folder, prepared, source, self.journal, False, Shared(keep=False), probed=True, lean=False,
            )
            return prepared, source, parts
        scorer = scorer_for(prepared.task, prepared.several_labels)
        return (
            prepared, source,
            encoder_parts.assemble(
                recipe, self.folder, prepared, source, scorer, self.journal, False, Shared(keep=False), probed=True,
                lean=False,
            ),
        )  # fmt: skip

    def _optimizer(self) -> Optimizer:
        return Optimizer(self.parts.model, self.parts.recipe.train, self.parts.runner.forward.vocabulary)

    def _open_cache(self, source: BaseSource) -> None:
        """What the frozen layers give: only of the rows of the probe, unless an earlier run has left all of it."""
        self.lazy: LazyCache | None = None
        if not self.work.cached:
            return
        self.lazy = LazyCache(self.parts.runner.forward)
        self.parts.runner.cache = self.lazy  # type: ignore[assignment]
        settings: dict[str, Any] = {"base": {"sha256": source.sha256, "scratch_seed": None},
                                    "batch_size": CACHE_ROWS, "max_tokens": MAX_TOKENS}  # fmt: skip
        tables = [self.parts.table, *([self.parts.validator.table] if self.parts.validator else [])]
        self.missing = sum(
            len(table.ids) for table in tables
            if not (TrunkCache.place(self.parts.runner.forward, table, **settings) / "vectors.npy").is_file()
        )  # fmt: skip

    def _steps(self, optimizer: Optimizer, base: Base) -> dict[str, Any]:
        """The longest step, then steps from short to long; what all of them will take."""
        parts, spec = self.parts, self.parts.recipe.train
        lengths = parts.table.lengths
        plan = plan_epoch(lengths, self.work.rows_per_step, seed=spec.seed, epoch=0, longest_first=True)
        costs = np.asarray([self._cost(rows, base) for rows in plan])
        parts.runner.forward.model.train()
        measured: list[tuple[float, float]] = []
        began = clock.monotonic()
        chosen = [0, *(int(i) for i in spread(costs, STEPS + WARM - 1))]
        # as the loop does, for a roll-back, and when it does: the order decides how memory is laid out
        self.kept = {name: tensor.clone() for name, tensor in trainable_state(parts.model).items()}
        for number, index in enumerate(chosen):
            batches = [collate(parts.table, part, parts.runner.task.per_token) for part in
                       parts.runner.cut(plan[index], lengths)]  # fmt: skip
            self._prepare_cache(batches)
            start = clock.monotonic()
            optimizer.zero_grad()
            loss = parts.runner.backward(batches, seed=spec.seed * 1_000_033 + number)
            parts.runner.add_pull()
            if math.isfinite(loss):
                optimizer.step(0.1)
            seconds = clock.monotonic() - start
            if number >= WARM or len(chosen) <= 2 * WARM:
                measured.append((float(costs[index]), seconds))
            if clock.monotonic() - began > MOST_SECONDS and len(measured) >= 3:
                break
        fixed, rate = fit_line(measured)
        self.stages["steps"] = self.work.epochs * float(np.sum(fixed + rate * costs))
        tokens = getattr(parts.runner, "_tokens", 0)
        return {"measured": len(measured), "fixed": fixed, "rate": rate, "tokens_of_last": int(tokens)}

    def _cost(self, rows: NDArray[np.int64], base: Base) -> float:
        """Operations of a step; only the relation between steps counts."""
        lengths = self.parts.table.lengths[rows]
        share = self.work.train.learned / max(1, self.work.train.tokens)
        one = Workload(**{**_fields(self.work), "train": Rows.of(lengths.tolist(), share)})
        return one.epoch_flops(base) / 1e9

    def _prepare_cache(self, batches: list[Batch]) -> None:
        if self.lazy is not None:
            self.lazy.fill(batches)
            self.stages["cache"] = self.missing * self.lazy.seconds / max(1, self.lazy.tokens)

    @torch.no_grad()
    def _validation(self, base: Base) -> None:
        judge, runner = self.parts.validator, self.parts.runner
        if judge is None:
            return
        plan = plan_inference(judge.table.lengths, 4 * runner.batch_size, runner.max_tokens)
        chosen = sorted({0, *(int(i) for i in np.linspace(0, len(plan) - 1, min(len(plan), _BATCHES)))})
        start = max(0, self.work.boundary) if self.work.cached else 0
        share = self.work.validation.learned / max(1, self.work.validation.tokens) if self.work.validation else 0.0
        runner.forward.model.eval()

        def cost(rows: NDArray[np.int64]) -> float:
            return base.forward_flops(Rows.of(judge.table.lengths[rows].tolist(), share), start) + 1e7 * len(rows)

        seconds = done = 0.0
        for place, number in enumerate([chosen[0], *chosen]):
            batch = collate(judge.table, plan[number], runner.task.per_token)
            self._prepare_cache([batch])
            began = clock.monotonic()
            runner.loss_sum(batch, None if runner.cache is None else runner.cache.rows(batch.rows))
            if place:  # the first time chooses kernels
                seconds, done = seconds + clock.monotonic() - began, done + cost(plan[number])
        whole = seconds * sum(cost(rows) for rows in plan) / max(done, 1.0)
        self.stages["validation"] = self.work.epochs * whole
        # the proof reads them again: for the temperature, and to hold the written model against the trained one
        again = {"classify": 2, "regress": 1}.get(self.work.task, 0)
        self.stages["finish"] = self.stages.get("finish", 0.0) + again * whole
        runner.forward.model.train()

    def _save(self, optimizer: Optimizer) -> None:
        parts, vocabulary = self.parts, self.parts.runner.forward.vocabulary
        times = min(2, self.work.epochs)  # the second one finds all of the first one's copies in memory
        with self.timed("saving", self.work.epochs / times):
            for step in range(times):
                if vocabulary is not None:
                    vocabulary.publish()
                model, moments = trainable_state(parts.model), optimizer.state()
                path = save_checkpoint(self.folder, Progress(step=step), model, moments, "probe")
                self.kept = {name: tensor.clone() for name, tensor in {**model, **moments}.items()}
        self.kept = {}  # a run has forgotten them when it proves
        with self.timed("finish"):
            found = load_checkpoint(path, "probe")
            if found is not None:
                load_trainable_state(parts.model, found[1])
        assert (path / MODEL).is_file()


def _fields(work: Workload) -> dict[str, Any]:
    return {name: getattr(work, name) for name in Workload.__dataclass_fields__}


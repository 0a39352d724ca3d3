"""A run's listener that says how long it will take, once from shapes and earlier runs and once more from its own first
steps, and that writes predicted and actual into the report and the ledger when it has ended."""

from __future__ import annotations

import contextlib
from collections.abc import Collection
from dataclasses import replace
from typing import Any

from luthier.core import clock, durable
from luthier.core.durable import AppendLog
from luthier.core.errors import LuthierError
from luthier.core.events import Event, Listener
from luthier.core.recipe import Recipe
from luthier.core.rundir import RunDir
from luthier.forecasting.fingerprint import fingerprint, known_model
from luthier.forecasting.fitting import fit_line
from luthier.forecasting.judging_of import judging_of
from luthier.forecasting.stage_clock import StageClock
from luthier.search import ledger
from luthier.search.forecast import Forecast, assemble, sentence
from luthier.search.machine import machine_key
from luthier.search.memory import memory_of
from luthier.search.prices import cost_of, load_prices
from luthier.search.stages import Judging, Rates, seconds_of
from luthier.search.workload import Base, Workload

FIRST_STEPS = 20
_WARM = 2
_LEAST_STEPS = 40
"""A run of fewer steps is over before a second forecast would help."""
_FRESH = 640 << 20
"""Bytes. A process that needed more before its run tells nothing of the run's own memory."""


class Watch:
    """Passes everything on to `listener`; never stops a run, whatever goes wrong with its own sums."""

    def __init__(self, recipe: Recipe, run: RunDir, listener: Listener) -> None:
        self._asked, self._run, self._listener = recipe, run, listener
        self.clock = StageClock()
        self._chosen: Recipe | None = None
        self._work: Workload | None = None
        self._base: Base | None = None
        self._judging = Judging()
        self._first: Forecast | None = None
        self._refined: Forecast | None = None
        self._steps: list[tuple[float, float]] = []
        self._resumed = False
        self._epochs_done = 0
        self._peak_before = _peak()

    def __call__(self, event: Event) -> None:
        """One event of the run."""
        self.clock.take(event)
        self._listener(event)
        with contextlib.suppress(LuthierError, ArithmeticError, ValueError, KeyError, TypeError):
            self._take(event)

    def _take(self, event: Event) -> None:
        if event.kind == "message" and "recipe" in event.data:
            self._chosen = Recipe.build(event.data["recipe"])
        elif event.kind == "size":
            self._foretell(event.data)
        elif event.kind == "step" and self._first is not None:
            self._count(event.data)
        elif event.kind == "evaluation":
            self._epochs_done = int(event.data["epoch"])

    def _foretell(self, data: dict[str, Any]) -> None:
        assert self._chosen is not None
        work = Workload.read(data["workload"])
        done = data["done"]
        self._resumed = bool(done["step"])
        self._started = float(done["step"]) / max(1, work.steps_per_epoch)
        base = Base.of(data["workload"]["base"])
        learned = work.train.learned / max(1, work.train.rows)
        self._judging = judging_of(self._chosen, work.task, [round(learned), round(1.6 * learned)])
        self._work, self._base = work, base
        self._machine = _machine()
        measured = {name: self.clock.seconds.get(name, 0.0) for name in ("setup", "gates")}
        memory = None
        probed = ledger.recall(fingerprint(self._asked), self._machine)
        if probed is not None and probed.get("tokens") == work.train.tokens and not self._resumed:
            measured = {**probed["measured"], **measured}
            memory = (float(probed["memory"][0]), float(probed["memory"][1]))
        self._probed = probed if memory is not None else None
        first = self._forecast(measured, memory, "formula" if self._probed is None else "probe")
        self._first = self._among_others(first, ("setup", "gates"))
        self._tell(self._first, f"Forecast: {sentence(self._first)}{_caution(self._first)}.")

    def _forecast(self, measured: dict[str, float], memory: tuple[float, float] | None, basis: str) -> Forecast:
        assert self._work is not None and self._base is not None and self._chosen is not None
        found = assemble(
            self._left(self._work), self._base, self._judging, model=known_model(self._chosen.model),
            machine=self._machine, entries=ledger.recent(), measured=measured, memory=memory, basis=basis,
        )  # fmt: skip
        return replace(found, cost=cost_of(found.seconds, load_prices()))

    def _among_others(self, found: Forecast, own: Collection[str]) -> Forecast:
        """What a probe measured while other programs used the processor may go faster now; `own` stages are of this
        run itself."""
        busy = float((self._probed or {}).get("busy", 1.0))
        probed = sum(value for name, value in found.stages.items() if name not in own)
        low = max(0.0, found.seconds.low - (1.0 - busy) * probed)
        return replace(found, seconds=replace(found.seconds, low=low))

    def _left(self, work: Workload) -> Workload:
        """What a run that goes on has still to do."""
        if not self._resumed:
            return work
        return replace(work, epochs=max(1, round(work.epochs - self._started)))

    def _count(self, data: dict[str, Any]) -> None:
        seconds = float(data["tokens"]) / max(float(data["tokens_per_second"]), 1e-9)
        self._steps.append((float(data["tokens"]), seconds))
        total = int(data["total_steps"])
        if self._refined is None and total >= _LEAST_STEPS and len(self._steps) == FIRST_STEPS:
            assert self._work is not None and self._first is not None
            work = self._left(self._work)
            fixed, rate = fit_line(self._steps[_WARM:])
            steps = fixed * work.steps + rate * work.train.tokens * work.epochs
            said = self._first.stages.get("steps", 0.0)
            pace = min(4.0, max(0.25, steps / said)) if said > 0 else 1.0
            measured = {"setup": 0.0, "gates": 0.0, "cache": 0.0, **self.clock.seconds, "steps": steps}
            if self._probed is not None:
                measured = {**self._probed["measured"], **measured}
            elif not self._first.runs_known:  # a machine of which nothing is known is as slow at the rest
                later = {name: value * pace for name, value in self._first.stages.items() if name not in measured}
                measured = {**later, **measured}
            said_memory = self._first.peak_memory_bytes
            memory = (said_memory.value, 0.2)
            if self._probed is not None:
                memory = (float(self._probed["memory"][0]), float(self._probed["memory"][1]))
            refined = self._forecast(measured, memory, "first_steps")
            self._refined = self._among_others(refined, ("steps", *self.clock.seconds))
            self._tell(self._refined, f"After {FIRST_STEPS} steps: {sentence(self._refined)}.")

    def _tell(self, forecast: Forecast, text: str) -> None:
        event = Event("forecast", text, data={**forecast.brief(), "notes": list(forecast.notes)})
        with contextlib.suppress(LuthierError), contextlib.closing(AppendLog(self._run.events_jsonl)) as log:
            log.append(event.to_dict())
        self._listener(event)

    def finish(self, report: dict[str, Any]) -> dict[str, Any]:
        """The run has ended: its report, with ``forecast``; written again, and the ledger grows by a line."""
        stages = self.clock.end()
        if self._first is None or self._work is None or self._base is None:
            return report
        seconds, peak = self.clock.total, _peak()
        actual = {"seconds": round(seconds, 3), "peak_memory_bytes": peak}
        told = self._first.brief()
        section = {
            "predicted": told, "refined": None if self._refined is None else self._refined.brief(), "actual": actual,
            "stages": {name: round(value, 3) for name, value in stages.items()}, "resumed": self._resumed,
        }  # fmt: skip
        report = {**report, "forecast": section}
        with contextlib.suppress(LuthierError):
            durable.write_json(self._run.report_json, report)
        try:
            ledger.append(self._entry(stages, actual, told))
        except (LuthierError, ValueError) as error:
            self._listener(Event("message", f"The forecast's ledger was not written: {error}", "warn"))
        return report

    def _entry(self, stages: dict[str, float], actual: dict[str, Any], told: dict[str, Any]) -> ledger.Entry:
        assert self._work is not None and self._base is not None and self._chosen is not None
        did = replace(self._work, epochs=max(1, self._epochs_done - round(self._started)))
        early = self._epochs_done < self._work.epochs
        fresh = self._peak_before < _FRESH
        extra: dict[str, Any] = {
            "memory_formula": sum(memory_of(self._work, self._base, self._judging).values()), "early": early,
        }  # fmt: skip
        if self._refined is not None:
            extra["first_steps"] = _short(self._refined.brief())
        if self._probed is not None:
            extra["probe"] = self._probed.get("predicted")
        return ledger.Entry(
            created_at=clock.now().isoformat(timespec="seconds"),
            machine=self._machine,
            model=known_model(self._chosen.model),
            workload=did.to_dict(),
            stages={name: round(value, 4) for name, value in stages.items()},
            formula={k: round(v, 4) for k, v in seconds_of(did, self._base, self._judging, Rates()).items()},
            predicted=_short(told),
            actual=actual if fresh else {**actual, "peak_memory_bytes": None},
            whole=not self._resumed,
            extra=extra,
        )


def _caution(forecast: Forecast) -> str:
    """What a person should know of a forecast that was made before the first step."""
    if forecast.basis == "formula" and not forecast.runs_known:
        return "; a guess, as no run has ended on this machine yet"
    early = forecast.workload.most_early_epochs < forecast.workload.epochs
    return "; sooner where patience ends it" if early else ""


def _peak() -> int:
    from luthier.train.memory import peak_memory_bytes

    return peak_memory_bytes()


def _machine() -> str:
    import torch

    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    return machine_key(device, torch.get_num_threads())


def _short(brief: dict[str, Any]) -> dict[str, Any]:
    return {name: brief[name] for name in ("seconds", "peak_memory_bytes", "basis")}

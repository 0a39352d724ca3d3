"""A forecast: seconds, memory and cost of a run with an interval, and how it came about. No torch in here."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from luthier.search.interval import Interval
from luthier.search.ledger import Entry, correction
from luthier.search.memory import memory_of
from luthier.search.stages import STAGES, Judging, Rates, seconds_of
from luthier.search.workload import Base, Workload

COVERAGE = 0.95
"""What an interval promises of a run that does all its epochs."""
_Z = 1.96
_MACHINE = 0.06
"""Relative deviation that all stages share: a machine is not equally fast every minute."""
_UNMEASURED = 0.2
"""The same where nothing was measured on these rows: what the formula does not know makes all stages wrong alike."""
_SPREAD = {"measured": 0.08, "known": 0.22, "formula": 0.4}
"""Relative deviation of a stage: measured by the probe, corrected by earlier runs, by the formula alone."""
_ENOUGH = 0.5
"""Evidence in the ledger from which a stage counts as known."""


@dataclass(frozen=True)
class Forecast:
    """What a run will take.

    Attributes:
        seconds: of the whole run, proof included, when all epochs are done; `low` is the earliest end that patience
            allows.
        peak_memory_bytes: of the process (of a GPU: of its memory).
        stages: seconds by stage. formula: what the formulas alone say, which the ledger keeps.
        basis: probe (about 20 steps on this machine), formula (shapes and earlier runs), first_steps (the run's own).
        cost: see `search.prices`. notes: what a person should know.
    """

    seconds: Interval
    peak_memory_bytes: Interval
    stages: dict[str, float]
    formula: dict[str, float]
    basis: str
    machine: str
    model: str
    workload: Workload
    notes: tuple[str, ...] = ()
    cost: dict[str, Any] = field(default_factory=dict)
    elsewhere: tuple[dict[str, Any], ...] = ()
    runs_known: int = 0

    def to_dict(self) -> dict[str, Any]:
        """What `luthier forecast --json` prints."""
        work = self.workload
        return {
            "seconds": self.seconds.to_dict(),
            "peak_memory_bytes": {name: round(value) for name, value in self.peak_memory_bytes.to_dict().items()},
            "cost": self.cost,
            "basis": self.basis,
            "stages": {name: round(value, 3) for name, value in self.stages.items()},
            "elsewhere": list(self.elsewhere),
            "notes": list(self.notes),
            "model": self.model,
            "task": work.task,
            "method": work.method,
            "rows": work.train.rows,
            "tokens_per_epoch": work.train.tokens,
            "epochs": work.epochs,
            "steps": work.steps,
            "machine": self.machine,
            "runs_known": self.runs_known,
        }

    def brief(self) -> dict[str, Any]:
        """What an event, a report and the ledger keep."""
        plain = self.to_dict()
        return {name: plain[name] for name in ("seconds", "peak_memory_bytes", "basis", "stages", "cost")}


def assemble(
    work: Workload,
    base: Base,
    judging: Judging,
    *,
    model: str,
    machine: str,
    entries: Sequence[Entry],
    measured: Mapping[str, float] | None = None,
    memory: tuple[float, float] | None = None,
    rates: Rates | None = None,
    basis: str = "formula",
) -> Forecast:
    """Put a forecast together.

    Args:
        entries: the ledger, oldest first.
        measured: seconds by stage that a probe (or the run itself) measured; these are taken as they are.
        memory: (bytes, relative deviation) where they were measured.
    """
    measured = measured or {}
    formula = seconds_of(work, base, judging, rates or Rates())
    stages: dict[str, float] = {}
    variance, known = 0.0, 0
    for name in STAGES:
        if name in measured:
            stages[name] = measured[name]
            spread = _SPREAD["measured"]
        elif name in formula:
            factor, evidence = correction(entries, machine, model, work.method, work.task, name)
            stages[name] = factor * formula[name]
            known += evidence >= _ENOUGH
            spread = _SPREAD["known"] if evidence >= _ENOUGH else _SPREAD["formula"]
        else:
            continue
        variance += (spread * stages[name]) ** 2
    total = max(sum(stages.values()), 1e-3)
    shared = _MACHINE if measured else _UNMEASURED
    deviation = math.sqrt(variance / total**2 + shared**2)
    notes = []
    seconds = Interval(total, total * math.exp(-_Z * deviation), total * math.exp(_Z * deviation))
    fewest = work.most_early_epochs
    if fewest < work.epochs:
        early = earliest(stages, work, fewest)
        seconds = Interval(total, early * math.exp(-_Z * deviation), seconds.high)
        notes.append(
            f"With patience {work.patience} the run may end after {fewest} of {work.epochs} epochs (about "
            f"{plain_time(early)}); the time is that of all epochs."
        )
    here = [entry for entry in entries if entry.machine == machine]
    if basis == "formula" and not here:
        notes.append("This machine has no run in the ledger yet: the time is a guess until one has ended, or probe.")
    return Forecast(
        seconds, _memory(work, base, judging, memory, entries, machine), stages, formula, basis, machine, model, work,
        tuple(notes), runs_known=len(here),
    )  # fmt: skip


def earliest(stages: Mapping[str, float], work: Workload, epochs: int) -> float:
    """Seconds when only `epochs` of all epochs are done."""
    each = ("steps", "validation", "saving", "samples")
    share = epochs / max(1, work.epochs)
    return sum(value * (share if name in each else 1.0) for name, value in stages.items())


def _memory(
    work: Workload, base: Base, judging: Judging, measured: tuple[float, float] | None, entries: Sequence[Entry],
    machine: str,
) -> Interval:  # fmt: skip
    if measured is not None:
        value, spread = measured
    else:
        value, spread = sum(memory_of(work, base, judging).values()), 0.25
        ratios = [
            entry.actual["peak_memory_bytes"] / entry.extra["memory_formula"]
            for entry in entries[-50:]
            if entry.machine == machine and entry.actual.get("peak_memory_bytes") and entry.extra.get("memory_formula")
            and entry.workload.get("method") == work.method and entry.workload.get("task") == work.task
        ]  # fmt: skip
        if ratios:
            value *= sorted(ratios)[len(ratios) // 2]
            spread = 0.12
    return Interval(value, value * math.exp(-_Z * spread), value * math.exp(_Z * spread))


def plain_time(seconds: float) -> str:
    """``4 s``, ``1:40``, ``2:03:10``."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"


def sentence(forecast: Forecast) -> str:
    """One line for a person."""
    seconds, memory = forecast.seconds, forecast.peak_memory_bytes
    gib = [value / 2**30 for value in (memory.value, memory.low, memory.high)]
    return (
        f"{plain_time(seconds.value)} ({plain_time(seconds.low)} to {plain_time(seconds.high)}), "
        f"{gib[0]:.1f} GiB of memory ({gib[1]:.1f} to {gib[2]:.1f})"
    )

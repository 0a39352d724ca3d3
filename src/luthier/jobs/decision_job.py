"""One decision: its arms, one after another, in a folder that a later worker goes on with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from luthier.approaches.arm import Prices
from luthier.approaches.wording import PAGE
from luthier.core.events import Event, Listener
from luthier.deciding import Decided, decide
from luthier.deciding.kept import METHODS
from luthier.jobs.parts import PartsListener
from luthier.jobs.pipeline import check_files
from luthier.jobs.worker_wire import Assignment


def run_decision(assignment: Assignment, listener: Listener) -> dict[str, Any]:
    """Decide, or go on; gives the decision's folder, its verdict, and the model of the arm that it recommends.

    Raises `LuthierError`; `Interrupted` after a signal, with every finished arm kept.
    """
    check_files(assignment.files)
    values = assignment.recipe
    data, how = values["data"], values["decide"]
    decided = decide(
        data["train"], task=values.get("task", "auto"), columns=data.get("columns") or None, test=data.get("test"),
        model=values.get("model"), generator=values.get("generator"), knowledge=data.get("knowledge") or (),
        assistant=how.get("assistant"), **_endpoint(how.get("endpoint")), budget=how["budget"],
        arms=how.get("arms") or (), prices=Prices(**how.get("prices") or {}),
        overrides=how.get("overrides") or (), seed=how.get("seed", 0), folder=assignment.run,
        wording=PAGE, listener=DecisionListener(listener),
    )  # fmt: skip
    return _result(decided)


def _endpoint(told: dict[str, Any] | None) -> dict[str, Any]:
    """The operator's endpoint; its key is in the environment of this process alone."""
    if told is None:
        return {}
    return {"endpoint": told["url"], "name": told["name"], "key_variable": told["key_variable"]}


def _result(decided: Decided) -> dict[str, Any]:
    decision = decided.decision
    chosen = decision.arm
    metrics = {} if chosen is None or chosen.score is None else chosen.score.metrics
    found: dict[str, Any] = {
        "folder": str(decided.path),
        "steps": len(decided.arms),
        "task": decided.rows.task,
        "verdict": decision.summary or decision.text,
        "metrics": {name: interval.value for name, interval in metrics.items() if interval.defined},
        "warnings": list(decided.notes),
        "arm": None if chosen is None else chosen.name,
    }
    if chosen is not None and chosen.run is not None and chosen.name in METHODS:
        found |= {"model": str(Path(chosen.run) / "model"), "run": chosen.run, "method": METHODS[chosen.name]}
    return found


class DecisionListener:
    """Arms as parts of the job."""

    def __init__(self, listener: Listener) -> None:
        self._parts = PartsListener(listener)
        self._held: Event | None = None

    def __call__(self, event: Event) -> None:
        """One event of the decision. A message that is about the arm which comes next is told with it."""
        held, self._held = self._held, None
        words = event.data["arm"]["name"] + ": " if event.kind == "arm" else ""
        told = held if held is not None and words and held.message.startswith(words) else None
        if held is not None and told is None:
            self._parts(held)
        if event.kind == "message":
            self._held = event
        elif event.kind == "arm":
            self._tell(event.data, told)
        else:
            self._parts(event)

    def _tell(self, data: dict[str, Any], told: Event | None) -> None:
        arm = {name: value for name, value in data["arm"].items() if name != "run"}
        self._parts.part(
            arm["name"], arm["state"], f"{arm['name']}: {arm['state']}" if told is None else told.message,
            {**arm, "metric": data["metric"]}, done=data["done"], total=data["total"], again=data["again"],
            level="info" if told is None else told.level,
        )  # fmt: skip

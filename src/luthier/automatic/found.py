"""What an automatic run found, as a value and as auto.json."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from luthier.automatic.ending import last_recipe
from luthier.automatic.entry import Entry
from luthier.automatic.session import Session
from luthier.core import clock
from luthier.core.predictor import Predictor
from luthier.core.words import plural
from luthier.evaluate.metric_names import metric_name
from luthier.evaluate.report import strict, told
from luthier.search.pareto import pareto_front

Report = Mapping[str, Any]


@dataclass(frozen=True)
class Automatic:
    """An automatic run that is done.

    Attributes:
        path: its folder; `luthier predict` takes it.
        report: the content of auto.json.
    """

    path: Path
    report: dict[str, Any]

    @property
    def best(self) -> dict[str, Any]:
        """The winner: `name`, `recipe`, `recipe_file`, `metrics`, `intervals`, `run`."""
        found: dict[str, Any] = self.report["best"]
        return found

    @property
    def metrics(self) -> dict[str, float]:
        """Of the winner's fresh run, by name."""
        found: dict[str, float] = self.best["metrics"]
        return found

    @property
    def trials(self) -> list[dict[str, Any]]:
        """Every candidate that was begun."""
        found: list[dict[str, Any]] = self.report["trials"]
        return found

    @property
    def verdict(self) -> str:
        """What came out, in a sentence or two."""
        return str(self.report["verdict"])

    def model(self) -> Predictor:
        """The winner's model."""
        from luthier import api

        return api.load(self.path)


def report_of(session: Session, *, is_done: bool) -> dict[str, Any]:
    """auto.json."""
    winner = session.winner or session.best
    entries = session.entries
    with_result = [entry for entry in entries if entry.last is not None]
    points = [
        (entry.last.value, entry.seconds_of_all or 0.0, float(entry.last.trainable_parameters))
        for entry in with_result
        if entry.last is not None
    ]
    front = pareto_front(points, [session.higher, False, False]) if points else []
    on_front = {with_result[i].number for i in front}
    report: dict[str, Any] = {
        "created_at": clock.now().isoformat(timespec="seconds"),
        "done": is_done,
        "task": session.prepared.task,
        "model": session.shared.model,
        "metric": session.metric,
        "metric_title": metric_name(session.metric).title,
        "higher_is_better": session.higher,
        "budget": session.request.budget,
        "seconds": session.clockwork.elapsed,
        "rows": {"train": session.rows, "validation": session.judging_rows, "test": session.tests},
        "best": None if winner is None else _best(session, winner),
        "trials": [_trial(session, entry, entry.number in on_front) for entry in entries],
        "pareto": [with_result[i].candidate.name for i in front],
        "baseline": None if session.baseline is None else {"name": "tfidf", "value": session.baseline},
        "final": _last_run(session),
        "notes": list(session.notes),
    }
    report["verdict"] = verdict(report)
    made: dict[str, Any] = strict(report)
    return made


def _best(session: Session, winner: Entry) -> dict[str, Any]:
    value = None if winner.last is None else winner.last.value
    ending = session.ending
    run = None if ending is None else ending.run
    if ending is not None:
        recipe = ending.recipe
    else:
        recipe = last_recipe(session.shared, winner, session.request, epochs=winner.epochs, baselines=["majority"])
    return {
        "name": winner.candidate.name,
        "trial": winner.number,
        "recipe": recipe.model_dump(mode="json"),
        "recipe_file": str(session.folder.recipe) if session.folder.recipe.is_file() else None,
        "value": value,
        "metrics": {session.metric: value} if run is None else run.metrics,
        "intervals": {} if run is None else run.report["metrics"],
        "run": None if run is None else str(run.path),
    }


_OF_THE_RUN = ("verdict", "evaluated_on", "rows", "primary_metric", "baselines", "comparisons", "cost", "warnings")


def _last_run(session: Session) -> dict[str, Any] | None:
    ending = session.ending
    if ending is None or ending.run is None:
        return None
    return {"is_fresh": ending.is_fresh, **{key: ending.run.report.get(key) for key in _OF_THE_RUN}}


def _trial(session: Session, entry: Entry, on_front: bool) -> dict[str, Any]:
    last = entry.last
    return {
        "number": entry.number,
        "name": entry.candidate.name,
        "changes": dict(entry.candidate.changes),
        "state": "stopped" if entry.state == "paused" else entry.state,
        "epoch": last.epoch if last else 0,
        "epochs": entry.epochs,
        "value": last.value if last else None,
        "loss": last.loss if last else None,
        "seconds": last.seconds if last else None,
        "seconds_of_all": entry.seconds_of_all,
        "trainable_parameters": last.trainable_parameters if last else None,
        "stopped_early": bool(last and last.stopped_early),
        "at": entry.at,
        "pareto": on_front,
        "error": entry.error or None,
        "curve": [[one["epoch"], one["validation_metric"], one["validation_loss"]] for one in last.history]
        if last else [],
        "run": str(session.folder.trial(entry.number, entry.candidate.name).relative_to(session.folder.path)),
    }  # fmt: skip


def verdict(report: Report) -> str:
    """The result in a sentence or two."""
    best, metric = report["best"], report["metric"]
    if best is None:
        return "Nothing was trained yet."
    others = len(report["trials"]) - 1
    text = f"{best['name'][:1].upper()}{best['name'][1:]} "
    text += f"won over {plural(others, 'other')}" if others else "is the only candidate that time allowed"
    text += f": {report['metric_title'].lower()} {told(metric, best['value'])} on {report['rows']['validation']:,} "
    text += "validation rows."
    final = report["final"]
    if final is not None and final["verdict"]:
        return f"{text} {'Trained afresh' if final['is_fresh'] else 'Its proof'}: {final['verdict']}"
    baseline = report["baseline"]
    if baseline is None:
        return text
    sign = 1 if report["higher_is_better"] else -1
    beats = sign * (best["value"] - baseline["value"]) > 0
    word = "more than" if beats else "no more than"
    return f"{text} That is {word} a linear model on word counts reaches ({told(metric, baseline['value'])})."

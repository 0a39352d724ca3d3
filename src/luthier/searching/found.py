"""What a search found, as JSON and as a value."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from luthier.core import clock
from luthier.evaluate.metric_names import metric_name
from luthier.evaluate.report import strict
from luthier.search.halving import TOP
from luthier.search.importance import importance
from luthier.search.outcome import Ranking, front
from luthier.search.parameters import Parameter
from luthier.search.study import Study
from luthier.search.trial import Trial
from luthier.searching.words import headline


@dataclass(frozen=True)
class Found:
    """A search that is done, or was stopped.

    Attributes:
        path: its folder.
        report: the content of search.json.
    """

    path: Path
    report: dict[str, Any]

    @property
    def best(self) -> dict[str, Any] | None:
        """The best trial: `trial`, `params`, `recipe`, `recipe_file`, `value`, `metrics`, `run`."""
        found: dict[str, Any] | None = self.report["best"]
        return found

    @property
    def trials(self) -> list[dict[str, Any]]:
        """Every trial."""
        found: list[dict[str, Any]] = self.report["trials"]
        return found

    @property
    def verdict(self) -> str:
        """What came out, in a sentence or two."""
        return str(self.report["verdict"])


def report_of(
    study: Study, folder: Path, *, is_done: bool, best: Trial | None, luck: Mapping[str, Any] | None,
    fresh: Mapping[str, Any] | None, seconds: float, task: str, model: str, notes: Sequence[str],
) -> dict[str, Any]:  # fmt: skip
    """search.json.

    Args:
        is_done: whether the search came to its end.
        best: the trial that is kept.
        luck: `words.luck_record`. fresh: run folder, metrics and report of the fresh run of the best recipe.
    """
    trials, settings = study.trials(), study.settings
    higher, metric = study.higher_is_better, study.metric
    on_front = front(trials, settings.objectives, higher_is_better=higher) if len(settings.objectives) > 1 else []
    mattered = importance(
        study.space, trials, higher_is_better=higher, reduction=settings.reduction, seed=settings.seed
    )
    report: dict[str, Any] = {
        "created_at": clock.now().isoformat(timespec="seconds"),
        "done": is_done,
        "task": task,
        "model": model,
        "metric": metric,
        "metric_title": metric_name(metric).title,
        "higher_is_better": higher,
        "settings": settings.model_dump(mode="json"),
        "best": None if best is None else _best(study, folder, best, fresh),
        "trials": [_trial(study, trial, trial.number in on_front) for trial in trials],
        "counts": {"all": len(trials), **Counter(_state(trial, is_done) for trial in trials)},
        "parameters": [_parameter(parameter) for parameter in study.space.parameters],
        "importance": vars(mattered),
        "luck": luck,
        "pareto": {"objectives": settings.objectives, "trials": on_front},
        "rungs": _rungs(study, trials),
        "seconds": seconds,
        "notes": list(notes),
    }
    for entry, trial in zip(report["trials"], trials, strict=True):
        entry["state"] = _state(trial, is_done)
    report["verdict"] = headline(report)
    made: dict[str, Any] = strict(report)
    return made


def ranked(study: Study) -> Ranking:
    """The trials with a result, best first."""
    return Ranking.of(study.trials(), higher_is_better=study.higher_is_better)


def _best(study: Study, folder: Path, best: Trial, fresh: Mapping[str, Any] | None) -> dict[str, Any]:
    recipe = study.space.of(best.params)
    last = best.last
    return {
        "trial": best.number,
        "params": dict(best.params),
        "recipe": recipe.model_dump(mode="json"),
        "recipe_file": str(folder / "best.yaml"),
        "value": None if last is None else last.value,
        "metrics": dict(fresh["metrics"]) if fresh else {study.metric: None if last is None else last.value},
        "intervals": dict(fresh["intervals"]) if fresh else {},
        "run": fresh["run"] if fresh else None,
    }


def _trial(study: Study, trial: Trial, on_front: bool) -> dict[str, Any]:
    last = trial.last
    return {
        "number": trial.number,
        "params": dict(trial.params),
        "state": trial.state,
        "bracket": trial.bracket,
        "epoch": last.epoch if last else 0,
        "epochs": trial.epochs or None,
        "value": last.value if last else None,
        "loss": last.loss if last else None,
        "seconds": last.seconds if last else None,
        "seconds_of_all": trial.seconds_of_all(),
        "trainable_parameters": trial.parameters or None,
        "forgetting": trial.forgetting,
        "stopped_early": trial.stopped_early,
        "pareto": on_front,
        "results": [
            {"rung": rung, "share": float(study.settings.reduction) ** (rung - TOP), **vars(result)}
            for rung, result in sorted(trial.results.items())
        ],
        "curve": [list(point) for point in trial.curve],
        "error": trial.error or None,
        "code": trial.code or None,
        "run": f"trials/{trial.folder}",
    }


def _state(trial: Trial, is_done: bool) -> str:
    """A trial that waits when the search is done was pruned."""
    return "pruned" if is_done and trial.state == "paused" else trial.state


def _parameter(parameter: Parameter) -> dict[str, Any]:
    choices = None if parameter.choices is None else list(parameter.choices)
    return {
        "name": parameter.name, "key": parameter.key, "choices": choices,
        "low": None if choices else parameter.low, "high": None if choices else parameter.high, "log": parameter.log,
    }  # fmt: skip


def _rungs(study: Study, trials: Sequence[Trial]) -> list[dict[str, Any]]:
    """How many trials came to each rung."""
    counts = Counter(rung for trial in trials for rung in trial.results)
    reduction = float(study.settings.reduction)
    return [{"share": reduction ** (rung - TOP), "trials": counts[rung]} for rung in sorted(counts)]

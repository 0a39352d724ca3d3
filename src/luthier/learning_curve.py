"""A learning curve: the same recipe with 5, 10, 25, 50 and 100 % of the training rows, and what twice as many would
bring. Each point is a run of its own in the curve's folder, so that a curve that was stopped goes on.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from luthier import api, curve_plan
from luthier.core import clock, durable
from luthier.core.errors import Interrupted
from luthier.core.events import Event, Listener, ignore
from luthier.core.recipe import LANGUAGE_TASKS, Recipe
from luthier.core.rundir import RunDir
from luthier.data.prepare import Prepared, prepare
from luthier.data.shares import rows_of
from luthier.evaluate.curve_page import render_curve
from luthier.evaluate.curve_report import curve_report
from luthier.evaluate.evaluation import Evaluation, evaluate
from luthier.evaluate.generation import GenerationEvaluation
from luthier.evaluate.intervals import resample_weights
from luthier.evaluate.learning_curve import DRAWS, CurveJudgement, Size, judge_curve

SEEDS = 3


@dataclass(frozen=True)
class Curve:
    """A learning curve that is done.

    Attributes:
        path: its folder: runs/ (a run per point), points/, curve.json and curve.html.
        report: the content of curve.json.
    """

    path: Path
    report: dict[str, Any]

    @property
    def answer(self) -> str:
        """worth, not_worth or cannot_say."""
        return str(self.report["answer"])

    @property
    def sentence(self) -> str:
        """What twice the rows would bring."""
        return str(self.report["sentence"])


@dataclass(frozen=True)
class _Point:
    """One run: a share of the rows, and a seed."""

    share: float
    rows: int
    seed: int

    @property
    def name(self) -> str:
        return f"{self.rows:07d}-rows-seed-{self.seed}"


def curve(
    recipe: Recipe | None = None,
    *,
    out: str | Path | None = None,
    budget_seconds: float | None = None,
    seeds: int = SEEDS,
    worth: float | None = None,
    full: bool = False,
    listener: Listener = ignore,
    **fields: Any,
) -> Curve:
    """Train on nested, stratified shares of the rows and judge all on the same held-out rows.

    Args:
        recipe: what to train, or `fields` of one, as for `luthier.train`.
        out: the curve's folder; one that holds an unfinished curve of the same recipe and data goes on.
        budget_seconds: no run is begun that would likely end later; None: as long as it takes.
        seeds: most runs per size; a size gets as many as together have no more rows than the whole.
        worth: the smallest gain that counts (0.01 of a share, 2 % of another metric's value).
        full: train all sizes even when the answer is plain before.

    Raises:
        UsageError: `curve_differs`, `no_held_out_rows`, a setting out of range.
        DataError: `too_few_rows`, and what `luthier.train` raises.
    """
    curve_plan.check(budget_seconds, seeds, worth)
    recipe = curve_plan.settled(api.absolute(api.recipe_from(recipe, fields, "luthier.curve")))
    prepared = prepare(recipe.data, recipe.task, recipe.train.seed)
    metric = curve_plan.metric(recipe, prepared)
    sizes = curve_plan.sizes(prepared)
    folder = curve_plan.folder(out, recipe)
    curve_plan.same_request(folder, recipe, prepared)
    total = len(prepared.train)
    found = f"{total:,} training rows; sizes: {', '.join(f'{rows_of(share, total):,}' for share in sizes)}."
    listener(Event("message", f"{found} All are judged on the same {curve_plan.held_out(prepared):,} rows."))
    session = _Session(recipe, prepared, folder, metric, seeds, budget_seconds, worth, full, listener)
    try:
        return session.run(sizes)
    except Interrupted as stop:
        raise Interrupted(
            "stopped on request; the runs so far are kept.", where=str(folder),
            remedy=f"The same command with --out {folder} goes on.", code="interrupted",
        ) from stop  # fmt: skip


class _Session:
    """Runs the points in order, small ones first, and judges after each size."""

    def __init__(
        self, recipe: Recipe, prepared: Prepared, folder: Path, metric: str, seeds: int, budget: float | None,
        worth: float | None, full: bool, listener: Listener,
    ) -> None:
        self.recipe, self.prepared, self.folder, self.metric = recipe, prepared, folder, metric
        self.seeds, self.budget, self.worth, self.full, self.listener = seeds, budget, worth, full, listener
        self.began = clock.monotonic()
        self.total = len(prepared.train)
        self.cost: tuple[int, float] | None = None
        self.warned: set[str] = set()

    def run(self, shares: Sequence[float]) -> Curve:
        done: list[tuple[_Point, dict[str, Any]]] = []
        stopped: dict[str, Any] | None = None
        for share in shares:
            points = list(self._points(share))
            for point in points:
                if not self._is_done(point) and (why := self._too_late(point)):
                    stopped = {"rule": "budget", "text": why, "before_rows": point.rows}
                    break
                done.append((point, self._one(point)))
            judgement = self._judge(done)
            if stopped:
                break
            if not self.full and judgement.is_plain and share < shares[-1]:
                text = (
                    f"Stopped after {points[-1].rows:,} of {self.total:,} rows: the whole interval of the gain lies "
                    "so far on one side that the larger sizes would not change the answer."
                )
                stopped = {"rule": "plain_answer", "text": text, "before_rows": None}
                break
        report = curve_report(
            judgement, self.metric, model=done[0][1]["model"], method=self.recipe.method.kind,
            task=self.prepared.task, rows=self.total,
            held_out=curve_plan.held_out(self.prepared), held_out_is_test=self.prepared.test is not None,
            points=[{**entry, "draws": None} for _, entry in done], stopped=stopped,
            seconds=sum(entry["seconds"] for _, entry in done),
        )  # fmt: skip
        durable.write_json(self.folder / "curve.json", report)
        durable.write_text(self.folder / "curve.html", render_curve(report))
        return Curve(self.folder, report)

    def _points(self, share: float) -> Iterator[_Point]:
        rows = rows_of(share, self.total)
        for seed in range(min(self.seeds, int(1 / share + 1e-6))):
            yield _Point(share, rows, self.recipe.train.seed + seed)

    def _too_late(self, point: _Point) -> str:
        """Why this run is not begun, from what the last one took per row; empty when there is time."""
        if self.budget is None or self.cost is None:
            return ""
        spent, (rows, seconds) = clock.monotonic() - self.began, self.cost
        expected = seconds * max(1.0, point.rows / rows)
        if spent + expected <= self.budget:
            return ""
        return (
            f"Stopped before a run with {point.rows:,} rows, which would take about {expected:.0f} s: the budget of "
            f"{self.budget:.0f} s would be exceeded."
        )

    def _file(self, point: _Point) -> Path:
        return self.folder / "points" / f"{point.name}.json"

    def _is_done(self, point: _Point) -> bool:
        return self._file(point).is_file()

    def _one(self, point: _Point) -> dict[str, Any]:
        """What a point gave: read, or trained, or gone on with where it was stopped."""
        path, run = self._file(point), RunDir(self.folder / "runs" / point.name)
        if path.is_file():
            found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            return found
        began = clock.monotonic()
        if run.report_json.is_file():
            finished = api.Run(run.path, run.report() or {}, 0.0, self._judged_again(run))
        elif run.recipe_yaml.is_file():
            self.listener(Event("message", f"Going on with {point.rows:,} rows, seed {point.seed}."))
            finished = api.resume(run.path, listener=self._quiet)
        else:
            durable.make_folder(run.path)
            finished = api.train(self._recipe(point), run=run, listener=self._quiet)
        entry = self._entry(point, finished)
        durable.write_json(path, entry)
        self.cost = (point.rows, clock.monotonic() - began)
        told = f"{point.rows:,} rows, seed {point.seed}: {self.metric} {entry['value']:.4g} ({entry['seconds']:.0f} s)"
        self.listener(Event("message", told))
        return entry

    def _quiet(self, event: Event) -> None:
        """Of the runs only their progress and their warnings: there are many."""
        if event.kind == "step":
            self.listener(event)
        elif event.level != "info" and event.message not in self.warned:
            self.warned.add(event.message)
            self.listener(event)

    def _recipe(self, point: _Point) -> Recipe:
        baselines = self.recipe.evaluate.baselines
        if baselines == "auto":
            baselines = [] if self.prepared.task in LANGUAGE_TASKS else ["majority"]
        changes = {
            "data.share": point.share, "train.seed": point.seed, "evaluate.baselines": baselines,
            "out": str(self.folder / "runs"), "task": self.prepared.task,
        }  # fmt: skip
        return self.recipe.replace(**changes)

    def _entry(self, point: _Point, finished: api.Run) -> dict[str, Any]:
        judged, report = finished.judged, finished.report
        assert judged is not None
        judge = judged.likelihood if isinstance(judged, GenerationEvaluation) else judged.judge
        weights = resample_weights(judge.num_rows, DRAWS, 0)
        draws = np.concatenate([judge.resampled([self.metric], chunk)[self.metric] for chunk in weights])
        majority = (report.get("baselines") or {}).get("majority", {}).get(self.metric, {}).get("value")
        overfitting = report.get("overfitting") or {}
        return {
            "share": point.share, "rows": point.rows, "seed": point.seed,
            "run": str(finished.path.relative_to(self.folder)), "model": report.get("model") or self.recipe.model,
            "value": _finite(judge.point([self.metric])[self.metric]), "held_out": judge.num_rows,
            "majority": majority, "gap": overfitting.get("gap"), "overfitting": overfitting.get("found"),
            "seconds": report.get("cost", {}).get("seconds_with_setup") or finished.seconds,
            "draws": [_finite(float(f"{value:.7g}")) for value in draws],
        }  # fmt: skip

    def _judged_again(self, run: RunDir) -> Evaluation | GenerationEvaluation:
        """A run that was finished, but whose point was not written yet, when the curve was stopped."""
        from luthier.language_proof import judge_language
        from luthier.models.language_predictor import LanguageModel
        from luthier.models.predictor import TunedModel

        rows = self.prepared.test if self.prepared.test is not None else self.prepared.validation
        assert rows is not None
        if self.prepared.task in LANGUAGE_TASKS:
            return judge_language(LanguageModel.load(run.path), rows, self.recipe.evaluate, rows.dataset)
        return evaluate(
            TunedModel.load(run.path), rows, several_labels=self.prepared.several_labels,
            metrics=self.recipe.evaluate.metrics, bootstrap=0,
        )  # fmt: skip

    def _judge(self, done: Sequence[tuple[_Point, dict[str, Any]]]) -> CurveJudgement:
        sizes: dict[int, Size] = {}
        for point, entry in done:
            value, draws = np.array([_number(entry["value"])]), np.array([[_number(one) for one in entry["draws"]]])
            known = sizes.get(point.rows)
            sizes[point.rows] = (
                Size(point.share, point.rows, value, draws, entry["seconds"])
                if known is None
                else replace(
                    known, values=np.append(known.values, value), draws=np.concatenate([known.draws, draws]),
                    seconds=known.seconds + entry["seconds"],
                )
            )  # fmt: skip
        chances = [entry["majority"] for _, entry in done if entry["majority"] is not None]
        return judge_curve(
            [sizes[rows] for rows in sorted(sizes)], metric=self.metric, total_rows=self.total, worth=self.worth,
            chance=chances[-1] if chances else None,
        )  # fmt: skip


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _number(value: float | None) -> float:
    return float("nan") if value is None else value


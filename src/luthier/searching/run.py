"""`luthier search`: the trials, by one process or by several; then the best again, and a fresh run of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from luthier import api
from luthier.core import durable
from luthier.core.errors import Interrupted, LuthierError, TrainingError, UsageError
from luthier.core.events import Event, Listener, ignore
from luthier.core.recipe import Recipe
from luthier.core.recipe_io import read_yaml
from luthier.core.rundir import RunDir
from luthier.core.words import plural
from luthier.search.journal import Journal
from luthier.search.luck import judge_luck
from luthier.search.study import Study
from luthier.search.trial import Trial
from luthier.searching.again import train_again
from luthier.searching.asked import asked
from luthier.searching.clockwork import Clockwork
from luthier.searching.folder import SearchFolder
from luthier.searching.forgetting import forgetting_of
from luthier.searching.found import Found, ranked, report_of
from luthier.searching.page import page_of
from luthier.searching.watching import Watch
from luthier.searching.words import luck_record
from luthier.searching.worker import Bench, Worker
from luthier.searching.workers import chosen_workers, is_over, run_workers

MakeBench = Callable[[Recipe, Listener], Bench]
_MAY_CHANGE = ("trials", "budget", "workers", "repeat")
"""Settings of a search that goes on."""


def search(
    recipe: Recipe | Mapping[str, Any] | str | Path | None = None,
    *,
    resume: str | Path | None = None,
    out: str | Path = "searches",
    listener: Listener = ignore,
    trials: int | None = None,
    sampler: str | None = None,
    pruner: str | None = None,
    reduction: int | None = None,
    budget: float | str | None = None,
    seed: int | None = None,
    objectives: list[str] | str | None = None,
    workers: int | str | None = None,
    repeat: int | None = None,
    bench: MakeBench | None = None,
    journal: Journal | None = None,
    where: str = "",
    **fields: Any,
) -> Found:
    """Search the values of a recipe that are ``{search: ...}``, and train the best afresh.

    Args:
        recipe: a recipe file, plain values, or a recipe to which `fields` add searches (two underscores stand for a
            dot: ``train__learning_rate={"search": {"low": 1e-5, "high": 1e-3, "log": True}}``).
        resume: the folder of a search that was stopped, or that another process works on: this one helps.
        out: where its folder is made.
        trials, sampler, pruner, reduction, budget, seed, objectives, workers, repeat: beat the recipe's key `search`
            (`search.settings.SearchSettings`); with `resume` only trials, budget, workers and repeat can change.
        bench: what trials run on, for those who have one. journal: where the study is kept, instead of a file in the
            folder; by this process alone. where: what errors call the recipe.

    Raises:
        RecipeError, UsageError: before anything trains.
        TrainingError: no trial has a result.
        Interrupted: after a signal, with everything saved.
    """
    options = {
        "trials": trials, "sampler": sampler, "pruner": pruner, "reduction": reduction, "budget": budget, "seed": seed,
        "objectives": objectives, "workers": workers, "repeat": repeat,
    }  # fmt: skip
    if resume is not None:
        folder = _opened(resume, recipe, fields, options)
    else:
        values, space, settings = asked(recipe, fields, options, where)
        first = space.first().data.train
        name = Path(first if isinstance(first, str) else first[0]).name.split(".")[0] or "data"
        folder = SearchFolder.create(out, name, values, settings)
    session = _Session(folder, listener, bench or _workbench, journal)
    try:
        return session.run()
    except (Interrupted, KeyboardInterrupt) as stop:
        session.stop()
        raise Interrupted(
            "stopped on request; every trial so far is kept.", where=str(folder.path),
            remedy=f"Go on with: luthier search --resume {folder.path}", code="interrupted",
        ) from stop  # fmt: skip
    except LuthierError:
        session.stop()  # every trial is kept, whatever it failed of
        raise


def _workbench(recipe: Recipe, listener: Listener) -> Bench:
    from luthier.searching.workbench import Workbench

    return Workbench(recipe, listener=listener)


def _opened(resume: str | Path, recipe: object, fields: Mapping[str, Any], options: Mapping[str, Any]) -> SearchFolder:
    folder = SearchFolder.open(resume)
    given = [name for name, value in options.items() if value is not None and name not in _MAY_CHANGE]
    if recipe is not None or fields or given:
        what = given[0] if given else "a recipe"
        raise UsageError(
            f"a search that goes on keeps what it was asked, so {what} cannot stand beside it.", where=str(resume),
            remedy=f"It can change {', '.join(_MAY_CHANGE)}; for anything else begin a new search.",
            code="not_resumable", param=given[0] if given else "recipe",
        )  # fmt: skip
    changed = {name: value for name, value in options.items() if value is not None}
    if changed:
        _, settings = folder.asked()
        folder.change(settings.build({**settings.model_dump(), **changed}, where=str(resume)))
    return folder


class _Session:
    """One sitting of a search."""

    def __init__(
        self, folder: SearchFolder, listener: Listener, make_bench: MakeBench, journal: Journal | None
    ) -> None:
        self.folder, self.listener, self.make_bench, self.journal = folder, listener, make_bench, journal
        self.space, self.settings = folder.asked()
        self.study = Study(journal or folder.journal(), self.space, self.settings)
        if isinstance(self.settings.workers, int):
            self.workers, self.why = self.settings.workers, ""
        else:
            self.workers, self.why = chosen_workers(self.study.most_trials)
            self.settings = self.settings.model_copy(update={"workers": self.workers})
            folder.change(self.settings)
        self.clockwork = Clockwork(self.settings.budget, self._spent())
        self.watch = Watch(self.study, self.clockwork, listener)
        self.luck: dict[str, Any] | None = None
        self.best: Trial | None = None
        self.fresh: dict[str, Any] | None = None
        self.notes: list[str] = []

    def run(self) -> Found:
        with self.folder.time().running(self.clockwork):
            return self._run()

    def _run(self) -> Found:
        self._greet()
        self.watch.tell_known()
        bench: Bench | None = None
        if is_over(self.study, self.clockwork):
            self.listener(Event("message", "No trial is left to train."))
        elif self.workers > 1:
            run_workers(self.folder, self.workers, self.clockwork, self.watch, self.study, self.journal)
        else:
            bench = self.make_bench(self.space.first(), self.watch.of_a_trial)
            self._work(bench)
        self.watch.look()
        ending = self.folder.ending()
        if ending is None:
            self.listener(Event("message", "Another process of this search writes down what came out."))
            return Found(self.folder.path, self._report(is_done=False))
        try:
            self._end(bench)
            return self.write(is_done=True)
        finally:
            ending.release()

    def _work(self, bench: Bench) -> None:
        claims = self.folder.claims()
        forgetting = forgetting_of if "forgetting" in self.settings.objectives else None
        try:
            Worker(bench, self.study, self.folder, claims, self.clockwork, self.watch.told, forgetting).run()
        finally:
            claims.release_all()

    def _end(self, bench: Bench | None) -> None:
        """The best and the runner-up with other seeds; the recipe file; the fresh run."""
        ranking = ranked(self.study)
        if ranking.best is None:
            failed = next((trial for trial in self.study.trials() if trial.state == "failed"), None)
            raise TrainingError(
                f"no trial has a result{': ' + failed.error if failed else ''}", where=str(self.folder.path),
                remedy="Give more time (--budget), or mend what the trials failed of.", code="no_result",
            )  # fmt: skip
        self.best = ranking.best
        self._again(bench)
        assert self.best is not None
        recipe = self.space.of(self.best.params)
        if self.folder.best_yaml.is_file() and Recipe.from_yaml(self.folder.best_yaml) != recipe:
            durable.remove_tree(self.folder.best.path)  # of fewer trials, another one was the best
        durable.write_text(self.folder.best_yaml, self._recipe_text(recipe))
        self.fresh = self._fresh(recipe)

    def _again(self, bench: Bench | None) -> None:
        ranking = ranked(self.study)
        best, other = ranking.best, ranking.runner_up
        if best is None or best.last is None or not self.settings.repeat:
            return
        bench = bench or self.make_bench(self.space.first(), self.watch.of_a_trial)
        pair = [best] if other is None else [best, other]
        who = "The best" if other is None else "The best and the runner-up"
        seeds = plural(self.settings.repeat, "other seed")
        self.listener(Event("message", f"{who} again, with {seeds}: was it luck?"))
        again = train_again(
            bench, self.space, self.folder, pair, self.settings.repeat, self.clockwork, self.listener
        )  # fmt: skip
        luck = judge_luck(
            best.last.value, again.best, again.runner_up, trials=ranking.comparable(),
            higher_is_better=self.study.higher_is_better,
        )  # fmt: skip
        if luck is None:
            self.notes.append(f"The best was not trained again with other seeds: {again.why_fewer}.")
            return
        self.luck = luck_record(
            luck, picked_trial=best.number, runner_up_trial=None if other is None else other.number,
            seeds=again.seeds, why_fewer=again.why_fewer, best=again.best, runner_up=again.runner_up,
        )  # fmt: skip
        if luck.verdict == "reversed" and other is not None:
            self.best = other

    def _fresh(self, recipe: Recipe) -> dict[str, Any]:
        """The run of the best recipe: with its checks, its baselines and its report."""
        run = self.folder.best
        self.listener(Event("message", "The best recipe is trained afresh, with checks and proof."))
        if run.report_json.is_file():
            finished = api.Run(run.path, run.report() or {}, 0.0)
        elif run.recipe_yaml.is_file():
            finished = api.resume(run.path, listener=self.watch.of_a_trial)
        else:
            durable.make_folder(run.path)
            finished = api.train(recipe, run=run, listener=self.watch.of_a_trial)
        return {"run": str(run.path), "metrics": finished.metrics, "intervals": finished.report["metrics"]}

    def write(self, *, is_done: bool) -> Found:
        """search.json and search.html of what is known now."""
        report = self._report(is_done=is_done)
        if self.study.is_begun:
            durable.write_json(self.folder.json, report)
            durable.write_text(self.folder.html, page_of(report))
        return Found(self.folder.path, report)

    def stop(self) -> None:
        """Write down what is known, unless another process of this search does."""
        ending = self.folder.ending()
        if ending is not None:
            self.write(is_done=False)
            ending.release()

    def _report(self, *, is_done: bool) -> dict[str, Any]:
        if not self.study.is_begun:
            return {"best": None, "trials": [], "verdict": "Nothing was trained yet."}
        task, model = self._known()
        best = self.best if self.best is not None else ranked(self.study).best
        return report_of(
            self.study, self.folder.path, is_done=is_done, best=best, luck=self.luck, fresh=self.fresh,
            seconds=self.clockwork.elapsed, task=task, model=model, notes=self.notes,
        )  # fmt: skip

    def _known(self) -> tuple[str, str]:
        """Task and model, as the fresh run or any trial resolved them."""
        first = self.space.first()
        folders = [self.folder.best, *(RunDir(self.folder.trial(trial.number)) for trial in self.study.trials())]
        for run in folders:
            if run.recipe_yaml.is_file():
                found = read_yaml(run.recipe_yaml)
                searched = any(parameter.key == "model" for parameter in self.space.parameters)
                return str(found["task"]), "several models" if searched else str(found["model"])
        return first.task, first.model

    def _recipe_text(self, recipe: Recipe) -> str:
        assert self.best is not None
        last = self.best.last
        value = "" if last is None else f", {self.study.metric} {last.value:.4g} on the validation rows"
        head = f"# The best recipe of a search: trial {self.best.number} of {len(self.study.trials())}{value}.\n"
        return head + recipe.to_yaml()

    def _spent(self) -> float:
        """Seconds of earlier sittings; where their folder was on another machine, as far as trials tell them."""
        told = sum(trial.last.seconds for trial in self.study.trials() if trial.last is not None)
        return max(self.folder.time().seconds(), told / self.workers)

    def _greet(self) -> None:
        names = ", ".join(parameter.name for parameter in self.space.parameters)
        known = len(self.study.trials())
        begun = f"goes on after {known} trials" if known else f"{self.study.most_trials} trials"
        settings = self.settings
        how = f"{settings.sampler}, {'no pruning' if settings.pruner == 'none' else settings.pruner}"
        self.listener(Event("message", f"Search {self.folder.path}: {begun} over {names} ({how})."))
        if self.why:
            self.listener(Event("message", self.why))

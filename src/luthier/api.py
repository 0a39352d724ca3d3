"""Luthier from Python: check, train, resume, load, evaluate. The command line calls the same functions.

This is where the rooms meet: `train` makes weights, `proof` judges them, neither knows the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from luthier.core import clock, durable
from luthier.core.errors import LuthierError, RecipeError, UsageError
from luthier.core.events import Listener, ignore
from luthier.core.predictor import Predictor
from luthier.core.recipe import LANGUAGE_TASKS, Recipe
from luthier.core.recipe_fields import absolute, recipe_from
from luthier.core.recipe_io import apply_overrides, read_yaml
from luthier.core.rundir import RunDir, list_runs
from luthier.core.text import TextEncoder
from luthier.data.checks import CheckReport
from luthier.data.checks import check as check_data
from luthier.data.templates.renderer import Renderer
from luthier.evaluate.evaluation import Evaluation as Judged
from luthier.evaluate.generation import GenerationEvaluation
from luthier.exporting import ExportResult, export
from luthier.judging import Evaluation, Source, evaluate, plain

if TYPE_CHECKING:
    from luthier.train.upkeep import Upkeep


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        path: its folder.
        report: the content of report.json.
        seconds: wall clock of everything, checks and proof included.
        judged: the rows behind the metrics, for comparisons; None where nothing was held out.
    """

    path: Path
    report: dict[str, Any]
    seconds: float
    judged: Judged | GenerationEvaluation | None = field(default=None, repr=False, compare=False)

    @property
    def metrics(self) -> dict[str, float]:
        """Metric values by name, without their intervals (those are in `report`)."""
        return {name: cell["value"] for name, cell in self.report["metrics"].items()}

    def model(self) -> Predictor:
        """The tuned model."""
        return load(self.path)


def check(
    data: Source,
    *,
    task: str = "auto",
    columns: dict[str, Any] | None = None,
    group: str | None = None,
    groups: Sequence[str] = (),
    validation: Source | None = None,
    test: Source | None = None,
    model: str | None = None,
    max_length: int | None = None,
    findings_file: str | Path | None = None,
    like: str | None = None,
) -> CheckReport:
    """Find every problem of a data set, and show what `model` will see (minilm where none is named, for
    chat and complete luthier-nano). `group` is a column whose rows stay on one side of a split, `groups` are
    columns by which the model will be judged. With ``like="openai"`` OpenAI's rules are held too.
    Raises `DataError` when it cannot be read at all."""

    def encoder_for(task: str) -> TextEncoder | None:
        if task in LANGUAGE_TASKS:
            return None
        from luthier.models.light import text_encoder

        return text_encoder(model or "minilm")

    def renderer_of(task: str) -> Renderer | None:
        if task not in LANGUAGE_TASKS:
            return None
        from luthier.data.templates.renderer import renderer_for
        from luthier.models.light import chat_tokenizer

        return renderer_for(task, chat_tokenizer(model or "luthier-nano"))

    return check_data(
        plain(data), task=task, columns=columns, group=group, groups=groups,
        validation=None if validation is None else plain(validation),
        test=None if test is None else plain(test),
        encoder_for=encoder_for, renderer_for=renderer_of, max_length=max_length, findings_file=findings_file,
        like=like,
    )  # fmt: skip


def train(
    recipe: Recipe | None = None,
    *,
    listener: Listener = ignore,
    run: RunDir | None = None,
    upkeep: Upkeep | None = None,
    **fields: Any,
) -> Run:
    """Train a recipe, or `fields` of one: model, data, task, method, out, and nested values as
    dictionaries or with two underscores (``train__epochs=3``). `run` is the folder of the run, where the
    caller has one; `upkeep` is for those who watch over it.

    Raises `RecipeError`, `DataError`, `ModelError`, `TrainingError`, `StorageError`.
    """
    from luthier.train.run import new_run

    recipe = absolute(recipe_from(recipe, fields, "luthier.train"))
    return _run(recipe, run or new_run(recipe), listener, resume=False, upkeep=upkeep)


def resume(
    path: str | Path,
    *,
    overrides: Iterable[str] = (),
    listener: Listener = ignore,
    upkeep: Upkeep | None = None,
) -> Run:
    """Go on from the last checkpoint of a run; ``train.epochs=N`` in `overrides` extends a finished one."""
    run = RunDir.open(path)
    values = read_yaml(run.recipe_yaml)
    overrides = list(overrides)
    fixed = [item for item in overrides if item.split("=")[0].strip() not in _RESUMABLE]
    if fixed:
        raise RecipeError(
            f"a run that goes on cannot change {fixed[0].split('=')[0]!r}.",
            where=str(path),
            remedy=f"It can change {', '.join(sorted(_RESUMABLE))}; for anything else start a new run.",
            code="not_resumable",
        )
    apply_overrides(values, overrides)
    return _run(Recipe.build(values, where=str(run.recipe_yaml)), run, listener, resume=True, upkeep=upkeep)


_RESUMABLE = {
    "train.epochs", "train.patience", "train.save_every_steps", "train.learning_rate", "train.head_learning_rate",
    "train.cache", "evaluate.baselines", "evaluate.bootstrap", "evaluate.metrics", "data.test",
    "evaluate.fairness", "evaluate.graders", "evaluate.run_code", "evaluate.generate_rows", "evaluate.max_tokens",
    "evaluate.forgetting", "train.average",
}  # fmt: skip


def _run(recipe: Recipe, run: RunDir, listener: Listener, *, resume: bool, upkeep: Upkeep | None) -> Run:
    from luthier.evaluate.fairness import check_fairness
    from luthier.evaluate.metric_names import check_metrics
    from luthier.evaluate.scorers import scorer_for
    from luthier.forecasting.watch import Watch
    from luthier.language_proof import check_judging
    from luthier.proof import prove
    from luthier.tracking.follow import follow
    from luthier.train.run import train as train_weights

    began = clock.monotonic()
    if recipe.task in LANGUAGE_TASKS or recipe.evaluate.graders:
        check_judging(recipe)
    elif recipe.task != "auto":
        check_metrics(recipe.task, recipe.evaluate.metrics)
    try:
        with follow(recipe, run, listener) as followed:
            watch = Watch(recipe, run, followed)
            check_fairness(recipe)
            trained = train_weights(recipe, run, scorer_for=scorer_for, listener=watch, resume=resume, upkeep=upkeep)
            report, judged = prove(trained, watch)
            report = watch.finish(report)
            followed.finished(report)
    except LuthierError:
        if not run.recipe_yaml.is_file():  # the data or the model was refused: there is no run to keep
            durable.remove_tree(run.path)
        raise
    return Run(run.path, report, clock.monotonic() - began, judged)


def load(path: str | Path, *, threshold: float | None = None) -> Predictor:
    """The tuned model of a run (or of a model folder): of the tasks chat and complete a `LanguageModel`,
    which also generates; else a predictor, and below `threshold` a classifier abstains."""
    from luthier.models.base_source import read_json
    from luthier.models.export import SETTINGS_JSON
    from luthier.models.run_model import model_folder

    folder = model_folder(path)
    if read_json(folder / SETTINGS_JSON).get("task") in LANGUAGE_TASKS:
        from luthier.models.language_predictor import LanguageModel

        if threshold is not None:
            raise UsageError(
                "a model that writes has no threshold.", remedy="Leave it out.", code="invalid_threshold",
                param="threshold",
            )  # fmt: skip
        return LanguageModel.load(folder)
    from luthier.models.predictor import TunedModel

    model = TunedModel.load(folder)
    if threshold is not None:
        if not 0 <= threshold <= 1:
            raise UsageError(f"a threshold is between 0 and 1, not {threshold}.", param="threshold")
        model.threshold = threshold
    return model


def runs(out: str | Path = "runs") -> list[RunDir]:
    """The runs in a folder, oldest first."""
    return list_runs(out)


def compare_runs(paths: Sequence[str | Path]) -> list[dict[str, Any]]:
    """Task, method, metrics and cost of several runs, side by side."""
    found = []
    for path in paths:
        run = RunDir.open(path)
        report = run.report() or {}
        found.append(
            {"run": str(run.path), **{key: report.get(key) for key in ("task", "model", "method", "metrics", "cost")}}
        )
    return found


__all__ = [
    "Evaluation", "ExportResult", "Run", "absolute", "check", "compare_runs", "evaluate", "export", "load",
    "recipe_from", "resume", "runs", "train",
]  # fmt: skip

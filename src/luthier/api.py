"""Luthier from Python: check, train, resume, load, evaluate. The command line calls the same functions.

This is where the rooms meet: `train` makes weights, `proof` judges them, neither knows the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from luthier.core import clock
from luthier.core.errors import RecipeError, UsageError
from luthier.core.events import Event, Listener, ignore
from luthier.core.predictor import Predictor
from luthier.core.recipe import EvaluateSpec, Recipe, apply_overrides, read_yaml, set_key
from luthier.core.rundir import RunDir, list_runs
from luthier.data.checks import CheckReport
from luthier.data.checks import check as check_data
from luthier.data.dataset import Dataset
from luthier.data.samples import Sample
from luthier.evaluate.comparison import Comparison, compare_evaluations
from luthier.evaluate.evaluation import Evaluation as Judged
from luthier.evaluate.evaluation import evaluate as judge

Source = str | Path | Sequence[str | Path]


def _plain(source: Source) -> str | list[str]:
    if isinstance(source, str | Path):
        return str(source)
    return [str(item) for item in source]


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        path: its folder.
        report: the content of report.json.
        seconds: wall clock of everything, checks and proof included.
    """

    path: Path
    report: dict[str, Any]
    seconds: float

    @property
    def metrics(self) -> dict[str, float]:
        """Metric values by name, without their intervals (those are in `report`)."""
        return {name: cell["value"] for name, cell in self.report["metrics"].items()}

    def model(self) -> Predictor:
        """The tuned model."""
        return load(self.path)


@dataclass(frozen=True)
class Evaluation:
    """What `evaluate` found.

    Attributes:
        judged: metrics with intervals, per class, confusion, worst errors.
        baselines: others on the same rows; `comparisons` with paired tests.
    """

    judged: Judged
    baselines: dict[str, Judged] = field(default_factory=dict)
    comparisons: list[Comparison] = field(default_factory=list)

    @property
    def metrics(self) -> dict[str, float]:
        """Metric values by name."""
        return {name: interval.value for name, interval in self.judged.metrics.items()}

    def to_dict(self) -> dict[str, Any]:
        """JSON, as `luthier eval --json` prints it."""
        from luthier.evaluate.report import strict, verdict_sentence

        plain: dict[str, Any] = strict(
            {
                **self.judged.to_dict(),
                "baselines": {name: other.to_dict()["metrics"] for name, other in self.baselines.items()},
                "comparisons": [comparison.to_dict() for comparison in self.comparisons],
                "verdict": verdict_sentence(self.judged, self.comparisons, "given"),
            }
        )
        return plain


def check(
    data: Source,
    *,
    task: str = "auto",
    columns: dict[str, Any] | None = None,
    group: str | None = None,
    validation: Source | None = None,
    test: Source | None = None,
    model: str = "minilm",
    max_length: int | None = None,
    findings_file: str | Path | None = None,
) -> CheckReport:
    """Find every problem of a data set, and show what `model` will see. Raises `DataError` when it
    cannot be read at all."""
    from luthier.models.catalogue import locate
    from luthier.models.tokenizer import load_tokenizer

    return check_data(
        _plain(data), task=task, columns=columns, group=group,
        validation=None if validation is None else _plain(validation),
        test=None if test is None else _plain(test),
        encoder=load_tokenizer(locate(model).path), max_length=max_length, findings_file=findings_file,
    )  # fmt: skip


def train(recipe: Recipe | None = None, *, listener: Listener = ignore, **fields: Any) -> Run:
    """Train a recipe, or `fields` of one: model, data, task, method, out, and nested values as
    dictionaries or with two underscores (``train__epochs=3``).

    Raises `RecipeError`, `DataError`, `ModelError`, `TrainingError`, `StorageError`.
    """
    if recipe is None:
        values: dict[str, Any] = {}
        for key, value in fields.items():
            plain = str(value) if isinstance(value, Path) else value
            set_key(values, key.replace("__", "."), plain)
        recipe = Recipe.build(values, where="luthier.train")
    elif fields:
        raise UsageError("give a recipe or its fields, not both.", remedy="Use recipe.replace(...) first.")
    from luthier.train.run import new_run

    recipe = _absolute(recipe)
    run = new_run(recipe)
    return _run(recipe, run, listener, resume=False)


def resume(path: str | Path, *, overrides: Iterable[str] = (), listener: Listener = ignore) -> Run:
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
    return _run(Recipe.build(values, where=str(run.recipe_yaml)), run, listener, resume=True)


_RESUMABLE = {
    "train.epochs", "train.patience", "train.save_every_steps", "train.learning_rate", "train.head_learning_rate",
    "train.cache", "evaluate.baselines", "evaluate.bootstrap", "evaluate.metrics", "data.test",
}  # fmt: skip


def _run(recipe: Recipe, run: RunDir, listener: Listener, *, resume: bool) -> Run:
    from luthier.evaluate.metric_names import check_metrics
    from luthier.evaluate.scorers import scorer_for
    from luthier.proof import prove
    from luthier.train.run import train as train_weights

    began = clock.monotonic()
    if recipe.task != "auto":
        check_metrics(recipe.task, recipe.evaluate.metrics)
    trained = train_weights(recipe, run, scorer_for=scorer_for, listener=listener, resume=resume)
    report, _ = prove(trained, listener)
    return Run(run.path, report, clock.monotonic() - began)


def load(path: str | Path, *, threshold: float | None = None) -> Predictor:
    """The tuned model of a run (or of a model folder); below `threshold` a classifier abstains."""
    from luthier.models.predictor import TunedModel

    model = TunedModel.load(path)
    if threshold is not None:
        if not 0 <= threshold <= 1:
            raise UsageError(f"a threshold is between 0 and 1, not {threshold}.", param="threshold")
        model.threshold = threshold
    return model


def evaluate(
    model: Predictor | str | Path,
    data: Source,
    *,
    task: str | None = None,
    columns: dict[str, Any] | None = None,
    train: Source | None = None,
    listener: Listener = ignore,
) -> Evaluation:
    """Judge a predictor, a run or a base model on labelled data.

    A run is compared with the baselines fitted on its own training data, where that is still
    there. A base model has no head for the labels: a linear head is fitted on its frozen features
    of the rows in `train`.
    """
    from luthier.models.run_model import model_folder
    from luthier.proof import baseline_evaluations

    if not isinstance(model, str | Path):
        rows = _labelled(data, task or model.task, columns)
        return Evaluation(judge(model, rows.samples()))
    if _is_run(model):
        from luthier.models.predictor import TunedModel

        tuned = TunedModel.load(model)
        if task not in (None, "auto", tuned.task):
            raise UsageError(
                f"the run was trained for {tuned.task}, not {task}.", remedy="Leave --task out.", param="task"
            )
        run = RunDir(model_folder(model).parent)
        known = dict(columns or {})
        fit_on: Source | None = train
        if run.recipe_yaml.is_file():
            recipe = Recipe.build(read_yaml(run.recipe_yaml), where=str(run.recipe_yaml))
            known = known or dict(recipe.data.columns)
            fit_on = train if train is not None else recipe.data.train
        rows = _labelled(data, tuned.task, known)
        several = tuned.model.several_labels
        if tuned.task == "classify":
            rows.several_labels = several
        listener(Event("message", f"Judging {model} on {', '.join(rows.sources)}."))
        ours = judge(tuned, rows.samples(), several_labels=several)
        others: dict[str, Judged] = {}
        if fit_on is not None and _reachable(fit_on):
            from luthier.models.catalogue import locate

            others = baseline_evaluations(
                ("majority", "tfidf", "frozen"), tuned.task, _Samples(_labelled(fit_on, tuned.task, known, several)),
                _Samples(rows), labels=list(tuned.labels), several_labels=several,
                source=locate(tuned.settings["base"]["path"] or tuned.settings["base"]["name"]),
                tokenizer=tuned.tokenizer, max_length=tuned.settings["max_length"], spec=EvaluateSpec(),
                listener=listener,
            )  # fmt: skip
        else:
            listener(Event("message", "The training data is not there any more, so there is nothing to compare with.", "warn"))
        return Evaluation(ours, others, compare_evaluations(ours, others))
    return _evaluate_base(str(model), data, task, columns, train, listener)


def _evaluate_base(
    name: str, data: Source, task: str | None, columns: dict[str, Any] | None, train: Source | None, listener: Listener
) -> Evaluation:
    """A base model with a linear head on its frozen features."""
    from luthier.data.prepare import names_of
    from luthier.models.catalogue import locate
    from luthier.models.tokenizer import load_tokenizer
    from luthier.proof import baseline_evaluations

    source = locate(name)
    if train is None:
        raise UsageError(
            f"{name} is a base model: it has no head for your labels.",
            remedy="Give --train FILE to fit a linear head on its frozen features, or the folder of a run.",
            code="base_without_head",
            param="train",
        )
    fit_on = _labelled(train, task or "auto", columns)
    rows = _labelled(data, fit_on.task, columns, fit_on.several_labels)
    if fit_on.task == "regress":
        labels = list(fit_on.columns.score)
    else:
        labels = sorted({label for sample in fit_on.samples() for label in names_of(sample)})
    tokenizer = load_tokenizer(source.path)
    found = baseline_evaluations(
        ("majority", "tfidf", "frozen"), fit_on.task, _Samples(fit_on), _Samples(rows), labels=labels,
        several_labels=fit_on.several_labels, source=source, tokenizer=tokenizer,
        max_length=min(256, tokenizer.max_length), spec=EvaluateSpec(), listener=listener,
    )  # fmt: skip
    if "frozen" not in found:
        raise UsageError(
            f"a base model cannot be judged for {fit_on.task} without training.",
            remedy="Train first: luthier train --task extract --method head --data FILE.",
        )
    ours = found.pop("frozen")
    return Evaluation(ours, found, compare_evaluations(ours, found))


class _Samples:
    """A data set that can be read again."""

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset

    def __iter__(self) -> Any:
        return self._dataset.samples()


def _labelled(source: Source, task: str, columns: dict[str, Any] | None, several: bool | None = None) -> Any:
    dataset = Dataset.open(_plain(source), task=task, columns=columns)
    if several is not None and dataset.task == "classify":
        dataset.several_labels = several
    return dataset


def _is_run(model: str | Path) -> bool:
    folder = Path(model)
    return any((place / "luthier.json").is_file() for place in (folder, folder / "model")) or (
        folder / "recipe.yaml"
    ).is_file()


def _reachable(source: Source) -> bool:
    places = [source] if isinstance(source, str | Path) else list(source)
    return all("://" in str(place) or Path(place).exists() for place in places)


def _absolute(recipe: Recipe) -> Recipe:
    """Local files by their full path, so that the run can be resumed from any folder."""

    def settle(source: Any) -> Any:
        if isinstance(source, list):
            return [settle(item) for item in source]
        if isinstance(source, str) and "://" not in source and Path(source).exists():
            return str(Path(source).resolve())
        return source

    spec = recipe.data
    changed = {name: settle(getattr(spec, name)) for name in ("train", "validation", "test")}
    model = str(Path(recipe.model).resolve()) if Path(recipe.model).is_dir() else recipe.model
    return recipe.model_copy(update={"data": spec.model_copy(update=changed), "model": model})


def runs(out: str | Path = "runs") -> list[RunDir]:
    """The runs in a folder, oldest first."""
    return list_runs(out)


def compare_runs(paths: Sequence[str | Path]) -> list[dict[str, Any]]:
    """Task, method, metrics and cost of several runs, side by side."""
    found = []
    for path in paths:
        run = RunDir.open(path)
        report = run.report() or {}
        found.append({"run": str(run.path), **{key: report.get(key) for key in ("task", "model", "method", "metrics", "cost")}})
    return found


__all__ = ["Evaluation", "Run", "Sample", "check", "compare_runs", "evaluate", "load", "resume", "runs", "train"]

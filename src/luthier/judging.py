"""What a run, a base model or any other predictor is worth on labelled data, beside its baselines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from luthier.core.errors import UsageError
from luthier.core.events import Event, Listener, ignore
from luthier.core.predictor import Predictor
from luthier.core.recipe import LANGUAGE_TASKS, EvaluateSpec, FairnessSpec, Recipe
from luthier.core.recipe_io import read_yaml
from luthier.core.rundir import RunDir
from luthier.data.dataset import Dataset
from luthier.data.groups import check_group_columns
from luthier.data.samples import Sample
from luthier.evaluate.comparison import Comparison, compare_evaluations
from luthier.evaluate.evaluation import Evaluation as Judged
from luthier.evaluate.evaluation import evaluate as judge
from luthier.evaluate.fairness import Model, columns_of, measure_fairness, swap_lists
from luthier.evaluate.generation import GenerationEvaluation, Writer, compare_generation
from luthier.evaluate.generation.graders import Ask

Source = str | Path | Sequence[str | Path]


def plain(source: Source) -> str | list[str]:
    """Sources as the data room takes them."""
    if isinstance(source, str | Path):
        return str(source)
    return [str(item) for item in source]


@dataclass(frozen=True)
class Evaluation:
    """What `evaluate` found.

    Attributes:
        judged: metrics with intervals, per class, confusion, worst errors.
        baselines: others on the same rows; `comparisons` with paired tests.
        fairness: by group and under swaps, where that was asked for.
    """

    judged: Judged | GenerationEvaluation
    baselines: Mapping[str, Judged | GenerationEvaluation] = field(default_factory=dict)
    comparisons: list[Comparison] = field(default_factory=list)
    fairness: dict[str, Any] | None = None

    @property
    def metrics(self) -> dict[str, float]:
        """Metric values by name."""
        return {name: interval.value for name, interval in self.judged.metrics.items()}

    def to_dict(self) -> dict[str, Any]:
        """JSON, as `luthier eval --json` prints it."""
        from luthier.evaluate.generation.report import language_verdict
        from luthier.evaluate.report import strict, verdict_sentence

        if isinstance(self.judged, GenerationEvaluation):
            verdict = language_verdict(self.judged, self.comparisons, "given")
        else:
            verdict = verdict_sentence(self.judged, self.comparisons, "given")
        plain: dict[str, Any] = strict(
            {
                **self.judged.to_dict(),
                "baselines": {name: other.to_dict()["metrics"] for name, other in self.baselines.items()},
                "comparisons": [comparison.to_dict() for comparison in self.comparisons],
                "verdict": verdict,
                **({} if self.fairness is None else {"fairness": self.fairness}),
            }
        )
        return plain


def evaluate(
    model: Predictor | Writer | str | Path,
    data: Source,
    *,
    task: str | None = None,
    columns: dict[str, Any] | None = None,
    train: Source | None = None,
    generate_rows: int | None = None,
    ask: Ask | None = None,
    judge_name: str = "",
    fairness: FairnessSpec | None = None,
    listener: Listener = ignore,
) -> Evaluation:
    """Judge a predictor, a run or a base model on labelled data.

    A run is compared with the baselines fitted on its own training data, where that is still
    there. A base model has no head for the labels: a linear head is fitted on its frozen features
    of the rows in `train`.

    What writes (chat, complete) is judged by its loss on all rows and by its answers to `generate_rows` of
    them, a run against the untuned base. `ask` sends messages to a model for score_model graders, and
    `judge_name` is what that is called. With `fairness` it is judged by group and under swaps too.
    """
    from luthier.models.run_model import model_folder
    from luthier.proof import baseline_evaluations, before_tuning, fairness_model

    found = _evaluate_writer(model, data, task, columns, train, generate_rows, ask, judge_name, fairness, listener)
    if found is not None:
        return found
    assert not isinstance(model, Writer)
    if not isinstance(model, str | Path):
        rows = _labelled(data, task or model.task, columns, fairness=fairness)
        alone = judge(model, rows.samples())
        fair = _fairness(fairness, rows, fairness_model("", alone, model))
        return Evaluation(alone, fairness=fair)
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
        rows = _labelled(data, tuned.task, known, fairness=fairness)
        several = tuned.model.several_labels
        if tuned.task == "classify":
            rows.several_labels = several
        listener(Event("message", f"Judging {model} on {', '.join(rows.sources)}."))
        ours = judge(tuned, rows.samples(), several_labels=several)
        unknown = sorted(set(ours.labels) - set(tuned.labels))
        if unknown:
            shown = ", ".join(unknown[:5])
            text = f"{len(unknown)} labels of this data are unknown to the run ({shown}): always wrong."
            listener(Event("message", text, "warn"))
        others: dict[str, Judged] = {}
        fitted: dict[str, Predictor] = {}
        learned: _Samples | None = None
        if fit_on is not None and _reachable(fit_on):
            from luthier.models.catalogue import locate

            learned = _Samples(_labelled(fit_on, tuned.task, known, several))
            others = baseline_evaluations(
                ("majority", "tfidf", "frozen"), tuned.task, learned, _Samples(rows), labels=list(tuned.labels),
                several_labels=several,
                source=locate(tuned.settings["base"]["path"] or tuned.settings["base"]["name"]),
                tokenizer=tuned.tokenizer, max_length=tuned.settings["max_length"], spec=EvaluateSpec(),
                listener=listener, fitted=fitted,
            )  # fmt: skip
        else:
            listener(
                Event(
                    "message", "The training data is not there any more, so there is nothing to compare with.", "warn"
                )
            )
        fair = _fairness(fairness, rows, fairness_model("", ours, tuned), before_tuning(others, fitted), learned)
        return Evaluation(ours, others, compare_evaluations(ours, others), fair)
    return _evaluate_base(str(model), data, task, columns, train, fairness, listener)


def _evaluate_writer(
    model: Predictor | Writer | str | Path,
    data: Source,
    task: str | None,
    columns: dict[str, Any] | None,
    train: Source | None,
    generate_rows: int | None,
    ask: Ask | None,
    judge_name: str,
    fairness: FairnessSpec | None,
    listener: Listener,
) -> Evaluation | None:
    """A model that writes; None for any other."""
    judge_by: dict[str, Any] = {
        "columns": dict(columns or {}), "generate_rows": generate_rows, "ask": ask, "judge_name": judge_name,
        "fairness": fairness,
    }  # fmt: skip
    rows = plain(data)
    if isinstance(model, Writer):
        from luthier.language_judging import judge_writer

        ours, others, fair = judge_writer(model, rows, task=task or "auto", **judge_by)
    elif not isinstance(model, str | Path):
        return None
    elif _is_run(model):
        from luthier import language_judging as language

        if not language.writes(Path(model)):
            return None
        ours, others, fair = language.judge_run(model, rows, task=task, listener=listener, **judge_by)
    else:
        from luthier import language_judging as language
        from luthier.models.catalogue import locate
        from luthier.models.language_predictor import LanguageModel

        if task not in LANGUAGE_TASKS and not (train is None and language.base_writes(locate(str(model)))):
            return None
        known = language.open_language(rows, task or "auto", judge_by["columns"]).task
        base = LanguageModel.load_base(str(model), task=known)
        ours, others, fair = language.judge_writer(base, rows, task=known, **judge_by)
    return Evaluation(ours, others, compare_generation(ours, others), fair)


def _evaluate_base(
    name: str,
    data: Source,
    task: str | None,
    columns: dict[str, Any] | None,
    train: Source | None,
    fairness: FairnessSpec | None,
    listener: Listener,
) -> Evaluation:
    """A base model with a linear head on its frozen features."""
    from luthier.data.prepare import names_of
    from luthier.models.catalogue import locate
    from luthier.models.tokenizer import load_tokenizer
    from luthier.proof import baseline_evaluations, fairness_model

    source = locate(name)
    if train is None:
        raise UsageError(
            f"{name} is a base model: it has no head for your labels.",
            remedy="Give --train FILE to fit a linear head on its frozen features, or the folder of a run.",
            code="base_without_head",
            param="train",
        )
    fit_on = _labelled(train, task or "auto", columns)
    rows = _labelled(data, fit_on.task, columns, fit_on.several_labels, fairness)
    if fit_on.task == "regress":
        labels = list(fit_on.columns.score)
    else:
        labels = sorted({label for sample in fit_on.samples() for label in names_of(sample)})
    tokenizer = load_tokenizer(source.path)
    fitted: dict[str, Predictor] = {}
    found = baseline_evaluations(
        ("majority", "tfidf", "frozen"), fit_on.task, _Samples(fit_on), _Samples(rows), labels=labels,
        several_labels=fit_on.several_labels, source=source, tokenizer=tokenizer,
        max_length=min(256, tokenizer.max_length), spec=EvaluateSpec(), listener=listener,
        fitted=fitted,
    )  # fmt: skip
    if "frozen" not in found:
        raise UsageError(
            f"a base model cannot be judged for {fit_on.task} without training.",
            remedy="Train first: luthier train --task extract --method head --data FILE.",
        )
    ours = found.pop("frozen")
    fair = _fairness(fairness, rows, fairness_model("", ours, fitted["frozen"]), train=_Samples(fit_on))
    return Evaluation(ours, found, compare_evaluations(ours, found), fair)


class _Samples:
    """A data set that can be read again."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset

    def __iter__(self) -> Iterator[Sample]:
        return self.dataset.samples()


def _fairness(
    spec: FairnessSpec | None,
    rows: Dataset,
    ours: Model,
    before: Model | None = None,
    train: _Samples | None = None,
) -> dict[str, Any] | None:
    return None if spec is None else measure_fairness(spec, _Samples(rows), ours, before=before, train=train)


def _labelled(
    source: Source,
    task: str,
    columns: dict[str, Any] | None,
    several: bool | None = None,
    fairness: FairnessSpec | None = None,
) -> Any:
    """The data; a group column of `fairness` that is not there is told at once."""
    dataset = Dataset.open(plain(source), task=task, columns=columns)
    if several is not None and dataset.task == "classify":
        dataset.several_labels = several
    if fairness is not None:
        check_group_columns(dataset, columns_of(fairness))
        swap_lists(fairness.swaps)
    return dataset


def _is_run(model: str | Path) -> bool:
    folder = Path(model)
    return (
        any((place / "luthier.json").is_file() for place in (folder, folder / "model"))
        or (folder / "recipe.yaml").is_file()
    )


def _reachable(source: Source) -> bool:
    places = [source] if isinstance(source, str | Path) else list(source)
    return all("://" in str(place) or Path(place).exists() for place in places)

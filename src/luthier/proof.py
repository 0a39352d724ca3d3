"""Prove a model: metrics with intervals, against what it must beat, on the same rows; and the report."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from luthier import reporting
from luthier.core.errors import ModelError
from luthier.core.events import Event, Listener
from luthier.core.predictor import Predictor
from luthier.core.recipe import LANGUAGE_TASKS, EvaluateSpec
from luthier.data.samples import Sample
from luthier.evaluate.answers_file import AnswersFile, answer_row
from luthier.evaluate.baselines import Majority
from luthier.evaluate.comparison import Comparison, compare_evaluations
from luthier.evaluate.evaluation import Evaluation, evaluate
from luthier.evaluate.fairness import Model, predictor_answers, prove_fairness
from luthier.evaluate.generation import GenerationEvaluation
from luthier.evaluate.linear import FrozenFeatures, TfidfBaseline
from luthier.evaluate.metric_names import primary_metric
from luthier.evaluate.overfitting import diagnose
from luthier.evaluate.report import build_report, strict
from luthier.forgetting_proof import reader_forgetting
from luthier.language_proof import prove_language
from luthier.models.base_source import BaseSource
from luthier.models.predictor import TunedModel
from luthier.models.tokenizer import Tokenizer
from luthier.train.features import FrozenEncoder
from luthier.train.run import Trained
from luthier.train.validate import Judge, Validator


def baseline_evaluations(
    names: Iterable[str],
    task: str,
    fit_on: Iterable[Sample],
    judge_on: Sequence[Sample] | Iterable[Sample],
    *,
    labels: Sequence[str],
    several_labels: bool,
    source: BaseSource,
    tokenizer: Tokenizer,
    max_length: int,
    spec: EvaluateSpec,
    listener: Listener,
    fitted: dict[str, Predictor] | None = None,
) -> dict[str, Evaluation]:
    """Fit each baseline on the training rows and judge it on the same rows as the model; `fitted` takes them."""
    found: dict[str, Evaluation] = {}
    for name in names:
        if name == "frozen" and task == "extract":
            continue  # whole-text features cannot find spans; the dictionary stands in for them
        listener(Event("proving", data={"part": name}))
        listener(Event("message", f"Baseline: {_BASELINES[name]}."))
        known: dict[str, Any] = {"labels": labels, "several_labels": several_labels}
        predictor: Predictor
        if name == "majority":
            predictor = Majority(task, **known).fit(fit_on)
        elif name == "tfidf":
            baseline = TfidfBaseline(task, **known)
            predictor, name = baseline.fit(fit_on), baseline.name
        else:
            predictor = FrozenFeatures(task, FrozenEncoder(source, tokenizer, max_length), **known).fit(fit_on)
        if fitted is not None:
            fitted[name] = predictor
        found[name] = evaluate(
            predictor, judge_on, metrics=spec.metrics, several_labels=several_labels, bootstrap=spec.bootstrap,
            batch_size=4096,
        )  # fmt: skip
    return found


_BASELINES = {
    "majority": "always the most frequent answer",
    "tfidf": "what a linear model on word counts (for spans: a dictionary) reaches",
    "frozen": "a linear head on the frozen base",
    "scratch": "the same architecture from random weights",
}


def prove(trained: Trained, listener: Listener) -> tuple[dict[str, Any], Evaluation | GenerationEvaluation | None]:
    """Calibrate, export, judge, compare and write the report; returns report.json's content."""
    if trained.prepared.task in LANGUAGE_TASKS:
        return prove_language(trained, listener)
    recipe, prepared, run = trained.recipe, trained.prepared, trained.run
    settings = calibration(trained.validator)
    trained.export(**settings)
    model = TunedModel.load(run.path)
    _check_parity(trained, model)
    held_out = reporting.held_out(trained)
    if held_out is None:
        report = _without_proof(trained)
        report["forgetting"] = strict(reader_forgetting(trained, model, listener))
        reporting.write(run, report)
        return report, None
    judged_on, where = held_out
    spec = recipe.evaluate
    listener(Event("proving", data={"part": "judging"}))
    listener(Event("message", f"Judging on {len(judged_on):,} {where} rows."))
    several = prepared.several_labels
    with AnswersFile(run.answers_jsonl) as answers:
        ours = evaluate(
            model, judged_on, metrics=spec.metrics, several_labels=several, bootstrap=spec.bootstrap,
            keep=lambda *row: answers.add(answer_row(prepared.task, several, *row)),
        )  # fmt: skip
    assert isinstance(recipe.train.max_length, int)
    fitted: dict[str, Predictor] = {}
    others = baseline_evaluations(
        [name for name in spec.baselines if name != "scratch"], prepared.task, prepared.train, judged_on,
        labels=prepared.labels, several_labels=prepared.several_labels, source=trained.source,
        tokenizer=trained.tokenizer, max_length=recipe.train.max_length, spec=spec, listener=listener,
        fitted=fitted,
    )  # fmt: skip
    if "scratch" in spec.baselines:
        others["scratch"] = _from_scratch(trained, judged_on, listener)
    listener(Event("proving", data={"part": "report"}))
    comparisons = compare_evaluations(ours, others, resamples=spec.bootstrap)
    fairness = prove_fairness(
        recipe, judged_on, fairness_model("", ours, model), before=before_tuning(others, fitted), train=prepared.train,
        listener=listener, warnings=trained.warnings,
    )  # fmt: skip
    report = _report(trained, ours, others, comparisons, settings, where, fairness)
    report["forgetting"] = strict(reader_forgetting(trained, model, listener))
    reporting.write(run, report)
    return report, ours


def fairness_model(name: str, judged: Evaluation, predictor: Predictor) -> Model:
    """A predictor as the fairness report asks it."""
    return Model(name, judged, predictor_answers(predictor, judged.several_labels))


def before_tuning(judged: Mapping[str, Evaluation], fitted: Mapping[str, Predictor]) -> Model | None:
    """The frozen base with a linear head, which stands for the model before tuning; None where there is none."""
    if "frozen" not in fitted:
        return None
    return fairness_model("frozen", judged["frozen"], fitted["frozen"])


def calibration(validator: Judge | None) -> dict[str, Any]:
    """A temperature from the validation rows (Guo et al. 2017), where scores are probabilities."""
    if not isinstance(validator, Validator) or validator.coder.task != "classify":
        return {}
    from luthier.evaluate.calibration import fit_temperature

    table = validator.table
    targets = table.targets
    if validator.coder.several_labels:
        coded: Any = targets.reshape(len(table), -1)
    else:
        coded = targets.astype("int64")
    return {"temperature": fit_temperature(validator.logits(), coded)}


def _check_parity(trained: Trained, model: TunedModel) -> None:
    """What was written answers like what was trained (PITFALLS A1, A3), before anything is published."""
    import numpy as np

    if trained.recipe.train.precision != "fp32" or trained.prepared.task == "extract":
        return
    if not isinstance(trained.validator, Validator):
        return  # there are no validation rows
    assert trained.prepared.validation is not None
    texts = [sample.input for _, sample in zip(range(32), trained.prepared.validation, strict=False)]
    if trained.validator.table.dropped:
        return  # rows that were left out have no logits to compare with
    expected = trained.validator.logits()[: len(texts)]
    difference = float(np.abs(model.logits(texts) - expected).max())
    if difference > reporting.PARITY * max(1.0, float(np.abs(expected).max())):
        raise ModelError(
            f"the exported model answers differently from the trained one (by {difference:.1e}).",
            where=str(trained.run.model),
            remedy="Please report this base model and method as a bug; the checkpoints are intact.",
            code="export_differs",
        )


def _from_scratch(trained: Trained, judged_on: Iterable[Sample], listener: Listener) -> Evaluation:
    """The same recipe from random weights: what pre-training is worth."""
    listener(Event("proving", data={"part": "scratch"}))
    listener(Event("message", f"Baseline: {_BASELINES['scratch']} (a whole training)."))
    with reporting.from_scratch(trained) as folder:
        return evaluate(
            TunedModel.load(folder), judged_on, metrics=trained.recipe.evaluate.metrics,
            several_labels=trained.prepared.several_labels, bootstrap=trained.recipe.evaluate.bootstrap,
        )  # fmt: skip


def _report(
    trained: Trained,
    ours: Evaluation,
    others: Mapping[str, Evaluation],
    comparisons: Sequence[Comparison],
    calibration: Mapping[str, Any],
    where: str,
    fairness: Mapping[str, Any] | None,
) -> dict[str, Any]:
    progress = trained.progress
    scorer = trained.validator.metric_name if trained.validator is not None else ""
    return build_report(
        evaluation=ours,
        baselines=others,
        comparisons=comparisons,
        validation_metric=scorer,
        overfitting=diagnose(progress.history, progress.best_epoch, progress.planned_epochs),
        calibration=calibration or None,
        fairness=fairness,
        evaluated_on=where,
        **reporting.shared(trained),
    )


def _without_proof(trained: Trained) -> dict[str, Any]:
    """The report of a run without held-out rows: everything but figures."""
    prepared = trained.prepared
    return {
        **reporting.shared(trained),
        "verdict": "Nothing was proved: there were no held-out rows.",
        "primary_metric": primary_metric(prepared.task, prepared.several_labels)[0],
        "several_labels": prepared.several_labels,
        "evaluated_on": "held-out",
        "rows": 0,
        "labels": prepared.labels,
        "metrics": {},
        "baselines": {},
        "comparisons": [],
        "validation_metric": "",
        "overfitting": None,
        "calibration": None,
        "per_class": {},
        "confusion": None,
        "worst_errors": [],
        "forgetting": None,
        "fairness": None,
    }

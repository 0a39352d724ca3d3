"""Prove a model that writes: its loss and its answers, against the untuned base on the same rows; and the report."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any

from luthier import reporting
from luthier.core.errors import ModelError
from luthier.core.events import Event, Listener
from luthier.core.recipe import EvaluateSpec, Recipe
from luthier.core.rundir import read_jsonl
from luthier.data.canaries import SOURCE, canaries
from luthier.data.dataset import Dataset
from luthier.data.prepare import View
from luthier.data.samples import Sample
from luthier.data.sources import open_bytes
from luthier.data.templates import renderer_for
from luthier.evaluate.answers_file import AnswersFile
from luthier.evaluate.fairness import Model, WriterAnswers, prove_fairness
from luthier.evaluate.generation import (
    GenerationEvaluation,
    RowColumns,
    Writer,
    compare_generation,
    evaluate_generation,
)
from luthier.evaluate.generation.evaluation import Keep
from luthier.evaluate.generation.grader_models import Grader, Multi, ScoreModel, parse_graders
from luthier.evaluate.generation.graders import Ask, grade, sample_of
from luthier.evaluate.generation.memorisation import answers_only, memorisation
from luthier.evaluate.generation.questions import item_of, question_of
from luthier.evaluate.generation.report import build_language_report, side_by_side
from luthier.evaluate.metric_names import check_metrics
from luthier.evaluate.overfitting import diagnose
from luthier.forgetting_proof import writer_forgetting
from luthier.models.language_predictor import LanguageModel
from luthier.train.language_step import LanguageRunner
from luthier.train.run import Trained

_BASELINES = {"base": "the base model, untuned", "scratch": "the same architecture from random weights"}
_PARITY_ROWS = 8


def prove_language(trained: Trained, listener: Listener) -> tuple[dict[str, Any], GenerationEvaluation | None]:
    """Export, judge, compare and write the report; returns report.json's content.

    Raises `ModelError` when what was written answers differently from what was trained.
    """
    recipe, run = trained.recipe, trained.run
    trained.export()
    ours = LanguageModel.load(run.path)
    _check_parity(trained, ours)
    held_out = reporting.held_out(trained)
    if held_out is None:
        memorised = _memorised(trained, ours, None, [], listener)
        return _finish(trained, None, {}, "held-out", memorised, writer_forgetting(trained, ours, listener)), None
    judged_on, where = held_out
    spec = recipe.evaluate
    unknown = [name for name in spec.baselines if name not in _BASELINES]
    if unknown:
        trained.warnings.append(f"A model that writes is not compared with {', '.join(unknown)}: base and scratch are.")
    answered = min(len(judged_on), spec.generate_rows)
    listener(Event("proving", data={"part": "judging"}))
    listener(Event("message", f"Judging on {len(judged_on):,} {where} rows, {answered:,} of them answered."))

    def judged(model: LanguageModel, keep: Keep | None = None) -> GenerationEvaluation:
        return judge_language(model, judged_on, spec, judged_on.dataset, keep=keep)

    with AnswersFile(run.answers_jsonl) as answers:
        evaluation = judged(ours, answers.add)
    others: dict[str, GenerationEvaluation] = {}
    base = before = None
    if "base" in spec.baselines:
        listener(Event("proving", data={"part": "base"}))
        listener(Event("message", f"Baseline: {_BASELINES['base']}."))
        base = untuned(ours, str(trained.source.path))
        others["base"] = judged(base)
        before = fairness_writer("base", others["base"], base, spec)
    memorised = _memorised(trained, ours, base, judged_on, listener)
    del base
    if "scratch" in spec.baselines:
        listener(Event("proving", data={"part": "scratch"}))
        listener(Event("message", f"Baseline: {_BASELINES['scratch']} (a whole training)."))
        with reporting.from_scratch(trained) as folder:
            others["scratch"] = judged(LanguageModel.load(folder))
    listener(Event("proving", data={"part": "report"}))
    fairness = prove_fairness(
        recipe, judged_on, fairness_writer("", evaluation, ours, spec), before=before, train=trained.prepared.train,
        listener=listener, warnings=trained.warnings,
    )  # fmt: skip
    del before
    forgetting = writer_forgetting(trained, ours, listener)
    return _finish(trained, evaluation, others, where, memorised, forgetting, fairness), evaluation


def fairness_writer(name: str, judged: GenerationEvaluation, model: Writer, spec: EvaluateSpec) -> Model:
    """A model that writes as the fairness report asks it."""
    return Model(name, judged, WriterAnswers(model, answered=spec.generate_rows, max_tokens=spec.max_tokens))


def _memorised(
    trained: Trained, ours: Writer, base: Writer | None, held_out: View | Sequence[Sample], listener: Listener
) -> dict[str, Any] | None:
    """What the model learned by heart, beside held-out rows and the untuned base."""
    spec, rows = trained.recipe.evaluate, trained.prepared.train
    if not spec.memorisation and not spec.canaries:
        return None
    listener(Event("proving", data={"part": "memorisation"}))
    listener(Event("message", "Looking for answers learned by heart."))
    planted = canaries(trained.prepared.task, spec.canaries, trained.recipe.train.seed)
    own = answers_only((row for row in rows if row.source != SOURCE), spec.memorisation, len(rows) - len(planted))
    return memorisation(ours, base, own, answers_only(held_out, spec.memorisation, len(held_out)), planted)


def judge_language(
    model: Writer,
    rows: Iterable[Sample],
    spec: EvaluateSpec,
    dataset: Dataset,
    *,
    ask: Ask | None = None,
    judge_name: str = "",
    keep: Keep | None = None,
) -> GenerationEvaluation:
    """Measure and answer `rows`, which are of `dataset`, as `spec` says; without `ask` no model is asked to grade."""
    graders, left_out = usable_graders(parse_graders(spec.graders), ask)
    needs_columns = spec.run_code or bool(graders)
    found = evaluate_generation(
        model, rows, metrics=spec.metrics, rows_to_generate=spec.generate_rows, max_tokens=spec.max_tokens,
        bootstrap=spec.bootstrap, run_code=spec.run_code, graders=graders, ask=ask, judge_name=judge_name,
        columns=RowColumns(dataset.rows()) if needs_columns else None, keep=keep,
    )  # fmt: skip
    if left_out:
        found.notes.append(f"Graders that ask a model were left out, because none is connected: {', '.join(left_out)}.")
    return found


def usable_graders(graders: Sequence[Grader], ask: Ask | None) -> tuple[list[Grader], list[str]]:
    """(graders that can be used, names of those that would need a model)."""

    def asks(grader: Grader) -> bool:
        parts = list(grader.graders.values()) if isinstance(grader, Multi) else [grader]
        return any(isinstance(part, ScoreModel) for part in parts)

    left_out = [one.name for one in graders if ask is None and asks(one)]
    return [one for one in graders if one.name not in left_out], left_out


def check_judging(recipe: Recipe) -> None:
    """Find mistakes of `recipe.evaluate` before hours are spent: each grader grades the reference of the first row.

    Raises `RecipeError`, `DataError`, or `UsageError` where a package is missing.
    """
    graders, _ = usable_graders(parse_graders(recipe.evaluate.graders), None)
    if recipe.task != "auto":
        check_metrics(recipe.task, recipe.evaluate.metrics)
    if not graders:
        return
    source = recipe.data.test if recipe.data.test is not None else recipe.data.train
    dataset = Dataset.open(source, task=recipe.task, columns=recipe.data.columns)
    columns = RowColumns(dataset.rows())
    for sample in dataset.samples():
        question = question_of(sample)
        if question is not None:
            item = item_of(sample, question, columns(sample))
            for grader in graders:
                grade(grader, sample_of(question.reference), item)
            return


def untuned(ours: LanguageModel, base: str) -> LanguageModel:
    """The base that `ours` was tuned from, asked and measured through the same template."""
    found = LanguageModel.load_base(base, task=ours.task)
    return LanguageModel(found.model, found.tokenizer, ours.renderer, found.settings)


def _check_parity(trained: Trained, written: LanguageModel) -> None:
    """What was written finds the same texts as likely as what was trained (PITFALLS A1, A3, G4)."""
    recipe, prepared = trained.recipe, trained.prepared
    if recipe.train.precision != "fp32":
        return
    template = None
    if recipe.data.template is not None:
        with open_bytes(recipe.data.template) as handle:
            template = handle.read().decode("utf-8")
    renderer = renderer_for(prepared.task, trained.tokenizer, template, recipe.data.learn)
    model: Any = trained.model
    before = LanguageModel(model, trained.tokenizer, renderer, {"task": prepared.task})
    rows = list(islice(iter(prepared.validation if prepared.validation else prepared.train), _PARITY_ROWS))
    worst = 0.0
    for ours, theirs in zip(before.likelihood(rows), written.likelihood(rows), strict=True):
        worst = max(worst, abs(ours.loss_sum - theirs.loss_sum) / max(1.0, abs(ours.loss_sum)))
    if not worst <= reporting.PARITY:
        raise ModelError(
            f"the exported model finds texts less or more likely than the trained one (by {worst:.1e} of the loss).",
            where=str(trained.run.model),
            remedy="Please report this base model and method as a bug; the checkpoints are intact.",
            code="export_differs",
        )


def _finish(
    trained: Trained,
    evaluation: GenerationEvaluation | None,
    others: dict[str, GenerationEvaluation],
    where: str,
    memorised: dict[str, Any] | None,
    forgetting: dict[str, Any] | None,
    fairness: dict[str, Any] | None = None,
) -> dict[str, Any]:
    progress = trained.progress
    comparisons = []
    if evaluation is not None:
        comparisons = compare_generation(evaluation, others, resamples=trained.recipe.evaluate.bootstrap)
    report = build_language_report(
        evaluation=evaluation,
        baselines=others,
        comparisons=comparisons,
        samples=side_by_side(read_jsonl(trained.run.events_jsonl), progress.best_step or None),
        notes=_notes(trained),
        overfitting=diagnose(progress.history, progress.best_epoch, progress.planned_epochs)
        if trained.validator is not None
        else None,
        evaluated_on=where,
        memorisation=memorised,
        validation_metric=trained.validator.metric_name if trained.validator is not None else "",
        fairness=fairness,
        forgetting=forgetting,
        **reporting.shared(trained),
    )
    reporting.write(trained.run, report)
    return report


def _notes(trained: Trained) -> dict[str, Any]:
    """Tokens: how many were read, learned, and not computed twice."""
    notes = dict(trained.notes)
    runner = trained.runner
    if isinstance(runner, LanguageRunner) and runner.tokens:
        notes["tokens_read"] = runner.tokens
        notes["tokens_saved_by_shared_prefixes"] = runner.saved
        notes["share_saved"] = runner.saved / runner.tokens
    return notes

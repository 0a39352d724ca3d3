"""What the tuned model forgot, and what each step back to its base would give back; for both proofs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from luthier.core import clock
from luthier.core.events import Event, Listener
from luthier.core.recipe import LANGUAGE_TASKS, ForgettingSpec
from luthier.data.general import conversations, open_anchors, topic_sentences
from luthier.data.samples import Sample
from luthier.evaluate.forgetting import (
    Finding,
    TradeOff,
    judge_reader,
    judge_writer,
    mean_loss,
    neighbour_agreement,
    summarise,
)
from luthier.evaluate.forgetting.curve import curve_report
from luthier.models.build import build
from luthier.models.language_predictor import LanguageModel
from luthier.models.predictor import TunedModel
from luthier.models.trainable import load_trainable_state, trainable_state
from luthier.train.checkpoint import MODEL
from luthier.train.remedies.path import along, has_path
from luthier.train.run import Trained

SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Of the way from base to tuned, where the curve is measured."""
_SHIPPED = {True: "general conversations", False: "general sentences"}


def writer_forgetting(trained: Trained, ours: LanguageModel, listener: Listener) -> dict[str, Any] | None:
    """The report's ``forgetting`` of a model that writes; None where the recipe does not ask."""
    if not trained.recipe.evaluate.forgetting:
        return None
    began = clock.monotonic()
    listener(Event("proving", data={"part": "forgetting"}))
    listener(Event("message", "Measuring what was forgotten."))
    untuned = LanguageModel.load_base(str(trained.source.path), task=ours.task)
    base = LanguageModel(untuned.model, untuned.tokenizer, ours.renderer, untuned.settings)
    resamples = trained.recipe.evaluate.bootstrap
    sets = _sets(trained)
    findings = [judge_writer(name, base, ours, rows, resamples=resamples) for name, rows in sets]
    live: Any = trained.model
    moving = LanguageModel(live, ours.tokenizer, ours.renderer, ours.settings)
    curve = _curve(trained, lambda: mean_loss(moving, sets[0][1]), "loss on general texts", False)
    return summarise(findings, curve, clock.monotonic() - began)


def reader_forgetting(trained: Trained, ours: TunedModel, listener: Listener) -> dict[str, Any] | None:
    """The report's ``forgetting`` of an encoder; None where the recipe does not ask."""
    if not trained.recipe.evaluate.forgetting:
        return None
    began = clock.monotonic()
    listener(Event("proving", data={"part": "forgetting"}))
    listener(Event("message", "Measuring what was forgotten."))
    longest = ours.tokenizer.max_length - ours.model.reserved_positions
    settings = {**ours.settings, "max_length": longest}  # the run's own may be shorter than a general text
    untuned = build(
        trained.source, task=ours.task, labels=ours.labels, several_labels=ours.model.several_labels,
        pooling=ours.model.pooling, encoder_dropout=0.0,
    )  # fmt: skip
    device = next(ours.model.parameters()).device
    base = TunedModel(untuned.to(device), ours.tokenizer, settings)
    tuned = TunedModel(ours.model, ours.tokenizer, settings)
    sets = _sets(trained)
    resamples = trained.recipe.evaluate.bootstrap
    findings: list[Finding] = [judge_reader(name, base, tuned, rows, resamples=resamples) for name, rows in sets]
    texts = [sample.input for sample in sets[0][1]]
    before, moving = base.embed(texts), TunedModel(trained.model, ours.tokenizer, settings)
    curve = _curve(
        trained, lambda: float(neighbour_agreement(before, moving.embed(texts)).mean()),
        "same neighbours among general texts", True,
    )  # fmt: skip
    return summarise(findings, curve, clock.monotonic() - began)


def _sets(trained: Trained) -> list[tuple[str, Sequence[Sample]]]:
    """Luthier's own general texts, then the user's."""
    task, asked = trained.prepared.task, trained.recipe.evaluate.forgetting
    writes = task in LANGUAGE_TASKS
    found: list[tuple[str, Sequence[Sample]]] = [
        (_SHIPPED[writes], conversations("anchors", task) if writes else topic_sentences())
    ]
    if isinstance(asked, ForgettingSpec):
        found.append(("general texts of yours", open_anchors(asked.anchors, task)))
    return found


def _curve(
    trained: Trained, retained: Callable[[], float], name: str, retained_higher: bool
) -> dict[str, Any] | None:
    """The trade-off over the way between base and tuned and over the saved checkpoints, judged on validation rows.

    None where there are no validation rows, or nothing of the base moved.
    """
    judge, start, tuned = trained.validator, trained.start, trained.tuned
    if judge is None or start is None or tuned is None or trained.recipe.method.kind == "head":
        return None
    points: list[TradeOff] = []
    with _as_it_was(trained):
        if has_path(trained.model):
            for share in SHARES:
                load_trainable_state(trained.model, along(trained.model, start, tuned, share))
                points.append(TradeOff(share, None, judge.judge().value, retained()))
        for step in trained.run.steps():
            state = _checkpoint(trained, step)
            if state is not None and step != trained.progress.best_step:
                load_trainable_state(trained.model, state)
                points.append(TradeOff(None, step, judge.judge().value, retained()))
    return curve_report(
        points, metric=judge.metric_name, task_higher=judge.higher_is_better, retained=name,
        retained_higher=retained_higher, run=str(trained.run.path),
    )  # fmt: skip


def _checkpoint(trained: Trained, step: int) -> dict[str, Tensor] | None:
    try:
        return load_file(trained.run.checkpoint(step) / MODEL)
    except (OSError, SafetensorError):
        return None  # a curve can do without a damaged checkpoint


@contextmanager
def _as_it_was(trained: Trained) -> Iterator[None]:
    """The model's weights and mode are put back."""
    model = trained.model
    kept, training = {name: tensor.clone() for name, tensor in trainable_state(model).items()}, model.training
    model.eval()
    try:
        yield
    finally:
        load_trainable_state(model, kept)
        model.train(training)

"""Curves and answers of a job, as its worker tells them and as they are read again; on both databases."""

from __future__ import annotations

import math
from typing import Any

import pytest
from making import Making

from luthier.jobs.errors import NotFound
from luthier.jobs.records import Job
from luthier.jobs.store import Store
from luthier.jobs.store_curves import thinned
from luthier.jobs.telling import Telling


def step(number: int, total: int = 10, loss: float = 1.0) -> dict[str, Any]:
    data = {
        "step": number, "total_steps": total, "epochs": 2, "loss": loss, "grad_norm": 2.5, "learning_rate": 1e-3,
        "rows_per_second": 40.0, "tokens_per_second": 400.0,
    }  # fmt: skip
    return {"kind": "step", "data": data}


def evaluation(number: int) -> dict[str, Any]:
    data = {"step": number, "validation_loss": 0.5, "validation_metric": 0.75, "metric_name": "accuracy"}
    return {"kind": "evaluation", "data": data}


def sample(number: int, text: str) -> dict[str, Any]:
    data = {"step": number, "prompt": "q", "reference": "r", "output": text, "finish_reason": "stop"}
    return {"kind": "sample", "data": data}


def told(make: Making, *lines: dict[str, Any]) -> Job:
    """A job whose worker said `lines`."""
    queue = make.queue()
    claim = make.claim(queue)
    telling = Telling(str)
    for line in lines:
        telling.take(line)
    telling.close()
    queue.record(claim, telling.taken(), step=telling.step, total_steps=telling.total_steps)
    return claim.job


def test_a_curve_holds_what_steps_and_evaluations_measured(store: Store, make: Making) -> None:
    job = told(make, *(step(n, loss=1 / n) for n in range(1, 6)), evaluation(5), step(6, loss=0.1))
    curve = store.curves.curve(job.project_id, job.id)
    assert [point["step"] for point in curve.steps] == [1, 2, 3, 4, 5, 6]
    assert [point["train_loss"] for point in curve.steps] == [1 / n for n in range(1, 6)] + [0.1]
    assert {point["grad_norm"] for point in curve.steps} == {2.5}
    assert {point["learning_rate"] for point in curve.steps} == {1e-3}
    [judged] = curve.evaluations
    assert (judged["step"], judged["valid_loss"], judged["valid_metric"]) == (5, 0.5, 0.75)
    assert curve.measured == 6
    assert store.curves.curve(job.project_id, job.id, after=curve.last).steps == []
    assert [point["step"] for point in store.curves.curve(job.project_id, job.id, after=curve.last - 1).steps] == [6]


def test_a_long_curve_is_thinned_by_the_database_and_keeps_its_evaluations(
    store: Store, make: Making, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("luthier.jobs.store_curves._MOST_READ", 20)
    lines = [line for n in range(1, 101) for line in ([step(n, 100), evaluation(n)] if n == 50 else [step(n, 100)])]
    job = told(make, *lines)
    curve = store.curves.curve(job.project_id, job.id)
    assert curve.measured == 100
    assert 19 <= len(curve.steps) <= 22
    assert [point["step"] for point in curve.evaluations] == [50]


def test_a_curve_of_another_project_or_of_nothing_is_not_found(store: Store, make: Making) -> None:
    job = told(make, step(1), sample(0, "a"), step(2))
    other = store.projects.create("other").id
    for project, id in ((other, job.id), (job.project_id, "ftjob-nothing")):
        with pytest.raises(NotFound):
            store.curves.curve(project, id)
        with pytest.raises(NotFound):
            store.curves.samples(project, id)
    with pytest.raises(NotFound) as error:
        store.curves.samples(job.project_id, job.id, after="ftevent-x")
    assert error.value.param == "after"


def test_the_answers_of_one_evaluation_are_one_event(store: Store, make: Making) -> None:
    lines = [sample(0, "before"), sample(0, "before too"), step(1), evaluation(5), sample(5, "after")]
    job = told(make, *lines, {"kind": "saving"})
    page = store.curves.samples(job.project_id, job.id)
    assert [(event.data["step"], len(event.data["samples"])) for event in page.items] == [(0, 2), (5, 1)]
    assert page.items[1].data["samples"] == [
        {"prompt": "q", "reference": "r", "output": "after", "finish_reason": "stop"}
    ]
    first = store.curves.samples(job.project_id, job.id, limit=1)
    assert first.has_more
    assert store.curves.samples(job.project_id, job.id, first.items[0].id).items == page.items[1:]


def test_answers_that_a_dead_worker_did_not_finish_are_not_kept() -> None:
    telling = Telling(str)
    telling.take(sample(5, "half of them"))
    telling.close()
    assert telling.taken() == []


def test_answers_that_no_database_can_hold_are_kept_without_what_it_cannot() -> None:
    telling = Telling(str)
    telling.take(sample(5, "a\0b\ud800c" + "x" * 5000))
    telling.take({"kind": "saving"})
    [event] = telling.taken()
    text = event.data["samples"][0]["output"]
    assert text.startswith("a\N{REPLACEMENT CHARACTER}b?c")
    assert len(text) == 2000


def test_what_auto_became_is_told_with_its_reason() -> None:
    telling = Telling(str)
    train = {"epochs": 3, "batch_size": 8, "accumulate": 2, "learning_rate_multiplier": 1.0, "learning_rate": 1e-4}
    reasons = {"train.learning_rate": "auto: full fine-tuning", "task": "auto: recognised"}
    data = {"recipe": {"task": "classify", "train": train}, "reasons": reasons}
    telling.take({"kind": "message", "message": "classify on minilm", "data": data})
    assert telling.chosen == {
        "n_epochs": 3, "batch_size": 16, "learning_rate_multiplier": 1.0, "train.learning_rate": 1e-4,
        "task": "classify", "reasons": reasons,
    }  # fmt: skip


def test_thinning_keeps_the_ends_and_every_spike() -> None:
    points = [{"step": n, "train_loss": 100.0 if n == 777 else 1 + math.sin(n) / 10} for n in range(5000)]
    kept = thinned(points, 200)
    assert len(kept) <= 200
    assert (kept[0], kept[-1]) == (points[0], points[-1])
    assert 777 in {point["step"] for point in kept}
    assert [point["step"] for point in kept] == sorted(point["step"] for point in kept)
    assert thinned(points[:200], 200) == points[:200]
    assert thinned(points, 2) == [points[0], points[-1]]

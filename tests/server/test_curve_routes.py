"""Curves and answers of a job over HTTP."""

from __future__ import annotations

from typing import Any

import pytest
from wire import Wire, chat_rows

from luthier.jobs.records import NewEvent


class Asking:
    """One job of a server, and somebody who asks for it."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.headers = {"authorization": f"Bearer {wire.key('write')}"}
        file = wire.client().files.create(file=("rows.jsonl", chat_rows()), purpose="fine-tune").id
        self.job = wire.client().fine_tuning.jobs.create(model="luthier-nano", training_file=file).id
        wire.store.jobs.validated(self.job, {}, [])
        claim = wire.queue.claim()
        assert claim is not None
        self.claim = claim

    def get(self, path: str) -> Any:
        return self.wire.http.get(f"/luthier/v1/jobs/{self.job}/{path}", headers=self.headers)

    def step(self, number: int, **data: Any) -> None:
        measured = {"step": number, "train_loss": 1 / number, **data}
        event = NewEvent(f"step:{number}", f"Step {number}", type="metrics", data=measured)
        self.wire.queue.record(self.claim, [event], step=number, total_steps=9)


@pytest.fixture
def asking(plain_wire: Wire) -> Asking:
    return Asking(plain_wire)


def test_curves_are_columns_that_grow_while_the_job_runs(asking: Asking) -> None:
    empty = asking.get("metrics").json()
    assert (empty["steps"]["step"], empty["evaluations"]["step"], empty["last"]) == ([], [], 0)
    asking.step(1, learning_rate=0.5, grad_norm=2.0)
    asking.step(2, valid_loss=0.25, valid_metric=0.75, valid_metric_name="accuracy")
    told = asking.get("metrics").json()
    assert (told["status"], told["step"], told["total_steps"]) == ("running", 2, 9)
    assert told["steps"]["step"] == [1, 2]
    assert told["steps"]["train_loss"] == [1.0, 0.5]
    assert told["steps"]["grad_norm"] == [2.0, None]
    assert told["steps"]["learning_rate"] == [0.5, None]
    assert told["evaluations"]["step"] == [2]
    assert told["evaluations"]["valid_metric"] == [0.75]
    assert told["metric_name"] == "accuracy"
    asking.step(3)
    more = asking.get(f"metrics?after={told['last']}").json()
    assert more["steps"]["step"] == [3]
    assert more["evaluations"]["step"] == []
    for number in range(4, 30):
        asking.step(number)
    few = asking.get("metrics?points=4").json()
    assert few["measured"] == 29
    assert len(few["steps"]["step"]) == 4
    assert asking.get("metrics?points=1").status_code == 400
    assert asking.get("metrics?after=-1").status_code == 400


def test_answers_are_told_for_each_evaluation(asking: Asking) -> None:
    assert asking.get("samples").json()["data"] == []
    answer = {"prompt": "q", "reference": "r", "output": "<script>", "finish_reason": "stop"}
    for step in (0, 3):
        event = NewEvent(f"samples:{step}", "Answers", data={"step": step, "samples": [answer]})
        asking.wire.queue.record(asking.claim, [event])
    told = asking.get("samples").json()
    assert [(one["step"], one["samples"]) for one in told["data"]] == [(0, [answer]), (3, [answer])]
    rest = asking.get(f"samples?after={told['data'][0]['id']}").json()
    assert [one["step"] for one in rest["data"]] == [3]
    unknown = asking.get("samples?after=ftevent-nothing")
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "cursor_not_found")

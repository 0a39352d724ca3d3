"""Fine-tuning jobs over OpenAI's wire: made, followed, stopped. Nothing trains here; the store and the queue act."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from openai.types.fine_tuning import FineTuningJob, FineTuningJobEvent
from openai.types.fine_tuning.jobs import FineTuningJobCheckpoint
from wire import Wire, chat_rows, class_rows, refused, strictly

from luthier.core import clock
from luthier.jobs.records import Claim, JobCheckpoint, Model, NewEvent
from luthier.server.openai import job_making
from luthier.server.openai.job_watch import JobWatch

UNKNOWN = "ftjob-" + "0" * 24


@pytest.fixture
def wire(tmp_path: Path) -> Iterator[Wire]:
    with Wire(tmp_path, organisation="acme").running() as it:
        yield it


@pytest.fixture
def client(wire: Wire) -> openai.OpenAI:
    return wire.client()


@pytest.fixture
def train(client: openai.OpenAI) -> str:
    return client.files.create(file=("train.jsonl", chat_rows()), purpose="fine-tune").id


def claim(wire: Wire, job: str) -> Claim:
    """The job, running."""
    wire.store.jobs.validated(job, {}, [])
    claimed = wire.queue.claim()
    assert claimed is not None
    assert claimed.job.id == job
    return claimed


def a_model(wire: Wire, job: str, name: str, **fields: Any) -> Model:
    values: dict[str, Any] = {
        "project_id": wire.project, "job_id": job, "base_model": "luthier-nano", "task": "chat", "method": "lora",
        "artefact": f"models/{job}/final", "created_at": 5,
    }  # fmt: skip
    return Model(name, **(values | fields))


def test_a_new_job_says_what_was_asked(wire: Wire, client: openai.OpenAI, train: str) -> None:
    valid = client.files.create(file=("valid.jsonl", chat_rows(3)), purpose="fine-tune").id
    job = client.fine_tuning.jobs.create(
        model="luthier-nano", training_file=train, validation_file=valid, suffix="my-model", seed=42,
        method={"type": "supervised", "supervised": {"hyperparameters": {
            "n_epochs": 3, "batch_size": 4, "learning_rate_multiplier": "auto"}}},
        metadata={"team": "a"},
    )  # fmt: skip
    strictly(FineTuningJob, job)
    assert job.status == "validating_files"
    assert (job.model, job.training_file, job.validation_file) == ("luthier-nano", train, valid)
    assert (job.seed, job.metadata, job.organization_id) == (42, {"team": "a"}, "acme")
    assert job.hyperparameters.model_dump() == {"n_epochs": 3, "batch_size": 4, "learning_rate_multiplier": "auto"}
    assert job.method is not None
    assert job.method.type == "supervised"
    assert (job.fine_tuned_model, job.finished_at, job.error, job.result_files) == (None, None, None, [])
    assert client.fine_tuning.jobs.retrieve(job.id) == job
    stored = wire.store.jobs.find(job.id)
    assert stored.recipe == {
        "model": "luthier-nano", "task": "chat", "data": {"train": train, "validation": valid},
        "method": {"kind": "lora"}, "train": {"epochs": 3, "batch_size": 4, "patience": 0, "seed": 42},
    }  # fmt: skip
    messages = [event.message for event in client.fine_tuning.jobs.list_events(job.id)]
    assert messages == [f"Validating training file: {train}", f"Created fine-tuning job: {job.id}"]


def test_what_is_left_open_is_settled(wire: Wire, client: openai.OpenAI, train: str) -> None:
    job = client.fine_tuning.jobs.create(model="luthier-nano", training_file=train)
    strictly(FineTuningJob, job)
    assert job.hyperparameters.n_epochs == "auto"
    assert 0 <= job.seed < 2**31
    assert wire.store.jobs.find(job.id).recipe["train"] == {"seed": job.seed}
    older = client.fine_tuning.jobs.create(
        model="luthier-nano", training_file=train, hyperparameters={"n_epochs": 1, "learning_rate_multiplier": 2}
    )
    assert older.hyperparameters.n_epochs == 1
    assert older.hyperparameters.learning_rate_multiplier == 2.0
    assert wire.store.jobs.find(older.id).recipe["data"] == {"train": train, "validation": 0.0}


@pytest.mark.parametrize(
    ("content", "task"),
    [
        (b'{"prompt": "a", "completion": "b"}\n' * 10, "complete"),
        (b'{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}\n', "chat"),
        (b"\xff\xfe not text", "chat"),
        (b"{broken\n", "chat"),
    ],
)
def test_the_task_is_seen_from_the_first_rows(wire: Wire, client: openai.OpenAI, content: bytes, task: str) -> None:
    file = client.files.create(file=("rows.jsonl", content), purpose="fine-tune").id
    job = client.fine_tuning.jobs.create(model="luthier-nano", training_file=file)
    assert wire.store.jobs.find(job.id).task == task


def test_an_encoder_learns_labels_through_the_same_route(wire: Wire, client: openai.OpenAI, train: str) -> None:
    labels = client.files.create(file=("rows.csv", class_rows()), purpose="fine-tune").id
    job = client.fine_tuning.jobs.create(model="minilm", training_file=labels)
    assert wire.store.jobs.find(job.id).task == "classify"
    told = refused(lambda: client.fine_tuning.jobs.create(model="minilm", training_file=train), openai.BadRequestError)
    assert (told["param"], told["code"]) == ("training_file", "task_not_recognised")


SUPERVISED: Callable[[dict[str, Any]], dict[str, Any]] = lambda values: {  # noqa: E731 - a word of the table
    "method": {"type": "supervised", "supervised": {"hyperparameters": values}}
}
PLACE = "method.supervised.hyperparameters."


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        (SUPERVISED({"n_epochs": 0}), PLACE + "n_epochs"),
        (SUPERVISED({"n_epochs": 51}), PLACE + "n_epochs"),
        (SUPERVISED({"n_epochs": 1.5}), PLACE + "n_epochs"),
        (SUPERVISED({"n_epochs": True}), PLACE + "n_epochs"),
        (SUPERVISED({"n_epochs": "3"}), PLACE + "n_epochs"),
        (SUPERVISED({"batch_size": -1}), PLACE + "batch_size"),
        (SUPERVISED({"batch_size": 257}), PLACE + "batch_size"),
        (SUPERVISED({"learning_rate_multiplier": 0}), PLACE + "learning_rate_multiplier"),
        (SUPERVISED({"learning_rate_multiplier": 1e9}), PLACE + "learning_rate_multiplier"),
        (SUPERVISED({"epochs": 1}), PLACE + "epochs"),
        ({"hyperparameters": {"n_epochs": 0}}, "hyperparameters.n_epochs"),
        ({"hyperparameters": {"n_epochs": 1}, **SUPERVISED({"n_epochs": 1})}, "hyperparameters"),
        ({"method": {"type": "distillation"}}, "method.type"),
        ({"method": {"type": "dpo", "dpo": {"hyperparameters": {"beta": 0.1}}}}, "method.type"),
        ({"method": {"type": "reinforcement", "reinforcement": {"grader": {}}}}, "method.type"),
        ({"suffix": "x" * 65}, "suffix"),
        ({"suffix": ""}, "suffix"),
        ({"suffix": "a:b"}, "suffix"),
        ({"suffix": "a/../b"}, "suffix"),
        ({"suffix": "é"}, "suffix"),
        ({"seed": -1}, "seed"),
        ({"seed": 2**31}, "seed"),
        ({"seed": "1"}, "seed"),
        ({"metadata": {str(i): "" for i in range(17)}}, "metadata"),
        ({"metadata": {"k" * 65: ""}}, "metadata"),
        ({"metadata": {"k": "v" * 513}}, "metadata.k"),
        ({"metadata": {"k": 1}}, "metadata.k"),
        ({"integrations": [{"type": "wandb", "wandb": {"project": "p"}}]}, "integrations"),
        ({"integrations": [{"type": "other", "other": {}}]}, "integrations[0].type"),
        ({"extra_body": {"epochs": 3}}, "epochs"),
        ({"extra_body": {"model": 3}}, "model"),
        ({"extra_body": {"training_file": None}}, "training_file"),
    ],
)
def test_a_wrong_value_is_told_with_its_place(shared: Wire, fields: dict[str, Any], param: str) -> None:
    client = shared.client()
    train = client.files.create(file=("train.jsonl", chat_rows()), purpose="fine-tune").id
    told = refused(
        lambda: client.fine_tuning.jobs.create(**{"model": "luthier-nano", "training_file": train, **fields}),
        openai.BadRequestError,
    )
    assert told["type"] == "invalid_request_error"
    assert told["param"].startswith(param)
    assert list(client.fine_tuning.jobs.list()) == []


def test_unsupported_methods_and_integrations_say_so(client: openai.OpenAI, train: str) -> None:
    def create(**fields: Any) -> Any:
        return client.fine_tuning.jobs.create(model="luthier-nano", training_file=train, **fields)

    told = refused(lambda: create(method={"type": "dpo", "dpo": {}}), openai.BadRequestError)
    assert told["code"] == "unsupported_method"
    told = refused(lambda: create(integrations=[{"type": "wandb", "wandb": {}}]), openai.BadRequestError)
    assert told["code"] == "unsupported_integration"
    assert create(integrations=[]).integrations == []


def test_what_a_caller_does_not_have_is_not_found(wire: Wire, client: openai.OpenAI, train: str) -> None:
    """Indirect ids as well: a file, a model or a cursor of another project is the same as an unknown one."""
    job = client.fine_tuning.jobs.create(model="luthier-nano", training_file=train)
    running = claim(wire, job.id)
    name = "ft:luthier-nano:acme::abcdefgh"
    wire.queue.finish(running, "succeeded", events=[], models=[a_model(wire, job.id, name)])
    stranger = wire.stranger()
    own = stranger.files.create(file=("train.jsonl", chat_rows()), purpose="fine-tune").id
    other_name = "ft:luthier-nano:acme::hgfedcba"

    def create(**fields: Any) -> Any:
        return stranger.fine_tuning.jobs.create(**{"model": "luthier-nano", "training_file": own, **fields})

    pairs: list[tuple[Callable[[str], Any], str, str]] = [
        (lambda id: create(training_file=id), train, "file-" + "0" * 24),
        (lambda id: create(validation_file=id), train, "file-" + "0" * 24),
        (lambda name: create(model=name), name, other_name),
        (stranger.fine_tuning.jobs.retrieve, job.id, UNKNOWN),
        (stranger.fine_tuning.jobs.cancel, job.id, UNKNOWN),
        (stranger.fine_tuning.jobs.pause, job.id, UNKNOWN),
        (stranger.fine_tuning.jobs.resume, job.id, UNKNOWN),
        (stranger.fine_tuning.jobs.list_events, job.id, UNKNOWN),
        (stranger.fine_tuning.jobs.checkpoints.list, job.id, UNKNOWN),
        (lambda id: stranger.fine_tuning.jobs.list(after=id), job.id, UNKNOWN),
        (stranger.models.retrieve, name, other_name),
        (stranger.models.delete, name, other_name),
    ]
    for call, known, unknown in pairs:
        told = refused(lambda call=call, id=known: call(id), openai.NotFoundError)
        same = refused(lambda call=call, id=unknown: call(id), openai.NotFoundError)
        assert told["message"].replace(known, "X") == same["message"].replace(unknown, "X")
        assert {**told, "message": ""} == {**same, "message": ""}
    assert refused(lambda: create(model="gpt-4o-mini"), openai.NotFoundError)["code"] == "model_not_found"
    for path in ("/etc", "../models", str(Path.home()), "sentence-transformers/all-MiniLM-L6-v2"):
        assert refused(lambda path=path: create(model=path), openai.NotFoundError)["code"] == "model_not_found"
    assert list(stranger.fine_tuning.jobs.list()) == []


def test_a_file_for_another_purpose_is_refused(client: openai.OpenAI) -> None:
    file = client.files.create(file=("a.jsonl", chat_rows()), purpose="user_data").id
    told = refused(
        lambda: client.fine_tuning.jobs.create(model="luthier-nano", training_file=file), openai.BadRequestError
    )
    assert (told["param"], told["code"]) == ("training_file", "invalid_file_purpose")


def test_the_same_request_makes_one_job(
    wire: Wire, client: openai.OpenAI, train: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = 1_790_000_039  # the last second of a minute
    monkeypatch.setattr(job_making, "now", lambda: at)

    def create(who: openai.OpenAI = client, **fields: Any) -> Any:
        return who.fine_tuning.jobs.create(model="luthier-nano", training_file=train, **fields)

    first = create()
    assert create() == first
    at += 30  # the next minute, and still the same request
    assert create() == first
    assert create(suffix="other").id != first.id
    assert create(wire.client()).id != first.id
    at += 31
    later = create()
    assert later.id != first.id
    assert later.seed != first.seed
    client.fine_tuning.jobs.cancel(later.id)
    assert create().id not in (first.id, later.id)


def test_an_idempotency_key_makes_one_job_for_good(
    client: openai.OpenAI, train: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def create(key: str, **fields: Any) -> Any:
        return client.fine_tuning.jobs.create(
            model="luthier-nano", training_file=train, extra_headers={"Idempotency-Key": key}, **fields
        )

    first = create("one")
    monkeypatch.setattr(job_making, "now", lambda: first.created_at + 100_000)
    assert create("one") == first
    assert create("two").id != first.id
    assert refused(lambda: create("one", suffix="x"), openai.BadRequestError)["code"] == "idempotency_key_reused"
    assert refused(lambda: create("a b"), openai.BadRequestError)["param"] == "Idempotency-Key"
    assert len(list(client.fine_tuning.jobs.list())) == 2


def test_requests_at_the_same_moment_make_one_job(wire: Wire, client: openai.OpenAI, train: str) -> None:
    made: list[str] = []
    together = threading.Barrier(4)

    def create() -> None:
        together.wait()
        made.append(client.fine_tuning.jobs.create(model="luthier-nano", training_file=train).id)

    threads = [threading.Thread(target=create) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 4
    assert len(set(made)) == 1


@pytest.mark.parametrize("limit", ["max_queued_jobs", "max_queued_jobs_per_key"])
def test_only_so_many_jobs_wait(tmp_path: Path, limit: str) -> None:
    with Wire(tmp_path, **{limit: 2}).running() as wire:
        client = wire.client()
        file = client.files.create(file=("a.jsonl", chat_rows()), purpose="fine-tune").id
        for seed in (1, 2):
            client.fine_tuning.jobs.create(model="luthier-nano", training_file=file, seed=seed)
        refused(
            lambda: client.fine_tuning.jobs.create(model="luthier-nano", training_file=file, seed=3),
            openai.RateLimitError,
        )
        if limit == "max_queued_jobs_per_key":  # another key of the project has its own
            wire.client().fine_tuning.jobs.create(model="luthier-nano", training_file=file, seed=3)


def test_jobs_are_listed_in_pages_and_by_metadata(client: openai.OpenAI, train: str) -> None:
    sets: list[dict[str, str] | None] = [{"team": "a", "run": "1"}, {"team": "a", "run": ""}, {"team": "b"}, None]
    ids = [
        client.fine_tuning.jobs.create(model="luthier-nano", training_file=train, seed=i, metadata=pairs).id
        for i, pairs in enumerate(sets)
    ]
    assert [job.id for job in client.fine_tuning.jobs.list(limit=3)] == ids[::-1]
    found = {
        name: [job.id for job in client.fine_tuning.jobs.list(metadata=pairs)]
        for name, pairs in {
            "a": {"team": "a"},
            "both": {"team": "a", "run": "1"},
            "empty": {"run": ""},
            "all": {},
        }.items()
    }
    assert found == {"a": ids[1::-1], "both": ids[:1], "empty": ids[1:2], "all": ids[::-1]}
    assert [job.id for job in client.fine_tuning.jobs.list(extra_query={"metadata": "null"})] == ids[3:]
    for query in ({"metadata": "x"}, {"metadata": "null", "metadata[a]": "b"}, {"metadata[]": "x"}):
        told = refused(lambda query=query: client.fine_tuning.jobs.list(extra_query=query), openai.BadRequestError)
        assert told["param"] == "metadata"


def test_a_job_runs_to_its_end_before_the_eyes_of_a_client(wire: Wire, client: openai.OpenAI, train: str) -> None:
    job = client.fine_tuning.jobs.create(model="luthier-nano", training_file=train, suffix="s")
    running = claim(wire, job.id)
    assert client.fine_tuning.jobs.retrieve(job.id).status == "running"
    chosen = {"n_epochs": 2, "batch_size": 8, "learning_rate_multiplier": 1.0}
    wire.queue.record(running, chosen=chosen, step=1, total_steps=4, estimated_finish=running.job.created_at + 60)
    seen = client.fine_tuning.jobs.retrieve(job.id)
    strictly(FineTuningJob, seen)
    assert seen.hyperparameters.model_dump() == chosen
    assert seen.estimated_finish == running.job.created_at + 60
    name = "ft:luthier-nano:acme:s:abcdefgh"
    point = JobCheckpoint(
        "ftckpt-" + "a" * 24, job.id, 2, f"{name}:ckpt-step-2", {"train_loss": 1.5, "valid_loss": 2.0}, 7
    )
    wire.queue.finish(
        running, "succeeded", events=[NewEvent("done", "The job has successfully completed")],
        models=[a_model(wire, job.id, name), a_model(wire, job.id, point.model, step=2)], checkpoints=[point],
        result_files=["file-" + "r" * 24], fine_tuned_model=name, trained_tokens=123,
    )  # fmt: skip
    done = client.fine_tuning.jobs.retrieve(job.id)
    strictly(FineTuningJob, done)
    assert (done.status, done.fine_tuned_model, done.trained_tokens) == ("succeeded", name, 123)
    assert done.finished_at is not None
    assert done.estimated_finish is None
    points = client.fine_tuning.jobs.checkpoints.list(job.id)
    strictly(FineTuningJobCheckpoint, points.data[0])
    found = points.data[0]
    assert (found.step_number, found.fine_tuned_model_checkpoint) == (2, point.model)
    assert (found.metrics.step, found.metrics.train_loss, found.metrics.valid_loss) == (2, 1.5, 2.0)
    further = client.fine_tuning.jobs.create(model=point.model, training_file=train)
    stored = wire.store.jobs.find(further.id)
    assert (further.model, stored.base_model, stored.parent) == (point.model, "luthier-nano", point.model)


def test_a_failure_is_told_in_the_job(wire: Wire, client: openai.OpenAI, train: str) -> None:
    job = client.fine_tuning.jobs.create(model="luthier-nano", training_file=train)
    error = {"code": "invalid_training_file", "message": "Line 17: no assistant message.", "param": "training_file"}
    wire.store.jobs.rejected(job.id, error, [NewEvent("failed", "Line 17: no assistant message.", "error")])
    failed = client.fine_tuning.jobs.retrieve(job.id)
    strictly(FineTuningJob, failed)
    assert failed.status == "failed"
    assert failed.error is not None
    assert failed.error.model_dump() == error


def test_waiting_jobs_stop_at_once(client: openai.OpenAI, train: str) -> None:
    jobs = client.fine_tuning.jobs
    job = jobs.create(model="luthier-nano", training_file=train)
    assert jobs.pause(job.id).status == "paused"
    assert jobs.pause(job.id).status == "paused"
    assert jobs.resume(job.id).status == "validating_files"
    assert jobs.resume(job.id).status == "validating_files"
    cancelled = jobs.cancel(job.id)
    strictly(FineTuningJob, cancelled)
    assert cancelled.status == "cancelled"
    assert jobs.cancel(job.id) == cancelled
    for call in (jobs.pause, jobs.resume):
        assert refused(lambda call=call: call(job.id), openai.BadRequestError)["code"] == "job_status"


def test_a_running_job_is_waited_for_when_it_is_cancelled(wire: Wire, client: openai.OpenAI, train: str) -> None:
    job = client.fine_tuning.jobs.create(model="luthier-nano", training_file=train)
    running = claim(wire, job.id)
    answers: list[str] = []
    thread = threading.Thread(target=lambda: answers.append(client.fine_tuning.jobs.cancel(job.id).status))
    thread.start()
    while wire.queue.heartbeat(running) != "cancel":
        assert thread.is_alive()
    wire.queue.finish(running, "cancelled", events=[])
    thread.join(10)
    assert answers == ["cancelled"]


def test_events_come_newest_first_in_pages(wire: Wire, client: openai.OpenAI, train: str) -> None:
    job = client.fine_tuning.jobs.create(model="luthier-nano", training_file=train)
    running = claim(wire, job.id)
    metrics = {"step": 1, "total_steps": 9, "train_loss": float("nan"), "train_mean_token_accuracy": 0.5}
    wire.queue.record(running, events=[NewEvent(f"note:{i}", f"note {i}") for i in range(9)])
    del metrics["train_loss"]
    wire.queue.record(running, events=[NewEvent("step:1", "Step 1/9", type="metrics", data=metrics)])
    events = list(client.fine_tuning.jobs.list_events(job.id, limit=4))
    for event in events:
        strictly(FineTuningJobEvent, event)
    assert events[0].data == metrics
    assert events[0].type == "metrics"
    assert events[1].data is None
    assert [event.message for event in events[1:4]] == ["note 8", "note 7", "note 6"]
    assert len({event.id for event in events}) == len(events) == 13 - 1
    assert (
        refused(lambda: client.fine_tuning.jobs.list_events(job.id, after="ftevent-" + "0" * 24), openai.NotFoundError)[
            "param"
        ]
        == "after"
    )


def followed(client: openai.OpenAI, job: str, **query: Any) -> list[FineTuningJobEvent]:
    stream = client.get(
        f"/fine_tuning/jobs/{job}/events", cast_to=FineTuningJobEvent, stream=True,
        stream_cls=openai.Stream[FineTuningJobEvent], options={"params": {"stream": "true", **query}},
    )  # fmt: skip
    return list(stream)


def test_followers_get_every_event_once_and_in_order(wire: Wire, client: openai.OpenAI, train: str) -> None:
    job = client.fine_tuning.jobs.create(model="luthier-nano", training_file=train)
    running = claim(wire, job.id)
    watch = JobWatch.of(wire.state)
    watch.longest_wait = 0.01  # so that comments come between the events

    def work() -> None:
        while not watch._flags:  # until somebody follows
            pass
        for step in range(150):
            wire.queue.record(running, events=[NewEvent(f"step:{step}", f"step {step}")], step=step)
        clock.sleep(0.1)
        wire.queue.finish(running, "succeeded", events=[NewEvent("done", "done")])

    thread = threading.Thread(target=work)
    thread.start()
    events = followed(client, job.id)
    thread.join()
    for event in events:
        strictly(FineTuningJobEvent, event)
    kept = wire.store.jobs.events(wire.project, job.id, limit=1000, order="asc").items
    assert [event.id for event in events] == [event.id for event in kept]
    assert len(events) > 150
    assert [event.id for event in followed(client, job.id, after=kept[99].id)] == [event.id for event in kept[100:]]
    assert followed(client, job.id, after=kept[-1].id) == []
    assert not watch._flags


def test_polls_of_a_job_that_has_not_changed_ask_nobody(
    wire: Wire, client: openai.OpenAI, train: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = client.fine_tuning.jobs.create(model="luthier-nano", training_file=train)
    assert client.fine_tuning.jobs.retrieve(job.id).status == "validating_files"
    with monkeypatch.context() as patch:
        patch.setattr(wire.store.jobs, "get", None)
        patch.setattr("luthier.server.openai.job_shapes.job_json", None)
        assert client.fine_tuning.jobs.retrieve(job.id).status == "validating_files"
    wire.store.jobs.validated(job.id, {}, [])
    assert client.fine_tuning.jobs.retrieve(job.id).status == "queued"

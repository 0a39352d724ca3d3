"""The held-out rows of a finished job, with what was expected and what the tuned model answered."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from fastapi.responses import Response
from pydantic import Field

from luthier.core.rundir import read_jsonl
from luthier.jobs.errors import NotFound
from luthier.jobs.file_names import ANSWERS
from luthier.jobs.recipes import file_ids, local_name
from luthier.jobs.records import Identity, Job
from luthier.server import store_call
from luthier.server.auth import Caller
from luthier.server.errors import ApiError
from luthier.server.openai.answers import ERRORS, Id, Shape, json_response
from luthier.server.openai.fine_tuning import find_job
from luthier.server.state import AppState, State

router = APIRouter(prefix="/luthier/v1", tags=["Jobs"], responses=ERRORS)

LONGEST_SEARCH = 200
_HIDDEN = ("key",)
Which = Literal["all", "right", "wrong"]


class AnswerRow(Shape):
    """A row. `predicted` is a label, a list of labels, a number, spans or a text, as the task has it; `wrong` is 0
    where it is right, else how wrong it is in the task's own measure."""

    row: int
    line: int
    source: str
    text: str
    text_pair: str | None = None
    expected: Any
    predicted: Any
    score: float | None = Field(None, description="Of a label: its calibrated probability.")
    scores: dict[str, float] = Field(default_factory=dict, description="The likeliest labels.")
    wrong: float
    loss: float | None = Field(None, description="Of what writes: nats over all tokens of the reference.")
    tokens: float | None = None
    correct: float | None = None
    finish_reason: str | None = None


class AnswerList(Shape):
    """`next` is the `after` of the next page; null at the end. `total` counts the rows that the filters let through,
    `answered` all."""

    object: str
    task: str
    answered: int
    total: int
    data: list[AnswerRow]
    next: int | None


@router.get("/jobs/{job_id}/answers", operation_id="listJobAnswers", response_model=AnswerList)
async def job_answers(
    job_id: Id,
    state: State,
    caller: Caller,
    after: Annotated[int, Query(ge=0, le=10**9, description="How many rows to pass over.")] = 0,
    limit: Annotated[int, Query(ge=1, le=200)] = 20,
    which: Annotated[Which, Query(description="Rows that were answered rightly or wrongly, or both.")] = "all",
    q: Annotated[str | None, Query(max_length=LONGEST_SEARCH, description="Only rows whose text holds this.")] = None,
) -> Response:
    """Each held-out row with its answer, in the order of the data."""
    return json_response(await store_call.run(_answers, state, caller, job_id, after, limit, which, q))


def _answers(
    state: AppState, caller: Identity, job_id: str, after: int, limit: int, which: Which, words: str | None
) -> dict[str, Any]:
    job = find_job(state, caller, job_id)
    return {"object": "list", "task": job.task, **page_of(_path(state, job), after, limit, which, words,
                                                          file_names_of(state, job))}  # fmt: skip


def page_of(
    path: Path, after: int, limit: int, which: Which, words: str | None, names: dict[str, str]
) -> dict[str, Any]:
    """One page of an answers file; `names` are what people call the sources."""
    wanted = (words or "").casefold()
    answered = total = 0
    found = []
    for row in read_jsonl(path):
        if "predicted" not in row:
            continue
        answered += 1
        if which != "all" and (row["wrong"] == 0) != (which == "right"):
            continue
        if wanted and not any(wanted in text.casefold() for text in _texts(row)):
            continue
        if after <= total < after + limit:
            found.append({key: value for key, value in row.items() if key not in _HIDDEN}
                         | {"source": names.get(row["source"], row["source"])})  # fmt: skip
        total += 1
    further = after + len(found)
    return {"answered": answered, "total": total, "data": found, "next": further if further < total else None}


def _texts(row: dict[str, Any]) -> Iterator[str]:
    for name in ("text", "text_pair", "expected", "predicted"):
        if isinstance(row.get(name), str):
            yield row[name]


def _path(state: AppState, job: Job) -> Path:
    place = job.result.get("report")
    path = state.artefacts.folder(place) / ANSWERS if isinstance(place, str) else None
    if path is None or not path.is_file():
        why = f"it is {job.status}" if path is None else "there were no held-out rows, or an older version made it"
        raise ApiError(404, f"The job {job.id} has no answers: {why}.", param="job_id", code="no_answers")
    return path


def file_names_of(state: AppState, job: Job) -> dict[str, str]:
    """What people call the job's files, by the names that its worker saw."""
    names = {}
    for number, file_id in enumerate(file_ids(job.recipe)):
        try:
            file = state.store.files.get(job.project_id, file_id)
        except NotFound:
            continue  # it was deleted since
        names[local_name(number, file)] = file.filename
    return names

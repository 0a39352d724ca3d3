"""The events of a job: page by page, or as they happen."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Annotated

from fastapi import APIRouter, Header, Query
from fastapi.responses import Response

from luthier.jobs.records import Identity, JobEvent, Page
from luthier.server import store_call
from luthier.server.auth import Caller
from luthier.server.openai.answers import ERRORS, LONGEST_ID, After, Id, json_bytes, json_response, list_of
from luthier.server.openai.fine_tuning import after_of, find_job
from luthier.server.openai.job_shapes import EventList, event_json
from luthier.server.openai.job_watch import JobWatch
from luthier.server.openai.streams import DONE, EventStream
from luthier.server.state import AppState, State

router = APIRouter(prefix="/v1", tags=["Fine-tuning"], responses=ERRORS)

AT_ONCE = 100
"""Events that a follower reads at a time."""
FOLLOWING, STILL_HERE = b": following\n", b": nothing new\n"
"""Comments, which clients pass over: the stream begins at once, and the connection lives. No empty line follows them:
after one, OpenAI's client reads an event without data once it has seen an event's id."""


@router.get(
    "/fine_tuning/jobs/{job_id}/events",
    response_model=EventList,
    responses={200: {"content": {"text/event-stream": {}}, "description": "Newest first; with stream=true, as they "
                     "happen, oldest first."}},
)  # fmt: skip
async def list_events(
    job_id: Id,
    state: State,
    caller: Caller,
    after: After = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 20,
    stream: Annotated[bool, Query(description="Send all events from the oldest on, then each as it happens.")] = False,
    last_event_id: Annotated[str | None, Header(alias="Last-Event-ID", max_length=LONGEST_ID)] = None,
) -> Response:
    """What happened in a job."""
    await store_call.run(find_job, state, caller, job_id)
    if not stream:
        page = await _page(state, caller, job_id, after, limit, "desc")
        return json_response(list_of([event_json(event) for event in page.items], page.has_more))
    begin = after or last_event_id
    await _page(state, caller, job_id, begin, 1, "asc")  # a wrong cursor is told before the stream begins
    return EventStream(FOLLOWING, _follow(state, caller, job_id, begin))


async def _page(
    state: AppState, caller: Identity, job_id: str, after: str | None, limit: int, order: str
) -> Page[JobEvent]:
    read = state.store.jobs.events
    return await after_of(after, "event", read, caller.project_id, job_id, after, limit, order)


async def _follow(state: AppState, caller: Identity, job_id: str, after: str | None) -> AsyncGenerator[bytes]:
    """Every event after `after` once, in order, until the job is over."""
    watch = JobWatch.of(state)
    with watch.following(job_id) as flag:
        while True:
            flag.lower()
            # The job before its events: those of a job that is over are all there.
            job = await store_call.run(find_job, state, caller, job_id)
            page = await _page(state, caller, job_id, after, AT_ONCE, "asc")
            for event in page.items:
                after = event.id
                yield b"id: " + event.id.encode() + b"\ndata: " + json_bytes(event_json(event)) + b"\n\n"
            if page.has_more:
                continue
            if job.terminal:
                yield DONE
                return
            if not page.items and not await flag.wait(watch.longest_wait):
                yield STILL_HERE

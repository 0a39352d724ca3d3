"""What an endpoint was asked: requests, tokens, and how long answers took, over time."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Response
from pydantic import Field

from luthier.jobs.page_records import TrafficRow
from luthier.server import store_call
from luthier.server.auth import Caller
from luthier.server.luthier_api.endpoints import EndpointId
from luthier.server.openai.answers import ERRORS, Shape, json_response, now
from luthier.server.state import State
from luthier.server.traffic import KEPT_SECONDS, MINUTE, Traffic, flushing, in_steps, quantile, total_of

router = APIRouter(prefix="/luthier/v1/endpoints", tags=["Endpoints"], responses=ERRORS, lifespan=flushing)
MOST_POINTS = 500


class TrafficPoint(Shape):
    """From `start` on, for one step. The quantiles are of the seconds from a request's headers to the end of its
    answer; null where nothing was answered. `errors` are part of `requests`."""

    start: int
    requests: int
    errors: int
    prompt_tokens: int
    completion_tokens: int
    seconds_p50: float | None
    seconds_p95: float | None
    seconds_p99: float | None


class EndpointTraffic(Shape):
    """The last `seconds`, in steps of `step_seconds`, oldest first; minutes are kept for two weeks."""

    object: Literal["endpoint.traffic"]
    endpoint: str
    seconds: int
    step_seconds: int
    total: TrafficPoint
    data: Annotated[list[TrafficPoint], Field(max_length=MOST_POINTS + 2)]


@router.get("/{endpoint_id}/traffic", operation_id="getEndpointTraffic", response_model=EndpointTraffic)
async def get_traffic(
    endpoint_id: EndpointId, caller: Caller, state: State,
    seconds: Annotated[int, Query(ge=MINUTE, le=KEPT_SECONDS)] = 3600,
    points: Annotated[int, Query(ge=1, le=MOST_POINTS)] = 60,
) -> Response:  # fmt: skip
    """Requests, tokens and latencies of the last while."""
    await store_call.run(state.store.endpoints.get, caller.project_id, endpoint_id)
    step = max(MINUTE, -(-seconds // points // MINUTE) * MINUTE)
    at = now()
    since = (at - seconds) // step * step
    counted = Traffic.of(state)
    stored = await store_call.run(state.store.traffic.list, endpoint_id, since)
    fresh = [row for (name, _), row in list(counted.minutes.items()) if name == endpoint_id]
    steps = in_steps([*stored, *fresh], since, step, (at - since) // step + 1)
    return json_response({
        "object": "endpoint.traffic", "endpoint": endpoint_id, "seconds": seconds, "step_seconds": step,
        "total": _point(total_of(steps), since), "data": [_point(one, one.start) for one in steps],
    })  # fmt: skip


def _point(row: TrafficRow, start: int) -> dict[str, Any]:
    found = {f"seconds_p{name}": quantile(row.latencies, name / 100) for name in (50, 95, 99)}
    return {
        "start": start, "requests": row.requests, "errors": row.errors, "prompt_tokens": row.prompt_tokens,
        "completion_tokens": row.completion_tokens,
        **{name: None if value is None else round(value, 4) for name, value in found.items()},
    }  # fmt: skip

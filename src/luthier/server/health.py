"""GET /healthz: whether this server can do its work. The only route that needs no key, so it says little."""

from __future__ import annotations

import asyncio
from typing import Literal

from fastapi import APIRouter
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from luthier.core.errors import LuthierError
from luthier.server import store_call
from luthier.server.auth import open_to_all
from luthier.server.errors import RETRY_SECONDS
from luthier.server.state import AppState, State

_PATIENCE_SECONDS = 2.0
Condition = Literal["ok", "starting", "away"]


class Health(BaseModel):
    """The whole is ok when the store is: what is asked for is then kept, and done when the other parts are back."""

    status: Condition
    store: Condition
    engine: Condition
    supervisor: Condition


router = APIRouter(tags=["server"])


@router.get("/healthz", response_model=Health, responses={503: {"model": Health, "description": "The store is away."}})
@open_to_all
async def healthz(state: State) -> JSONResponse:
    """Whether the server works."""
    health = await look(state)
    if health.status == "ok":
        return JSONResponse(health.model_dump())
    return JSONResponse(health.model_dump(), 503, {"retry-after": str(RETRY_SECONDS)})


async def look(state: AppState) -> Health:
    """Ask each part."""
    store: Condition = "ok"
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            await store_call.run(state.store.ping)
    except (LuthierError, TimeoutError):
        store = "away"
    engine: Condition = "ok" if state.engine.running() else "starting"
    if state.engine.status()["state"] == "pausing":  # it died, and is not started again at once
        engine = "away"
    return Health(status=store, store=store, engine=engine, supervisor="ok" if state.supervisor.alive() else "away")

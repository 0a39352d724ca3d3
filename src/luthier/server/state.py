"""What one running server holds. Routes ask for it as `State`; tests give a state of their own to `create_app`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated

from fastapi import Depends, Request

from luthier.server.settings import ServerSettings

if TYPE_CHECKING:
    from luthier.approaches.assistant import Prepared
    from luthier.jobs.artefacts import Artefacts
    from luthier.jobs.queue import Queue
    from luthier.jobs.store import Store
    from luthier.jobs.supervisor import Supervisor
    from luthier.server.engine import EngineClient


@dataclass
class AppState:
    """The parts of the service. `assistants` are by name; `extras` is for what a router keeps between requests, by its
    module's name."""

    settings: ServerSettings
    store: Store
    queue: Queue
    artefacts: Artefacts
    engine: EngineClient
    supervisor: Supervisor
    assistants: dict[str, Prepared] = field(default_factory=dict)
    extras: dict[str, object] = field(default_factory=dict)


def state_of(request: Request) -> AppState:
    """The state of the app that answers `request`."""
    state: AppState = request.app.state.luthier
    return state


async def _state(request: Request) -> AppState:
    return state_of(request)


State = Annotated[AppState, Depends(_state)]

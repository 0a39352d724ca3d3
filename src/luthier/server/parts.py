"""The parts of a server: opened in the order in which they need each other, closed in the other."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import secrets
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass

from luthier.core import clock, durable_files
from luthier.jobs.artefacts import Artefacts
from luthier.jobs.children import devices_here
from luthier.jobs.limits import Limits
from luthier.jobs.queue import Queue
from luthier.jobs.store import Store
from luthier.jobs.supervisor import Supervisor
from luthier.server.engine import EngineClient
from luthier.server.openai.assistants import read_folder
from luthier.server.settings import ServerSettings
from luthier.server.state import AppState

WORKER_SECONDS = 25.0
"""What a worker is given to save its step when the server ends."""
FIRST_KEY = "first key"


@dataclass(frozen=True, slots=True)
class Places:
    """Where jobs run, and how many at once on each device."""

    devices: tuple[str, ...]
    each: int


def places_of(settings: ServerSettings) -> Places:
    """Where jobs run by `workers`."""
    devices = devices_here()
    if settings.workers == "devices":
        return Places(devices, 1)
    devices = devices[: settings.workers]
    return Places(devices, math.ceil(settings.workers / len(devices)))


def open_store(settings: ServerSettings) -> Store:
    """The store in the home folder, which is made for its owner alone. Raises `StorageError`, `Unavailable`."""
    durable_files.private_folder(settings.home)
    return Store.open(settings.database_url)


def first_key(store: Store) -> str | None:
    """The secret of an admin key, when this store has none yet: it is known now and never again."""
    project = store.projects.default()
    if store.keys.list():
        return None
    return store.keys.create(project.id, FIRST_KEY, "admin")[1]


@contextlib.asynccontextmanager
async def opened(settings: ServerSettings, store: Store) -> AsyncIterator[AppState]:
    """The parts on an open store, started; they are stopped at the end, the store last."""
    try:
        places = places_of(settings)
        owner = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(8)}"
        queue = Queue(store, owner, limits=Limits(running=places.each))
        artefacts = Artefacts.open(settings.artefact_place, settings.home / "cache")
        await asyncio.to_thread(artefacts.sweep)
        supervisor = Supervisor(
            store,
            queue,
            artefacts,
            settings.home / "work",
            models=settings.home / "models",
            organisation=settings.organisation,
            devices=places.devices,
            track=settings.track,
            assistants=settings.assistants,
        )
        engine = EngineClient(settings.home / "engine.sock", settings.engine)
        state = AppState(settings, store, queue, artefacts, engine, supervisor)
        if settings.assistants is not None:
            state.assistants = await asyncio.to_thread(read_folder, settings.assistants)
        await asyncio.to_thread(supervisor.start)
        try:
            await engine.start()
            yield state
        finally:
            began = clock.monotonic()
            await engine.close()
            left = max(1.0, WORKER_SECONDS - (clock.monotonic() - began))
            await asyncio.to_thread(supervisor.stop, left)
    finally:
        store.close()

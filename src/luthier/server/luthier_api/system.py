"""What the server is and has: version, disk, memory, devices, parts, limits. For the pages' home and settings."""

from __future__ import annotations

import contextlib
import os
import platform
from pathlib import Path
from typing import Any, Literal

from fastapi import APIRouter, Request
from fastapi.responses import Response

from luthier import __version__
from luthier.core import clock, durable
from luthier.jobs.children import devices_here
from luthier.jobs.records import Identity
from luthier.server import store_call
from luthier.server.auth import Caller
from luthier.server.openai.answers import ERRORS, Shape, json_response
from luthier.server.state import AppState, State

router = APIRouter(prefix="/luthier/v1", tags=["Server"], responses=ERRORS)
_CARDS = Path("/proc/driver/nvidia/gpus")


class Memory(Shape):
    """Of this machine, or of the control group that the server runs in; null where that cannot be known."""

    total_bytes: int | None
    available_bytes: int | None


class Disk(Shape):
    """Of the volume that the artefacts are on; null in an object store."""

    total_bytes: int | None
    free_bytes: int | None


class Device(Shape):
    """Where a job can run."""

    name: str
    title: str


class Parts(Shape):
    """Whether the parts of the service work. `engine` is its own word for its state."""

    engine: str
    engine_restarts: int
    engine_requests: int
    supervisor: bool
    database: Literal["sqlite", "postgresql"]
    artefacts: Literal["folder", "object store"]


class SystemLimits(Shape):
    """What this server allows. `used_project_bytes` are those of files and exports, `exported_project_bytes` of the
    exports alone."""

    max_file_bytes: int
    max_project_bytes: int
    used_project_bytes: int
    exported_project_bytes: int
    max_queued_jobs: int
    max_json_bytes: int
    requests_per_second: float


class DataSources(Shape):
    """Where data sets may come from, beside uploads: folders of the server (their paths are told to admins), and
    addresses."""

    paths: bool
    urls: bool
    folders: list[str]


class SystemObject(Shape):
    """The server. `home` is told to admins."""

    object: Literal["system"]
    version: str
    python: str
    machine: str
    processors: int
    uptime_seconds: int
    memory: Memory
    disk: Disk
    devices: list[Device]
    parts: Parts
    limits: SystemLimits
    sources: DataSources
    organisation: str
    home: str | None


@router.get("/system", operation_id="getSystem", response_model=SystemObject)
async def get_system(request: Request, state: State, caller: Caller) -> Response:
    """What this server is, has and allows."""
    began: float = request.app.state.began
    return json_response(await store_call.run(_look, state, caller, int(clock.monotonic() - began)))


def _look(state: AppState, caller: Identity, uptime: int) -> dict[str, Any]:
    settings, engine = state.settings, state.engine.status()
    used, exported = state.store.files.usage(caller.project_id), state.store.exports.usage(caller.project_id)
    admin = caller.role == "admin"
    return {
        "object": "system",
        "version": __version__,
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
        "processors": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        "uptime_seconds": uptime,
        "memory": dict(zip(("total_bytes", "available_bytes"), memory(), strict=True)),
        "disk": {
            "total_bytes": durable.total_bytes(Path(settings.artefact_place)) if settings.artefacts_are_here else None,
            "free_bytes": state.artefacts.free_bytes(),
        },
        "devices": [{"name": name, "title": _title(name)} for name in devices_here()],
        "parts": {
            "engine": str(engine["state"]),
            "engine_restarts": engine["restarts"],
            "engine_requests": engine["requests"],
            "supervisor": state.supervisor.alive(),
            "database": "sqlite" if state.store.database.exclusive else "postgresql",
            "artefacts": "folder" if settings.artefacts_are_here else "object store",
        },
        "limits": {
            **{name: getattr(settings, name) for name in (
                "max_file_bytes", "max_project_bytes", "max_queued_jobs", "max_json_bytes", "requests_per_second",
            )},
            "used_project_bytes": used,
            "exported_project_bytes": exported,
        },
        "sources": {
            "paths": bool(settings.data_folders),
            "urls": settings.allow_data_urls,
            "folders": [str(folder) for folder in settings.data_folders] if admin else [],
        },
        "organisation": settings.organisation,
        "home": str(settings.home) if admin else None,
    }  # fmt: skip


def memory() -> tuple[int | None, int | None]:
    """(total, available) bytes: the machine's, or less where a control group says so."""
    total = available = None
    with contextlib.suppress(OSError, ValueError, IndexError):
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        facts = {name: int(rest.split()[0]) * 1024 for name, _, rest in (line.partition(":") for line in lines)}
        total, available = facts["MemTotal"], facts["MemAvailable"]
        limit = int(Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii"))
        used = int(Path("/sys/fs/cgroup/memory.current").read_text(encoding="ascii"))
        total, available = min(total, limit), min(available, max(0, limit - used))
    return total, available


def _title(name: str) -> str:
    """The card's name as its driver tells it, else the processor's."""
    if name.startswith("cuda:"):
        with contextlib.suppress(OSError, IndexError):
            card = sorted(_CARDS.iterdir())[int(name[5:])]
            for line in (card / "information").read_text(encoding="utf-8", errors="replace").splitlines():
                if line.startswith("Model:"):
                    return line.partition(":")[2].strip()
        return name
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "processor"

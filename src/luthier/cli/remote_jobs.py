"""Jobs on a server, as the command line sees them: found, followed, and their end told."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

from luthier.cli import output
from luthier.cli.remote import Server, ServerAway, named
from luthier.core import clock
from luthier.core.errors import LuthierError
from luthier.core.events import Event, Listener

JOBS = "/v1/fine_tuning/jobs"
RECIPE_JOBS = "/luthier/v1/jobs"
AUTOS = "/luthier/v1/autos"
_AUTO = "auto-"
"""How the ids of automatic runs begin."""
TERMINAL = ("succeeded", "failed", "cancelled")
SECONDS_BETWEEN_LOOKS = 1.0
SECONDS_AWAY = 300.0
"""How long a server may be away (it restarts) before following gives up."""
EVENTS_PER_PAGE = 100

Raw = dict[str, Any]


class JobFailed(LuthierError):
    """The job ended without a model."""

    default_code = "job_failed"


def job_path(job: str) -> str:
    """Where a job stands."""
    return f"{AUTOS if job.startswith(_AUTO) else JOBS}/{named(job)}"


def whole_job(server: Server, job: str) -> Raw:
    """A job with its task, steps and metrics, for which OpenAI has no words."""
    return server.get(job_path(job) if job.startswith(_AUTO) else f"{RECIPE_JOBS}/{named(job)}")


def metrics_text(job: Raw) -> str:
    """``accuracy 0.934, macro_f1 0.93``: the few that tell most."""
    from luthier.cli.tables import main_metrics

    metrics: dict[str, Any] = job.get("metrics") or {}
    values = {name: cell.get("value") if isinstance(cell, dict) else cell for name, cell in metrics.items()}
    shown = {name: values[name] for name in main_metrics(values) if isinstance(values[name], int | float)}
    return ", ".join(f"{name} {value:.3f}" for name, value in shown.items())


def events_since(server: Server, job: str, last: str | None) -> list[Raw]:
    """The events after `last`, oldest first."""
    found: list[Raw] = []
    after: str | None = None
    while True:
        page = server.get(f"{JOBS}/{named(job)}/events", after=after, limit=EVENTS_PER_PAGE)
        for event in page["data"]:
            if event["id"] == last:
                return found[::-1]
            found.append(event)
        if not page.get("has_more") or not page["data"]:
            return found[::-1]
        after = page["data"][-1]["id"]


def follow(server: Server, job: str, show: Callable[[Raw], None]) -> Raw:
    """Show every event once, in order, until the job is over; gives the job.

    A server that restarts is waited for: events have ids, so none is missed and none comes twice.
    """
    last: str | None = None
    away_since: float | None = None
    while True:
        try:
            found = server.get(job_path(job))  # before its events: those of a job that is over are then complete
            for event in events_since(server, job, last):
                show(event)
                last = event["id"]
            away_since = None
        except ServerAway as error:
            now = clock.monotonic()
            if away_since is None:
                away_since = now
                output.note(f"{error.message} Waiting for it; the job is not lost.")
            elif now - away_since > SECONDS_AWAY:
                raise
        else:
            if found["status"] in TERMINAL:
                return found
        clock.sleep(SECONDS_BETWEEN_LOOKS)


def shown_by(listener: Listener) -> Callable[[Raw], None]:
    """Show a server's events with a run's own bar or lines."""

    def show(event: Raw) -> None:
        data = event.get("data") or {}
        if event.get("type") == "metrics" and "step" in data:
            listener(Event("step", data={**data, "loss": data.get("train_loss")}))
            if data.get("full_valid_loss") is not None:
                listener(Event("message", event["message"]))
        else:
            listener(Event("message", event["message"], event.get("level", "info")))

    return show


def check_end(job: Raw) -> None:
    """Raise `JobFailed` for a job that gave no model, with its own words."""
    if job["status"] == "succeeded":
        return
    told = job.get("error") or {}
    message = told.get("message") or f"the job is {job['status']}."
    raise JobFailed(
        str(message), where=job["id"], code=str(told.get("code") or f"job_{job['status']}"), param=told.get("param"),
        remedy=f"luthier jobs events {job['id']} tells what happened.",
    )  # fmt: skip


def table_rows(jobs: list[Raw]) -> Iterator[tuple[str, ...]]:
    """Cells of the table of jobs."""
    for job in jobs:
        yield (
            job["id"], job["status"], when(job["created_at"]), str(job["model"]),
            str(job.get("fine_tuned_model") or "-"),
        )  # fmt: skip


def when(seconds: int | None) -> str:
    """``2026-01-02 10:15:00``, in this machine's time zone."""
    if seconds is None:
        return "-"
    return datetime.fromtimestamp(seconds, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")

"""`luthier auto --server`: the files and the question go to a server, the candidates come back as they train."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from typing import Any

from luthier.cli import output
from luthier.cli.auto_view import auto_progress, show_result
from luthier.cli.parser import columns_of
from luthier.cli.remote import Server
from luthier.cli.remote_files import send_files
from luthier.cli.remote_jobs import AUTOS, TERMINAL, Raw, check_end, follow, job_path
from luthier.core.errors import UsageError
from luthier.core.events import Event, Listener
from luthier.core.recipe_io import apply_overrides


def auto_there(args: argparse.Namespace, budget: float, validation: float | str | None) -> int:
    """Send the question and its files, or follow a run that was asked before; print the model's name last."""
    server = Server.of(args)
    if args.resume is not None:
        job = server.get(_path(args.resume))
    else:
        job = server.post(AUTOS, _asked(args, server, budget, validation), once=True)
        output.note(f"automatic run {job['id']} on {server.address}")
    if args.detach:
        _print(args, job, job["id"])
        return 0
    return _wait_for(args, server, job)


def _wait_for(args: argparse.Namespace, server: Server, job: Raw) -> int:
    """Follow a run to its end. Ctrl-C leaves it alone and gives 1: it is not over yet."""
    id, where = job["id"], f"--server {server.address}"
    try:
        with auto_progress(quiet=args.quiet) as listener:
            follow(server, id, _shown_by(listener, float(job["budget_seconds"])))
    except KeyboardInterrupt:
        output.note(
            f"the run goes on without you. Watch it: luthier auto --resume {id} {where}; "
            f"end it, with its best model so far: luthier jobs cancel {id} {where}"
        )
        return 1
    found = server.get(_path(id))
    if found["status"] != "succeeded" and found.get("fine_tuned_model"):
        output.note(f"{found['verdict']}")
        _print(args, found, str(found["fine_tuned_model"]))
        return 1
    check_end(found)
    if not args.json:
        report = {**found, "trials": found["candidates"], "notes": found["notes"] or []}
        show_result(report, [f"page: {server.address}/autos/{id}"])
    _print(args, found, str(found["fine_tuned_model"]))
    return 0


def _print(args: argparse.Namespace, job: Raw, last: str) -> None:
    if not args.json:
        print(last, flush=True)
        return
    told = {
        "job": job["id"], "status": job["status"], "model": job["fine_tuned_model"], "verdict": job["verdict"],
        "best": None, "trials": job["candidates"],
    }  # fmt: skip
    if job["best"] is not None:
        told["best"] = {**job["best"], "recipe": job["recipe"], "metrics": job["metrics"] or {}}
    if job["status"] in TERMINAL and job.get("finished_at"):
        told["seconds"] = job["finished_at"] - job["created_at"]
    output.print_json(told)


def _shown_by(listener: Listener, budget: float) -> Callable[[Raw], None]:
    """Show a server's events as those of a run here."""

    def show(event: Raw) -> None:
        data = event.get("data") or {}
        about, message, level = data.get("about"), event["message"], event.get("level", "info")
        if about is None:
            listener(Event("message", message, level))
        elif about.get("elapsed") is not None and about.get("metric") is not None:
            is_news = about["state"] not in ("running", "paused") or about["epoch"] > 0
            row = {"higher_is_better": True, **about, "budget": budget}
            listener(Event("trial" if is_news else "known", message if is_news else "", level, row))

    return show


def _asked(args: argparse.Namespace, server: Server, budget: float, validation: float | str | None) -> dict[str, Any]:
    """The request, with an id in the place of each file."""
    sources: dict[str, str | list[str]] = {"train": list(args.data)}
    if args.test is not None:
        sources["test"] = args.test
    if isinstance(validation, str):
        sources["validation"] = validation
    settings = dict(_setting(item) for item in args.set)
    data: dict[str, Any] = {**send_files(server, sources, prefix="data."), "columns": columns_of(args.columns) or {}}
    for name in ("test", "validation"):
        if isinstance(data.get(name), list):
            raise UsageError(f"--{name} is one file on a server.", remedy="Join them first.", param=name)
    if isinstance(validation, float):
        data["validation"] = validation
    more = {"task": args.task, "model": args.model, "suffix": args.suffix, "settings": settings or None}
    given = {name: value for name, value in more.items() if value is not None}
    return {"data": data, "budget": budget, "seed": args.seed, **given}


def _setting(item: str) -> tuple[str, Any]:
    """KEY=VALUE with the value read as YAML. Raises `RecipeError`."""
    values: dict[str, Any] = {}
    apply_overrides(values, [item])
    key = item.partition("=")[0].strip()
    value: Any = values
    for name in key.split("."):
        value = value[name]
    try:
        return key, json.loads(json.dumps(value, allow_nan=False, default=str))
    except ValueError:
        raise UsageError(
            f"the value of --set {output.clean(key)} is no number that can be sent.", remedy="Give a finite one.",
            code="invalid_override", param=key,
        ) from None  # fmt: skip


def _path(id: str) -> str:
    path = job_path(id)
    if not path.startswith(AUTOS):
        raise UsageError(
            f"{output.clean(id)} is no automatic run of a server.",
            remedy="Give the id that luthier auto --server showed, auto-...", code="auto_not_found", param="resume",
        )  # fmt: skip
    return path

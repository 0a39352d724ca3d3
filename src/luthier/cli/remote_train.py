"""`luthier train --server`: the files and the recipe go to a server, its events come back."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from luthier.cli import output
from luthier.cli.progress import progress
from luthier.cli.remote import Server
from luthier.cli.remote_files import send_files
from luthier.cli.remote_jobs import RECIPE_JOBS, TERMINAL, check_end, follow, metrics_text, shown_by, whole_job
from luthier.core.errors import UsageError

if TYPE_CHECKING:
    from luthier.core.recipe import Recipe


def train_there(args: argparse.Namespace, recipe: Recipe) -> int:
    """Send the recipe and its files, follow the job, print the model's name last."""
    server = Server.of(args)
    body: dict[str, Any] = {"recipe": _sent(server, recipe)}
    if args.suffix:
        body["suffix"] = args.suffix
    job = server.post(RECIPE_JOBS, body, once=True)
    output.note(f"job {job['id']} on {server.address}")
    if args.detach:
        _print(args, job, job["id"])
        return 0
    return wait_for(args, server, job["id"])


def wait_for(args: argparse.Namespace, server: Server, job: str) -> int:
    """Follow a job to its end. Ctrl-C leaves it alone and gives 1: there is no model yet."""
    try:
        with progress(quiet=args.quiet) as listener:
            found = follow(server, job, shown_by(listener))
    except KeyboardInterrupt:
        where = f"--server {server.address}"
        output.note(
            f"the job goes on without you. Watch it: luthier jobs events {job} --follow {where}; "
            f"end it: luthier jobs cancel {job} {where}"
        )
        return 1
    check_end(found)
    found = whole_job(server, job)
    if metrics := metrics_text(found):
        output.note(f"{metrics}  (luthier jobs result {job} fetches the report)")
    _print(args, found, str(found.get("fine_tuned_model")))
    return 0


def _print(args: argparse.Namespace, job: dict[str, Any], last: str) -> None:
    if not args.json:
        print(last, flush=True)
        return
    told = {
        "job": job["id"],
        "status": job["status"],
        "model": job.get("fine_tuned_model"),
        "metrics": job.get("metrics") or {},
    }
    if job["status"] in TERMINAL and job.get("finished_at"):
        told["seconds"] = job["finished_at"] - job["created_at"]
    output.print_json(told)


def _sent(server: Server, recipe: Recipe) -> dict[str, Any]:
    """The recipe's values with an id in the place of each file, which is sent once."""
    from luthier.core.recipe import SOURCES, ForgettingSpec

    values = recipe.model_dump(mode="json", exclude_defaults=True)
    values.pop("out", None)
    values["method"] = recipe.method.model_dump(mode="json")  # with its kind, which is a default of its class
    data = values["data"]
    if data.get("template") is not None:
        raise UsageError(
            "a server takes no chat template.", remedy="Leave data.template out, or train here.", param="data.template"
        )
    if isinstance(recipe.evaluate.forgetting, ForgettingSpec):
        raise UsageError(
            "a server takes no files of anchors.",
            remedy="Write evaluate.forgetting: true, or train here.", param="evaluate.forgetting.anchors",
        )  # fmt: skip
    wanted = {name: data[name] for name in SOURCES if isinstance(data.get(name), str | list)}
    data |= send_files(server, wanted, prefix="data.")
    return values

"""`luthier jobs`: the training jobs of a server, from any machine that has a key."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from luthier.cli import output
from luthier.cli.parser import Formatter, Parser, add_common
from luthier.cli.server_address import add_server

SUMMARY = "Jobs on a server: list, show, follow, cancel, pause, resume, fetch results."
USAGE = """luthier jobs [list] [--limit N] [--server URL] [--json]
       luthier jobs show|cancel|pause|resume JOB
       luthier jobs events JOB [--follow]
       luthier jobs result JOB [--out DIR]"""
EXAMPLE = """\
example:
  luthier jobs
  luthier jobs events ftjob-k3v9x2m7q0w8z5n1b6t4c8d2 --follow
  luthier jobs result ftjob-k3v9x2m7q0w8z5n1b6t4c8d2 --out results
  luthier jobs list --server https://luthier.example.org --key-file key.txt

luthier train RECIPE.yaml --server URL makes a job. The key is read from LUTHIER_API_KEY (or OPENAI_API_KEY, where
OPENAI_BASE_URL is the server), and is sent to no other address.
"""
_ONE = {
    "show": "one job in full",
    "events": "what happened, oldest first",
    "cancel": "end a job; only an automatic run gives a model then, its best so far",
    "pause": "stop a job at its next checkpoint",
    "resume": "let a paused job go on",
    "result": "fetch the metrics of each step and the report",
}
_CHANGES = ("cancel", "pause", "resume")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this verb's arguments."""
    add_server(parser, optional=False)
    add_common(parser)
    actions = parser.add_subparsers(dest="action", metavar="", parser_class=Parser)
    nested: dict[str, Any] = {}
    for name, help_text in {"list": "the newest jobs", **_ONE}.items():
        operand = {"list": " [--limit N]", "events": " JOB [--follow]", "result": " JOB [--out DIR]"}.get(name, " JOB")
        nested[name] = actions.add_parser(
            name, usage=f"luthier jobs {name}{operand} [--server URL] [--json]", help=help_text,
            formatter_class=Formatter, allow_abbrev=False,
        )  # fmt: skip
        if name != "list":
            nested[name].add_argument("job", metavar="JOB", help="an id that luthier jobs list shows")
    nested["list"].add_argument("--limit", type=int, default=20, metavar="N", help="how many, the newest first (20)")
    nested["events"].add_argument("--follow", action="store_true", help="wait for more until the job is over")
    nested["result"].add_argument("--out", default=".", metavar="DIR", help="where the files go (here)")
    for one in nested.values():
        add_server(one, optional=False)
        add_common(one, nested=True)


def run(args: argparse.Namespace) -> int:
    """Ask the server and show what it says."""
    from luthier.cli.remote import Server

    server = Server.of(args)
    if args.action in (None, "list"):
        return _list(args, server)
    if args.action == "events":
        return _events(args, server)
    if args.action == "result":
        return _result(args, server)
    from luthier.cli.remote_jobs import job_path, whole_job

    changes = args.action in _CHANGES
    job = server.post(f"{job_path(args.job)}/{args.action}") if changes else whole_job(server, args.job)
    if args.json:
        output.print_json(job)
    elif changes:
        print(f"{job['id']}: {job['status']}")
        if job.get("fine_tuned_model") and job.get("verdict"):
            output.note(f"{job['verdict']} {job['fine_tuned_model']}")
    else:
        _show(job)
    return 0


def _list(args: argparse.Namespace, server: Any) -> int:
    from itertools import islice

    from luthier.cli.remote import pages
    from luthier.cli.remote_jobs import JOBS, table_rows
    from luthier.core.errors import UsageError

    limit = getattr(args, "limit", 20)
    if limit < 1:
        raise UsageError(f"--limit is a number from 1 up, not {limit}.", remedy="For example 20.", param="limit")
    jobs = list(islice(pages(server, JOBS, limit=min(limit, 100)), limit))
    if args.json:
        output.print_json({"jobs": jobs})
    elif jobs:
        rows = [("job", "status", "created", "model", "result"), *table_rows(jobs)]
        widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
        for row in rows:  # no table that folds: an id or a name is there to be copied
            cells = zip(map(output.clean, row), widths, strict=True)
            print("  ".join(cell.ljust(width) for cell, width in cells).rstrip())
    else:
        output.note(
            f"there are no jobs on {server.address} yet. "
            f"Make one: luthier train --data train.csv --server {server.address}"
        )
    return 0


def _show(job: dict[str, Any]) -> None:
    from luthier.cli.remote_jobs import metrics_text, when

    told = job.get("error") or {}
    chosen = {name: value for name, value in (job.get("hyperparameters") or {}).items() if value is not None}
    lines = {
        "job": job["id"],
        "status": job["status"],
        "model": job["model"],
        "result": job.get("fine_tuned_model"),
        "created": when(job["created_at"]),
        "finished": when(job["finished_at"]) if job.get("finished_at") else None,
        "expected end": when(job["estimated_finish"]) if job.get("estimated_finish") else None,
        "training file": job.get("training_file"),
        "validation file": job.get("validation_file"),
        "hyperparameters": ", ".join(f"{name} {value}" for name, value in chosen.items()),
        "trained tokens": None if job.get("trained_tokens") is None else f"{job['trained_tokens']:,}",
        "seed": job.get("seed"),
        "metadata": ", ".join(f"{name}={value}" for name, value in (job.get("metadata") or {}).items()),
        "task": job.get("task"),
        "step": f"{job['step']} of {job['total_steps']}" if job.get("total_steps") else None,
        "metrics": metrics_text(job),
        "error": told.get("message"),
    }
    for name, value in lines.items():
        if value not in (None, ""):
            print(f"{name + ':':<17}{output.clean(str(value))}")


def _events(args: argparse.Namespace, server: Any) -> int:
    from luthier.cli.remote_jobs import check_end, events_since, follow, when

    def line(event: dict[str, Any]) -> None:
        mark = "" if event.get("level", "info") == "info" else f"{event['level']}: "
        print(f"{when(event['created_at'])}  {mark}{output.clean(event['message'])}", flush=True)

    if args.follow:
        job = follow(server, args.job, output.print_json if args.json else line)
        if job["status"] != "succeeded":
            check_end(job)
        return 0
    events = events_since(server, args.job, None)
    if args.json:
        output.print_json({"events": events})
    else:
        for event in events:
            line(event)
    return 0


def _result(args: argparse.Namespace, server: Any) -> int:
    """Write the result files and the report under names of our own, and print the paths."""
    from luthier.cli.remote import ServerError, named
    from luthier.cli.remote_jobs import TERMINAL, job_path
    from luthier.core import durable
    from luthier.core.errors import UsageError

    job = server.get(job_path(args.job))
    if job["status"] not in TERMINAL:
        raise UsageError(
            f"the job is {job['status']}: it has no result yet.",
            where=args.job,
            remedy=f"Follow it: luthier jobs events {args.job} --follow.",
            code="no_result",
        )
    sources = {f"{_plain(file)}.csv": f"/v1/files/{named(file)}/content" for file in job.get("result_files") or []}
    for name in ("report.json", "report.html"):
        sources[f"{_plain(args.job)}-{name}"] = f"/luthier/v1/jobs/{named(args.job)}/{name}"
    written = []
    for name, source in sources.items():
        try:
            content = b"".join(server.download(source))
        except ServerError as error:
            if error.code != "no_report":
                raise
            continue
        durable.write_bytes(Path(args.out) / name, content)
        written.append(str(Path(args.out) / name))
    if args.json:
        told = {"job": job["id"], "status": job["status"], "model": job.get("fine_tuned_model"), "files": written}
        output.print_json(told)
        return 0
    for path in written:
        print(path)
    if job.get("fine_tuned_model"):
        print(job["fine_tuned_model"], flush=True)
    return 0


def _plain(name: str) -> str:
    """An id as a file name, whatever the server sent."""
    return "".join(letter if letter.isalnum() or letter in "-_" else "_" for letter in name)[:80] or "result"

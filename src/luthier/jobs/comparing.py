"""Compares finished jobs, in a process of its own: ``python -m luthier.jobs.comparing PARENT``.

It reads one request from stdin, writes what it found into a folder, and has no torch and limited memory.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from luthier.core import durable
from luthier.core.recipe import SOURCES
from luthier.jobs.children import begin_checking
from luthier.jobs.file_names import ANSWERS, COMPARISON, DISAGREEMENTS
from luthier.jobs.worker_wire import from_line, to_line

_MEMORY_BYTES = 8 * 2**30
_COST = ("seconds", "tokens", "tokens_per_second", "peak_memory_bytes", "trainable_parameters", "steps", "epochs")


def compare(request: Mapping[str, Any]) -> None:
    """Compare and write.

    Args:
        request: `out` (a folder that is not there yet), `sources` (what people call the files of the first job, by the
            names that its worker saw) and `jobs`: of each `id`, `name` (unique, for sentences),
            `recipe` (with ids of files), and `folder` with its report.json and answers.jsonl.
    """
    from luthier.evaluate.answered_runs import AnsweredRun, compare_answered
    from luthier.evaluate.answers_file import read_answers
    from luthier.evaluate.report import strict

    jobs = request["jobs"]
    reports = [json.loads((Path(job["folder"]) / "report.json").read_text(encoding="utf-8")) for job in jobs]
    runs = [
        AnsweredRun(job["name"], report, list(read_answers(Path(job["folder"]) / ANSWERS)))
        for job, report in zip(jobs, reports, strict=True)
    ]
    found = compare_answered(runs)
    ids = {job["name"]: job["id"] for job in jobs}
    pairs = [{**pair, "a": ids[pair["a"]], "b": ids[pair["b"]]} for pair in found.pairs]
    on_shared = {ids[run]: {name: one.to_dict() for name, one in all_.items()} for run, all_ in found.metrics.items()}
    summary = {
        "jobs": [_told(job, report) for job, report in zip(jobs, reports, strict=True)],
        "shared_rows": found.shared,
        "metrics": on_shared,
        "comparisons": pairs,
        "recipe": recipe_differences([_recipe(job, report) for job, report in zip(jobs, reports, strict=True)]),
        "disagreements": len(found.disagreements),
        "notes": found.notes,
    }
    with durable.atomic_folder(Path(request["out"])) as folder:
        sources = request["sources"]
        named = ({**row, "source": sources.get(row["source"], row["source"])} for row in found.disagreements)
        lines = (json.dumps(strict(row), allow_nan=False) + "\n" for row in named)
        durable.write_text(folder / DISAGREEMENTS, "".join(lines))
        durable.write_json(folder / COMPARISON, strict(summary))


def recipe_differences(recipes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The keys in which settled recipes differ, with the value of each; null where one does not have the key."""
    tables = [dict(_leaves(recipe)) for recipe in recipes]
    keys = dict.fromkeys(key for table in tables for key in table)
    found = []
    for key in keys:
        values = [table.get(key) for table in tables]
        if any(value != values[0] for value in values[1:]):
            found.append({"key": key, "values": values})
    return found


def _leaves(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for key, value in values.items():
        dotted = f"{prefix}{key}"
        found += _leaves(value, f"{dotted}.") if isinstance(value, dict) else [(dotted, value)]
    return found


def _recipe(job: Mapping[str, Any], report: Mapping[str, Any]) -> dict[str, Any]:
    """The recipe without `auto`, with ids of files and the base's name instead of paths."""
    import yaml

    settled = yaml.safe_load(report.get("recipe") or "{}") or {}
    asked = job["recipe"]
    data = asked.get("data")
    sources = {name: data.get(name) for name in SOURCES if name in data} if isinstance(data, dict) else {"train": data}
    settled["data"] = {**settled.get("data", {}), **sources}
    return {**settled, "model": asked.get("model"), "out": None}


def _told(job: Mapping[str, Any], report: Mapping[str, Any]) -> dict[str, Any]:
    cost = report.get("cost") or {}
    return {
        "id": job["id"],
        "name": job["name"],
        "task": report["task"],
        "model": report.get("model"),
        "method": report.get("method"),
        "rows": report.get("rows"),
        "evaluated_on": report.get("evaluated_on"),
        "primary_metric": report.get("primary_metric"),
        "metrics": report.get("metrics") or {},
        "verdict": report.get("verdict", ""),
        "cost": {name: cost.get(name) for name in _COST},
    }


def main(argv: list[str]) -> int:
    """Answer one request."""
    line = begin_checking(int(argv[0]), _MEMORY_BYTES)
    if not line:
        return 0  # who asked is gone
    compare(from_line(line))
    sys.stdout.buffer.write(to_line({"done": True}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

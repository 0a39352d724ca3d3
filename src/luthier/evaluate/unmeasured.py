"""What a report could have said and did not, with the setting that would measure it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from luthier.core.recipe import LANGUAGE_TASKS


@dataclass(frozen=True, slots=True)
class Unmeasured:
    """A question that was left open; `setting` is what to write in the recipe."""

    question: str
    reason: str
    setting: str


def unmeasured(report: Mapping[str, Any]) -> list[Unmeasured]:
    """The open questions of a report.json value, the gravest first."""
    found = []
    if not report["metrics"]:
        found.append(
            Unmeasured(
                "How good it is",
                "There were no held-out rows, so nothing was judged.",
                "data.test: test.csv, or data.validation: 0.1",
            )
        )
    elif report["evaluated_on"] != "test":
        found.append(
            Unmeasured(
                "Rows that chose nothing",
                "The figures are of the rows that also chose the best epoch, and a little too good for that.",
                "data.test: test.csv",
            )
        )
    found += _of_writers(report) if report["task"] in LANGUAGE_TASKS else []
    if report["metrics"] and not report["baselines"]:
        found.append(
            Unmeasured("Whether anything simpler is as good", "No baseline was asked for.", "evaluate.baselines: auto")
        )
    if report["metrics"] and "scratch" not in report["baselines"]:
        found.append(
            Unmeasured(
                "What the base model's knowledge is worth",
                "The same recipe was not trained from random weights.",
                "evaluate.baselines: [..., scratch]",
            )
        )
    if not report.get("forgetting"):
        found.append(
            Unmeasured(
                "What it forgot",
                "The base and the tuned model were not compared on general texts.",
                "evaluate.forgetting: true",
            )
        )
    if not report.get("fairness"):
        found.append(
            Unmeasured(
                "Whether it serves all groups alike",
                "No column of groups was named.",
                "evaluate.fairness: {group: column}",
            )
        )
    found.append(
        Unmeasured(
            "Another training run",
            "The intervals hold the uncertainty of the held-out rows, not that of the seed.",
            "train.seed: 1, then luthier runs compare",
        )
    )
    return found


def _of_writers(report: Mapping[str, Any]) -> list[Unmeasured]:
    found = []
    answered, rows = report.get("answered") or 0, report["rows"]
    if report["metrics"] and answered < rows:
        found.append(
            Unmeasured(
                "The answers to every held-out row",
                f"{answered:,} of {rows:,} rows were answered and compared with their references; the loss is of all.",
                f"evaluate.generate_rows: {rows}",
            )
        )
    if report["metrics"]:
        found.append(
            Unmeasured(
                "Whether the answers are true",
                "Likeness to a reference is not truth, tone or usefulness: a grader or a person has to judge those.",
                "evaluate.graders: [...]",
            )
        )
    return found

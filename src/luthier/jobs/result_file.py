"""OpenAI's result file: the metrics of each step as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from typing import Any

HEADER = ("step", "train_loss", "train_accuracy", "valid_loss", "valid_mean_token_accuracy")


def result_csv(metrics: Iterable[Mapping[str, Any]]) -> bytes:
    """The file, from the lines of a run's metrics.jsonl: steps, and the evaluation after the last step of an epoch."""
    rows: dict[int, dict[str, Any]] = {}
    for line in metrics:
        row = rows.setdefault(int(line["step"]), {"step": int(line["step"])})
        if line["kind"] == "step":
            row["train_loss"] = line.get("loss")
            row["train_accuracy"] = line.get("token_accuracy")
        else:
            row["valid_loss"] = line.get("validation_loss")
            row["valid_mean_token_accuracy"] = line.get("validation_accuracy")
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(HEADER)
    for step in sorted(rows):
        writer.writerow([_cell(rows[step].get(name)) for name in HEADER])
    return text.getvalue().encode()


def _cell(value: Any) -> Any:
    if value is None:
        return ""
    return round(value, 6) if isinstance(value, float) else value

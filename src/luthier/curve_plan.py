"""What a learning curve will train: the settings that all points share, the metric, the sizes, and the folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from luthier.core import durable
from luthier.core.errors import DataError, UsageError
from luthier.core.recipe import LANGUAGE_TASKS, Recipe
from luthier.core.rundir import RunDir
from luthier.data.prepare import Prepared
from luthier.data.shares import rows_of
from luthier.evaluate.metric_names import check_metrics, primary_metric

SHARES = (0.05, 0.1, 0.25, 0.5, 1.0)
LEAST_ROWS = 8
"""Training rows of the smallest size; and one for each label."""


def check(budget_seconds: float | None, seeds: int, worth: float | None) -> None:
    for name, value, least in (("budget", budget_seconds, 0.0), ("seeds", seeds, 1), ("worth", worth, 0.0)):
        if value is not None and (value < least or value != value or (value == 0 and name != "worth")):
            raise UsageError(
                f"{name} cannot be {value}.", remedy="Give a number above 0.", code="invalid_setting", param=name
            )


def settled(recipe: Recipe) -> Recipe:
    """The recipe of every point: one split whatever the seed, and no more judging than the curve needs."""
    changes: dict[str, Any] = {
        "data.split_seed": recipe.train.seed if recipe.data.split_seed is None else recipe.data.split_seed,
        "evaluate.samples": 0, "evaluate.generate_rows": 0, "evaluate.graders": [], "evaluate.run_code": False,
        "evaluate.memorisation": 0, "evaluate.canaries": 0,
    }  # fmt: skip
    if recipe.data.share != 1:
        raise UsageError(
            "a learning curve chooses data.share itself.", remedy="Leave it out.", code="option_does_not_fit",
            param="data.share",
        )  # fmt: skip
    if recipe.data.test is None and recipe.data.validation == 0:
        raise UsageError(
            "a learning curve needs held-out rows.", remedy="Give --test FILE, or data.validation=0.1.",
            code="no_held_out_rows", param="data.validation",
        )  # fmt: skip
    return recipe.replace(**changes)


def metric(recipe: Recipe, prepared: Prepared) -> str:
    """The metric that is drawn: the first that the recipe names, else the one that decides between models."""
    if prepared.task in LANGUAGE_TASKS:
        return "loss"
    if recipe.evaluate.metrics != "auto":
        return check_metrics(prepared.task, recipe.evaluate.metrics, several_labels=prepared.several_labels)[0]
    if prepared.task == "regress":
        return "rmse"  # a correlation is undefined as long as a model gives everybody the same number
    return primary_metric(prepared.task, prepared.several_labels)[0]


def held_out(prepared: Prepared) -> int:
    part = prepared.test if prepared.test is not None else prepared.validation
    return 0 if part is None else len(part)


def sizes(prepared: Prepared) -> list[float]:
    """The shares to train on; where 5 % would be too few rows, five steps from the fewest that can be learned from."""
    total, labels = len(prepared.train), len(prepared.labels) if prepared.task == "classify" else 1
    least = max(LEAST_ROWS, labels)
    if total < 4 * least:
        if labels > LEAST_ROWS and labels > total / 2:
            raise DataError(
                f"there are {labels:,} labels in {total:,} training rows: this looks like an id rather than a class.",
                remedy="Check which column is the label (--columns label=...).", code="label_is_no_class",
                where=prepared.train.dataset.sources[0], param="data.columns.label",
            )  # fmt: skip
        raise DataError(
            f"a learning curve needs at least {4 * least} rows to train on (four times {least}, one for each label at "
            f"least), and there are {total}.",
            where=prepared.train.dataset.sources[0],
            remedy="Label more rows first: with so few, each new one helps more than a forecast.", code="too_few_rows",
        )  # fmt: skip
    if rows_of(SHARES[0], total) >= least:
        return list(SHARES)
    return [float(share) for share in np.geomspace(least / total, 1.0, len(SHARES))]


def folder(out: str | Path | None, recipe: Recipe) -> Path:
    if out is not None:
        return durable.make_folder(Path(out))
    first = recipe.data.train if isinstance(recipe.data.train, str) else recipe.data.train[0]
    return RunDir.create("curves", Path(first).name.split(".")[0] or "data").path


def same_request(folder: Path, recipe: Recipe, prepared: Prepared) -> None:
    """What is asked is written down at the first start, and must be the same at every later one."""
    asked = {
        "recipe": recipe.model_copy(update={"out": ""}).model_dump(mode="json"),
        "files": {part: prepared.description.get(part) for part in ("train", "validation", "test")},
    }
    path = folder / "request.json"
    if not path.is_file():
        if any(folder.iterdir()):
            raise UsageError(
                "this folder holds something else.", where=str(folder), remedy="Give a new or empty --out.",
                code="out_exists", param="out",
            )  # fmt: skip
        durable.write_json(path, asked)
        return
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
        known = Recipe.build(before["recipe"], where=str(path))  # keys that this version added have their defaults
        files = before["files"]
    except (ValueError, KeyError, TypeError):
        raise UsageError(
            "what this folder's curve was asked for cannot be read.", where=str(path), remedy="Give another --out.",
            code="curve_differs", param="out",
        ) from None  # fmt: skip
    changed = _first_difference(_compared(known), _compared(recipe))
    if not changed and files != asked["files"]:
        changed = "the data"
    if changed:
        raise UsageError(
            f"this folder holds a curve with another value of {changed}." if changed != "the data"
            else "this folder holds the curve of other data.",
            where=str(folder), remedy="Give another --out, or the same data and settings as before.",
            code="curve_differs", param="out",
        )  # fmt: skip


def _compared(recipe: Recipe) -> dict[str, Any]:
    """What the points depend on; how they are told beside their metric may change."""
    plain = recipe.model_copy(update={"out": ""}).model_dump(mode="json")
    plain["evaluate"] = {"metrics": plain["evaluate"]["metrics"]}
    return plain


def _first_difference(one: Any, other: Any, name: str = "") -> str:
    """The dotted key of the first value that differs."""
    if isinstance(one, dict) and isinstance(other, dict):
        found = (_first_difference(one.get(key), other.get(key), f"{name}.{key}") for key in {**one, **other})
        return next((key for key in found if key), "")
    return "" if one == other else name.removeprefix(".")

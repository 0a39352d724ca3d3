"""Write down what was chosen before anything is trained, and say it."""

from __future__ import annotations

from luthier.core import durable
from luthier.core.events import Event
from luthier.core.recipe import Recipe
from luthier.core.rundir import RunDir
from luthier.data.prepare import Prepared
from luthier.models.base_source import BaseSource
from luthier.train.journal import Journal


def settle(
    recipe: Recipe, reasons: dict[str, str], run: RunDir, prepared: Prepared, source: BaseSource, listener: Journal
) -> list[str]:
    """recipe.yaml with reasons, data.json, and the warnings that a report repeats."""
    durable.write_text(run.recipe_yaml, recipe.to_yaml(reasons))
    durable.write_json(run.data_json, prepared.description)
    warnings = []
    if recipe.evaluate.forgetting:
        warnings.append("evaluate.forgetting is not measured by this version of Luthier.")
    if recipe.evaluate.fairness is not None:
        warnings.append("evaluate.fairness is not measured by this version of Luthier.")
    for part, entry in prepared.description["leaks"].items():
        if entry["rows"]:
            warnings.append(f"{entry['rows']} rows of {part} are also in train; its figures flatter the model.")
    for warning in warnings:
        listener(Event("message", warning, "warn"))
    rows = prepared.description["rows"]
    counts = ", ".join(f"{n:,} {part} rows" for part, n in rows.items())
    chosen = {"reasons": reasons, "recipe": recipe.model_dump()}
    listener(Event("message", f"{prepared.task} on {source.name}: {counts}", data=chosen))
    return warnings

"""Write down what was chosen before anything is trained, and say it."""

from __future__ import annotations

from luthier.core import durable
from luthier.core.events import Event
from luthier.core.recipe import Recipe
from luthier.core.rundir import RunDir
from luthier.data.checks.groups import group_findings
from luthier.data.prepare import Prepared
from luthier.models.base_source import BaseSource
from luthier.train.journal import Journal
from luthier.train.shared import Shared


def settle(
    recipe: Recipe,
    reasons: dict[str, str],
    run: RunDir,
    prepared: Prepared,
    source: BaseSource,
    listener: Journal,
    shared: Shared,
) -> list[str]:
    """recipe.yaml with reasons, data.json, and the warnings that a report repeats."""
    durable.write_text(run.recipe_yaml, recipe.to_yaml(reasons))
    durable.write_json(run.data_json, prepared.description)
    columns = _columns(recipe)
    warnings = list(shared.once(("groups", prepared.train, *columns), lambda: _groups(columns, prepared)))
    if recipe.evaluate.canaries:
        warnings.append(
            f"{recipe.evaluate.canaries} random secrets (evaluate.canaries) are learned with the training rows: train "
            "again without them before you use the model."
        )
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


def _columns(recipe: Recipe) -> list[str]:
    spec = recipe.evaluate.fairness
    return [] if spec is None else [spec.group] if isinstance(spec.group, str) else spec.group


def _groups(columns: list[str], prepared: Prepared) -> list[str]:
    """What the training rows say of the groups that will be judged."""
    if not columns:
        return []
    return [f"{finding.message} {finding.remedy}" for finding in group_findings(prepared.train, prepared.test, columns)
            if finding.severity == "warning"]  # fmt: skip

"""What the proofs of all tasks have in common: held-out rows, the facts of a run, a training from scratch, files."""

from __future__ import annotations

import contextlib
import os
import platform
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

from luthier.core import clock, durable
from luthier.core.recipe import LANGUAGE_TASKS
from luthier.core.rundir import RunDir
from luthier.data.prepare import View
from luthier.evaluate.card import model_card
from luthier.evaluate.report_page import render_page
from luthier.evaluate.scorers import scorer_for
from luthier.train.run import Trained, train

PARITY = 1e-4
"""Largest difference, relative to the largest value, between the trained model and what was written to disk (fp32)."""


def held_out(trained: Trained) -> tuple[View, str] | None:
    """(the rows to judge on, "test" or "validation"), with a warning where they are not as they should be."""
    prepared = trained.prepared
    judged_on = prepared.test if prepared.test is not None else prepared.validation
    if judged_on is None or not len(judged_on):
        trained.warnings.append("There are no held-out rows, so nothing was proved: set data.validation or data.test.")
        return None
    if prepared.test is not None:
        return judged_on, "test"
    trained.warnings.append(
        "The figures are of the validation rows, which also chose the best epoch: give data.test for a fair judgement."
    )
    return judged_on, "validation"


@contextlib.contextmanager
def from_scratch(trained: Trained) -> Iterator[Path]:
    """The folder of the same recipe trained from random weights; it is gone afterwards."""
    folder = RunDir(trained.run.path / ".scratch")
    durable.make_folder(folder.path)
    recipe = trained.recipe.replace(
        **{"method": {"kind": "full"}, "freeze.layers": 0, "freeze.embeddings": False, "evaluate.samples": 0,
           "evaluate.canaries": 0, "evaluate.forgetting": False, "data.replay": None, "train.replay": 0.0,
           "train.l2_sp": 0.0, "train.kl_to_base": 0.0, "train.average": 1.0}
    )  # fmt: skip
    try:
        scratch = train(
            recipe, folder, scorer_for=scorer_for, listener=lambda event: None, from_scratch=True, preflight=False,
            resume=True,
        )  # fmt: skip
        scratch.export()
        yield folder.path
    finally:
        durable.remove_tree(folder.path)


def environment() -> dict[str, Any]:
    """The machine and the packages that the figures depend on."""
    import torch

    packages = ("torch", "transformers", "peft", "tokenizers", "numpy", "scikit-learn", "safetensors")
    return {
        "luthier": version("luthier"),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": torch.cuda.get_device_name()
        if torch.cuda.is_available()
        else platform.processor() or platform.machine(),
        "cpus": os.cpu_count(),
        "threads": torch.get_num_threads(),
        **{name: version(name) for name in packages},
    }


def shared(trained: Trained) -> dict[str, Any]:
    """The keys that the report of every task has alike."""
    recipe, run, description = trained.recipe, trained.run, trained.prepared.description
    return {
        "task": trained.prepared.task,
        "model": trained.source.name,
        "method": recipe.method.kind,
        "data": {**description, "dropped": description["dropped"] + trained.dropped},
        "cost": trained.cost,
        "curves": trained.progress.history,
        "environment": environment(),
        "warnings": trained.warnings,
        "reproduce": f"luthier train {run.recipe_yaml}",
        "recipe": recipe.to_yaml(),
        "load_hint": _load_hint(trained),
        "license": trained.source.licence,
        "base_model": trained.source.hub_id or trained.source.name,
        "created_at": clock.now().isoformat(timespec="seconds"),
    }


def _load_hint(trained: Trained) -> str:
    load = f'import luthier\n\nmodel = luthier.load("{trained.run.path}")\n'
    if trained.prepared.task == "chat":
        return load + 'print(model.chat([{"role": "user", "content": "..."}]).text)'
    if trained.prepared.task in LANGUAGE_TASKS:
        return load + 'print(model.generate(["..."])[0].text)'
    return load + 'model.predict(["..."])'


def write(run: RunDir, report: dict[str, Any]) -> None:
    """The page, the model card, and last report.json, which says that the run is finished."""
    durable.write_text(run.report_html, render_page(report))
    durable.write_text(run.card, model_card(report))
    durable.write_json(run.report_json, report)

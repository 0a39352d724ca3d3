"""Runs that are made once, whatever stops them, and how two of them compare at their task."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from luthier import api
from luthier.core import durable
from luthier.core.errors import DataError
from luthier.core.events import Listener, ignore
from luthier.core.recipe import LANGUAGE_TASKS, Recipe
from luthier.core.rundir import RunDir
from luthier.data.prepare import View, prepare
from luthier.evaluate.comparison import Comparison, compare_evaluations
from luthier.evaluate.evaluation import evaluate
from luthier.evaluate.generation import compare_generation
from luthier.language_proof import judge_language

_OF_THE_END = ("report.json", "report.html", "README.md", "model", "epochs")


def trained_in(folder: Path, recipe: Recipe, listener: Listener = ignore, start: Path | None = None) -> Path:
    """The finished run of `recipe` in `folder`: made, gone on with, or there already.

    `start` is a finished run that differs in `train.average` only: its checkpoints are taken over.
    """
    run = RunDir(folder)
    if run.report() is None:
        if start is not None and not run.recipe_yaml.is_file():
            with durable.atomic_folder(folder) as temporary:
                shutil.copytree(start, temporary, ignore=shutil.ignore_patterns(*_OF_THE_END), dirs_exist_ok=True)
        if run.recipe_yaml.is_file():
            overrides = [] if start is None else [f"train.average={recipe.train.average}"]
            api.resume(folder, overrides=overrides, listener=listener)
        else:
            durable.make_folder(folder)
            api.train(recipe.replace(out=str(folder.parent)), run=run, listener=listener)
    return folder


class Judging:
    """Compares runs of one recipe's data with a plain one, which is judged once.

    On the validation rows, where there are any: then the test rows choose nothing, and judge fairly. `on` test: there.
    """

    def __init__(self, recipe: Recipe, plain: Path, *, on: str = "validation") -> None:
        prepared = prepare(recipe.data, recipe.task, recipe.train.seed)
        parts = (prepared.test, prepared.validation) if on == "test" else (prepared.validation, prepared.test)
        rows: View | None = next((part for part in parts if part is not None and len(part)), None)
        if rows is None:
            raise DataError(
                "there are no held-out rows, so no two runs can be compared.",
                remedy="Set data.validation or data.test.",
                code="no_held_out_rows",
                param="data.validation",
            )
        self._rows, self._spec, self._several = rows, recipe.evaluate, prepared.several_labels
        self._writes = prepared.task in LANGUAGE_TASKS
        self._plain: Any = self._judged(plain)

    def compare(self, run: Path) -> Comparison:
        """`run` against the plain one, by the task's primary metric; better is in favour of `run`."""
        others = {"the plain run": self._plain}
        if self._writes:
            return next(one for one in compare_generation(self._judged(run), others) if one.metric == "loss")
        return compare_evaluations(self._judged(run), others)[0]

    def _judged(self, run: Path) -> Any:
        spec, rows = self._spec, self._rows
        if self._writes:
            from luthier.models.language_predictor import LanguageModel

            changes = {"generate_rows": 0, "graders": [], "run_code": False, "metrics": ["loss"]}
            return judge_language(LanguageModel.load(run), rows, spec.model_copy(update=changes), rows.dataset)
        from luthier.models.predictor import TunedModel

        return evaluate(TunedModel.load(run), rows, several_labels=self._several, bootstrap=spec.bootstrap)

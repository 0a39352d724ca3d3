"""What a model that writes is worth on given rows: a run beside the base it was tuned from, or a base alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from luthier.core.errors import ModelError, UsageError
from luthier.core.events import Event, Listener
from luthier.core.recipe import LANGUAGE_TASKS, EvaluateSpec, FairnessSpec, Recipe
from luthier.core.recipe_io import read_yaml
from luthier.core.rundir import RunDir
from luthier.data.dataset import Dataset
from luthier.data.groups import check_group_columns
from luthier.data.samples import Sample
from luthier.evaluate.fairness import Model, columns_of, measure_fairness, swap_lists
from luthier.evaluate.generation import GenerationEvaluation, Writer
from luthier.evaluate.generation.graders import Ask
from luthier.language_proof import fairness_writer, judge_language, untuned
from luthier.models.base_source import BaseSource, read_json
from luthier.models.export import SETTINGS_JSON
from luthier.models.language_predictor import LanguageModel
from luthier.models.run_model import model_folder

Judged = tuple[GenerationEvaluation, dict[str, GenerationEvaluation], dict[str, Any] | None]
"""The model's, those of the others on the same rows, and its fairness where that was asked for."""


def writes(folder: Path) -> bool:
    """Whether the trained model in `folder` (a run, or its model/) is one that writes."""
    return read_json(model_folder(folder) / SETTINGS_JSON).get("task") in LANGUAGE_TASKS


def base_writes(source: BaseSource) -> bool:
    """Whether a base model is a causal one, by its config.json."""
    names = read_json(source.path / "config.json").get("architectures") or []
    return any(name.endswith(("ForCausalLM", "LMHeadModel")) for name in names)


def judge_run(
    path: str | Path,
    data: str | list[str],
    *,
    task: str | None,
    columns: dict[str, Any],
    generate_rows: int | None,
    ask: Ask | None,
    judge_name: str,
    fairness: FairnessSpec | None = None,
    listener: Listener,
) -> Judged:
    """A run, with the settings of its recipe, against its untuned base where that is still there."""
    folder = model_folder(path)
    run = RunDir(folder.parent)
    spec = EvaluateSpec()
    if run.recipe_yaml.is_file():
        recipe = Recipe.build(read_yaml(run.recipe_yaml), where=str(run.recipe_yaml))
        spec = recipe.evaluate
        columns = columns or dict(recipe.data.columns)
    if generate_rows is not None:
        spec = spec.model_copy(update={"generate_rows": generate_rows})
    ours = LanguageModel.load(folder)
    if task not in (None, "auto", ours.task):
        raise UsageError(
            f"the run was trained for {ours.task}, not {task}.", remedy="Leave --task out.", param="task"
        )
    rows = _rows(data, ours.task, columns, fairness)
    answered = min(len(rows), spec.generate_rows)
    listener(Event("message", f"Judging {path} on {len(rows):,} rows, {answered:,} of them answered."))

    def judged(model: LanguageModel) -> GenerationEvaluation:
        return judge_language(model, rows, spec, rows.dataset, ask=ask, judge_name=judge_name)

    found = judged(ours)
    place = ours.settings["base"]["path"] or ours.settings["base"]["name"]
    try:
        base = untuned(ours, place)
    except ModelError as error:
        listener(Event("message", f"There is nothing to compare with: {error.message}", "warn"))
        return found, {}, _fairness(fairness, rows, fairness_writer("", found, ours, spec), None)
    listener(Event("message", "Baseline: the base model, untuned."))
    others = {"base": judged(base)}
    before = fairness_writer("base", others["base"], base, spec)
    return found, others, _fairness(fairness, rows, fairness_writer("", found, ours, spec), before)


def judge_writer(
    model: Writer,
    data: str | list[str],
    *,
    task: str,
    columns: dict[str, Any],
    generate_rows: int | None,
    ask: Ask | None,
    judge_name: str,
    fairness: FairnessSpec | None = None,
) -> Judged:
    """A base model, or any other `Writer`, by itself."""
    spec = EvaluateSpec()
    if generate_rows is not None:
        spec = spec.model_copy(update={"generate_rows": generate_rows})
    rows = _rows(data, task, columns, fairness)
    found = judge_language(model, rows, spec, rows.dataset, ask=ask, judge_name=judge_name)
    return found, {}, _fairness(fairness, rows, fairness_writer("", found, model, spec), None)


def _rows(data: str | list[str], task: str, columns: dict[str, Any], fairness: FairnessSpec | None) -> Rows:
    """The rows; a group column that is not there is told at once."""
    dataset = open_language(data, task, columns)
    if fairness is not None:
        check_group_columns(dataset, columns_of(fairness))
        swap_lists(fairness.swaps)
    return Rows(dataset)


def _fairness(spec: FairnessSpec | None, rows: Rows, ours: Model, before: Model | None) -> dict[str, Any] | None:
    return None if spec is None else measure_fairness(spec, rows, ours, before=before)


def open_language(data: str | list[str], task: str, columns: dict[str, Any]) -> Dataset:
    """Conversations or completions; anything else is a `UsageError`."""
    dataset = Dataset.open(data, task=task, columns=columns)
    if dataset.task not in LANGUAGE_TASKS:
        raise UsageError(
            f"these rows are for {dataset.task}, and the model writes text.",
            where=dataset.sources[0],
            remedy="Give conversations (messages) or completions (prompt, completion), or another model.",
            code="not_language_data",
        )
    return dataset


class Rows:
    """The samples of a data set, counted, so that those to be answered can be spread over all of it."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset
        self._length = sum(1 for _ in dataset.samples())

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[Sample]:
        return self.dataset.samples()

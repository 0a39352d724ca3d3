"""Between a job's row and the recipe that its worker runs: ids of files become paths, chosen values come back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from luthier.core.errors import RecipeError
from luthier.core.recipe import SOURCES
from luthier.core.recipe_io import set_key
from luthier.core.rundir import RunDir
from luthier.jobs.records import Job, StoredFile

ENDINGS = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".tab", ".psv", ".parquet", ".conll", ".bio", ".iob", ".txt",
           ".md", ".html", ".htm", ".yaml", ".yml", ".rst")  # fmt: skip
"""Endings of a file's name that say what is in it; no other part of a client's name becomes part of a path."""
_SMALLEST_BATCH = 2
_FILES = (*SOURCES, "knowledge")
"""Keys of `data` that name stored files; a decision also searches in knowledge."""


def is_file_id(value: Any) -> bool:
    """Whether a recipe's source is a stored file."""
    return isinstance(value, str) and value.startswith("file-")


def file_ids(recipe: Mapping[str, Any]) -> list[str]:
    """The stored files that a recipe's data are made of, each once."""
    found = [item for name in _FILES for item in _items(_data(recipe).get(name)) if is_file_id(item)]
    return list(dict.fromkeys(found))


def local_name(number: int, file: StoredFile) -> str:
    """A name for a job's own copy of a file: its format is told by the ending, and by nothing else of its name."""
    ending = Path(file.filename.lower()).suffix
    return f"{number}{ending if ending in ENDINGS else '.jsonl'}"


def with_paths(recipe: Mapping[str, Any], paths: Mapping[str, Path]) -> dict[str, Any]:
    """The recipe with paths instead of ids.

    Raises:
        RecipeError: it names anything but stored files; no path of a client's is ever opened.
    """

    def settle(value: Any) -> Any:
        if isinstance(value, list):
            return [settle(item) for item in value]
        if isinstance(value, str) and value not in paths:
            raise RecipeError(
                "data are stored files: give their ids (file-...).", param="data", code="invalid_training_file"
            )
        return str(paths[value]) if isinstance(value, str) else value

    data = _data(recipe)
    if data.get("template") is not None:
        raise RecipeError("a template cannot be given.", param="data.template", code="template_refused")
    if isinstance((recipe.get("evaluate") or {}).get("forgetting"), dict):
        raise RecipeError("anchors cannot be given.", param="evaluate.forgetting", code="anchors_refused")
    return {**recipe, "data": {**data, **{name: settle(data[name]) for name in _FILES if name in data}}}


def worker_recipe(
    job: Job,
    paths: Mapping[str, Path],
    base: str,
    out: Path,
    smaller: Mapping[str, Any],
    track: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """What the worker runs.

    Args:
        base: catalogue name or folder of the base model.
        out: a folder for what the recipe may write beside its run.
        smaller: values by dotted key that replace the recipe's own, since memory ran out.
        track: where the operator has every job mirrored; beside what the job's own recipe asks for.
    """
    values = with_paths(job.recipe, paths)
    values = {**values, "model": base, "out": str(out), "train": {"seed": job.seed, **values.get("train", {})}}
    if track or values.get("track"):
        values["track"] = {**(values.get("track") or {}), **(track or {})}
    for key, value in smaller.items():
        set_key(values, key, value)
    return values


def method_kind(recipe: Mapping[str, Any]) -> str:
    """lora, full, ... of a recipe's values."""
    method = recipe.get("method", "full")
    return str(method.get("kind", "full") if isinstance(method, dict) else method)


def chosen(settled: Mapping[str, Any], reasons: Mapping[str, str]) -> dict[str, Any]:
    """OpenAI's hyperparameters, from a recipe without `auto`; by dotted key every value that was `auto`, and why."""
    train = settled["train"]
    found: dict[str, Any] = {
        "n_epochs": train["epochs"],
        "batch_size": train["batch_size"] * train["accumulate"],
        "learning_rate_multiplier": train["learning_rate_multiplier"],
    }
    for key in reasons:
        group, _, name = key.partition(".")
        value = settled.get(group)
        found[key] = value.get(name) if name and isinstance(value, Mapping) else value
    return {**found, "reasons": dict(reasons)} if reasons else found


def smaller_steps(run: RunDir, read: Callable[[Path], dict[str, Any]]) -> dict[str, Any] | None:
    """The settled recipe's micro-batches halved and twice as many: the same steps over the same rows in less memory.

    None where it was not settled yet, or cannot be halved.
    """
    if not run.recipe_yaml.is_file():
        return None
    train = read(run.recipe_yaml)["train"]
    batch, accumulate = train["batch_size"], train["accumulate"]
    if not isinstance(batch, int) or batch < _SMALLEST_BATCH or batch % 2:
        return None
    return {
        "train.batch_size": batch // 2,
        "train.accumulate": accumulate * 2,
        "train.epochs": train["epochs"],
        "train.learning_rate": train["learning_rate"],
    }


def _data(recipe: Mapping[str, Any]) -> dict[str, Any]:
    data = recipe["data"]
    return data if isinstance(data, dict) else {"train": data}


def _items(value: Any) -> Iterator[Any]:
    yield from value if isinstance(value, list) else (value,)

"""A recipe file and the options beside it become one recipe."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from luthier.cli.parser import columns_of, one_or_many
from luthier.core.errors import UsageError

if TYPE_CHECKING:
    from luthier.core.recipe import Recipe


def recipe_of(args: argparse.Namespace) -> Recipe:
    """The recipe that `luthier train` is asked for.

    An option beats the file, and --set beats both. Paths in the file count from the file's folder;
    paths typed on the command line count from where the person stands.
    """
    from luthier.core.recipe import Recipe
    from luthier.core.recipe_io import read_yaml

    typed = bool(args.recipe)
    values = read_yaml(args.recipe) if typed else {}
    _apply(values, args)
    if not typed:
        if not values.get("data"):
            raise UsageError(
                "there is nothing to learn from.",
                remedy="Give a recipe (luthier train recipe.yaml) or data (luthier train --data train.csv).",
                code="no_data",
                param="data",
            )
        return Recipe.build(values, where="command line")
    recipe = Recipe.build(values, where=args.recipe).relative_to(Path(args.recipe).parent)
    settled = recipe.model_dump()
    _apply(settled, args)
    return Recipe.build(settled, where=args.recipe)


def values_of(args: argparse.Namespace) -> dict[str, Any]:
    """The plain values that the file and the options give, which may hold searches; paths of the file count from its
    folder, those of options from where the person stands."""
    from luthier.search.recipe_file import file_values

    values = file_values(args.recipe) if args.recipe else {}
    _apply(values, args)
    return values


def _apply(values: dict[str, Any], args: argparse.Namespace) -> None:
    """Write the options, then --set, into plain recipe values."""
    from luthier.core.recipe_io import apply_overrides, set_key

    for key in ("model", "task", "out"):
        if getattr(args, key) is not None:
            values[key] = getattr(args, key)
    if args.data:
        set_key(values, "data.train", one_or_many(args.data))
    if args.validation is not None:
        set_key(values, "data.validation", _share_or_file(args.validation))
    if args.test is not None:
        set_key(values, "data.test", args.test)
    columns = columns_of(args.columns)
    if columns:
        set_key(values, "data.columns", columns)
    if args.method is not None:
        present = values.get("method")
        kind = present.get("kind") if isinstance(present, dict) else present
        if kind != args.method:  # the same kind keeps the file's settings for it
            values["method"] = {"kind": args.method}
    apply_overrides(values, args.set)


def _share_or_file(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text

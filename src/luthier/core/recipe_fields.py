"""Keywords become a recipe, and its files get their full paths: for all who take one from Python."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from luthier.core.errors import UsageError
from luthier.core.recipe import Recipe
from luthier.core.recipe_io import set_key


def recipe_from(recipe: Recipe | None, fields: dict[str, Any], where: str) -> Recipe:
    """The recipe, or the one that keywords of `where` give (two underscores stand for a dot)."""
    if recipe is None:
        values: dict[str, Any] = {}
        for key, value in fields.items():
            set_key(values, key.replace("__", "."), str(value) if isinstance(value, Path) else value)
        return Recipe.build(values, where=where)
    if fields:
        raise UsageError("give a recipe or its fields, not both.", remedy="Use recipe.replace(...) first.")
    return recipe


def absolute(recipe: Recipe) -> Recipe:
    """Local files by their full path, so that the run can be resumed from any folder."""

    def settle(source: Any) -> Any:
        if isinstance(source, list):
            return [settle(item) for item in source]
        if isinstance(source, str) and "://" not in source and Path(source).exists():
            return str(Path(source).resolve())
        return source

    model = str(Path(recipe.model).resolve()) if Path(recipe.model).is_dir() else recipe.model
    return recipe.with_sources(settle).model_copy(update={"model": model})

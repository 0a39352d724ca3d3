"""What a person asks for becomes a space, settings and values with full paths."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from luthier.api import absolute
from luthier.core.errors import UsageError
from luthier.core.recipe import Recipe
from luthier.core.recipe_io import set_key
from luthier.search.notation import WORD, is_search
from luthier.search.recipe_file import file_values
from luthier.search.settings import SearchSettings
from luthier.search.space import Space


def asked(
    recipe: Recipe | Mapping[str, Any] | str | Path | None, fields: Mapping[str, Any], options: Mapping[str, Any],
    where: str = "",
) -> tuple[dict[str, Any], Space, SearchSettings]:  # fmt: skip
    """(plain recipe values with searches and full paths, the space, the settings).

    Args:
        recipe: a recipe file, plain values, or a `Recipe` to which `fields` add searches.
        fields: of a recipe, as for `luthier.train`; two underscores stand for a dot.
        options: settings that beat those under the recipe's key `search`.
        where: what errors call the recipe.

    Raises:
        RecipeError: what `Space.read` and `SearchSettings.build` raise.
    """
    if isinstance(recipe, str | Path):
        where = where or str(recipe)
        values = file_values(recipe)
    elif isinstance(recipe, Recipe):
        values = recipe.model_dump()
    else:
        values = dict(recipe or {})
    where = where or "luthier.search"
    for key, value in fields.items():
        set_key(values, key.replace("__", "."), str(value) if isinstance(value, Path) else value)
    settings = values.pop(WORD, None) or {}
    if isinstance(settings, dict):
        settings = {**settings, **{name: value for name, value in options.items() if value is not None}}
    found = SearchSettings.build(settings, where=where)
    if not values.get("data"):
        raise UsageError(
            "there is nothing to learn from.", remedy="Give a recipe, or data (--data train.csv, data=...).",
            code="no_data", param="data",
        )  # fmt: skip
    settled = _settled(values, Space.read(values, where).first())
    if "forgetting" in found.objectives and not (settled.get("evaluate") or {}).get("forgetting"):
        set_key(settled, "evaluate.forgetting", True)
    space = Space.read(settled, where)
    if found.sampler == "grid":
        space.grid()  # says what no grid can cover
    return settled, space, found


def _settled(values: dict[str, Any], first: Recipe) -> dict[str, Any]:
    """The values with files by their full path, so that the search goes on from any folder, and one split of the data
    whatever the seed, so that trials and their repeats are compared on the same rows."""
    settled = absolute(first)
    split_seed = settled.train.seed if settled.data.split_seed is None else settled.data.split_seed
    data = settled.data.model_copy(update={"split_seed": split_seed})
    values = {**values, "data": data.model_dump(mode="json", exclude_defaults=True)}
    if values.get("evaluate"):
        values["evaluate"] = settled.evaluate.model_dump(mode="json", exclude_defaults=True)
    model = values.get("model")
    if is_search(model) and isinstance(model, dict) and isinstance(model[WORD], list):
        choices = [absolute(first.model_copy(update={"model": one})).model for one in model[WORD]]
        values["model"] = {WORD: choices}
    elif model is not None:
        values["model"] = settled.model
    return values

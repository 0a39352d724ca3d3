"""What pydantic found wrong with a recipe, in the words of the person who wrote it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ValidationError

from luthier.core.errors import RecipeError, nearest

_BRANCHES = ("str", "auto", "int", "float", "literal")
"""Names that pydantic gives to the branches of a union; they are no recipe keys."""


def _is_searched(problem: Mapping[str, Any]) -> bool:
    """Whether a value is {search: ...}, or the settings of a search stand in the recipe."""
    given = problem["input"]
    return (isinstance(given, Mapping) and "search" in given) or list(problem["loc"]) == ["search"]


def recipe_error(error: ValidationError, where: str, keys: Iterable[str], methods: Iterable[str]) -> RecipeError:
    """The first problem in words; more unknown keys are counted. `keys`: all dotted recipe keys."""
    problems = error.errors()
    searched = next((problem for problem in problems if _is_searched(problem)), None)
    if searched is not None:
        named = ".".join(str(part) for part in searched["loc"] if str(part) not in (*_BRANCHES, *methods))
        return RecipeError(
            f"{named} is a search, and one run needs one value.", where=where,
            remedy="Use luthier search (luthier.search), or write a value.", code="recipe_has_search",
            param=named or None,
        )  # fmt: skip
    first = problems[0]
    path = [str(part) for part in first["loc"]]
    while path and len(path) > 1 and (path[-1] in _BRANCHES or "-" in path[-1] or "[" in path[-1]):
        path.pop()  # pydantic names the branch of a union
    if path and path[0] == "method" and len(path) > 1 and path[1] in methods:
        path = [path[0], *path[2:]]  # pydantic inserts the union's tag
    dotted = ".".join(path)
    kind = first["type"]
    if kind == "extra_forbidden":
        siblings = [key.rsplit(".", 1)[-1] for key in keys if key.rpartition(".")[0] == ".".join(path[:-1])]
        message = f"there is no key {dotted!r}."
        remedy = nearest(path[-1], siblings)
    elif kind == "missing":
        message = f"the key {dotted!r} is missing."
        remedy = "Add data.train: the file to learn from (or --data FILE)." if path[:1] == ["data"] else "Add it."
    elif kind == "value_error":
        message = str(first["ctx"]["error"]) if "ctx" in first else first["msg"]
        remedy = ""
    else:
        message = f"{dotted} cannot be {first['input']!r}: {first['msg'][:1].lower()}{first['msg'][1:]}."
        remedy = "Correct the value" + (" (or write auto)." if "auto" in str(problems) else ".")
    if len(problems) > 1 and kind == "extra_forbidden":
        others = sum(1 for problem in problems if problem["type"] == "extra_forbidden") - 1
        remedy += f" ({others} more unknown keys.)" if others else ""
    return RecipeError(message, where=where, remedy=remedy, param=dotted or None)

"""A recipe as text: YAML files with the line of what is wrong, and ``--set key.path=value``."""

from __future__ import annotations

import contextlib
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from luthier.core.errors import RecipeError


def flow(value: Any) -> str:
    """`value` as YAML on one line."""
    return _scalar(value) if isinstance(value, str | int | float | None) else _flow(value)


@lru_cache(maxsize=512, typed=True)
def _scalar(value: str | float | None) -> str:
    """A recipe has about 60 of them, most the same in every recipe, and YAML is slow."""
    return _flow(value)


def _flow(value: Any) -> str:
    text: str = yaml.safe_dump(value, default_flow_style=True, width=10_000, allow_unicode=True)
    if not text.replace("\n", "").isprintable():  # a blank of another kind, or a mark that YAML takes for a line's end
        text = yaml.safe_dump(value, default_flow_style=True, width=10_000)
    return text.removesuffix("\n").removesuffix("\n...").strip(" \n")


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Read a YAML mapping, with the line of what is wrong."""
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise RecipeError(
            "there is no such recipe file.",
            where=str(path),
            remedy="Give the path of a YAML recipe, or --data FILE without a recipe.",
            code="recipe_not_found",
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(
            f"the recipe cannot be read: {error}.",
            where=str(path),
            remedy="A recipe is a small UTF-8 YAML file; data files go to --data.",
            code="recipe_unreadable",
        ) from None
    try:
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        raise RecipeError(
            f"this is not valid YAML: {getattr(error, 'problem', None) or error}.",
            where=f"{path}{line}",
            remedy="Check the indentation and the colons on that line.",
            code="recipe_not_yaml",
        ) from None
    if not isinstance(values, dict):
        raise RecipeError(
            "a recipe is a mapping of keys to values.",
            where=str(path),
            remedy="Begin with `model: minilm` and `data: {train: file.csv}`.",
            code="recipe_not_mapping",
        )
    return values


def set_key(values: dict[str, Any], dotted: str, value: Any) -> None:
    """Set ``a.b.c`` in nested dictionaries, turning a short form (``method: lora``) into its long one."""
    *parents, last = dotted.split(".")
    node = values
    for name in parents:
        child = node.get(name)
        if isinstance(child, str | list) and name == "method":
            child = {"kind": child}
        elif isinstance(child, str | list) and name == "data":
            child = {"train": child}
        elif not isinstance(child, dict):
            child = {}
        node[name] = child
        node = child
    node[last] = value


def apply_overrides(values: dict[str, Any], overrides: list[str]) -> None:
    """Apply ``key.path=value`` texts, the value read as YAML."""
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals or not key.strip():
            raise RecipeError(
                f"--set needs key.path=value, not {override!r}.",
                remedy="For example --set train.epochs=5.",
                code="invalid_override",
            )
        try:
            value = yaml.safe_load(text) if text.strip() else text
        except yaml.YAMLError:
            raise RecipeError(
                f"the value of --set {key} is not valid YAML: {text!r}.",
                param=key,
                remedy="Quote it for your shell, for example --set 'data.columns={label: category}'.",
                code="invalid_override",
            ) from None
        # YAML 1.1 reads 1e-4 (no dot) as text; people write learning rates so.
        if isinstance(value, str):
            with contextlib.suppress(ValueError):
                value = float(value) if any(c in value for c in "eE") else value
        set_key(values, key.strip(), value)

"""Which words are swapped for which: lists of ours in English, and the user's own from a YAML file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any

import yaml

from luthier.core.errors import RecipeError
from luthier.core.recipe_io import read_yaml

OURS = "english.yaml"
_PARAM = "evaluate.fairness.swaps"
_FORM = "A category is {sides: {one: [words], other: [words]}}, or a list of pairs: [[he, she], [uncle, aunt]]."


@dataclass(frozen=True)
class Years:
    """Ages in numbers: within one of the two ranges they move by `apart` into the other."""

    young: tuple[int, int]
    old: tuple[int, int]
    apart: int


@dataclass(frozen=True)
class SwapList:
    """One category of words.

    Attributes:
        sides: per side its words in order; a word's counterpart has the same place. Each entry holds all spellings,
            of which the first is written.
    """

    name: str
    title: str
    sides: dict[str, tuple[tuple[str, ...], ...]]
    years: Years | None = None


def swap_lists(swaps: str = "auto") -> list[SwapList]:
    """The lists of a setting: "auto" ours, "none" none, else those of a YAML file beside ours.

    In a file a category of ours with the same name is replaced, and left out where it is null; ``ours: false`` leaves
    out all of them. Raises `RecipeError` where the file is none or is not of this form.
    """
    if swaps == "none":
        return []
    text = resources.files("luthier.evaluate.fairness").joinpath("lists", OURS).read_text(encoding="utf-8")
    values: dict[str, Any] = yaml.safe_load(text)
    if swaps != "auto":
        given = read_yaml(swaps)
        ours = given.pop("ours", True)
        if not isinstance(ours, bool):
            raise _wrong(swaps, f"'ours' is true or false, not {ours!r}.")
        values = {**(values if ours else {}), **given}
    return [_parse(str(name), value, swaps) for name, value in values.items() if value is not None]


def _wrong(where: str, message: str) -> RecipeError:
    return RecipeError(message, where=where, remedy=_FORM, code="invalid_swaps", param=_PARAM)


def _parse(name: str, value: Any, where: str) -> SwapList:
    if isinstance(value, list):
        return SwapList(name, name, _pairs(name, value, where))
    if not isinstance(value, Mapping):
        raise _wrong(where, f"the category {name!r} is neither a mapping nor a list.")
    unknown = sorted(set(value) - {"title", "sides", "years"})
    if unknown:
        raise _wrong(where, f"the category {name!r} has an unknown key {unknown[0]!r}.")
    sides = value.get("sides")
    if not isinstance(sides, Mapping) or len(sides) < 2:
        raise _wrong(where, f"the category {name!r} needs two sides or more.")
    found = {str(side): tuple(_spellings(name, word, where) for word in _words(name, words, where))
             for side, words in sides.items()}  # fmt: skip
    lengths = {side: len(words) for side, words in found.items()}
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{side} {length}" for side, length in lengths.items())
        raise _wrong(where, f"the sides of {name!r} have different numbers of words ({told}).")
    years = value.get("years")
    return SwapList(name, str(value.get("title", name)), found, None if years is None else _years(name, years, where))


def _words(name: str, words: Any, where: str) -> list[Any]:
    if not isinstance(words, list) or not words:
        raise _wrong(where, f"a side of {name!r} is not a list of words.")
    return words


def _spellings(name: str, word: Any, where: str) -> tuple[str, ...]:
    if not isinstance(word, str):
        raise _wrong(where, f"{word!r} in {name!r} is not a word; put words like yes and no in quotes.")
    found = tuple(part.strip() for part in word.split("|") if part.strip())
    if not found:
        raise _wrong(where, f"there is an empty word in {name!r}.")
    return found


def _pairs(name: str, pairs: list[Any], where: str) -> dict[str, tuple[tuple[str, ...], ...]]:
    if not pairs or any(not isinstance(pair, list) or len(pair) != 2 for pair in pairs):
        raise _wrong(where, f"the list {name!r} does not hold pairs of words.")
    sides = [tuple(_spellings(name, pair[side], where) for pair in pairs) for side in range(2)]
    return {sides[0][0][0]: sides[0], sides[1][0][0]: sides[1]}


def _years(name: str, value: Any, where: str) -> Years:
    try:
        young, old = (tuple(int(end) for end in value[side]) for side in ("young", "old"))
        (a, b), (c, d) = young, old
        return Years((a, b), (c, d), int(value["apart"]))
    except (KeyError, TypeError, ValueError):
        raise _wrong(where, f"'years' of {name!r} is not {{young: [a, b], old: [c, d], apart: n}}.") from None

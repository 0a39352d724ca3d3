"""A search space: a recipe in which some values are searches becomes parameters, and parameters become recipes.

space = Space.read({"data": "train.csv", "train": {"learning_rate": {"search": {"low": 1e-5, "high": 1e-3}}}})
space.parameters                                   # [Parameter("train.learning_rate", ...)]
space.recipe(lambda parameter: parameter.first)    # a Recipe without searches
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from luthier.core.errors import RecipeError, UsageError
from luthier.core.recipe import METHODS, Recipe
from luthier.search.notation import Notation
from luthier.search.parameters import ByMethod, Chosen, Group, Node, Parameter, Scalar, Suggest, filled, parameters_of

MOST_OF_A_GRID = 10_000
Params = Mapping[str, Scalar]


@dataclass(frozen=True)
class Space:
    """Parameters, and the recipe that each choice of them gives."""

    root: Group
    where: str = "recipe"

    @classmethod
    def read(cls, values: Mapping[str, Any], where: str = "recipe") -> Space:
        """The space of plain recipe values (without the key `search` of the settings); everything is validated.

        Raises:
            RecipeError: `no_search` when nothing varies, `invalid_search`, and whatever `Recipe` refuses, with the
                choice at fault.
        """
        draft = cls(Notation(where, frozenset()).recipe(values), where)
        if not draft.parameters:
            raise RecipeError(
                "there is nothing to search: no field of the recipe is {search: ...}.", where=where,
                remedy="For example --set train.learning_rate='{search: {low: 1e-5, high: 1e-3, log: true}}', or use "
                "luthier train.", code="no_search",
            )  # fmt: skip
        draft._every_kind_has_a_branch()
        space = cls(Notation(where, draft._integers()).recipe(values), where)
        space._validate()
        return space

    @property
    def parameters(self) -> list[Parameter]:
        """What varies, those that others depend on first."""
        return parameters_of(self.root)

    @property
    def is_conditional(self) -> bool:
        """Whether some parameters are not there in every trial."""
        return any(parameter.requires or parameter.name != parameter.key for parameter in self.parameters)

    @property
    def is_small(self) -> bool:
        """Whether it is finite and can be run out of."""
        sizes = [parameter.size for parameter in self.parameters]
        return None not in sizes and math.prod(size or 1 for size in sizes) <= 1000

    def recipe(self, suggest: Suggest) -> Recipe:
        """The recipe that `suggest` decides on; it is asked for the parameters that this trial has, and in order."""
        return Recipe.build(self.values(suggest), where=self.where)

    def values(self, suggest: Suggest) -> dict[str, Any]:
        """As plain values, not validated."""
        values: dict[str, Any] = {}
        kind = "full"
        for key, node in self.root.items.items():  # the method is first
            values[key] = filled(node, suggest, kind)
            if key == "method":
                method = values[key]
                kind = method if isinstance(method, str) else method.get("kind", kind)
        return values

    def of(self, params: Params) -> Recipe:
        """The recipe of a trial's parameters, by name."""
        return self.recipe(lambda parameter: params[parameter.name])

    def first(self) -> Recipe:
        """The recipe with the first choice everywhere."""
        return self.recipe(lambda parameter: parameter.first)

    def grid(self) -> list[dict[str, Scalar]]:
        """Every combination, in order; parameters that a choice excludes do not multiply.

        Raises:
            UsageError: `no_grid` where a range has no step, or there are more than 10,000 combinations.
        """
        for parameter in self.parameters:
            if parameter.size is None:
                raise UsageError(
                    f"{parameter.name} is a range without a step, which no grid can cover.", where=self.where,
                    remedy="Write a list of choices or a step, or use the sampler tpe or random.", code="no_grid",
                    param=parameter.key,
                )  # fmt: skip
        largest = max(parameter.size or 0 for parameter in self.parameters)
        found = [] if largest > MOST_OF_A_GRID else list(itertools.islice(self._combinations(), MOST_OF_A_GRID + 1))
        if largest > MOST_OF_A_GRID or len(found) > MOST_OF_A_GRID:
            raise UsageError(
                f"the grid has more than {MOST_OF_A_GRID:,} combinations.", where=self.where,
                remedy="Use the sampler tpe or random, or fewer choices.", code="no_grid",
            )  # fmt: skip
        return found

    def _combinations(self) -> Iterator[dict[str, Scalar]]:
        """Walks through the tree again and again; `digits` are the choices of one walk, which count up like a clock."""
        grids = {parameter.name: parameter.grid() for parameter in self.parameters}
        digits: list[int] = []
        while True:
            met: dict[str, Scalar] = {}
            sizes: list[int] = []

            def suggest(parameter: Parameter, met: dict[str, Scalar] = met, sizes: list[int] = sizes) -> Scalar:
                options = grids[parameter.name]
                assert options is not None
                if len(sizes) == len(digits):
                    digits.append(0)
                met[parameter.name] = options[digits[len(sizes)]]
                sizes.append(len(options))
                return met[parameter.name]

            self.values(suggest)
            yield met
            del digits[len(sizes) :]
            while digits and digits[-1] + 1 >= sizes[len(digits) - 1]:
                digits.pop()
            if not digits:
                return
            digits[-1] += 1

    def _integers(self) -> frozenset[str]:
        """Names of the ranges of whole numbers whose field refuses others."""
        found = set()
        for parameter in self.parameters:
            if parameter.choices is not None or parameter.low != int(parameter.low):
                continue
            if not self._fits(parameter, int(parameter.low)) or self._fits(parameter, parameter.low + 0.5):
                continue
            if parameter.high != int(parameter.high):
                raise RecipeError(
                    f"{parameter.key}: high is {parameter.high:g}, and only whole numbers go here.",
                    where=self.where, remedy="Give a whole number.", code="invalid_search", param=parameter.key,
                )  # fmt: skip
            found.add(parameter.name)
        return frozenset(found)

    def _fits(self, parameter: Parameter, value: Scalar) -> bool:
        try:
            self._with(parameter, value)
        except RecipeError:
            return False
        return True

    def _with(self, parameter: Parameter, value: Scalar) -> Recipe:
        """The recipe in which this parameter is there and has this value, the others their first one."""
        wanted = {**parameter.requires, **self._kind_for(parameter), parameter.name: value}
        return self.recipe(lambda other: wanted.get(other.name, other.first))

    def _kind_for(self, parameter: Parameter) -> dict[str, Scalar]:
        """The choice of the method with which a parameter below `by_method` is there."""
        method = self.root.items.get("method")
        if not isinstance(method, Chosen):
            return {}
        for label, _ in method.options:
            met: list[str] = []
            wanted = {**parameter.requires, method.parameter.name: label}

            def suggest(other: Parameter, met: list[str] = met, wanted: dict[str, Scalar] = wanted) -> Scalar:
                met.append(other.name)
                return wanted.get(other.name, other.first)

            self.values(suggest)
            if parameter.name in met:
                return {method.parameter.name: label}
        return {}

    def _validate(self) -> None:
        """Each choice and each end of a range, one after another: nothing is found out in the middle of a search."""
        self.first()
        for parameter in self.parameters:
            for number, value in enumerate(parameter.extremes):
                try:
                    self._with(parameter, value)
                except RecipeError as error:
                    if parameter.choices is not None:
                        place = f"choice {number + 1} of {parameter.name}"
                    else:
                        place = f"{('low', 'high')[number]} of {parameter.name}"
                    raise RecipeError(
                        f"{place}: {error.message}", where=self.where, remedy=error.remedy, code="invalid_search",
                        param=parameter.key,
                    ) from None  # fmt: skip

    def _every_kind_has_a_branch(self) -> None:
        kinds = self._kinds()
        for key, node in _by_methods(self.root, ""):
            lacking = [kind for kind in kinds if kind not in node.branches] if node.other is None else []
            if lacking:
                raise RecipeError(
                    f"{key}: by_method says nothing of {', '.join(lacking)}.", where=self.where,
                    remedy="Add it, or else: auto for all others.", code="invalid_search", param=key,
                )  # fmt: skip

    def _kinds(self) -> list[str]:
        """The methods that this search can meet."""
        method = self.root.items.get("method")
        if not isinstance(method, Chosen):
            return [self.first().method.kind] if method is not None else ["full"]
        kinds = []
        for label, _ in method.options:
            labels = {method.parameter.name: label}
            try:
                value = filled(method, lambda other, labels=labels: labels.get(other.name, other.first), None)  # type: ignore[misc]
            except KeyError:
                continue
            kind = value.get("kind") if isinstance(value, dict) else value
            if kind in METHODS:
                kinds.append(str(kind))
        return list(dict.fromkeys(kinds))


def _by_methods(node: Node, key: str) -> Iterator[tuple[str, ByMethod]]:
    if isinstance(node, Group):
        for name, item in node.items.items():
            yield from _by_methods(item, f"{key}.{name}" if key else name)
    elif isinstance(node, Chosen):
        for _, option in node.options:
            yield from _by_methods(option, key)
    elif isinstance(node, ByMethod):
        yield key, node

"""The notation of a search in a recipe: `{search: [...]}`, `{search: {low, high}}`, `{search: {by_method: {...}}}`.

Turns plain values into the tree of `search.parameters`. What the values mean is `Recipe`'s business; here the notation
itself is held: lists that are empty, ranges upside down, keys that are not there, fields that cannot be searched.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence, Set
from typing import Any

from luthier.core.errors import RecipeError, nearest
from luthier.core.recipe import METHODS
from luthier.core.recipe_io import flow
from luthier.search.parameters import ByMethod, Chosen, Group, Node, Parameter, Plain, Ranged, Scalar

WORD, BY_METHOD, ELSE = "search", "by_method", "else"
_RANGE = ("low", "high", "log", "step")
_SAME_ROWS = "all trials are compared on the same rows"
_SAME_RULER = "all trials are measured by the same ruler"
_FIXED = {
    "out": "it is where runs are kept", "task": "it follows from the data", "data": _SAME_ROWS,
    "evaluate": _SAME_RULER,
    "train.seed": "a seed is luck, not a setting (search.repeat trains the best again with other seeds)",
}  # fmt: skip
"""Keys, and what is below them, that cannot be searched; why."""


def is_search(value: Any) -> bool:
    """Whether this value is a search."""
    return isinstance(value, Mapping) and set(value) == {WORD}


class Notation:
    """Reads one recipe's values; `integers` are the names of ranges whose field takes whole numbers only."""

    def __init__(self, where: str, integers: Set[str]) -> None:
        self._where, self._integers = where, integers
        self._names: set[str] = set()

    def recipe(self, values: Mapping[str, Any]) -> Group:
        """The tree of a whole recipe; the method comes first, as other fields may depend on it."""
        ordered = sorted(values.items(), key=lambda item: item[0] != "method")
        return Group({str(key): self._node(value, str(key), "", {}) for key, value in ordered})

    def _node(self, value: Any, key: str, note: str, requires: Mapping[str, Scalar]) -> Node:
        if isinstance(value, Mapping):
            if WORD in value and key not in ("data.columns",):
                if len(value) > 1:
                    raise self._wrong(key, f"other keys stand beside search: {flow(dict(value))}.",
                                      "Write {search: ...} alone in the place of the value.")  # fmt: skip
                return self._search(value[WORD], key, note, requires)
            return Group({str(name): self._node(item, f"{key}.{name}", note, requires) for name, item in value.items()})
        return Plain(value)

    def _search(self, spec: Any, key: str, note: str, requires: Mapping[str, Scalar]) -> Node:
        for fixed, why in _FIXED.items():
            if key == fixed or key.startswith(f"{fixed}."):
                raise self._wrong(key, f"{fixed} cannot be searched: {why}.", "Write one value.")
        if isinstance(spec, Mapping):
            if BY_METHOD in spec:
                return self._by_method(spec, key, note, requires)
            return self._range(spec, key, note, requires)
        if isinstance(spec, Sequence) and not isinstance(spec, str):
            return self._choices(spec, key, note, requires)
        raise self._wrong(
            key, f"search is followed by {spec!r}.",
            "Write a list of choices, {search: [8, 16]}, or a range, {search: {low: 1e-5, high: 1e-3, log: true}}.",
        )  # fmt: skip

    def _choices(self, spec: Sequence[Any], key: str, note: str, requires: Mapping[str, Scalar]) -> Node:
        if not spec:
            raise self._wrong(key, "the list of choices is empty.", "Name at least two.")
        name = self._name(key, note)
        values = [_method(value) if key == "method" else _as_number(value) for value in spec]
        labels = self._labels(values, key)
        parameter = Parameter(name, key, choices=tuple(labels), requires=dict(requires))
        options = []
        for label, value in zip(labels, values, strict=True):
            inside = f"{note} ({label})"
            options.append((label, self._node(value, key, inside, {**requires, name: label})))
        return Chosen(parameter, tuple(options))

    def _labels(self, values: Sequence[Any], key: str) -> list[Scalar]:
        """A word for each choice, itself where it is one; choices of one kind are numbered."""
        plain = [_label(value) for value in values]
        for i, value in enumerate(values):
            if any(type(value) is type(other) and value == other for other in values[:i]):
                raise self._wrong(key, f"the choice {flow(value)} stands there twice.", "Leave one out.")
        found: list[Scalar] = []
        for i, label in enumerate(plain):
            same = [j for j, other in enumerate(plain) if type(other) is type(label) and other == label]
            found.append(f"{label} {same.index(i) + 1}" if len(same) > 1 else label)
        return found

    def _range(self, spec: Mapping[str, Any], key: str, note: str, requires: Mapping[str, Scalar]) -> Node:
        for name in spec:
            if name not in _RANGE:
                raise self._wrong(key, f"a range has no key {name!r}.", nearest(str(name), [*_RANGE, BY_METHOD]))
        for name in ("low", "high"):
            if name not in spec:
                raise self._wrong(key, f"the range has no {name}.", "A range is {low: 1e-5, high: 1e-3, log: true}.")
        low, high = (self._number(spec[name], name, key) for name in ("low", "high"))
        log = spec.get("log", False)
        if not isinstance(log, bool):
            raise self._wrong(key, f"log is {log!r}.", "Write log: true or log: false.")
        if low >= high:
            raise self._wrong(key, f"low ({low:g}) is not below high ({high:g}).", "Exchange them, or write one value.")
        if log and low <= 0:
            what = f"a logarithmic range cannot begin at {low:g}."
            raise self._wrong(key, what, "Give a low above 0, or leave log out.")
        step = None if spec.get("step") is None else self._number(spec["step"], "step", key)
        if step is not None and (log or not 0 < step <= high - low):
            what = "a logarithmic range has no step." if log else f"the step {step:g} does not fit into the range."
            raise self._wrong(key, what, "Leave log or step out." if log else "Give a smaller step above 0.")
        name = self._name(key, note)
        whole = name in self._integers
        if whole and step is not None and step != int(step):
            raise self._wrong(key, f"the step is {step:g}, and only whole numbers go here.", "Give a whole step.")
        return Ranged(Parameter(name, key, None, low, high, log, step, whole, dict(requires)))

    def _by_method(self, spec: Mapping[str, Any], key: str, note: str, requires: Mapping[str, Scalar]) -> Node:
        branches = spec[BY_METHOD]
        if len(spec) > 1 or not isinstance(branches, Mapping) or not branches:
            raise self._wrong(
                key, "by_method is a mapping of kinds of method, and stands alone.",
                "For example {search: {by_method: {lora: {low: 1e-4, high: 1e-2, log: true}, else: auto}}}.",
            )  # fmt: skip
        if key == "method" or key.startswith("method."):
            raise self._wrong(key, "a method cannot depend on itself.", "Write its settings into its own choice.")
        found: dict[str, Node] = {}
        for kind, value in branches.items():
            if kind not in (*METHODS, ELSE):
                raise self._wrong(key, f"there is no method {kind!r}.", nearest(str(kind), [*METHODS, ELSE]))
            is_spec = isinstance(value, list) or (isinstance(value, Mapping) and bool(set(value) & {"low", "high"}))
            inside = f"{note} ({'others' if kind == ELSE else kind})"
            found[kind] = self._node({WORD: value} if is_spec else _as_number(value), key, inside, requires)
        other = found.pop(ELSE, None)
        return ByMethod(found, other)

    def _number(self, value: Any, name: str, key: str) -> float:
        number = _as_number(value)
        if isinstance(number, bool) or not isinstance(number, int | float) or not math.isfinite(number):
            raise self._wrong(key, f"{name} is {value!r}, which is no number.", "Write a number.")
        return float(number)

    def _name(self, key: str, note: str) -> str:
        name = f"{key}{note}"
        assert name not in self._names, name
        self._names.add(name)
        return name

    def _wrong(self, key: str, message: str, remedy: str) -> RecipeError:
        return RecipeError(f"{key}: {message}", where=self._where, remedy=remedy, code="invalid_search", param=key)


def _as_number(value: Any) -> Any:
    """YAML 1.1 reads 1e-4 (no dot) as a text; people write learning rates so."""
    if isinstance(value, str) and any(letter in value for letter in "eE"):
        try:
            return float(value)
        except ValueError:
            return value
    return value


def _method(value: Any) -> Any:
    return {"kind": value} if isinstance(value, str) else value


def _label(value: Any) -> Scalar:
    if isinstance(value, Mapping):
        kind = value.get("kind")
        if isinstance(kind, str):
            return kind
        return flow({name: "..." if is_search(item) else item for name, item in value.items()})
    return flow(value) if isinstance(value, list) else value

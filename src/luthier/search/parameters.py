"""One parameter of a search, and the tree of a recipe in which parameters stand in the place of values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

Scalar = str | int | float | bool | None
Suggest = Callable[["Parameter"], Scalar]


@dataclass(frozen=True)
class Parameter:
    """What varies between trials.

    Attributes:
        name: its key in the recipe; with ``(lora)`` behind it where it is there only with that choice.
        key: the dotted recipe key.
        choices: what it may be; None for a range.
        low, high, log, step, integer: of a range; both ends are in it.
        requires: the choices of other parameters, by name, with which alone it is there.
    """

    name: str
    key: str
    choices: tuple[Scalar, ...] | None = None
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    step: float | None = None
    integer: bool = False
    requires: Mapping[str, Scalar] = field(default_factory=dict)

    @property
    def first(self) -> Scalar:
        """The value of a recipe that stands for all."""
        return self.choices[0] if self.choices is not None else self.number(self.low)

    @property
    def extremes(self) -> tuple[Scalar, ...]:
        """Every choice, or both ends of the range: what is validated before anything trains."""
        return self.choices if self.choices is not None else (self.number(self.low), self.number(self.high))

    def number(self, value: float) -> int | float:
        """A value of a range in the type that the recipe wants."""
        return round(value) if self.integer else float(value)

    @property
    def size(self) -> int | None:
        """How many values there are; None for a range without a step, which has no end of them."""
        if self.choices is not None:
            return len(self.choices)
        step = self._grid_step
        return None if step is None else int((self.high - self.low) / step * (1 + 1e-12) + 1e-9) + 1

    def grid(self) -> list[Scalar] | None:
        """Every value; None where `size` is None."""
        if self.choices is not None:
            return list(self.choices)
        step, size = self._grid_step, self.size
        return None if step is None or size is None else [self.number(self.low + i * step) for i in range(size)]

    @property
    def _grid_step(self) -> float | None:
        return self.step if self.step is not None else 1.0 if self.integer and not self.log else None


@dataclass(frozen=True)
class Plain:
    """A value that does not vary."""

    value: Any


@dataclass(frozen=True)
class Group:
    """A mapping of keys to nodes."""

    items: Mapping[str, Node]


@dataclass(frozen=True)
class Chosen:
    """A parameter with choices; each label stands for a node, which may vary itself."""

    parameter: Parameter
    options: tuple[tuple[Scalar, Node], ...]


@dataclass(frozen=True)
class Ranged:
    """A parameter with a range."""

    parameter: Parameter


@dataclass(frozen=True)
class ByMethod:
    """What stands here depends on `method.kind`."""

    branches: Mapping[str, Node]
    other: Node | None


Node = Plain | Group | Chosen | Ranged | ByMethod


def filled(node: Node, suggest: Suggest, kind: str | None) -> Any:
    """The plain value of a node; `suggest` decides each parameter that is met, `kind` is the method's."""
    if isinstance(node, Plain):
        return node.value
    if isinstance(node, Group):
        return {name: filled(item, suggest, kind) for name, item in node.items.items()}
    if isinstance(node, Ranged):
        return suggest(node.parameter)
    if isinstance(node, ByMethod):
        branch = node.branches.get(kind or "", node.other)
        assert branch is not None, "every kind has a branch: the space was checked"
        return filled(branch, suggest, kind)
    label = suggest(node.parameter)
    for known, option in node.options:
        if known == label and type(known) is type(label):
            return filled(option, suggest, kind)
    raise KeyError(label)


def parameters_of(node: Node) -> list[Parameter]:
    """Every parameter below a node, those that others depend on first."""
    if isinstance(node, Group):
        return [found for item in node.items.values() for found in parameters_of(item)]
    if isinstance(node, Ranged):
        return [node.parameter]
    if isinstance(node, ByMethod):
        inner = [*node.branches.values(), *([node.other] if node.other is not None else [])]
        return [found for item in inner for found in parameters_of(item)]
    if isinstance(node, Chosen):
        return [node.parameter, *(found for _, option in node.options for found in parameters_of(option))]
    return []

"""What the runs over one data set have in common, made once in this process: rows, tokens, base, frozen activations.

Everything is kept under the settings that it depends on, so a run with another length or another seed gets its own,
and a run with sharing equals the same run without it, bit for bit.
"""

from __future__ import annotations

import contextlib
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from typing import Any, TypeVar, cast

from luthier.core import clock
from luthier.core.recipe import Recipe
from luthier.data.canaries import plant
from luthier.data.prepare import Prepared, prepare, share_of
from luthier.data.tokens import fingerprint
from luthier.models.base_source import BaseSource
from luthier.models.catalogue import locate
from luthier.models.task_model import TaskModel
from luthier.models.twin import Weights, own_trained, twin
from luthier.train.parts import Parts
from luthier.train.remedies.replay import Mixed, mixed_rows

T = TypeVar("T")
M = TypeVar("M", bound=TaskModel)
MOST_BASES = 2
"""Loaded bases that stay in memory: one base with a head for each task, seed and dropout."""
MOST_PARTS = 8
"""Models with a method applied that stay in memory; what is frozen in them is the base's."""
_MOVING = {
    "epochs", "learning_rate", "learning_rate_multiplier", "head_learning_rate", "warmup", "schedule", "weight_decay",
    "layer_decay", "patience", "save_every_steps", "max_grad_norm", "average",
}  # fmt: skip
"""Keys of `train` that only the optimizer and the loop read."""


class Shared:
    """Gives what was made before; not for several threads. ``Shared(keep=False)`` keeps nothing.

    Attributes:
        seconds: spent so far on making what is shared.
    """

    def __init__(self, *, keep: bool = True) -> None:
        self.keep = keep
        self.seconds = 0.0
        self._making = 0
        self._made: dict[Hashable, Any] = {}
        self._bases: OrderedDict[Hashable, TaskModel] = OrderedDict()
        self._parts: OrderedDict[Hashable, Parts] = OrderedDict()
        self._fresh: dict[int, Weights] = {}

    def once(self, key: Hashable, make: Callable[[], T]) -> T:
        """`make()`, or what it gave for this key before."""
        if not self.keep:
            return make()
        if key not in self._made:
            with self.timed():
                self._made[key] = make()
        return cast(T, self._made[key])

    @contextlib.contextmanager
    def timed(self) -> Iterator[None]:
        """Count what is done inside as work for all; once, where one thing needs another."""
        began = clock.monotonic()
        self._making += 1
        try:
            yield
        finally:
            self._making -= 1
            if not self._making:
                self.seconds += clock.monotonic() - began

    def base(self, key: Hashable, make: Callable[[], M]) -> M:
        """A model to which a method may be applied; call `own` when that was done."""
        if not self.keep:
            return make()
        if key not in self._bases:
            with self.timed():
                self._bases[key] = make()
            while len(self._bases) > MOST_BASES:
                self._bases.popitem(last=False)
        self._bases.move_to_end(key)
        return twin(cast(M, self._bases[key]))

    def own(self, model: TaskModel) -> None:
        """Part what trains in `model` from the base that others read."""
        if self.keep:
            own_trained(model)

    def parts(self, recipe: Recipe, key: Hashable, make: Callable[[], Parts], *, probed: bool) -> Parts:
        """`make()`, or what it gave for a recipe that differs only in how the weights move. Whose turn it is puts its
        `weights` into the model. Where words that are used train apart (`UsedVocabulary`), each has its own parts.

        `probed` asks for `Parts.before`; parts that have it are good without asking, too.
        """
        values = fingerprint(recipe.model_dump(exclude={"out": True, "train": _MOVING}))
        names = [(values, key, True), (values, key, probed)]
        for name in names:
            if name in self._parts:
                self._parts.move_to_end(name)
                return self._parts[name]
        with self.timed():
            parts = make()
        if self.keep and parts.runner.forward.vocabulary is None:
            self._parts[names[-1]] = parts
            self._fresh[id(parts.model)] = Weights(parts.model).copy()
            while len(self._parts) > MOST_PARTS:
                _, old = self._parts.popitem(last=False)
                del self._fresh[id(old.model)]
        return parts

    def weights(self, model: TaskModel) -> Weights | None:
        """Fresh weights for a model that trials take turns in; None where it is one trial's own."""
        fresh = self._fresh.get(id(model))
        return None if fresh is None else fresh.copy()

    def source(self, model: str) -> BaseSource:
        """The base that a recipe calls `model`, located and hashed."""
        return self.once(("source", model), lambda: locate(model))

    def prepared(self, recipe: Recipe) -> Prepared:
        """The recipe's rows, split, with its canaries."""
        data, seed, canaries = recipe.data, recipe.train.seed, recipe.evaluate.canaries
        splits = isinstance(data.validation, float | int) and data.validation > 0 and data.split_seed is None
        seeded = splits or data.share < 1 or canaries

        def make() -> Prepared:
            if data.share < 1 and not canaries:  # the whole may be there already
                return share_of(self.prepared(recipe.replace(**{"data.share": 1.0})), data.share, seed)
            prepared = prepare(data, recipe.task, seed)
            return plant(prepared, canaries, seed) if canaries else prepared

        key = ("prepared", fingerprint(data.model_dump()), recipe.task, canaries, seed if seeded else None)
        return self.once(key, make)

    def passed(self, key: Hashable) -> bool:
        """Whether `pass_on` was called with this key."""
        return self.keep and ("passed", key) in self._made

    def pass_on(self, key: Hashable) -> None:
        """Note that something holds for every run of this key."""
        if self.keep:
            self._made["passed", key] = True


def shared_rows(recipe: Recipe, prepared: Prepared, base: str, shared: Shared) -> Mixed:
    """`mixed_rows`, once for each way to mix."""
    key = ("mixed", prepared.train, base, recipe.train.replay, str(recipe.data.replay), recipe.train.seed)
    return shared.once(key if recipe.train.replay else key[:3], lambda: mixed_rows(recipe, prepared, base))

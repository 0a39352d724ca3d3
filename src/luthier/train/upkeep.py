"""What a run keeps besides its checkpoints, when somebody else watches over it: a service, mostly."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from luthier.core import durable
from luthier.core.rundir import RunDir
from luthier.train.forward import Forward
from luthier.train.parts import Save


@dataclass(frozen=True, slots=True)
class Upkeep:
    """Beyond the recipe, and without an effect on the weights, except for `start`.

    Attributes:
        save_every_seconds: longest time between two checkpoints, so the most work that a crash takes.
        epoch_models: of how many of the last epochs a model stays in ``epochs/step-N``, ready to be used.
        start: a tuned model's folder, of the same base and method, whose weights training goes on from.
        until_epoch: stop at the end of that epoch, with everything saved and the rate's schedule that of all
            epochs, so that going on gives the weights of a run that was never stopped; None for all epochs.
        lean: a trial of a search: checkpoints (of the newest and the best state) only where training stops, and
            no answers are written at evaluations.
    """

    save_every_seconds: float = math.inf
    epoch_models: int = 0
    start: Path | None = None
    until_epoch: int | None = None
    lean: bool = False


def epoch_keeper(
    run: RunDir, most: int, forward: Forward, save: Save, on_evaluation: Callable[[int], None]
) -> Callable[[int], None]:
    """`on_evaluation`, and after it the model of this epoch's end; only the newest `most` stay."""
    if not most:
        return on_evaluation

    def evaluated(step: int) -> None:
        on_evaluation(step)
        if not step:
            return
        if forward.vocabulary is not None:
            forward.vocabulary.publish()
        with durable.atomic_folder(run.epoch_model(step)) as folder:
            save(folder, {})
        for old in run.epoch_models()[:-most]:
            durable.remove_tree(run.epoch_model(old))

    return evaluated

"""The best trial and the runner-up again, with other seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from luthier.core.errors import DataError, Interrupted, LuthierError, StorageError
from luthier.core.events import Event, Listener
from luthier.core.rundir import RunDir
from luthier.search.space import Space
from luthier.search.trial import Trial
from luthier.searching.clockwork import Clockwork
from luthier.searching.folder import SearchFolder
from luthier.searching.worker import Bench, epochs_of


@dataclass(frozen=True)
class Again:
    """Values by seed; a pair of lists, the second empty where there is no runner-up.

    Attributes:
        why_fewer: why there are fewer seeds than were asked for.
    """

    seeds: list[int]
    best: list[float]
    runner_up: list[float]
    seconds: float = 0.0
    why_fewer: str = ""


def train_again(
    bench: Bench, space: Space, folder: SearchFolder, trials: Sequence[Trial], repeat: int, clockwork: Clockwork,
    listener: Listener,
) -> Again:  # fmt: skip
    """Train the first two of `trials` with `repeat` new seeds each, seed by seed; what a budget leaves time for. Runs
    that are there already answer at once."""
    first = space.first().train.seed
    seeds: list[int] = []
    values: list[list[float]] = [[], []]
    seconds = 0.0
    for seed in range(first + 1, first + 1 + repeat):
        expected = sum(trial.seconds_of_all() or 0.0 for trial in trials[:2])
        if clockwork.left < expected + (trials[0].seconds_of_all() or 0.0):
            text = f"the budget left time for {len(seeds)} of {repeat} seeds"
            return Again(seeds, values[0], values[1], seconds, text)
        found: list[float] = []
        for trial in trials[:2]:
            recipe = space.of(trial.params).replace(**{"train.seed": seed})
            path = folder.repeat(trial.number, seed)
            try:
                run = bench.open(recipe, path)
                reached = run.advance(epochs_of(recipe, RunDir(path), run))
            except (Interrupted, StorageError, DataError):
                raise
            except LuthierError as error:
                text = f"trial {trial.number} with seed {seed} failed: {error}"
                listener(Event("message", text, "warn"))
                return Again(seeds, values[0], values[1], seconds, text)
            found.append(reached.value)
            seconds += reached.seconds
            told = f"trial {trial.number} again with seed {seed}: {bench.metric} {reached.value:.4g}"
            listener(Event("message", told))
        seeds.append(seed)
        for group, value in zip(values, found, strict=False):
            group.append(float(value))
    return Again(seeds, values[0], values[1], seconds)

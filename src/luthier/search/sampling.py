"""Optuna's samplers, seeded so that any process suggests the same, and what they see of trials that wait.

Each trial gets a sampler of its own, whose seed is made of the search's seed and the trial's number: a search that was
stopped goes on as if it had not been. Optuna is imported inside functions.
"""

from __future__ import annotations

import contextlib
import copy
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from luthier.core.errors import UsageError
from luthier.search.halving import TOP
from luthier.search.parameters import Parameter, Scalar
from luthier.search.settings import TRIALS, SearchSettings
from luthier.search.trial import Trial

ENOUGH_FOR_A_MODEL = 6
"""Results at one rung, of as many trials and more than there are parameters, for the Gaussian process to learn from."""


def check_optuna() -> None:
    """Whether Optuna is there.

    Raises:
        UsageError: `missing_package`.
    """
    from importlib.util import find_spec

    if find_spec("optuna") is None:
        raise UsageError(
            "a search needs Optuna, which is not installed.", remedy="Install it: pip install 'luthier[search]'.",
            code="missing_package",
        )  # fmt: skip


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Optuna without its log lines and warnings; what the caller set is put back."""
    import optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        optuna.logging.set_verbosity(before)


def sampler_for(settings: SearchSettings, number: int, attempt: int, *, conditional: bool) -> Any:
    """The sampler of one trial. TPE (Bergstra et al. 2011), multivariate and by groups of parameters that are there
    together (Falkner et al. 2018); a Gaussian process with expected improvement; or chance."""
    import numpy as np
    from optuna import samplers

    seed = int(np.random.SeedSequence([settings.seed, number, attempt]).generate_state(1)[0])
    if settings.sampler == "gp":
        return samplers.GPSampler(seed=seed, n_startup_trials=startup_trials(settings), deterministic_objective=False)
    if settings.sampler == "tpe":
        grouped = conditional and len(settings.objectives) == 1
        more: dict[str, Any] = {"group": True, "multivariate": True} if grouped else {}
        return samplers.TPESampler(seed=seed, n_startup_trials=startup_trials(settings), constant_liar=True, **more)
    return samplers.RandomSampler(seed=seed)


def startup_trials(settings: SearchSettings) -> int:
    """Trials by chance before a model of the results suggests any: a third, 5 to 10."""
    return max(5, min(10, (settings.trials or TRIALS) // 3))


def suggested(trial: Any, parameter: Parameter) -> Scalar:
    """The value that Optuna's trial suggests for a parameter."""
    if parameter.choices is not None:
        choice: Scalar = trial.suggest_categorical(parameter.name, list(parameter.choices))
        return choice
    low, high, step = parameter.low, parameter.high, parameter.step
    if step is not None:
        high = low + int((high - low) / step * (1 + 1e-12) + 1e-9) * step
    if parameter.integer:
        return int(trial.suggest_int(parameter.name, int(low), int(high), step=int(step or 1), log=parameter.log))
    return float(trial.suggest_float(parameter.name, low, high, step=step, log=parameter.log))


def objectives_of(trial: Trial, objectives: Sequence[str]) -> list[float] | None:
    """The value of each objective as far as it is known: seconds for the whole schedule. None before any result."""
    last, seconds = trial.last, trial.seconds_of_all()
    if last is None or seconds is None:
        return None
    known: Mapping[str, float | None] = {
        "quality": last.value, "size": float(trial.parameters), "seconds": seconds, "forgetting": trial.forgetting,
    }  # fmt: skip
    found = [known[name] for name in objectives]
    return None if any(value is None for value in found) else [float(value) for value in found if value is not None]


def sampler_view(
    settings: SearchSettings, read: Callable[[Any], Trial | None]
) -> Callable[[list[Any]], list[Any]]:
    """What a sampler sees. A trial that waits counts as pruned: by its rung, then by its score; one that diverged is
    the worst of all; to several objectives and to the Gaussian process, which know nothing of pruned ones, it is
    complete with the results of a rung that enough trials have reached."""
    from optuna.trial import TrialState

    def shown(trial: Any, state: Any, values: list[float] | None) -> Any:
        changed = copy.copy(trial)
        changed.state, changed.values = state, values
        changed.datetime_complete = trial.datetime_complete or trial.datetime_start
        return changed

    def pruned(frozen: Any, trial: Trial) -> Any:
        if trial.state == "paused" and trial.last is not None:
            return shown(frozen, TrialState.PRUNED, None)
        if trial.state == "failed" and trial.code == "nonfinite_loss":
            worst = shown(frozen, TrialState.PRUNED, None)
            worst.intermediate_values = {}
            return worst
        return frozen

    def several(frozen: Any, trial: Trial) -> Any:
        values = objectives_of(trial, settings.objectives) if trial.state == "paused" else None
        return frozen if values is None else shown(frozen, TrialState.COMPLETE, values)

    def view(frozen: list[Any]) -> list[Any]:
        trials = [read(item) for item in frozen]
        if len(settings.objectives) > 1:
            return [item if trial is None else several(item, trial) for item, trial in zip(frozen, trials, strict=True)]
        if settings.sampler != "gp":
            return [item if trial is None else pruned(item, trial) for item, trial in zip(frozen, trials, strict=True)]
        rung = rung_with_enough([trial for trial in trials if trial is not None])
        found = []
        for item, trial in zip(frozen, trials, strict=True):
            if trial is None or trial.state in ("running", "failed"):
                found.append(item)
            elif rung is not None and (result := trial.at(rung)) is not None:
                found.append(shown(item, TrialState.COMPLETE, [result.value]))
            else:
                found.append(shown(item, TrialState.PRUNED, None))
        return found

    return view


def rung_with_enough(trials: Sequence[Trial], enough: int = ENOUGH_FOR_A_MODEL) -> int | None:
    """The highest rung at which so many trials have a result, as in BOHB (Falkner et al. 2018); else the one with the
    most; None where there is no result at all."""
    counts = {rung: sum(trial.at(rung) is not None for trial in trials) for rung in range(TOP + 1)}
    most = max(counts.values(), default=0)
    if not most:
        return None
    return max(rung for rung, count in counts.items() if count >= min(enough, most))

"""How much each parameter mattered, by the trials of this search."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from luthier.search.halving import TOP
from luthier.search.parameters import Parameter
from luthier.search.sampling import quiet
from luthier.search.space import Space
from luthier.search.trial import Trial

ENOUGH = 12
"""Trials with a result at one rung, below which an importance would be noise."""


@dataclass(frozen=True)
class Importance:
    """Shares that sum to 1, the largest first.

    Attributes:
        shares: by parameter; empty where there were too few trials.
        method: fANOVA (Hutter et al. 2014), or PED-ANOVA (Watanabe et al. 2023) where parameters depend on others.
        trials: how many were looked at. share: of their epochs after which they were compared.
    """

    shares: dict[str, float]
    method: str
    trials: int
    share: float
    why_not: str = ""


def importance(
    space: Space, trials: Sequence[Trial], *, higher_is_better: bool, reduction: int, seed: int = 0
) -> Importance:
    """The importance of each parameter for the validation metric, among the trials with a result at the highest rung
    that at least 12 have reached: results after different shares of the epochs are not compared."""
    counts = {rung: [trial for trial in trials if trial.at(rung) is not None] for rung in range(TOP + 1)}
    reached = [rung for rung, found in counts.items() if len(found) >= ENOUGH]
    if not reached:
        most = max((len(found) for found in counts.values()), default=0)
        why = f"{most} trials have a comparable result, and an importance needs {ENOUGH}."
        return Importance({}, "", most, 0.0, why)
    rung = max(reached)
    found = counts[rung]
    share = float(reduction) ** (rung - TOP)
    values = [result.value for trial in found if (result := trial.at(rung)) is not None]
    if max(values) - min(values) <= 1e-12:
        return Importance({}, "", len(found), share, "all trials have the same result.")
    varied = [p for p in space.parameters if len({trial.params.get(p.name) for trial in found}) > 1]
    everywhere = all(p.name in trial.params for p in varied for trial in found)
    with quiet():
        shares = _evaluate(varied, found, values, everywhere, higher_is_better, seed)
    total = sum(shares.values())
    shares = {name: value / total if total > 0 else 1 / len(shares) for name, value in shares.items()}
    ordered = dict(sorted(shares.items(), key=lambda item: (-item[1], item[0])))
    return Importance(ordered, "fANOVA" if everywhere else "PED-ANOVA", len(found), share)


def _evaluate(
    varied: Sequence[Parameter], trials: Sequence[Trial], values: Sequence[float], everywhere: bool,
    higher_is_better: bool, seed: int,
) -> dict[str, float]:  # fmt: skip
    import optuna
    from optuna.importance import FanovaImportanceEvaluator, PedAnovaImportanceEvaluator, get_param_importances

    known = {parameter.name: distribution(parameter) for parameter in varied}
    study = optuna.create_study(direction="maximize" if higher_is_better else "minimize")
    for trial, value in zip(trials, values, strict=True):
        params = {name: trial.params[name] for name in known if name in trial.params}
        made = optuna.trial.create_trial(
            params=params, distributions={name: known[name] for name in params}, value=value,
            state=optuna.trial.TrialState.COMPLETE,
        )  # fmt: skip
        study.add_trial(made)
    evaluator: Any = FanovaImportanceEvaluator(seed=seed)
    if not everywhere:  # the best quarter, five trials at least, as the paper's authors ask for
        evaluator = PedAnovaImportanceEvaluator(target_quantile=min(0.5, max(0.25, 5 / len(trials))))
    found: dict[str, float] = get_param_importances(study, evaluator=evaluator)
    return {name: max(0.0, float(found.get(name, 0.0))) for name in known}


def distribution(parameter: Parameter) -> Any:
    """The parameter as Optuna's distribution."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if parameter.choices is not None:
        return CategoricalDistribution(parameter.choices)
    low, high, step = parameter.low, parameter.high, parameter.step
    if step is not None:
        high = low + int((high - low) / step * (1 + 1e-12) + 1e-9) * step
    if parameter.integer:
        return IntDistribution(int(low), int(high), log=parameter.log, step=int(step or 1))
    return FloatDistribution(low, high, log=parameter.log, step=step)

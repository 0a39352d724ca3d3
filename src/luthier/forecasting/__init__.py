"""`luthier forecast`: time, memory and cost of a run before they are spent.

`forecast` is what Python and the command line call; `forecasting.watch` does the same for a run that has begun.
`search.forecast` and `search.quick` hold the arithmetic, without torch.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from luthier.core.errors import LuthierError
from luthier.core.recipe import Recipe
from luthier.core.recipe_fields import absolute, recipe_from
from luthier.search import ledger
from luthier.search.forecast import Forecast, assemble
from luthier.search.memory import baseline_bytes, mapped_bytes
from luthier.search.prices import Prices, cost_of, elsewhere, load_prices
from luthier.search.stages import Judging, Rates, seconds_of
from luthier.search.workload import Base, Workload

__all__ = ["Forecast", "forecast", "seconds_of_run"]

_BUSY = 0.8
"""Share of its time that a probe computes on a machine of its own, at least; the rest it waits for the disk."""
_MEMORY_SPREAD = 0.07
"""Relative deviation of a peak that was measured: docs/benchmarks/forecast.md."""


def forecast(
    recipe: Recipe | None = None,
    *,
    probe: bool = True,
    price_per_hour: float | None = None,
    watts: float | None = None,
    price_per_kwh: float | None = None,
    prices: str | Path | None = None,
    timeout_seconds: float | None = None,
    **fields: Any,
) -> Forecast:
    """What a run of `recipe` (or of `fields` of one, as for `luthier.train`) will take on this machine.

    Args:
        probe: make about 20 steps with the run's own parts first, in a process of its own. Without, the answer comes
            at once, from shapes and what the ledger knows of earlier runs.
        price_per_hour: of this machine. watts, price_per_kwh: what it draws, and what that costs.
        prices: a price table instead of the one that comes with Luthier (docs/forecast.md).
        timeout_seconds: of the probe.

    Raises:
        RecipeError, DataError, ModelError: as `luthier.train` would, before its first step.
        TrainingError: `probe_out_of_memory`, `probe_failed`. UsageError: `prices_unreadable`, `invalid_prices`.
    """
    recipe = absolute(recipe_from(recipe, fields, "luthier.forecast"))
    table = load_prices(prices)
    cost: dict[str, Any] = {"price_per_hour": price_per_hour, "watts": watts, "price_per_kwh": price_per_kwh}
    cost_of_nothing(table, cost)
    if probe:
        found, base = _probed(recipe, timeout_seconds)
    else:
        from luthier.forecasting.without_probe import from_shapes

        found, base = from_shapes(recipe)
    return _priced(found, base, table, cost)


def seconds_of_run(recipe: Recipe) -> float:
    """About how long a run of `recipe` takes, from its shapes and the ledger, without a probe: for those who plan runs
    within a budget. Raises what reading its data raises."""
    return forecast(recipe, probe=False).seconds.value


def cost_of_nothing(table: Prices, cost: dict[str, Any]) -> None:
    """Refuse prices that cannot be, before anything is measured."""
    from luthier.search.interval import Interval

    cost_of(Interval(0.0, 0.0, 0.0), table, **cost)


def _among_others(found: Forecast, busy: float) -> Forecast:
    """A probe that had to share the processor tells of a run that shares it, too: alone, it would be faster."""
    seconds = replace(found.seconds, low=found.seconds.low * busy)
    note = (
        f"Other programs used the processor while this was measured (the probe had {busy:.0%} of its time): on an idle "
        "machine the run is faster."
    )
    return replace(found, seconds=seconds, notes=(*found.notes, note))


def _priced(found: Forecast, base: Base, table: Prices, cost: dict[str, Any]) -> Forecast:
    return replace(
        found,
        cost=cost_of(found.seconds, table, **cost),
        elsewhere=tuple(elsewhere(found.workload, base, table, found.peak_memory_bytes.value)),
    )


def _probed(recipe: Recipe, timeout_seconds: float | None) -> tuple[Forecast, Base]:
    from luthier.forecasting.asking import ask
    from luthier.forecasting.fingerprint import fingerprint, known_model

    probe = ask(recipe, timeout_seconds=timeout_seconds)
    work, base, judging = Workload.read(probe["workload"]), Base(**probe["base"]), Judging.read(probe["judging"])
    measured = dict(probe["stages"])
    share = measured.pop("tfidf_share", 1.0)
    read = measured.pop("frozen_read", None)
    if read is not None:
        formula = seconds_of(work, base, judging, Rates())
        counting = measured.get("majority", 0.0)
        fit = Rates().frozen_class * work.train.rows * max(1, work.outputs)
        measured["frozen"] = min(read + fit, formula["frozen"] * 50) + counting
    more = baseline_bytes(work, judging) - baseline_bytes(work, judging, share)
    memory = probe["peak_bytes"] + more + mapped_bytes(work, base)
    spread = _MEMORY_SPREAD + 0.3 * more / memory
    found = assemble(
        work, base, judging, model=known_model(probe["model"]), machine=probe["machine"], entries=ledger.recent(),
        measured=measured, memory=(memory, spread), basis="probe",
    )  # fmt: skip
    if probe["busy"] < _BUSY:
        found = _among_others(found, probe["busy"])
    brief = found.brief()
    asked = {
        "tokens": work.train.tokens, "measured": {name: round(value, 4) for name, value in found.stages.items()},
        "memory": [round(memory), spread],
        "predicted": {name: brief[name] for name in ("seconds", "peak_memory_bytes", "basis")},
    }  # fmt: skip
    if probe["busy"] < _BUSY:
        asked["busy"] = round(probe["busy"], 3)
    try:
        ledger.remember(fingerprint(recipe), probe["machine"], asked)
    except LuthierError as error:
        found = replace(found, notes=(*found.notes, f"The ledger was not written: {error}"))
    return found, base

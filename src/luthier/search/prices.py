"""What a run costs: here by the hour and by its energy, and elsewhere by a dated table that anyone can edit."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import yaml

from luthier.core.errors import UsageError
from luthier.search.interval import Interval
from luthier.search.workload import Base, Workload

USED = 0.3
"""Share of a GPU's peak that training reaches, at best; small models reach far less."""
STEP_SECONDS = 0.02
"""Of a step on a GPU, whatever its size: launching its kernels."""
START_SECONDS = 60.0
"""Of a rented machine, before the first step."""
_SHIPPED = Path(__file__).parent / "prices.yaml"


@dataclass(frozen=True, slots=True)
class Gpu:
    """A GPU for hire. `tflops` is the peak of dense bf16 products."""

    provider: str
    name: str
    gpu: str
    price_per_hour: float
    tflops: float
    source: str
    date: str
    memory_gib: float = 0.0


@dataclass(frozen=True, slots=True)
class Platform:
    """A hosted platform; prices per million tokens, None where it does not offer that."""

    provider: str
    model: str
    source: str
    date: str
    training: float | None = None
    input: float | None = None
    output: float | None = None


@dataclass(frozen=True, slots=True)
class Here:
    """This machine; None where it is not known."""

    price_per_hour: float | None = None
    watts: float | None = None
    price_per_kwh: float | None = None


@dataclass(frozen=True, slots=True)
class Prices:
    """The whole table."""

    date: str
    currency: str
    here: Here
    gpus: tuple[Gpu, ...]
    platforms: tuple[Platform, ...]
    source: str


def load_prices(path: str | Path | None = None) -> Prices:
    """The table of `path`, else of ``$LUTHIER_PRICES``, else the one that comes with Luthier.

    Raises `UsageError` (`prices_unreadable`, `invalid_prices`) that names file and row.
    """
    chosen = path or os.environ.get("LUTHIER_PRICES") or _SHIPPED
    where = str(chosen)
    try:
        values = yaml.safe_load(Path(chosen).read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(
            f"the price table cannot be read: {error.strerror or error}.", where=where,
            remedy="Give a file with --prices, or leave it out for the table of Luthier.", code="prices_unreadable",
            param="prices",
        ) from None  # fmt: skip
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise _wrong(where, f"this is no YAML: {str(error).splitlines()[0]}") from None
    if not isinstance(values, dict):
        raise _wrong(where, "a price table is a mapping with gpus and platforms")
    unknown = sorted(map(str, set(values) - {"date", "currency", "here", "gpus", "platforms"}))
    if unknown:
        raise _wrong(where, f"there is no key {unknown[0]!r}")
    here = values.get("here") or {}
    return Prices(
        str(values.get("date", "")),
        str(values.get("currency", "USD")),
        _row(Here, here, where, "here"),
        tuple(_row(Gpu, row, where, f"gpus, row {n}") for n, row in enumerate(_rows(values, "gpus", where), 1)),
        tuple(
            _row(Platform, row, where, f"platforms, row {n}")
            for n, row in enumerate(_rows(values, "platforms", where), 1)
        ),
        where if chosen != _SHIPPED else "the table of Luthier",
    )


def cost_of(
    seconds: Interval,
    prices: Prices,
    *,
    price_per_hour: float | None = None,
    watts: float | None = None,
    price_per_kwh: float | None = None,
) -> dict[str, Any]:
    """What the run costs on this machine. ``value``, ``low`` and ``high`` are None where no price is known."""
    hourly = prices.here.price_per_hour if price_per_hour is None else price_per_hour
    power = prices.here.watts if watts is None else watts
    tariff = prices.here.price_per_kwh if price_per_kwh is None else price_per_kwh
    for name, given in (("price_per_hour", hourly), ("watts", power), ("price_per_kwh", tariff)):
        if given is not None and not 0 <= given < 1e9:
            raise UsageError(f"{name} cannot be {given}.", remedy="Give a number from 0 on.", code="invalid_price",
                             param=name)  # fmt: skip
    energy = None if power is None else seconds.times(power / 3.6e6)
    per_second = (hourly or 0.0) / 3600 + ((tariff or 0.0) * (power or 0.0) / 3.6e6)
    known = hourly is not None or (tariff is not None and power is not None)
    total = seconds.times(per_second) if known else None
    return {
        "currency": prices.currency,
        **({"value": None, "low": None, "high": None} if total is None else total.to_dict(6)),
        "price_per_hour": hourly,
        "watts": power,
        "price_per_kwh": tariff,
        "energy_kwh": None if energy is None else energy.to_dict(6),
    }


def elsewhere(work: Workload, base: Base, prices: Prices, memory_bytes: float) -> list[dict[str, Any]]:
    """What the same training would cost elsewhere, cheapest first. Times on a GPU are rough: they come from its peak
    speed, and a small model keeps a large GPU waiting. Platforms tune other, larger models with the same tokens."""
    flops = work.epochs * work.epoch_flops(base)
    if work.validation is not None:
        flops += work.epochs * base.forward_flops(work.validation)
    tokens = work.train.tokens * work.epochs
    found: list[dict[str, Any]] = []
    for gpu in prices.gpus:
        seconds = START_SECONDS + STEP_SECONDS * work.steps + flops / (USED * gpu.tflops * 1e12)
        fits = not gpu.memory_gib or memory_bytes <= gpu.memory_gib * 2**30
        found.append({
            "kind": "gpu", "provider": gpu.provider, "name": f"{gpu.name}, {gpu.gpu}", "seconds": round(seconds, 1),
            "cost": round(gpu.price_per_hour * seconds / 3600, 6) if fits else None, "fits": fits,
            "price": f"{gpu.price_per_hour:g} per hour", "source": gpu.source, "date": gpu.date,
        })  # fmt: skip
    for platform in prices.platforms:
        if platform.training is None:
            continue
        found.append({
            "kind": "platform", "provider": platform.provider, "name": platform.model, "seconds": None,
            "cost": round(platform.training * tokens / 1e6, 6), "fits": True,
            "price": f"{platform.training:g} per million tokens trained", "input_per_million": platform.input,
            "output_per_million": platform.output, "source": platform.source, "date": platform.date,
        })  # fmt: skip
    return sorted(found, key=lambda row: (row["cost"] is None, row["cost"] or 0.0))


def _rows(values: Mapping[str, Any], name: str, where: str) -> list[Any]:
    found = values.get(name) or []
    if not isinstance(found, list):
        raise _wrong(where, f"{name} is a list of rows")
    return found


def _row(kind: Any, values: Any, where: str, place: str) -> Any:
    """A row as a value: names that are known, numbers that are numbers."""
    if not isinstance(values, dict):
        raise _wrong(where, f"{place}: a row is a mapping")
    known = kind.__dataclass_fields__
    unknown = sorted(map(str, set(values) - set(known)))
    if unknown:
        raise _wrong(where, f"{place}: there is no key {unknown[0]!r}; known are {', '.join(known)}")
    plain: dict[str, Any] = {}
    for name, field in known.items():
        value = values.get(name)
        text = field.type == "str"
        if value is None:
            if text or (field.type == "float" and name not in ("memory_gib",)):
                raise _wrong(where, f"{place}: {name} is missing")
            continue
        if text:
            plain[name] = value.isoformat() if isinstance(value, date) else str(value)
        elif isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e9:
            raise _wrong(where, f"{place}: {name} is a number from 0 on, not {value!r}")
        else:
            plain[name] = float(value)
    if plain.get("tflops") == 0:
        raise _wrong(where, f"{place}: tflops is above 0")
    return kind(**plain)


def _wrong(where: str, message: str) -> UsageError:
    return UsageError(
        f"{message}.", where=where, remedy="docs/forecast.md shows a price table.", code="invalid_prices",
        param="prices",
    )  # fmt: skip

"""The price table: what is shipped is sound, a user's own wins, and a wrong one is told."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest
from forecast_making import MINILM, work

from luthier.core.errors import UsageError
from luthier.search.interval import Interval
from luthier.search.prices import Prices, cost_of, elsewhere, load_prices

HOUR = Interval(3600.0, 1800.0, 7200.0)


@pytest.fixture(autouse=True)
def _no_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LUTHIER_PRICES", raising=False)


def test_every_row_that_is_shipped_has_a_source_and_a_day() -> None:
    table = load_prices()
    assert table.gpus
    assert table.platforms
    for row in (*table.gpus, *table.platforms):
        assert "http" in row.source, row
        assert date.fromisoformat(row.date) <= date.fromisoformat(table.date)


def own(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "prices.yaml"
    path.write_text(text)
    return path


GPU = "{provider: Me, name: mine, gpu: X, price_per_hour: 2, tflops: 100, source: my bill, date: 2026-01-02}"


def test_a_table_of_the_users_own_stands_in_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = own(tmp_path, f"date: 2026-01-02\ncurrency: EUR\nhere: {{price_per_hour: 0.5}}\ngpus: [{GPU}]\n")
    table = load_prices(path)
    assert (table.currency, len(table.gpus), table.platforms) == ("EUR", 1, ())
    assert cost_of(HOUR, table)["value"] == pytest.approx(0.5)
    assert cost_of(HOUR, table, price_per_hour=3.0)["value"] == pytest.approx(3.0), "an option wins"
    monkeypatch.setenv("LUTHIER_PRICES", str(path))
    assert load_prices().currency == "EUR"
    assert load_prices(own(tmp_path, "date: 2026-01-02")).currency == "USD", "the option wins over the environment"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[1, 2]", "mapping"),
        ("gpus: {", "no YAML"),
        ("gpu: []", "'gpu'"),
        ("gpus: 3", "list"),
        ("gpus: [3]", "gpus, row 1"),
        (f"gpus: [{GPU}, {{provider: A}}]", "gpus, row 2: name is missing"),
        ("gpus: [" + GPU.replace("2, tflops", "free, tflops") + "]", "price_per_hour is a number"),
        ("gpus: [" + GPU.replace("2, tflops", "-2, tflops") + "]", "from 0 on"),
        ("gpus: [" + GPU.replace("2, tflops", ".nan, tflops") + "]", "from 0 on"),
        ("gpus: [" + GPU.replace("tflops: 100", "tflops: 0") + "]", "above 0"),
        ("gpus: [" + GPU.replace("price_per_hour", "price") + "]", "'price'"),
        ("platforms: [{provider: A, model: b, source: c}]", "date is missing"),
        ("here: {watts: many}", "watts is a number"),
        ("date: !!python/object/apply:os.system [x]", "no YAML"),
    ],
)
def test_a_wrong_table_is_told_with_its_place(tmp_path: Path, text: str, says: str) -> None:
    path = own(tmp_path, text)
    with pytest.raises(UsageError, match=says) as told:
        load_prices(path)
    assert told.value.code == "invalid_prices"
    assert str(path) in str(told.value)


def test_a_table_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as told:
        load_prices(tmp_path / "none.yaml")
    assert told.value.code == "prices_unreadable"


def test_cost_and_energy_are_those_of_a_hand_count() -> None:
    found = cost_of(HOUR, load_prices(), price_per_hour=0.4, watts=100, price_per_kwh=0.3)
    assert found["energy_kwh"] == {"value": 0.1, "low": 0.05, "high": 0.2}
    assert found["value"] == pytest.approx(0.4 + 0.03)
    assert found["high"] == pytest.approx(0.8 + 0.06)
    nothing = cost_of(HOUR, load_prices())
    assert nothing["value"] is None
    assert nothing["energy_kwh"] is None
    assert cost_of(HOUR, load_prices(), watts=100)["value"] is None, "energy without a price costs nobody knows what"


@pytest.mark.parametrize("wrong", [-1.0, float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["price_per_hour", "watts", "price_per_kwh"])
def test_prices_that_cannot_be_are_refused(name: str, wrong: float) -> None:
    with pytest.raises(UsageError) as told:
        cost_of(HOUR, load_prices(), **{name: wrong})
    assert (told.value.code, told.value.param) == ("invalid_price", name)


def table_of(text: str, tmp_path: Path) -> Prices:
    return load_prices(own(tmp_path, text))


def test_elsewhere_counts_tokens_and_hours(tmp_path: Path) -> None:
    table = table_of(
        f"gpus: [{GPU}]\nplatforms: [{{provider: P, model: m, training: 10, source: x, date: 2026-01-01}}, "
        "{provider: Q, model: only inference, input: 1, source: x, date: 2026-01-01}]", tmp_path,
    )  # fmt: skip
    run = work()
    platform, gpu = sorted(elsewhere(run, MINILM, table, 1e9), key=lambda row: row["kind"], reverse=True)
    assert platform["cost"] == pytest.approx(10 * run.train.tokens * run.epochs / 1e6)
    assert gpu["seconds"] > 60
    assert gpu["cost"] == pytest.approx(2 * gpu["seconds"] / 3600, rel=1e-2)


def test_a_run_that_does_not_fit_has_no_cost(tmp_path: Path) -> None:
    table = table_of("gpus: [" + GPU.replace("tflops", "memory_gib: 1, tflops") + "]", tmp_path)
    assert elsewhere(work(), MINILM, table, 0.5 * 2**30)[0]["fits"]
    row = elsewhere(work(), MINILM, table, 2.0 * 2**30)[0]
    assert (row["fits"], row["cost"]) == (False, None)

"""The controller by a clock of its own: the budget is kept, a model is always there, and a crash loses nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from clocked import Clocked, PowerCut

from luthier.automatic.timing import Timing
from luthier.core.errors import DataError, UsageError
from luthier.core.events import Event
from luthier.models.run_model import model_folder
from luthier.searching.clockwork import Clockwork

GOOD = {"head": 0.6, "full": 0.8, "lora": 0.9, "pairs full": 0.7}


@pytest.mark.parametrize(
    ("budget", "second", "noise"),
    [(20.0, 0.5, 0.4), (20.0, 30.0, 0.2), (45.0, 3.0, 0.4), (90.0, 0.05, 0.0), (90.0, 3.0, 0.4), (300.0, 30.0, 0.2),
     (600.0, 3.0, 0.4)],
)
def test_the_budget_is_kept(clocked: Clocked, budget: float, second: float, noise: float) -> None:
    clocked.second, clocked.noise, clocked.kinds = second, noise, GOOD
    found = clocked.auto(budget=budget)
    assert clocked.now <= 1.05 * budget
    assert model_folder(found.path).is_dir()
    assert json.loads((found.path / "auto.json").read_text())["done"] is True
    assert (found.path / "auto.html").is_file()


@pytest.mark.parametrize("slow_from", [0.2, 0.5, 0.7, 0.85])
@pytest.mark.parametrize(
    ("budget", "second", "noise", "more"),
    [(30.0, 0.5, 0.0, {}), (60.0, 1.0, 0.4, {"reading": 1.0, "exporting": 0.2}), (60.0, 3.0, 0.4, {"pages": 0.3}),
     (120.0, 1.0, 0.6, {"reading": 2.0, "exporting": 1.0, "pages": 0.4}), (300.0, 0.1, 0.4, {"pages": 0.3}),
     (600.0, 3.0, 0.4, {"reading": 2.0, "exporting": 1.0})],
)  # fmt: skip
def test_the_budget_is_kept_where_everything_takes_three_times_as_long_from_then_on(
    clocked: Clocked, slow_from: float, budget: float, second: float, noise: float, more: dict[str, float]
) -> None:
    clocked.second, clocked.noise, clocked.kinds = second, noise, GOOD
    clocked.slow_from = slow_from * budget
    for name, value in more.items():
        setattr(clocked, name, value)
    found = clocked.auto(budget=budget)
    assert clocked.now <= 1.05 * budget
    assert model_folder(found.path).is_dir()
    assert json.loads((found.path / "auto.json").read_text())["done"] is True


def test_what_starts_slowly_leaves_more_for_its_end(clocked: Clocked) -> None:
    clocked.kinds, clocked.now = GOOD, 30.0
    clocked.auto(budget=300.0, spent=30.0)
    assert clocked.now <= 300.0 - 2.0 * 30.0 / 6.0


def test_a_start_that_waited_for_a_disk_does_not_take_the_whole_budget() -> None:
    timing = Timing(Clockwork(300.0), 300.0, learned=100, compared=10, judged=0)
    assert timing.end() == 2.0
    timing.start = 30.0
    assert timing.end() == 10.0
    timing.start = 150.0
    assert timing.end() == 30.0


def test_what_starting_took_is_of_the_budget(clocked: Clocked) -> None:
    clocked.kinds, clocked.now = GOOD, 40.0
    clocked.auto(budget=60.0, spent=40.0)
    assert clocked.now <= 63.0


def test_with_time_the_best_wins_and_is_trained_afresh(clocked: Clocked) -> None:
    clocked.kinds = GOOD
    found = clocked.auto(budget=600.0)
    assert found.best["recipe"]["method"]["kind"] == "lora"
    assert clocked.trained == ["final: lora"]
    assert found.report["final"]["is_fresh"] is True
    assert json.loads((model_folder(found.path) / "luthier.json").read_text()) == {"kind": "lora"}
    assert len(found.trials) >= 10
    assert sum(one["epoch"] == one["epochs"] for one in found.trials) < len(found.trials)  # halving


def test_more_time_tries_more(clocked: Clocked) -> None:
    clocked.kinds, clocked.second = GOOD, 1.0
    counts = [len(clocked.auto(budget=budget).trials) for budget in (30.0, 120.0, 900.0)]
    assert counts == sorted(counts)
    assert counts[0] < counts[-1]


def test_the_fresh_run_has_the_time_that_is_left(clocked: Clocked) -> None:
    clocked.kinds, clocked.second = {"full": 0.9, "head": 0.5}, 1.0
    found = clocked.auto(budget=120.0)
    trial = next(one for one in found.trials if one["name"] == found.best["name"])
    assert found.best["recipe"]["train"]["epochs"] >= trial["epochs"]
    assert clocked.now > 0.6 * 120


def test_short_time_goes_to_the_usual_recipe(clocked: Clocked) -> None:
    """Halving it among many would leave each with so few epochs that a linear head wins."""
    clocked.kinds, clocked.second = {"full": 0.9, "head": 0.5}, 3.0
    found = clocked.auto(budget=120.0)
    names = [one["name"] for one in found.trials]
    assert [name for name in names if not name.startswith("linear head")] == ["full"]
    assert found.best["name"] == "full"
    (trial,) = (one for one in found.trials if one["name"] == "full")
    assert trial["epoch"] == trial["epochs"] >= 3
    assert clocked.now > 0.6 * 120


def test_where_few_epochs_fit_the_rate_is_twice_the_usual(clocked: Clocked) -> None:
    clocked.kinds, clocked.second = {"full": 0.9, "head": 0.5}, 5.2
    heard: list[str] = []
    found = clocked.auto(lambda event: heard.append(event.message), budget=60.0)
    assert [name for one in found.trials if not (name := one["name"]).startswith("linear head")] == ["full, rate x 2"]
    assert found.best["recipe"]["train"]["learning_rate_multiplier"] == 2.0
    assert "The time is for one training: full, rate x 2, 2 of 12 epochs." in heard
    assert next(one["epoch"] for one in found.trials if one["name"] == "full, rate x 2") == 2


def test_an_epoch_that_is_cut_off_costs_no_other(clocked: Clocked) -> None:
    """On a machine that becomes slower the one training ends early; what its whole epochs gave stays."""
    clocked.kinds, clocked.second, clocked.slow_from = {"full": 0.9, "head": 0.2}, 3.0, 65.0
    found = clocked.auto(budget=120.0)
    (trial,) = (one for one in found.trials if not one["name"].startswith("linear head"))
    assert 6 <= trial["epoch"] < trial["epochs"]  # the rung below its end is after three
    assert found.best["name"] == trial["name"]
    assert clocked.now <= 1.05 * 120


def test_a_model_is_there_from_the_first_one_on(clocked: Clocked) -> None:
    clocked.kinds = GOOD
    seen: list[str] = []

    def hear(event: Event) -> None:
        found = list((clocked.folder / "autos").glob("*/best.json")) if event.kind == "step" else []
        seen.extend(json.loads((model_folder(one.parent) / "luthier.json").read_text())["kind"] for one in found)

    clocked.auto(hear, budget=200.0)
    assert seen[0] == "head"
    assert "lora" in seen
    assert seen == sorted(seen, key=["head", "pairs full", "full", "lora"].index)  # only ever a better one


def test_a_power_cut_anywhere_loses_nothing(clocked: Clocked) -> None:
    clocked.kinds = GOOD
    whole = clocked.auto(budget=150.0)
    took = clocked.now
    for cut in (0.04, 0.1, 0.2, 0.4, 0.7, 0.97):
        world = Clocked(clocked.folder / f"cut-{cut}")
        world.folder.mkdir()
        world.kinds = GOOD
        _cut_and_go_on(world, clocked, cut * took, whole.best["name"])


def _cut_and_go_on(world: Clocked, clocked: Clocked, at: float, expected: str) -> None:
    clocked.now, clocked.stop_after, clocked.folder = 0.0, at, world.folder
    with pytest.raises(PowerCut):
        clocked.auto(budget=150.0)
    (folder,) = (world.folder / "autos").iterdir()
    begun = [line for line in (folder / "journal.jsonl").read_text().splitlines() if '"begun"' in line]
    if at > 5:
        assert model_folder(folder).is_dir()
    clocked.stop_after, before = float("inf"), clocked.now
    found = clocked.auto(resume=folder)
    assert found.path == folder
    assert clocked.now - before <= 1.05 * 150.0 - at + 15  # what the journal did not see yet may be spent again
    names = [one["name"] for one in found.trials]
    assert names[: len(begun)] == [json.loads(line)["candidate"]["name"] for line in begun]
    assert len(set(names)) == len(names)
    assert found.best["name"] == expected


def test_what_earlier_sittings_found_is_shown_again(clocked: Clocked) -> None:
    clocked.kinds = GOOD
    clocked.stop_after = 60.0
    with pytest.raises(PowerCut):
        clocked.auto(budget=150.0)
    (folder,) = (clocked.folder / "autos").iterdir()
    assert json.loads((folder / "time.json").read_text())["seconds"] == round(clocked.now, 3)
    clocked.stop_after = float("inf")
    heard: list[Event] = []
    found = clocked.auto(heard.append, resume=folder)
    known = [event.data for event in heard if event.kind == "known"]
    assert len(known) >= 2
    assert [one["name"] for one in known] == [one["name"] for one in found.trials][: len(known)]
    assert found.report["seconds"] == pytest.approx(clocked.now, abs=0.01), "no second is lost or counted twice"


def test_what_is_done_is_done(clocked: Clocked) -> None:
    clocked.kinds = GOOD
    found = clocked.auto(budget=100.0)
    clocked.now = 0.0
    again = clocked.auto(resume=found.path)
    assert len(clocked.trained) == 1
    assert again.best["name"] == found.best["name"]


def test_a_candidate_that_fails_is_passed_over(clocked: Clocked) -> None:
    clocked.kinds, clocked.failing = GOOD, ("lora", "bitfit")
    found = clocked.auto(budget=300.0)
    states = {one["name"]: one["state"] for one in found.trials}
    assert states["lora, rank 16"] == "failed"
    assert found.best["recipe"]["method"]["kind"] == "full"


def test_patience_ends_a_trial(clocked: Clocked) -> None:
    clocked.kinds, clocked.patience_after = GOOD, 2
    found = clocked.auto(budget=300.0)
    assert all(one["epoch"] <= 2 for one in found.trials)


@pytest.mark.parametrize("budget", [0.5, 1.0, 19.9, "1s", float("nan"), float("inf"), -5.0])
def test_too_small_a_budget_is_refused(clocked: Clocked, budget: object) -> None:
    with pytest.raises(UsageError) as caught:
        clocked.auto(budget=budget)
    assert caught.value.code == "budget_too_small"
    assert not (clocked.folder / "autos").exists()


def test_the_report_is_written_to_be_read(clocked: Clocked) -> None:
    clocked.kinds = GOOD
    found = clocked.auto(budget=200.0)
    assert found.verdict.startswith(found.best["name"].capitalize()[:4])
    page = (found.path / "auto.html").read_text(encoding="utf-8")
    assert page.index(found.verdict[:30]) < page.index("Quality against training time")
    front = {one["name"] for one in found.trials if one["pareto"]}
    assert front == set(found.report["pareto"])
    best = max(one["value"] for one in found.trials)
    assert any(one["value"] == best for one in found.trials if one["pareto"])
    assert Path(found.best["recipe_file"]).is_file()


def test_without_a_first_result_the_reason_is_told(clocked: Clocked) -> None:
    clocked.kinds, clocked.second = GOOD, 10_000.0
    with pytest.raises(DataError) as late:
        clocked.auto(budget=30.0)
    assert late.value.code == "budget_too_small"
    clocked.second, clocked.now, clocked.failing = 0.5, 0.0, ("head",)
    with pytest.raises(DataError, match=r"training diverged") as failed:
        clocked.auto(budget=30.0)
    assert failed.value.code == "nothing_trained"


def test_the_verdict_says_when_there_was_time_for_one_only() -> None:
    from luthier.automatic.found import verdict

    def told(count: int) -> str:
        best = {"name": "linear head", "value": 0.729}
        return verdict({
            "best": best, "metric": "accuracy", "metric_title": "Accuracy", "trials": [best] * count,
            "rows": {"validation": 70}, "final": None, "baseline": None, "higher_is_better": True,
        })  # fmt: skip

    assert told(1) == "Linear head is the only candidate that time allowed: accuracy 72.9 % on 70 validation rows."
    assert told(2).startswith("Linear head won over 1 other: ")
    assert told(3).startswith("Linear head won over 2 others: ")

"""A search from what was asked to what came out: checkpoints reused, failures kept, stopped and gone on with."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import yaml
from fake_bench import FakeBench

from luthier import searching
from luthier.core.errors import Interrupted, RecipeError, TrainingError, UsageError
from luthier.core.recipe import Recipe
from luthier.searching.asked import asked
from luthier.searching.folder import SearchFolder


def test_it_ends_with_the_best_recipe_trained_afresh(place: Any, fresh: list[Recipe]) -> None:
    bench = FakeBench(noise=0.003)
    found = place.search(bench)
    report = json.loads((found.path / "search.json").read_text(encoding="utf-8"))
    assert report["done"]
    best = found.best
    assert best is not None
    complete = [trial for trial in found.trials if trial["state"] == "complete"]
    assert best["value"] == max(trial["value"] for trial in complete) or report["luck"]["verdict"] == "reversed"
    assert [recipe.train.learning_rate for recipe in fresh] == [best["params"]["train.learning_rate"]]
    assert best["metrics"] == {"accuracy": 0.88}
    assert Recipe.from_yaml(found.path / "best.yaml") == fresh[0]
    assert (found.path / "search.html").is_file()
    assert {trial["state"] for trial in found.trials} == {"complete", "pruned"}


def test_a_promoted_trial_goes_on_from_where_it_stopped(place: Any) -> None:
    bench = FakeBench()
    found = place.search(bench, repeat=0)
    for trial in found.trials:
        mine = [(start, end) for name, start, end in bench.advances if name == f"{trial['number']:04d}"]
        assert [start for start, _ in mine] == [0, *(end for _, end in mine[:-1])]
        assert mine[-1][1] == trial["epoch"]
    assert sum(end - start for _, start, end in bench.advances) < 0.6 * 9 * 9


def test_the_best_is_trained_again_with_other_seeds_on_the_same_rows(place: Any) -> None:
    found = place.search(repeat=3)
    luck = found.report["luck"]
    assert luck["seeds"] == [1, 2, 3]
    assert len(luck["best_values"]) == len(luck["runner_up_values"]) == 3
    again = sorted((found.path / "repeats").iterdir())
    recipes = [Recipe.from_yaml(path / "recipe.yaml") for path in again]
    assert {recipe.train.seed for recipe in recipes} == {1, 2, 3}
    assert {recipe.data.split_seed for recipe in recipes} == {0}
    assert f"{luck['best']['count']} other seeds" in found.verdict


def test_a_winner_by_luck_is_said_to_be_one(place: Any) -> None:
    """All recipes are alike but for noise: whoever wins was lucky."""
    recipe = place.recipe(train={"epochs": 9, "learning_rate": 1e-3, "weight_decay": {"search": {"low": 0, "high": 1}}})
    recipe["method"] = {"kind": "lora", "rank": 8}
    found = place.search(FakeBench(noise=0.02), recipe=recipe, trials=15, pruner="none", repeat=3)
    luck = found.report["luck"]
    assert luck["verdict"] != "clear"
    assert luck["optimism"] > 0
    assert "luck" in found.verdict or "lucky" in found.verdict


def test_trials_that_diverge_fail_and_the_others_go_on(place: Any) -> None:
    found = place.search(FakeBench(diverges_above=3e-3), trials=12)
    failed = [trial for trial in found.trials if trial["state"] == "failed"]
    assert failed
    assert all(trial["params"]["train.learning_rate"] > 3e-3 for trial in failed)
    assert all("diverged" in trial["error"] and trial["code"] == "nonfinite_loss" for trial in failed)
    assert found.best is not None
    assert found.best["params"]["train.learning_rate"] <= 3e-3
    assert len(found.trials) == 12


def test_a_search_whose_trials_all_fail_stops_soon(place: Any) -> None:
    with pytest.raises(TrainingError, match="diverged"):
        place.search(FakeBench(diverges_above=0.0))
    folder = next((place.folder / "searches").iterdir())
    trials = json.loads((folder / "search.json").read_text(encoding="utf-8"))["trials"]
    assert [trial["state"] for trial in trials] == ["failed"] * 3


def test_the_budget_ends_it_in_time_with_a_result(place: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """An epoch takes a second of a clock that only training moves."""
    from luthier.searching import clockwork

    bench = FakeBench()
    monkeypatch.setattr(
        clockwork.clock, "monotonic", lambda: float(sum(end - start for _, start, end in bench.advances))
    )
    found = place.search(bench, trials=100, budget="60s", repeat=2)
    spent = sum(end - start for _, start, end in bench.advances)
    assert spent <= 60
    assert 3 < len(found.trials) < 60
    assert found.best is not None
    assert found.report["settings"]["budget"] == 60.0


def test_a_stopped_search_says_how_to_go_on_and_does(place: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = place.search(FakeBench(noise=0.003))
    bench = FakeBench(noise=0.003)
    real, calls = FakeBench.open, []

    def interrupted(self: FakeBench, recipe: Recipe, folder: Path) -> Any:
        calls.append(folder.name)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return real(self, recipe, folder)

    monkeypatch.setattr(FakeBench, "open", interrupted)
    with pytest.raises(Interrupted) as caught:
        place.search(bench)
    folder = Path(caught.value.where)
    assert f"--resume {folder}" in caught.value.remedy
    so_far = json.loads((folder / "search.json").read_text(encoding="utf-8"))
    assert not so_far["done"]
    assert (folder / "search.html").is_file()
    again = place.search(FakeBench(noise=0.003), resume=folder)
    assert [(t["params"], t["state"], t["value"]) for t in again.trials] == [
        (t["params"], t["state"], t["value"]) for t in whole.trials
    ]
    assert again.verdict == whole.verdict


def test_a_search_that_is_done_can_have_more_trials(place: Any) -> None:
    found = place.search(trials=6)
    more = place.search(resume=found.path, trials=9)
    assert more.trials[:6] != []
    assert len(more.trials) == 9
    assert [trial["params"] for trial in more.trials[:6]] == [trial["params"] for trial in found.trials]


def test_what_was_asked_cannot_change(place: Any) -> None:
    found = place.search(trials=3)
    with pytest.raises(UsageError) as caught:
        place.search(resume=found.path, sampler="random")
    assert caught.value.code == "not_resumable"
    with pytest.raises(UsageError) as caught:
        searching.search(resume=place.folder / "nothing")
    assert caught.value.code == "search_not_found"


def test_several_objectives_have_a_front(place: Any) -> None:
    found = place.search(objectives="size,quality", trials=12, pruner="none")
    front = [trial for trial in found.trials if trial["pareto"]]
    assert found.report["pareto"]["trials"] == [trial["number"] for trial in front]
    assert found.best is not None
    assert found.best["trial"] in found.report["pareto"]["trials"]
    smallest = min(found.trials, key=lambda trial: (trial["trainable_parameters"], -trial["value"]))
    assert smallest["pareto"]


def test_events_tell_of_every_trial(place: Any) -> None:
    found = place.search(trials=5)
    told = [event for event in place.events if event.kind == "trial"]
    assert {event.data["number"] for event in told} == {0, 1, 2, 3, 4}
    last = {event.data["number"]: event.data for event in told}
    assert [last[trial["number"]]["value"] for trial in found.trials] == [trial["value"] for trial in found.trials]
    assert any("best so far" in event.message for event in told)


def test_a_search_that_goes_on_shows_what_it_has_and_tells_only_news(place: Any) -> None:
    found = place.search(trials=3)
    place.events.clear()
    place.search(FakeBench(noise=0.003), resume=found.path, trials=5)
    known = [event for event in place.events if event.kind == "known"]
    assert [event.data["number"] for event in known] == [0, 1, 2]
    assert [event.message for event in known] == [""] * 3
    assert [event.data["value"] for event in known] == [trial["value"] for trial in found.trials]
    news = [event for event in place.events if event.kind == "trial" and event.data["number"] in (3, 4)]
    assert place.events.index(known[-1]) < place.events.index(news[0])


def test_settings_stand_in_the_recipe_and_options_beat_them(place: Any) -> None:
    path = place.folder / "recipe.yaml"
    recipe = place.recipe(search={"trials": 4, "sampler": "random", "repeat": 0}) | {"data": "train.csv"}
    path.write_text(yaml.safe_dump(recipe), encoding="utf-8")
    values, _, settings = asked(path, {}, {"trials": 5})
    assert (settings.trials, settings.sampler, settings.repeat) == (5, "random", 0)
    assert values["data"]["train"] == str(place.data)
    assert values["data"]["split_seed"] == 0
    assert "search" not in values


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"search": {"trails": 3}}, "search.trails"),
        ({"search": 7}, "mapping"),
        ({"train": {"epochs": 3}, "method": "lora"}, "nothing to search"),
        ({"data": {}}, "nothing to learn from"),
        ({"trian": {}}, "trian"),
    ],
)
def test_a_wrong_recipe_is_refused_before_anything_is_made(place: Any, change: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError) as caught:
        place.search(recipe=place.recipe() | change)
    assert says in str(caught.value)
    assert not (place.folder / "searches").exists()


def test_a_wrong_choice_is_refused_before_anything_is_made(place: Any) -> None:
    recipe = place.recipe(method={"search": ["lora", "lorra"]})
    with pytest.raises(RecipeError, match="choice 2 of method"):
        place.search(recipe=recipe)
    assert not (place.folder / "searches").exists()


def start(folder: Path, seconds: float) -> subprocess.Popen[bytes]:
    program = Path(__file__).with_name("killed_search.py")
    with open(folder / "stderr.txt", "ab") as errors:
        return subprocess.Popen([sys.executable, str(program), str(folder), str(seconds)], stderr=errors)


def said(folder: Path) -> str:
    return (folder / "stderr.txt").read_text(encoding="utf-8")


def epochs_of(folder: Path) -> list[str]:
    log = folder / "epochs.log"
    return log.read_text(encoding="utf-8").splitlines() if log.is_file() else []


def wait_for(folder: Path, count: int, process: subprocess.Popen[bytes]) -> None:
    while len(epochs_of(folder)) < count:
        assert process.poll() is None, said(folder)
        time.sleep(0.02)


def make_folder(place: Any, name: str, **settings: Any) -> SearchFolder:
    values, _, found = asked(place.recipe(), {}, {"trials": 9, "repeat": 0, **settings})
    return SearchFolder.create(place.folder / name, "train", values, found)


def outcome(folder: SearchFolder, place: Any) -> list[Any]:
    found = place.search(FakeBench(noise=0.003), resume=folder.path)
    return [(t["params"], t["state"], t["value"], [r["epoch"] for r in t["results"]]) for t in found.trials]


def test_kill_9_in_the_middle_loses_nothing_and_does_nothing_twice(place: Any) -> None:
    whole = make_folder(place, "whole")
    expected = outcome(whole, place)
    killed = make_folder(place, "killed")
    for epochs in (1, 4, 9):  # killed three times, in the middle of an epoch, each time further
        process = start(killed.path, 0.05)
        wait_for(killed.path, epochs, process)
        process.send_signal(signal.SIGKILL)
        process.wait()
    process = start(killed.path, 0.0)
    assert process.wait() == 0, said(killed.path)
    assert outcome(killed, place) == expected
    again = Counter(epochs_of(killed.path))
    twice = [name for name, count in again.items() if count > 1]
    assert len(twice) <= 3  # an epoch that was not kept yet when the process was killed
    trained = sum(trial_epochs[-1] for *_, trial_epochs in expected)
    assert len(again) == trained


def test_two_processes_share_a_search_and_one_takes_over_from_the_other(place: Any) -> None:
    folder = make_folder(place, "shared", trials=12)
    first, second = start(folder.path, 0.05), start(folder.path, 0.05)
    wait_for(folder.path, 6, first)
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert second.wait() == 0, said(folder.path)
    found = place.search(FakeBench(noise=0.003), resume=folder.path)
    assert len(found.trials) == 12
    assert len({json.dumps(trial["params"]) for trial in found.trials}) == 12
    assert {trial["state"] for trial in found.trials} == {"complete", "pruned"}
    reached = {f"{trial['number']:04d}": trial["epoch"] for trial in found.trials}
    again = Counter(epochs_of(folder.path))
    assert sum(count - 1 for count in again.values()) <= 1
    assert {name: max(int(line.split()[1]) for line in again if line.startswith(name)) for name in reached} == reached


def test_the_overhead_of_a_trial_is_small(place: Any) -> None:
    """Processor time of ask, tell, journal and bookkeeping; the disk's time to sync is measured in the benchmark."""
    place.search(trials=3, repeat=0)  # imports
    began = time.process_time()
    place.search(trials=24, repeat=0)
    assert (time.process_time() - began) / 24 < 0.05


class Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.headings: list[str] = []
        self.open: list[str] = []
        self.images_without_words = 0

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.open.append(tag)
        if tag == "svg" and not dict(attrs).get("aria-label"):
            self.images_without_words += 1

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "h2":
            self.headings.append(data.strip())


def test_the_page_tells_everything(place: Any) -> None:
    found = place.search(trials=14, objectives="quality,size")
    page = (found.path / "search.html").read_text(encoding="utf-8")
    reader = Reader()
    reader.feed(re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL))
    headings = [heading for heading in reader.headings if heading]
    for wanted in ("How sure is that?", "History", "Parameters and results", "What mattered", "Every trial"):
        assert wanted in headings
    assert "What one gives up for the other" in headings
    assert reader.images_without_words == 0
    assert page.index(found.verdict[:30]) < page.index("Every trial")
    assert page.count("<polyline") >= 14


def test_the_page_escapes_what_came_from_outside(place: Any) -> None:
    from luthier.searching.page import page_of

    report = json.loads((place.search(trials=13).path / "search.json").read_text(encoding="utf-8"))
    evil = "<script>alert(1)</script>"
    report["model"] = report["notes"] = evil
    report["notes"] = [evil]
    for trial in report["trials"]:
        trial["error"] = evil
        trial["params"] = {evil: evil}
    parameter = {"name": evil, "key": evil, "choices": [evil, "b"], "low": None, "high": None, "log": False}
    report["parameters"] = [parameter]
    report["importance"]["shares"] = {evil: 1.0}
    assert evil not in page_of(report)

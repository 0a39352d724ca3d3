"""Ask and tell: what is suggested, what survives, and that nothing is done twice."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
from scored_study import Searching, score

from luthier.core.errors import UsageError
from luthier.search.halving import TOP, Wait
from luthier.search.journal import FileJournal, MemoryJournal
from luthier.search.settings import SearchSettings
from luthier.search.space import Space
from luthier.search.study import Study, Task

Make = Callable[..., Any]
RATE = {"search": {"low": 1e-5, "high": 1e-1, "log": True}}


def plain(trials: Any) -> list[Any]:
    return [(trial.number, dict(trial.params), trial.state, trial.results) for trial in trials]


def test_a_search_ends_with_a_complete_best(searching: Make) -> None:
    trials = searching().run()
    assert len(trials) == 9
    complete = [trial for trial in trials if trial.state == "complete"]
    assert complete
    assert complete[0].number == 0, "the first trial is trained to its end before others begin"
    assert all(trial.values == (trial.results[TOP].value,) for trial in complete)
    assert max(trial.last.value for trial in trials) == max(trial.values[0] for trial in complete)
    firsts = [min(trial.results) for trial in trials]
    assert {trial.results[first].epoch for trial, first in zip(trials, firsts, strict=True)} == {1}


@pytest.mark.parametrize(("sampler", "trials"), [("tpe", 9), ("random", 9), ("gp", 7)])
def test_the_same_seed_gives_the_same_search_and_another_another(searching: Make, sampler: str, trials: int) -> None:
    first = plain(searching(sampler=sampler, trials=trials).run())
    assert plain(searching(sampler=sampler, trials=trials).run()) == first
    assert plain(searching(sampler=sampler, trials=3, seed=1).run()) != first[:3]


@pytest.mark.parametrize("steps", [1, 4, 9, 12])
def test_a_search_that_was_stopped_goes_on_as_if_it_had_not_been(searching: Make, tmp_path: Path, steps: int) -> None:
    whole = plain(searching().run())
    searching(FileJournal(tmp_path / "j.jsonl")).run(steps)
    again = searching(FileJournal(tmp_path / "j.jsonl"))
    assert plain(again.run()) == whole


def test_a_trial_whose_process_is_gone_is_taken_up_first(searching: Make, tmp_path: Path) -> None:
    first = searching(FileJournal(tmp_path / "j.jsonl"))
    lost = first.study.next(first.claims)
    assert isinstance(lost, Task)
    assert lost.why == "new"
    second = searching(FileJournal(tmp_path / "j.jsonl"))
    second.claims.elsewhere.add(0)
    other = second.study.next(second.claims)
    assert other.trial.number == 1  # as long as its process lives, others leave it alone
    second.claims.elsewhere.clear()
    again = second.study.next(second.claims)
    assert (again.why, again.trial) == ("taken up", lost.trial)


def test_a_result_is_told_once(searching: Make) -> None:
    one = searching()
    task = one.study.next(one.claims)
    told = one.tell(task.trial)
    assert one.tell(task.trial) == told
    assert len(one.study.trials()) == 1


def test_telling_and_asking_are_one_transaction(searching: Make) -> None:
    journal = MemoryJournal()
    one = searching(journal)
    task = one.study.next(one.claims)
    before = len(journal.read(0))
    one.study.next(one.claims, tell=lambda: one.tell(task.trial))
    assert len(journal.read(0)) == before + 1


def test_two_workers_share_the_trials(searching: Make, tmp_path: Path) -> None:
    workers = [searching(FileJournal(tmp_path / "j.jsonl")) for _ in range(2)]
    for one, other in ((0, 1), (1, 0)):
        workers[one].claims.elsewhere = workers[other].claims.held
    seen: list[int] = []
    for _ in range(100):
        tasks = [worker.study.next(worker.claims) for worker in workers]
        for worker, task in zip(workers, tasks, strict=True):
            if isinstance(task, Task):
                seen.append(task.trial.number)
                worker.tell(task.trial)
        if tasks == [None, None]:
            break
    trials = workers[0].study.trials()
    assert plain(trials) == plain(workers[1].study.trials())
    assert len(trials) == 9
    assert Counter(seen) == {trial.number: len(trial.results) for trial in trials}


def test_the_last_one_waits_for_what_others_train(searching: Make) -> None:
    one = searching(trials=2)
    first = one.study.next(one.claims)
    one.claims.elsewhere.add(0)
    assert isinstance(one.study.next(one.claims), Task)
    one.claims.elsewhere.add(1)
    assert isinstance(one.study.next(one.claims), Wait)
    one.claims.elsewhere.clear()
    one.tell(first.trial)


def test_failed_trials_are_kept_and_the_others_go_on(searching: Make) -> None:
    one = searching()
    for _ in range(5):
        task = one.study.next(one.claims)
        if task.trial.number == 1:
            one.study.fail(task.trial, "training diverged.", "nonfinite_loss")
            one.claims.release(1)
        else:
            one.tell(task.trial)
    trials = one.run()
    assert (trials[1].state, trials[1].error, trials[1].results) == ("failed", "training diverged.", {})
    assert len(trials) == 9
    assert any(trial.state == "complete" for trial in trials)


def test_no_parameters_come_twice_and_a_small_space_ends(searching: Make) -> None:
    small = Space.read({"data": "a.csv", "train": {"epochs": 9, "learning_rate": {"search": [1e-4, 1e-3, 1e-2]}}})
    for sampler in ("tpe", "random", "grid"):
        trials = searching(space=small, sampler=sampler, trials=20).run()
        assert sorted(trial.params["train.learning_rate"] for trial in trials) == [1e-4, 1e-3, 1e-2]


def test_a_grid_is_taken_in_order_and_whole(searching: Make, space: Space) -> None:
    grid = Space.read(
        {
            "data": "a.csv", "method": {"search": [{"kind": "lora", "rank": {"search": [4, 8]}}, "full"]},
            "train": {"epochs": 9, "learning_rate": {"search": [1e-4, 1e-3]}},
        }
    )  # fmt: skip
    trials = searching(space=grid, sampler="grid", trials=None, pruner="none").run()
    assert [dict(trial.params) for trial in trials] == grid.grid()
    with pytest.raises(UsageError) as caught:
        searching(space=space, sampler="grid")
    assert caught.value.code == "no_grid"


def test_trials_that_wait_teach_the_sampler(searching: Make) -> None:
    """Most trials never come to the top; if only complete ones counted, TPE would be chance for long."""
    means = {}
    for sampler in ("tpe", "random"):
        trials = searching(sampler=sampler, trials=30).run()
        assert sum(trial.state == "complete" for trial in trials) <= 12
        means[sampler] = fmean(score(trial.params) for trial in trials[15:])
    assert means["tpe"] > means["random"] + 0.02


def test_several_objectives_are_told_together(searching: Make) -> None:
    one = searching(objectives=["size", "quality", "seconds"], pruner="none")
    trials = one.run()
    assert one.study.settings.objectives == ["quality", "size", "seconds"]
    assert all(trial.values == (trial.results[TOP].value, 100.0, 9.0) for trial in trials)
    with_rungs = searching(objectives=["quality", "seconds"], trials=12).run()
    assert {trial.values[1] for trial in with_rungs if trial.state == "complete"} == {9.0}


def test_optuna_says_nothing(searching: Make, capfd: pytest.CaptureFixture[str]) -> None:
    import optuna

    optuna.logging.set_verbosity(logging.DEBUG)
    try:
        searching(sampler="gp", trials=6).run()
        assert optuna.logging.get_verbosity() == logging.DEBUG
    finally:
        optuna.logging.set_verbosity(logging.INFO)
    assert capfd.readouterr() == ("", "")


def test_a_suggestion_that_failed_leaves_no_half_trial(
    searching: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from luthier.search import study as module

    one = searching(FileJournal(tmp_path / "j.jsonl"))
    for _ in range(3):  # the first trial, to its end
        one.tell(one.study.next(one.claims).trial)
    real, asked = module.suggested, []

    def stops(trial: Any, parameter: Any) -> Any:
        asked.append(parameter.name)
        if len(asked) == 2:
            raise KeyboardInterrupt
        return real(trial, parameter)

    monkeypatch.setattr(module, "suggested", stops)
    with pytest.raises(KeyboardInterrupt):
        one.study.next(one.claims)
    monkeypatch.setattr(module, "suggested", real)
    assert len(one.study.trials()) == 1
    assert plain(one.run()) == plain(searching().run())


def test_another_metric_is_another_search(searching: Make, tmp_path: Path) -> None:
    searching(FileJournal(tmp_path / "j.jsonl"))
    study = searching(FileJournal(tmp_path / "j.jsonl")).study
    with pytest.raises(UsageError) as caught:
        study.begin("macro_f1", higher_is_better=True)
    assert caught.value.code == "search_differs"


def test_a_lower_metric_can_be_better(space: Space) -> None:
    study = Study(MemoryJournal(), space, SearchSettings.build({"trials": 9}))
    study.begin("loss", higher_is_better=False)
    assert study.higher_is_better is False


def test_the_journal_is_json_that_anyone_can_read(searching: Make, tmp_path: Path) -> None:
    searching(FileJournal(tmp_path / "j.jsonl")).run()
    lines = (tmp_path / "j.jsonl").read_text(encoding="utf-8").splitlines()
    assert all(isinstance(json.loads(line)["entries"], list) for line in lines)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"trails": 3}, "search.trails"), ({"trials": 0}, "trials cannot be 0"), ({"sampler": "bayes"}, "sampler"),
        ({"budget": "soon"}, "no time"), ({"objectives": ["size"]}, "needs quality"), ({"workers": 0}, "workers"),
        ({"objectives": ["quality", "quality"]}, "twice"), ({"objectives": ["quality", "speed"]}, "objectives"),
        ("tpe", "mapping of settings"), ({"reduction": 1}, "reduction"),
    ],
)  # fmt: skip
def test_wrong_settings_are_refused(values: Any, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        SearchSettings.build(values, where="recipe.yaml")
    assert says in str(caught.value)
    assert (caught.value.param or "").startswith("search")


def test_settings_are_read_as_people_write_them() -> None:
    found = SearchSettings.build({"budget": "10m", "objectives": "size, quality"})
    assert (found.budget, found.objectives) == (600.0, ["quality", "size"])


def crew(searching: Make, *names: str) -> list[Any]:
    """A study for each name, over one journal; each sees what the others claim."""
    journal = MemoryJournal()
    first = searching(journal)
    found = [Searching(Study(journal, first.study.space, first.study.settings, holder=name)) for name in names]
    for one in found:
        one.claims.elsewhere = set().union(*[other.claims.held for other in found if other is not one])
    return found


def test_a_mates_trial_is_left_alone_until_it_is_told_to_be_gone(searching: Make) -> None:
    one, two, stranger = crew(searching, "a/0", "a/1", "b/0")
    lost = one.study.next(one.claims).trial
    assert two.study.next(two.claims).trial.number == 1, "whether it is gone, and of what, is not told yet"
    told = two.study.lost("a/0", "was killed by signal 9")
    assert (told.number, told.deaths, told.state) == (0, 1, "running")
    taken = two.study.next(two.claims)
    assert (taken.why, taken.trial) == ("taken up", lost)
    assert two.study.lost("a/0", "was killed by signal 9") is None
    three = stranger.study.next(stranger.claims)
    assert (three.why, three.trial.number) == ("taken up", 0), "of another crew only the claim counts"


def test_a_trial_has_failed_when_two_ended_while_they_trained_it(searching: Make) -> None:
    one, two = crew(searching, "a/0", "a/1")
    one.study.next(one.claims)
    one.study.lost("a/0", "was killed by signal 9")
    assert two.study.next(two.claims).trial.number == 0
    failed = two.study.lost("a/1", "was killed by signal 11 (SIGSEGV)")
    assert (failed.state, failed.code) == ("failed", "worker_died")
    assert failed.error == "2 workers ended while they trained it: the last one was killed by signal 11 (SIGSEGV)."
    assert one.study.next(one.claims).trial.number == 1


def test_a_result_clears_a_trial_and_who_was_asked_to_stop_blames_none(searching: Make) -> None:
    one, two = crew(searching, "a/0", "a/1")
    one.study.next(one.claims)
    one.study.lost("a/0", "was killed by signal 9")
    two.tell(two.study.next(two.claims).trial)
    assert two.study.next(two.claims).trial.number == 0, "promoted"
    assert two.study.lost("a/1").deaths == 0
    assert one.study.lost("a/1", "was killed by signal 9") is None


def test_nobody_waits_for_what_was_left_when_there_is_no_time(searching: Make) -> None:
    one = searching()
    one.study.next(one.claims)
    other = searching()
    assert one.study.next(one.claims, may_promote=False) is None
    assert not one.study.is_over()
    assert one.study.is_over(may_promote=False)
    assert not other.study.is_over()
    one.claims.elsewhere.add(0)
    assert isinstance(one.study.next(one.claims, may_promote=False), Wait), "somebody works on it"


def test_a_search_is_over_when_nothing_is_left(searching: Make) -> None:
    one = searching(trials=3)
    assert not one.study.is_over()
    one.run()
    assert one.study.is_over()

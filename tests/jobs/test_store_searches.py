"""The journal of a search in the store, on both databases: the contract that the journal on disk keeps too."""

from __future__ import annotations

import threading

import pytest

from luthier.jobs.errors import InvalidValue, NotFound
from luthier.search.settings import SearchSettings
from luthier.search.space import Space
from luthier.search.study import Study
from luthier.search.trial import Result


@pytest.fixture
def journal(store, project):
    return store.searches.journal(project.id, store.searches.create(project.id, "rates").id)


def test_a_search_is_made_found_and_forgotten(store, project):
    first, second = (store.searches.create(project.id, name) for name in ("one", "two"))
    assert store.searches.get(project.id, first.id) == first
    assert store.searches.list(project.id) == [second, first]
    with store.searches.journal(project.id, first.id).exclusive() as book:
        book.append([{"a": 1}])
    store.searches.delete(project.id, first.id)
    assert store.searches.list(project.id) == [second]
    with pytest.raises(NotFound):
        store.searches.journal(project.id, first.id)


def test_a_search_of_another_project_is_not_found(store, project):
    mine = store.searches.create(project.id, "one")
    other = store.projects.create("other")
    for call in (store.searches.get, store.searches.delete, store.searches.journal):
        with pytest.raises(NotFound):
            call(other.id, mine.id)
    with pytest.raises(NotFound):
        store.searches.create("proj_never", "x")


def test_what_was_appended_is_read_from_any_number(journal):
    assert journal.read(0) == []
    with journal.exclusive() as book:
        book.append([{"a": 1}, {"b": "ü"}])
        assert book.read(0) == [[{"a": 1}, {"b": "ü"}]]
        book.append([{"c": None}])
    assert journal.read(0) == [[{"a": 1}, {"b": "ü"}], [{"c": None}]]
    assert journal.read(1) == [[{"c": None}]]
    assert journal.read(2) == []


def test_after_an_error_nothing_was_written(journal):
    def write():
        with journal.exclusive() as book:
            book.append([{"a": 1}])
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write()
    assert journal.read(0) == []


def test_no_json_is_refused(journal):
    with pytest.raises(InvalidValue), journal.exclusive() as book:
        book.append([{"loss": float("nan")}])
    assert journal.read(0) == []


def test_several_threads_write_one_after_another(journal):
    def write(worker):
        for number in range(10):
            with journal.exclusive() as book:
                book.append([{"worker": worker, "number": number, "after": len(book.read(0))}])

    threads = [threading.Thread(target=write, args=(worker,)) for worker in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    entries = [entries[0] for entries in journal.read(0)]
    assert [entry["after"] for entry in entries] == list(range(30))
    assert [entry["number"] for entry in entries if entry["worker"] == 1] == list(range(10))


class Claims:
    def take(self, number):
        return True

    def release(self, number):
        pass


def test_a_study_goes_on_from_the_store(store, project, journal):
    space = Space.read({"data": "a.csv", "train": {"epochs": 3, "learning_rate": {"search": [1e-4, 1e-3, 1e-2]}}})
    settings = SearchSettings.build({"sampler": "random"})
    for _ in range(20):  # each time as a process that begins anew
        study = Study(journal, space, settings)
        study.begin("accuracy", higher_is_better=True)
        task = study.next(Claims())
        if task is None:
            break
        trial = task.trial
        rung = trial.rung if trial.results else study.ladder.first(3, 0)
        epoch = study.ladder.epochs(rung, 3)
        value = trial.params["train.learning_rate"]
        study.report(trial, rung, Result(epoch, value, None, 1.0), epochs=3, parameters=1)
    trials = study.trials()
    assert len(trials) == 3
    assert [trial.params["train.learning_rate"] for trial in trials if trial.state == "complete"] == [1e-2]

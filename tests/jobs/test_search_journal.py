"""The journal of a search in the store, on both databases: the contract that the journal on disk keeps too."""

from __future__ import annotations

import threading

import pytest
from sqlalchemy import text

from luthier.jobs.errors import Conflict, StaleClaim
from luthier.jobs.search_journal import StoredJournal, adopt
from luthier.jobs.search_rows import MOST_READ
from luthier.search.journal import FileJournal
from luthier.search.settings import SearchSettings
from luthier.search.space import Space
from luthier.search.study import Study
from luthier.search.trial import Result


@pytest.fixture
def queue(make):
    return make.queue()


@pytest.fixture
def claim(make, queue):
    return make.claim(queue, kind="search", id="search-one")


def asking(queue, claim):
    """What the supervisor answers."""

    def ask(kind, **values):
        assert kind == "journal"
        if "entries" in values:
            queue.add_entries(claim, values["number"], values["entries"])
            return {}
        return {"entries": queue.entries(claim, values["start"])}

    return ask


@pytest.fixture
def opened(queue, claim):
    """Opens the journal, each time as a worker that begins anew."""
    return lambda: StoredJournal(asking(queue, claim))


def write(journal, *transactions):
    with journal.exclusive() as book:
        for entries in transactions:
            book.append(entries)


def rows(store):
    with store.database.read() as connection:
        return connection.execute(text("SELECT job_id, number, entries FROM search_entries")).all()


def test_what_was_appended_is_read_from_any_number(opened):
    journal = opened()
    assert journal.read(0) == []
    write(journal, [{"a": 1}, {"b": "ü \x00 \ud83d"}], [{"c": None}])
    for found in (journal, opened()):
        assert found.read(0) == [[{"a": 1}, {"b": "ü \x00 \ud83d"}], [{"c": None}]]
        assert found.read(1) == [[{"c": None}]]
        assert found.read(2) == []


def test_a_long_journal_comes_in_parts(opened):
    whole = [[{"n": number}] for number in range(2 * MOST_READ + 3)]
    write(opened(), *whole)
    assert opened().read(0) == whole


def test_the_same_again_changes_nothing_and_another_is_refused(queue, claim, store):
    queue.add_entries(claim, 0, "[1]")
    queue.add_entries(claim, 1, "[2]")
    queue.add_entries(claim, 0, "[1]")  # the answer to the first call was lost
    queue.add_entries(claim, 1, "[2]")
    for number, entries in ((0, "[2]"), (1, "[3]"), (3, "[4]")):
        with pytest.raises(Conflict) as caught:
            queue.add_entries(claim, number, entries)
        assert caught.value.code == "journal_conflict"
    assert [tuple(row) for row in rows(store)] == [("search-one", 0, "[1]"), ("search-one", 1, "[2]")]


def test_who_has_lost_the_claim_writes_nothing_and_the_next_goes_on(queue, claim, opened, make):
    lost = opened()
    write(lost, [{"n": 0}])
    queue.release(claim, True, [])
    other = make.queue("other")
    held = other.claim()
    with pytest.raises(StaleClaim):
        write(lost, [{"n": "late"}])
    journal = StoredJournal(asking(other, held))
    write(journal, [{"n": 1}])
    assert journal.read(0) == [[{"n": 0}], [{"n": 1}]]
    assert lost.read(0) == [[{"n": 0}]]


def test_no_json_is_refused(opened):
    with pytest.raises(ValueError, match="Out of range float"):
        write(opened(), [{"loss": float("nan")}])
    assert opened().read(0) == []


def test_several_threads_write_one_after_another(opened):
    journal = opened()

    def work(worker):
        for number in range(10):
            with journal.exclusive() as book:
                book.append([{"worker": worker, "number": number, "after": len(book.read(0))}])

    threads = [threading.Thread(target=work, args=(worker,)) for worker in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    entries = [entries[0] for entries in opened().read(0)]
    assert [entry["after"] for entry in entries] == list(range(30))
    assert [entry["number"] for entry in entries if entry["worker"] == 1] == list(range(10))


@pytest.mark.parametrize("status", ["succeeded", "failed", "cancelled"])
def test_a_search_that_is_over_leaves_no_rows(queue, claim, opened, make, store, status):
    write(opened(), [{"n": 0}], [{"n": 1}])
    other = make.queue("other")
    write(StoredJournal(asking(other, make.claim(other, kind="search", id="search-two"))), [{"n": 7}])
    queue.finish(claim, status, events=[])
    assert [tuple(row) for row in rows(store)] == [("search-two", 0, '[{"n":7}]')]


def test_one_that_is_cancelled_while_it_waits_leaves_none_either(queue, claim, opened, project, store):
    write(opened(), [{"n": 0}])
    queue.release(claim, True, [])
    store.jobs.cancel(project.id, "search-one", [])
    assert rows(store) == []


def test_the_file_of_an_older_version_is_taken_over(opened, tmp_path):
    path = tmp_path / "journal.jsonl"
    whole = [[{"n": number}] for number in range(5)]
    write(FileJournal(path), *whole)
    write(opened(), *whole[:2])  # a worker died at it
    journal = opened()
    adopt(path, journal)
    assert not path.exists()
    write(journal, [{"n": 5}])
    adopt(path, journal)  # there is none: nothing happens
    assert opened().read(0) == [*whole, [{"n": 5}]]


class Claims:
    def take(self, number):
        return True

    def release(self, number):
        pass


def test_a_study_goes_on_from_the_store(opened):
    space = Space.read({"data": "a.csv", "train": {"epochs": 3, "learning_rate": {"search": [1e-4, 1e-3, 1e-2]}}})
    settings = SearchSettings.build({"sampler": "random"})
    for _ in range(20):  # each time as a process that begins anew
        study = Study(opened(), space, settings)
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
    assert max(trial.params["train.learning_rate"] for trial in trials if trial.state == "complete") == 1e-2

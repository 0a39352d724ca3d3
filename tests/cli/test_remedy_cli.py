"""`luthier train --remedy forgetting`: what is asked, what is shown, and what is refused."""

from __future__ import annotations

import json
import sys
import types

import pytest

from luthier.cli.budget import seconds_of
from luthier.core.errors import UsageError
from luthier.remedying.choice import Attempt, Choice

RECIPE = "model: minilm\ntask: classify\ndata: {train: train.csv}\nout: kept\n"


@pytest.fixture
def remedying(here, monkeypatch):
    """A search that tries one remedy, and remembers how it was asked."""
    calls = []

    def remedy_forgetting(recipe, *, budget_seconds, plain=None, listener=None):
        calls.append((recipe, budget_seconds, plain))
        for name in ("plain", "average"):
            folder = here / "kept" / name
            folder.mkdir(parents=True, exist_ok=True)
            folder.joinpath("report.json").write_text(json.dumps({"metrics": {"accuracy": {"value": 0.9}}}))
        attempts = [
            Attempt("plain", {}, str(here / "kept/plain"), 60.0, "forgot", 0.4, None, "It forgot."),
            Attempt("average", {"train.average": 0.5}, str(here / "kept/average"), 5.0, "kept", 0.1, "better", "so"),
        ]
        return Choice(attempts, "average", "average (train.average: 0.5) is kept: it forgot 0.1 instead of 0.4.")

    module = types.ModuleType("luthier.remedying")
    module.remedy_forgetting = remedy_forgetting
    monkeypatch.setitem(sys.modules, "luthier.remedying", module)
    (here / "recipe.yaml").write_text(RECIPE)
    (here / "train.csv").write_text("text,label\na,b\n")
    return calls


def test_the_kept_run_is_the_last_line_and_the_table_says_why(remedying, luthier, here):
    result = luthier("train", "recipe.yaml", "--remedy", "forgetting", "--budget", "90s", "--set", "train.epochs=2")
    assert result.code == 0, result.err
    (recipe, budget, plain), *_ = remedying
    assert (recipe.train.epochs, budget, plain) == (2, 90.0, None)
    assert result.out.strip().splitlines()[-1] == str(here / "kept/average")
    for part in ("train.average: 0.5", "0.400", "0.100", "is kept"):
        assert part in result.out


def test_json_has_the_run_its_metrics_and_the_whole_search(remedying, luthier, here):
    result = luthier("train", "recipe.yaml", "--remedy", "forgetting", "--json")
    found = json.loads(result.out)
    assert found["run"] == str(here / "kept/average")
    assert found["metrics"] == {"accuracy": 0.9}
    assert found["seconds"] == 65.0
    assert found["remedy"]["chosen"] == "average"
    assert remedying[0][1] == 600.0


def test_a_finished_run_is_taken_as_it_is(remedying, luthier, here):
    run = here / "kept" / "old"
    run.mkdir(parents=True)
    (run / "recipe.yaml").write_text(RECIPE)
    unfinished = luthier("train", "kept/old", "--remedy", "forgetting")
    assert unfinished.code == 2
    assert "not finished" in unfinished.err
    (run / "report.json").write_text("{}")
    assert luthier("train", "kept/old", "--remedy", "forgetting").code == 0
    recipe, _, plain = remedying[-1]
    assert str(plain) == "kept/old"
    assert recipe.out == "kept"
    changed = luthier("train", "kept/old", "--remedy", "forgetting", "--set", "train.epochs=1")
    assert changed.code == 2
    assert len(remedying) == 1


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (["--remedy", "overfitting"], "no remedy"),
        (["--remedy", "forgetting", "--budget", "soon"], "no time"),
        (["--remedy", "forgetting", "--budget", "0m"], "no time"),
        (["--remedy", "forgetting", "--budget", "-5m"], ""),
        (["--budget", "5m"], "--budget"),
        (["--remedy", "forgetting", "--server", "http://127.0.0.1:1"], "--remedy"),
        (["--remedy", "forgetting", "--suffix", "x"], "--suffix"),
    ],
)
def test_what_makes_no_sense_is_refused(remedying, luthier, options, word):
    result = luthier("train", "recipe.yaml", *options)
    assert result.code == 2
    assert word in result.err
    assert "Traceback" not in result.err
    assert not remedying


def test_resume_does_not_go_with_it(remedying, luthier):
    result = luthier("train", "--resume", "runs/x", "--remedy", "forgetting")
    assert result.code == 2
    assert "luthier train runs/x --remedy forgetting" in result.err


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("10m", 600), ("1.5h", 5400), ("30", 30), (" 2 M ", 120)])
def test_times_as_people_type_them(text, seconds):
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "m", "1d", "1:30", "1e3", "nan", "--", "0"])
def test_no_times(text):
    with pytest.raises(UsageError):
        seconds_of(text)

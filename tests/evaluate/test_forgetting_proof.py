"""Whole runs that measure what they forgot, and the choice among remedies, with tiny bases."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from tiny_causal import tiny_causal

sys.path.append(str(Path(__file__).parents[1] / "train"))

from toy import Crash, TrainToy, save_toy_base, write

import luthier
from luthier import api
from luthier.core.errors import DataError, RecipeError, UsageError
from luthier.core.recipe import Recipe
from luthier.core.rundir import RunDir
from luthier.evaluate.comparison import Comparison
from luthier.evaluate.intervals import Interval
from luthier.models.predictor import TunedModel
from luthier.remedying import AVERAGES, CHANGES, ORDER, candidates, not_worse, remedy_forgetting

QUICK = {"evaluate.bootstrap": 100, "evaluate.forgetting": True}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("forgetting")
    tiny_causal(folder / "base", "llama", max_position_embeddings=512)
    settings = json.loads((folder / "base" / "tokenizer_config.json").read_text())
    settings["model_max_length"] = 512
    (folder / "base" / "tokenizer_config.json").write_text(json.dumps(settings))
    for name, count in (("train", 24), ("held", 12)):
        turns = [[{"role": "user", "content": f"{name} {i}"}, {"role": "assistant", "content": "ein rotes Haus " * 3}]
                 for i in range(count)]  # fmt: skip
        write(folder / f"{name}.jsonl", [{"messages": one} for one in turns])
    save_toy_base(folder / "toy")
    return folder


def chat(place, out, **changes):
    recipe = Recipe.build({
        "model": str(place / "base"), "task": "chat", "out": str(out),
        "data": {"train": str(place / "train.jsonl"), "validation": str(place / "held.jsonl")},
        "train": {"epochs": 3, "batch_size": 6, "learning_rate": 1e-2},
        "evaluate": {"samples": 0, "generate_rows": 0, "baselines": []},
    })  # fmt: skip
    return recipe.replace(**{**QUICK, **changes})


@pytest.mark.parametrize("method", ["full", {"kind": "lora", "rank": 4}])
def test_a_writer_tells_what_it_forgot_and_the_way_back(place, tmp_path, method):
    turns = [[{"role": "user", "content": f"ask {i}"}, {"role": "assistant", "content": "yes"}] for i in range(12)]
    own = write(tmp_path / "own.jsonl", [{"messages": one} for one in turns])
    run = luthier.train(chat(place, tmp_path, method=method, **{"evaluate.forgetting": {"anchors": str(own)}}))
    found = run.report["forgetting"]
    assert [one["rows"] for one in found["sets"]] == [100, 12]
    assert found["sets"][0]["name"].startswith("general conversations")
    way = [point for point in found["curve"]["points"] if point["share"] is not None]
    assert [point["share"] for point in way] == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert way[0]["retained"] == pytest.approx(found["base"], rel=1e-4)  # the start of the way is the base
    assert way[-1]["retained"] == pytest.approx(found["tuned"], rel=1e-4)
    assert way[-1]["task"] == pytest.approx(run.metrics["loss"], rel=1e-4)  # judged on the same validation rows
    saved = {point["step"] for point in found["curve"]["points"] if point["share"] is None}
    assert saved < set(RunDir(run.path).steps())
    assert len(found["sets"][0]["answers"]) == 4
    assert 0 < found["seconds"] < 60
    assert found["verdict"] in (run.path / "report.html").read_text().replace("&#39;", "'").replace("\u00a0", " ")
    assert json.loads((run.path / "report.json").read_text())["warnings"] == run.report["warnings"]


def test_an_encoder_tells_what_it_forgot_and_average_brings_it_back(place, tmp_path):
    run = luthier.train(moving(place, tmp_path))
    found = run.report["forgetting"]
    assert found["sets"][0]["rows"] == 160
    assert set(found["sets"][0]["tests"]) == {"neighbours", "probe"}
    way = {point["share"]: point for point in found["curve"]["points"] if point["share"] is not None}
    assert way[0.0]["retained"] == 1.0
    assert way[1.0]["retained"] == pytest.approx(found["tuned"])
    assert found["tuned"] < 0.9
    before = TunedModel.load(run.path).embed(["my parcel"])
    again = luthier.resume(run.path, overrides=["train.average=0.25"])
    assert again.report["forgetting"]["tuned"] == pytest.approx(way[0.25]["retained"])
    assert not (TunedModel.load(run.path).embed(["my parcel"]) == before).all()
    shares = {point["share"]: point for point in again.report["forgetting"]["curve"]["points"]}
    assert shares[1.0]["retained"] == pytest.approx(found["tuned"]), "the way still ends at the tuned weights"


def test_a_new_head_on_a_base_that_does_not_move_forgets_nothing(place, tmp_path):
    toy = TrainToy(tmp_path, place / "toy")
    report = luthier.train(toy.recipe(**{**QUICK, "method": "head", "evaluate.baselines": ["majority"]})).report
    assert report["forgetting"]["outcome"] == "kept"
    assert report["forgetting"]["forgotten"] == 0.0
    assert report["forgetting"]["curve"] is None


@pytest.mark.parametrize(
    ("content", "error"),
    [(None, "not_found"), (b"", "empty_file"), (b"\x00\x01\x02\xff" * 300, "wrong_encoding"),
     (b'{"text": "a"}\n', "task"),
     (b'{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}\n', "too_few_anchors")],
)  # fmt: skip
def test_anchors_that_cannot_be_read_stop_the_run_before_training(place, tmp_path, content, error):
    path = tmp_path / "anchors.jsonl"
    if content is not None:
        path.write_bytes(content)
    heard = []
    with pytest.raises((DataError, RecipeError)) as caught:
        luthier.train(chat(place, tmp_path / "runs", **{"evaluate.forgetting": {"anchors": str(path)}}),
                      listener=heard.append)  # fmt: skip
    assert not [event for event in heard if event.kind == "step"]
    assert caught.value.remedy
    assert str(path) in str(caught.value)
    if error != "task":
        assert caught.value.code == error


def moving(place, folder):
    """An encoder that moves far from its base."""
    return TrainToy(folder, place / "toy").recipe(
        **{**QUICK, "train.learning_rate": 5e-2, "evaluate.baselines": ["majority"], "head.pooling": "mean"}
    )


def candidates_of_plain(choice):
    run = RunDir(choice.attempts[0].run)
    return candidates(Recipe.from_yaml(run.recipe_yaml), run.report()["forgetting"])


@pytest.mark.slow
def test_remedies_are_tried_and_the_run_that_forgot_least_is_kept(place, tmp_path, monkeypatch):
    recipe = moving(place, tmp_path)
    real = api.train
    trained = []

    def counted(*args, **options):
        trained.append(options["run"].path.name)
        return real(*args, **options)

    monkeypatch.setattr(api, "train", counted)
    choice = remedy_forgetting(recipe, budget_seconds=600)
    names = [one.name for one in choice.attempts]
    assert names == ["plain", *(name for name in ORDER[False] if name in candidates_of_plain(choice))]
    assert trained == [name for name in names if name not in AVERAGES]  # their steps were made already
    able = [one for one in choice.attempts if one.name == "plain" or one.accepted]
    assert all(one.accepted for one in choice.attempts if one.verdict in ("better", "cannot tell them apart"))
    assert choice.chosen == min(able, key=lambda one: one.forgotten).name
    assert choice.run.joinpath("model/luthier.json").is_file()
    assert choice.sentence
    assert remedy_forgetting(recipe, budget_seconds=600).to_dict() == choice.to_dict()
    assert len(trained) == len([name for name in names if name not in AVERAGES]), "a second call trains nothing"


def test_a_search_that_was_killed_goes_on_and_the_budget_holds(place, tmp_path, monkeypatch):
    recipe = moving(place, tmp_path)

    def power_cut(event):
        if event.kind == "step" and event.data["step"] == 4:
            raise Crash

    with pytest.raises(Crash):
        remedy_forgetting(recipe, budget_seconds=0.001, listener=power_cut)
    choice = remedy_forgetting(recipe, budget_seconds=0.001)
    assert [one.name for one in choice.attempts] == ["plain"]
    assert "Not tried within the budget: average" in choice.sentence
    later = remedy_forgetting(recipe, budget_seconds=choice.attempts[0].seconds * 2.5 + 1)
    assert [one.name for one in later.attempts][:2] == ["plain", "average"]
    average = later.attempts[1]
    assert average.forgotten < later.attempts[0].forgotten
    assert RunDir(average.run).report()["cost"]["steps"] == 6


def test_a_run_that_measured_nothing_cannot_be_mended(place, tmp_path):
    run = luthier.train(chat(place, tmp_path, **{"evaluate.forgetting": False}))
    with pytest.raises(UsageError) as caught:
        remedy_forgetting(chat(place, tmp_path), budget_seconds=60, plain=run.path)
    assert caught.value.code == "forgetting_not_measured"


def test_only_remedies_that_fit_are_tried(place):
    full = chat(place, "runs").replace(**{"model": "luthier-nano"})
    assert set(candidates(full)) == set(ORDER[True]) - {"average_at_knee"}
    assert candidates(full)["freeze"] == {"freeze.layers": 3}
    knee = {"curve": {"knee": {"share": 0.75}}}
    assert candidates(full, knee)["average_at_knee"] == {"train.average": 0.75}
    lora = full.replace(method={"kind": "lora", "rank": 4})
    assert {"l2_sp", "lower_rank"}.isdisjoint(candidates(lora))
    prefix = full.replace(method={"kind": "prefix"})
    assert set(candidates(prefix)) == {"replay", "kl_to_base", "smaller_rate", "lower_rank"} - {"lower_rank"}


def _accepted(told):
    difference = Interval(*(told["difference"][key] for key in ("value", "low", "high")))
    rest = (told[key] for key in ("p_value", "test", "verdict", "sentence"))
    return not_worse(Comparison(told["name"], told["metric"], told["ours"], told["theirs"], difference, *rest))


def test_worse_is_a_whole_interval_beyond_a_hundredth():
    def compared(verdict, low, high, theirs=3.2):
        difference = Interval((low + high) / 2, low, high)
        return Comparison("plain", "loss", 0.0, theirs, difference, 0.01, "bootstrap", verdict, "")

    assert not_worse(compared("cannot tell them apart", -0.4, 0.1))
    assert not_worse(compared("better", 0.1, 0.4))
    assert not_worse(compared("worse", -0.0284, -0.008))  # within 0.032
    assert not not_worse(compared("worse", -0.035, -0.008))
    assert not not_worse(compared("worse", -0.02, -0.01, theirs=0.8))


def test_the_order_is_that_of_the_measured_table(repo):
    """Not worse at the task first, then by what was forgotten; averages lead, because they cost no training."""
    lines = (repo / "docs/benchmarks/remedies.jsonl").read_text(encoding="utf-8").splitlines()
    results = [json.loads(line) for line in lines]
    assert len({one["data"] for one in results}) >= 2
    for writes in (True, False):
        measured = [one for one in results if ("loss" in one["tests"]) is writes and one["remedy"] in CHANGES]
        measured = [one for one in measured if one["remedy"] not in AVERAGES]
        assert len(measured) >= 4
        measured.sort(key=lambda one: (not _accepted(one["against_plain"]), one["forgetting"]["forgotten"]))
        names = [one["remedy"] for one in measured]
        assert [name for name in ORDER[writes] if name in names] == names
        assert set(ORDER[writes][:2]) == set(AVERAGES)


def test_from_scratch_there_is_no_base_to_be_held_near(place, tmp_path):
    own = {"train.replay": 0.2, "data.replay": str(place / "held.jsonl"), "train.kl_to_base": 0.1, "train.average": 0.5}
    report = luthier.train(chat(place, tmp_path, **own, **{"evaluate.baselines": ["scratch"]})).report
    assert set(report["baselines"]) == {"scratch"}
    assert report["forgetting"]["sets"]

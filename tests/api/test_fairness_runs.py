"""Whom a run fails, from a recipe and from `luthier.evaluate`: the whole way from a column to the report."""

from __future__ import annotations

from pathlib import Path

import pytest
from journey import Journey
from toy import rows, write

import luthier
from luthier.core.errors import DataError
from luthier.core.recipe import FairnessSpec


@pytest.fixture(scope="module")
def failed(tmp_path_factory: pytest.TempPathFactory, tiny: Path) -> tuple[Journey, luthier.Run, Path]:
    """A run that learned the rows of the large group, and test rows of both."""
    journey = Journey(tmp_path_factory.mktemp("fairness"), tiny)
    labels = sorted({row["label"] for row in rows("classify", 80)})
    turned = dict(zip(labels, labels[1:] + labels[:1], strict=True))
    test = [
        row | {"group": "small" if number % 4 == 0 else "large"}
        | ({"label": turned[row["label"]]} if number % 4 == 0 else {})
        for number, row in enumerate(rows("classify", 120, 2))
    ]  # fmt: skip
    train = [row | {"group": "large"} for row in rows("classify", 80)]
    files = write(journey.folder / "grouped.jsonl", train), write(journey.folder / "grouped_test.jsonl", test)
    run = journey.train(
        data={"train": str(files[0]), "validation": str(journey.validation), "test": str(files[1])},
        train__epochs=10, evaluate__baselines=["majority", "frozen"],
        evaluate__fairness={"group": "group", "swaps": "none"},
    )  # fmt: skip
    return journey, run, files[1]


def test_a_run_says_whom_it_fails(failed: tuple[Journey, luthier.Run, Path]) -> None:
    _, run, _ = failed
    (column,) = run.report["fairness"]["columns"]
    found = {group["name"]: group for group in column["groups"]}
    assert (found["small"]["rows"], found["large"]["rows"]) == (30, 90)
    assert (found["small"]["train_rows"], found["large"]["train_rows"]) == (0, 80)
    assert found["small"]["metrics"]["accuracy"]["value"] < 0.2
    assert found["large"]["metrics"]["accuracy"]["value"] > 0.8
    worse = [one for one in column["differences"] if one["verdict"] == "worse"]
    assert {one["group"] for one in worse} == {"small"}
    assert "'small'" in run.report["fairness"]["verdict"]
    assert "Whom does it fail?" in (run.path / "report.html").read_text()


def test_evaluate_by_group_says_the_same(failed: tuple[Journey, luthier.Run, Path]) -> None:
    _, run, test = failed
    found = luthier.evaluate(run.path, test, fairness=FairnessSpec(group="group", swaps="none")).to_dict()
    (ours,), (theirs,) = found["fairness"]["columns"], run.report["fairness"]["columns"]
    for one, other in zip(ours["groups"], theirs["groups"], strict=True):
        assert (one["name"], one["rows"], one["train_rows"]) == (other["name"], other["rows"], other["train_rows"])
        assert one["metrics"]["accuracy"]["value"] == pytest.approx(other["metrics"]["accuracy"]["value"])
    assert "fairness" not in luthier.evaluate(run.path, test).to_dict()


def test_a_missing_group_is_told_before_training(failed: tuple[Journey, luthier.Run, Path]) -> None:
    journey, run, test = failed
    with pytest.raises(DataError) as caught:
        journey.train(
            data={"train": str(journey.train_file), "validation": str(journey.validation), "test": str(test)},
            evaluate__fairness={"group": "groop"},
        )  # fmt: skip
    assert caught.value.code == "missing_column"
    assert "group" in caught.value.remedy
    with pytest.raises(DataError):
        luthier.evaluate(run.path, test, fairness=FairnessSpec(group="groop"))

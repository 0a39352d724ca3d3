"""What the pages ask first: the server itself, and the examples that come with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from wire import Wire

from luthier import __version__
from luthier.core.recipe import Recipe
from luthier.data import shipped_examples
from luthier.server.luthier_api import system
from luthier.server.settings import from_sources


def ask(wire: Wire, path: str, role: Any = "admin") -> Any:
    answer = wire.http.get(path, headers={"authorization": f"Bearer {wire.key(role)}"})
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_the_system_tells_what_is_there(shared: Wire) -> None:
    told = ask(shared, "/luthier/v1/system")
    assert told["version"] == __version__
    assert told["processors"] >= 1
    assert 0 < told["memory"]["available_bytes"] <= told["memory"]["total_bytes"]
    assert 0 < told["disk"]["free_bytes"] <= told["disk"]["total_bytes"]
    assert [device["name"] for device in told["devices"]]
    assert told["parts"]["database"] == "sqlite"
    assert told["limits"]["max_file_bytes"] == shared.settings.max_file_bytes
    assert told["sources"] == {"paths": False, "urls": False, "folders": []}
    assert told["home"] == str(shared.settings.home)
    assert told["uptime_seconds"] < 600


def test_paths_of_the_machine_are_for_admins(shared: Wire) -> None:
    told = ask(shared, "/luthier/v1/system", "read")
    assert told["home"] is None
    assert str(shared.settings.home) not in str(told)


def test_memory_is_unknown_where_nothing_tells_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(*_: Any, **__: Any) -> str:
        raise OSError

    monkeypatch.setattr(Path, "read_text", nothing)
    assert system.memory() == (None, None)


def test_the_settings_of_data_sources_come_from_the_environment(tmp_path: Path) -> None:
    given = from_sources({}, {"LUTHIER_DATA_FOLDERS": f"{tmp_path}:{tmp_path}/b/..", "LUTHIER_ALLOW_DATA_URLS": "1"})
    assert given.data_folders == (tmp_path, tmp_path)
    assert given.allow_data_urls is True
    assert from_sources({}, {}).data_folders == ()


def test_the_examples_begin_with_those_of_the_package(shared: Wire) -> None:
    told = ask(shared, "/luthier/v1/examples", "read")["data"]
    assert [one["name"] for one in told[:2]] == ["support-intents", "brand-voice-chat"]
    first = told[0]
    assert (first["task"], first["rows"], first["test_rows"]) == ("classify", 352, 120)
    assert first["columns"] == ["text", "label"]
    assert first["title"].startswith("Support intents")
    assert first["summary"].startswith("People write to an online shop")
    assert "*" not in first["summary"]
    assert {one["task"] for one in told} >= {"classify", "chat", "extract", "complete"}
    for one in told:
        assert "train" not in one["recipe"]["data"]
        values = {**one["recipe"], "data": {**one["recipe"]["data"], "train": "file-x", "test": "file-y"}}
        Recipe.build(values)


def test_without_the_repository_there_is_one_to_classify_and_one_to_chat(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shipped_examples, "repository_folder", lambda: None)
    assert [(one.name, one.task) for one in shipped_examples.examples()] == [
        ("support-intents", "classify"), ("brand-voice-chat", "chat"),
    ]  # fmt: skip


def test_the_examples_of_the_package_are_those_of_the_repository(repo: Path) -> None:
    files = [path for path in shipped_examples.PACKAGED.rglob("*") if path.is_file()]
    assert len(files) == 8
    for path in files:
        other = repo / "examples" / path.relative_to(shipped_examples.PACKAGED)
        assert path.read_bytes() == other.read_bytes(), f"copy {other} to {path}"


def test_the_catalogue_tells_licence_size_and_whether_a_model_is_here(shared: Wire) -> None:
    folder = shared.settings.home / "models" / "mine"
    folder.mkdir(parents=True)
    config = '{"model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 8}'
    (folder / "config.json").write_text(config)
    (folder / "model.safetensors").write_bytes(b"x" * 100)
    told = {one["name"]: one for one in ask(shared, "/luthier/v1/catalogue", "read")["data"]}
    nano = told["luthier-nano"]
    assert (nano["licence"], nano["kind"], nano["here"]) == ("Apache-2.0", "generative", True)
    assert nano["source"] == "shipped"
    assert nano["bytes"] > 1_000_000
    assert nano["parameters"] == 5_180_672
    assert told["minilm"]["tasks"] == ["classify", "regress", "extract"]
    mine = told["mine"]
    assert (mine["source"], mine["bytes"], mine["hidden"], mine["licence"]) == ("folder", 100, 8, None)
    assert str(shared.settings.home) not in str(told)

"""A model that does not answer as when it was trained is refused, not served."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from luthier.core.answering import ModelRef
from luthier.models.canary import CANARY_JSON


def copied(llama: Any, name: str, folder: Path) -> tuple[Path, ModelRef]:
    shutil.copytree(llama.folders[name], folder)
    return folder, ModelRef(f"ft:{name}-copy", str(llama.base), str(folder))


def change(path: Path, part: str, factor: float) -> None:
    tensors = load_file(path)
    names = [name for name in tensors if part in name]
    assert names
    save_file({name: tensor * factor if name in names else tensor for name, tensor in tensors.items()}, path)


@pytest.mark.parametrize(
    ("name", "file", "part"),
    [
        ("one", "adapter_model.safetensors", "lora_B"),
        ("whole", "model.safetensors", "layers.1.mlp"),
        ("prefix", "adapter_model.safetensors", "prompt"),
    ],
)
def test_a_lost_adapter_is_noticed(llama: Any, engine: Any, tmp_path: Path, name: str, file: str, part: str) -> None:
    folder, ref = copied(llama, name, tmp_path / "copy")
    asked = engine()
    before = asked.write(ref).texts
    asked.ask("unload", ref).wait()
    change(folder / file, part, 0.0)
    running = asked.write(llama.ref("two"), tokens=100)
    running.wait("piece")
    error = asked.write(ref).error
    assert (error["code"], error["kind"]) == ("canary_mismatch", "user")
    assert "not served" in error["message"]
    assert str(tmp_path) not in error["message"]
    assert len(running.texts) == 1, "the others on the same base must go on"
    assert ref.name not in asked.loaded()
    change(folder / file, part, 1.0)
    assert asked.write(ref).error["code"] == "canary_mismatch", "it is asked again at every load"
    assert asked.write(llama.ref(name)).texts == before


def test_a_model_is_refused_once_however_many_questions_fail(
    llama: Any, engine: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder, ref = copied(llama, "one", tmp_path / "copy")
    change(folder / "adapter_model.safetensors", "lora_B", 1e30)  # finite, but its answers are not
    asked = engine()
    for number in (1, 2):
        assert asked.write(ref).error is not None
        told = [record for record in caplog.records if "is not served" in record.getMessage()]
        assert len(told) == number, [record.getMessage() for record in told]
    assert ref.name not in asked.loaded()
    assert asked.status()["active"] == 0


def test_what_canary_says_at_load(llama: Any, engine: Any, tmp_path: Path) -> None:
    folder, ref = copied(llama, "one", tmp_path / "copy")
    canary = json.loads((folder / CANARY_JSON).read_text())
    assert canary["base_differs_by"] > 0.1, "it could not tell the adapter from its base"
    asked = engine()
    assert asked.ask("load", ref).wait().data("end")[0]["canary"] == "passed"
    asked.ask("unload", ref).wait()
    (folder / CANARY_JSON).unlink()
    assert asked.ask("load", ref).wait().data("end")[0]["canary"] == "none"
    asked.ask("unload", ref).wait()
    (folder / CANARY_JSON).write_text('{"format": 99}')
    assert asked.ask("load", ref).error["code"] == "unknown_format"


def test_broken_adapters_are_refused_and_their_base_stays(models: Any, engine: Any, tmp_path: Path) -> None:
    asked = engine()
    expected = asked.write(models.ref("two")).texts
    folder, ref = copied(models, "one", tmp_path / "copy")
    weights, config = folder / "adapter_model.safetensors", folder / "adapter_config.json"
    whole, settings = weights.read_bytes(), json.loads(config.read_text())
    change(weights, "lora_A", float("nan"))
    assert "finite" in asked.write(ref).error["message"]
    weights.write_bytes(whole[:200])
    assert asked.write(ref).error["kind"] == "user"
    weights.write_bytes(whole)
    wrong: list[dict[str, Any]] = [
        {"auto_mapping": {"base_model_class": "x", "parent_library": "os"}},
        {"init_lora_weights": "pissa"},
        {"modules_to_save": ["lm_head"]},
        {"peft_type": "IA3"},
        {"r": 10**6},
        {"r": 2},  # the tensors have rank 4
    ]
    for values in wrong:
        config.write_text(json.dumps({**settings, **values}))
        assert asked.write(ref).error["code"] == "broken_model", values
    config.write_text(json.dumps(settings))
    assert len(asked.write(ref).texts) == 1
    assert asked.write(models.ref("two")).texts == expected

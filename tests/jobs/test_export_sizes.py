"""What an export needs at least, known before it is made."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from luthier.jobs.export_sizes import least_bytes
from luthier.models.catalogue import NANO_PARAMETERS


def tuned(folder: Path, layout: str, base: str, path: str = "") -> Path:
    """A tuned model's folder with 1,000 weights of its own."""
    folder.mkdir()
    settings: dict[str, Any] = {"layout": layout, "base": {"name": base, "path": path}}
    (folder / "luthier.json").write_text(json.dumps(settings), encoding="utf-8")
    name = "adapter_model.safetensors" if layout == "peft" else "model.safetensors"
    save_file({"a": np.zeros((10, 100), dtype=np.float32)}, folder / name)
    return folder


@pytest.mark.parametrize(
    ("to", "dtype", "each"),
    [("merged", None, 4), ("merged", "bf16", 2), ("gguf", None, 2), ("gguf", "q8_0", 1), ("onnx", None, 4)],
)
def test_a_whole_model_is_counted_by_its_own_weights_and_an_adapter_by_its_base(
    tmp_path: Path, to: str, dtype: str | None, each: int
) -> None:
    assert least_bytes(tuned(tmp_path / "whole", "transformers", "x"), to, dtype) == 900 * each
    adapter = tuned(tmp_path / "adapter", "peft", "luthier-nano")
    assert least_bytes(adapter, to, dtype) == int(0.9 * NANO_PARAMETERS * each)
    elsewhere = tuned(tmp_path / "elsewhere", "peft", "mine", str(tmp_path / "whole"))
    assert least_bytes(elsewhere, to, dtype) == 900 * each


def test_an_adapter_stays_as_it_is(tmp_path: Path) -> None:
    folder = tuned(tmp_path / "adapter", "peft", "luthier-nano")
    assert least_bytes(folder, "adapter", None) == (folder / "adapter_model.safetensors").stat().st_size > 4000


@pytest.mark.parametrize("broken", ["settings", "weights", "base", "none"])
def test_where_nobody_knows_it_is_nothing(tmp_path: Path, broken: str) -> None:
    folder = tuned(tmp_path / "x", "peft" if broken == "base" else "transformers", "unknown", "")
    if broken == "settings":
        (folder / "luthier.json").write_text("{", encoding="utf-8")
    elif broken == "weights":
        (folder / "model.safetensors").write_bytes(b"x")
    elif broken == "none":
        folder = tmp_path / "not there"
    assert least_bytes(folder, "merged", None) == 0

"""What is saved is what other libraries load, with the same logits; and what we load again."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import PeftModel
from sentence_transformers import SentenceTransformer
from test_methods import PREFIX_FAMILIES, fits, method
from tiny_bases import FAMILIES, TEXTS
from transformers import AutoModelForSequenceClassification, AutoModelForTokenClassification, AutoTokenizer

from luthier.core.errors import ModelError
from luthier.core.recipe import FreezeSpec
from luthier.models import methods
from luthier.models.base_source import BaseSource, from_folder
from luthier.models.batching import pad
from luthier.models.build import build
from luthier.models.export import layout_of, save
from luthier.models.quiet import quiet
from luthier.models.run_model import load_run_model, model_folder
from luthier.models.task_model import TaskModel
from luthier.models.tokenizer import load_tokenizer

Bases = Callable[[str], BaseSource]
LABELS = [f"class {index}" for index in range(11)]
LIMIT = 20


def trained(source: BaseSource, name: str, pooling: str, task: str = "classify") -> TaskModel:
    """A model whose trained tensors were all moved away from where they began."""
    model = build(source, task=task, labels=LABELS, pooling=pooling, seed=2)
    methods.apply(model, method(name), FreezeSpec())
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.05)
    return model.eval()


def export(model: TaskModel, source: BaseSource, folder: Path, **extras: Any) -> Path:
    folder.mkdir(exist_ok=True)
    save(model, load_tokenizer(source.path), source, folder, extras={"max_length": LIMIT, **extras})
    return folder


@torch.no_grad()
def logits(model: TaskModel, source: BaseSource) -> torch.Tensor:
    tokenizer = load_tokenizer(source.path)
    ids, mask, types = pad(tokenizer.encode(TEXTS, max_length=LIMIT), tokenizer.pad_id)
    return model(ids, mask, types if tokenizer.uses_type_ids else None)


@torch.no_grad()
def stock_logits(model: Any, folder: Path) -> torch.Tensor:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    inputs = tokenizer(TEXTS, padding=True, truncation=True, return_tensors="pt")
    return model.eval()(**inputs).logits  # type: ignore[no-any-return]


def load_stock(task: str, path: Path, **options: Any) -> Any:
    auto = AutoModelForTokenClassification if task == "extract" else AutoModelForSequenceClassification
    with quiet():
        return auto.from_pretrained(path, **options)


STOCK = [(family, name) for family in FAMILIES for name in ("full", "lora", "ia3", "prefix") if fits(family, name)]
STOCK += [("bert", "head"), ("bert", "bitfit"), ("roberta", "dora"), ("bert", "rslora")]


TAGGED = [pair for pair in STOCK if pair[0] in ("bert", "modernbert")]


@pytest.mark.parametrize(
    ("family", "name", "task"),
    [(*pair, "classify") for pair in STOCK] + [(*pair, "extract") for pair in TAGGED],
)
def test_stock_pooling_loads_by_transformers_and_peft(
    base: Bases, family: str, name: str, task: str, tmp_path: Path
) -> None:
    source = base(family)
    model = trained(source, name, "stock", task)
    expected = logits(model, source)
    folder = export(model, source, tmp_path / "model")
    if layout_of(model) == "transformers":
        other = load_stock(task, folder)
        assert [other.config.id2label[index] for index in range(expected.shape[-1])] == list(model.outputs)
    else:
        assert not (folder / "model.safetensors").exists()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated")
            other = PeftModel.from_pretrained(load_stock(task, source.path, num_labels=len(model.outputs)), folder)
    real = AutoTokenizer.from_pretrained(folder)(TEXTS, padding=True, truncation=True, return_tensors="pt")
    keep = real["attention_mask"].bool() if task == "extract" else slice(None)
    torch.testing.assert_close(stock_logits(other, folder)[keep], expected[keep], atol=1e-5, rtol=0)
    again, tokenizer, settings = load_run_model(folder)
    torch.testing.assert_close(logits(again, source), expected, atol=1e-6, rtol=0)
    assert tokenizer.fingerprint == settings["tokenizer"]
    assert (again.task, again.labels, again.pooling) == (task, tuple(LABELS), "stock")


MEAN = [(family, name) for family in FAMILIES for name in ("full", "lora")]
MEAN += [("bert", "head"), ("bert", "dora"), ("roberta", "ia3")]


@pytest.mark.parametrize(
    ("family", "name", "pooling"), [(*pair, "mean") for pair in MEAN] + [("bert", "full", "first")]
)
def test_mean_and_first_pooling_load_by_sentence_transformers(
    base: Bases, family: str, name: str, pooling: str, tmp_path: Path
) -> None:
    source = base(family)
    model = trained(source, name, pooling)
    expected = logits(model, source)
    folder = export(model, source, tmp_path / "model")
    with quiet():
        other = SentenceTransformer(str(folder), device="cpu", local_files_only=True)
    found = other.encode(TEXTS, show_progress_bar=False)
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-5, rtol=0)
    again, _, settings = load_run_model(folder)
    torch.testing.assert_close(logits(again, source), expected, atol=1e-5, rtol=0)
    merged = name in ("lora", "dora", "ia3")
    assert (folder / "adapter" / "adapter_model.safetensors").is_file() == merged
    assert (settings["merge_difference"] is not None) == merged
    torch.testing.assert_close(logits(model, source), expected)  # saving changed nothing


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("name", "pooling"), [("houlsby", "stock"), ("pfeiffer", "mean"), ("prefix", "mean")])
def test_our_own_layout_is_small_and_comes_back(
    base: Bases, family: str, name: str, pooling: str, tmp_path: Path
) -> None:
    if name == "prefix" and family not in PREFIX_FAMILIES:
        pytest.skip("this family takes no prefix")
    source = base(family)
    model = trained(source, name, pooling)
    folder = export(model, source, tmp_path / "model")
    assert not (folder / "model.safetensors").exists()
    again, _, settings = load_run_model(folder)
    assert torch.equal(logits(again, source), logits(model, source))
    assert settings["method"]["kind"] == model.method.kind
    with pytest.raises(OSError, match=r"model\.safetensors"):
        load_stock("classify", folder)


def test_settings_say_what_is_needed_to_rebuild(base: Bases, tmp_path: Path) -> None:
    source = base("bert")
    model = build(source, task="regress", labels=["x", "y"], pooling="mean")
    methods.apply(model, method("lora"), FreezeSpec(embeddings=True, layers=1))
    folder = export(model, source, tmp_path / "model", target_mean=[1.0, 2.0], target_std=[0.5, 0.1], cut="start")
    settings = json.loads((folder / "luthier.json").read_text())
    assert settings["method"]["rank"] == 4
    assert settings["freeze"] == {"embeddings": True, "layers": 1}
    assert settings["base"]["sha256"] == source.sha256
    assert (settings["target_mean"], settings["cut"], settings["max_length"]) == ([1.0, 2.0], "start", LIMIT)
    assert model_folder(tmp_path) == folder
    with pytest.raises(ModelError, match="no trained model here"):
        model_folder(tmp_path / "model" / "adapter")


def test_an_adapter_refuses_a_base_that_changed(base: Bases, tmp_path: Path) -> None:
    moved = tmp_path / "base"
    moved.mkdir()
    for item in base("bert").path.iterdir():
        (moved / item.name).write_bytes(item.read_bytes())
    source = from_folder(moved, name="base")
    folder = export(trained(source, "lora", "stock"), source, tmp_path / "model")
    weights = bytearray((moved / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (moved / "model.safetensors").write_bytes(weights)
    with pytest.raises(ModelError, match="has changed since"):
        load_run_model(folder)


def test_a_saved_folder_with_code_or_torn_weights_is_refused(base: Bases, tmp_path: Path) -> None:
    folder = export(trained(base("bert"), "lora", "stock"), base("bert"), tmp_path / "model")
    weights = folder / "adapter_model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelError, match="no sound safetensors file"):
        load_run_model(folder)
    weights.write_bytes(whole)
    (folder / "modeling.py").write_text("raise SystemExit")
    with pytest.raises(ModelError, match="no remote code"):
        load_run_model(folder)


def test_a_merge_that_changes_the_answers_is_not_published(base: Bases, tmp_path: Path) -> None:
    model = trained(base("bert"), "lora", "mean")
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ".lora_" in name:
                parameter.mul_(1e15)  # the merged weights round what the adapter computes apart
    with pytest.raises(ModelError, match="merging"):
        export(model, base("bert"), tmp_path / "model")

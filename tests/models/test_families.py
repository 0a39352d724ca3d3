"""Every family: our steps of the forward pass against the stock transformers model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tiny_bases import FAMILIES, TEXTS, save_base
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
)

from luthier.core.errors import ModelError, RecipeError
from luthier.models.base_source import BaseSource, from_folder
from luthier.models.batching import pad
from luthier.models.build import build, choose_pooling
from luthier.models.catalogue import locate
from luthier.models.quiet import quiet
from luthier.models.tokenizer import load_tokenizer

Bases = Callable[[str], BaseSource]
CLASSES = [f"class {index}" for index in range(12)]  # more than ten: JSON sorts "10" before "2"


def batch(source: BaseSource, texts: list[object] | None = None) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    tokenizer = load_tokenizer(source.path)
    ids, mask, types = pad(tokenizer.encode(texts or TEXTS), tokenizer.pad_id)  # type: ignore[arg-type]
    return ids, mask, types if tokenizer.uses_type_ids else torch.zeros_like(types)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("task", ["classify", "extract"])
@torch.no_grad()
def test_stock_steps_give_the_stock_logits(base: Bases, family: str, task: str, tmp_path: Path) -> None:
    model = build(base(family), task=task, labels=CLASSES, pooling="stock", seed=5).eval()
    model.backbone.save_pretrained(tmp_path)
    auto = AutoModelForTokenClassification if task == "extract" else AutoModelForSequenceClassification
    with quiet():
        stock = auto.from_pretrained(tmp_path).eval()
    ids, mask, types = batch(base(family))
    inputs = {"input_ids": ids, "attention_mask": mask}
    if model.family.type_ids:
        inputs["token_type_ids"] = types
    expected = stock(**inputs).logits
    assert [stock.config.id2label[index] for index in range(expected.shape[-1])] == list(model.outputs)
    assert len(model.outputs) == (25 if task == "extract" else 12)
    torch.testing.assert_close(model(ids, mask, types), expected, atol=1e-6, rtol=1e-5)
    hidden = model.encode(ids, mask, types)
    torch.testing.assert_close(model.readout(hidden, mask), expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_blocks_one_by_one_equal_the_encoder(base: Bases, family: str) -> None:
    model = build(base(family), task="classify", labels=["a", "b"], pooling="mean").eval()
    ids, mask, types = batch(base(family), [("first text", "and second"), *TEXTS])
    whole = model.encode(ids, mask, types)
    hidden = model.embed(ids, mask, types)
    for index in range(len(model.layers)):
        hidden = model.run_blocks(hidden, mask, index, index + 1)
    real = mask.bool()
    torch.testing.assert_close(hidden[real], whole[real], atol=1e-6, rtol=1e-5)
    at_once = model.run_blocks(model.embed(ids, mask, types), mask)
    torch.testing.assert_close(at_once[real], whole[real], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_mean_and_first_pooling_against_a_plain_loop(base: Bases, family: str) -> None:
    with quiet():
        stock = AutoModel.from_pretrained(base(family).path).eval()
    ids, mask, types = batch(base(family))
    inputs = {"input_ids": ids, "attention_mask": mask}
    hidden = stock(**inputs).last_hidden_state
    means = torch.stack([hidden[row, mask[row].bool()].mean(dim=0) for row in range(len(ids))])
    for pooling, pooled in (("mean", means), ("first", hidden[:, 0])):
        model = build(base(family), task="regress", labels=["score"], pooling=pooling, seed=1).eval()
        assert model.head is not None
        expected = pooled @ model.head.linear.weight.T + model.head.linear.bias
        torch.testing.assert_close(model(ids, mask, types), expected, atol=1e-6, rtol=1e-5)
        assert not any("pooler" in name for name, _ in model.named_parameters())


def test_the_seed_decides_the_head_and_leaves_the_global_state_alone(base: Bases) -> None:
    before = torch.get_rng_state()
    heads = [
        build(base("bert"), task="classify", labels=["a", "b"], pooling=pooling, seed=seed).head_parameters()
        for pooling in ("mean", "stock")
        for seed in (1, 1, 2)
    ]
    assert torch.equal(before, torch.get_rng_state())
    for first, same, other in (heads[:3], heads[3:]):
        assert all(torch.equal(a, b) for a, b in zip(first, same, strict=True))
        assert not all(torch.equal(a, b) for a, b in zip(first, other, strict=True))


def test_from_scratch_shares_nothing_with_the_base(base: Bases) -> None:
    tuned = build(base("bert"), task="classify", labels=["a", "b"], pooling="mean")
    scratch = build(base("bert"), task="classify", labels=["a", "b"], pooling="mean", from_scratch=True)
    assert {n: p.shape for n, p in tuned.named_parameters()} == {n: p.shape for n, p in scratch.named_parameters()}
    weight = "backbone.embeddings.word_embeddings.weight"
    assert not torch.equal(tuned.get_parameter(weight), scratch.get_parameter(weight))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("pooling", ["stock", "mean"])
def test_dropout_is_where_it_was_asked_for(base: Bases, family: str, pooling: str) -> None:
    options = {"task": "classify", "labels": ["a", "b"], "pooling": pooling}
    ids, mask, types = batch(base(family))
    quiet_encoder = build(base(family), **options, encoder_dropout=0.0, dropout=0.5).train()
    assert torch.equal(quiet_encoder.encode(ids, mask, types), quiet_encoder.encode(ids, mask, types))
    assert not torch.equal(quiet_encoder(ids, mask, types), quiet_encoder(ids, mask, types))
    silent = build(base(family), **options, encoder_dropout=0.0, dropout=0.0).train()
    assert torch.equal(silent(ids, mask, types), silent(ids, mask, types))
    loud = build(base(family), **options, encoder_dropout=0.3).train()
    assert not torch.equal(loud.encode(ids, mask, types), loud.encode(ids, mask, types))


def test_a_head_is_kept_for_the_same_labels_and_drawn_anew_for_others(base: Bases, tmp_path: Path) -> None:
    first = build(base("roberta"), task="classify", labels=["yes", "no"], pooling="stock", seed=1)
    first.backbone.save_pretrained(tmp_path)
    source = from_folder(tmp_path, name="tuned")
    weight = "backbone.classifier.out_proj.weight"
    kept = build(source, task="classify", labels=["yes", "no"], pooling="stock", seed=9)
    drawn = build(source, task="classify", labels=["no", "yes"], pooling="stock", seed=9)
    wider = build(source, task="classify", labels=["a", "b", "c"], pooling="stock", seed=9)
    assert torch.equal(kept.get_parameter(weight), first.get_parameter(weight))
    assert not torch.equal(drawn.get_parameter(weight), first.get_parameter(weight))
    assert wider.get_parameter(weight).shape[0] == 3


def test_auto_pooling_fits_the_base(base: Bases) -> None:
    minilm = locate("minilm")
    assert [choose_pooling(minilm, task) for task in ("classify", "regress", "extract")] == [
        "mean",
        "mean",
        "stock",
    ]
    assert choose_pooling(base("bert"), "classify") == "stock"
    with pytest.raises(RecipeError, match="stock"):
        build(base("bert"), task="extract", labels=["x"], pooling="mean")


def test_bf16_computes_under_autocast_and_answers_in_float32(base: Bases) -> None:
    options = {"task": "classify", "labels": ["a", "b"], "pooling": "mean"}
    exact = build(base("bert"), **options).eval()
    rough = build(base("bert"), **options, precision="bf16").eval()
    inputs = batch(base("bert"))
    logits = rough(*inputs)
    assert logits.dtype == torch.float32
    assert not torch.equal(logits, exact(*inputs))
    torch.testing.assert_close(logits, exact(*inputs), atol=0.05, rtol=0.05)


def test_weights_of_another_shape_are_refused_not_drawn(tmp_path: Path) -> None:
    save_base("bert", tmp_path)
    config = AutoConfig.from_pretrained(tmp_path)
    config.num_hidden_layers = 5
    config.save_pretrained(tmp_path)
    for pooling in ("mean", "stock"):
        with pytest.raises(ModelError, match="32 tensors are missing"):
            build(from_folder(tmp_path, name="x"), task="classify", labels=["a", "b"], pooling=pooling)
    (tmp_path / "model.safetensors").write_bytes(b"not safetensors")
    with pytest.raises(ModelError, match="no sound safetensors file"):
        build(from_folder(tmp_path, name="x"), task="classify", labels=["a", "b"], pooling="mean")


def test_an_unknown_family_lists_the_known_ones(tmp_path: Path) -> None:
    save_base("bert", tmp_path)
    config = (tmp_path / "config.json").read_text().replace('"model_type": "bert"', '"model_type": "gpt2"')
    (tmp_path / "config.json").write_text(config)
    with pytest.raises(ModelError, match="deberta-v2"):
        build(from_folder(tmp_path, name="x"), task="classify", labels=["a", "b"], pooling="mean")


def test_building_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    build(locate("minilm"), task="classify", labels=["a", "b"], pooling="stock")
    load_tokenizer(locate("minilm").path)
    assert capfd.readouterr() == ("", "")

"""The contract of every method, on every family."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from pydantic import TypeAdapter
from tiny_bases import FAMILIES, TEXTS
from torch.nn.functional import cross_entropy

from luthier.core.errors import ModelError, RecipeError
from luthier.core.recipe import FreezeSpec, Method
from luthier.models import methods
from luthier.models.base_source import BaseSource
from luthier.models.batching import pad
from luthier.models.build import build
from luthier.models.groups import parameter_groups
from luthier.models.task_model import TaskModel
from luthier.models.tokenizer import load_tokenizer
from luthier.models.trainable import (
    frozen_boundary,
    load_trainable_state,
    trainable_state,
    trainable_summary,
)

Bases = Callable[[str], BaseSource]
METHODS: dict[str, dict[str, Any]] = {
    "full": {"kind": "full"},
    "lora": {"kind": "lora", "rank": 4, "alpha": 8},
    "dora": {"kind": "lora", "rank": 4, "alpha": 8, "dora": True},
    "rslora": {"kind": "lora", "rank": 4, "alpha": 8, "rslora": True},
    "houlsby": {"kind": "adapter", "bottleneck": 8},
    "pfeiffer": {"kind": "adapter", "bottleneck": 8, "style": "pfeiffer", "activation": "relu"},
    "head": {"kind": "head"},
    "bitfit": {"kind": "bitfit"},
    "ia3": {"kind": "ia3"},
    "prefix": {"kind": "prefix", "tokens": 3},
}
PREFIX_FAMILIES = ("bert", "roberta", "electra")


def method(name: str) -> Method:
    spec: Method = TypeAdapter(Method).validate_python(METHODS[name])
    return spec


def fits(family: str, name: str) -> bool:
    return not ((name == "prefix" and family not in PREFIX_FAMILIES) or (name == "bitfit" and family == "modernbert"))


def batch(source: BaseSource) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    tokenizer = load_tokenizer(source.path)
    return pad(tokenizer.encode(TEXTS), tokenizer.pad_id)


def tuned(
    source: BaseSource,
    name: str,
    pooling: str = "stock",
    freeze: FreezeSpec | None = None,
    task: str = "classify",
) -> TaskModel:
    model = build(source, task=task, labels=["a", "b", "c"], pooling=pooling, seed=7, encoder_dropout=0.0, dropout=0.0)
    methods.apply(model, method(name), freeze)
    return model


VARIANTS = ("dora", "rslora", "pfeiffer")  # of lora and houlsby: one family shows them
COMBINATIONS = [
    (family, name)
    for family in FAMILIES
    for name in METHODS
    if fits(family, name) and (family == "bert" or name not in VARIANTS)
]


@pytest.mark.parametrize(
    ("family", "name", "pooling"),
    [(*pair, "stock") for pair in COMBINATIONS] + [(*pair, "mean") for pair in COMBINATIONS if pair[0] == "bert"],
)
def test_a_method_starts_neutral_trains_and_restores(base: Bases, family: str, name: str, pooling: str) -> None:
    source = base(family)
    inputs = batch(source)
    plain = build(source, task="classify", labels=["a", "b", "c"], pooling=pooling, seed=7).eval()
    model = tuned(source, name, pooling).eval()
    if name != "prefix":
        torch.testing.assert_close(model(*inputs), plain(*inputs), atol=1e-6, rtol=1e-5)

    trained, total = trainable_summary(model)
    head = sum(parameter.numel() for parameter in model.head_parameters())
    assert all(parameter.requires_grad for parameter in model.head_parameters())
    assert trained == total if name == "full" else trained < total
    assert trained == head if name == "head" else trained > head
    if name in ("full", "head", "bitfit"):
        assert total == sum(parameter.numel() for parameter in plain.parameters())

    fresh = {key: value.clone() for key, value in trainable_state(model).items()}
    frozen = {key: value.clone() for key, value in model.named_parameters() if not value.requires_grad}
    before = model(*inputs)
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=3e-4, eps=1e-12)
    model.train()
    targets = torch.tensor([0, 1, 2, 0, 1, 2])
    losses = []
    for _ in range(4):
        loss = cross_entropy(model(*inputs), targets)
        losses.append(float(loss.detach()))
        optimizer.zero_grad()
        loss.backward()
        assert all(p.grad is None or bool(p.grad.isfinite().all()) for p in model.parameters())
        optimizer.step()
    model.eval()
    assert min(losses) < losses[0]
    moved = [key for key, value in trainable_state(model).items() if not torch.equal(value, fresh[key])]
    # softmax does not see a constant added to all keys, so a key's bias has no gradient but rounding
    still = {key for key in set(fresh) - set(moved) if not key.endswith(f"{model.family.key_value[0]}.bias")}
    assert still == set()
    for key, value in frozen.items():
        assert torch.equal(model.get_parameter(key), value)

    after = model(*inputs)
    assert not torch.allclose(after, before)
    state = {key: value.clone() for key, value in trainable_state(model).items()}
    again = tuned(source, name, pooling).eval()
    assert torch.equal(again(*inputs), before)
    load_trainable_state(again, state)
    assert torch.equal(again(*inputs), after)


@pytest.mark.parametrize(
    ("family", "name"),
    [pair for pair in COMBINATIONS if pair[1] in ("full", "lora", "houlsby", "bitfit")],
)
def test_frozen_layers_hold_nothing_that_trains(base: Bases, family: str, name: str) -> None:
    model = tuned(base(family), name, "mean", FreezeSpec(embeddings=True, layers=2))
    assert frozen_boundary(model) == 2
    inputs = batch(base(family))
    hidden = model.run_blocks(model.embed(*inputs), inputs[1], 0, 2)
    assert not hidden.requires_grad
    logits = model.readout(model.run_blocks(hidden, inputs[1], 2), inputs[1])
    torch.testing.assert_close(logits, model(*inputs), atol=1e-6, rtol=1e-5)
    everything = tuned(base(family), "full", "mean", FreezeSpec(embeddings=True, layers=3))
    assert frozen_boundary(everything) == 3
    assert not everything.encode(*inputs).requires_grad


@pytest.mark.parametrize("family", FAMILIES)
def test_the_boundary_counts_from_below(base: Bases, family: str) -> None:
    assert frozen_boundary(tuned(base(family), "full", "mean")) == -1
    assert frozen_boundary(tuned(base(family), "full", "mean", FreezeSpec(embeddings=True))) == 0
    assert frozen_boundary(tuned(base(family), "full", "mean", FreezeSpec(layers=2))) == 2
    assert frozen_boundary(tuned(base(family), "lora", "stock")) == 0
    assert frozen_boundary(tuned(base(family), "head", "stock")) == 3
    if family in PREFIX_FAMILIES:
        assert frozen_boundary(tuned(base(family), "prefix", "stock")) == -1


def test_lora_touches_all_linear_layers_of_the_blocks_and_only_those(base: Bases) -> None:
    def targets(model: TaskModel) -> set[str]:
        return {name.split(".lora_")[0] for name in trainable_state(model) if ".lora_" in name}

    for pooling, prefix in (("mean", ""), ("stock", "bert.")):
        found = targets(tuned(base("bert"), "lora", pooling))
        paths = [f"attention.{path}" for path in ("self.query", "self.key", "self.value", "output.dense")]
        paths += ["intermediate.dense", "output.dense"]
        assert found == {f"backbone.{prefix}encoder.layer.{i}.{path}" for i in range(3) for path in paths}
    model = build(base("bert"), task="classify", labels=["a", "b"], pooling="mean")
    spec: Method = TypeAdapter(Method).validate_python({"kind": "lora", "targets": ["query", "value"]})
    methods.apply(model, spec, FreezeSpec(layers=2))
    assert targets(model) == {f"backbone.encoder.layer.2.attention.self.{name}" for name in ("query", "value")}


def test_what_does_not_fit_is_refused_with_a_way_out(base: Bases) -> None:
    for family in ("distilbert", "deberta-v2", "modernbert", "mpnet"):
        with pytest.raises(RecipeError, match="Use lora"):
            tuned(base(family), "prefix")
    with pytest.raises(RecipeError, match="Use lora"):
        tuned(base("modernbert"), "bitfit")
    with pytest.raises(RecipeError, match=r"freeze\.layers is 4, and this base has 3"):
        tuned(base("bert"), "full", freeze=FreezeSpec(layers=4))
    with pytest.raises(RecipeError, match="none can be frozen"):
        tuned(base("bert"), "prefix", freeze=FreezeSpec(layers=1))
    for name in ("lora", "houlsby", "ia3"):
        with pytest.raises(RecipeError, match="no layer left"):
            tuned(base("bert"), name, freeze=FreezeSpec(layers=3))
    model = build(base("bert"), task="classify", labels=["a", "b"], pooling="mean")
    wrong: Method = TypeAdapter(Method).validate_python({"kind": "lora", "targets": ["querry"]})
    with pytest.raises(RecipeError, match="'query'"):
        methods.apply(model, wrong, FreezeSpec())


def test_a_state_of_another_method_is_refused(base: Bases) -> None:
    lora, head = tuned(base("bert"), "lora", "mean"), tuned(base("bert"), "head", "mean")
    with pytest.raises(ModelError, match="not those of this model"):
        load_trainable_state(head, trainable_state(lora))


def test_a_prefix_takes_positions_from_the_context(base: Bases) -> None:
    model = tuned(base("bert"), "prefix")
    limit = load_tokenizer(base("bert").path).max_length - model.reserved_positions
    assert limit == 61
    ids = torch.randint(5, 50, (1, limit))
    assert model(ids, torch.ones_like(ids)).shape == (1, 3)


@pytest.mark.parametrize("family", FAMILIES)
def test_parameter_groups_cover_what_trains_once(base: Bases, family: str) -> None:
    model = tuned(base(family), "full", "stock")
    groups = parameter_groups(model, learning_rate=1.0, weight_decay=0.1, layer_decay=0.5, head_multiplier=3.0)
    listed = [id(parameter) for group in groups for parameter in group["params"]]
    assert sorted(listed) == sorted(id(p) for p in model.parameters() if p.requires_grad)
    rates = {group["name"]: group["lr"] for group in groups if group["weight_decay"]}
    assert rates == {"head": 3.0, "layer 2": 0.5, "layer 1": 0.25, "layer 0": 0.125, "embeddings": 0.0625}
    for group in groups:
        assert group["weight_decay"] == (0.1 if all(p.ndim > 1 for p in group["params"]) else 0.0)
        assert len({p.ndim > 1 for p in group["params"]}) == 1


def test_ia3_scales_do_not_decay_towards_zero(base: Bases) -> None:
    groups = parameter_groups(tuned(base("bert"), "ia3", "mean"), learning_rate=1e-3, weight_decay=0.1)
    decayed = [p for group in groups if group["weight_decay"] for p in group["params"]]
    assert [tuple(p.shape) for p in decayed] == [(3, 32)]  # only the head's matrix

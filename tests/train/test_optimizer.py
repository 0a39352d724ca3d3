"""AdamW, clipping and schedules against torch's and transformers' own."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from toy import farthest, parts
from transformers import (
    get_constant_schedule_with_warmup,
    get_cosine_schedule_with_warmup,
    get_linear_schedule_with_warmup,
)

from luthier.core.recipe import TrainSpec
from luthier.train.optimizer import Optimizer, rate_factor

_THEIRS: dict[str, Any] = {
    "cosine": get_cosine_schedule_with_warmup,
    "linear": get_linear_schedule_with_warmup,
    "constant": get_constant_schedule_with_warmup,
}


@pytest.mark.parametrize("schedule", ["cosine", "linear", "constant"])
@pytest.mark.parametrize(("total", "warmup"), [(100, 0.06), (7, 0.5), (40, 0.0), (1, 0.0)])
def test_rates_are_those_of_transformers(schedule: str, total: int, warmup: float) -> None:
    """Warm-up is one step ahead of theirs, which wastes its first step on a rate of 0."""
    warm = math.ceil(warmup * total)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    counts = {"num_warmup_steps": warm}
    if schedule != "constant":
        counts["num_training_steps"] = total
    theirs = _THEIRS[schedule](optimizer, **counts)
    wanted = []
    for _ in range(total + 1):
        wanted.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        theirs.step()
    found = [rate_factor(step, total, warmup, schedule) for step in range(total)]
    assert found[:warm] == pytest.approx(wanted[1 : warm + 1])
    assert found[warm:] == pytest.approx(wanted[warm:total], abs=1e-12)
    assert min(found) > 0
    assert max(found) <= 1


@pytest.mark.parametrize("max_norm", [1e-2, 1e6])
def test_steps_equal_torch_adamw_with_clipping(base: Any, max_norm: float) -> None:
    folder = base("toy").path
    spec = TrainSpec(
        learning_rate=1e-3, head_learning_rate=5e-3, weight_decay=0.1, layer_decay=0.8, max_grad_norm=max_norm
    )
    ours, theirs = parts(folder, "classify", "full", stream=False), parts(folder, "classify", "full", stream=False)
    optimizer = Optimizer(ours.model, spec, None)
    by_name = dict(theirs.model.named_parameters())
    places = {name: index for index, name in enumerate(optimizer.names)}
    flat = [(group["lr"], group["weight_decay"]) for group in optimizer.adam.param_groups for _ in group["params"]]
    reference = torch.optim.AdamW(
        [{"params": [by_name[n]], "lr": flat[i][0], "weight_decay": flat[i][1]} for n, i in places.items()],
        betas=(0.9, 0.999), eps=1e-8, fused=False, foreach=False,
    )  # fmt: skip
    peaks = [group["lr"] for group in reference.param_groups]
    torch.manual_seed(0)
    for step in range(6):
        factor = rate_factor(step, 6, 0.2, "linear")
        for name in optimizer.names:
            gradient = torch.randn_like(by_name[name]) * 0.1
            by_name[name].grad = gradient
            dict(ours.model.named_parameters())[name].grad = gradient.clone()
        wanted = torch.nn.utils.clip_grad_norm_([by_name[n] for n in optimizer.names], max_norm)
        for group, peak in zip(reference.param_groups, peaks, strict=True):
            group["lr"] = peak * factor
        reference.step()
        assert optimizer.step(factor) == pytest.approx(float(wanted), rel=1e-5)
    assert farthest(ours.weights, theirs.weights) < 1e-6


def test_layer_decay_and_head_rate(base: Any) -> None:
    made = parts(base("toy").path)
    spec = TrainSpec(learning_rate=1e-3, head_learning_rate=4e-3, layer_decay=0.5, weight_decay=0.2)
    optimizer = Optimizer(made.model, spec, made.runner.forward.vocabulary)
    rates: dict[str, float] = {}
    decays: dict[str, float] = {}
    names = iter(optimizer.names)
    for group in optimizer.adam.param_groups:
        for _ in group["params"]:
            name = next(names)
            rates[name], decays[name] = group["lr"], group["weight_decay"]
    assert rates["backbone.classifier.weight"] == pytest.approx(4e-3)
    for layer, rate in ((2, 5e-4), (1, 2.5e-4), (0, 1.25e-4)):
        assert rates[f"backbone.bert.encoder.layer.{layer}.output.dense.weight"] == pytest.approx(rate)
    assert rates["backbone.bert.embeddings.word_embeddings.weight"] == pytest.approx(6.25e-5)
    assert decays["backbone.bert.encoder.layer.0.output.dense.weight"] == 0.2
    assert decays["backbone.bert.encoder.layer.0.output.dense.bias"] == 0.0
    assert decays["backbone.bert.encoder.layer.0.output.LayerNorm.weight"] == 0.0


def test_a_gradient_that_is_not_finite_changes_nothing(base: Any) -> None:
    made = parts(base("toy").path)
    optimizer = Optimizer(made.model, TrainSpec(learning_rate=1e-3, head_learning_rate=1e-3), None)
    before = made.weights
    for parameter in made.model.parameters():
        parameter.grad = torch.ones_like(parameter)
    next(made.model.parameters()).grad.view(-1)[0] = math.inf
    assert not math.isfinite(optimizer.step(1.0))
    assert all(torch.equal(before[name], weight) for name, weight in made.weights.items())
    assert not optimizer.state()


def test_state_round_trip(base: Any) -> None:
    made = parts(base("toy").path, "classify", "lora")
    spec = TrainSpec(learning_rate=1e-3, head_learning_rate=1e-3)
    optimizer = Optimizer(made.model, spec, None)
    for parameter in optimizer.parameters:
        parameter.grad = torch.randn_like(parameter)
    optimizer.step(1.0)
    state = {name: tensor.clone() for name, tensor in optimizer.state().items()}
    other = Optimizer(made.model, spec, None)
    other.load_state(state)
    assert state.keys() == other.state().keys()
    assert all(torch.equal(tensor, other.state()[name]) for name, tensor in state.items())

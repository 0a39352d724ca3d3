"""Generative steps: packed = alone = accumulated = shared, and a loss only where a token counts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from models.tiny_causal import tiny_causal
from numpy.typing import NDArray

from luthier.core.recipe import FreezeSpec, FullMethod, HeadMethod, LoraMethod
from luthier.data.tokens import TokenTable
from luthier.models import methods
from luthier.models.build_causal import build_causal
from luthier.models.catalogue import locate
from luthier.models.causal_model import CausalModel
from luthier.train.collate import collate
from luthier.train.language_step import LanguageForward, LanguageRunner

ROWS = 6


def _table(shared: int = 0) -> TokenTable:
    """Rows of random tokens, the first `shared` of them alike; the last third of each is learned."""
    generator = np.random.default_rng(3)
    common = generator.integers(5, 60, shared)
    rows = [np.concatenate((common, generator.integers(5, 60, generator.integers(6, 20)))) for _ in range(ROWS)]
    lengths = np.asarray([len(row) - 1 for row in rows])
    starts = np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)
    weights = np.concatenate([(np.arange(n) >= 2 * n // 3).astype(np.float32) for n in lengths])
    ids = np.concatenate([row[:-1] for row in rows]).astype(np.int32)
    targets = np.concatenate([row[1:] for row in rows]).astype(np.float32)
    longest = int(lengths.max()) + 1
    return TokenTable(ids, np.zeros(len(ids), np.int8), starts, targets, starts, weights, 0, 0, longest, [], [], [])


def _model(folder: Path, family: str, method: FullMethod | LoraMethod) -> CausalModel:
    model = build_causal(locate(str(tiny_causal(folder / family, family))), task="complete")
    methods.apply(model, method)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.05)
    return model


def _gradients(runner: LanguageRunner, table: TokenTable, parts: list[NDArray[np.int64]]) -> tuple[float, torch.Tensor]:
    loss = runner.backward([collate(table, part, per_token=True) for part in parts])
    flat = torch.cat([p.grad.flatten() for _, p in runner.named() if p.grad is not None])
    runner.zero_grad()
    runner.facts()  # the step is made
    return loss, flat


@pytest.mark.parametrize("family", ["llama", "qwen2", "gpt2"])
@pytest.mark.parametrize("method", [FullMethod(), LoraMethod(rank=4)], ids=["full", "lora"])
@pytest.mark.parametrize("shared", [0, 24])
def test_packed_alone_accumulated_and_shared_are_one(
    tmp_path: Path, family: str, method: FullMethod | LoraMethod, shared: int
) -> None:
    model, table = _model(tmp_path, family, method), _table(shared)
    everything = [np.arange(ROWS)]
    alone = [np.asarray([row]) for row in range(ROWS)]
    stock = LanguageRunner(LanguageForward(model, share=False, stream=False), batch_size=8, max_tokens=999)
    wanted_loss, wanted = _gradients(stock, table, alone)
    for stream in (False, True):
        for share in (False, True):
            runner = LanguageRunner(LanguageForward(model, share=share, stream=stream), batch_size=8, max_tokens=999)
            for parts in (everything, alone):
                loss, gradient = _gradients(runner, table, parts)
                assert loss == pytest.approx(wanted_loss, rel=1e-5)
                assert float((gradient - wanted).norm() / wanted.norm()) < 2e-5
            assert runner.saved == (shared * (ROWS - 1) if share else 0)


def test_a_token_without_weight_changes_nothing(tmp_path: Path) -> None:
    model, table = _model(tmp_path, "llama", FullMethod()), _table()
    runner = LanguageRunner(LanguageForward(model), batch_size=8, max_tokens=999)
    loss, gradient = _gradients(runner, table, [np.arange(ROWS)])
    table.targets[table.weights == 0] = 7
    again, same = _gradients(runner, table, [np.arange(ROWS)])
    assert again == loss
    assert torch.equal(same, gradient)


def test_the_loss_is_the_cross_entropy_of_transformers(tmp_path: Path) -> None:
    model, table = _model(tmp_path, "llama", FullMethod()), _table()
    runner = LanguageRunner(LanguageForward(model), batch_size=8, max_tokens=999)
    row = collate(table, np.asarray([2]), per_token=True)
    logits = model.backbone(input_ids=row.ids_T[None]).logits[0].detach()
    chosen = row.weights > 0
    wanted = torch.nn.functional.cross_entropy(logits[chosen], row.targets[chosen].long())
    assert runner.backward([row]) == pytest.approx(float(wanted.detach()), rel=1e-5)
    assert runner.facts()["token_accuracy"] == pytest.approx(
        float((logits[chosen].argmax(-1) == row.targets[chosen]).float().mean())
    )


def test_an_epoch_of_steps_learns(tmp_path: Path) -> None:
    model, table = _model(tmp_path, "llama", LoraMethod(rank=4)), _table()
    runner = LanguageRunner(LanguageForward(model), batch_size=8, max_tokens=64)
    optimizer = torch.optim.AdamW([p for _, p in runner.named()], lr=2e-2)
    losses = []
    for _ in range(20):
        parts = runner.cut(np.arange(ROWS), table.lengths)
        losses.append(runner.backward([collate(table, part, True) for part in parts]))
        optimizer.step()
        runner.zero_grad()
    assert losses[-1] < 0.9 * losses[0]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("layers", [1, 2])
def test_what_the_cache_holds_gives_the_same_loss(tmp_path: Path, stream: bool, layers: int) -> None:
    model = build_causal(locate(str(tiny_causal(tmp_path / "base", "llama"))), task="complete")
    frozen = layers == len(model.layers)
    methods.apply(model, HeadMethod() if frozen else FullMethod(), FreezeSpec(embeddings=True, layers=layers))
    table = _table(24)
    runner = LanguageRunner(LanguageForward(model, share=True, stream=stream), batch_size=8, max_tokens=999)
    assert runner.forward.boundary == layers
    batch = collate(table, np.arange(ROWS), per_token=True)
    cached = runner.forward.at_boundary(batch)
    with torch.no_grad():
        assert float(runner.loss_sum(batch, cached)) == pytest.approx(float(runner.loss_sum(batch)), rel=1e-6)

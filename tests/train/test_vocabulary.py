"""Training only the used words is plain AdamW over all of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from toy import parts

from luthier.core.recipe import TrainSpec
from luthier.data.tokens import TokenTable
from luthier.train.optimizer import Optimizer, rate_factor
from luthier.train.vocabulary import UsedVocabulary


def _table(ids: list[int]) -> TokenTable:
    one = np.ones(1, np.float32)
    return TokenTable(
        np.array(ids, np.int32), np.zeros(len(ids), np.int8), np.array([0, len(ids)]), one, np.array([0, 1]), one,
        0, 0, len(ids), [], [], [],
    )  # fmt: skip


def test_steps_equal_plain_adamw_on_all_rows() -> None:
    torch.manual_seed(0)
    embedding, plain = nn.Embedding(50, 8), nn.Embedding(50, 8)
    plain.load_state_dict(embedding.state_dict())
    ids = [3, 7, 7, 20, 3, 49]
    vocabulary = UsedVocabulary(embedding, _table(ids))
    assert vocabulary.used.tolist() == [3, 7, 20, 49]
    few = torch.optim.AdamW([vocabulary.parameter], lr=1.0, weight_decay=0.1)
    whole = torch.optim.AdamW([plain.weight], lr=1.0, weight_decay=0.1)
    for step in range(30):
        rate = 0.02 * rate_factor(step, 30, 0.1, "cosine")
        batch, wanted = torch.tensor(ids), torch.randn(len(ids), 8)
        for optimizer, words in ((few, vocabulary.words(batch)), (whole, plain(batch))):
            optimizer.param_groups[0]["lr"] = rate
            optimizer.zero_grad()
            (words - wanted).square().sum().backward()
            optimizer.step()
        vocabulary.decay(rate, 0.1)
    vocabulary.publish()
    torch.testing.assert_close(embedding.weight, plain.weight, rtol=0, atol=1e-6)
    first = vocabulary.first
    assert not torch.equal(plain.weight[0], first[0]), "weight decay must move unused rows too"


def test_publish_and_reload_are_inverse() -> None:
    torch.manual_seed(0)
    embedding = nn.Embedding(20, 4)
    first = embedding.weight.detach().clone()
    vocabulary = UsedVocabulary(embedding, _table([1, 5]))
    with torch.no_grad():
        vocabulary.parameter.add_(1.0)
    vocabulary.decay(0.5, 0.1)
    vocabulary.publish()
    saved, trained = embedding.weight.detach().clone(), vocabulary.parameter.detach().clone()
    torch.testing.assert_close(saved[0], first[0] * 0.95)

    fresh = nn.Embedding(20, 4)
    with torch.no_grad():
        fresh.weight.copy_(first)
    again = UsedVocabulary(fresh, _table([1, 5]))
    with torch.no_grad():
        fresh.weight.copy_(saved)
    again.reload(vocabulary.decayed)
    assert torch.equal(again.parameter, trained)
    again.publish()
    assert torch.equal(fresh.weight, saved)


def test_a_model_trains_alike_with_and_without(base: Any) -> None:
    """The whole way: our optimizer on the used rows, torch's own on the stock model."""
    folder: Path = base("toy").path
    spec = TrainSpec(learning_rate=1e-3, head_learning_rate=1e-3, weight_decay=0.1)
    ours, stock = parts(folder), parts(folder, stream=False)
    optimizer = Optimizer(ours.model, spec, ours.runner.forward.vocabulary)
    reference = Optimizer(stock.model, spec, None)
    assert ours.runner.forward.vocabulary is not None
    name = "backbone.bert.embeddings.word_embeddings.weight"
    assert name in optimizer.names
    assert optimizer.names == reference.names
    from luthier.train.collate import collate

    for step in range(5):
        batch = [collate(ours.table, np.arange(step, step + 6), False)]
        for each, adam in ((ours, optimizer), (stock, reference)):
            adam.zero_grad()
            each.runner.backward(batch)
            adam.step(1.0)
    ours.runner.forward.vocabulary.publish()
    unused = np.setdiff1d(np.arange(len(stock.weights[name])), ours.table.ids)
    torch.testing.assert_close(ours.weights[name][unused], stock.weights[name][unused], rtol=0, atol=1e-7)
    torch.testing.assert_close(ours.weights[name], stock.weights[name], rtol=0, atol=2e-5)

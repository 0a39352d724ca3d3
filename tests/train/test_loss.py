"""Sums divided once: the same loss as transformers, whatever the cut into batches."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight
from toy import LABELS, TrainToy, farthest, losses, parts, samples, state

from luthier.core.errors import TrainingError
from luthier.data.packing import split_step
from luthier.models.build import build
from luthier.models.tokenizer import load_tokenizer
from luthier.train.collate import collate
from luthier.train.tasks.classify import Classify


@pytest.mark.parametrize("task", ["classify", "several", "regress", "extract"])
def test_loss_is_that_of_transformers(base: Any, task: str) -> None:
    made = parts(base("toy").path, task)
    everything = np.arange(len(made.table))
    batch = collate(made.table, everything, made.runner.task.per_token)
    ours = made.runner.backward([batch])
    gradient = dict(made.runner.named())["backbone.classifier.weight"].grad.clone()

    source = base("toy")
    plain = "classify" if task == "several" else task
    stock = build(
        source, task=plain, labels=LABELS[task], several_labels=task == "several", dropout=0.0, encoder_dropout=0.0
    ).backbone
    ids, mask, types = batch.padded(load_tokenizer(source.path).pad_id)
    labels: torch.Tensor = batch.targets
    if task == "classify":
        labels = labels.long()
    if task == "extract":  # their mean is over all tokens of the batch that are not -100
        labels = torch.full(mask.shape, -100)
        labels[mask.bool()] = torch.where(batch.weights > 0, batch.targets.long(), torch.tensor(-100))
    theirs = stock.train()(input_ids=ids, attention_mask=mask, token_type_ids=types, labels=labels).loss
    theirs.backward()
    assert ours == pytest.approx(float(theirs.detach()), rel=1e-5)
    torch.testing.assert_close(gradient, stock.classifier.weight.grad, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("task", ["classify", "several", "regress", "extract"])
@pytest.mark.parametrize("method", ["full", "adapter"])
def test_one_batch_of_many_equals_many_of_one(base: Any, task: str, method: str) -> None:
    """Rows of extract hold different numbers of tokens, so a mean of means would differ."""
    made = parts(base("toy").path, task, method)
    rows = np.arange(8)
    per_token = made.runner.task.per_token
    found = []
    for size, tokens in ((8, 10_000), (3, 10_000), (8, 60), (1, 10_000)):
        batches = [collate(made.table, part, per_token) for part in split_step(rows, made.table.lengths, size, tokens)]
        made.runner.zero_grad()
        loss = made.runner.backward(batches)
        found.append((len(batches), loss, {name: p.grad.clone() for name, p in made.runner.named()}))
    assert len({count for count, *_ in found}) >= 3
    _, loss, wanted = found[0]
    scale = max(float(g.abs().max()) for g in wanted.values())
    for _, other, gradients in found[1:]:
        assert other == pytest.approx(loss, rel=1e-5)
        for name, gradient in gradients.items():
            torch.testing.assert_close(gradient, wanted[name], rtol=1e-3, atol=1e-6 * scale)


def test_extract_divides_by_all_tokens_not_by_rows(base: Any) -> None:
    made = parts(base("toy").path, "extract")
    lengths = made.table.lengths
    rows = np.array([int(lengths.argmin()), int(lengths.argmax())])
    assert lengths[rows[0]] != lengths[rows[1]]
    made.model.eval()
    both = [collate(made.table, rows[i : i + 1], True) for i in range(2)]
    with torch.no_grad():
        sums = [float(made.runner.task.loss_sum(made.runner.forward(b), b.targets, b.weights)) for b in both]
    counts = [b.weight_sum for b in both]
    loss = made.runner.backward(both)
    assert loss == pytest.approx(sum(sums) / sum(counts), rel=1e-5)
    assert abs(loss - (sums[0] / counts[0] + sums[1] / counts[1]) / 2) > 1e-4, "the two means must differ here"


@pytest.mark.parametrize("method", ["full", "lora", "head"])
def test_whole_runs_1x8_equals_8x1(toy: TrainToy, method: str) -> None:
    common = {"head.dropout": 0.0, "method": {"kind": method}, "train.learning_rate": 1e-4}
    found = []
    for size, accumulate in ((8, 1), (1, 8), (4, 2)):
        recipe = toy.recipe(**common, **{"train.batch_size": size, "train.accumulate": accumulate})
        trained = toy.train(recipe)
        found.append((state(trained), losses(trained.run)))
    assert len(found[0][1]) == 6
    for other, curve in found[1:]:
        assert farthest(found[0][0], other) < 2e-6
        assert curve == pytest.approx(found[0][1], rel=1e-5)


def test_a_step_without_targets_is_refused(base: Any) -> None:
    made = parts(base("toy").path)
    made.table.weights[:] = 0
    with pytest.raises(TrainingError) as caught:
        made.runner.backward([collate(made.table, np.arange(4), False)])
    assert caught.value.code == "gate_g2"


def test_balanced_weights_are_those_of_scikit_learn(base: Any) -> None:
    made = parts(base("toy").path, count=11)
    made.table.targets[:8] = 0
    wanted = compute_class_weight("balanced", classes=np.array([0.0, 1.0]), y=made.table.targets)
    assert Classify.balance(made.table, 2, False) == pytest.approx(wanted.tolist())
    logits, targets = torch.randn(11, 2), torch.from_numpy(made.table.targets)
    task = Classify(False, torch.tensor(wanted, dtype=torch.float32))
    reference = torch.nn.functional.cross_entropy(
        logits, targets.long(), weight=torch.tensor(wanted, dtype=torch.float32), reduction="sum"
    )
    torch.testing.assert_close(task.loss_sum(logits, targets, torch.ones(11)), reference)


def test_several_labels_of_which_there_is_one(base: Any) -> None:
    """Tags that hold or do not: one output, and a flat array of targets."""
    task = Classify(True)
    logits, targets = torch.randn(4, 1), torch.tensor([1.0, 0.0, 1.0, 1.0])
    reference = torch.nn.functional.binary_cross_entropy_with_logits(logits[:, 0], targets, reduction="sum")
    torch.testing.assert_close(task.loss_sum(logits, targets, torch.ones(4)), reference)


def test_standardised_scores_make_the_unit_irrelevant(base: Any) -> None:
    table = parts(base("toy").path, "regress", count=30).table
    assert abs(float(table.targets.mean())) < 1e-5
    assert float(table.targets.std()) == pytest.approx(1, rel=1e-4)
    assert min(sample.target[0] for sample in samples("regress", 30)) >= 100  # type: ignore[index]


def test_a_seed_like_a_date(toy: TrainToy) -> None:
    """torch refuses seeds above 2**64, and ours are multiplied."""
    trained = toy.train(toy.recipe(**{"train.seed": 20260131, "train.epochs": 1}))
    assert trained.progress.step == 3

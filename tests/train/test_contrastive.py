"""Training on pairs: the loss of sentence-transformers, plans that cover every row, resumes, learns."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from toy import Crash, TrainToy, equal, losses, rows, state, write

from luthier.core.errors import RecipeError
from luthier.core.recipe import ContrastiveSpec, Recipe
from luthier.core.rundir import RunDir
from luthier.train.contrastive import cosine_loss, plan_pairs, steps_of
from luthier.train.run import Trained

PAIRS = {"train.contrastive": {"passes": 2}, "train.epochs": 3, "train.patience": 0}


class Stub(torch.nn.Module):
    """What a SentenceTransformer is to its loss: features in, the embedding among them."""

    def forward(self, features: dict[str, Any]) -> dict[str, Any]:
        return {"sentence_embedding": features["vectors"]}


def reference(vectors: torch.Tensor, pairs: list[tuple[int, int]], targets: list[float]) -> torch.Tensor:
    """CosineSimilarityLoss of sentence-transformers on these pairs."""
    from sentence_transformers.sentence_transformer.losses import CosineSimilarityLoss

    sides = [{"vectors": vectors[[pair[side] for pair in pairs]]} for side in (0, 1)]
    found: torch.Tensor = CosineSimilarityLoss(Stub())(sides, torch.tensor(targets))
    return found


@pytest.mark.parametrize("labels", [[0, 0, 0], [0, 1, 2], [0, 0, 1, 1, 2, 2, 0]])
def test_loss_and_gradient_are_those_of_sentence_transformers(labels: list[int]) -> None:
    generator = torch.Generator().manual_seed(3)
    ours = torch.randn(len(labels), 16, generator=generator, requires_grad=True)
    theirs = ours.detach().clone().requires_grad_()
    pairs = [(i, j) for i in range(len(labels)) for j in range(i + 1, len(labels))]
    kinds = [[pair for pair in pairs if (labels[pair[0]] == labels[pair[1]]) is same] for same in (True, False)]
    both = zip(kinds, (1.0, 0.0), strict=True)
    parts = [reference(theirs, kind, [target] * len(kind)) for kind, target in both if kind]
    expected = torch.stack(parts).mean()
    found = cosine_loss(ours, torch.tensor(labels))
    torch.testing.assert_close(found, expected)
    found.backward()
    expected.backward()
    torch.testing.assert_close(ours.grad, theirs.grad)


def test_as_many_pairs_of_each_kind_weigh_as_one_set() -> None:
    vectors = torch.randn(4, 8, generator=torch.Generator().manual_seed(0))
    kept = [(0, 1), (2, 3), (0, 2), (0, 3), (1, 2), (1, 3)]
    doubled = [(0, 1), (2, 3)] * 2 + kept[2:]
    expected = reference(vectors, doubled, [1.0] * 4 + [0.0] * 4)
    torch.testing.assert_close(cosine_loss(vectors, torch.tensor([0, 0, 1, 1])), expected)


@pytest.mark.parametrize(("count", "per_step"), [(2, 8), (17, 8), (33, 32), (100, 16)])
def test_a_plan_holds_every_row_in_every_pass(count: int, per_step: int) -> None:
    generator = np.random.default_rng(count)
    labels, lengths = generator.integers(0, 5, count), generator.integers(3, 40, count)
    spec = ContrastiveSpec(passes=3)
    plan = plan_pairs(labels, lengths, per_step, spec, seed=1, epoch=0)
    assert len(plan) == 3 * steps_of(count, per_step)
    assert np.bincount(np.concatenate(plan), minlength=count).tolist() == [3] * count
    assert all(2 <= len(step) <= per_step + 1 for step in plan)
    assert lengths[plan[0]].sum() == max(lengths[step].sum() for step in plan)
    same = plan_pairs(labels, lengths, per_step, spec, seed=1, epoch=0)
    assert all(np.array_equal(a, b) for a, b in zip(plan, same, strict=True))
    if count > 2:
        other = plan_pairs(labels, lengths, per_step, spec, seed=1, epoch=1)
        assert np.concatenate(other).tolist() != np.concatenate(plan).tolist()


def test_rows_meet_their_label() -> None:
    labels = np.repeat(np.arange(20), 6)
    for per_label in (2, 3):
        spec = ContrastiveSpec(rows_per_label=per_label, passes=1)
        plan = plan_pairs(labels, np.ones(120, np.int64), 12, spec, seed=0, epoch=0)
        meets = [np.count_nonzero(labels[step] == labels[row]) >= per_label for step in plan for row in step]
        assert all(meets)


def _likeness(trained: Trained, toy: TrainToy) -> float:
    """Mean cosine similarity of pairs of one label minus that of pairs of two labels."""
    from luthier.models.predictor import TunedModel

    trained.export()
    found = TunedModel.load(trained.run.path).embed([row["text"] for row in rows("classify", 24)])
    unit = torch.nn.functional.normalize(torch.from_numpy(found), dim=1)
    same = torch.arange(24).unsqueeze(1) % 2 == torch.arange(24) % 2
    likeness = unit @ unit.T
    return float(likeness[same].mean() - likeness[~same].mean())


@pytest.mark.parametrize("method", ["full", "lora"])
def test_it_learns(toy: TrainToy, method: str) -> None:
    still = toy.recipe(method=method, **PAIRS, **{"train.learning_rate": 1e-12})
    moved = toy.recipe(method=method, **{**PAIRS, "train.learning_rate": 1e-2, "train.epochs": 12})
    before, after = toy.train(still), toy.train(moved, preflight=True)
    assert _likeness(after, toy) > _likeness(before, toy) + 0.5
    assert losses(after.run)[-1] < 0.3 * losses(before.run)[-1]
    assert after.progress.best_value is not None
    assert after.progress.best_value > 0.9
    assert (after.recipe.head.fit, after.recipe.head.pooling) == ("closed", "mean")


def test_killed_and_resumed_equals_uninterrupted(toy: TrainToy) -> None:
    recipe = toy.recipe(**PAIRS, **{"train.save_every_steps": 2})
    whole = toy.train(recipe)
    for after in (1, 5, 9):
        folder = toy.folder / f"killed-{after}"
        with pytest.raises(Crash):
            toy.train(recipe, folder, crash_after=after)
        again = toy.train(recipe, folder, resume=True)
        assert equal(state(whole), state(again))
        assert losses(again.run) == losses(whole.run)


def test_it_is_deterministic_and_the_seed_matters(toy: TrainToy) -> None:
    first, second = toy.train(toy.recipe(**PAIRS)), toy.train(toy.recipe(**PAIRS))
    assert equal(state(first), state(second))
    assert not equal(state(first), state(toy.train(toy.recipe(**PAIRS, **{"train.seed": 3}))))


def test_a_checkpoint_of_other_pairs_is_refused(toy: TrainToy) -> None:
    from luthier.core.errors import TrainingError

    folder = toy.folder / "one"
    toy.train(toy.recipe(**PAIRS), folder)
    changed = toy.recipe(**PAIRS).replace(**{"train.contrastive.rows_per_label": 3})
    with pytest.raises(TrainingError) as caught:
        toy.train(changed, folder, resume=True)
    assert caught.value.code == "checkpoint_of_other_run"


@pytest.mark.parametrize(
    ("task", "changes"),
    [
        ("classify", {"method": "head"}), ("classify", {"head.fit": "steps"}), ("several", {}), ("regress", {}),
        ("extract", {}),
    ],
)  # fmt: skip
def test_where_it_does_not_fit_it_says_so(toy: TrainToy, task: str, changes: dict[str, Any]) -> None:
    with pytest.raises(RecipeError) as caught:
        toy.train(toy.recipe(task, **{"train.contrastive": True, **changes}))
    assert caught.value.code == "contrastive_does_not_fit"


def test_short_and_long_form() -> None:
    built = [Recipe.build({"data": "x", "train": {"contrastive": value}}) for value in (True, {}, False, None)]
    assert [recipe.train.contrastive is not None for recipe in built] == [True, True, False, False]
    with pytest.raises(RecipeError, match="rows_per_label"):
        Recipe.build({"data": "x", "train": {"contrastive": {"rows_per_labels": 2}}})
    with pytest.raises(RecipeError):
        Recipe.build({"data": "x", "train": {"contrastive": {"rows_per_label": 1}}})


def test_a_label_with_one_row_is_no_obstacle(toy: TrainToy) -> None:
    lonely = [*rows("classify", 10), {"text": "my parcel again", "label": "other"}]
    path = write(toy.folder / "lonely.jsonl", lonely)
    trained = toy.train(toy.recipe(**PAIRS, **{"data.train": str(path)}))
    assert trained.coder is not None
    assert len(trained.coder.labels) == 3


def test_the_run_folder_is_an_ordinary_one(toy: TrainToy) -> None:
    import luthier

    run = luthier.train(toy.recipe(**PAIRS, **{"evaluate.baselines": ["majority"], "evaluate.bootstrap": 100}))
    assert luthier.load(run.path).predict(["thank my parcel"])[0].label in ("good", "bad")
    written = Recipe.from_yaml(RunDir(run.path).recipe_yaml)
    assert written.train.contrastive == ContrastiveSpec(passes=2)

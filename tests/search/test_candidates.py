"""What is tried: for every task something, each once, and recipes that exist."""

from __future__ import annotations

import pytest

from luthier.core.recipe import LANGUAGE_TASKS, Recipe
from luthier.search.candidates import Candidate, Facts, candidates, linear, neighbours


def built(candidate: Candidate, task: str) -> Recipe:
    recipe = Recipe.build({"data": "x.csv", "task": task})
    for key, value in candidate.changes.items():
        recipe = recipe.replace(**{key: value})
    return recipe


@pytest.mark.parametrize("task", ["classify", "regress", "extract", "chat", "complete"])
@pytest.mark.parametrize("rows", [20, 300, 100_000])
def test_every_candidate_is_a_recipe_of_its_own(task: str, rows: int) -> None:
    found = candidates(Facts(task, rows, labels=4 if task == "classify" else 0))
    if task not in LANGUAGE_TASKS:
        found.append(linear())
    assert len({one.name for one in found}) == len(found)
    recipes = [built(one, task).to_yaml() for one in found]
    assert len(set(recipes)) == len(recipes)
    assert all(one.cost > 0 for one in found)


def kinds(facts: Facts) -> set[str]:
    return {one.kind for one in candidates(facts)}


def test_what_the_task_is_about_is_there() -> None:
    few = kinds(Facts("classify", 64, labels=8))
    assert few >= {"linear", "pairs full", "pairs lora", "full", "lora", "adapter", "bitfit", "frozen"}
    ranks = {one.changes["method"]["rank"] for one in candidates(Facts("chat", 99)) if one.kind == "lora"}
    assert len(ranks) >= 3
    assert kinds(Facts("chat", 99)) == {"full", "lora", "frozen"}


@pytest.mark.parametrize(
    "facts",
    [
        Facts("classify", 64, labels=8, several_labels=True), Facts("regress", 64), Facts("extract", 64, labels=3),
        Facts("classify", 10_000, labels=77), Facts("classify", 500, labels=2),
    ],
)  # fmt: skip
def test_pairs_only_where_there_are_few_rows_with_one_label(facts: Facts) -> None:
    assert not any(kind.startswith("pairs") for kind in kinds(facts))


def test_fewer_rows_get_more_passes() -> None:
    def passes(rows: int) -> int:
        pairs = next(one for one in candidates(Facts("classify", rows, labels=40)) if one.kind == "pairs full")
        return int(pairs.changes["train.contrastive"]["passes"])

    assert passes(80) > passes(1000) == 1


def test_when_the_list_is_done_the_winner_is_varied() -> None:
    best = next(one for one in candidates(Facts("classify", 5000, labels=2)) if one.name == "lora, rank 16, rate x 2")
    tried = [best.name]
    seen: set[float] = {2.0}
    for _ in range(4):
        more = next(neighbours(best, tried))
        times = more.changes["train.learning_rate_multiplier"]
        assert more.changes["method"] == best.changes["method"]
        assert times not in seen
        seen.add(times)
        tried.append(more.name)
    assert list(neighbours(best, tried)) == []
    assert list(neighbours(linear(), [])) == []

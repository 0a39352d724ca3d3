"""What is tried: for every task something, each once, and recipes that exist."""

from __future__ import annotations

import pytest

from luthier.core.recipe import LANGUAGE_TASKS, Recipe
from luthier.search.candidates import Candidate, Facts, candidates, first_of, linear, neighbours, next_of


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
        assert found[0] == linear()
    assert len({one.name for one in found}) == len(found)
    recipes = [built(one, task).to_yaml() for one in found]
    assert len(set(recipes)) == len(recipes)
    assert all(one.cost > 0 for one in found)


@pytest.mark.parametrize(
    ("facts", "rows"),
    [
        (Facts("classify", 1_535, labels=4), None), (Facts("classify", 1_536, labels=4), 512),
        (Facts("classify", 9_000, labels=77), 616), (Facts("regress", 100_000), 512),
        (Facts("extract", 40_000, labels=3), 512), (Facts("chat", 9_000), None),
    ],
)  # fmt: skip
def test_of_many_rows_the_first_model_learns_from_a_few(facts: Facts, rows: int | None) -> None:
    first = first_of(facts)
    if rows is None:
        assert first == candidates(facts)[0]
        return
    assert first.name == f"linear head, {rows} rows"
    assert built(first, facts.task).data.share * facts.rows == pytest.approx(rows, rel=0.01)
    assert first.cost == pytest.approx(rows / facts.rows, rel=0.01)
    assert {**first.changes, "data.share": None} == {**linear().changes, "data.share": None}
    assert linear() in candidates(facts)  # all rows come next


@pytest.mark.parametrize(
    ("fit", "name"),
    [(9_000, "linear head"), (1_848, "linear head, 1,848 rows"), (1_800, None), (0, None)],
)
def test_after_a_few_rows_come_as_many_as_time_allows(fit: int, name: str | None) -> None:
    facts = Facts("classify", 9_000, labels=77)
    following = next_of(facts, first_of(facts), fit)
    assert (following.name if following else None) == name
    if following is not None:
        assert built(following, "classify").data.share * 9_000 == pytest.approx(fit, rel=0.01)
    assert next_of(facts, linear(), 9_000) is None


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

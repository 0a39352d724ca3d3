"""How each arm is built: what a decision tries, in the order of promise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from luthier.approaches.answering import Answered, Approach
from luthier.approaches.arm import Family
from luthier.approaches.described import FORMS, Described
from luthier.approaches.mixture import Mixture
from luthier.approaches.nearest import Nearest
from luthier.approaches.prompted import MOST_SCORED
from luthier.data.samples import Sample
from luthier.deciding.asked import (
    assistant,
    few_shot,
    instructed,
    nearest_passage,
    own_assistant,
    rag,
    rag_on_tuned,
    zero_shot,
)
from luthier.deciding.built import Built, best_tuned
from luthier.deciding.training import approach_of, train_arm
from luthier.deciding.workshop import Workshop
from luthier.evaluate.baselines import Majority
from luthier.evaluate.linear import FrozenFeatures, TfidfBaseline

NEIGHBOURS = (1, 3, 5, 10)
SHARES = (0.25, 0.5, 0.75)
"""Of the tuned model in a mixture with its nearest rows."""


@dataclass(frozen=True)
class Plan:
    """An arm that is to be built."""

    name: str
    family: Family
    build: Callable[[Workshop], Built]


def plans_for(
    shop: Workshop, *, hosted: bool, only: tuple[str, ...] = (), assistant_file: str | None = None
) -> list[Plan]:
    """The arms of a task, the cheap and promising first; `only` names those that are wanted.

    Args:
        hosted: whether the model that is asked in words is one behind an endpoint.
        assistant_file: of the user's own assistant, in place of the one that is put together here.
    """
    found = _writing_plans(shop) if shop.writes else _label_plans(shop, hosted)
    if assistant_file is not None:
        found = [plan for plan in found if plan.name != "assistant"]
        found.append(Plan("assistant", "assistant", own_assistant(assistant_file)))
    return [plan for plan in found if not only or plan.name in only or plan.family in only]


def _label_plans(shop: Workshop, hosted: bool) -> list[Plan]:
    form = shop.rows.form
    found = [
        Plan("majority", "baseline", lambda shop: _fitted(shop, "majority")),
        Plan("dictionary" if form.task == "extract" else "tfidf", "baseline", lambda shop: _fitted(shop, "tfidf")),
    ]
    if form.task != "extract":
        found += [
            Plan("frozen", "baseline", lambda shop: _fitted(shop, "frozen")),
            Plan("nearest rows", "retrieval", _nearest_rows),
        ]
    if form.task == "classify" and not form.several_labels:
        found.append(Plan("labels described", "prompt", _described))
    asked = [
        Plan("zero-shot prompt", "prompt", zero_shot),
        Plan("few-shot prompt", "prompt", few_shot),
        Plan("chosen instruction", "prompt", instructed),
    ]
    # a small base of our own cannot be asked for numbers or spans: its answers would be noise that takes minutes
    few_labels = form.task == "classify" and len(form.labels) <= MOST_SCORED and not form.several_labels
    if hosted:
        found += [*asked, Plan("assistant", "assistant", assistant)]
    found += [_training("head"), _training("lora"), _training("full")]
    if form.task != "extract":
        found.append(Plan("tuned with nearest rows", "fine-tuning", _tuned_with_rows))
    return [*found, *asked] if few_labels and not hosted else found


def _writing_plans(shop: Workshop) -> list[Plan]:
    found = [
        Plan("nearest answer", "retrieval", _nearest_rows),
        Plan("zero-shot prompt", "prompt", zero_shot),
        _training("lora"),
        Plan("few-shot prompt", "prompt", few_shot),
        Plan("rag", "retrieval", rag),
        _training("full"),
        Plan("rag on tuned", "fine-tuning", rag_on_tuned),
        Plan("chosen instruction", "prompt", instructed),
        Plan("assistant", "assistant", assistant),
    ]
    if shop.documents:
        found.insert(1, Plan("nearest passage", "retrieval", nearest_passage))
    return found


def _fitted(shop: Workshop, name: str) -> Built:
    form = shop.rows.form
    known: dict[str, Any] = {"labels": form.labels, "several_labels": form.several_labels}
    if name == "majority":
        return Built(Answered(Majority(form.task, **known).fit(shop.rows.train)), "always the most frequent answer")
    if name == "tfidf":
        what = "the words of the training spans" if form.task == "extract" else "a linear model on word counts"
        return Built(Answered(TfidfBaseline(form.task, **known).fit(shop.rows.train)), what)
    embed: Any = shop.embed
    fitted = FrozenFeatures(form.task, embed, **known).fit(shop.rows.train)
    return Built(Answered(fitted), f"a linear model on {shop.encoder_name}'s vectors")


def _described(shop: Workshop) -> Built:
    labels = shop.rows.form.labels
    candidates = [(form, Described(shop.embed, labels, form=form)) for form in FORMS]
    form, approach = shop.best(candidates)
    return Built(approach, f"nearest in meaning to {form!r}, by {shop.encoder_name}")


def _nearest_rows(shop: Workshop) -> Built:
    index, rows = shop.row_index, shop.rows.train
    searches = index.searches
    counts = (1,) if shop.writes else tuple(count for count in NEIGHBOURS if count <= len(rows))
    settings = {(how, count): f"{count} by {how}" for how in searches for count in counts}
    candidates = [(name, Nearest(index, rows, shop.asking, key[1], key[0])) for key, name in settings.items()]
    name, approach = shop.best(candidates)
    how, count = next(key for key, told in settings.items() if told == name)

    def change(altered: dict[int, Sample]) -> Approach:
        new, changed = shop.changed_index(altered)
        return Nearest(new, changed, shop.asking, count, how)

    return Built(approach, f"{name} of {len(rows):,} rows", change)


def _training(method: str) -> Plan:
    names = {"head": "head only", "lora": "LoRA", "full": "full fine-tuning"}

    def build(shop: Workshop) -> Built:
        model, run = train_arm(shop.recipe(method), max(1.0, shop.left), shop.listener)
        approach = approach_of(model, shop.rows.task, shop.max_tokens)
        shop.tuned[method] = model, approach
        return Built(approach, names[method], run=run)

    return Plan(names[method], "fine-tuning", build)


def _tuned_with_rows(shop: Workshop) -> Built:
    method, _, approach = best_tuned(shop)
    near = _nearest_rows(shop)
    name, mixture = shop.best([(f"{share:g}", Mixture(approach, near.approach, share)) for share in SHARES])

    def change(altered: dict[int, Sample]) -> Approach:
        assert near.change is not None
        return Mixture(approach, near.change(altered), float(name))

    return Built(mixture, f"{name} of {method}, the rest of the nearest rows ({near.detail})", change)

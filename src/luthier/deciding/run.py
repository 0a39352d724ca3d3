"""`luthier decide`: the arms, one after another, within a budget; each judged on the same rows; and the verdict."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from luthier.approaches.answering import Approach
from luthier.approaches.arm import Arm, Prices
from luthier.approaches.assistant_file import read_assistant
from luthier.approaches.changes import altered_rows, following
from luthier.approaches.chat_model import ChatModel
from luthier.approaches.documents import read_documents
from luthier.approaches.endpoint import Endpoint
from luthier.approaches.scored import Scorer, answerable
from luthier.approaches.verdict import Decision, verdict
from luthier.approaches.wording import TERMINAL, Wording
from luthier.core import clock, durable
from luthier.core.errors import Interrupted, LuthierError, UsageError
from luthier.core.events import Event, Listener, ignore
from luthier.core.rundir import RunDir
from luthier.data.dataset import Dataset
from luthier.data.samples import Sample
from luthier.deciding.answers import write_answers
from luthier.deciding.built import Built, NothingTuned
from luthier.deciding.decided import Decided
from luthier.deciding.kept import KeptArms
from luthier.deciding.page import page_of
from luthier.deciding.plans import Plan, plans_for
from luthier.deciding.rows import DecisionRows, open_rows
from luthier.deciding.training import OutOfTime
from luthier.deciding.workshop import Workshop
from luthier.evaluate.intervals import decide as decide_pair

BUDGET_SECONDS = 600.0
_AT_ONCE = 32
"""Rows that are answered between two looks at the clock and at the best arm."""
_FEWEST_TO_DROP = 96
_SURE = 0.001
_SINGLE_REQUESTS = 7
"""Requests that are answered one by one, for the latency."""
GENERATOR = "luthier-nano"


def decide(
    data: str | Path | Sequence[str | Path],
    *,
    task: str = "auto",
    columns: dict[str, Any] | None = None,
    test: str | Path | None = None,
    model: str | None = None,
    generator: str | None = None,
    endpoint: str | None = None,
    name: str | None = None,
    key_variable: str = "OPENAI_API_KEY",
    knowledge: Sequence[str | Path] = (),
    budget: float = BUDGET_SECONDS,
    arms: Sequence[str] = (),
    prices: Prices | None = None,
    overrides: Sequence[str] = (),
    seed: int = 0,
    out: str | Path = "decisions",
    confirm: str | Path | None = None,
    assistant: str | Path | None = None,
    folder: str | Path | None = None,
    wording: Wording = TERMINAL,
    listener: Listener = ignore,
) -> Decided:
    """Build and judge prompt, retrieval, assistant and fine-tuning on the same held-out rows.

    Args:
        test: rows to judge on; without it a quarter of the data is held out.
        model: the base that is tuned; minilm, or luthier-nano for texts.
        generator: a local base that is asked in words; luthier-nano. `endpoint` and `name` put a model behind an
            OpenAI-compatible endpoint in its place, with the key in the environment's `key_variable`.
        knowledge: files and folders to search in; without them the training rows are searched.
        budget: seconds for everything; arms that do not fit are reported as not run.
        arms: names or families of the arms that are wanted; all where it is empty.
        overrides: of the trainings' recipes, "train.epochs=5".
        assistant: an assistant's YAML file, as an arm of its own (tasks whose answers are texts).
        confirm: more rows, on which all arms are scored after the verdict, to see whether it holds.
        folder: the folder itself, in the place of a new one in `out`; a decision that was stopped there goes on with
            the arms that it has not measured yet.
        wording: how the verdict and the notes call what can be asked for.

    Raises:
        DataError, UsageError: before anything is built.
    """
    began = clock.monotonic()
    apart = None if test is None else _plain(test)
    rows = open_rows(_plain(data), task=task, columns=columns, test=apart, seed=seed, wording=wording)
    documents, notes = read_documents(knowledge) if knowledge else ([], [])
    notes = [*rows.notes, *(f"Knowledge that was passed over: {note}." for note in notes)]
    chat = _chat(endpoint, name, key_variable, generator)
    first = Path(str(data if isinstance(data, str | Path) else data[0])).name
    path = Path(folder) if folder is not None else RunDir.create(out, f"{first.split('.')[0] or 'data'}-decide").path
    kept = KeptArms(durable.make_folder(path))
    began -= kept.seconds()
    prices = prices or Prices()
    hosted = chat() if endpoint is not None else None
    if isinstance(hosted, Endpoint) and hosted.on_this_machine and prices.prompt is prices.completion is None:
        prices = replace(prices, prompt=0.0, completion=0.0)
    shop = Workshop(rows, path, model, chat, documents, prices, seed, began + budget, overrides, listener=listener)
    own = None if assistant is None else str(assistant)
    if own is not None:
        read_assistant(own)
        if not shop.writes:
            raise UsageError(
                f"an assistant answers in texts, and these rows are for {rows.task}.", remedy="Leave --assistant out.",
                code="not_language_data", param="assistant",
            )  # fmt: skip
    plans = plans_for(shop, hosted=endpoint is not None, only=tuple(arms), assistant_file=own)
    if not plans:
        known = ", ".join(plan.name for plan in plans_for(shop, hosted=endpoint is not None))
        raise UsageError(
            f"there is no arm {', '.join(arms)!r} for {rows.task}.", remedy=f"There are: {known}.", code="unknown_arm",
            param="arms",
        )  # fmt: skip
    counts = f"{len(rows.train):,} training, {len(rows.validation):,} validation, {len(rows.held_out):,} held-out rows"
    listener(Event("message", f"{rows.task}: {counts}; {len(plans)} arms, judged by {shop.judged.metric}."))
    shop.recipe("lora")  # a mistake in the overrides is told before anything is built
    altered = altered_rows(rows.train, shop.asking, seed) if rows.task != "extract" else {}
    found: list[Arm] = []
    approaches: dict[str, Approach] = {}
    for number, plan in enumerate(plans):
        earlier = kept.get(number, plan.name, shop)
        arm, approach = (earlier, None) if earlier is not None else _one(plan, shop, found, altered)
        found.append(arm)
        if earlier is None:
            kept.put(number, arm)
            listener(Event("message", _line(arm, shop.judged), "warn" if arm.state == "failed" else "info"))
        if approach is not None:
            approaches[arm.name] = approach
        about = {"arm": arm.to_dict(shop.prices), "metric": shop.judged.metric}
        listener(Event("arm", data={**about, "done": number + 1, "total": len(plans), "again": earlier is not None}))
    decision = verdict(found, shop.judged, shop.prices, rows=len(rows.held_out), wording=wording)
    confirmed = None
    if confirm is not None:
        confirmed = _confirm(confirm, rows, columns, found, approaches, decision, seed)
    seconds = clock.monotonic() - began
    decided = Decided(path, rows, found, decision, shop.prices, shop.judged.metric, notes, seconds, confirmed)
    _write(decided)
    return decided


def _plain(source: str | Path | Sequence[str | Path]) -> str | list[str]:
    return str(source) if isinstance(source, str | Path) else [str(item) for item in source]


def _chat(endpoint: str | None, name: str | None, key_variable: str, generator: str | None) -> Callable[[], ChatModel]:
    if endpoint is not None:
        hosted = Endpoint(endpoint, name or "", key_variable=key_variable)
        return lambda: hosted

    def local() -> ChatModel:
        from luthier.deciding.local_model import LocalModel

        return LocalModel.base(generator or GENERATOR)

    return local


def _one(plan: Plan, shop: Workshop, before: Sequence[Arm], altered: dict[int, Sample]) -> tuple[Arm, Approach | None]:
    arm = Arm(plan.name, plan.family)
    if shop.left <= 0:
        arm.state, arm.why = "not run", "the budget was used up"
        return arm, None
    began = clock.monotonic()
    try:
        built = plan.build(shop)
        arm.build_seconds = clock.monotonic() - began
        arm.build_usage = built.approach.usage.copy()
        arm.detail, arm.run = built.detail, built.run
        _answer(arm, built.approach, shop, before)
        if arm.state == "measured":
            _time_single(arm, built.approach, shop)
            arm.following = _following(built, shop, altered)
        return arm, built.approach
    except OutOfTime as error:
        arm.state, arm.why = "not run", f"it would need about {error.seconds:.0f} s, more than was left of the budget"
    except NothingTuned:
        arm.state, arm.why = "not run", "no training ended within the budget"
    except Interrupted:
        raise
    except LuthierError as error:
        arm.state, arm.why = "failed", str(error)
    arm.build_seconds = clock.monotonic() - began
    arm.predictions, arm.score = [], None
    return arm, None


def _answer(arm: Arm, approach: Approach, shop: Workshop, before: Sequence[Arm]) -> None:
    """Answer the held-out rows piece by piece; an arm that surely cannot win any more is dropped."""
    judged = shop.judged
    whole = [other for other in before if other.state == "measured" and other.rows == len(judged.samples)]
    best = max(whole, key=lambda other: judged.value(other.predictions), default=None)
    used = approach.usage.copy()
    began = clock.monotonic()
    while arm.rows < len(judged.samples):
        arm.predictions += approach.answer(judged.samples[arm.rows : arm.rows + _AT_ONCE])
        if arm.rows >= len(judged.samples):
            break
        if shop.left <= 0:
            arm.state, arm.why = "dropped", f"the budget was used up after {arm.rows:,} rows"
            break
        if best is not None and arm.rows >= _FEWEST_TO_DROP and arm.rows % _FEWEST_TO_DROP == 0:
            test = judged.compare(arm.predictions, best.predictions)
            if test.difference.high < 0 and test.p_value < _SURE:
                arm.state, arm.why = "dropped", f"after {arm.rows:,} rows it could not catch up with {best.name}"
                break
    arm.answer_seconds = clock.monotonic() - began
    arm.usage = approach.usage.copy() - used
    arm.score = judged.score(arm.predictions)


def _time_single(arm: Arm, approach: Approach, shop: Workshop) -> None:
    times = []
    for sample in shop.judged.samples[:_SINGLE_REQUESTS]:
        began = clock.monotonic()
        approach.answer([sample])
        times.append(clock.monotonic() - began)
        if shop.left <= 0:
            break
    arm.latency_ms = 1000 * statistics.median(times)


def _following(built: Built, shop: Workshop, altered: dict[int, Sample]) -> Any:
    if shop.left <= 0:
        return None
    return following(built.change, built.approach, shop.rows.train, altered, shop.asking)


def _confirm(
    place: str | Path,
    rows: DecisionRows,
    columns: dict[str, Any] | None,
    arms: Sequence[Arm],
    approaches: dict[str, Approach],
    decision: Decision,
    seed: int,
) -> dict[str, Any]:
    """How the arms do on rows that the verdict did not see."""
    dataset = Dataset.open(str(place), task=rows.task, columns=columns)
    if rows.task == "classify":
        dataset.several_labels = rows.form.several_labels
    scorer = Scorer(rows.form, answerable(list(dataset.samples())), seed=seed)
    answers = {
        arm.name: approaches[arm.name].answer(scorer.samples) for arm in arms if arm.state == "measured" and arm.score
    }
    values = {name: scorer.value(found) for name, found in answers.items()}
    for arm in arms:
        if arm.name in values:
            arm.second_half = values[arm.name] if scorer.higher_is_better else -values[arm.name]
    best = max(values, key=lambda name: values[name], default=None)
    chosen = decision.arm.name if decision.arm else None
    if best is None or chosen not in answers:
        return {"rows": len(scorer.samples), "best": best, "chosen": chosen, "verdict": None}
    test = scorer.compare(answers[chosen], answers[best])
    verdict = "best" if values[chosen] == values[best] else decide_pair(test.difference, test.p_value)
    return {"rows": len(scorer.samples), "best": best, "chosen": chosen, "verdict": verdict}


def _line(arm: Arm, judged: Scorer) -> str:
    from luthier.evaluate.report import told

    if arm.score is None:
        return f"{arm.name}: {arm.state}: {arm.why}"
    value = arm.score.interval
    figures = [told(judged.metric, number) for number in (value.value, value.low, value.high)]
    text = f"{arm.name}: {figures[0]} ({figures[1]} to {figures[2]})"
    return text + (f"; {arm.state}: {arm.why}" if arm.why else "")


def _write(decided: Decided) -> None:
    write_answers(decided.path / "answers.jsonl", decided.rows, decided.arms)
    durable.write_json(decided.path / "decision.json", decided.to_dict())
    durable.write_text(decided.path / "decision.html", page_of(decided))

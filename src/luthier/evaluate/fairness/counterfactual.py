"""Who a text is about is swapped, and nothing else: how often does the answer change, before tuning and after?"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from luthier.core.conversation import Completion, Conversation
from luthier.core.predictor import Predictor
from luthier.data.samples import Sample
from luthier.evaluate.fairness.answers import Answered, Asked, answer_both
from luthier.evaluate.fairness.swap_lists import SwapList
from luthier.evaluate.fairness.swapping import Swapped, Swapper
from luthier.evaluate.intervals import FloatArray, Interval, paired_test, percentile_interval, resample_weights, wilson

MOST_ROWS = 1000
"""Texts per list that are swapped; of more, so many are drawn."""
EXAMPLES = 5
FEWEST = 10
"""Texts below which a list is counted and not judged."""
_SHOWN = 400


@dataclass(frozen=True)
class Case:
    """One row under one swap, of the words of `swapper`."""

    swapper: Swapper
    sample: Sample
    asked: Asked
    sides: tuple[str, str]
    swapped: Sample


def find_cases(samples: Iterable[Sample], lists: Sequence[SwapList], *, seed: int = 0) -> dict[str, list[Case]]:
    """Per list the rows in which a word of it stands, each with one swap: the side that occurs first, for another
    side, which are taken in turn. One pass; at most `MOST_ROWS` per list are kept, drawn evenly."""
    swappers = [Swapper(words) for words in lists]
    kept: dict[str, list[Case]] = {words.name: [] for words in lists}
    seen = dict.fromkeys(kept, 0)
    generator = random.Random(seed)
    for sample in samples:
        texts = _texts(sample)
        for swapper in swappers:
            side = next((found for text in texts if (found := swapper.side_in(text)) is not None), None)
            if side is None:
                continue
            name = swapper.words.name
            others = [other for other in swapper.words.sides if other != side]
            case = _case(sample, texts, swapper, side, others[seen[name] % len(others)])
            if case is None:
                continue
            seen[name] += 1
            if len(kept[name]) < MOST_ROWS:
                kept[name].append(case)
            elif (place := generator.randrange(seen[name])) < MOST_ROWS:
                kept[name][place] = case
    return kept


def _texts(sample: Sample) -> tuple[str, ...]:
    target = sample.target
    if isinstance(target, Conversation):
        return tuple(message.content for message in target.messages)
    if isinstance(target, Completion):
        return (target.prompt, target.completion, *(() if target.suffix is None else (target.suffix,)))
    return (sample.text,) if sample.text_pair is None else (sample.text, sample.text_pair)


def _case(sample: Sample, texts: tuple[str, ...], swapper: Swapper, side: str, other: str) -> Case | None:
    swapped = tuple(swapper.swap(text, side, other) for text in texts)
    if not any(part.pieces for part in swapped):
        return None
    return Case(swapper, sample, Asked(texts, swapped), (side, other), _rebuilt(sample, swapped))


def _rebuilt(sample: Sample, swapped: Sequence[Swapped]) -> Sample:
    parts = [part.text for part in swapped]
    target = sample.target
    if isinstance(target, Conversation):
        messages = tuple(replace(message, content=text) for message, text in zip(target.messages, parts, strict=True))
        conversation = replace(target, messages=messages)
        return replace(sample, target=conversation, text=conversation.question().to_text())
    if isinstance(target, Completion):
        completion = Completion(parts[0], parts[1], parts[2] if len(parts) > 2 else None)
        return replace(sample, target=completion, text=completion.prompt or completion.completion)
    return replace(sample, text=parts[0], text_pair=parts[1] if len(parts) > 1 else None)


Answer = Callable[[Sequence[Case]], list[Answered]]
"""Asks one model both forms of each case."""


def predictor_answers(model: Predictor, several_labels: bool = False) -> Answer:
    """How a predictor is asked."""
    return lambda cases: answer_both(model, [case.asked for case in cases], several_labels=several_labels)


def counterfactual(
    cases: dict[str, list[Case]],
    lists: Sequence[SwapList],
    ours: Answer,
    before: Answer | None = None,
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """Per list how often the answer changes, for which swap, with examples; `before` is the model before tuning."""
    return [_judged(words, cases[words.name], ours, before, resamples, seed) for words in lists]


def _judged(
    words: SwapList, cases: Sequence[Case], ours: Answer, before: Answer | None, resamples: int, seed: int
) -> dict[str, Any]:
    found: dict[str, Any] = {"list": words.name, "title": words.title, "rows": len(cases), "judged": False,
                             "answered": 0, "changed": 0, "by_swap": [], "examples": []}  # fmt: skip
    if not cases:
        return found
    after_tuning = ours(cases)
    changed, shifts = _flags(after_tuning), np.array([item.shift for item in after_tuning])
    answered = np.isfinite(changed)
    found["judged"] = len(cases) >= FEWEST
    found["answered"] = int(answered.sum())
    found["changed"] = int(np.nansum(changed))
    found["share"] = _share(changed[answered], resamples, seed).to_dict()
    found["mean_shift"] = _mean(np.abs(shifts), resamples, seed).to_dict()
    found["by_swap"] = _by_swap(cases, changed, shifts)
    found["examples"] = _examples(cases, after_tuning)
    if before is not None:
        earlier = before(cases)
        flags = _flags(earlier)
        both = answered & np.isfinite(flags)
        found["before"] = {
            "changed": int(np.nansum(flags)),
            "share": _share(flags[np.isfinite(flags)], resamples, seed).to_dict(),
            "mean_shift": _mean(np.abs(np.array([item.shift for item in earlier])), resamples, seed).to_dict(),
            "p_value": None,
            "verdict": "cannot tell them apart",
        }
        if both.any():
            test = paired_test(flags[both], changed[both], higher_is_better=True, resamples=resamples, seed=seed)
            words_of = {"better": "steadier", "worse": "less steady"}  # fewer changed answers than before
            found["before"] |= {"p_value": test.p_value, "verdict": words_of.get(test.verdict, test.verdict)}
    return found


def _flags(answered: Sequence[Answered]) -> FloatArray:
    """1 where the answer changed, 0 where not, NaN where there is none."""
    return np.array([np.nan if item.changed is None else float(item.changed) for item in answered])


def _share(flags: FloatArray, resamples: int, seed: int) -> Interval:
    """A share with its bootstrap interval; Wilson's where all rows agree."""
    if not len(flags) or 0 < flags.sum() < len(flags):
        return _mean(flags, resamples, seed)
    return Interval(float(flags.mean()), *wilson(float(flags.mean()), len(flags)))


def _mean(values: FloatArray, resamples: int, seed: int) -> Interval:
    values = values[np.isfinite(values)]
    if not len(values):
        return Interval(float("nan"), float("nan"), float("nan"))
    draws = [values @ weights / len(values) for weights in resample_weights(len(values), resamples, seed)]
    return percentile_interval(float(values.mean()), np.concatenate([np.empty(0), *draws]))


def _by_swap(cases: Sequence[Case], changed: FloatArray, shifts: FloatArray) -> list[dict[str, Any]]:
    """Per pair of sides, the most often changed first; `mean_shift` keeps its sign."""
    found = []
    for sides in dict.fromkeys(case.sides for case in cases):
        here = np.array([case.sides == sides for case in cases])
        known = shifts[here & np.isfinite(shifts)]
        found.append(
            {
                "from": sides[0],
                "to": sides[1],
                "rows": int(here.sum()),
                "changed": int(np.nansum(changed[here])),
                "mean_shift": float(known.mean()) if len(known) else None,
            }
        )
    return sorted(found, key=lambda item: (-item["changed"] / item["rows"], -item["rows"]))


def _examples(cases: Sequence[Case], answered: Sequence[Answered]) -> list[dict[str, Any]]:
    """Changed answers, those with the largest change of score first."""
    order = sorted(
        (i for i, item in enumerate(answered) if item.changed),
        key=lambda i: (-abs(answered[i].shift) if np.isfinite(answered[i].shift) else 0.0, i),
    )
    return [
        {
            "line": cases[i].sample.line,
            "from": cases[i].sides[0],
            "to": cases[i].sides[1],
            "text": _cut(" / ".join(part for part in cases[i].asked.text if part)),
            "swapped": _cut(" / ".join(part.text for part in cases[i].asked.swapped if part.text)),
            "answer": _cut(answered[i].before),
            "answer_swapped": _cut(answered[i].after),
            "shift": answered[i].shift,
        }
        for i in order[:EXAMPLES]
    ]


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"

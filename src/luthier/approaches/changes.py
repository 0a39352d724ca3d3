"""What an approach makes of changed knowledge: facts are altered in what it looks things up in, and asked again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from luthier.approaches.answering import Approach
from luthier.approaches.arm import Following
from luthier.approaches.questions import Asking
from luthier.core import clock
from luthier.core.conversation import Completion, Conversation
from luthier.core.predictor import Prediction
from luthier.data.samples import Sample
from luthier.evaluate.generation.overlap import chrf_counts, corpus_chrf
from luthier.evaluate.intervals import Interval, wilson

MOST = 20
"""Facts that are altered."""
_CLOSER = 20.0
"""Points of chrF by which a text must be nearer to the new answer than to the old: unlike texts differ by chance."""


def altered_rows(rows: Sequence[Sample], asking: Asking, seed: int, most: int = MOST) -> dict[int, Sample]:
    """{place: the row with another row's answer}, of up to `most` rows; spans are left out.

    The answers go round among the chosen rows, so that every new answer is one that the task knows.
    """
    queues: dict[str, list[int]] = {}
    for place in np.random.default_rng(seed).permutation(len(rows)).tolist():
        answer = asking.answer(rows[place]) if rows[place].target is not None else ""
        if answer:
            queues.setdefault(answer, []).append(place)
    picked = [queue[turn] for turn in range(most) for queue in queues.values() if turn < len(queue)][:most]
    found = {}
    for number, place in enumerate(picked):
        for step in range(1, len(picked)):
            other = rows[picked[(number + step) % len(picked)]]
            if asking.answer(other) != asking.answer(rows[place]):
                found[place] = with_answer(rows[place], other)
                break
    return found


def with_answer(row: Sample, other: Sample) -> Sample:
    """`row`'s question with `other`'s answer."""
    target, given = row.target, other.target
    if isinstance(target, Conversation) and isinstance(given, Conversation) and target.trained and given.trained:
        place = target.trained[-1]
        new = replace(target.messages[place], content=given.messages[given.trained[-1]].content)
        messages = (*target.messages[:place], new, *target.messages[place + 1 :])
        return replace(row, target=Conversation(messages, target.tools))
    if isinstance(target, Completion) and isinstance(given, Completion):
        return replace(row, target=replace(target, completion=given.completion))
    return replace(row, target=given)


def following(
    change: Callable[[dict[int, Sample]], Approach] | None,
    approach: Approach,
    rows: Sequence[Sample],
    altered: dict[int, Sample],
    asking: Asking,
) -> Following | None:
    """How many of the altered facts are then answered as they now are.

    Args:
        change: gives the approach with the altered rows in its index; None where it keeps no knowledge outside of its
            weights, and then `approach` is asked as it is.
    """
    if not altered:
        return None
    began = clock.monotonic()
    changed = approach if change is None else change(altered)
    seconds = None if change is None else clock.monotonic() - began
    asked = [rows[place] for place in altered]
    answers = changed.answer(asked)
    right = np.asarray(
        [_follows(answer, new, old, asking) for answer, new, old in zip(answers, altered.values(), asked, strict=True)],
        dtype=np.float64,
    )
    share = float(right.mean())
    return Following(Interval(share, *wilson(share, len(right))), len(right), seconds)


def _follows(answer: Prediction, new: Sample, old: Sample, asking: Asking) -> bool:
    """Whether an answer says the new thing and not the old one; of texts and numbers, which it is plainly closer to."""
    if asking.writes:
        given = answer.output or ""
        now, before = (corpus_chrf(np.asarray(chrf_counts(given, asking.answer(row)))[:, None]) for row in (new, old))
        return bool(now[0] >= before[0] + _CLOSER)
    if answer.values is not None:
        wanted, gone = (np.asarray(row.target, dtype=np.float64) for row in (new, old))
        values = np.asarray(answer.values)
        return bool(np.abs(values - wanted).sum() < np.abs(values - gone).sum())
    if answer.labels is not None:
        labels: Any = new.target
        return set(answer.labels) == set(labels)
    return answer.label == new.target

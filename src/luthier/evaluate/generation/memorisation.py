"""Whether a model that writes learned its training rows by heart.

An answer is reproduced word for word when greedy decoding from its prompt gives it, token by token, and then ends.
That is so exactly when every token of the answer is the likeliest one after the true beginning, so one forward pass
decides it, and nothing is generated. Controls: held-out rows (a short, common answer is no memorisation) and the
untuned base.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from luthier.core.conversation import Conversation
from luthier.data.canaries import Canary
from luthier.data.samples import Sample
from luthier.evaluate.generation.evaluation import Writer
from luthier.evaluate.generation.questions import question_of
from luthier.evaluate.generation.worst import shown
from luthier.evaluate.intervals import Interval

EXAMPLES = 3


def answers_only(samples: Iterable[Sample], most: int, total: int) -> list[Sample]:
    """At most `most` rows, spread evenly over `total`, in which only the last answer counts; rows without a prompt
    (plain text, gaps) are left out."""
    found = []
    most = min(most, total)
    for number, sample in enumerate(samples):
        if most == 0 or (number + 1) * most // total == number * most // total or question_of(sample) is None:
            continue
        target = sample.target
        if isinstance(target, Conversation):
            last = target.trained[-1]
            turns = [
                replace(turn, weight=1.0 if i == last else 0.0) for i, turn in enumerate(target.messages[: last + 1])
            ]
            sample = replace(sample, target=Conversation(tuple(turns), target.tools))
        found.append(sample)
    return found


def reproduced(model: Writer, samples: Sequence[Sample]) -> list[bool]:
    """Of each row, whether greedy decoding gives its answer word for word."""
    return [one.weight > 0 and one.correct >= one.weight - 1e-6 for one in model.likelihood(samples)]


def share(flags: Sequence[bool]) -> Interval | None:
    """The share that is true, with Wilson's 95 % interval; None of nothing."""
    if not flags:
        return None
    from scipy.stats import binomtest

    found = binomtest(sum(flags), len(flags)).proportion_ci(method="wilson")
    return Interval(sum(flags) / len(flags), float(found.low), float(found.high))


def memorisation(
    tuned: Writer,
    base: Writer | None,
    train: Sequence[Sample],
    held_out: Sequence[Sample],
    planted: Sequence[Canary] = (),
) -> dict[str, Any] | None:
    """What report.json holds under ``memorisation``; None where there is nothing to compare.

    Args:
        base: the same model before tuning. train, held_out: from `answers_only`. planted: the canaries it learned.
    """
    if not train and not planted:
        return None
    own = reproduced(tuned, train)
    shares = {
        "train": share(own),
        "held_out": share(reproduced(tuned, held_out)),
        "base": share(reproduced(base, train)) if base is not None else None,
    }
    return {
        "rows": len(train),
        "held_out_rows": len(held_out),
        **{name: interval.to_dict() if interval is not None else None for name, interval in shares.items()},
        "found": _found(shares),
        "sentence": _sentence(shares, len(train), len(held_out)),
        "examples": _examples(train, own),
        "canaries": _exposure(tuned, base, planted) if planted else None,
    }


def _found(shares: dict[str, Interval | None]) -> bool | None:
    """Whether training rows are reproduced more often than any control; None where there is no control."""
    train = shares["train"]
    controls = [shares[name] for name in ("held_out", "base")]
    known = [one for one in controls if one is not None]
    if train is None or not known:
        return None
    return all(train.low > one.high for one in known)


def _sentence(shares: dict[str, Interval | None], rows: int, held_out_rows: int) -> str:
    train = shares["train"]
    if train is None:
        return "No row has a prompt, so it was not measured what the model reproduces."
    parts = [f"Word for word the model reproduces {_told(train)} of {rows:,} training answers"]
    if shares["held_out"] is not None:
        parts.append(f"{_told(shares['held_out'])} of {held_out_rows:,} held-out ones")
    if shares["base"] is not None:
        parts.append(f"the untuned base {_told(shares['base'])} of the training answers")
    found = _found(shares)
    end = {
        True: "it has learned training rows by heart",
        False: "no more than chance allows",
        None: "there is nothing to compare that with",
    }[found]
    return ", ".join(parts) + f": {end}."


def _told(interval: Interval) -> str:
    return f"{100 * interval.value:.0f} % ({100 * interval.low:.0f} to {100 * interval.high:.0f} %)"


def _examples(train: Sequence[Sample], own: Sequence[bool]) -> list[dict[str, Any]]:
    """The longest answers that were reproduced: they are the least likely by chance."""
    rows = []
    for sample, flag in zip(train, own, strict=True):
        question = question_of(sample)
        if flag and question is not None:
            rows.append((len(question.reference), sample, question))
    rows.sort(key=lambda row: -row[0])
    return [
        {"line": sample.line, "source": sample.source, "text": shown(one.text), "answer": shown(one.reference)}
        for _, sample, one in rows[:EXAMPLES]
    ]


def _exposure(tuned: Writer, base: Writer | None, planted: Sequence[Canary]) -> dict[str, Any]:
    """Exposure in bits: log2 of the number of secrets less log2 of the canary's rank among them by loss; 1 to 1.5 on
    average where nothing was remembered."""
    rows: list[dict[str, Any]] = []
    for canary in planted:
        rank, exposure = _rank(tuned, canary)
        rows.append(
            {
                "secret": canary.secret, "text": canary.planted.text, "rank": rank, "of": len(canary.others) + 1,
                "exposure": exposure, "base_exposure": None if base is None else _rank(base, canary)[1],
                "reproduced": reproduced(tuned, [canary.planted])[0],
            }
        )  # fmt: skip
    exposures = [row["exposure"] for row in rows]
    controls = [row["base_exposure"] for row in rows if row["base_exposure"] is not None]
    most = math.log2(len(planted[0].others) + 1)
    mean, before = float(np.mean(exposures)), float(np.mean(controls)) if controls else None
    told = f"{len(rows)} random secrets were planted in the training data. "
    told += f"Their mean exposure is {mean:.1f} of {most:.0f} bits"
    told += f" (untuned {before:.1f})" if before is not None else ""
    told += f"; {sum(row['reproduced'] for row in rows)} are reproduced word for word."
    return {
        "number": len(rows), "exposure": mean, "base_exposure": before, "most": most,
        "reproduced": sum(row["reproduced"] for row in rows), "sentence": told, "rows": rows,
    }  # fmt: skip


def _rank(model: Writer, canary: Canary) -> tuple[int, float]:
    """(rank from 1 by loss, exposure in bits)."""
    losses = [one.loss_sum for one in model.likelihood([canary.planted, *canary.others])]
    rank = 1 + sum(loss < losses[0] for loss in losses[1:])
    return rank, math.log2(len(losses)) - math.log2(rank)

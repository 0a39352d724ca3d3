"""Whom does it fail: groups and swaps of one model on one test set, as report.json holds them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from luthier.core.errors import LuthierError
from luthier.core.events import Event, Listener
from luthier.core.recipe import FairnessSpec, Recipe
from luthier.data.checks.groups import read_groups
from luthier.data.dataset import Dataset
from luthier.data.groups import GroupReader, check_group_columns, known_columns
from luthier.data.samples import Sample
from luthier.evaluate.evaluation import Evaluation
from luthier.evaluate.fairness.by_group import ByGroup, Grouping, by_group, unusable_because
from luthier.evaluate.fairness.counterfactual import Answer, counterfactual, find_cases
from luthier.evaluate.fairness.measures import Measure, measures_of, measures_of_writing
from luthier.evaluate.fairness.sentences import column_sentences, swap_sentence, verdict_of
from luthier.evaluate.fairness.swap_lists import swap_lists
from luthier.evaluate.generation import GenerationEvaluation
from luthier.evaluate.intervals import IntArray, Interval, Judge, bootstrap
from luthier.evaluate.report import strict

Judged = Evaluation | GenerationEvaluation
_GROUPS_LISTED = 100


class TestRows(Protocol):
    """Samples that can be read again, and the data set they come from."""

    @property
    def dataset(self) -> Dataset: ...

    def __iter__(self) -> Iterator[Sample]: ...


def check_fairness(recipe: Recipe) -> None:
    """Find what is wrong with `evaluate.fairness` before hours are spent: the column, the file of swaps.

    Raises `DataError` or `RecipeError`.
    """
    spec = recipe.evaluate.fairness
    if spec is None:
        return
    swap_lists(spec.swaps)
    columns = columns_of(spec)
    if not columns:
        return
    validation = recipe.data.validation
    held_out = recipe.data.test
    if held_out is None:
        held_out = validation if isinstance(validation, str | list) else recipe.data.train if validation > 0 else None
    if held_out is not None:
        check_group_columns(Dataset.open(held_out, task=recipe.task, columns=recipe.data.columns), columns)


@dataclass(frozen=True)
class Model:
    """A model that was judged, and that can be asked about swapped texts; None where it cannot."""

    name: str
    judged: Judged
    answer: Answer | None


def columns_of(spec: FairnessSpec) -> list[str]:
    """The group columns of a recipe."""
    return [spec.group] if isinstance(spec.group, str) else list(dict.fromkeys(spec.group))


def measure_fairness(
    spec: FairnessSpec,
    rows: TestRows,
    ours: Model,
    *,
    before: Model | None = None,
    train: TestRows | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """Judge `ours` by group and under swaps; strict JSON.

    Args:
        rows: those that `ours` (and `before`, the model before tuning) were judged on, in that order.
        train: the training rows, whose groups are counted.

    Raises:
        DataError: a column that `rows` have not. RecipeError: a list of swaps that cannot be used.
    """
    columns = columns_of(spec)
    check_group_columns(rows.dataset, columns)
    lists = swap_lists(spec.swaps)
    groupings = _groupings(columns, rows, train, writes=isinstance(ours.judged, GenerationEvaluation))
    unusable = {one.column: reason for one in groupings if (reason := unusable_because(one))}
    measures, earlier = _measures(ours.judged), _measures(before.judged) if before is not None else []
    found = [
        by_group(one, measures, before=earlier, resamples=resamples, seed=seed)
        for one in groupings
        if one.column not in unusable
    ]
    told = [column_sentences(one, before.name if before is not None else "") for one in found]
    described = [
        _column(one, ours.judged, sentences, advice, resamples, seed)
        for one, (sentences, advice) in zip(found, told, strict=True)
    ]
    swaps: list[dict[str, Any]] = []
    if lists and ours.answer is not None:
        earlier_answer = None if before is None else before.answer
        swaps = counterfactual(find_cases(rows, lists, seed=seed), lists, ours.answer, earlier_answer,
                               resamples=resamples, seed=seed)  # fmt: skip
        for item in swaps:
            item["sentence"] = swap_sentence(item, before.name if before is not None else "",
                                             isinstance(ours.judged, GenerationEvaluation))  # fmt: skip
    plain: dict[str, Any] = strict(
        {
            "verdict": verdict_of(found, unusable, swaps),
            "before": before.name if before is not None else None,
            "columns": described,
            "unusable": [{"column": column, "reason": reason, "sentence": _unusable(column, reason)}
                         for column, reason in unusable.items()],
            "swaps": swaps,
            "notes": _notes(found, swaps),
        }
    )  # fmt: skip
    return plain


def prove_fairness(
    recipe: Recipe,
    rows: TestRows,
    ours: Model,
    *,
    before: Model | None,
    train: TestRows,
    listener: Listener,
    warnings: list[str],
) -> dict[str, Any] | None:
    """`measure_fairness` at the end of a training, which it never fails: what went wrong is added to `warnings`."""
    spec = recipe.evaluate.fairness
    if spec is None:
        return None
    listener(Event("message", "Whom does it fail? Judging by group, and swapping words in the test texts."))
    try:
        found = measure_fairness(
            spec, rows, ours, before=before, train=train, resamples=recipe.evaluate.bootstrap
        )
    except LuthierError as error:
        warnings.append(f"Fairness was not measured: {error}")
        listener(Event("message", warnings[-1], "warn"))
        return None
    listener(Event("message", found["verdict"]))
    return found


def _unusable(column: str, reason: str) -> str:
    return f"The groups of {column!r} could not be judged: {reason}."


def _notes(found: Sequence[ByGroup], swaps: Sequence[Mapping[str, Any]]) -> list[str]:
    notes = []
    if found:
        notes.append(
            "Each group is held against all other rows. P-values are corrected for the number of tests (Holm): those "
            "of the deciding metric among themselves, all others among themselves."
        )
    if any(item["rows"] for item in swaps):
        notes.append(
            "A changed answer is not by itself a wrong one: read the examples. Words are looked up in lists, and "
            "whether 'her' becomes 'him' or 'his' is a guess by the next word."
        )
    return notes


def _measures(judged: Judged) -> list[Measure]:
    return measures_of_writing(judged) if isinstance(judged, GenerationEvaluation) else measures_of(judged.judge)


def _groupings(columns: Sequence[str], rows: TestRows, train: TestRows | None, *, writes: bool) -> list[Grouping]:
    if not columns:
        return []
    reader = GroupReader(rows.dataset, columns)
    read = [reader(sample) for sample in rows if writes or sample.target is not None]
    counts = _train_counts(columns, train)
    return [
        Grouping.of(column, [groups[place] for groups in read], counts.get(column))
        for place, column in enumerate(columns)
    ]


def _train_counts(columns: Sequence[str], train: TestRows | None) -> dict[str, Counter[str]]:
    if train is None:
        return {}
    there = known_columns(train.dataset, columns)
    tables = read_groups(train.dataset, train, there) if there else []
    return {table.column: table.rows for table in tables}


def _column(
    found: ByGroup, judged: Judged, sentences: list[str], advice: list[str], resamples: int, seed: int
) -> dict[str, Any]:
    grouping = found.grouping
    total = len(grouping.codes)
    groups = []
    for place, name in enumerate(grouping.names[:_GROUPS_LISTED]):
        is_judged = name in found.judged
        groups.append(
            {
                "name": name,
                "rows": found.rows[name],
                "share": found.rows[name] / total,
                "train_rows": None if grouping.train is None else grouping.train.get(name, 0),
                "judged": is_judged,
                "metrics": _metrics(judged, grouping.codes == place, resamples, seed) if is_judged else {},
                "measures": {
                    measure: {**sides[name].interval.to_dict(), "rows": sides[name].counted}
                    for measure, sides in found.sides.items()
                    if name in sides
                },
            }
        )
    return {
        "column": grouping.column,
        "sentences": sentences,
        "advice": advice,
        "rows": total,
        "num_groups": len(grouping.names),
        "measures": [
            {"name": one.name, "title": one.title, "kind": one.kind, "better": one.better, "is_share": one.is_share,
             "label": one.label}
            for one in found.measures
        ],
        "groups": groups,
        "differences": [item.to_dict() for item in found.differences],
        "gaps": [gap.to_dict() for gap in found.gaps],
    }  # fmt: skip


def _metrics(
    judged: Judged, inside: np.ndarray[Any, np.dtype[np.bool_]], resamples: int, seed: int
) -> dict[str, dict[str, float | None]]:
    """Every metric of the report over one group's rows."""
    found: dict[str, Interval] = {}
    for judge, rows in _judges(judged, inside):
        names = [name for name in judged.metrics if name in judge.names()]
        if len(rows):
            part = judge.take(rows)
            found |= bootstrap(part, [name for name in names if name in part.names()], resamples=resamples, seed=seed)
    return {name: found[name].to_dict() for name in judged.metrics if name in found}


def _judges(judged: Judged, inside: np.ndarray[Any, np.dtype[np.bool_]]) -> Iterable[tuple[Judge, IntArray]]:
    if isinstance(judged, GenerationEvaluation):
        yield judged.likelihood, np.flatnonzero(inside[judged.measured_rows])
        yield judged.answers, np.flatnonzero(inside[judged.answered_rows])
    else:
        yield judged.judge, np.flatnonzero(inside)

"""All checks over all parts of a data set, in one pass and bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from luthier.core.errors import DataError
from luthier.core.text import TextEncoder
from luthier.data.checks.answers import Answers
from luthier.data.checks.base import TRAIN, Check, Context, RowTable
from luthier.data.checks.duplicates_check import Duplicates
from luthier.data.checks.groups import findings_of, read_groups
from luthier.data.checks.labels import Labels
from luthier.data.checks.language import Languages
from luthier.data.checks.language_tokens import LanguageTokens
from luthier.data.checks.leaks import Leaks
from luthier.data.checks.lengths import Characters, Tokens
from luthier.data.checks.lookalikes import LabelLookalikes
from luthier.data.checks.openai_rules import check_like, openai_findings, with_lines
from luthier.data.checks.personal import PersonalData
from luthier.data.checks.preview import Preview
from luthier.data.checks.regression import Scores
from luthier.data.checks.report import CheckReport, Findings
from luthier.data.checks.similar import Similar
from luthier.data.checks.spans import SpanBorders
from luthier.data.checks.text_quality import TextQuality
from luthier.data.checks.turns import Turns
from luthier.data.dataset import Dataset
from luthier.data.groups import check_group_columns
from luthier.data.samples import Finding, Sample
from luthier.data.templates.renderer import Renderer

Source = str | list[str]
Make = Callable[[Context, Similar], Check | None]

CHECKS: tuple[Make, ...] = (
    lambda context, similar: Labels(context),
    lambda context, similar: LabelLookalikes(context),
    lambda context, similar: Scores(context) if context.task == "regress" else None,
    lambda context, similar: SpanBorders(context) if context.task == "extract" else None,
    lambda context, similar: PersonalData(context),
    lambda context, similar: TextQuality(context),
    Duplicates,
    Leaks,
    lambda context, similar: Characters(context),
    lambda context, similar: Answers(context) if context.generative else None,
    lambda context, similar: Turns(context) if context.task == "chat" else None,
    lambda context, similar: Tokens(context, context.encoder) if context.encoder and not context.generative else None,
    lambda context, similar: LanguageTokens(context, context.renderer) if context.renderer else None,
    lambda context, similar: Languages(context),  # last: its model may take the memory that signatures had
)
"""Every check, in the order in which they finish. One that does not fit the data gives None."""


def check(
    source: Source,
    *,
    task: str = "auto",
    columns: Mapping[str, Any] | None = None,
    group: str | None = None,
    groups: Sequence[str] = (),
    validation: Source | None = None,
    test: Source | None = None,
    encoder: TextEncoder | None = None,
    encoder_for: Callable[[str], TextEncoder | None] | None = None,
    renderer_for: Callable[[str], Renderer | None] | None = None,
    like: str | None = None,
    max_length: int | None = None,
    split_seed: int = 0,
    findings_file: str | Path | None = None,
) -> CheckReport:
    """Find every problem of `source`, and of what it will be validated and tested on.

    Args:
        source: file, folder, glob or URL, or a list: what a run would train on.
        task: classify, regress, extract, chat, complete, or auto.
        columns: role to column name.
        group: column whose rows must stay on one side of every split.
        groups: columns whose values are groups of people, products or places: which are rare, which labels go with
            which.
        validation: files held against `source`, as is `test`.
        encoder: the base model's tokenizer; without it nothing is said of tokens.
        encoder_for: gives it once the task is known, instead of `encoder`.
        renderer_for: likewise the renderer of a generative task; without it nothing is said of tokens.
        like: "openai" for OpenAI's rules and the form of its messages, besides our own.
        max_length: in tokens; the encoder's own limit where it is not given.
        split_seed: chooses the rows whose language is looked at.
        findings_file: where findings beyond the first 100 go, as JSON lines; else they are only counted.

    Raises:
        DataError: there is nothing that could be checked: not found, empty, binary, a column missing.
        StorageError: `findings_file` cannot be written.
    """
    check_like(like)
    findings = Findings(None if findings_file is None else Path(findings_file))
    report = findings.add if like is None else with_lines(findings.add)
    train = Dataset.open(source, task=task, columns=columns, group=group)
    parts = {TRAIN: train}
    for name, other in (("validation", validation), ("test", test)):
        if other is not None:
            parts[name] = _part(name, other, train, columns, group, report)

    def rows() -> Iterator[Sample]:
        for dataset in parts.values():
            yield from _usable(dataset)

    table = RowTable()
    similar = Similar(table, rows)
    context = Context(
        task=train.task,
        columns=train.columns,
        several_labels=train.several_labels,
        report=report,
        table=table,
        encoder=encoder if encoder_for is None else encoder_for(train.task),
        renderer=None if renderer_for is None else renderer_for(train.task),
        is_code=train.is_code,
        max_length=max_length,
        seed=split_seed,
        where=train.sources[0],
    )
    preview = Preview(context)
    checks = [made for make in CHECKS if (made := make(context, similar)) is not None]
    try:
        for finding in openai_findings(parts) if like == "openai" else ():
            report(finding)
        counts = {name: _read(name, dataset, context, similar, [*checks, preview]) for name, dataset in parts.items()}
        stats: dict[str, Any] = {
            "parts": counts,
            "columns": train.columns.to_dict(),
            "pairs": train.has_pairs,
            "several_labels": train.several_labels,
        }
        for item in checks:
            for finding in item.finish():
                report(finding)
            _merge(stats, item.stats())
        _merge(stats, _groups(parts, groups, report))
        sample = preview.build()
    finally:
        findings.close()
    return CheckReport(
        task=train.task,
        rows=counts[TRAIN]["rows"],
        findings=findings.first,
        codes=findings.summaries,
        overflow=findings.overflow,
        findings_file=findings.file,
        stats=stats,
        sample=sample,
    )


def _read(name: str, dataset: Dataset, context: Context, similar: Similar, checks: list[Any]) -> dict[str, int]:
    """Show every row of one part to every check."""
    context.part = name
    context.table.begin(name)
    sees = [item.see for item in checks]
    usable = unusable = 0
    for item in dataset.items():
        if isinstance(item, Finding):
            unusable += item.severity == "error"
            context.report(item)
            continue
        usable += 1
        index = context.table.add(item)
        similar.see(item)
        for see in sees:
            see(index, item)
    return {"rows": usable + unusable, "usable": usable, "unusable": unusable}


def _groups(parts: Mapping[str, Dataset], groups: Sequence[str], report: Callable[[Finding], None]) -> dict[str, Any]:
    """Tell what the columns of groups show; their counts for the stats."""
    if not groups:
        return {}
    check_group_columns(parts[TRAIN], groups, param="group")
    tables = {
        name: {table.column: table for table in read_groups(dataset, _usable(dataset), groups)}
        for name, dataset in parts.items()
        if name in (TRAIN, "test")
    }
    for column, table in tables[TRAIN].items():
        tested = tables["test"][column].rows if "test" in tables else None
        for finding in findings_of(table, parts[TRAIN].sources[0], tested):
            report(finding)
    return {"groups": {column: table.to_dict() for column, table in tables[TRAIN].items()}}


def _usable(dataset: Dataset) -> Iterator[Sample]:
    return (item for item in dataset.items() if isinstance(item, Sample))


def _part(
    name: str,
    source: Source,
    train: Dataset,
    columns: Mapping[str, Any] | None,
    group: str | None,
    report: Callable[[Finding], None],
) -> Dataset:
    """Open validation or test as the run would."""
    try:
        part = Dataset.open(source, task=train.task, columns=columns, group=group)
    except DataError as error:
        if group is None or error.param != "data.group":
            raise
        report(
            Finding(
                "no_group_column",
                "warning",
                f"{name} has no column {group!r}, so leaks by group are not looked for there.",
                "Add the column.",
                0,
                error.where,
            )
        )
        part = Dataset.open(source, task=train.task, columns=columns)
    if part.has_pairs != train.has_pairs:
        raise DataError(
            f"train has {'two texts' if train.has_pairs else 'one text'} per row, {name} has not.",
            where=part.sources[0],
            remedy="Give files of one kind.",
            code="mixed_files",
        )
    if train.task == "classify":
        part.several_labels = train.several_labels
    return part


def _merge(stats: dict[str, Any], more: dict[str, Any]) -> None:
    for key, value in more.items():
        if isinstance(value, dict) and isinstance(stats.get(key), dict):
            stats[key] = {**stats[key], **value}
        else:
            stats[key] = value

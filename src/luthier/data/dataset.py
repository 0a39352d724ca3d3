"""A data set: files that are understood, read afresh each time, never held in memory."""

from __future__ import annotations

import functools
import hashlib
import itertools
import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from luthier.core.errors import DataError, UsageError, nearest
from luthier.core.recipe import LANGUAGE_TASKS, TASKS
from luthier.data.columns import KNOWN, Columns, check_mapping, recognise_task, resolve
from luthier.data.formats import Format, Prose, Row, SourceCode, WholeText, problem, recognise, to_error
from luthier.data.formats.code import CODE_ENDINGS, code_files
from luthier.data.formats.folder import class_of
from luthier.data.language_columns import recognise_language, resolve_language
from luthier.data.rows import row_to_sample
from luthier.data.samples import Finding, Sample
from luthier.data.sources import (
    PROSE_ENDINGS,
    TEXT_ENDINGS,
    expand,
    holds_data,
    local,
    plain_name,
    scheme,
    sha256,
    size,
)

WHOLE = (WholeText, Prose, SourceCode)
"""Formats in which a file is a text, so that there may be very many files."""
PEEK = 1000
"""Rows that are read to learn the columns, the task, and whether targets are lists."""


class Dataset:
    """Rows of one or more files with one meaning. Open it with `Dataset.open`.

    Attributes:
        sources: the files, in order.
        task: classify, regress, extract, chat or complete.
        columns: the columns of the first file by role.
        several_labels: whether targets are tuples of labels (classify).
        has_pairs: whether each row has two texts.
    """

    def __init__(
        self,
        formats: list[Format],
        columns: list[Columns],
        task: str,
        several_labels: bool,
        require_target: bool,
    ) -> None:
        self._formats, self._columns, self._require_target = formats, columns, require_target
        self.sources = [item.path for item in formats]
        self.task, self.several_labels = task, several_labels
        self.columns = columns[0]
        self.has_pairs = self.columns.text_pair is not None

    @classmethod
    def open(
        cls,
        source: str | list[str],
        *,
        task: str = "auto",
        columns: Mapping[str, Any] | None = None,
        group: str | None = None,
        require_target: bool = True,
    ) -> Dataset:
        """Recognise the format, the columns and the task of `source` from its first rows.

        Args:
            source: file, folder, glob or URL, or a list of such.
            task: classify, regress, extract, chat, complete, or auto where the data say it plainly.
            columns: role to column name, or to position (from 0) in a file without header.
            group: column whose rows must stay on one side of every split.
            require_target: False for rows to be answered; a target that is there is read all the same.

        Raises:
            DataError: nothing there, nothing in it, binary, wrong encoding, or a column is missing.
        """
        mapping = check_mapping(columns or {})
        if task not in ("auto", *TASKS):
            raise UsageError(
                f"there is no task {task!r}.", remedy=nearest(task, ("auto", *TASKS)), code="unknown_task", param="task"
            )
        formats = _formats(source, mapping, task, require_target)
        if task == "auto" and isinstance(formats[0], SourceCode):
            task = "complete"
        if len({isinstance(item, WHOLE) for item in formats}) > 1:
            raise DataError(
                "folders of texts and data files cannot be mixed.",
                where=formats[0].path,
                remedy="Give one kind.",
                code="mixed_files",
            )
        peeked = _peek(formats)
        first = peeked[0]
        if task == "auto":
            values, where = [row.values for row in first[1]], formats[0].path
            task = recognise_language(first[0], mapping, values, where=where) or recognise_task(
                first[0], mapping, values, where=where, require_target=require_target
            )
        settle = resolve_language if task in LANGUAGE_TASKS else resolve
        settled = [
            settle(names, task, mapping, group=group, where=item.path, require_target=require_target)
            for item, (names, _) in zip(formats, peeked, strict=False)
        ]
        settled += [settled[-1]] * (len(formats) - len(settled))  # text files, which are all alike
        if any((item.text_pair is None) != (settled[0].text_pair is None) for item in settled):
            raise DataError(
                "some files have one text per row and others two.",
                where=formats[0].path,
                remedy="Give files of one kind.",
                code="mixed_files",
            )
        several = task == "classify" and any(
            isinstance(sample, Sample) and isinstance(sample.target, tuple)
            for item, (_, rows) in zip(settled, peeked, strict=False)
            for sample in (row_to_sample(row, item, task, require_target=require_target) for row in rows)
        )
        return cls(formats, settled, task, several, require_target)

    @property
    def is_code(self) -> bool:
        """Whether each row is a source file."""
        return all(isinstance(item, SourceCode) for item in self._formats)

    def kinds(self) -> list[tuple[str, str]]:
        """Per file its path and the name of its format."""
        return [(item.path, item.name) for item in self._formats]

    def files(self) -> list[tuple[Format, Columns]]:
        """Each file with its columns, in order."""
        return list(zip(self._formats, self._columns, strict=True))

    def rows(self) -> Iterator[Row | Finding]:
        """All rows in order as their files have them, not understood yet."""
        for item in self._formats:
            yield from item.rows()

    def items(self) -> Iterator[Sample | Finding]:
        """All rows in order, each a sample or what is wrong with it; a fresh stream on each call."""
        for item, columns in zip(self._formats, self._columns, strict=True):
            for row in item.rows():
                if isinstance(row, Finding):
                    yield row
                    continue
                sample = row_to_sample(row, columns, self.task, require_target=self._require_target)
                yield self._settle(sample) if self.task == "classify" else sample

    def _settle(self, sample: Sample | Finding) -> Sample | Finding:
        """One kind of target throughout."""
        if isinstance(sample, Finding) or sample.target is None:
            return sample
        if self.several_labels and isinstance(sample.target, str):
            return replace(sample, target=(sample.target,))
        if not self.several_labels and isinstance(sample.target, tuple):
            return problem(
                "wrong_type",
                "this row has a list of labels, the rows before have one label each.",
                'Write lists throughout, with one label too: ["a"].',
                sample.line,
                sample.source,
            )
        return sample

    def samples(self) -> Iterator[Sample]:
        """All rows in order; notes, such as a file that is passed over, are left out.

        Raises:
            DataError: at the first row that is not usable, with its place and the remedy.
        """
        for item in self.items():
            if isinstance(item, Sample):
                yield item
            elif item.severity == "error":
                raise to_error(item)

    @functools.cached_property
    def _described(self) -> list[dict[str, Any]]:
        return [{"file": path, "bytes": size(path), "sha256": sha256(path)} for path in self.sources]

    def describe(self) -> list[dict[str, Any]]:
        """Per file: `file`, `bytes` (as stored) and `sha256`."""
        return [dict(entry) for entry in self._described]

    def fingerprint(self) -> str:
        """SHA-256 over the files' hashes in order (and the class, where it is a folder's name)."""
        digest = hashlib.sha256()
        for item, entry in zip(self._formats, self._described, strict=True):
            digest.update(entry["sha256"].encode())
            if isinstance(item, WholeText) and item.label is not None:
                digest.update(item.label.encode("utf-8", "surrogatepass") + b"\n")
        return digest.hexdigest()


def _formats(source: str | list[str], mapping: Mapping[str, Any], task: str, require_target: bool) -> list[Format]:
    if not isinstance(source, str):
        found = [item for part in source for item in _formats(part, mapping, task, require_target)]
        if not found:
            raise DataError("no file is given.", remedy="Name at least one.", code="no_files")
        return found
    root = local(source)
    if task in ("auto", "complete") and scheme(root) == "" and os.path.isdir(root):
        files, is_code = code_files(root)
        if is_code and (task == "complete" or not holds_data(root)):
            return [SourceCode(path) for path in files]
    prose = task == "complete" and require_target
    paths = expand(source, texts=PROSE_ENDINGS if prose else TEXT_ENDINGS)
    is_folder = paths != [root] and (os.path.isdir(root) or (scheme(root) != "" and "*" not in root))
    if is_folder and prose and all(plain_name(path).endswith(PROSE_ENDINGS) for path in paths):
        return [Prose(path) for path in paths]
    if is_folder and all(plain_name(path).endswith(TEXT_ENDINGS) for path in paths):
        return [WholeText(path, class_of(path, root)) for path in paths]
    if task == "complete" and len(paths) == 1 and plain_name(paths[0]).endswith(CODE_ENDINGS):
        return [SourceCode(paths[0])]
    return [recognise(path, mapping, set(KNOWN), prose=prose) for path in paths]


def _peek(formats: list[Format]) -> list[tuple[list[str], list[Row]]]:
    """Per file the names of its columns and its first rows; of many text files only the first ones.

    Raises:
        DataError: a file without rows, or one whose first rows are all broken.
    """
    if isinstance(formats[0], Prose | SourceCode):
        return [(["text"], [])]
    if isinstance(formats[0], WHOLE):
        firsts = (next(item.rows(), None) for item in formats[:PEEK])
        texts = [row for row in firsts if isinstance(row, Row)]
        labelled = any("label" in item.header() for item in formats)
        return [(["text", "label"] if labelled else ["text"], texts)]
    peeked = []
    for item in formats:
        rows: list[Row] = []
        broken: list[Finding] = []
        for row in itertools.islice(item.rows(), PEEK):
            if isinstance(row, Finding):
                broken.append(row)
            else:
                rows.append(row)
        if not rows:
            if broken:
                raise to_error(broken[0])
            header = ", ".join(item.header())
            raise DataError(
                f"this file has a header ({header}) but no rows." if header else "this file has no rows.",
                where=item.path,
                remedy="Add rows.",
                code="no_rows",
            )
        names = list(dict.fromkeys([*item.header(), *(name for row in rows for name in row.values)]))
        peeked.append((names, rows))
    return peeked

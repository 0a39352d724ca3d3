"""Texts about files, for people who never saw our folders."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def named(text: str, names: Mapping[str, str]) -> str:
    """`text` with files as people call them (`names` by path), never by our paths."""
    for path, name in names.items():
        text = text.replace(path, name)
    return text


def renamed(value: Any, names: dict[str, str]) -> Any:
    """`value` with files as people call them, never by our paths."""
    if isinstance(value, str):
        return named(value, names)
    if isinstance(value, dict):
        return {key: renamed(item, names) for key, item in value.items()}
    return [renamed(item, names) for item in value] if isinstance(value, list | tuple) else value


COMPARISON, DISAGREEMENTS = "comparison.json", "disagreements.jsonl"
"""The two files of a comparison of jobs: everything but the rows; and the rows that were answered differently."""
ANSWERS = "answers.jsonl"
"""The file of a report's folder with every held-out row and its answer."""

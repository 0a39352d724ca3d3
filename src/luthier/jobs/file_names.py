"""Texts about files, for people who never saw our folders."""

from __future__ import annotations

from collections.abc import Mapping


def named(text: str, names: Mapping[str, str]) -> str:
    """`text` with files as people call them (`names` by path), never by our paths."""
    for path, name in names.items():
        text = text.replace(path, name)
    return text

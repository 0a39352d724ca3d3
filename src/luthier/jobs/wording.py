"""Remedies that a run tells in the words of a terminal, in those of who began it on a page or by a program."""

from __future__ import annotations

import re

_SAID = (
    (re.compile(r" \(luthier check\)"), ""),
    (re.compile(r" \(--[a-z-]+\)"), ""),
    (re.compile(r", then go on with: luthier \w+ --resume .*$"), ", then begin again."),
    (re.compile(r" Go on with: luthier \w+ --resume .*$"), ""),
)


def without_terminal(text: str) -> str:
    """`text` without commands and their options."""
    for said, instead in _SAID:
        text = said.sub(instead, text)
    return text

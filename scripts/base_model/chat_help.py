"""Conversations about help pages: questions made of their titles, and texts that go on."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from pathlib import Path

from scripts.base_model.clean import html_paragraphs, is_plain, sentences, tidy
from scripts.base_model.sources import GNOME_HELP

_VERBS = re.compile(
    r"(?:Add|Adjust|Back|Browse|Change|Check|Choose|Configure|Connect|Copy|Create|Customize|Delete|"
    r"Disable|Edit|Enable|Export|Find|Get|Hide|Import|Insert|Install|Keep|Lock|Make|Manage|Move|Open|"
    r"Play|Print|Record|Remove|Rename|Save|Search|Select|Send|Set|Share|Show|Simulate|Sort|Start|Stop|"
    r"Switch|Take|Test|Turn|Use|View|Write) "
)
_LONGEST = 330
"""Characters of the longest answer."""


def help_questions(work: Path, random_: random.Random) -> Iterator[tuple[str, str, str]]:
    """(key, question, answer) for GNOME's help pages: the title asks, the first paragraphs answer."""
    for name in GNOME_HELP:
        for path in sorted((work / "debian" / name).glob("usr/share/help/C/**/*.page")):
            source = re.sub(r"<info>.*?</info>", "", path.read_text("utf-8"), flags=re.DOTALL)
            found = re.search(r"<title[^>]*>(.*?)</title>", source, flags=re.DOTALL)
            paragraphs = html_paragraphs(source)
            answer = next(paragraphs, "")
            if found is None or not answer or not is_plain(answer):
                continue
            title = tidy(re.sub(r"<[^>]*>", "", found.group(1)))
            second = next(paragraphs, "")
            if second and is_plain(second) and len(answer) + len(second) < _LONGEST:
                answer = f"{answer} {second}"
            if len(answer) <= _LONGEST and title.isascii() and 4 < len(title) < 60 and "&" not in title:
                yield f"help:{title}", _asked(title, random_), answer


def _asked(title: str, random_: random.Random) -> str:
    plain = title if title[1:2].isupper() else f"{title[0].lower()}{title[1:]}"
    if title.endswith("?"):
        return title
    if _VERBS.match(title):
        return random_.choice((f"How do I {plain}?", f"How can I {plain}?", f"I want to {plain}. What should I do?"))
    return random_.choice((f"Tell me about this topic: {plain}.", f"Explain this topic: {plain}."))


def continued(work: Path, random_: random.Random, count: int) -> Iterator[tuple[str, str, str]]:
    """(key, question, answer): a sentence of a help text, and the sentence that follows it."""
    lines = (work / "corpus" / "prose.jsonl").read_text("utf-8").splitlines()
    for line in random_.sample(lines, min(count, len(lines))):
        text = json.loads(line)["text"]
        for paragraph in text.split("\n\n"):
            parts = sentences(paragraph)
            if len(parts) > 1 and all(40 <= len(part) <= 200 for part in parts[:2]):
                ask = random_.choice(("Continue this text.", "What is the next sentence?", "Write one more sentence."))
                yield f"continued:{text}", f"{ask}\n{parts[0]}", parts[1]
                break

"""Dictionary entries as plain sentences: WordNet's definitions and examples."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from scripts.base_model.clean import tidy

DELICATE = re.compile(
    r"\b(offensive|disparag|obscen|slur|vulgar|slang|whore|harlot|prostitut|lewd|sexual|copulat|genital|penis|vagina|negro|incest|rape)",
    re.IGNORECASE,
)
_KINDS = {"n": "noun", "v": "verb", "a": "adjective", "s": "adjective", "r": "adverb"}


def wordnet_entries(folder: Path) -> Iterator[tuple[str, str, str, str]]:
    """(word, kind, definition, example or ``""``) of WordNet 3.0's data files, one per synset."""
    for path in sorted(folder.glob("data.*")):
        for line in path.read_text("utf-8", errors="replace").split("\n"):
            head, bar, gloss = line.partition(" | ")
            fields = head.split()
            if line.startswith(" ") or not bar or len(fields) < 5 or fields[2] not in _KINDS:
                continue
            word = fields[4].split("(")[0].replace("_", " ")
            if DELICATE.search(line) or not word.islower() or not word.replace(" ", "").isalpha():
                continue
            definition = tidy(gloss.partition('; "')[0]).rstrip(";. ")
            example = re.search(r'; "([^"]{12,120})"', gloss)
            if 8 <= len(definition) <= 220 and '"' not in definition and definition.count("(") == definition.count(")"):
                yield word, _KINDS[fields[2]], definition, tidy(example.group(1)) if example else ""


def used_words(folder: Path, least: int = 2) -> frozenset[str]:
    """Words of which WordNet's authors counted at least `least` uses of one sense in running text."""
    lines = (folder / "cntlist.rev").read_text("utf-8").split("\n")
    fields = [line.split() for line in lines if line]
    return frozenset(key.partition("%")[0].replace("_", " ") for key, _, count in fields if int(count) >= least)


def meaning(word: str, kind: str, definition: str) -> str:
    """``Abandon means to give up completely.``"""
    to = "to " if kind == "verb" and not definition.startswith("to ") else ""
    return f"{word[0].upper()}{word[1:]} means {to}{definition}."


def wordnet_sentence(word: str, kind: str, definition: str, example: str) -> str:
    """``Abandon means to give up completely. For example: They abandoned the old car.``"""
    text = meaning(word, kind, definition)
    return f"{text} For example: {as_sentence(example)}" if example else text


def as_sentence(example: str) -> str:
    """An example with a capital letter and a full stop."""
    return f"{example[0].upper()}{example[1:]}{'' if example[-1] in '.!?' else '.'}"

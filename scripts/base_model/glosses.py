"""Dictionary entries as plain sentences: WordNet, GCIDE (Webster 1913), FOLDOC and the Jargon File."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from scripts.base_model.clean import tidy

_OFFENSIVE = re.compile(
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
            if _OFFENSIVE.search(line) or not word.islower() or not word.replace(" ", "").isalpha():
                continue
            definition = tidy(gloss.partition('; "')[0]).rstrip(";. ")
            example = re.search(r'; "([^"]{12,120})"', gloss)
            if 8 <= len(definition) <= 220 and '"' not in definition and definition.count("(") == definition.count(")"):
                yield word, _KINDS[fields[2]], definition, tidy(example.group(1)) if example else ""


def wordnet_sentence(word: str, kind: str, definition: str, example: str) -> str:
    """``Abandon (verb): give up completely. For example: "..."``."""
    text = f"{word[0].upper()}{word[1:]} ({kind}): {definition}."
    return f'{text} For example: "{example}"' if example else text


def gcide_sentences(source: str, known: frozenset[str]) -> Iterator[tuple[str, str]]:
    """(word, sentence) of headwords that are in `known`: the first definition of each, without its marks."""
    pattern = re.compile(r"^([A-Z][a-z]{2,}) \\[^\n]*\n(?:   [^\n]*\n)*?((?:   [^\n]+\n)+)", re.MULTILINE)
    seen: set[str] = set()
    for found in pattern.finditer(source):
        word = found.group(1)
        if word.lower() not in known or word in seen:
            continue
        body = found.group(0).partition("\n")[2]
        first = found.group(0).partition("\n")[0]
        if first.count("[") > first.count("]"):  # the etymology goes on below the headword
            body = body.partition("]")[2]
        text = tidy(re.sub(r"\[[^\]]*\]|[{}]|--\s?[A-Z][\w. ]*|\([A-Z][\w. &]*\)|^\s*\d+\.", " ", body))
        text = re.split(r"(?<=[a-z\)])[.;](?: |$)", text.lstrip(" .,;"))[0].strip(" .,;")
        if _OFFENSIVE.search(f"{word} {text}") or re.search(r"[\\`^*_=|]", text):
            continue
        if 15 <= len(text) <= 240 and text[0].isupper():
            seen.add(word)
            yield word.lower(), f"{word}: {text[0].lower()}{text[1:]}."


def foldoc_sentences(source: str) -> Iterator[tuple[str, str]]:
    """(term, text) of FOLDOC and the Jargon File: the first paragraph of each entry."""
    for found in re.finditer(r"^(\S[^\n]{1,38})\n(?: [^ \n][^\n]*\n)?\n?((?:   [^\n]+\n)+)", source, re.MULTILINE):
        term, body = found.groups()
        marks = r"<[^>]*>|[{}]|/[^/\n ]{2,30}/|^\s*[nvi]+\. |\[[^\]]*\]|^\s*\d+\. "
        text = tidy(re.sub(marks, " ", body)).lstrip(" ,.")
        if _OFFENSIVE.search(text) or not re.fullmatch(r"[A-Za-z][\w +#'-]*", term):
            continue
        if 60 <= len(text) <= 700 and text.endswith(".") and text[0].isupper():
            yield term, f"{term}: {text}"

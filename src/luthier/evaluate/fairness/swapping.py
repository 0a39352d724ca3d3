"""Words of a text are swapped for their counterparts: whole words, in the same case, pronouns by their place.

"her" becomes "his" before what looks like a noun and "him" elsewhere, "his" becomes "her" or "hers" likewise: a
heuristic without a parser, wrong now and then ("I saw her duck").
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from luthier.evaluate.fairness.swap_lists import SwapList, Years

# What follows "her" where it is an object: "told her that", "gave her a", "with her in".
_NO_NOUN_WORDS = (
    "a an the this that these those and or but nor so because if when while as than then to of in on at by for "
    "from with without into onto about after before behind over under up down out off away back through during "
    "until since is was are were be been being has had have do does did will would can could should may might "
    "must not never again too also yet just even ever always often now here there today yesterday tomorrow "
    "tonight later soon how what where who whom why which whether he she it they we you i him them me us his "
    "hers my your our their its all both some any no something anything nothing everything alone himself "
    "herself anyway instead very really quite go come get feel look cry laugh leave stay think know make say "
    "want "
)
_NO_NOUN = frozenset(_NO_NOUN_WORDS.split())
_WORD = re.compile(r"\s+([A-Za-z][A-Za-z'\u2019-]*)")
_ARTICLE = re.compile(r"(?<![\w'\u2019-])(an?)(\s+)$", re.IGNORECASE)
_AGE = re.compile(
    r"(?<![\w.,-])(\d{2})(?=[\s-]+(?:years?|yrs?)[\s-]+olds?(?!\w)|[\s-]*(?:y/o|yo)(?!\w))", re.IGNORECASE
)
_VOWEL = re.compile(r"(?!eu|ukr|ugan|uru|uni|use|one)[aeiou]", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Piece:
    """Characters `start` to `end` of the old text became `new_start` to `new_end` of the new one."""

    start: int
    end: int
    new_start: int
    new_end: int


@dataclass(frozen=True, slots=True)
class Swapped:
    """A text after a swap, and where it was changed."""

    text: str
    pieces: tuple[Piece, ...]

    def back(self, start: int, end: int) -> tuple[int, int]:
        """Where a span of the new text lay in the old one; a border inside a changed word moves to its edge."""
        return self._back(start, edge_is_end=False), self._back(end, edge_is_end=True)

    def _back(self, place: int, *, edge_is_end: bool) -> int:
        shift = 0
        for piece in self.pieces:
            if place <= piece.new_start:
                break
            if place < piece.new_end:
                return piece.end if edge_is_end else piece.start
            shift = piece.end - piece.new_end
        return place + shift


class Swapper:
    """The words of one list, ready to be found and swapped."""

    def __init__(self, words: SwapList) -> None:
        self.words = words
        self._sides: dict[str, list[str]] = {}
        for side, entries in words.sides.items():
            for entry in entries:
                for word in entry:
                    places = self._sides.setdefault(word.lower(), [])
                    if side not in places:
                        places.append(side)
        self._capital = {word.lower() for entries in words.sides.values() for entry in entries for word in entry
                         if word[0].isupper()}  # fmt: skip
        self._pattern = _any_of(self._sides)
        self._tables = {(a, b): self._table(a, b) for a in words.sides for b in words.sides if a != b}

    def _table(self, a: str, b: str) -> dict[str, str]:
        """Word, in lower case, to its counterpart, for a swap of sides `a` and `b` with each other."""
        table: dict[str, str] = {}
        for here, there in ((a, b), (b, a)):
            for entry, counterpart in zip(self.words.sides[here], self.words.sides[there], strict=True):
                for word in entry:
                    table.setdefault(word.lower(), counterpart[0])
        return table

    def side_in(self, text: str) -> str | None:
        """The side whose word occurs first; None where none does."""
        found = [(match.start(), self._sides[match.group().lower()][0]) for match in self._matches(text)][:1]
        years = self.words.years
        if years is not None:
            found += [(match.start(), side) for match in _AGE.finditer(text)
                      if (side := _age_side(int(match.group(1)), years)) in self.words.sides]  # fmt: skip
        return min(found)[1] if found else None

    def _matches(self, text: str) -> Iterator[re.Match[str]]:
        for match in self._pattern.finditer(text):
            if match.group()[0].isupper() or match.group().lower() not in self._capital:
                yield match

    def swap(self, text: str, a: str, b: str) -> Swapped:
        """Words of side `a` become those of `b`, and those of `b` become those of `a`."""
        table = self._tables[a, b]
        changes: list[tuple[int, int, str]] = []
        for match in self._matches(text):
            word = match.group().lower()
            if word in table:
                new = _pronoun(word, text[match.end() :], table) or table[word]
                changes.append((match.start(), match.end(), _in_case(new, match.group())))
        if self.words.years is not None:
            changes += _ages(text, self.words.years)
        return _apply(text, sorted(changes))


def _any_of(words: dict[str, list[str]]) -> re.Pattern[str]:
    longest_first = sorted(words, key=lambda word: (-len(word), word))
    either = "|".join(re.escape(word).replace(r"\ ", r"\s+") for word in longest_first)
    return re.compile(rf"(?<![\w-])(?:{either})(?!\w)", re.IGNORECASE)


def _pronoun(word: str, after: str, table: dict[str, str]) -> str | None:
    """The counterpart of a pronoun that has two; None for any other word."""
    if word == "her" and "him" in table and "his" in table:
        return "his" if _noun_follows(after) else "him"
    if word == "his" and "her" in table and "hers" in table:
        return "her" if _noun_follows(after) else "hers"
    if word == "hers" and "his" in table:
        return "his"
    if word == "him" and "her" in table:
        return "her"
    return None


def _noun_follows(after: str) -> bool:
    found = _WORD.match(after)
    return found is not None and found.group(1).lower() not in _NO_NOUN


def _in_case(new: str, old: str) -> str:
    if len(old) > 1 and old.isupper():
        return new.upper()
    if old[0].isupper():
        return new[0].upper() + new[1:]
    return new


def _age_side(age: int, years: Years) -> str | None:
    for name, (low, high) in (("young", years.young), ("old", years.old)):
        if low <= age <= high:
            return name
    return None


def _ages(text: str, years: Years) -> Iterator[tuple[int, int, str]]:
    for match in _AGE.finditer(text):
        age = int(match.group(1))
        side = _age_side(age, years)
        if side is not None:
            yield match.start(1), match.end(1), str(age + (years.apart if side == "young" else -years.apart))


def _apply(text: str, changes: list[tuple[int, int, str]]) -> Swapped:
    pieces: list[Piece] = []
    parts: list[str] = []
    done = length = 0

    def write(start: int, end: int, new: str) -> None:
        nonlocal done, length
        parts.extend((text[done:start], new))
        length += start - done
        pieces.append(Piece(start, end, length, length + len(new)))
        length += len(new)
        done = end

    for start, end, new in changes:
        if text[start:end] == new:
            continue
        article = _ARTICLE.search(text, done, start)
        vowel = _VOWEL.match(new) is not None
        if article is not None and (_VOWEL.match(text[start:end]) is not None) != vowel:
            write(article.start(1), article.end(1), _in_case("an" if vowel else "a", article.group(1)[0]))
        write(start, end, new)
    parts.append(text[done:])
    return Swapped("".join(parts), tuple(pieces))

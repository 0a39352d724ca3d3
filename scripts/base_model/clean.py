"""Plain English paragraphs out of HTML and XML.

`html_paragraphs` yields them in the order of the file; `is_plain`, `CommonWords` and `Duplicates` decide which stay.
Headings, listings, tables, menus and navigation are left out: a small model learns sentences from sentences.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator

MINIMUM = 40
"""Characters of the shortest paragraph that is kept."""
LONGEST_SENTENCE = 32
"""Words that a paragraph's sentences may have in the mean."""

_ASCII = str.maketrans(
    {
        "\u2018": "'", "\u2019": "'", "\u201a": "'", "\u201c": '"', "\u201d": '"', "\u201e": '"',
        "\u2032": "'", "\u2033": '"', "\u00b4": "'", "\u2026": "...", "\u2013": "-", "\u2014": " - ", "\u2012": "-",
        "\u2010": "-", "\u2011": "-", "\u2212": "-", "\u00a0": " ", "\u202f": " ", "\u2009": " ", "\u200b": "",
        "\u00ad": "", "\ufeff": "", "\u2192": "->", "\u2190": "<-", "\u21d2": "=>", "\u2022": "-", "\u00b7": "-",
        "\u00b6": "", "\u00ab": '"', "\u00bb": '"', "\ufb01": "fi", "\ufb02": "fl",
    }
)  # fmt: skip
_FREQUENT = frozenset(
    re.findall(
        r"\w+",
        "the of and to a in is that it for as with be are this by on or an from not can at which you if will have was"
        " has its when but they we he his she her their your one all there use used may more other no any so than then"
        " these do into only also such i my me our who what how out up some them were had been would could should about"
        " over",
    )
)
_WORD = re.compile(r"[A-Za-z][A-Za-z'-]*")
_SPACE = re.compile(r"\s+")
_MARKS = re.compile(r"[{}\\|<>=_@#*~^$\[\]`]|\w/\w+/|https?:|\.(?:org|com|conf|txt|png|html?)\b|[a-z]\.[a-z]+\(|--")
_INNER_CAPITAL = re.compile(r"(?!LibreOffice|GnuCash|KStars|AisleRiot|JavaScript|PostScript)\b\w*[a-z][A-Z]\w*")
_LOOSE_END = re.compile(
    r"\b(?:see|of|the|to|from|and|a|with|section|by|is|are|called|or|detail in|explained in|described in|shown in)"
    r" ?[.,;)]",
    re.IGNORECASE,
)
"""Where a link was that has no text of its own."""
_ENTITY = re.compile(r"&(?!amp;|lt;|gt;|quot;|nbsp;|apos;)([A-Za-z][\w.-]*);")
_BUTTONS = {"LMB": "left mouse button", "RMB": "right mouse button", "MMB": "middle mouse button", "gnum": "Gnumeric",
            "kde": "KDE", "Ctrl": "Ctrl", "mdash": " - ", "ndash": "-", "hellip": "..."}  # fmt: skip
_DROPPED = (
    "script,style,nav,table,pre,header,footer,aside,form,.toc,.navheader,.navfooter,.related,.sphinxsidebar,.headerlink"
)


def tidy(text: str) -> str:
    """One line with plain quotes, dashes and single spaces."""
    text = _SPACE.sub(" ", text.translate(_ASCII)).strip()
    return re.sub(r" ([,.;:?!])(?= |$)", r"\1", text)


def is_plain(text: str) -> bool:
    """Whether a tidied paragraph is whole English sentences without code, paths, lists of options or many numbers."""
    if not MINIMUM <= len(text) <= 1000 or text[-1] not in ".?!" or not text[0].isupper() or not text.isascii():
        return False
    words = _WORD.findall(text)
    sentences = len(re.findall(r"[.?!](?= |$)", text))
    if len(words) < 7 or len(words) > LONGEST_SENTENCE * sentences or sum(map(len, words)) < 0.74 * len(text):
        return False
    if _MARKS.search(text) or _LOOSE_END.search(text) or _INNER_CAPITAL.search(text) or max(map(len, words)) > 18:
        return False
    if text.count("(") > 2 or text.count(" - ") > 2 or text.count('"') % 2 or text.count("(") != text.count(")"):
        return False
    capitals = sum(len(word) > 1 and word.isupper() for word in words)
    digits = sum(letter.isdigit() for letter in text)
    frequent = sum(word.lower() in _FREQUENT for word in words)
    return capitals <= 2 and digits <= 0.03 * len(text) and frequent >= 0.25 * len(words)


class CommonWords:
    """The `size` words that stand in most paragraphs; text with many others is too hard for a small model."""

    def __init__(self, paragraphs: Iterable[str], size: int) -> None:
        counts: Counter[str] = Counter()
        for text in paragraphs:
            counts.update({word.lower() for word in _WORD.findall(text)})
        ranked = sorted(counts, key=lambda word: (-counts[word], word))
        self._known = frozenset(ranked[:size])

    def cover(self, text: str, share: float = 0.95) -> bool:
        """Whether at least `share` of the words are common ones."""
        words = [word.lower() for word in _WORD.findall(text)]
        return sum(word in self._known for word in words) >= share * len(words)


class Duplicates:
    """Remembers paragraphs: one that was seen, or begins with the same 80 letters as one seen, is a repetition.

    Licence notices, templates and the same page in two manuals differ only in their last words or numbers.
    """

    def __init__(self) -> None:
        self._seen: set[bytes] = set()

    def add(self, text: str) -> bool:
        """Whether the paragraph is new."""
        letters = re.sub(r"[^a-z]+", "", text.lower())
        key = hashlib.blake2b(letters[:80].encode(), digest_size=8).digest()
        if key in self._seen:
            return False
        self._seen.add(key)
        return True


def html_paragraphs(source: str) -> Iterator[str]:
    """Paragraphs, list items and definitions."""
    from selectolax.lexbor import LexborHTMLParser

    tree = LexborHTMLParser(_ENTITY.sub(lambda found: entity(found.group(1)), source))
    for node in tree.css(_DROPPED):
        node.decompose()
    for node in tree.css("p,li,dd,para,div.para"):
        inner = (item.mem_id for item in node.css("p,li,para,div.para"))
        if node.tag in ("li", "dd", "div") and any(item != node.mem_id for item in inner):
            continue
        yield tidy(node.text(deep=True, separator=""))


def entity(name: str) -> str:
    """What a DocBook entity stands for: KDE's manuals write ``&kmail;`` and ``&LMB;``."""
    if name in _BUTTONS or not name.isalpha():
        return _BUTTONS.get(name, "")
    return f"K{name[1:].capitalize()}" if re.match(r"k[a-z]{3}", name) else f"{name[0].upper()}{name[1:]}"


def documents(paragraphs: Iterable[str], longest: int = 1100, shortest: int = 120) -> Iterator[str]:
    """Paragraphs of one file joined to texts of about `longest` characters; a short last one is left out."""
    parts: list[str] = []
    for text in paragraphs:
        if parts and sum(map(len, parts)) + len(text) > longest:
            yield "\n\n".join(parts)
            parts = []
        parts.append(text)
    if sum(map(len, parts)) >= shortest:
        yield "\n\n".join(parts)


def sentences(text: str) -> list[str]:
    """A paragraph's sentences."""
    return re.split(r"(?<=[a-z)\"'][.?!]) (?=[A-Z\"])", text)

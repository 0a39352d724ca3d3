"""Plain English paragraphs out of HTML, XML, reStructuredText, POD and game scripts.

Every reader yields paragraphs in the order of the file; `is_prose` and `Duplicates` decide which stay.
Listings, tables, menus and navigation are left out: a small model learns sentences from sentences.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator

MINIMUM = 40
"""Characters of the shortest paragraph that is kept."""

_ASCII = str.maketrans(
    {
        "\u2018": "'", "\u2019": "'", "\u201a": "'", "\u201c": '"', "\u201d": '"', "\u201e": '"',
        "\u2032": "'", "\u2033": '"', "\u00b4": "'", "\u2026": "...", "\u2013": "-", "\u2014": " - ", "\u2012": "-",
        "\u2010": "-", "\u2011": "-", "\u2212": "-", "\u00a0": " ", "\u202f": " ", "\u2009": " ", "\u200b": "",
        "\u00ad": "", "\ufeff": "", "\u2192": "->", "\u2190": "<-", "\u21d2": "=>", "\u2022": "-", "\u00b7": "-",
        "\u00b6": "", "\u00ab": '"', "\u00bb": '"', "\ufb01": "fi", "\ufb02": "fl",
    }
)  # fmt: skip
_COMMON = frozenset(
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
_STRAY = re.compile(r"https?://\S{40,}|[{}\\|<>]|__|==|::|\$\w|[/_]\w+[/_]\w+[/_]")
_DROPPED = (
    "script,style,nav,table,pre,header,footer,aside,form,.toc,.navheader,.navfooter,.related,.sphinxsidebar,.headerlink"
)


def tidy(text: str) -> str:
    """One line with plain quotes, dashes and single spaces."""
    text = _SPACE.sub(" ", text.translate(_ASCII)).strip()
    return re.sub(r" ([,.;:?!])(?= |$)", r"\1", text)


def is_prose(text: str) -> bool:
    """Whether a tidied paragraph reads as English sentences rather than as a list, a menu or code."""
    if not MINIMUM <= len(text) <= 2500 or text[-1] not in ".?!\")'" or not (text[0].isalnum() or text[0] in "\"'(-"):
        return False
    words = _WORD.findall(text)
    if len(words) < 7 or sum(map(len, words)) < 0.68 * len(text) or (not text.isascii() and _foreign(text)):
        return False
    common = sum(word.lower() in _COMMON for word in words)
    return common >= 0.2 * len(words) and len(_STRAY.findall(text)) <= len(text) // 200


def _foreign(text: str) -> bool:
    return sum(not letter.isascii() for letter in text) > 0.02 * len(text)


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


def html_paragraphs(source: str, headings: str = "h1,h2,h3,h4") -> Iterator[str]:
    """Paragraphs, list items and definitions; headings as short lines of their own."""
    from selectolax.lexbor import LexborHTMLParser

    tree = LexborHTMLParser(source)
    for node in tree.css(_DROPPED):
        node.decompose()
    titles = set(headings.split(","))
    for node in tree.css(f"p,li,dd,para,div.para,{headings}"):
        inner = (item.mem_id for item in node.css("p,li,para,div.para"))
        if node.tag in ("li", "dd", "div") and any(item != node.mem_id for item in inner):
            continue
        text = tidy(node.text(deep=True, separator=""))
        if node.tag in titles:
            text = re.sub(r"^(chapter|section|appendix)?\s*[\dA-Z]{0,2}(\.\d+)*\.? ", "", text, flags=re.IGNORECASE)
            if 3 < len(text) < 90 and text.isascii():
                yield f"# {text}"
        else:
            yield text


def text_paragraphs(source: str) -> Iterator[str]:
    """Blocks between empty lines; indented ones (listings) are left out."""
    for block in re.split(r"\n[ \t]*\n", source):
        if not block.strip():
            continue
        lines = block.strip("\n").split("\n")
        if all(line.startswith((" ", "\t")) for line in lines):
            continue
        yield tidy(block)


def rst_paragraphs(source: str) -> Iterator[str]:
    """Running text of reStructuredText: no directives, no listings, roles and marks removed."""
    source = re.sub(r"^(.+)\n([=~^*#-])\2{2,}\s*$", r"\n\n@@\1\n\n", source, flags=re.MULTILINE)
    for block in re.split(r"\n[ \t]*\n", source):
        first = block.strip("\n").split("\n")[0]
        if first.startswith("@@"):
            yield f"# {tidy(first[2:])}"
        elif first.strip() and not first.startswith((" ", "\t", "..", ":", "+-", "|", "=", "@", "[")):
            text = re.sub(r":[\w:]+:`([^`<]+?)\s*(?:<[^`]*>)?`", r"\1", block)
            text = re.sub(r"`([^`<]+?)\s*<[^`]*>`_*", r"\1", re.sub(r"``([^`]*)``", r"\1", text))
            text = re.sub(r"\*\*?([^*\n]+)\*\*?", r"\1", text).replace("`_", "").replace("`", "")
            yield tidy(re.sub(r"::\s*$", ":", text))


def pod_paragraphs(source: str) -> Iterator[str]:
    """Running text of Perl's documentation format."""
    entities = {"lt": "<", "gt": ">", "verbar": "|", "sol": "/"}
    for block in source.split("\n\n"):
        block = block.strip("\n")
        title = re.match(r"=head\d\s+(.*)", block)
        if title is None and (not block or block.startswith((" ", "\t", "="))):
            continue
        text = title.group(1) if title else block
        for _ in range(3):
            text = re.sub(r"E<(\w+)>", lambda found: entities.get(found.group(1), ""), text)
            text = re.sub(r"L<(?:([^|<>]+)\|)?([^<>]+)>", lambda found: found.group(1) or found.group(2), text)
            text = re.sub(r"[BCFIS]<<+ (.*?) >>+", r"\1", re.sub(r"[BCFIS]<([^<>]*)>", r"\1", text))
            text = re.sub(r"[XZ]<[^<>]*>", "", text)
        yield f"# {tidy(text)}" if title else tidy(text)


def script_paragraphs(source: str) -> Iterator[str]:
    """Story and speech of Wesnoth's scenario language: what stands in translatable quotes, with who says it."""
    speaker = ""
    pattern = re.compile(r'speaker\s*=\s*"?([\w \'-]+)|(\[/message\])|(\w+)\s*=\s*_\s*"((?:[^"]|"")*)"')
    for found in pattern.finditer(source):
        name, end, key, text = found.groups()
        if name or end:
            speaker = (name or "").strip()
            continue
        text = tidy(re.sub(r"<[^>]*>", "", re.sub(r"^[^^\"]{0,40}\^", "", text).replace('""', '"')))
        if key == "message" and speaker and speaker[0].isupper():
            yield f"{speaker}: {text}"
        elif key in ("message", "story", "description", "note") and len(text) >= MINIMUM:
            yield text


def entry_paragraphs(source: str) -> Iterator[str]:
    """Descriptions between lines of ``%%%%``, whose first line is a key."""
    for entry in source.split("%%%%"):
        lines = [line for line in entry.strip().split("\n") if not line.startswith("#")]
        if len(lines) > 1 and "{{" not in entry and "@" not in entry:
            text = tidy(" ".join(lines[1:]))
            if re.fullmatch(r"[A-Z][\w' -]+", lines[0]) and not text.startswith(lines[0]):
                text = f"{lines[0]}: {text}"
            yield text


def documents(paragraphs: Iterable[str], duplicates: Duplicates, longest: int = 2400) -> Iterator[str]:
    """Kept paragraphs of one file joined to texts of 200 to about `longest` characters.

    A line that begins with ``# `` is a heading: it goes before the next paragraph that is kept.
    """
    parts: list[str] = []
    heading = ""
    for text in paragraphs:
        if text.startswith("# "):
            heading = text[2:]
        elif is_prose(text) and duplicates.add(text):
            size = sum(map(len, parts))
            if size + len(text) > longest or (heading and size > longest // 2):
                yield "\n\n".join(parts)
                parts = []
            parts += [heading, text] if heading else [text]
            heading = ""
    if sum(map(len, parts)) >= 200:
        yield "\n\n".join(parts)

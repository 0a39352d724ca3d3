"""Personal data, found by form and, where there is one, by check digit. The value is never repeated.

Payment cards: Luhn check digit (ISO/IEC 7812-1, annex B). IBAN: mod 97 = 1 and the length of the
country (ISO 13616, SWIFT registry). Every pattern is linear: bounded repeats, no nested ones, and
what is costly runs only where a cheap look finds an at sign or seven digits.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from luthier.data.checks.base import Context
from luthier.data.samples import Finding, Sample

_LOCAL = re.compile(r"[A-Za-z0-9_%+\-](?![A-Za-z0-9])")
_DOMAIN = re.compile(r"@[^\W_](?:[\w\-]{0,62}\.){1,6}[^\W\d_]{2,24}(?![\w\-])")
_SEVEN = re.compile(r"(?:\d[^\d]{0,3}){6}\d")
_CARD = re.compile(
    r"(?<![\d.])(?:"
    r"\d{4}([ \-])\d{4}\1\d{4}\1\d{4}(?:\1\d{3})?"
    r"|3[47]\d{2}([ \-])\d{6}\2\d{5}"
    r"|3[068]\d{2}([ \-])\d{6}\3\d{4}"
    r"|\d{13,19}"
    r")(?!\d)"
)
_NETWORK = re.compile(r"4(?:\d{12}|\d{15}|\d{18})|(?:5[1-5]|2[2-7])\d{14}|3[47]\d{13}|3[068]\d{12}|35\d{14}|6\d{15,18}")
"""First digits and lengths of the payment networks."""
_IBAN = re.compile(r"(?<![A-Za-z0-9])([A-Za-z]{2}\d{2})")
_PHONE = re.compile(
    r"(?<![\w+.,/\-])(?:"
    r"\+(?:\d[ .\-()/]{0,2}){7,14}\d"  # E.164, up to 15 digits
    r"|00[1-9](?:[ .\-()/]{0,2}\d){7,13}"
    r"|(?:1[ .\-])?(?:\(\d{3}\) ?|\d{3}[ .\-])\d{3}[ .\-]\d{4}"  # North America
    r"|\(?0\d{1,4}\)?[ /\-]\d{3,4}[ \-]?\d{3,4}(?:[ \-]?\d{2,4})?"  # with a trunk prefix
    r"|0\d{2}(?:[ .]\d{2}){4}|0\d(?:[ .]\d{2}){4}"
    r"|0[1-9]\d{8,9}"
    r")(?![\w\-]|[.,]\d)"
)
_IBAN_LENGTH = {
    country: length
    for length, countries in {
        15: "NO", 16: "BE", 18: "DK FK FI FO GL NL SD", 19: "MK SI", 20: "AT BA EE KZ LT LU MN XK",
        21: "CH HR LI LV", 22: "BG BH CR DE GB GE IE ME RS VA", 23: "AE GI IL IQ OM SO TL",
        24: "AD CZ ES MD PK RO SA SE SK TN VG", 25: "LY PT ST", 26: "IS TR",
        27: "BI DJ FR GR IT MC MR SM", 28: "AL AZ BY CY DO GT HU LB NI PL SV", 29: "BR EG PS QA UA",
        30: "JO KW MU YE", 31: "MT SC", 32: "LC", 33: "RU",
    }.items()
    for country in countries.split()
}  # fmt: skip
KINDS = {
    "email": "an e-mail address",
    "phone": "what looks like a phone number",
    "card": "a payment card number (its check digit is right)",
    "iban": "a bank account number (IBAN; its check digits are right)",
}


def luhn(digits: str) -> bool:
    """Whether the last digit is the Luhn check digit of the others."""
    doubled = (int(digit) * 2 for digit in digits[-2::-2])
    return (sum(map(int, digits[-1::-2])) + sum(value - 9 * (value > 9) for value in doubled)) % 10 == 0


def _is_card(number: str) -> bool:
    digits = number.replace(" ", "").replace("-", "")
    return _NETWORK.fullmatch(digits) is not None and len(set(digits)) > 1 and luhn(digits)


def _iban_at(text: str, start: int) -> int:
    """Where the IBAN that begins at `start` ends, or 0."""
    length = _IBAN_LENGTH.get(text[start : start + 2].upper(), 0)
    signs, at = "", start
    while len(signs) < length and at < len(text):
        if text[at].isascii() and text[at].isalnum():
            signs += text[at].upper()
        elif text[at] not in " -" or text[at - 1] in " -":
            return 0
        at += 1
    if not length or len(signs) < length or (at < len(text) and text[at].isalnum()):
        return 0
    number = "".join(str(int(sign, 36)) for sign in signs[4:] + signs[:4])
    return at if int(number) % 97 == 1 else 0


def has_email(text: str) -> bool:
    """Whether an e-mail address stands in the text."""
    at = text.find("@")
    while at >= 0:
        if at and _LOCAL.match(text, at - 1) and _DOMAIN.match(text, at):
            return True
        at = text.find("@", at + 1)
    return False


def kinds_of(text: str) -> set[str]:
    """Which of `KINDS` stand in the text."""
    found: set[str] = set()
    if "@" in text and has_email(text):
        found.add("email")
    if _SEVEN.search(text) is None:
        return found
    taken: list[tuple[int, int]] = []
    for match in _IBAN.finditer(text):
        if end := _iban_at(text, match.start()):
            found.add("iban")
            taken.append((match.start(), end))
    for match in _CARD.finditer(text):
        if not _within(match, taken) and _is_card(match.group()):
            found.add("card")
            taken.append(match.span())
    if any(not _within(match, taken) and not _CARD.fullmatch(match.group()) for match in _PHONE.finditer(text)):
        found.add("phone")
    return found


def _within(match: re.Match[str], taken: list[tuple[int, int]]) -> bool:
    return any(match.start() < end and start < match.end() for start, end in taken[-8:])


class PersonalData:
    """One finding per row, column and kind."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._counts = dict.fromkeys(KINDS, 0)

    def see(self, index: int, sample: Sample) -> None:
        for column, text in self._context.texts(sample):
            for kind in kinds_of(text):
                self._counts[kind] += 1
                self._context.report(
                    self._context.table.finding(
                        index,
                        f"personal_{kind}",
                        "warning",
                        f"{column!r} holds {KINDS[kind]}.",
                        "Replace it by a placeholder unless you may use it; a tuned model can repeat it.",
                        column=column,
                        kind=kind,
                    )
                )

    def finish(self) -> Iterator[Finding]:
        return iter(())

    def stats(self) -> dict[str, Any]:
        return {"personal_data": self._counts}

"""What a row alone shows: personal data, damage, language, length, spans and scores."""

import json
import time

import pytest
from test_checks import SENTENCES, clean_rows, csv, found, one

from luthier.core.text import Encoded
from luthier.data.checks import check
from luthier.data.checks.personal import kinds_of, luhn


class WordEncoder:
    """A word is a token; ids are the lengths of the words."""

    fingerprint, pad_id, max_length, uses_type_ids = "words", 0, 16, False

    def encode(self, texts, *, max_length=None, cut="end"):
        limit = min(max_length or self.max_length, self.max_length)
        return [self._one(text if isinstance(text, str) else " ".join(text), limit) for text in texts]

    def _one(self, text, limit):
        offsets, at = [], 0
        for word in text.split():
            at = text.index(word, at)
            offsets.append((at, at + len(word)))
            at += len(word)
        ids = [1, *(end - start for start, end in offsets), 2]
        kept = [(0, 0), *offsets[: limit - 2], (0, 0)]
        return Encoded([*ids[: limit - 1], 2] if len(ids) > limit else ids, [0] * len(kept), kept, len(ids))

    def tokens(self, ids):
        return [f"w{number}" for number in ids]


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ("write to jane.doe+news@mail.example.co.uk, please", {"email"}),
        ("Ann <ann_1@web.de>", {"email"}),
        ("an @mention and a@b", set()),
        ("meet @ 5 p.m. on friday.then go", set()),
        ("call +49 (0)170 123 45 67 tonight", {"phone"}),
        ("call +14155552671", {"phone"}),
        ("my number is (415) 555-2671.", {"phone"}),
        ("or 415-555-2671?", {"phone"}),
        ("ring 030 1234567 or so", {"phone"}),
        ("appelez le 06 12 34 56 78", {"phone"}),
        ("on 2024-05-17 at 10:15:30 we paid 1,234,567.89 for 12 things", set()),
        ("order 100200300 arrived 17.05.2024", set()),
        ("isbn 978-0-306-40615-7", set()),
        ("card 4111 1111 1111 1111 exp", {"card"}),
        ("card 4111-1111-1111-1111", {"card"}),
        ("card 378282246310005", {"card"}),
        ("card 3782 822463 10005", {"card"}),
        ("card 4111 1111 1111 1112 exp", set()),
        ("number 4111111111111112", set()),
        ("zeros 0000000000000000", set()),
        ("iban GB82 WEST 1234 5698 7654 32 and more", {"iban"}),
        ("iban DE89370400440532013000.", {"iban"}),
        ("iban de89 3704 0044 0532 0130 00", {"iban"}),
        ("iban DE88370400440532013000.", set()),
        ("iban GB82 WEST 1234 5698 7654 321", set()),
        ("a@b.org has 4111 1111 1111 1111 at +1 415 555 2671", {"email", "card", "phone"}),
    ],
)
def test_kinds_of_personal_data(text, kinds):
    assert kinds_of(text) == kinds


def test_luhn_finds_every_changed_digit():
    number = "4539148803436467"
    assert luhn(number)
    for place in range(len(number)):
        for digit in set("0123456789") - {number[place]}:
            assert not luhn(number[:place] + digit + number[place + 1 :])


@pytest.mark.parametrize(
    "piece",
    [
        "a",
        "@",
        "a@",
        "a.",
        "a@b.",
        "x@a.a.",
        "1",
        "1 ",
        "1-",
        "+1 ",
        "(0",
        "0 ",
        "GB82",
        "DE44 ",
        "4111 ",
        "(555) ",
        "00 ",
    ],
)
def test_patterns_stay_linear(piece):
    """300,000 characters take a fraction of a second; a quadratic pattern would take hours."""
    begin = time.perf_counter()
    kinds_of(piece * (300_000 // len(piece)))
    assert time.perf_counter() - begin < 20


@pytest.mark.parametrize("piece", ["Ã", "Ã¼", "â€", "\u200b", "\ufffd", "\x01", "é "])
def test_damage_patterns_stay_linear(tmp_path, piece):
    path = tmp_path / "long.jsonl"
    rows = [{"text": piece * 200_000, "label": "a"}, {"text": "fine", "label": "b"}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    begin = time.perf_counter()
    check(str(path))
    assert time.perf_counter() - begin < 20


def test_personal_data_say_kind_and_column_and_never_the_value(tmp_path):
    secrets = ["ann.smith@corp.org", "+49 170 1234567", "4111 1111 1111 1111", "GB82 WEST 1234 5698 7654 32"]
    rows = [(text, "note", label) for text, label in clean_rows(60)]
    for k, secret in enumerate(secrets):
        rows[k] = (rows[k][0], f"see {secret}", rows[k][2])
    report = check(csv(tmp_path / "d.csv", rows, "text,text_pair,label"))
    for line, kind in enumerate(("email", "phone", "card", "iban"), start=2):
        finding = one(report, f"personal_{kind}")
        assert (finding.line, finding.severity) == (line, "warning")
        assert (finding.other["kind"], finding.other["column"]) == (kind, "text_pair")
    assert report.stats["personal_data"] == {"email": 1, "phone": 1, "card": 1, "iban": 1}
    told = json.dumps([item.to_dict() for item in report.findings])
    assert not any(secret in told for secret in secrets)


def changed(tmp_path, line, text, **options):
    """Clean data with another text at `line`."""
    rows = clean_rows(90)
    rows[line - 2] = (text, rows[line - 2][1])
    return check(csv(tmp_path / "d.csv", rows), **options)


def test_mojibake_with_its_repair(tmp_path):
    wrong = "die schöne Straße in München".encode().decode("windows-1252")
    finding = one(changed(tmp_path, 9, wrong), "mojibake")
    assert finding.line == 9
    assert "die schöne Straße" in finding.remedy


@pytest.mark.parametrize(
    "text",
    [
        "naïve café, déjà vu",
        "Ünïcödé 𝒻𝓊𝓃 👩\u200d👩\u200d👧 done",
        "نص\u200cعربي",
        "これは良い映画です",
        "10 € – “fine”",
    ],
)
def test_good_unicode_is_left_in_peace(tmp_path, text):
    report = changed(tmp_path, 9, text.replace(",", ""))
    assert not {"mojibake", "invisible_characters", "control_characters", "lost_characters"} & {
        c.code for c in report.codes
    }


@pytest.mark.parametrize(
    ("sign", "code", "name"),
    [
        ("\u200b", "invisible_characters", "ZERO WIDTH SPACE"),
        ("\u202e", "invisible_characters", "RIGHT-TO-LEFT OVERRIDE"),
        ("\u00ad", "invisible_characters", "SOFT HYPHEN"),
        ("\x07", "control_characters", "U+0007"),
        ("\x85", "control_characters", "U+0085"),
        ("\ufffd", "lost_characters", "U+FFFD"),
    ],
)
def test_characters_that_nobody_sees(tmp_path, sign, code, name):
    path = tmp_path / "d.jsonl"
    rows = [{"text": text, "label": label} for text, label in clean_rows(40)]
    rows[6]["text"] = f"with {sign} inside"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    finding = one(check(str(path)), code)
    assert finding.line == 7
    assert name in finding.message


def test_language_outlier(tmp_path):
    finding = one(changed(tmp_path, 9, "Gestern hat mir der Nachbar sein altes Fahrrad geschenkt"), "language_outlier")
    assert (finding.line, finding.severity, finding.other["language"]) == (9, "info", "de")
    assert "English" in finding.message


def test_two_languages_side_by_side_are_no_outliers(tmp_path):
    german = [
        "Der Bäcker verkauft am Morgen frisches Brot an alle Kunden",
        "Wir haben im Winter lange auf den Zug gewartet",
    ]
    rows = clean_rows(60)
    rows[:24] = [(f"{german[k % 2]} und {number}", "praise") for k, number in enumerate("abcdefghijklmnopqrstuvwx")]
    report = check(csv(tmp_path / "d.csv", rows))
    assert found(report, "language_outlier") == []
    assert report.stats["languages"]["de"] == 24


def test_length_outliers(tmp_path):
    report = changed(tmp_path, 9, " ".join(SENTENCES[100:200]))
    assert (one(report, "length_outlier").line, one(report, "length_outlier").severity) == (9, "info")
    assert "longer" in one(report, "length_outlier").message
    assert "shorter" in one(changed(tmp_path, 5, "x"), "length_outlier").message


def test_length_stats_agree_with_the_texts(tmp_path):
    texts = ["a" * k for k in range(1, 101)]
    stats = check(csv(tmp_path / "d.csv", [(t, "ab"[k % 2]) for k, t in enumerate(texts)])).stats["lengths"][
        "characters"
    ]
    assert (stats["min"], stats["median"], stats["p95"], stats["p99"], stats["max"]) == (1, 50, 95, 99, 100)
    assert sum(step["rows"] for step in stats["histogram"]) == 100
    assert {step["up_to"]: step["rows"] for step in stats["histogram"]}[64] == 32


def test_what_max_length_would_cut(tmp_path):
    report = changed(tmp_path, 9, "w " * 30, encoder=WordEncoder(), max_length=12)
    finding = one(report, "would_be_cut")
    assert (finding.line, finding.severity, finding.other["rows"]) == (9, "warning", 1)
    assert "train.max_length=16" in finding.remedy
    tokens = report.stats["lengths"]["tokens"]
    assert (tokens["max"], tokens["cut_rows"], tokens["cut_share"]) == (32, 1, round(1 / 90, 6))
    assert report.stats["suggested_max_length"] == 16
    limit = changed(tmp_path, 9, "w " * 30, encoder=WordEncoder())
    assert "at most 16" in one(limit, "would_be_cut").remedy
    assert found(changed(tmp_path, 9, "w " * 9, encoder=WordEncoder()), "would_be_cut") == []


def test_sample_as_the_model_sees_it(tmp_path):
    report = changed(tmp_path, 2, "one three", encoder=WordEncoder())
    assert report.sample["tokens"] == ["w1", "w3", "w5", "w2"]
    assert report.sample["ids"] == [1, 3, 5, 2]
    assert (report.sample["target"], report.sample["output"]) == ("praise", 1)
    assert report.sample["cut"] is False

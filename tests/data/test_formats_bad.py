"""Bad input: a finding with its line where the rest can be read, a `DataError` where nothing can."""

import gzip

import pytest

from luthier.core.errors import DataError
from luthier.data.columns import KNOWN
from luthier.data.dataset import Dataset
from luthier.data.formats import recognise
from luthier.data.samples import Finding

GOOD = '{"text": "fine", "label": "a"}'


def items(tmp_path, data, name="d.jsonl", **options):
    path = tmp_path / name
    path.write_bytes(data if isinstance(data, bytes) else data.encode("utf-8", "surrogatepass"))
    return list(Dataset.open(str(path), **options).items())


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ('{"text": "x", "label": NaN}', "bad_number"),
        ('{"text": "x", "label": -Infinity}', "bad_number"),
        ('{"text": "x", "label": 1e400}', "bad_number"),
        ('{"text": "x", "label": ' + "9" * 5000 + "}", "bad_number"),
        ('{"text": "x", "text": "y", "label": "a"}', "duplicate_key"),
        ('{"text": "x", "label": "a", "meta": {"k": 1, "k": 2}}', "duplicate_key"),
        ('{"text": "\\ud800", "label": "a"}', "bad_unicode"),
        ('{"text": "x", "label": "a", "deep": [{"\\uDC00": 1}]}', "bad_unicode"),
        ('{"text": "x", "label": ' + "[" * 100_000 + "]" * 100_000 + "}", "too_deep"),
        ('{"text": "x", "label": ' + '{"a":' * 100_000 + "1" + "}" * 100_000 + "}", "too_deep"),
        ("{'text': 'x'}", "not_json"),
        ('{"text": "x", "label": "a"', "not_json"),
        ('{"text": "tab\tin text", "label": "a"}', "not_json"),
        ('["x", "a"]', "not_object"),
        ('"x"', "not_object"),
        ("null", "not_object"),
        ('{"label": "a"}', "missing_field"),
        ('{"text": "x"}', "missing_field"),
        ('{"text": "", "label": "a"}', "empty_text"),
        ('{"text": "  ", "label": "a"}', "empty_text"),
        ('{"text": null, "label": "a"}', "empty_text"),
        ('{"text": 5, "label": "a"}', "wrong_type"),
        ('{"text": "x", "label": ""}', "empty_label"),
        ('{"text": "x", "label": null}', "empty_label"),
        ('{"text": "x", "label": {"a": 1}}', "wrong_type"),
        ('{"text": "x", "label": ["a"]}', "wrong_type"),
        ("\ud800", "wrong_encoding"),
    ],
)
def test_one_bad_line_is_one_finding_and_the_others_are_read(tmp_path, line, code):
    padding = "\n".join([GOOD] * 1001)
    first, bad, last = items(tmp_path, f"{padding}\n{line}\n{GOOD}\n")[-3:]
    assert isinstance(bad, Finding)
    assert (bad.code, bad.line, bad.severity) == (code, 1002, "error")
    assert bad.message.endswith(".")
    assert bad.remedy
    assert first.text == last.text == "fine"
    assert last.line == 1003


def test_pairs_of_surrogates_are_characters(tmp_path):
    assert items(tmp_path, '{"text": "\\ud83d\\ude00", "label": "a"}')[0].text == "\U0001f600"


@pytest.mark.parametrize("name", ["d.jsonl", "d.csv", "d.jsonl.gz"])
def test_a_5_mb_line_is_refused_without_reading_it_whole(tmp_path, name):
    row, header = (GOOD, "") if "json" in name else ("fine,a", "text,label\n")
    data = f"{header}{row}\n{'x' * 5_000_000}\n{row}\n".encode()
    found = items(tmp_path, gzip.compress(data) if name.endswith("gz") else data, name)
    assert [getattr(item, "code", "row") for item in found] == ["row", "line_too_long", "row"]
    assert found[1].line == found[0].line + 1
    assert "5,000,00" in found[1].message


READ = """
import sys
from luthier.data.dataset import Dataset
print(*(getattr(item, "code", "row") for item in Dataset.open(sys.argv[1]).items()))
"""


def test_a_huge_line_does_not_cost_its_size_in_memory(tmp_path, measured):
    path = tmp_path / "d.jsonl"
    with open(path, "wb") as handle:
        handle.write(f"{GOOD}\n".encode())
        for _ in range(200):
            handle.write(b"x" * 1_000_000)
        handle.write(f"\n{GOOD}\n".encode())
    codes, peak = measured(READ, path)
    assert codes == ["row", "line_too_long", "row"]
    assert peak < 100  # MB; the line has 200


def test_a_quote_that_is_never_closed_names_where_it_opens(tmp_path, monkeypatch):
    monkeypatch.setattr("luthier.data.formats.delimited.LINE_CAP", 100_000)
    rows = "fine,a\n" * 20_000
    found = items(tmp_path, f'text,label\n"one, two",a\n"open,a\n{rows}', "d.csv")
    assert [(item.code, item.line) for item in found if isinstance(item, Finding)] == [("unclosed_quote", 3)]
    assert found[-1].line == 20_003


@pytest.mark.parametrize(
    ("data", "code", "words"),
    [
        (b"", "empty_file", "empty"),
        (b"text,label\n", "no_rows", "text, label"),
        (b"\n\n\n", "empty_file", "blank"),
        (bytes(range(256)) * 10, "binary_file", "zero byte"),
        (b"PK\x03\x04 and so on", "binary_file", "Excel"),
        (b"\x89PNG\r\n", "binary_file", "picture"),
        ("text,label\na,b\n".encode("utf-16"), "wrong_encoding", "UTF-16"),
        ("text,label\na,b\n".encode("utf-16-le"), "wrong_encoding", "UTF-16LE"),
        ("text,label\na,b\n".encode("utf-16-be"), "wrong_encoding", "UTF-16BE"),
        ("text,label\na,b\n".encode("utf-32"), "wrong_encoding", "UTF-32"),
        ("täxt,label\na,b\n".encode("latin-1"), "wrong_encoding", "byte 1 "),
        (b"text,label\ra,b\rc,d\r", "line_ends", "carriage"),
        (b"text,label,text\na,b,c\n", "duplicate_column", "'text'"),
        (b"\x1f\x8b\x08\x00broken", "broken_gzip", "damaged"),
    ],
)
def test_a_file_that_is_no_table_is_an_error(tmp_path, data, code, words):
    with pytest.raises(DataError) as caught:
        items(tmp_path, data, "d.csv")
    assert caught.value.code == code
    assert words in caught.value.message
    assert caught.value.remedy
    assert "d.csv" in caught.value.where


def test_wrong_encoding_names_byte_and_line_and_goes_on(tmp_path):
    data = b"text,label\nfine,a\ncaf\xe9,b\nfine,a\n"
    found = items(tmp_path, data, "d.csv")
    assert [getattr(item, "code", "row") for item in found] == ["row", "wrong_encoding", "row"]
    assert found[1].line == 3
    assert f"byte {data.index(0xE9)} of the file" in found[1].message
    assert "iconv" in found[1].remedy
    assert found[2].line == 4


def test_a_gzip_file_that_ends_early_says_so_after_its_rows(tmp_path):
    noise = "".join(f'{{"text": "row {k * 7919 % 10007}", "label": "a"}}\n' for k in range(20_000))
    whole = gzip.compress(noise.encode())
    found = items(tmp_path, whole[: len(whole) * 9 // 10], "d.jsonl.gz")
    assert found[-1].code == "broken_gzip"
    assert len(found) > 1000


def test_a_parquet_file_that_is_none(tmp_path):
    path = tmp_path / "d.parquet"
    path.write_bytes(b"PAR1 and nothing more")
    with pytest.raises(DataError) as caught:
        recognise(str(path), {}, set(KNOWN)).header()
    assert caught.value.code == "not_parseable"


SPANS = '{{"text": "Ada met Bob", "spans": {}}}'


@pytest.mark.parametrize(
    ("spans", "code", "words"),
    [
        (
            '[{"start": 0, "end": 3, "label": "P"}, {"start": 2, "end": 5, "label": "P"}]',
            "overlapping_spans",
            "'Ada'",
        ),
        ('[{"start": 0, "end": 30, "label": "P"}]', "bad_span", "11 characters"),
        ('[{"start": 3, "end": 3, "label": "P"}]', "bad_span", "no character"),
        ('[{"start": -1, "end": 3, "label": "P"}]', "bad_span", "no character"),
        ('[{"start": 0.0, "end": 3, "label": "P"}]', "bad_span", "whole"),
        ('[{"start": true, "end": 3, "label": "P"}]', "bad_span", "whole"),
        ('[{"start": 0, "end": 3, "label": ""}]', "bad_span", "no label"),
        ('[{"start": 0, "end": 3}]', "bad_span", "'label'"),
        ('[{"start": 0, "end": 3, "label": "P", "text": "Bob"}]', "bad_span", "'Ada'"),
        ('"Ada"', "not_json", "JSON"),
        ("5", "bad_span", "a number"),
        ("[5]", "bad_span", "a number"),
    ],
)
def test_bad_spans(tmp_path, spans, code, words):
    good = SPANS.format('[{"start": 8, "end": 11, "label": "P"}, [0, 3, "P"]]')
    sample, bad = items(tmp_path, good + "\n" + SPANS.format(spans) + "\n")
    assert [(span.start, span.end) for span in sample.target] == [(0, 3), (8, 11)]
    assert (bad.code, bad.line) == (code, 2)
    assert words in bad.message


@pytest.mark.parametrize(
    ("score", "words"),
    [
        ("nan", "finite"),
        ("-inf", "finite"),
        ("1e999", "finite"),
        ("", "empty"),
        ("high", "'high'"),
        ('"3,5"', "'3,5'"),
    ],
)
def test_bad_scores(tmp_path, score, words):
    sample, bad = items(tmp_path, f"text,score\nfine,2.5\nfine,{score}\n", "d.csv", task="regress")
    assert sample.target == (2.5,)
    assert (bad.code, bad.line) == ("bad_score", 3)
    assert words in bad.message


def test_a_huge_whole_number_is_a_bad_score(tmp_path):
    _, bad = items(tmp_path, '{"text": "a", "score": 1}\n{"text": "a", "score": ' + "9" * 390 + "}\n")
    assert bad.code == "bad_score"

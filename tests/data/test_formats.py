"""Each format gives the rows that are in the file, with the line that an editor shows."""

import csv
import gzip
import io
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from luthier.data.columns import KNOWN
from luthier.data.formats import Row, recognise
from luthier.data.formats.conll import to_spans
from luthier.data.formats.delimited import find_dialect

ROWS = [("a film, good", "yes"), ('she said "no"', "no"), ("two\nlines", "yes"), ("ünï — 漢字", "no")]


def rows(path, **columns):
    return list(recognise(str(path), columns, set(KNOWN)).rows())


def values(path, **columns):
    return [tuple(row.values.values()) for row in rows(path, **columns)]


def written(tmp_path, data, name="d.csv"):
    path = tmp_path / name
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("packed", [False, True])
def test_delimited_with_every_delimiter_line_end_and_mark(tmp_path, delimiter, end, encoding, packed):
    buffer = io.StringIO()
    writer = csv.writer(buffer, delimiter=delimiter, lineterminator="\n")
    writer.writerows([("text", "label"), *ROWS])
    data = buffer.getvalue().replace("\n", end).encode(encoding)
    found = rows(written(tmp_path, gzip.compress(data) if packed else data, "d.csv.gz" if packed else "d.csv"))
    assert [tuple(row.values.values()) for row in found] == ROWS
    assert [row.line for row in found] == [2, 3, 4, 6]
    assert list(found[0].values) == ["text", "label"]


@given(
    st.lists(st.tuples(st.text("ab,;|\t\"' \n", min_size=1), st.text("xyz", min_size=1)), min_size=1),
    st.sampled_from([",", ";", "|"]),
)
def test_what_csv_writes_is_read_back(tmp_path_factory, table, delimiter):
    buffer = io.StringIO()
    csv.writer(buffer, delimiter=delimiter, lineterminator="\n").writerows([("text", "label"), *table])
    path = written(tmp_path_factory.mktemp("csv"), buffer.getvalue())
    assert values(path) == table


def test_quotes_that_are_text_do_not_swallow_rows(tmp_path):
    data = '3\t"It is late.\t"It was late.\n0\tHe left\tShe "stayed"\n5\t"a" b\tc\n'
    assert values(written(tmp_path, data, "d.tsv"), text=1, text_pair="2", score=0) == [
        ("3", '"It is late.', '"It was late.'),
        ("0", "He left", 'She "stayed"'),
        ("5", '"a" b', "c"),
    ]


def test_quoted_tabs_in_a_tab_file_are_quoted(tmp_path):
    assert values(written(tmp_path, 'text\tlabel\n"a\tb"\tx\nc\ty\n', "d.tsv")) == [("a\tb", "x"), ("c", "y")]


def test_one_column_of_texts_with_commas(tmp_path):
    assert values(written(tmp_path, "text\nHello, world\nBye\n")) == [("Hello, world",), ("Bye",)]


@pytest.mark.parametrize(
    ("data", "columns", "header"),
    [
        ("text,label\na,b\n", {}, ["text", "label"]),
        ("verdict,essay\nyes,it is fine\n", {}, ["verdict", "essay"]),
        ("essay,points\nfine,3\n", {"text": 0, "score": 1}, ["essay", "points"]),
        ("it was good;yes\nit was bad;no\n", {"text": "0", "label": "1"}, ["0", "1"]),
        ("fine,good\npoor,bad\n", {"text": 0, "label": 1}, ["0", "1"]),
        ("3.5,a text\n2,another\n", {}, ["0", "1"]),
        ("my words,my class\na,b\n", {"text": "my words"}, ["my words", "my class"]),
    ],
)
def test_header_or_not(tmp_path, data, columns, header):
    assert recognise(str(written(tmp_path, data)), columns, set(KNOWN)).header() == header


def test_the_wrong_number_of_fields_is_a_finding_and_the_next_row_is_read(tmp_path):
    found = rows(written(tmp_path, "text,label\na,b\nc,d,e\nf\ng,h,,\ni,j\n"))
    assert [getattr(item, "code", None) for item in found] == [
        None,
        "column_count",
        "column_count",
        None,
        None,
    ]
    assert [item.line for item in found] == [2, 3, 4, 5, 6]


def test_dialect_is_found_by_regularity():
    assert find_dialect(["a;b,c", "1;2", "3;4,5,6"]).delimiter == ";"
    assert find_dialect(["text", "no delimiter, here"]).delimiter == "\x1f"


def test_json_lines(tmp_path):
    data = '\ufeff{"text": "a\u2028b", "label": 1}\r\n\n  \n{"text": "c\\nd", "label": ["x"]}'
    found = rows(written(tmp_path, data, "d.jsonl"))
    assert found == [
        Row({"text": "a\u2028b", "label": 1}, 1, found[0].source),
        Row({"text": "c\nd", "label": ["x"]}, 4, found[0].source),
    ]


@given(
    st.lists(
        st.dictionaries(
            st.text(max_size=5),
            st.recursive(
                st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.text('ab"\\[]{},\n'),
                lambda inner: (
                    st.lists(inner, max_size=3) | st.dictionaries(st.text('ab"\\[]{}', max_size=3), inner, max_size=3)
                ),
                max_leaves=6,
            ),
            max_size=3,
        )
    ),
    st.sampled_from([None, 1]),
)
def test_a_json_array_gives_what_json_gives(tmp_path_factory, table, indent):
    path = written(tmp_path_factory.mktemp("json"), json.dumps(table, indent=indent), "d.json")
    assert [item.values for item in rows(path)] == table


@pytest.mark.parametrize(
    ("data", "code"),
    [
        ('[{"a": 1}, 5, {"b": 2}]', "not_object"),
        ('[{"a": 1}, {"b": 2', "not_json"),
        ("[[1], 2]", "not_object"),
        ('[{"a": 1}, nonsense]', "not_object"),
        ('[{"a": 1,}]', "not_json"),
        ('[{"a": "]}]', "not_json"),
    ],
)
def test_a_broken_json_array_is_a_finding(tmp_path, data, code):
    assert code in [getattr(item, "code", None) for item in rows(written(tmp_path, data, "d.json"))]


def test_parquet_streams_batches(tmp_path):
    table = pa.table({"text": [f"t{k}" for k in range(3000)], "label": [["a", "b"]] * 2999 + [None]})
    path = tmp_path / "d.parquet"
    pq.write_table(table, path)
    found = rows(path)
    assert [item.values for item in found] == table.to_pylist()
    assert [found[0].line, found[-1].line] == [1, 3000]
    assert recognise(str(path), {}, set()).header() == ["text", "label"]


def test_conll_columns(tmp_path):
    data = "-DOCSTART- O\n\n# sent 1\nIn O\nNew B-LOC\nYork I-LOC\n, O\n\nAda\tX\tB-PER\nI\tX\tB-PER\n"
    found = rows(written(tmp_path, data, "d.txt"))
    assert [item.values for item in found] == [
        {"text": "In New York ,", "spans": [{"start": 3, "end": 11, "label": "LOC"}]},
        {
            "text": "Ada I",
            "spans": [{"start": 0, "end": 3, "label": "PER"}, {"start": 4, "end": 5, "label": "PER"}],
        },
    ]
    assert [item.line for item in found] == [4, 9]


@pytest.mark.parametrize(
    ("tags", "spans"),
    [
        ("B-A I-A O B-A", [(0, 3, "A"), (6, 7, "A")]),
        ("I-A I-A B-A I-B", [(0, 3, "A"), (4, 5, "A"), (6, 7, "B")]),  # IOB1
        ("S-A B-A E-A S-B", [(0, 1, "A"), (2, 5, "A"), (6, 7, "B")]),  # BIOES
        ("B-A I-A L-A U-A", [(0, 5, "A"), (6, 7, "A")]),  # BILOU
        ("E-A I-A O O", [(0, 1, "A"), (2, 3, "A")]),
    ],
)
def test_tag_schemes(tags, spans):
    found = to_spans(["w", "x", "y", "z"], tags.split())
    assert [(span["start"], span["end"], span["label"]) for span in found] == spans


def test_a_bad_tag_costs_its_sentence_only(tmp_path):
    good = "a O\nb B-X\n\n" * 20
    found = rows(written(tmp_path, good + "c B-X\nd WRONG\ne O\n\nf B-X\n", "d.conll"))
    assert [getattr(item, "code", "row") for item in found] == ["row"] * 20 + ["bad_tag", "row"]
    assert found[20].line == 62


def test_content_wins_where_the_name_says_nothing(tmp_path):
    assert recognise(str(written(tmp_path, '{"text": "a"}\n', "a.txt")), {}, set(KNOWN)).name == "jsonl"
    assert recognise(str(written(tmp_path, '{"text": "a"}\n', "a.csv")), {}, set(KNOWN)).name == "jsonl"
    assert recognise(str(written(tmp_path, "text\tlabel\na\tb\n", "b.txt")), {}, set(KNOWN)).name == "tsv"
    assert recognise(str(written(tmp_path, "a text, as it is\nanother\n", "c.txt")), {}, set(KNOWN)).name == "lines"
    assert recognise(str(written(tmp_path, "a\tO\nb\tB-X\n", "d.tsv")), {}, set(KNOWN)).name == "conll"

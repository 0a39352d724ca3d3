"""The review of doubtful rows and what becomes of it: contradictions, file, decisions, the data written again."""

from __future__ import annotations

import csv
import gzip
import io
import json

import pytest

from luthier.core.errors import DataError, UsageError
from luthier.data.contradictions import contradictions
from luthier.data.dataset import Dataset
from luthier.data.review import Decision, Item, read_review, told, write_review
from luthier.data.rewrite import rewritten
from luthier.data.samples import Sample

SHA = "ab" * 32


def item(row=1, text="a text", given="x", suggested="y", reason="why", line=None):
    return Item(line or row + 1, row, "train.csv", text, given, suggested, 0.75, reason)


def decided(tmp_path, words, *, task="classify", labels=("x", "y", "z"), several=False, sha=SHA, edit=str):
    """Write a review, fill its decisions in as a person would, read it."""
    rows = list(csv.reader(io.StringIO(write_review([item(i + 1) for i in range(len(words))], SHA).lstrip("\ufeff"))))
    for row, word in zip(rows[1:], words, strict=True):
        row[6] = word
    stream = io.StringIO()
    csv.writer(stream).writerows(rows)
    path = tmp_path / "review.csv"
    path.write_text(edit(stream.getvalue()), encoding="utf-8-sig", newline="")
    return read_review(str(path), sha256=sha, rows=10, task=task, labels=labels, several_labels=several)


def test_the_columns_are_as_promised():
    text = write_review([item(text="=SUM(A1)", given=("a", "b"), suggested=(1.5,))], SHA)
    header, row = csv.reader(io.StringIO(text.lstrip("\ufeff")))
    assert header[:7] == ["line", "text", "given_label", "suggested_label", "confidence", "reason", "decision"]
    assert SHA in header[-1]
    assert row[:7] == ["2", "'=SUM(A1)", '["a", "b"]', "1.5", "0.750", "why", ""]
    assert text.startswith("\ufeff")
    assert len(write_review([item(text="x" * 9000)], SHA)) < 1000


def test_numbers_stay_numbers_in_a_spreadsheet():
    assert told((-2.0,)) == "-2"
    assert ",-2.5," in write_review([item(suggested=(-2.5,))], SHA)
    assert told(()) == "[]"
    assert told(None) == ""


def test_keep_drop_labels_and_open(tmp_path):
    decisions, counts = decided(tmp_path, ["keep", "DROP", "z", "", "label:new", "  y "])
    assert decisions == [
        Decision(2, "drop"), Decision(3, "label", "z"), Decision(5, "label", "new"), Decision(6, "label", "y"),
    ]  # fmt: skip
    assert counts == {"kept": 1, "dropped": 1, "relabelled": 3, "open": 1}


def test_label_called_drop(tmp_path):
    decisions, _ = decided(tmp_path, ["drop", "label:drop"], labels=("drop", "keep"))
    assert decisions == [Decision(1, "drop"), Decision(2, "label", "drop")]


def test_sets_of_labels_and_numbers(tmp_path):
    decisions, _ = decided(tmp_path, ['["x", "z"]', "[]", "y"], several=True)
    assert [one.target for one in decisions] == [("x", "z"), (), ("y",)]
    decisions, _ = decided(tmp_path, ["3.5", "-1"], task="regress", labels=["score"])
    assert [one.target for one in decisions] == [(3.5,), (-1.0,)]
    decisions, _ = decided(tmp_path, ["[1, 2.5]"], task="regress", labels=["a", "b"])
    assert decisions[0].target == (1.0, 2.5)


@pytest.mark.parametrize(
    ("words", "options", "says"),
    [
        (["keep", "xx"], {}, "review.csv:3: 'xx' is neither keep nor drop"),
        (["kep"], {}, "'keep'"),
        (['["x"]'], {}, "every row has one label"),
        (['["x"'], {"several": True}, "review.csv:2"),
        (["three"], {"task": "regress", "labels": ["score"]}, "not a number"),
        (["[1"], {"task": "regress", "labels": ["score"]}, "no JSON list"),
        (["[1, 2]"], {"task": "regress", "labels": ["score"]}, "has 2 numbers, not 1"),
        (["nan"], {"task": "regress", "labels": ["score"]}, "finite"),
    ],
)
def test_bad_decisions_are_named_by_line(tmp_path, words, options, says):
    with pytest.raises(DataError) as caught:
        decided(tmp_path, words, **options)
    assert says in str(caught.value)
    assert caught.value.code == "bad_decision"


def test_a_review_of_other_data_is_refused(tmp_path):
    with pytest.raises(DataError, match="changed since") as caught:
        decided(tmp_path, ["drop"], sha="cd" * 32)
    assert caught.value.code == "review_of_other_data"


@pytest.mark.parametrize("text", ["line,text\n1,a\n", "text,decision\na,drop\n", "x\n"])
def test_what_is_no_review_is_refused(tmp_path, text):
    with pytest.raises(DataError) as caught:
        decided(tmp_path, ["drop"], edit=lambda _: text)
    assert caught.value.code == "not_a_review"


def test_a_spreadsheet_with_semicolons_gives_the_same(tmp_path):
    def german(text):
        stream = io.StringIO()
        csv.writer(stream, delimiter=";").writerows(csv.reader(io.StringIO(text)))
        return stream.getvalue()

    assert decided(tmp_path, ["drop", "z"], edit=german) == decided(tmp_path, ["drop", "z"])


def test_rows_out_of_the_data_and_rows_twice_are_refused(tmp_path):
    with pytest.raises(DataError, match="is no row of the data"):
        decided(tmp_path, ["drop"] * 11)
    with pytest.raises(DataError, match="decided twice"):
        decided(tmp_path, ["drop", "z"], edit=lambda text: text + text.splitlines()[1] + "\n")


def applied(path, decisions, **options):
    dataset = Dataset.open(str(path), **options)
    ((file, columns),) = dataset.files()
    return rewritten(file, columns, {one.row: one for one in decisions})


CSV = b'\xef\xbb\xbfid,text,label\r\n1,"one, two",a\r\n2,"quoted ""word""\nand a line",b\r\n3,plain,a\r\n\r\n4,last,b'


def test_csv_keeps_every_byte_that_is_not_decided_on(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(CSV)
    assert applied(path, []) == CSV
    found = applied(path, [Decision(2, "label", "a"), Decision(3, "drop")])
    assert found == CSV.replace(b'line",b', b'line",a').replace(b"3,plain,a\r\n\r\n", b"")
    assert applied(path, [Decision(4, "label", "x, y")]).endswith(b'4,last,"x, y"')


def test_fully_quoted_rows_stay_quoted(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(b'"text","label"\n"one","a"\n"two","b"\n')
    assert applied(path, [Decision(1, "label", "b")]) == b'"text","label"\n"one","b"\n"two","b"\n'


def test_a_tab_file_without_quotes(tmp_path):
    path = tmp_path / "a.tsv"
    path.write_bytes(b'label\ttext\na\t"tis a text\nb\tanother "one\n')
    assert applied(path, [Decision(1, "label", "b")]) == b'label\ttext\nb\t"tis a text\nb\tanother "one\n'
    with pytest.raises(DataError, match="separates the columns"):
        applied(path, [Decision(1, "label", "b\tc")])


def test_a_file_without_header(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(b"5,good one\n1,bad one\n2,worse\n")
    options = {"columns": {"text": 1, "score": 0}, "task": "regress"}
    assert applied(path, [Decision(2, "label", (4.0,))], **options) == b"5,good one\n4,bad one\n2,worse\n"


def test_json_lines_keep_keys_and_types(tmp_path):
    path = tmp_path / "a.jsonl"
    lines = ['{"id": 7,  "text": "ä", "label": 1}', "", '{"text": "b", "label": 0, "n": [1]}', '{"text":"c","label":1}']
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    found = applied(path, [Decision(1, "label", "0"), Decision(2, "drop")]).decode().splitlines()
    assert [json.loads(line) for line in found if line] == [
        {"id": 7, "text": "ä", "label": 0}, {"text": "c", "label": 1},
    ]  # fmt: skip
    assert found[-1] == lines[-1]
    assert "ä" in found[0]


def test_lists_of_labels_stay_lists(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "a", "label": ["x"]}\n{"text": "b", "label": []}\n')
    found = applied(path, [Decision(2, "label", ("x", "y")), Decision(1, "label", ())]).decode().splitlines()
    assert [json.loads(line)["label"] for line in found] == [[], ["x", "y"]]
    path = tmp_path / "a.csv"
    path.write_text('text,label\na,"[""x""]"\nb,"[""y""]"\n')
    found = list(csv.reader(io.StringIO(applied(path, [Decision(1, "label", ("x", "y"))]).decode())))
    assert found[1] == ["a", '["x", "y"]']


def test_json_arrays_and_gzip(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('[{"text": "a", "label": "x"}, {"text": "b", "label": "y"}]')
    assert json.loads(applied(path, [Decision(1, "drop"), Decision(2, "label", "x")])) == [{"text": "b", "label": "x"}]
    path = tmp_path / "a.csv.gz"
    path.write_bytes(gzip.compress(b"text,label\na,x\nb,y\n"))
    assert gzip.decompress(applied(path, [Decision(1, "label", "y")])) == b"text,label\na,y\nb,y\n"


def test_parquet_keeps_schema_and_other_columns(tmp_path):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    path = tmp_path / "a.parquet"
    table = pa.table({"text": ["a", "b", "c"], "n": pa.array([1, 2, 3], pa.int16()), "label": ["x", "y", "x"]})
    pq.write_table(table, path)
    found = pq.read_table(io.BytesIO(applied(path, [Decision(1, "drop"), Decision(3, "label", "y")])))
    assert found.schema.equals(table.schema)
    assert found.to_pylist() == [{"text": "b", "n": 2, "label": "y"}, {"text": "c", "n": 3, "label": "y"}]


def test_folders_whose_names_are_labels_are_refused(tmp_path):
    for name in ("a", "b"):
        (tmp_path / "texts" / name).mkdir(parents=True)
        (tmp_path / "texts" / name / "1.txt").write_text(f"text of {name}")
    dataset = Dataset.open(str(tmp_path / "texts"), task="classify")
    file, columns = dataset.files()[0]
    with pytest.raises(UsageError) as caught:
        rewritten(file, columns, {1: Decision(1, "drop")})
    assert caught.value.code == "not_rewritable"


def found_in(rows):
    samples = [Sample(text, target=target, line=i + 1) for i, (text, target) in enumerate(rows)]
    return {one.row: one for one in contradictions(lambda: samples)}


def test_the_minority_of_one_text_contradicts():
    found = found_in([("Where is it?", "a"), ("where is it", "a"), ("where is it?!", "b"), ("thanks", "b")])
    assert set(found) == {2}
    assert (found[2].suggested, found[2].agreement, found[2].likeness) == ("a", pytest.approx(2 / 3), 1.0)


def test_without_a_majority_all_are_told_and_nothing_is_suggested():
    found = found_in([("x y z", "a"), ("x y z", "b"), ("other", "c")])
    assert set(found) == {0, 1}
    assert found[0].suggested is None
    assert found[0].other == 1


def test_nearly_one_text():
    long = "the parcel that I ordered on the third of march has not arrived at my new address in the city yet"
    found = found_in([(long, "a"), (long + " ok", "b"), ("something else entirely, and quite long as well", "b")])
    assert set(found) == {0, 1}
    assert 0.9 <= found[0].likeness < 1
    assert found_in([(long, "a"), (long + " ok", "a")]) == {}


def test_numbers_contradict_beyond_a_tenth_of_their_range():
    near = found_in([("same", (1.0,)), ("same", (1.3,)), ("low", (0.0,)), ("high", (5.0,))])
    assert near == {}
    far = found_in([("same", (1.0,)), ("same", (4.0,)), ("low", (0.0,)), ("high", (5.0,))])
    assert set(far) == {0, 1}


def test_sets_of_labels_have_no_order():
    assert found_in([("same", ("a", "b")), ("same", ("b", "a"))]) == {}

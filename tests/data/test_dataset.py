"""Any file of the table in INTERFACE becomes samples, and what is not plain is asked for."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from luthier.core.errors import DataError
from luthier.data.columns import recognise_task, resolve
from luthier.data.dataset import Dataset
from luthier.data.samples import Finding, Sample, Span

REPO = Path(__file__).resolve().parents[2]
SHARED = REPO.parent / "shared" / "data"
real = pytest.mark.skipif(not SHARED.is_dir(), reason="the shared data sets are not here")


def lines(tmp_path, *rows, name="d.jsonl"):
    path = tmp_path / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def targets(source, **options):
    return [sample.target for sample in Dataset.open(source, **options).samples()]


def code_of(call, *args, **options):
    with pytest.raises(DataError) as caught:
        call(*args, **options)
    assert caught.value.remedy
    return caught.value.code


@pytest.mark.parametrize(
    ("row", "task", "target"),
    [
        ({"text": "a", "label": "x"}, "classify", "x"),
        ({"review": "a", "sentiment": " x "}, "classify", "x"),
        ({"Text": "a", "Category": 3}, "classify", "3"),
        ({"text": "a", "label": 1.0}, "classify", "1"),
        ({"text": "a", "label": 1.5}, None, None),
        ({"text": "a", "label": True}, "classify", "true"),
        ({"text": "a", "labels": ["x", "y", "x"]}, "classify", ("x", "y")),
        ({"text": "a", "label": []}, "classify", ()),
        ({"text": "a", "label": '["x", "y"]'}, "classify", ("x", "y")),
        ({"text": "a", "label": "[urgent]"}, "classify", "[urgent]"),
        ({"text": "a", "score": 2}, "regress", (2.0,)),
        ({"text": "a", "score": " 2.5 "}, "regress", (2.5,)),
        ({"text": "a", "target": "x"}, "classify", "x"),
        ({"text": "a", "rating": 4}, None, None),
        ({"text": "a", "label": "x", "score": 1}, None, None),
        ({"text": "a", "category": "x", "score": 1}, "regress", (1.0,)),
        ({"text": "Ada", "spans": [{"start": 0, "end": 3, "label": "P"}]}, "extract", (Span(0, 3, "P"),)),
        ({"text": "Ada", "entities": [[0, 3, "P"]]}, "extract", (Span(0, 3, "P"),)),
        ({"text": "Ada", "spans": "[]"}, "extract", ()),
    ],
)
def test_task_and_target_are_recognised_where_plain(tmp_path, row, task, target):
    path = lines(tmp_path, row)
    if task is None:
        assert code_of(Dataset.open, path) == "ambiguous_task"
    else:
        data = Dataset.open(path)
        assert data.task == task
        assert [sample.target for sample in data.samples()] == [target]


def test_pairs_groups_and_places(tmp_path):
    path = lines(tmp_path, {"premise": "a", "hypothesis": "b", "label": "x", "user": 7})
    data = Dataset.open(path, group="user")
    assert list(data.samples()) == [Sample("a", "b", "x", "7", 1, path)]
    assert data.has_pairs
    assert data.columns.to_dict() == {
        "text": "premise",
        "text_pair": "hypothesis",
        "label": "label",
        "group": "user",
    }


def test_mapping_wins_and_takes_positions_and_several_scores(tmp_path):
    row = {"text": "not this", "essay": "this", "a": 1, "b": 2}
    path = lines(tmp_path, row)
    for score in (["a", "b"], "a, b", [2, "3"]):
        data = Dataset.open(path, columns={"text": "essay", "score": score})
        assert data.task == "regress"
        assert data.columns.score == ("a", "b")
        assert next(data.samples()).text == "this"
        assert next(data.samples()).target == (1.0, 2.0)


def test_missing_columns_are_named_with_those_that_are_there(tmp_path):
    path = lines(tmp_path, {"txt": "a", "lable": "x"})
    with pytest.raises(DataError, match=r"'txt', 'lable'") as caught:
        Dataset.open(path, task="classify", columns={"text": "txt"})
    assert (caught.value.code, caught.value.param) == ("missing_column", "data.columns.label")
    assert "'lable'" in caught.value.remedy
    with pytest.raises(DataError, match=r"no column 'texts'.*'txt', 'lable'.*'txt'"):
        Dataset.open(path, columns={"text": "texts", "label": "lable"})
    assert code_of(Dataset.open, path) == "missing_column"
    assert code_of(Dataset.open, path, columns={"text": "txt", "label": "lable"}, group="user") == "missing_column"
    assert code_of(Dataset.open, path, columns={"txt": "text"}) == "unknown_role"


def test_two_columns_that_could_be_the_text_are_asked_for():
    assert code_of(resolve, ["review", "comment", "label"], "classify") == "ambiguous_column"
    assert resolve(["review", "text", "label"], "classify").text == "text"
    assert resolve(["review", "comment", "label"], "classify", {"text": "comment"}).text == "comment"


def test_task_of_a_mapping():
    assert recognise_task(["a", "b"], {"text": "a", "score": "b"}, []) == "regress"
    assert code_of(recognise_task, ["a", "b"], {"label": "a", "score": "b"}, []) == "ambiguous_task"
    assert code_of(recognise_task, ["text", "score"], {}, [{"score": "high"}]) == "ambiguous_task"


def test_mixed_labels_become_lists_throughout(tmp_path):
    path = lines(tmp_path, {"text": "a", "label": "x"}, {"text": "b", "label": ["x", "y"]})
    data = Dataset.open(path)
    assert data.several_labels
    assert [sample.target for sample in data.samples()] == [("x",), ("x", "y")]


def test_targets_may_be_absent_when_answers_are_asked(tmp_path):
    path = lines(tmp_path, {"text": "a"}, {"text": "b", "label": None}, {"text": "c", "label": "x"})
    data = Dataset.open(path, require_target=False)
    assert [sample.target for sample in data.samples()] == [None, None, "x"]
    assert targets(lines(tmp_path, {"text": "a"}), task="regress", require_target=False) == [None]
    plain = tmp_path / "questions.txt"
    plain.write_text("First one, with a comma\n\nSecond\n")
    found = list(Dataset.open(str(plain), task="classify", require_target=False).samples())
    assert [(sample.text, sample.line) for sample in found] == [("First one, with a comma", 1), ("Second", 3)]


def test_samples_stop_at_the_first_bad_row_and_items_go_on(tmp_path):
    path = lines(tmp_path, {"text": "a", "label": "x"}, {"text": "", "label": "x"}, {"text": "c", "label": "x"})
    data = Dataset.open(path)
    assert [isinstance(item, Finding) for item in data.items()] == [False, True, False]
    assert [isinstance(item, Finding) for item in data.items()] == [False, True, False]
    with pytest.raises(DataError) as caught:
        list(data.samples())
    assert caught.value.where == f"{path}:2"
    assert caught.value.code == "empty_text"


def test_parquet_and_files_of_different_kinds_together(tmp_path):
    parquet = tmp_path / "a.parquet"
    pq.write_table(pa.table({"label": ["x", None], "text": ["one", "two"]}), parquet)
    path = lines(tmp_path, {"content": "three", "category": "y"})
    data = Dataset.open([str(parquet), path])
    found = list(data.items())
    assert [getattr(item, "text", None) for item in found] == ["one", None, "three"]
    assert (found[1].code, found[1].line) == ("empty_label", 2)
    assert data.sources == [str(parquet), path]


def test_class_folders(tmp_path):
    for name, text in (
        ("pos/1.txt", "good\nfilm\n"),
        ("pos/2.txt", ""),
        ("neg/1.txt", "bad"),
        ("neg/2.txt", "\0"),
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    data = Dataset.open(str(tmp_path))
    assert data.task == "classify"
    found = list(data.items())
    assert [getattr(item, "target", getattr(item, "code", "")) for item in found] == [
        "neg",
        "binary_file",
        "pos",
        "empty_text",
    ]
    assert found[2].text == "good\nfilm"
    before = data.fingerprint()
    (tmp_path / "neg").rename(tmp_path / "negative")
    assert Dataset.open(str(tmp_path)).fingerprint() != before


def test_a_file_whose_rows_are_all_broken_is_an_error_with_a_place(tmp_path):
    path = tmp_path / "d.jsonl"
    path.write_text("\nnot json\nneither\n")
    with pytest.raises(DataError) as caught:
        Dataset.open(str(path))
    assert (caught.value.code, caught.value.where) == ("not_json", f"{path}:2")


def test_the_fingerprint_is_of_the_content(tmp_path):
    path = lines(tmp_path, {"text": "a", "label": "x"})
    copy = lines(tmp_path, {"text": "a", "label": "x"}, name="copy.jsonl")
    assert Dataset.open(path).fingerprint() == Dataset.open(copy).fingerprint()
    assert Dataset.open(path).describe()[0]["bytes"] == Path(path).stat().st_size
    other = lines(tmp_path, {"text": "b", "label": "x"}, name="copy.jsonl")
    assert Dataset.open(path).fingerprint() != Dataset.open(other).fingerprint()


@real
def test_banking77():
    data = Dataset.open(str(SHARED / "banking77" / "train.csv"))
    samples = list(data.samples())
    assert len(samples) == 10_003
    assert len({sample.target for sample in samples}) == 77
    assert samples[5].text.startswith("When did you send")


@real
def test_semantic_similarity_without_header_and_with_quotes_as_text():
    columns = {"text": 1, "text_pair": 2, "score": 0}
    source = str(SHARED / "sts" / "*.tsv")
    data = Dataset.open(source, columns=columns)
    samples = list(data.samples())
    assert len(samples) == 707
    assert sum('"' in sample.text for sample in samples) > 10
    assert all(0 <= sample.target[0] <= 5 and sample.text_pair for sample in samples)
    assert targets(source, columns={role: str(at) for role, at in columns.items()}) == [s.target for s in samples]
    assert code_of(Dataset.open, source) == "missing_column"


@real
def test_ncbi_disease_columns():
    data = Dataset.open(str(SHARED / "ncbi_disease" / "train.tsv"))
    samples = list(data.samples())
    assert data.task == "extract"
    assert len(samples) == 5432
    assert sum(len(sample.target) for sample in samples) == 5145
    span = samples[0].target[0]
    assert samples[0].text[span.start : span.end] == "adenomatous polyposis coli tumour"


@real
@pytest.mark.parametrize(
    ("file", "columns", "rows"),
    [
        ("medquad/medquad.jsonl.gz", {"label": "type"}, 16_407),
        ("crows_pairs", {"text": "sent_more", "text_pair": "sent_less", "label": "bias_type"}, 1508),
        ("e2e_nlg", {"text": "ref", "label": "mr"}, 4672 + 4693),
    ],
)
def test_other_real_files(file, columns, rows):
    assert len(targets(str(SHARED / file), columns=columns)) == rows


WRITE = {
    "csv": lambda k: f"row {k} of many rows {k * 7919 % 10007},class{k % 7}\n",
    "jsonl": lambda k: f'{{"text": "row {k} of many rows {k * 7919 % 10007}", "label": "class{k % 7}"}}\n',
}
READ = """
import sys
from luthier.data.dataset import Dataset
print(sum(1 for _ in Dataset.open(sys.argv[1]).items()))
"""


def big(tmp_path, kind, rows):
    path = tmp_path / f"big.{kind}"
    with open(path, "w") as handle:
        handle.write("text,label\n" if kind == "csv" else "")
        handle.writelines(map(WRITE[kind], range(rows)))
    return path


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_reading_is_streamed(tmp_path, kind, measured):
    out, little = measured(READ, big(tmp_path, kind, 1000))
    assert out == ["1000"]
    out, much = measured(READ, big(tmp_path, kind, 50_000))
    assert out == ["50000"]
    assert much - little < 10  # MB; the file has 2 to 3, its rows as objects 20


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_a_million_rows_are_read_within_300_mb(tmp_path, kind, measured):
    path = tmp_path / "big.parquet"
    if kind == "parquet":
        pq.write_table(
            pa.table({"text": [f"row {k} of many" for k in range(10**6)], "label": ["a", "b"] * 500_000}),
            path,
        )
    else:
        path = big(tmp_path, kind, 10**6)
    out, peak = measured(READ, path)
    assert out == ["1000000"]
    assert peak < 300

"""What a run gets: views, labels and the description of its data."""

import json
from collections import Counter

import pytest

from luthier.core.errors import DataError
from luthier.core.recipe import DataSpec
from luthier.data.prepare import prepare
from luthier.data.samples import Sample

WORDS = [
    "alpha river",
    "bravo stone",
    "charlie cloud",
    "delta meadow",
    "echo harbour",
    "foxtrot ember",
    "golf lantern",
    "hotel orchard",
    "india thunder",
    "juliet pebble",
    "kilo feather",
    "lima glacier",
]


def rows(count=12, classes=2):
    return [
        {"text": f"{WORDS[k % 12]} {k}{'xyz'[k // 12 % 3] * 9}", "label": f"class {k % classes}"} for k in range(count)
    ]


def write(tmp_path, content, name="train.jsonl"):
    path = tmp_path / name
    path.write_text("".join(json.dumps(row) + "\n" for row in content))
    return str(path)


def code_of(spec, task="auto"):
    with pytest.raises(DataError) as caught:
        prepare(spec, task, 0)
    assert caught.value.remedy
    assert caught.value.where
    return caught.value.code, caught.value


def test_a_share_for_validation(tmp_path):
    path = write(tmp_path, rows())
    found = prepare(DataSpec(train=path, validation=0.25), "auto", 3)
    assert (found.task, found.labels, found.several_labels) == ("classify", ["class 0", "class 1"], False)
    assert found.test is None
    assert (len(found.train), len(found.validation)) == (9, 3)
    first, again = list(found.train), list(found.train)
    assert first == again
    assert len(first) == 9
    assert all(isinstance(sample, Sample) for sample in first)
    assert Counter(sample.text for sample in [*first, *found.validation]) == Counter(row["text"] for row in rows())
    assert found.description["rows"] == {"train": 9, "validation": 3}
    assert found.description["split"]["seed"] == 3
    assert len(found.description["sha256"]) == 64
    assert found.description["train"][0]["file"] == path
    json.dumps(found.description, allow_nan=False)


def test_no_validation(tmp_path):
    found = prepare(DataSpec(train=write(tmp_path, rows()), validation=0), "auto", 0)
    assert found.validation is None
    assert len(found.train) == 12


def test_files_for_validation_and_test_and_their_leaks(tmp_path):
    train, leaking = rows(), [*rows(20)[14:], {"text": rows()[0]["text"].upper() + "!", "label": "class 1"}]
    spec = DataSpec(
        train=write(tmp_path, [*train, train[0]]),
        validation=write(tmp_path, leaking, "v.jsonl"),
        test=write(tmp_path, rows(30)[24:], "t.jsonl"),
    )
    found = prepare(spec, "classify", 0)
    assert (len(found.train), len(found.validation), len(found.test)) == (13, 7, 6)
    assert found.description["rows"] == {"train": 13, "validation": 7, "test": 6}
    assert found.description["duplicates"] == 1
    assert found.description["leaks"]["validation"] == {
        "rows": 1,
        "examples": [{"source": spec.validation, "line": 7}],
    }
    assert found.description["leaks"]["test"]["rows"] == 0


def test_a_label_only_in_test_is_named_with_its_place_and_the_nearest(tmp_path):
    test = write(tmp_path, [*rows(3), {"text": "new", "label": "clas 1"}], "test.jsonl")
    code, error = code_of(DataSpec(train=write(tmp_path, rows()), test=test))
    assert code == "unknown_label"
    assert error.where == f"{test}:4"
    assert "'clas 1'" in error.message
    assert "'class 1'" in error.remedy


def test_a_bad_row_stops_with_its_place(tmp_path):
    path = write(tmp_path, [*rows(), {"text": "", "label": "class 0"}])
    code, error = code_of(DataSpec(train=path))
    assert (code, error.where) == ("empty_text", f"{path}:13")


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (rows(12, 1), "one_class"),
        (rows(1), "too_few_rows"),
        ([{"text": row["text"], "score": 1} for row in rows()], "constant_score"),
        ([{"text": row["text"], "spans": []} for row in rows()], "no_spans"),
        ([{"text": row["text"], "label": []} for row in rows()], "one_class"),
    ],
)
def test_nothing_to_learn_is_an_error(tmp_path, content, code):
    assert code_of(DataSpec(train=write(tmp_path, content)))[0] == code


def test_labels_of_the_other_tasks(tmp_path):
    scores = [{"text": row["text"], "warm": k, "loud": -k} for k, row in enumerate(rows())]
    found = prepare(DataSpec(train=write(tmp_path, scores), columns={"score": "warm, loud"}), "auto", 0)
    assert (found.task, found.labels) == ("regress", ["warm", "loud"])
    spans = [
        {"text": row["text"], "spans": [{"start": 0, "end": 3, "label": "BA"[k % 2]}]} for k, row in enumerate(rows())
    ]
    assert prepare(DataSpec(train=write(tmp_path, spans)), "auto", 0).labels == ["A", "B"]


def test_several_labels_hold_for_all_parts(tmp_path):
    train = [{"text": row["text"], "label": ["x", "y"][: k % 3]} for k, row in enumerate(rows())]
    test = write(tmp_path, [{"text": "single", "label": "x"}], "test.jsonl")
    found = prepare(DataSpec(train=write(tmp_path, train), test=test), "auto", 0)
    assert found.several_labels
    assert found.labels == ["x", "y"]
    assert [sample.target for sample in found.test] == [("x",)]


def test_groups_reach_the_split(tmp_path):
    content = [{**row, "user": k // 4} for k, row in enumerate(rows(36))]
    found = prepare(DataSpec(train=write(tmp_path, content), validation=0.3, group="user"), "auto", 0)
    assert not {sample.group for sample in found.train} & {sample.group for sample in found.validation}


def test_pairs_in_one_part_only_are_refused(tmp_path):
    test = write(tmp_path, [{"text": "a", "text_pair": "b", "label": "class 0"}], "test.jsonl")
    assert code_of(DataSpec(train=write(tmp_path, rows()), test=test))[0] == "mixed_files"

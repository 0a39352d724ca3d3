"""Rows of validation and test that train has seen (gate G9): both places are named."""

import pytest
from test_checks import clean_rows, csv, found, one

from luthier.core.errors import DataError
from luthier.data.checks import check


@pytest.fixture
def rows():
    return clean_rows()


@pytest.fixture
def data(tmp_path, rows):
    """Write the (changed) rows and check them; line 2 is `rows[0]`."""
    return lambda **options: check(csv(tmp_path / "data.csv", rows), **options)


def test_leaks_between_splits_name_both_places(data, rows, tmp_path):
    test = clean_rows(30, begin=3)
    test[0] = rows[10]
    test[1] = (rows[11][0].upper(), rows[11][1])
    test[2] = ("so " + rows[12][0], rows[12][1])
    validation = clean_rows(30, begin=5)
    test[3] = validation[9]
    report = data(test=csv(tmp_path / "test.csv", test), validation=csv(tmp_path / "val.csv", validation))
    exact = {item.line: item for item in report.findings if item.code == "leak"}
    assert {line: item.other["other_line"] for line, item in exact.items()} == {2: 12, 5: 11}
    assert exact[2].message == "test line 2 has the same text as train line 12 of data.csv."
    assert exact[2].other["other_source"] == str(tmp_path / "data.csv")
    assert exact[5].other["other_part"] == "validation"
    assert found(report, "leak_normalised") == [(3, 13)]
    assert (4, 14) in found(report, "leak_near")
    assert report.stats["leaks"]["test"]["exact"] == 2
    assert report.stats["leaks"]["validation"]["exact"] == 0


def test_a_leak_through_a_repeated_row_is_found(data, rows, tmp_path):
    """Of equal rows only the first is compared; the second leaks all the same."""
    test = clean_rows(30, begin=3)
    test[2] = test[5] = ("so " + rows[12][0], rows[12][1])
    report = data(test=csv(tmp_path / "test.csv", test))
    assert {4, 7} <= {line for line, _ in found(report, "leak_near")}


def test_group_leaks(tmp_path):
    def write(name, some, groups):
        return csv(
            tmp_path / name,
            [(*row, group) for row, group in zip(some, groups, strict=True)],
            "text,label,user",
        )

    train = write("train.csv", clean_rows(60), [f"u{k // 6}" for k in range(60)])
    test = write("test.csv", clean_rows(9, begin=3), ["u3", "new", "u3", "", "new", "u9", "other", "", "u3"])
    report = check(train, test=test, group="user")
    leaks = [item for item in report.findings if item.code == "leak_group"]
    assert [(item.line, item.other["other_line"], item.other["rows"]) for item in leaks] == [
        (2, 20, 3),
        (7, 56, 1),
    ]
    assert report.stats["leaks"]["test"]["group"] == 4
    assert found(check(train, test=test), "leak_group") == []


def test_group_column_that_only_train_has(tmp_path):
    train = csv(tmp_path / "train.csv", [(*row, "g") for row in clean_rows(40)], "text,label,user")
    test = csv(tmp_path / "test.csv", clean_rows(9, begin=3))
    finding = one(check(train, test=test, group="user"), "no_group_column")
    assert "'user'" in finding.message
    with pytest.raises(DataError, match="user"):
        check(test, group="user")


def test_pairs_against_single_texts(tmp_path):
    pairs = csv(tmp_path / "p.csv", [(a, "b", c) for a, c in clean_rows(40)], "text,text_pair,label")
    with pytest.raises(DataError) as caught:
        check(pairs, test=csv(tmp_path / "t.csv", clean_rows(5)))
    assert caught.value.code == "mixed_files"

"""`luthier check`: each problem is found at its line, and clean data are left in peace."""

import json
import random

import pytest

from luthier.data.checks import check
from luthier.data.checks.lookalikes import one_letter_apart

WHO = [
    "the neighbour",
    "my sister",
    "a tired nurse",
    "our teacher",
    "the young baker",
    "his uncle",
    "a guest",
]
DID = ["painted", "forgot", "described", "repaired", "borrowed", "hated", "photographed", "sold", "cleaned"]
WHAT = ["an old bicycle", "the kitchen wall", "a silver watch", "two maps", "the garden fence", "a piano"]
WHEN = ["before breakfast", "last winter", "during the storm", "without any help", "after the wedding"]
SENTENCES = [f"{a} {b} {c} {d}" for a in WHO for b in DID for c in WHAT for d in WHEN]
random.Random(3).shuffle(SENTENCES)
LABELS = ("praise", "complaint", "question")


def csv(path, rows, header="text,label"):
    """Rows are tuples; a comma must not be in them."""
    path.write_text("\n".join([header, *(",".join(row) for row in rows)]) + "\n", encoding="utf-8")
    return str(path)


def clean_rows(count=90, begin=0, labels=LABELS):
    return [(SENTENCES[begin + k * 7], labels[k % len(labels)]) for k in range(count)]


def found(report, code):
    """(line, other line) of the findings of one code."""
    return [(item.line, item.other.get("other_line")) for item in report.findings if item.code == code]


def one(report, code):
    (finding,) = [item for item in report.findings if item.code == code]
    return finding


@pytest.fixture
def rows():
    return clean_rows()


@pytest.fixture
def data(tmp_path, rows):
    """Write the (changed) rows and check them; line 2 is `rows[0]`."""
    return lambda **options: check(csv(tmp_path / "data.csv", rows), **options)


def test_clean_data_have_no_warning(data, tmp_path):
    test = csv(tmp_path / "test.csv", clean_rows(45, begin=3))
    report = data(test=test)
    assert [item for item in report.findings if item.severity != "info"] == []
    assert report.ok
    assert report.rows == 90
    assert report.stats["labels"] == {name: {"rows": 30, "share": round(1 / 3, 6)} for name in sorted(LABELS)}
    assert report.stats["languages"].keys() == {"en"}


def test_json_has_the_keys_of_the_interface(data, rows):
    rows[4] = (rows[3][0], rows[3][1])
    value = json.loads(json.dumps(data().to_dict(), allow_nan=False))
    assert list(value) == ["ok", "task", "rows", "findings", "stats"]
    assert {"line", "code", "severity", "message", "remedy"} <= set(value["findings"][0])
    assert value["ok"] is True
    assert value["task"] == "classify"
    assert value["stats"]["findings"]["by_code"][0]["code"] == "duplicate"
    assert value["stats"]["sample"]["text"] == rows[0][0]


def test_unusable_rows_are_errors_with_their_line(data, rows):
    rows[10] = ("", "praise")
    rows[20] = (SENTENCES[1], "")
    report = data()
    assert not report.ok
    assert found(report, "empty_text") == [(12, None)]
    assert found(report, "empty_label") == [(22, None)]
    assert report.stats["parts"]["train"] == {"rows": 90, "usable": 88, "unusable": 2}


def test_exact_normalised_and_near_duplicates_name_both_lines(data, rows):
    rows[5] = rows[2]
    rows[30] = (rows[0][0].upper() + " !", rows[0][1])
    rows[60] = ("well, ".replace(",", "") + rows[1][0], rows[1][1])
    report = data()
    assert found(report, "duplicate") == [(7, 4)]
    assert found(report, "duplicate_normalised") == [(32, 2)]
    assert (62, 3) in found(report, "near_duplicate")
    assert report.stats["duplicates"]["exact"] == 1
    assert report.stats["duplicates"]["normalised"] == 1
    assert report.stats["duplicates"]["conflicts"] == 0


def test_three_equal_rows_point_to_the_first(data, rows):
    rows[5] = rows[8] = rows[2]
    assert found(data(), "duplicate") == [(7, 4), (10, 4)]


def test_same_text_with_different_labels(data, rows):
    rows[6] = (rows[2][0], "praise" if rows[2][1] != "praise" else "question")
    report = data()
    assert found(report, "label_conflict") == [(8, 4)]
    assert found(report, "duplicate") == []


def test_several_labels_conflict_by_set_not_by_order(tmp_path):
    def write(name, last):
        lines = [
            {"text": text, "label": [label, "x" if k % 2 else "y"]} for k, (text, label) in enumerate(clean_rows(60))
        ]
        lines.append({"text": lines[0]["text"], "label": last})
        path = tmp_path / name
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        return check(str(path))

    same = write("same.jsonl", ["y", "praise"])
    assert found(same, "label_conflict") == []
    assert found(same, "duplicate") == [(61, 1)]
    assert same.stats["several_labels"] is True
    assert found(write("other.jsonl", ["x", "praise"]), "label_conflict") == [(61, 1)]


def test_unknown_label_in_test_names_the_nearest(data, tmp_path):
    test = clean_rows(30, begin=3)
    test[4] = (test[4][0], "complain")
    report = data(
        test=csv(tmp_path / "test.csv", test),
        validation=csv(tmp_path / "val.csv", clean_rows(20, 5, ["praise"])),
    )
    finding = one(report, "unknown_label")
    assert not report.ok
    assert (finding.line, finding.severity) == (6, "error")
    assert finding.source.endswith("test.csv")
    assert "'complaint'" in finding.remedy
    assert "2 labels" in one(report, "label_not_in_validation").message


@pytest.mark.parametrize("label", ["Praise", "praise ​", "pra ise", "praize", "parise", "pprraise"])
def test_label_lookalike(data, rows, label):
    rows[50] = (rows[50][0], label)
    finding = [item for item in data().findings if item.code == "label_lookalike"]
    assert [(item.line, item.other["other_line"]) for item in finding] == ([] if label == "pprraise" else [(52, 2)])


def test_numbered_labels_are_no_typos(tmp_path):
    rows = clean_rows(90, labels=("stars1", "stars2", "stars3"))
    rows[0] = (rows[0][0], "stars4")
    assert found(check(csv(tmp_path / "d.csv", rows)), "label_lookalike") == []


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        ("cards", True),
        ("crad", True),
        ("bard", True),
        ("card", False),
        ("cord5", False),
        ("crda", False),
        ("c4rd", False),
        ("bord", False),
    ],
)
def test_one_letter_apart(other, expected):
    assert one_letter_apart("card", other) is expected
    assert one_letter_apart(other, "card") is expected


def test_invisible_edge_of_a_label(data, rows):
    rows[7] = (rows[7][0], "\u200bcomplaint")
    assert found(data(), "label_whitespace") == [(9, None)]


@pytest.mark.parametrize(("count", "words"), [(1, "a single row"), (5, "only 5 rows"), (8, None)])
def test_rare_label(data, rows, count, words):
    for k in range(count):
        rows[40 + k] = (rows[40 + k][0], "goodbye")
    messages = [item.message for item in data().findings if item.code == "rare_label"]
    assert (words is None) == (messages == [])
    assert words is None or words in messages[0]


def test_imbalance_names_the_remedy(tmp_path):
    rows = clean_rows(100, labels=("common",))
    rows[:10] = [(text, "seldom") for text, _ in rows[:10]]
    assert found(check(csv(tmp_path / "nine.csv", rows)), "imbalance") == []
    rows += clean_rows(12, begin=1500 - 90, labels=("common",))
    finding = one(check(csv(tmp_path / "ten.csv", rows)), "imbalance")
    assert finding.line == 2
    assert "10 times" in finding.message
    assert "head.class_weights=balanced" in finding.remedy


def test_one_class_and_too_few_rows_are_errors(tmp_path):
    report = check(csv(tmp_path / "one.csv", clean_rows(40, labels=("same",))))
    assert not report.ok
    assert one(report, "one_class").severity == "error"
    lonely = check(csv(tmp_path / "row.csv", clean_rows(1)))
    assert one(lonely, "too_few_rows").severity == "error"
    assert one(check(csv(tmp_path / "few.csv", clean_rows(20))), "few_rows").severity == "warning"


def test_a_column_of_ids_is_no_label(tmp_path):
    report = check(csv(tmp_path / "ids.csv", [(text, f"id{k}") for k, (text, _) in enumerate(clean_rows(90))]))
    assert one(report, "label_is_no_class").severity == "warning"
    assert found(report, "rare_label") == []


def test_ten_thousand_bad_lines_of_hundred_thousand(tmp_path):
    random_source = random.Random(0)
    words = ["".join(random_source.choices("abcdefghijklmnop", k=6)) for _ in range(3000)]
    path, rest = tmp_path / "many.csv", tmp_path / "rest" / "findings.jsonl"
    with open(path, "w") as handle:
        handle.write("text,label\n")
        for k in range(100_000):
            text = "" if k % 10 == 3 else " ".join(random_source.choices(words, k=6))
            handle.write(f"{text},{'ab'[k % 2]}\n")
    report = check(str(path), findings_file=rest)
    assert report.rows == 100_000
    assert report.codes[0].to_dict() == {"code": "empty_text", "severity": "error", "count": 10_000}
    assert [item.line for item in report.findings] == [k * 10 + 5 for k in range(100)]
    assert report.findings_file == rest
    others = [json.loads(line) for line in rest.read_text().splitlines()]
    assert len(others) == report.overflow == sum(item.count for item in report.codes) - 100
    lines = {item["line"] for item in others if item["code"] == "empty_text"}
    assert lines == {k * 10 + 5 for k in range(100, 10_000)}
    assert report.to_dict()["stats"]["findings"]["file"] == str(rest)


def test_errors_push_warnings_out_of_the_first_hundred(tmp_path):
    rows = [(SENTENCES[k % 120], LABELS[k % 3]) for k in range(360)]
    rows += [("", "praise")] * 50
    rest = tmp_path / "rest.jsonl"
    rest.write_text("what an earlier check left\n")
    report = check(csv(tmp_path / "d.csv", rows), findings_file=rest)
    assert [item.severity for item in report.findings] == ["error"] * 50 + ["warning"] * 50
    assert [item.line for item in report.findings[50:]] == list(range(122, 172))
    assert all("code" in json.loads(line) for line in rest.read_text().splitlines())
    without = check(str(tmp_path / "d.csv"))
    assert without.overflow == report.overflow
    assert without.findings_file is None
    assert without.to_dict()["findings"] == report.to_dict()["findings"]


def test_no_file_where_nothing_is_left_over(data, tmp_path):
    report = data(findings_file=str(tmp_path / "rest.jsonl"))
    assert report.findings_file is None
    assert not (tmp_path / "rest.jsonl").exists()


def test_the_same_data_give_the_same_report(data, rows):
    rows[5], rows[9] = rows[2], (rows[3][0], "other")
    assert data().to_dict() == data().to_dict()

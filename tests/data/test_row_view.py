"""Rows by number, search, and files mended, without a server."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from luthier.core.errors import DataError
from luthier.data.columns import KNOWN
from luthier.data.fixing import Fixes, write_fixed
from luthier.data.formats import recognise
from luthier.data.row_view import RowView, write_view


def viewed(tmp_path: Path, content: bytes, name: str = "a.jsonl", most: int = 10**9):
    path = tmp_path / name
    path.write_bytes(content)
    folder = tmp_path / "view"
    folder.mkdir(exist_ok=True)
    item = recognise(str(path), {}, set(KNOWN))
    facts = write_view(item, folder, most_bytes=most)
    return item, RowView(folder, path), facts


def mended(tmp_path: Path, content: bytes, fixes: Fixes, name: str = "a.jsonl"):
    item, view, _ = viewed(tmp_path, content, name)
    told = write_fixed(item, view, fixes, tmp_path / "out")
    return (tmp_path / "out").read_bytes(), told


ROWS = b'{"text": "a", "label": "x"}\n{"text":"b","label":"y"}\n\n{broken\n{"text": "c", "label": "x"}'


def test_a_view_of_json_lines_is_an_index_alone(tmp_path: Path) -> None:
    _, view, facts = viewed(tmp_path, ROWS)
    assert (facts.rows, facts.columns, facts.own) == (4, ["text", "label"], True)
    assert not (tmp_path / "view" / "rows.jsonl").exists()
    assert list(view.lines()) == [(1, 1), (2, 2), (3, 4), (4, 5)]
    rows, last = view.page(1, 2)
    assert ([row["row"] for row in rows], last) == ([2, 3], 3)
    assert rows[1]["problem"]["code"] == "not_json"


def test_a_line_that_is_too_long_is_one_broken_row(tmp_path: Path) -> None:
    content = b'{"text": "' + b"x" * (5 * 2**20) + b'"}\n{"text": "y"}\n'
    _, view, facts = viewed(tmp_path, content)
    assert facts.rows == 2
    rows, _ = view.page(0, 10)
    assert [row["problem"] and row["problem"]["code"] for row in rows] == ["line_too_long", None]
    assert len(json.dumps(rows)) < 20_000


def test_a_page_ends_before_it_is_too_large(tmp_path: Path) -> None:
    content = b"".join(b'{"text": "%s"}\n' % (b"x" * 1_500_000) for _ in range(4))
    _, view, _ = viewed(tmp_path, content)
    rows, last = view.page(0, 4)
    assert (len(rows), last) == (2, 2)


def test_what_unpacks_to_too_much_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError) as error:
        viewed(tmp_path, b"text,label\n" + b"abc,d\n" * 100, "a.csv", most=500)
    assert error.value.code == "too_large"
    assert list((tmp_path / "view").iterdir()) == []


def test_a_million_rows_are_paged_and_searched_at_once(tmp_path: Path) -> None:
    number = 200_000
    content = b"".join(b'{"text": "row number %d", "label": "a"}\n' % i for i in range(number))
    _, view, facts = viewed(tmp_path, content)
    assert facts.rows == number
    rows, _ = view.page(number - 1, 10)
    assert rows[0]["values"]["text"] == f"row number {number - 1}"
    found, last = view.search(f"NUMBER {number - 1}", 0, 10, 60.0)
    assert [row["row"] for row in found] == [number]
    assert last == number
    found, last = view.search("absent", 0, 10, 0.0)  # no time at all: one block, and where to go on
    assert (found, 0 < last < number) == ([], True)


def test_what_is_not_touched_stays_as_it_was(tmp_path: Path) -> None:
    data, told = mended(tmp_path, ROWS, Fixes(drop={1}, drop_lines={4}))
    assert data == b'{"text":"b","label":"y"}\n{"text": "c", "label": "x"}\n'
    assert (told.dropped, told.rows) == (2, 2)


def test_rows_are_corrected_added_and_renamed(tmp_path: Path) -> None:
    fixes = Fixes(
        rename={"label": "text"}, correct={1: {"label": "new"}}, add=[{"label": "z", "text": "end"}], drop={3}
    )
    data, told = mended(tmp_path, ROWS, fixes)
    rows = [json.loads(line) for line in data.splitlines()]
    assert rows[0] == {"label": "new", "label_before": "x"}
    assert rows[1] == {"label": "b", "label_before": "y"}
    assert rows[-1] == {"label": "z", "text": "end"}
    assert (told.corrected, told.added, told.dropped, told.rows) == (1, 1, 1, 4)


def test_csv_stays_csv(tmp_path: Path) -> None:
    content = b'text;label\n"a;b";x\nc;y\nd;x;too;many\n'
    data, told = mended(
        tmp_path, content, Fixes(rename={"body": "text"}, correct={2: {"label": "z"}}, add=[{"body": "=1", "n": 5}]),
        "a.csv",
    )  # fmt: skip
    assert data.decode() == 'body;label;n\n"a;b";x;\nc;z;\n=1;;5\n'
    assert (told.dropped, told.rows) == (1, 3)  # the broken row cannot be written again


def test_a_file_without_a_header_has_none_afterwards(tmp_path: Path) -> None:
    content = b"great stuff,1\nawful stuff,0\nfine stuff,1\n"
    facts = viewed(tmp_path, content, "a.csv")[2]
    assert facts.columns == ["0", "1"]
    assert mended(tmp_path, content, Fixes(drop={1}), "a.csv")[0] == b"awful stuff,0\nfine stuff,1\n"
    named, _ = mended(tmp_path, content, Fixes(rename={"text": "0", "label": "1"}), "a.csv")
    assert named.startswith(b"text,label\ngreat stuff,1\n")


def test_other_formats_become_json_lines(tmp_path: Path) -> None:
    content = json.dumps([{"text": "ü", "label": "a"}, {"text": "b", "label": "c"}]).encode()
    data, _ = mended(tmp_path, content, Fixes(drop={2}), "a.json")
    assert data.decode() == '{"text": "ü", "label": "a"}\n'


@pytest.mark.parametrize(
    ("fixes", "code"),
    [(Fixes(drop={5}), "row_not_found"), (Fixes(correct={9: {"a": 1}}), "row_not_found"),
     (Fixes(drop={1, 2, 3, 4}), "empty_file")],
)  # fmt: skip
def test_what_cannot_be_is_refused(tmp_path: Path, fixes: Fixes, code: str) -> None:
    with pytest.raises(DataError) as error:
        mended(tmp_path, ROWS, fixes)
    assert error.value.code == code
    assert not (tmp_path / "out").exists()

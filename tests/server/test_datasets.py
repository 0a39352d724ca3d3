"""Data sets over HTTP: made of anything that is data, looked at row by row, and refused with a reason."""

from __future__ import annotations

import gzip
import io
import json
import os
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from wire import Wire, chat_rows, class_rows

ROOT = "/luthier/v1/datasets"


class Bench:
    """A server that may read one folder, and short ways to ask it."""

    def __init__(self, wire: Wire, folder: Path) -> None:
        self.wire, self.folder = wire, folder
        self.headers = {"authorization": f"Bearer {wire.key()}"}

    def ask(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Any:
        return self.wire.http.request(method, path, json=body, headers=headers or self.headers)

    def upload(self, content: bytes, name: str = "data.jsonl") -> str:
        answer = self.wire.http.post(
            "/v1/files", headers=self.headers, data={"purpose": "fine-tune"}, files={"file": (name, content)}
        )
        assert answer.status_code == 200, answer.text
        return str(answer.json()["id"])

    def make(self, content: bytes, name: str = "data.jsonl") -> Any:
        answer = self.ask("POST", ROOT, {"file_id": self.upload(content, name)})
        assert answer.status_code == 200, answer.text
        return answer.json()

    def rows(self, dataset: Any, **query: Any) -> Any:
        path = f"{ROOT}/{dataset['id']}/versions/{query.pop('version', 1)}/rows"
        answer = self.wire.http.get(path, headers=self.headers, params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    folder = tmp_path_factory.mktemp("allowed")
    with Wire(tmp_path_factory.mktemp("home"), data_folders=[str(folder)], max_file_bytes=400_000).running() as wire:
        yield Bench(wire, folder)


def code(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


def test_an_upload_becomes_a_data_set(bench: Bench) -> None:
    made = bench.make(class_rows(12), "shop questions.csv")
    assert (made["object"], made["name"]) == ("dataset", "shop questions")
    latest = made["latest"]
    assert (latest["version"], latest["format"], latest["task"], latest["rows"]) == (1, "csv", "classify", 12)
    assert latest["columns"] == ["text", "label"]
    assert latest["origin"] == {"kind": "file", "filename": "shop questions.csv"}
    assert bench.ask("GET", f"{ROOT}/{made['id']}").json() == made
    assert bench.ask("GET", ROOT).json()["data"][0] == made
    chats = bench.make(chat_rows(3))["latest"]
    assert (chats["task"], chats["rows"], chats["columns"]) == ("chat", 3, ["messages"])


def test_rows_are_numbered_and_know_their_line(bench: Bench) -> None:
    made = bench.make(b'text,label\n"two\nlines",a\nx,b\n\ny,b\n', "a.csv")
    told = bench.rows(made)
    assert [(row["row"], row["line"], row["values"]["text"]) for row in told["data"]] == [
        (1, 2, "two\nlines"), (2, 4, "x"), (3, 6, "y"),
    ]  # fmt: skip
    assert (told["total"], told["has_more"], told["next_after"]) == (3, False, None)
    page = bench.rows(made, after=1, limit=1)
    assert [row["row"] for row in page["data"]] == [2]
    assert (page["has_more"], page["next_after"]) == (True, 2)
    assert bench.rows(made, after=2**31 - 1)["data"] == []


def test_a_broken_row_is_shown_as_it_stands(bench: Bench) -> None:
    content = b'\xef\xbb\xbf{"text": "a", "label": "x"}\r\n\n{"text": \n{"text": "\xff"}\n[1]\n{"a": NaN}\n{"b": "z"}'
    told = bench.rows(bench.make(content))
    assert [row["line"] for row in told["data"]] == [1, 3, 4, 5, 6, 7]
    problems = [row["problem"] and row["problem"]["code"] for row in told["data"]]
    assert problems == [None, "not_json", "wrong_encoding", "not_object", "bad_number", None]
    assert told["data"][1]["text"] == '{"text": '
    assert told["data"][0]["values"] == {"text": "a", "label": "x"}
    uneven = bench.rows(bench.make(b"text,label\na,b\nc\nd,e\n", "b.csv"))["data"]
    assert uneven[1]["problem"]["code"] == "column_count"
    assert [row["line"] for row in uneven] == [2, 3, 4]


def test_other_formats_are_paged_too(bench: Bench) -> None:
    array = bench.make(json.dumps([{"text": f"t{i}", "label": "a"} for i in range(5)]).encode(), "a.json")
    assert array["latest"]["format"] == "json"
    assert bench.rows(array, after=3)["data"][0]["values"] == {"text": "t3", "label": "a"}
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    buffer = io.BytesIO()
    pq.write_table(pa.table({"text": ["x", "y"], "score": [0.5, float("nan")]}), buffer)
    parquet = bench.make(buffer.getvalue(), "a.parquet")
    assert bench.rows(parquet)["data"][1]["values"] == {"text": "y", "score": None}


def test_a_search_finds_texts_whatever_their_case_and_spelling(bench: Bench) -> None:
    rows = [{"text": f"number {i}", "label": "needle"} for i in range(3)]
    rows += [{"text": "Ein BÄR"}, {"text": 'quote " here'}, {"text": "line\nbreak"}, {"text": "Straße"}, {"n": 417}]
    content = "".join(json.dumps(row) + "\n" for row in rows[:4])
    content += "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows[4:])
    made = bench.make(content.encode())

    def found(text: str) -> list[int]:
        return [row["row"] for row in bench.rows(made, q=text)["data"]]

    assert found("NEEDLE") == [1, 2, 3]
    assert found("bär") == [4]
    assert found('quote "') == [5]
    assert found("line\nb") == [6]
    assert found("STRASSE") == [7]
    assert found("417") == [8]
    assert found("label") == []  # a column's name is no text
    assert found("absent") == []
    page = bench.rows(made, q="number", limit=2)
    assert (len(page["data"]), page["has_more"], page["next_after"]) == (2, True, 2)
    assert [row["row"] for row in bench.rows(made, q="number", after=2)["data"]] == [3]


def test_long_texts_are_cut_but_in_a_page_of_their_own(bench: Bench) -> None:
    made = bench.make(json.dumps({"text": "x" * 9000, "label": "a"}).encode() + b'\n{"text": "y", "label": "b"}\n')
    first, second = bench.rows(made)["data"]
    assert (len(first["values"]["text"]), first["cut"], second["cut"]) == (4000, True, False)
    [whole] = bench.rows(made, limit=1)["data"]
    assert (len(whole["values"]["text"]), whole["cut"]) == (9000, False)


@pytest.mark.parametrize(
    ("content", "name", "expected"),
    [
        (b"\n\n \n", "a.csv", "empty_file"),
        (b"\n\n \n", "a.jsonl", "empty_file"),
        (b"text,label\n", "a.csv", "empty_file"),
        (b"\x00\x01\x02\x00" * 100, "a.csv", "binary_file"),
        ("text,label\na,b\n".encode("utf-16"), "a.csv", "wrong_encoding"),
        (b"PAR1" + b"x" * 100, "a.parquet", "not_parseable"),
        (b"text,text\n1,2\n", "a.csv", "duplicate_column"),
    ],
)
def test_what_is_no_data_is_refused_with_a_reason(bench: Bench, content: bytes, name: str, expected: str) -> None:
    file_id = bench.upload(content, name)
    answer = bench.ask("POST", ROOT, {"file_id": file_id, "name": f"bad {name}"})
    assert code(answer) == (400, expected)
    assert str(bench.wire.settings.home) not in answer.text
    assert f"bad {name}" not in bench.ask("GET", ROOT).text


def test_a_parquet_bomb_is_stopped(bench: Bench) -> None:
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    buffer = io.BytesIO()
    column = pa.DictionaryArray.from_arrays(pa.array([0] * 100_000, pa.int32()), pa.array(["x" * 10_000]))
    pq.write_table(pa.table({"text": column}), buffer, compression="zstd")
    assert len(buffer.getvalue()) < 100_000
    answer = bench.ask("POST", ROOT, {"file_id": bench.upload(buffer.getvalue(), "b.parquet")})
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] in ("too_large", "data_failed")
    assert not list((bench.wire.settings.home / "work").glob("*"))


# ---- names, and what else may be said


def test_a_name_is_of_one_data_set(bench: Bench) -> None:
    file_id = bench.upload(class_rows(), "same.csv")
    first = bench.ask("POST", ROOT, {"file_id": file_id, "name": "mine"}).json()
    assert code(bench.ask("POST", ROOT, {"file_id": file_id, "name": "mine"})) == (409, "dataset_exists")
    names = [bench.ask("POST", ROOT, {"file_id": file_id}).json()["name"] for _ in range(2)]
    assert names == ["same", "same 2"]
    assert code(bench.ask("POST", f"{ROOT}/{first['id']}", {"name": "same"})) == (409, "dataset_exists")
    assert bench.ask("POST", f"{ROOT}/{first['id']}", {"name": "<b>ours</b>"}).json()["name"] == "<b>ours</b>"


@pytest.mark.parametrize(
    "body",
    [{}, {"name": "x"}, {"file_id": "file-1", "example": "support-intents"}, {"url": "ftp://x/y"},
     {"url": "file:///etc/passwd"}, {"example": "../x"}, {"name": "", "example": "support-intents"},
     {"name": "a\nb", "example": "support-intents"}, {"path": ""}, {"surprise": 1}],
)  # fmt: skip
def test_a_wrong_request_is_refused(bench: Bench, body: dict[str, Any]) -> None:
    assert bench.ask("POST", ROOT, body).status_code == 400


def test_what_is_not_there_is_not_found(bench: Bench) -> None:
    made = bench.make(class_rows(), "n.csv")
    for path in ("ds_nothing", f"{made['id']}/versions/2", f"{made['id']}/versions/0/rows",
                 f"{made['id']}/versions/999999/check"):  # fmt: skip
        assert bench.ask("GET", f"{ROOT}/{path}").status_code == 404, path
    assert bench.ask("GET", f"{ROOT}/{made['id']}/versions/x/rows").status_code == 400
    assert code(bench.ask("POST", ROOT, {"file_id": "file-nothing"})) == (404, "file_not_found")
    assert code(bench.ask("POST", ROOT, {"example": "nothing"})) == (404, "example_not_found")
    assert bench.ask("GET", f"{ROOT}?after=ds_nothing").status_code == 404


# ---- examples and paths


def test_an_example_brings_its_test_rows(bench: Bench) -> None:
    made = bench.ask("POST", ROOT, {"example": "support-intents"}).json()
    assert (made["name"], made["latest"]["rows"], made["latest"]["task"]) == ("support-intents", 352, "classify")
    test = bench.ask("GET", f"/v1/files/{made['latest']['test_file_id']}").json()
    assert test["bytes"] == 13_035
    job = bench.ask("POST", "/luthier/v1/jobs", {"recipe": {
        "task": "classify", "data": {"train": made["latest"]["file_id"], "test": made["latest"]["test_file_id"]},
    }}).json()  # fmt: skip
    version = bench.ask("GET", f"{ROOT}/{made['id']}/versions/1").json()
    assert [used["id"] for used in version["used_by"]] == [job["id"]]
    assert code(bench.ask("DELETE", f"{ROOT}/{made['id']}")) == (409, "dataset_in_use")
    assert bench.ask("POST", f"/v1/fine_tuning/jobs/{job['id']}/cancel").is_success
    assert bench.ask("DELETE", f"{ROOT}/{made['id']}").json()["deleted"] is True
    for name in ("file_id", "test_file_id"):
        assert bench.ask("GET", f"/v1/files/{made['latest'][name]}").status_code == 404


def test_a_file_of_a_data_set_stays(bench: Bench) -> None:
    answer = bench.wire.http.post(
        "/v1/files", headers=bench.headers, files={"file": ("t.csv", class_rows())},
        data={"purpose": "fine-tune", "expires_after[anchor]": "created_at", "expires_after[seconds]": "3600"},
    )  # fmt: skip
    file_id = answer.json()["id"]
    made = bench.ask("POST", ROOT, {"file_id": file_id}).json()
    again = bench.ask("POST", ROOT, {"file_id": file_id}).json()
    assert bench.ask("GET", f"/v1/files/{file_id}").json()["expires_at"] is None
    assert code(bench.ask("DELETE", f"/v1/files/{file_id}")) == (409, "file_in_use")
    assert bench.ask("DELETE", f"{ROOT}/{made['id']}").is_success  # the other one holds the file
    assert bench.rows(again)["total"] == 12
    assert bench.ask("DELETE", f"{ROOT}/{again['id']}").is_success
    assert bench.ask("GET", f"/v1/files/{file_id}").status_code == 404
    assert not (bench.wire.settings.home / "artefacts" / "views" / file_id).exists()


def test_a_lost_view_is_made_again(bench: Bench) -> None:
    made = bench.make(class_rows(), "lost.csv")
    bench.wire.artefacts.delete_folder(f"views/{made['latest']['file_id']}")
    assert bench.rows(made)["total"] == 12


def test_a_path_in_an_allowed_folder_is_read(bench: Bench) -> None:
    (bench.folder / "mine.csv").write_bytes(class_rows())
    made = bench.ask("POST", ROOT, {"path": str(bench.folder / "mine.csv"), "name": "by path"}).json()
    assert made["latest"]["rows"] == 12
    assert made["latest"]["origin"] == {"kind": "path", "path": str(bench.folder / "mine.csv")}


def test_no_other_path_is(bench: Bench, tmp_path: Path) -> None:
    secret = tmp_path / "secret.csv"
    secret.write_bytes(class_rows())
    sibling = bench.folder.parent / f"{bench.folder.name}_evil"
    sibling.mkdir()
    (sibling / "x.csv").write_bytes(class_rows())
    (bench.folder / "link.csv").symlink_to(secret)
    (bench.folder / "dir").symlink_to(tmp_path)
    os.mkfifo(bench.folder / "fifo.csv")
    answers = []
    for path in (secret, sibling / "x.csv", bench.folder / "link.csv", bench.folder / "dir" / "secret.csv",
                 f"{bench.folder}/../{tmp_path.name}/secret.csv", bench.folder / "fifo.csv", bench.folder, "mine.csv",
                 "/dev/zero", "/proc/self/environ", bench.folder / "nothing", bench.folder / ("x" * 300)):  # fmt: skip
        answer = bench.ask("POST", ROOT, {"path": str(path)})
        assert code(answer) == (404, "path_not_found"), path
        answers.append(answer.json())
    assert all(answer == answers[0] for answer in answers)
    assert bench.ask("POST", ROOT, {"path": f"{bench.folder}/a\0b"}).status_code == 400


def test_a_path_is_measured_as_it_is_read(bench: Bench) -> None:
    (bench.folder / "large.csv").write_bytes(b"text,label\n" + b"x" * 500_000)
    assert code(bench.ask("POST", ROOT, {"path": str(bench.folder / "large.csv")})) == (413, "file_too_large")
    (bench.folder / "empty.csv").write_bytes(b"")
    assert code(bench.ask("POST", ROOT, {"path": str(bench.folder / "empty.csv")})) == (400, "empty_file")
    (bench.folder / "bomb.csv.gz").write_bytes(gzip.compress(b"x" * 10**7))
    with zipfile.ZipFile(bench.folder / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("../../evil.csv", b"x" * 10**7)
    for name in ("bomb.csv.gz", "bomb.zip"):
        answer = bench.ask("POST", ROOT, {"path": str(bench.folder / name)})
        assert code(answer) == (415, "unsupported_file_type")


def test_nothing_is_left_of_what_was_refused(bench: Bench) -> None:
    files = bench.wire.settings.home / "artefacts" / "files"
    before = sorted(path.name for path in files.iterdir())
    (bench.folder / "binary.csv").write_bytes(b"\x00\x01" * 50)
    assert bench.ask("POST", ROOT, {"path": str(bench.folder / "binary.csv")}).status_code == 400
    assert sorted(path.name for path in files.iterdir()) == before
    assert list((bench.wire.settings.home / "work").iterdir()) == []


def test_without_leave_neither_paths_nor_addresses_are_read(plain_wire: Wire) -> None:
    bench = Bench(plain_wire, Path("/"))
    assert code(bench.ask("POST", ROOT, {"path": "/etc/hostname"})) == (403, "paths_not_allowed")
    assert code(bench.ask("POST", ROOT, {"url": "https://example.com/x.csv"})) == (403, "urls_not_allowed")


def test_two_at_once_with_one_name_are_one(bench: Bench) -> None:
    file_id = bench.upload(class_rows(), "race.csv")
    answers: list[int] = []

    def make() -> None:
        answers.append(bench.ask("POST", ROOT, {"file_id": file_id, "name": "race"}).status_code)

    threads = [threading.Thread(target=make) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [200, 409, 409]
    [made] = [one for one in bench.ask("GET", ROOT).json()["data"] if one["name"] == "race"]
    assert bench.rows(made)["total"] == 12

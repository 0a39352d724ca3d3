"""Checks, tokens and new versions of data sets over HTTP, with the processes that make them."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from wire import Wire, chat_rows

from luthier.jobs.data_check import run_check
from luthier.jobs.dataset_fixing import fix_file
from luthier.jobs.dataset_reading import read_file
from luthier.jobs.row_tokens import tokens_of
from luthier.server import data_children, token_reader
from luthier.server.errors import ApiError

ROOT = "/luthier/v1/datasets"
ROWS = b"text,label\ngood stuff,a\nbad stuff,b\n,a\nGood stuff!,a\nfine thing,a\n"
IN_PROCESS = {
    "luthier.jobs.data_check": run_check, "luthier.jobs.dataset_fixing": fix_file,
    "luthier.jobs.dataset_reading": read_file,
}  # fmt: skip


@pytest.fixture
def wire(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Wire]:
    """A server whose reading is done in this process: what is tested is what it does, and not that processes start."""
    asked: list[str] = []

    async def ask(module: str, request: dict[str, Any], **_: Any) -> dict[str, Any]:
        asked.append(module)
        answer: dict[str, Any] = json.loads(json.dumps(IN_PROCESS[module](json.loads(json.dumps(request)))))
        return answer

    monkeypatch.setattr(data_children, "ask", ask)
    with Wire(tmp_path).running() as it:
        it.asked = asked  # type: ignore[attr-defined]
        it.headers = {"authorization": f"Bearer {it.key()}"}  # type: ignore[attr-defined]
        yield it


def ask(wire: Any, method: str, path: str, body: Any = None, **query: Any) -> Any:
    return wire.http.request(method, path, json=body, params=query, headers=wire.headers)


def make(wire: Any, content: bytes, name: str = "rows.csv") -> str:
    file = wire.http.post(
        "/v1/files", headers=wire.headers, data={"purpose": "fine-tune"}, files={"file": (name, content)}
    )
    answer = ask(wire, "POST", ROOT, {"file_id": file.json()["id"]})
    assert answer.status_code == 200, answer.text
    return str(answer.json()["id"])


def fix(wire: Any, dataset: str, *fixes: dict[str, Any], base: int = 1) -> Any:
    return ask(wire, "POST", f"{ROOT}/{dataset}/versions", {"base": base, "fixes": list(fixes)})


def texts(wire: Any, dataset: str, version: int) -> list[Any]:
    told = ask(wire, "GET", f"{ROOT}/{dataset}/versions/{version}/rows").json()
    return [row["values"] and row["values"].get("text") for row in told["data"]]


def code(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


def without_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    """Checks without a tokenizer, which these tests do not need."""
    from luthier import api
    from luthier.data.checks import check

    def plain(data: Any, *, task: str, test: Any, findings_file: Any, **_: Any) -> Any:
        return check(data, task=task, test=test, findings_file=findings_file)

    monkeypatch.setattr(api, "check", plain)


@pytest.fixture(autouse=True)
def _no_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    without_tokens(monkeypatch)


def test_a_check_is_made_once_and_kept(wire: Any) -> None:
    dataset = make(wire, ROWS)
    path = f"{ROOT}/{dataset}/versions/1/check"
    told = ask(wire, "GET", path).json()
    assert told["status"] == "done"
    found = {(one["code"], one["line"]) for one in told["report"]["findings"]}
    assert {("empty_text", 4), ("duplicate_normalised", 5)} <= found
    assert told["report"]["stats"]["findings"]["file"] is None
    assert str(wire.settings.home) not in json.dumps(told)
    assert ask(wire, "GET", path).json() == told
    assert wire.asked.count("luthier.jobs.data_check") == 1
    other = ask(wire, "GET", path, task="regress").json()  # another question is another check
    assert (other["status"], other["report"]["ok"]) == ("done", False)
    assert wire.asked.count("luthier.jobs.data_check") == 2


def test_a_check_that_takes_longer_is_asked_for_again(wire: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = make(wire, ROWS)
    let, quick = threading.Event(), data_children.ask

    async def slow(module: str, request: dict[str, Any], **how: Any) -> dict[str, Any]:
        import asyncio

        await asyncio.to_thread(let.wait, 20)
        return await quick(module, request, **how)

    monkeypatch.setattr(data_children, "ask", slow)
    path = f"{ROOT}/{dataset}/versions/1/check"
    for _ in range(2):
        assert ask(wire, "GET", path, wait=0).json()["status"] == "running"
    let.set()
    assert ask(wire, "GET", path, wait=60).json()["status"] == "done"
    assert wire.asked.count("luthier.jobs.data_check") == 1


def test_a_check_that_fails_is_said_so_and_tried_again(wire: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = make(wire, ROWS)

    async def broken(*_: Any, **__: Any) -> dict[str, Any]:
        raise ApiError(400, "It broke down.", code="check_failed")

    with monkeypatch.context() as patch:
        patch.setattr(data_children, "ask", broken)
        told = ask(wire, "GET", f"{ROOT}/{dataset}/versions/1/check").json()
        assert (told["status"], told["error"]) == ("failed", {"code": "check_failed", "message": "It broke down."})
    assert ask(wire, "GET", f"{ROOT}/{dataset}/versions/1/check").json()["status"] == "done"


def test_findings_are_fixed_into_a_new_version(wire: Any) -> None:
    dataset = make(wire, ROWS)
    made = fix(wire, dataset, {"fix": "dedupe"}, {"fix": "drop_findings", "codes": ["empty_text"]})
    assert made.status_code == 200, made.text
    version = made.json()
    assert (version["version"], version["rows"], version["task"]) == (2, 3, "classify")
    assert version["origin"] == {
        "kind": "fixes", "base": 1, "dropped": 2, "corrected": 0, "added": 0, "renamed": {},
        "codes": ["duplicate", "duplicate_normalised", "empty_text"],
    }  # fmt: skip
    assert texts(wire, dataset, 2) == ["good stuff", "bad stuff", "fine thing"]
    assert texts(wire, dataset, 1)[2] == ""  # the old one is as it was
    assert ask(wire, "GET", f"{ROOT}/{dataset}").json()["latest"] == version
    assert code(fix(wire, dataset, {"fix": "dedupe"}, base=2)) == (400, "no_change")


def test_more_findings_than_a_report_holds_are_fixed_too(wire: Any) -> None:
    content = b"text,label\n" + b"".join(b"the same text,a\nother %d,b\n" % i for i in range(150))
    dataset = make(wire, content)
    report = ask(wire, "GET", f"{ROOT}/{dataset}/versions/1/check").json()["report"]
    assert report["stats"]["findings"]["rest"] > 0
    assert fix(wire, dataset, {"fix": "drop_findings", "codes": ["duplicate"]}).json()["rows"] == 151


def test_rows_are_dropped_corrected_and_added_by_hand(wire: Any) -> None:
    dataset = make(wire, ROWS)
    made = fix(
        wire, dataset, {"fix": "drop_rows", "rows": [3]},
        {"fix": "correct_rows", "rows": [{"row": 2, "values": {"label": "bad"}}]},
        {"fix": "add_rows", "rows": [{"text": "<script>alert(1)</script>", "label": "a"}]},
    ).json()  # fmt: skip
    assert (made["origin"]["dropped"], made["origin"]["corrected"], made["origin"]["added"]) == (1, 1, 1)
    assert texts(wire, dataset, 2)[-1] == "<script>alert(1)</script>"
    rows = ask(wire, "GET", f"{ROOT}/{dataset}/versions/2/rows").json()["data"]
    assert rows[1]["values"] == {"text": "bad stuff", "label": "bad"}


def test_columns_are_mapped(wire: Any) -> None:
    dataset = make(wire, b"Body,Kind\nx y,a\nz w,b\n")
    assert ask(wire, "GET", f"{ROOT}/{dataset}").json()["latest"]["task"] == ""
    made = fix(wire, dataset, {"fix": "map_columns", "columns": {"text": "Body", "label": "Kind"}}).json()
    assert (made["columns"], made["task"]) == (["text", "label"], "classify")
    wrong = fix(wire, dataset, {"fix": "map_columns", "columns": {"text": "Nothing"}})
    assert code(wrong) == (400, "missing_column")
    twice = fix(wire, dataset, {"fix": "map_columns", "columns": {"text": "Body", "label": "Body"}})
    assert code(twice) == (400, "missing_column")


@pytest.mark.parametrize(
    ("fixes", "expected"),
    [([], 400), ([{"fix": "nothing"}], 400), ([{"fix": "drop_rows", "rows": []}], 400),
     ([{"fix": "drop_rows", "rows": [0]}], 400), ([{"fix": "drop_rows", "rows": [99]}], 400),
     ([{"fix": "drop_rows", "rows": [1, 2, 3, 4, 5]}], 400), ([{"fix": "drop_findings", "codes": ["../x"]}], 400),
     ([{"fix": "correct_rows", "rows": [{"row": 1, "values": 3}]}], 400)],
)  # fmt: skip
def test_a_wrong_fix_makes_no_version(wire: Any, fixes: list[Any], expected: int) -> None:
    dataset = make(wire, ROWS)
    assert fix(wire, dataset, *fixes).status_code == expected
    assert fix(wire, dataset, {"fix": "drop_rows", "rows": [1]}, base=7).status_code == 404
    assert len(ask(wire, "GET", f"{ROOT}/{dataset}/versions").json()["data"]) == 1
    assert len(list((wire.settings.home / "artefacts" / "files").iterdir())) == 1


def test_two_at_once_are_two_versions(wire: Any) -> None:
    dataset = make(wire, ROWS)
    answers: list[Any] = []

    def one(row: int) -> None:
        answers.append(fix(wire, dataset, {"fix": "drop_rows", "rows": [row]}).json())

    threads = [threading.Thread(target=one, args=(row,)) for row in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answer["version"] for answer in answers) == [2, 3]
    told = ask(wire, "GET", f"{ROOT}/{dataset}/versions").json()
    assert [one["version"] for one in told["data"]] == [3, 2, 1]
    assert ask(wire, "GET", f"{ROOT}/{dataset}/versions", limit=1).json()["next_before"] == 3
    assert ask(wire, "DELETE", f"{ROOT}/{dataset}").is_success
    for folder in ("files", "views"):
        assert list((wire.settings.home / "artefacts" / folder).iterdir()) == []


# ---- tokens


def test_what_a_conversation_teaches_is_told_by_token() -> None:
    row = json.loads(chat_rows(1))
    told = tokens_of({"values": row, "line": 1, "columns": ["messages"], "task": "chat", "model": None,
                      "max_length": None})  # fmt: skip
    learned = "".join(one["text"] for one in told["tokens"] if one["weight"] > 0)
    assert "It is 0." in learned
    assert "What is" not in learned
    assert "What is 0 and 0?" in "".join(one["text"] for one in told["tokens"])
    assert told["learned"] == sum(one["weight"] > 0 for one in told["tokens"])
    assert (told["total"], told["cut"]) == (len(told["tokens"]), False)
    assert any(one["special"] for one in told["tokens"])


def test_a_row_of_another_task_is_an_error() -> None:
    told = tokens_of({"values": {"text": "x"}, "line": 1, "columns": ["text"], "task": "chat", "model": None,
                      "max_length": None})  # fmt: skip
    assert told["error"]["code"]
    broken = tokens_of({"values": {"messages": []}, "line": 1, "columns": ["messages"], "task": "chat", "model": None,
                        "max_length": None})  # fmt: skip
    assert broken["error"]["code"]


def test_tokens_over_http_come_from_one_process(wire: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = make(wire, chat_rows(3) + b"{broken\n", "chat.jsonl")
    path = f"{ROOT}/{dataset}/versions/1/tokens"
    first = ask(wire, "GET", path, row=1)
    assert first.status_code == 200, first.text
    told = first.json()
    assert (told["task"], told["model"], told["row"]) == ("chat", "luthier-nano", 1)
    reader = token_reader.TokenReader.of(wire.state)
    process = reader._process
    assert process is not None
    assert ask(wire, "GET", path, row=2, max_length=5).json()["cut"] is True
    assert reader._process is process
    assert code(ask(wire, "GET", path, row=4)) == (400, "not_json")
    assert code(ask(wire, "GET", path, row=5)) == (404, "not_found")
    assert ask(wire, "GET", path, row=1, model="nothing").status_code == 404
    assert ask(wire, "GET", path, row=1, task="extract").status_code == 400
    monkeypatch.setattr(token_reader, "LONGEST_SECONDS", 0.0)
    assert code(ask(wire, "GET", path, row=1)) == (400, "tokens_failed")
    assert reader._process is None

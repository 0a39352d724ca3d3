"""The checks of generative data, and OpenAI's rules when asked."""

import io
import json

import pytest
from rich.console import Console

from luthier.api import check as api_check
from luthier.core.errors import DataError, UsageError
from luthier.data.checks import check
from luthier.data.checks.render import render

TOPICS = ["tea", "coffee", "parcels", "refunds", "opening hours", "mugs", "gift cards", "filters", "beans", "kettles"]
VERBS = ["order", "return", "cancel", "change", "find", "track", "pay for", "wrap", "swap", "store"]


def chat(k, answer=None, **last):
    usual = f"To {VERBS[k // 10 % 10]} {TOPICS[k % 10]}, open your account and choose point {k}."
    content = usual if answer is None else answer
    return {
        "messages": [
            {"role": "system", "content": "You help the customers of a shop."},
            {"role": "user", "content": f"How do I {VERBS[k // 10 % 10]} {TOPICS[k % 10]}?"},
            {"role": "assistant", "content": content, **last},
        ]
    }


def write(tmp_path, rows, name="train.jsonl"):
    path = tmp_path / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def codes(report):
    return {item.code: item.count for item in report.codes}


def shown(report):
    console = Console(file=io.StringIO(), width=100)
    for part in render(report):
        console.print(part)
    return console.file.getvalue()


def test_good_data_pass(tmp_path):
    report = check(write(tmp_path, [chat(k) for k in range(40)]), like="openai")
    assert report.ok
    assert codes(report) == {}
    assert report.task == "chat"
    assert report.stats["conversations"]["system_prompts"] == 1
    assert 0 < report.stats["trained_share"] < 1
    text = shown(report)
    assert "Ready to train" in text
    assert "system prompt in 40 of 40" in text
    json.dumps(report.to_dict(), allow_nan=False)


def test_messages_have_openais_form(tmp_path):
    rows = [chat(k) for k in range(12)]
    rows[4]["messages"][1]["role"] = "usr"
    rows[6] = chat(6, weight=0)
    rows[8]["extra"] = 1
    rows[9]["messages"].insert(2, {"role": "assistant", "tool_calls": [
        {"id": "a", "type": "function", "function": {"name": "f", "arguments": {"x": 1}}}]})  # fmt: skip
    rows[9]["messages"].insert(3, {"role": "tool", "tool_call_id": "a", "content": "1"})
    report = check(write(tmp_path, rows), like="openai")
    assert not report.ok
    errors = {finding.line: finding for finding in report.findings if finding.severity == "error"}
    assert {line: finding.code for line, finding in errors.items()} == {
        5: "unknown_role", 7: "nothing_trained", 9: "unknown_field", 10: "bad_arguments",
    }  # fmt: skip
    assert all(finding.message.startswith(f"Line {line}: ") for line, finding in errors.items())
    assert all(finding.remedy for finding in errors.values())
    assert check(write(tmp_path, [rows[8], rows[9], *rows[:4]])).ok  # what only OpenAI refuses


def test_ten_samples_json_lines_and_its_own_format(tmp_path):
    assert codes(check(write(tmp_path, [chat(k) for k in range(9)]), like="openai"))["invalid_n_examples"] == 1
    path = tmp_path / "list.json"
    path.write_text(json.dumps([chat(k) for k in range(12)], indent=1))
    assert codes(check(str(path), like="openai"))["not_jsonl"] == 1
    sharegpt = {"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]}
    assert codes(check(write(tmp_path, [sharegpt] * 10), like="openai"))["not_openai_format"] == 10
    pairs = [{"prompt": f"{TOPICS[k]}:", "completion": f" {VERBS[k]}"} for k in range(10)]
    assert check(write(tmp_path, pairs), like="openai").ok


def test_a_bad_encoding_is_named_by_line(tmp_path):
    path = tmp_path / "train.jsonl"
    lines = [json.dumps(chat(k)).encode() for k in range(12)]
    lines[2] = lines[2].replace(b"account", b"caf\xe9")
    path.write_bytes(b"\n".join(lines))
    (found,) = [finding for finding in check(str(path), like="openai").findings if finding.severity == "error"]
    assert found.code == "wrong_encoding"
    assert found.message.startswith("Line 3: ")


def test_a_hundred_and_the_rest_in_a_file(tmp_path):
    rows = [{"messages": [{"role": "user", "content": "a"}]} for _ in range(130)] + [chat(k) for k in range(10)]
    rest = tmp_path / "rest.jsonl"
    report = check(write(tmp_path, rows), like="openai", findings_file=rest)
    assert len(report.findings) == 100
    assert codes(report)["no_answer"] == 130
    written = [json.loads(line) for line in rest.read_text().splitlines()]
    assert len(written) == report.overflow >= 30
    assert all(row["message"].startswith(f"Line {row['line']}: ") for row in written if row["line"])


def test_validation_rows_of_training_are_warnings(tmp_path):
    train = [chat(k) for k in range(20)]
    report = check(
        write(tmp_path, train),
        validation=write(tmp_path, [chat(3), chat(4, "No."), chat(77)], "v.jsonl"),
        like="openai",
    )
    assert report.ok
    leaks = [finding for finding in report.findings if finding.code == "leak"]
    assert [(leak.line, leak.severity, leak.other["answer"]) for leak in leaks] == [
        (1, "warning", "same"),
        (2, "warning", "another"),
    ]
    assert "question" in leaks[0].message
    assert report.stats["leaks"]["validation"]["whole"] == 1


def test_other_tasks_and_other_rules_are_refused(tmp_path):
    path = write(tmp_path, [{"text": f"text {k}", "label": "ab"[k % 2]} for k in range(20)])
    with pytest.raises(DataError) as caught:
        check(path, like="openai")
    assert caught.value.code == "wrong_task"
    with pytest.raises(UsageError, match="openai"):
        check(path, like="opneai")


def test_the_same_question_with_several_answers_is_a_note(tmp_path):
    rows = [chat(k) for k in range(20)]
    report = check(write(tmp_path, [*rows, chat(3, "Ask us."), chat(5)]))
    found = codes(report)
    assert (found["several_answers"], found["duplicate"]) == (1, 1)
    severity = {finding.code: finding.severity for finding in report.findings}
    assert (severity["several_answers"], severity["duplicate"]) == ("info", "warning")
    assert "label_conflict" not in found


def test_answers_and_turns(tmp_path):
    rows = [chat(k) for k in range(30)]
    rows[3]["messages"][2]["content"] = "A"
    del rows[5]["messages"][0]
    rows[7]["messages"].insert(1, rows[7]["messages"][1])
    rows[9]["messages"].append({"role": "system", "content": "Be kind."})
    rows[9]["messages"] += chat(55)["messages"][1:]
    del rows[11]["messages"][1]
    report = check(write(tmp_path, rows))
    places = {finding.code: finding.line for finding in report.findings}
    assert places == {
        "few_rows": 0, "short_answer": 4, "no_system_prompt": 6, "repeated_role": 8, "system_not_first": 10,
        "assistant_first": 12,
    }  # fmt: skip


def test_one_answer_dominates(tmp_path):
    rows = [chat(k, "I cannot help with that." if k % 3 else None) for k in range(45)]
    report = check(write(tmp_path, rows))
    (found,) = [finding for finding in report.findings if finding.code == "dominant_answer"]
    assert (found.line, found.other["rows"]) == (2, 30)


def test_prompts_that_run_into_completions(tmp_path):
    rows = [{"prompt": f"{VERBS[k % 10]} {TOPICS[k // 10]}", "completion": f"word {k}"} for k in range(40)]
    assert codes(check(write(tmp_path, rows)))["prompt_runs_into_completion"] == 1
    rows = [{**row, "completion": f" {row['completion']}"} for row in rows]
    assert "prompt_runs_into_completion" not in codes(check(write(tmp_path, rows)))


def test_every_text_of_a_conversation_is_looked_at(tmp_path):
    rows = [chat(k) for k in range(12)]
    rows[2]["messages"][0]["content"] = "Write to anna@example.com."
    rows[4]["messages"][2]["content"] += " FranÃ§ais"
    report = check(write(tmp_path, rows))
    found = {finding.code: finding for finding in report.findings}
    assert found["personal_email"].line == 3
    assert "message 1 (system)" in found["personal_email"].message
    assert found["mojibake"].line == 5
    longest = max(sum(len(message["content"]) for message in row["messages"]) for row in rows)
    assert report.stats["lengths"]["characters"]["max"] == longest


def test_code_is_checked_as_text(tmp_path):
    for k in range(3):
        (tmp_path / f"{TOPICS[k]}.py").write_text(f"def {TOPICS[k]}():\n    return {VERBS[k]!r}\n" * 3)
    (tmp_path / "copy.py").write_text((tmp_path / "tea.py").read_text())
    report = check(str(tmp_path), task="complete")
    assert report.ok
    (same,) = [finding for finding in report.findings if finding.code == "duplicate"]
    assert same.message.startswith("the same text as line 1 of copy.py")
    assert "def" in shown(report)


def test_the_api_counts_the_tokens_of_a_generative_base_for_chats(tmp_path):
    report = api_check(write(tmp_path, [chat(k) for k in range(12)]), like="openai")
    assert report.ok
    assert report.stats["lengths"]["tokens"]["max_length"] == 1024  # luthier-nano's, not an encoder's 512
    assert 0 < report.stats["lengths"]["tokens"]["learned_share"] < 1
    assert report.sample["target"]["messages"][1]["role"] == "user"

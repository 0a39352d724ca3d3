"""Rows of chat and complete become conversations and completions, or a finding with its place."""

import csv
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from luthier.core.conversation import Completion, Conversation, Message
from luthier.core.errors import DataError, UsageError
from luthier.core.recipe import DataSpec
from luthier.data.columns import Columns
from luthier.data.conversations import language_target
from luthier.data.dataset import Dataset
from luthier.data.formats.base import Row
from luthier.data.prepare import prepare
from luthier.data.samples import Finding
from luthier.data.targets import Wrong

ASK = {"role": "user", "content": "What is the capital of Italy?"}
SAY = {"role": "assistant", "content": "Rome."}
CALL = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Rome"}'}}
CALLS = {"role": "assistant", "content": None, "tool_calls": [CALL]}
TOLD = {"role": "tool", "tool_call_id": "c1", "content": "sunny"}
TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": {}}}]


def write(tmp_path, rows, name="train.jsonl"):
    path = tmp_path / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def targets(path, **options):
    return [sample.target for sample in Dataset.open(path, **options).samples()]


def plain(conversation):
    return [(message.role, message.content) for message in conversation.messages]


def test_openai_messages_with_tools_parts_names_and_weights(tmp_path):
    messages = [
        {"role": "developer", "content": "Be short."},
        {"role": "user", "content": [{"type": "text", "text": "Hi, "}, {"type": "text", "text": "you"}], "name": "ann"},
        {**SAY, "weight": 0},
        ASK,
        CALLS,
        TOLD,
        {**SAY, "weight": 1},
    ]
    path = write(tmp_path, [{"messages": messages, "tools": TOOLS, "parallel_tool_calls": False}])
    dataset = Dataset.open(path)
    assert dataset.task == "chat"
    assert dataset.columns.to_dict() == {"messages": "messages", "tools": "tools"}
    (sample,) = dataset.samples()
    assert isinstance(sample.target, Conversation)
    assert [message.role for message in sample.target.messages] == [item["role"] for item in messages]
    assert sample.target.messages[1] == Message("user", "Hi, you", "ann")
    assert sample.target.messages[4].tool_calls == (CALL,)
    assert sample.target.messages[4].content == ""
    assert sample.target.messages[5].tool_call_id == "c1"
    assert sample.target.tools == tuple(TOOLS)
    assert sample.target.trained == [4, 6]
    assert "Be short" not in sample.text
    assert sample.text.endswith("tool: sunny")
    assert (sample.text_pair, sample.line, sample.source) == (None, 1, path)


def test_a_single_question_reads_as_its_text(tmp_path):
    path = write(tmp_path, [{"messages": [{"role": "system", "content": "Be short."}, ASK, SAY]}])
    assert next(Dataset.open(path).samples()).text == ASK["content"]


def test_a_conversation_ends_with_the_last_turn_that_is_learned(tmp_path):
    path = write(tmp_path, [{"messages": [ASK, SAY, ASK, {**SAY, "weight": 0}]}])
    assert plain(targets(path)[0]) == [("user", ASK["content"]), ("assistant", "Rome.")]


def test_it_may_end_with_a_tool_call_to_learn(tmp_path):
    (found,) = targets(write(tmp_path, [{"messages": [ASK, CALLS], "tools": TOOLS}]))
    assert found.messages[-1].tool_calls == (CALL,)


def test_vertex(tmp_path):
    row = {
        "systemInstruction": {"role": "system", "parts": [{"text": "Be short."}]},
        "contents": [
            {"role": "user", "parts": [{"text": "Hi"}]},
            {"role": "model", "parts": [{"text": "Hello, "}, {"text": "you."}]},
        ],
    }
    (found,) = targets(write(tmp_path, [row]))
    assert plain(found) == [("system", "Be short."), ("user", "Hi"), ("assistant", "Hello, you.")]


def test_sharegpt(tmp_path):
    row = {
        "system": "Be short.",
        "tools": json.dumps(TOOLS),
        "conversations": [
            {"from": "human", "value": "Weather?"},
            {"from": "function_call", "value": '{"name": "weather", "arguments": {"city": "Rome"}}'},
            {"from": "observation", "value": "sunny"},
            {"from": "gpt", "value": "Sunny."},
        ],
    }
    (found,) = targets(write(tmp_path, [row]))
    assert [message.role for message in found.messages] == ["system", "user", "assistant", "tool", "assistant"]
    (call,) = found.messages[2].tool_calls
    assert json.loads(call["function"]["arguments"]) == {"city": "Rome"}
    assert found.messages[3].tool_call_id == call["id"]
    assert found.tools == tuple(TOOLS)


def test_prompt_and_completion(tmp_path):
    path = write(tmp_path, [{"prompt": " 2+2 ", "completion": " 4\n"}, {"prompt": "", "completion": "free"}])
    dataset = Dataset.open(path)
    assert dataset.task == "complete"
    samples = list(dataset.samples())
    assert [sample.target for sample in samples] == [Completion(" 2+2 ", " 4\n"), Completion("", "free")]
    assert [sample.text for sample in samples] == [" 2+2 ", "free"]
    with pytest.raises(DataError, match="empty"):
        targets(path, task="chat")  # a user says something


def test_prompt_and_completion_as_chat_also_as_lists(tmp_path):
    assert plain(targets(write(tmp_path, [{"prompt": "a", "completion": "b"}]), task="chat")[0]) == [
        ("user", "a"),
        ("assistant", "b"),
    ]
    path = write(tmp_path, [{"prompt": [ASK, SAY, ASK], "completion": [SAY]}])
    dataset = Dataset.open(path)
    assert dataset.task == "chat"
    (sample,) = dataset.samples()
    assert sample.target.trained == [3]


def test_a_gap_to_fill(tmp_path):
    path = write(tmp_path, [{"prompt": "def f(", "completion": "x", "suffix": "):"}])
    assert targets(path) == [Completion("def f(", "x", "):")]


def test_alpaca(tmp_path):
    rows = [
        {"instruction": "Add.", "input": "1 2", "output": "3"},
        {"instruction": "Say hi.", "input": "", "output": "Hi"},
    ]
    path = write(tmp_path, rows)
    assert Dataset.open(path).task == "complete"
    first, second = Dataset.open(path).samples()
    assert first.text == "Add.\n\n1 2"
    assert first.target.prompt.startswith("Below is an instruction that describes a task, paired with an input")
    assert first.target.prompt.endswith("### Instruction:\nAdd.\n\n### Input:\n1 2\n\n### Response:")
    assert "Input" not in second.target.prompt
    assert second.target.prompt.endswith("### Instruction:\nSay hi.\n\n### Response:")
    chat = targets(path, task="chat")
    assert plain(chat[0]) == [("user", "Add.\n\n1 2"), ("assistant", "3")]


def test_text_alone_is_complete_only_when_asked(tmp_path):
    path = write(tmp_path, [{"text": "Once upon a time"}])
    with pytest.raises(DataError) as caught:
        Dataset.open(path)
    assert caught.value.code == "missing_column"
    assert targets(path, task="complete") == [Completion("", "Once upon a time")]


def test_what_was_recognised_before_still_is(tmp_path):
    for k, (row, task) in enumerate(
        [
            ({"text": "a", "label": "b"}, "classify"),
            ({"question": "a", "category": "b"}, "classify"),
            ({"input": "a", "instruction": "i", "output": "o", "label": "b"}, "classify"),
            ({"text": "a", "messages": "m", "score": 1.5}, "regress"),
            ({"text": "abc", "prompt": "p", "completion": "c", "spans": []}, "extract"),
        ]
    ):
        assert Dataset.open(write(tmp_path, [row], f"{k}.jsonl")).task == task


def test_mapped_columns(tmp_path):
    path = write(tmp_path, [{"ask": "a", "say": "b", "thread": "t"}])
    mapping = {"prompt": "ask", "completion": "say"}
    dataset = Dataset.open(path, columns=mapping, group="thread")
    assert dataset.task == "complete"
    (sample,) = dataset.samples()
    assert (sample.target, sample.group) == (Completion("a", "b"), "t")
    path = write(tmp_path, [{"dialog": [ASK, SAY]}], "m.jsonl")
    assert Dataset.open(path, columns={"messages": "dialog"}).task == "chat"
    assert targets(write(tmp_path, [{"question": "a", "answer": "b"}], "q.jsonl"), task="complete") == [
        Completion("a", "b")
    ]


def test_csv_and_parquet(tmp_path):
    path = tmp_path / "chat.csv"
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerows([["id", "messages"], [1, json.dumps([ASK, SAY])], [2, json.dumps([ASK, CALLS])]])
    found = targets(str(path))
    assert plain(found[0]) == [("user", ASK["content"]), ("assistant", "Rome.")]
    assert found[1].messages[1].tool_calls == (CALL,)
    path = tmp_path / "pairs.csv"
    path.write_text('prompt,completion\n"a, b",c\nd,e\n')
    assert targets(str(path)) == [Completion("a, b", "c"), Completion("d", "e")]
    rows = [{"messages": [ASK, {**SAY, "weight": 1}]}, {"messages": [ASK, CALLS, TOLD, SAY]}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "chat.parquet")
    found = targets(str(tmp_path / "chat.parquet"))
    assert [len(item.messages) for item in found] == [2, 4]
    assert found[1].messages[1].tool_calls == (CALL,)


def test_rows_to_be_answered(tmp_path):
    path = write(tmp_path, [{"messages": [ASK]}, {"messages": [ASK, SAY]}])
    found = targets(path, require_target=False)
    assert [len(item.messages) for item in found] == [1, 2]
    path = write(tmp_path, [{"prompt": "a"}])
    assert targets(path, task="complete", require_target=False) == [Completion("a", "")]
    assert plain(targets(path, task="chat", require_target=False)[0]) == [("user", "a")]
    lines = tmp_path / "lines.txt"
    lines.write_text("one\ntwo\n")
    assert targets(str(lines), task="complete", require_target=False) == [Completion("one", ""), Completion("two", "")]
    chats = targets(str(lines), task="chat", require_target=False)
    assert [plain(item) for item in chats] == [[("user", "one")], [("user", "two")]]


BAD = [
    ("empty_messages", []),
    ("wrong_type", ["hello"]),
    ("wrong_type", 7),
    ("not_json", "hello"),
    ("missing_role", [{"content": "a"}, SAY]),
    ("unknown_role", [{"role": "usr", "content": "a"}, SAY]),
    ("unknown_field", [{**ASK, "wieght": 0}, SAY]),
    ("legacy_function_call", [ASK, {"role": "assistant", "function_call": {"name": "f"}}]),
    ("no_answer", [ASK]),
    ("nothing_trained", [ASK, {**SAY, "weight": 0}]),
    ("no_last_answer", [ASK, SAY, ASK]),
    ("bad_weight", [ASK, {**SAY, "weight": 0.5}]),
    ("bad_weight", [ASK, {**SAY, "weight": True}]),
    ("bad_weight", [{**ASK, "weight": 1}, SAY]),
    ("missing_content", [{"role": "user"}, SAY]),
    ("missing_content", [ASK, {"role": "assistant", "content": None}]),
    ("wrong_type", [{"role": "user", "content": 5}, SAY]),
    ("unsupported_content", [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}, SAY]),
    ("empty_text", [{"role": "user", "content": " "}, SAY]),
    ("empty_answer", [ASK, {"role": "assistant", "content": ""}]),
    ("tool_call_without_answer", [ASK, CALLS, SAY]),
    ("tool_call_without_answer", [ASK, {**CALLS, "tool_calls": [CALL, {**CALL, "id": "c2"}]}, TOLD]),
    ("tool_answer_without_call", [ASK, TOLD, SAY]),
    ("tool_answer_without_call", [ASK, CALLS, TOLD, TOLD, SAY]),
    ("missing_tool_call_id", [ASK, CALLS, {"role": "tool", "content": "x"}, SAY]),
    ("missing_tool_call_id", [ASK, {**CALLS, "tool_calls": [{**CALL, "id": None}]}]),
    ("duplicate_tool_call", [ASK, {**CALLS, "tool_calls": [CALL, CALL]}]),
    ("bad_tool_call", [ASK, {**CALLS, "tool_calls": [{"id": "c1"}]}]),
    ("bad_arguments", [ASK, {**CALLS, "tool_calls": [{**CALL, "function": {"name": "f", "arguments": "{city"}}]}]),
    ("bad_arguments", [ASK, {**CALLS, "tool_calls": [{**CALL, "function": {"name": "f", "arguments": "[1]"}}]}]),
    ("misplaced_field", [{**ASK, "tool_calls": [CALL]}, SAY]),
    ("unknown_role", [{"from": "hooman", "value": "a"}, {"from": "gpt", "value": "b"}]),
    ("unsupported_content", [{"role": "user", "parts": [{"inlineData": {}}]}]),
]


@pytest.mark.parametrize(("code", "messages"), BAD)
def test_a_bad_row_is_a_finding_with_its_line_and_a_remedy(tmp_path, code, messages):
    path = write(tmp_path, [{"messages": [ASK, SAY]}, {"messages": messages}, {"messages": [ASK, SAY]}])
    first, bad, last = Dataset.open(path).items()
    assert isinstance(bad, Finding)
    assert (bad.code, bad.line, bad.source, bad.severity) == (code, 2, path, "error")
    assert bad.message
    assert bad.remedy
    assert first.target == last.target


def test_a_call_of_a_tool_that_is_not_listed(tmp_path):
    tools = [{"type": "function", "function": {"name": "wether"}}]
    (found,) = Dataset.open(write(tmp_path, [{"messages": [ASK, CALLS], "tools": tools}])).items()
    assert found.code == "unknown_tool"
    assert "wether" in found.remedy


@pytest.mark.parametrize(
    "row",
    [
        {"input": {"messages": [ASK]}, "preferred_output": [SAY], "non_preferred_output": [SAY]},
        {"chosen": "a", "rejected": "b"},
    ],
)
def test_preference_pairs_name_their_task(tmp_path, row):
    for task in ("auto", "chat", "complete"):
        with pytest.raises(DataError) as caught:
            Dataset.open(write(tmp_path, [row]), task=task)
        assert caught.value.code == "preferences"
        assert "prefer" in str(caught.value)


def test_wrong_tasks(tmp_path):
    path = write(tmp_path, [{"messages": [ASK, SAY]}])
    with pytest.raises(DataError, match="--task chat"):
        Dataset.open(path, task="complete")
    with pytest.raises(UsageError, match="'chat'"):
        Dataset.open(path, task="chatt")
    with pytest.raises(DataError, match="messages"):
        Dataset.open(write(tmp_path, [{"text": "a"}]), task="chat")


FIELDS = ["role", "content", "weight", "tool_calls", "tool_call_id", "id", "function", "name", "arguments", "type"]
FIELDS += ["parts", "text", "from", "value"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2) | st.floats(allow_nan=False) | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(FIELDS),
            inner | st.sampled_from(["user", "assistant", "tool", "system", "gpt", "human", "function_call", "text"]),
            max_size=5,
        )
    ),
    max_leaves=12,
)


@given(JSON, JSON)
def test_no_row_can_break_the_reader(messages, tools):
    columns = Columns("", language=(("messages", "messages"), ("tools", "tools")))
    try:
        text, conversation = language_target(Row({"messages": messages, "tools": tools}, 1, "f"), columns, "chat")
    except Wrong as wrong:
        said = (wrong.code, wrong.message, wrong.remedy)
    else:
        said = (text, conversation.trained, conversation.messages[-1].role == "assistant")
    assert all(said)


def chats(count, answer="The answer is {}."):
    words = ["harbour", "meadow", "lantern", "orchard", "glacier", "feather", "thunder", "pebble", "ember", "cloud"]
    template = "Please read the following short note with care, then answer in one sentence and name its topic: "
    return [
        {
            "messages": [
                {"role": "system", "content": "You are the patient helper of a small library. " * 10},
                {"role": "user", "content": f"{template * 3}{words[k % 10]} {words[k // 10 % 10]} {k}"},
                {"role": "assistant", "content": answer.format(k)},
            ]
        }
        for k in range(count)
    ]


def test_prepare_splits_in_spite_of_a_shared_prompt(tmp_path):
    """A long template makes all questions alike; they are told apart by what differs."""
    rows = chats(40)
    again = json.loads(json.dumps(rows[0]))
    again["messages"][1]["content"] = again["messages"][1]["content"].upper() + "!"
    again["messages"][2]["content"] = "Another answer."
    found = prepare(DataSpec(train=write(tmp_path, [*rows, again]), validation=0.25), "auto", 1)
    assert (found.task, found.labels, found.several_labels) == ("chat", [], False)
    assert 8 <= len(found.validation) <= 12
    assert len(found.train) + len(found.validation) == 41
    same = {rows[0]["messages"][1]["content"].casefold(), again["messages"][1]["content"].casefold()}
    sides = [any(sample.text.casefold() in same for sample in part) for part in (found.train, found.validation)]
    assert sorted(sides) == [False, True]
    assert found.description["duplicates"] == 0
    assert "label_counts" not in found.description
    json.dumps(found.description, allow_nan=False)


def test_prepare_counts_leaks_of_questions_and_of_whole_rows(tmp_path):
    rows = chats(12)
    other = json.loads(json.dumps(rows[1]))
    other["messages"][2]["content"] = "Something else."
    spec = DataSpec(
        train=write(tmp_path, [*rows[:10], rows[0]]),
        validation=0,
        test=write(tmp_path, [rows[0], other, rows[11]], "t.jsonl"),
    )
    found = prepare(spec, "chat", 0)
    leaks = found.description["leaks"]["test"]
    assert (leaks["rows"], leaks["whole"]) == (2, 1)
    assert [entry["line"] for entry in leaks["examples"]] == [1, 2]
    assert found.description["duplicates"] == 1


def test_one_answer_for_all_is_no_error(tmp_path):
    found = prepare(DataSpec(train=write(tmp_path, chats(6, "Yes.")), validation=0), "chat", 0)
    assert len(found.train) == 6

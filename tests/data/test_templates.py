"""Templates that are ours, marked, broken, or without an end; texts, gaps; what the gates G1 and G4 find."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from chat_families import FAMILIES, TOOLS, byte_backend, chat_tokenizer, config, conversation, hugging, sample
from transformers import PreTrainedTokenizerFast

from luthier.core.conversation import Completion, Conversation, Message, Prompt
from luthier.core.errors import DataError
from luthier.data.samples import Sample
from luthier.data.templates import (
    DEFAULT_TEMPLATE,
    ChatRenderer,
    ChatTemplate,
    TextRenderer,
    default_template,
    end_of_turn_share,
    prefix_parity,
    renderer_for,
)
from luthier.models.chat_tokenizer import HuggingChatTokenizer

TALK = Conversation(
    (
        Message("system", "Be kind."),
        Message("user", "Hello"),
        Message("assistant", "Hello to you!"),
        Message("user", "And?"),
        Message("assistant", "Nothing more."),
    )
)
CALL = {"id": "call12345", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Köln"}'}}
MARKED = (
    "{% for message in messages %}{% if message['role'] == 'assistant' %}<|im_start|>assistant\n"
    "{% generation %}{{ message['content'] + '<|im_end|>' }}\n{% endgeneration %}"
    "{% else %}<|im_start|>{{ message['role'] + '\n' + message['content'] }}<|im_end|>\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
ENDLESS = (
    "{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)


def learned(renderer: Any, row: Sample) -> list[str]:
    return [text for one in renderer.render(row) for text in one.trained_texts]


def text_sample(completion: Completion, line: int = 1) -> Sample:
    return Sample(completion.prompt, target=completion, line=line, source="texts.jsonl")


@pytest.mark.parametrize("name", ["qwen25", "llama3", "mistral03", "phi3", "gemma2"])
def test_our_template_is_the_same_in_transformers_and_learns_the_answers(name: str) -> None:
    """With ChatML's tokens in the vocabulary (Qwen), and without them."""
    tokenizer = chat_tokenizer(name).with_template(default_template(chat_tokenizer(name)))
    renderer = ChatRenderer(tokenizer)
    end = "<|im_end|>" if name == "qwen25" else FAMILIES[name].eos
    generator = random.Random(name)
    for _ in range(12):
        found = conversation(generator, FAMILIES["qwen25"])
        row = sample(found)
        theirs = tokenizer.hugging.apply_chat_template(
            renderer.template.messages(found), tools=list(found.tools) or None, tokenize=False
        )
        rendered = renderer.render(row)
        assert {one.text for one in rendered} <= {theirs} | {one.text for one in rendered if len(rendered) > 1}
        contents = [found.messages[turn] for turn in found.trained]
        for message, text in zip(contents, learned(renderer, row), strict=True):
            assert text.startswith(message.content)
            assert text.endswith(end)
            assert ("<tool_call>\n{" in text) == bool(message.tool_calls)
        assert prefix_parity(renderer, [row]) == []
        assert end_of_turn_share(rendered) == 1.0
    bos = FAMILIES[name].bos
    assert (tokenizer.tokens(rendered[0].ids[:1]) == [bos]) == FAMILIES[name].adds_bos


def test_our_template_writes_tools_and_calls_as_json() -> None:
    template = ChatTemplate(DEFAULT_TEMPLATE, {})
    found = Conversation(
        (
            Message("developer", "Be brief."),
            Message("user", "Weather?"),
            Message("assistant", "", tool_calls=(CALL,)),
            Message("tool", "rain"),
        ),
        TOOLS,
    )
    text = template.render(template.messages(found), found.tools, add_generation_prompt=True)
    system, user, call, tool, ask = text.split("<|im_start|>")[1:]
    assert system.startswith("system\nBe brief.\n\n")
    assert json.loads(system.split("<tools>\n")[1].split("\n</tools>")[0]) == TOOLS[0]
    assert user == "user\nWeather?<|im_end|>\n"
    written = call.removeprefix("assistant\n<tool_call>\n").removesuffix("\n</tool_call><|im_end|>\n")
    assert json.loads(written) == {"name": "weather", "arguments": {"city": "Köln"}}
    assert (tool, ask) == ("tool\nrain<|im_end|>\n", "assistant\n")


def test_marks_of_a_template_say_what_is_learned() -> None:
    renderer = ChatRenderer(chat_tokenizer("qwen25"), MARKED)
    assert learned(renderer, sample(TALK)) == ["Hello to you!<|im_end|>", "Nothing more.<|im_end|>"]
    theirs = hugging("qwen25").apply_chat_template(
        [message.to_dict() for message in TALK.messages],
        chat_template=MARKED,
        return_assistant_tokens_mask=True,
        return_dict=True,
    )
    (row,) = renderer.render(sample(TALK))
    assert row.ids == theirs["input_ids"]
    ours = [int(weight > 0) for weight in row.weights]
    newline = chat_tokenizer("qwen25").pieces("\n")[0][0]
    blanks = [i for i, (one, two) in enumerate(zip(ours, theirs["assistant_masks"], strict=True)) if one != two]
    assert [row.ids[place] for place in blanks] == [newline] * 2, "only the new line after the end is not learned"


def test_marks_that_leave_the_end_out_are_found() -> None:
    inside = "{{ message['content'] + '<|im_end|>' }}\n{% endgeneration %}"
    marks = MARKED.replace(inside, "{{ message['content'] }}{% endgeneration %}<|im_end|>\n")
    assert marks != MARKED
    renderer = ChatRenderer(chat_tokenizer("qwen25"), marks)
    assert end_of_turn_share(renderer.render(sample(TALK))) == 0.0


def test_a_template_without_an_end_is_found() -> None:
    """G1: trl#1623. The answers are learned, but nothing that ends them."""
    renderer = ChatRenderer(chat_tokenizer("qwen25"), ENDLESS)
    rows = renderer.render(sample(TALK))
    assert [text for row in rows for text in row.trained_texts] == ["Hello to you!", "Nothing more."]
    assert end_of_turn_share(rows) == 0.0
    assert renderer.stop_ids == (chat_tokenizer("qwen25").eos_id,)


class DoubleBos(ChatRenderer):
    """What ollama#6823 and unsloth#1135 did: one more token in training than in serving."""

    def render(self, sample: Sample) -> list[Any]:
        found = super().render(sample)
        bos = self.tokenizer.bos_id
        assert bos is not None
        for row in found:
            row.ids.insert(0, bos)
            row.weights.insert(0, 0.0)
            row.offsets.insert(0, (0, 0))
        return found


def test_a_text_that_begins_twice_is_found() -> None:
    """G4."""
    right, wrong = ChatRenderer(chat_tokenizer("llama3")), DoubleBos(chat_tokenizer("llama3"))
    assert prefix_parity(right, [sample(TALK)]) == []
    found = prefix_parity(wrong, [sample(TALK, line=7)])
    assert found[0] == "chat.jsonl:7: the text begins with two <|begin_of_text|>."
    assert any("in serving" in one for one in found)


class OtherTemplate(ChatRenderer):
    """Served with the base's template, trained with another."""

    def prompt(self, prompt: Prompt) -> list[int]:
        return ChatRenderer(self.tokenizer).prompt(prompt)


def test_two_templates_are_found() -> None:
    assert prefix_parity(OtherTemplate(chat_tokenizer("qwen25"), DEFAULT_TEMPLATE), [sample(TALK)]) == []
    found = prefix_parity(OtherTemplate(chat_tokenizer("qwen25"), ENDLESS), [sample(TALK)])
    assert len(found) == 2
    assert "chat.jsonl:1: before answer 2, token 0" in found[0]


def test_which_answers_are_learned() -> None:
    tokenizer = chat_tokenizer("qwen25")
    weighted = Conversation((*TALK.messages[:2], Message("assistant", "no", weight=0.0), *TALK.messages[3:]))
    assert learned(ChatRenderer(tokenizer, learn="last"), sample(TALK)) == ["Nothing more.<|im_end|>"]
    assert learned(ChatRenderer(tokenizer), sample(weighted)) == ["Nothing more.<|im_end|>"]
    greeting = Conversation((Message("assistant", "Hi!"), Message("user", "?"), Message("assistant", "!")))
    assert learned(ChatRenderer(tokenizer), sample(greeting)) == ["!<|im_end|>"]
    half = Conversation((Message("user", "?"), Message("assistant", "!", weight=0.5)))
    (row,) = ChatRenderer(tokenizer).render(sample(half))
    assert set(row.weights) == {0.0, 0.5}
    unanswered = sample(Conversation((Message("user", "?"),)))
    assert ChatRenderer(tokenizer).render(unanswered)[0].trained_tokens == 0


def test_thoughts_are_learned_where_the_template_keeps_them() -> None:
    """Qwen 3 writes only the last answer's thoughts: one row for each answer."""
    renderer = ChatRenderer(chat_tokenizer("qwen3"))
    found = Conversation(
        (
            Message("user", "1+1?"),
            Message("assistant", "<think>\neasy\n</think>\n\n2"),
            Message("user", "2+2?"),
            Message("assistant", "<think>\nharder\n</think>\n\n4"),
        )
    )
    assert learned(renderer, sample(found)) == [
        "<think>\neasy\n</think>\n\n2<|im_end|>",
        "<think>\nharder\n</think>\n\n4<|im_end|>",
    ]
    assert "easy" not in renderer.render(sample(found))[1].text


def test_errors_have_a_place_and_a_remedy() -> None:
    with pytest.raises(
        DataError, match=r"chat.jsonl:9: the chat template refuses.*System role not supported"
    ) as caught:
        ChatRenderer(chat_tokenizer("gemma2")).render(sample(TALK, line=9))
    assert caught.value.code == "template_refuses"
    with pytest.raises(DataError, match="line 2"):
        ChatTemplate("{{ 1 }}\n{% if %}", {})
    call = Conversation((Message("user", "Weather?"), Message("assistant", "", tool_calls=(CALL,))), TOOLS)
    with pytest.raises(DataError, match="leaves out this answer's call of 'weather'"):
        ChatRenderer(chat_tokenizer("smollm2")).render(sample(call))
    with pytest.raises(DataError, match="no conversation"):
        ChatRenderer(chat_tokenizer("qwen25")).render(text_sample(Completion("a", "b")))
    with pytest.raises(DataError, match="no completion"):
        TextRenderer(chat_tokenizer("qwen25")).render(sample(TALK))


@pytest.mark.parametrize(
    "source", ["{{ messages.__class__.__mro__ }}", "{{ messages.append(1) }}", "{% set n = namespace(_x=1) %}"]
)
def test_a_template_cannot_leave_the_sandbox(source: str) -> None:
    with pytest.raises(DataError) as caught:
        ChatTemplate(source, {}).render([{"role": "user", "content": "x"}])
    assert caught.value.code == "template_refuses"


def test_the_fingerprint_holds_template_tokenizer_and_settings() -> None:
    tokenizer = chat_tokenizer("qwen25")
    prints = [
        ChatRenderer(tokenizer).fingerprint,
        ChatRenderer(tokenizer, learn="last").fingerprint,
        ChatRenderer(tokenizer, MARKED).fingerprint,
        ChatRenderer(chat_tokenizer("smollm"), MARKED).fingerprint,
        TextRenderer(tokenizer).fingerprint,
        TextRenderer(tokenizer, fim_rate=0.5).fingerprint,
        TextRenderer(tokenizer, fim_rate=0.5, seed=1).fingerprint,
    ]
    assert len(set(prints)) == len(prints)
    assert ChatRenderer(tokenizer.with_template(MARKED)).fingerprint == prints[2]


@pytest.mark.parametrize("name", ["llama3", "qwen25", "smollm", "mistral03", "gemma2"])
def test_texts_are_learned_from_the_prompt_on(name: str) -> None:
    tokenizer = chat_tokenizer(name)
    renderer = renderer_for("complete", tokenizer)
    assert isinstance(renderer, TextRenderer)
    pairs = [("Q: why?\nA:", " because"), ("Q: ", "tight"), ("two\n\n", "\n\nlines"), ("", "all of it"), ("x", "")]
    samples = [text_sample(Completion(*pair), line) for line, pair in enumerate(pairs)]
    assert prefix_parity(renderer, samples) == []
    for (row,), (prompt, completion) in zip(renderer.render_batch(samples), pairs, strict=True):
        assert row.trained_texts == [completion + FAMILIES[name].eos]
        assert row.ids[-1] == tokenizer.eos_id
        assert row.weights[-1] == 1.0
        assert end_of_turn_share([row]) == 1.0
        begins = [FAMILIES[name].bos] if FAMILIES[name].adds_bos else []
        assert tokenizer.tokens(row.ids)[: len(begins)] == begins
        assert row.text == "".join(str(one) for one in begins) + prompt + completion + FAMILIES[name].eos
    plain = hugging(name)("all of it")["input_ids"] + [tokenizer.eos_id]
    assert renderer.render(samples[3])[0].ids == plain
    with pytest.raises(DataError, match="takes no conversation"):
        renderer.prompt(TALK)


def test_a_written_beginning_or_end_is_not_doubled() -> None:
    tokenizer = chat_tokenizer("llama3")
    (row,) = TextRenderer(tokenizer).render(text_sample(Completion("<|begin_of_text|>Hello", " you<|eot_id|>")))
    assert tokenizer.tokens(row.ids).count("<|begin_of_text|>") == 1
    assert tokenizer.tokens(row.ids).count("<|eot_id|>") == 1
    assert TextRenderer(tokenizer).prompt("<|begin_of_text|>Hello")[0] == tokenizer.bos_id


SPELLINGS = [
    ("<fim_prefix>", "<fim_suffix>", "<fim_middle>", "<|endoftext|>"),
    ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>", "<|endoftext|>"),
    ("▁<PRE>", "▁<SUF>", "▁<MID>", "▁<EOT>"),
]


def fim_tokenizer(marks: tuple[str, ...]) -> Any:
    backend = byte_backend("gpt2")
    backend.add_special_tokens(list(dict.fromkeys(["<|endoftext|>", *marks])))
    return HuggingChatTokenizer(
        PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|endoftext|>"), config(99)
    )


@pytest.mark.parametrize("marks", SPELLINGS)
def test_gaps_are_filled_in_the_spelling_of_the_vocabulary(marks: tuple[str, ...]) -> None:
    prefix, suffix, middle, end = marks
    tokenizer = fim_tokenizer(marks)
    renderer = TextRenderer(tokenizer)
    (row,) = renderer.render(text_sample(Completion("def add(", "a, b", suffix="):\n")))
    assert row.text == f"{prefix}def add({suffix}):\n{middle}a, b{end}"
    assert tokenizer.decode(row.ids, skip_special=False) == row.text
    assert row.trained_texts == [f"a, b{end}"]
    asked = renderer.fill_prompt("def add(", "):\n")
    assert row.ids[: len(asked)] == asked
    assert row.weights == [0.0] * len(asked) + [1.0] * (len(row.ids) - len(asked))
    assert row.ids[-1] in renderer.stop_ids


def test_a_suffix_needs_a_vocabulary_with_marks() -> None:
    with pytest.raises(DataError, match=r"texts\.jsonl:1: .*no marks"):
        TextRenderer(chat_tokenizer("llama3")).render(text_sample(Completion("a", "b", suffix="c")))


def test_a_share_of_plain_texts_gets_a_gap() -> None:
    marks = SPELLINGS[1]
    tokenizer = fim_tokenizer(marks)
    texts = [f"def f{number}(x):\n    return x + {number}\n" for number in range(200)]
    samples = [text_sample(Completion("", text)) for text in texts]
    renderer = TextRenderer(tokenizer, fim_rate=0.5, seed=3)
    rows = [row for (row,) in renderer.render_batch(samples)]
    cut = [row for row in rows if marks[0] in row.text]
    assert 70 <= len(cut) <= 130
    for row, text in zip(rows, texts, strict=True):
        assert all(row.weights[1:])
        if marks[0] in row.text:
            before, _, rest = row.text.removeprefix(marks[0]).partition(marks[1])
            after, _, gap = rest.partition(marks[2])
            assert before + gap.removesuffix(marks[3]) + after == text
    again = [row for (row,) in TextRenderer(tokenizer, fim_rate=0.5, seed=3).render_batch(samples[::-1])]
    assert [row.ids for row in again[::-1]] == [row.ids for row in rows]
    other = [row for (row,) in TextRenderer(tokenizer, fim_rate=0.5, seed=4).render_batch(samples)]
    assert [row.ids for row in other] != [row.ids for row in rows]

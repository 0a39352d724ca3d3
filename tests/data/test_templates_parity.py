"""Our renderer against each family's own `apply_chat_template`, token by token, and against serving."""

from __future__ import annotations

import random
import unicodedata

import pytest
from chat_families import FAMILIES, as_transformers_wants, chat_tokenizer, conversation, hugging, sample

from luthier.core.conversation import Conversation, Message
from luthier.data.templates import ChatRenderer, end_of_turn_share, prefix_parity

MANY = 25


def _conversations(name: str, tools: bool = True) -> list[Conversation]:
    generator = random.Random(f"conversations {name}")
    return [conversation(generator, FAMILIES[name], tools=tools) for _ in range(MANY)]


def _theirs(name: str, found: Conversation, ask: bool = False) -> list[int]:
    ids = hugging(name).apply_chat_template(
        as_transformers_wants(found), tools=list(found.tools) or None, add_generation_prompt=ask
    )["input_ids"]
    return list(ids)


@pytest.mark.parametrize("name", FAMILIES)
def test_prompts_are_those_of_transformers(name: str) -> None:
    renderer = ChatRenderer(chat_tokenizer(name))
    for found in _conversations(name):
        for turn in found.trained:
            asked = found.before(turn)
            assert renderer.prompt(asked) == _theirs(name, asked, ask=True)


@pytest.mark.parametrize("name", FAMILIES)
def test_training_rows_are_those_of_transformers(name: str) -> None:
    tokenizer = chat_tokenizer(name)
    renderer = ChatRenderer(tokenizer)
    equal = rows = 0
    for found in _conversations(name):
        for row in renderer.render(sample(found)):
            rows += 1
            upto = found if len(row.turns) != 1 else Conversation(found.messages[: row.turns[0].turn + 1], found.tools)
            candidates = [_theirs(name, found), _theirs(name, upto)]
            if row.ids in candidates:
                equal += 1
                continue
            # Else it is what serving would have seen: the prompt's own tokens, then the answer.
            (turn,) = row.turns[-1:]
            prompt = _theirs(name, found.before(turn.turn), ask=True)
            assert all(ids[: len(prompt)] != prompt for ids in candidates), "an odd row without need"
            assert row.ids[: len(prompt)] == prompt
            assert row.ids[len(prompt) :] == tokenizer.pieces(row.text[turn.start :])[0]
    assert equal > rows * 0.5, f"only {equal} of {rows} rows are as transformers makes them"


@pytest.mark.parametrize("name", FAMILIES)
def test_training_prefixes_equal_serving_prompts(name: str) -> None:
    renderer = ChatRenderer(chat_tokenizer(name))
    samples = [sample(found, line) for line, found in enumerate(_conversations(name), start=1)]
    assert prefix_parity(renderer, samples) == []
    rows = [row for one in samples for row in renderer.render(one)]
    assert sum(len(row.turns) for row in rows) == sum(len(found.target.trained) for found in samples)  # type: ignore[union-attr]
    assert end_of_turn_share(rows) == 1.0


@pytest.mark.parametrize("name", FAMILIES)
def test_learned_are_exactly_the_answers_with_their_end(name: str) -> None:
    family, tokenizer = FAMILIES[name], chat_tokenizer(name)
    renderer = ChatRenderer(tokenizer)
    for found in _conversations(name, tools=False):
        rows = renderer.render(sample(found))
        answers = [found.messages[turn].content for turn in found.trained]
        if family.strips:
            answers = [answer.strip() for answer in answers]
        if name == "qwen3":
            answers = ["<think>\n\n</think>\n\n" + answer.lstrip("\n") for answer in answers]
            if len(rows) == 1:
                assert len(answers) <= 1, "an earlier answer of Qwen 3 has no thoughts in the whole text"
        expected = [family.lead + answer + family.end for answer in answers]
        assert [text for row in rows for text in row.trained_texts] == expected
        for row in rows:
            learned = [index for index, weight in zip(row.ids, row.weights, strict=True) if weight > 0]
            if family.kind not in ("gemma", "llama2"):  # their decoders add and remove blanks
                whole = tokenizer.decode(learned, skip_special=False)
                assert whole == unicodedata.normalize("NFC", "".join(row.trained_texts)) or family.kind != "qwen"
                assert whole == "".join(row.trained_texts) or family.kind == "qwen"
            for turn in row.turns:
                inside = [
                    w for w, (start, _) in zip(row.weights, row.offsets, strict=True) if turn.start <= start < turn.end
                ]
                assert set(inside) == {1.0}
            assert len(learned) == sum(
                any(turn.start <= start < turn.end for turn in row.turns) for start, _ in row.offsets
            )


@pytest.mark.parametrize("name", FAMILIES)
def test_no_text_begins_twice(name: str) -> None:
    tokenizer = chat_tokenizer(name)
    row = ChatRenderer(tokenizer).render(
        sample(Conversation((Message("user", "Where is it?"), Message("assistant", "Here."))))
    )[0]
    first, second = tokenizer.tokens(row.ids[:2])
    bos = FAMILIES[name].bos
    assert (first == bos) == (FAMILIES[name].adds_bos and name != "phi3")  # Phi 3's template writes none
    assert second != bos


@pytest.mark.parametrize("name", FAMILIES)
def test_the_stop_tokens_come_from_the_template(name: str) -> None:
    family, tokenizer = FAMILIES[name], chat_tokenizer(name)
    stops = {tokenizer.tokens([index])[0] for index in ChatRenderer(tokenizer).stop_ids}
    assert stops == {family.end, family.eos}

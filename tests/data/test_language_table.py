"""Rendered rows as a table: shifted targets, cutting, counting, and a cache that cannot be stale."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from chat_families import FAMILIES, chat_tokenizer, conversation, sample

from luthier.core.conversation import Completion, Conversation, Message
from luthier.core.errors import DataError
from luthier.data.checks.conversation_preview import conversation_preview, preview_html, preview_text
from luthier.data.language_table import cached_language_table, encode_language, language_key, language_lengths
from luthier.data.samples import Sample
from luthier.data.templates import ChatRenderer, TextRenderer
from luthier.data.tokens import TokenTable

ARRAYS = ("ids", "types", "starts", "targets", "target_starts", "weights")


def talk(question: str, answer: str, line: int = 1, weight: float = 1.0) -> Sample:
    return sample(Conversation((Message("user", question), Message("assistant", answer, weight=weight))), line)


def plain(text: str, line: int = 1) -> Sample:
    return Sample("", target=Completion("", text), line=line, source="texts.txt")


def chats(name: str = "llama3") -> list[Sample]:
    generator = random.Random(5)
    return [sample(conversation(generator, FAMILIES[name]), line) for line in range(1, 300)]


def test_targets_are_the_next_tokens_with_their_weights() -> None:
    renderer = ChatRenderer(chat_tokenizer("llama3"))
    samples = chats()
    table = encode_language(samples, renderer, max_length=4000, truncate="drop", keep=True)
    rows = [row for one in samples for row in renderer.render(one) if row.trained_tokens]
    assert len(table) == len(rows)
    assert table.without_targets == sum(not row.trained_tokens for one in samples for row in renderer.render(one))
    for number, row in enumerate(rows):
        stretch = slice(table.starts[number], table.starts[number + 1])
        ids, targets, weights = table.ids[stretch], table.targets[stretch], table.weights[stretch]
        useful = max(place for place, weight in enumerate(row.weights) if weight > 0) + 1
        assert ids.tolist() == row.ids[: useful - 1]
        assert targets.tolist() == row.ids[1:useful]
        assert weights.tolist() == row.weights[1:useful]
        assert weights[-1] > 0
        assert table.encoded[number].ids == ids.tolist()
        assert table.texts[number] == row.text
    assert (table.cut, table.dropped, table.answers_cut) == (0, 0, 0)
    assert table.targets.dtype == table.weights.dtype == np.float32
    assert (table.target_starts == table.starts).all()
    lengths = language_lengths(samples, renderer)
    assert table.longest == lengths.max()
    learned = [row.trained_tokens > 0 for one in samples for row in renderer.render(one)]
    assert (table.lengths + 1 == lengths[learned]).all()


def test_each_policy_for_what_is_too_long() -> None:
    tokenizer = chat_tokenizer("llama3")
    renderer = ChatRenderer(tokenizer)
    short, long = talk("Hi", "Ho"), talk("Tell me all. " * 20, "Here it is. " * 4, line=2)
    limit = int(language_lengths([short], renderer)[0]) + 25
    (whole,) = renderer.render(long)
    answer = whole.trained_tokens
    end = max(place for place, weight in enumerate(whole.weights) if weight > 0) + 1
    assert answer < limit < end

    dropped = encode_language([short, long], renderer, max_length=limit, truncate="drop")
    assert (len(dropped), dropped.dropped, dropped.cut, dropped.longest) == (1, 1, 0, end)
    lost = encode_language([short, long], renderer, max_length=limit, truncate="end")
    assert (len(lost), lost.cut, lost.answers_cut, lost.without_targets) == (1, 1, 1, 1)
    kept = encode_language([short, long], renderer, max_length=limit, truncate="start")
    assert (len(kept), kept.cut, kept.answers_cut, kept.without_targets) == (2, 1, 0, 0)
    row = kept.ids[kept.starts[1] :].tolist()
    assert row == [tokenizer.bos_id, *whole.ids[end - limit + 1 : end - 1]]
    assert kept.lengths[1] == limit - 1
    tight = encode_language([long], renderer, max_length=answer - 3, truncate="start")
    assert (tight.cut, tight.answers_cut) == (1, 1)
    partly = encode_language([long], renderer, max_length=end - 3, truncate="end")
    assert (partly.cut, partly.answers_cut, len(partly)) == (1, 1, 1)
    with pytest.raises(DataError, match=r"chat.jsonl:2: .*cannot be split"):
        encode_language([short, long], renderer, max_length=limit, truncate="split")
    with pytest.raises(DataError, match="1 are longer than max_length") as caught:
        encode_language([long], renderer, max_length=limit, truncate="drop")
    assert (caught.value.code, caught.value.param) == ("no_rows", "train.max_length")


def test_an_unlearned_tail_is_left_out_and_does_not_count() -> None:
    renderer = ChatRenderer(chat_tokenizer("qwen25"))
    one = talk("Hi", "Ho")
    tail = (Message("user", "long " * 50), Message("assistant", "no", weight=0.0))
    assert isinstance(one.target, Conversation)
    other = sample(Conversation((*one.target.messages, *tail)))
    limit = int(language_lengths([one], renderer)[0])
    tables = [encode_language([row], renderer, max_length=limit, truncate="drop") for row in (one, other)]
    assert tables[0].fingerprint() == tables[1].fingerprint()
    assert tables[1].cut == tables[1].dropped == 0


def test_plain_text_is_split_so_that_each_token_is_a_target_once() -> None:
    tokenizer = chat_tokenizer("llama3")
    renderer = TextRenderer(tokenizer)
    text = "The engineer measured the temperature again and again. " * 9
    table = encode_language([plain(text), plain("short")], renderer, max_length=32, truncate="split")
    (whole,), (short,) = renderer.render_batch([plain(text), plain("short")])
    pieces = len(table) - 1
    assert pieces == -(-(len(whole.ids) - 1) // 31) > 3
    assert table.targets.tolist() == whole.ids[1:] + short.ids[1:]
    assert table.ids.tolist() == whole.ids[:-1] + short.ids[:-1]
    assert table.ids[0] == tokenizer.bos_id
    assert table.lengths[: pieces - 1].tolist() == [31] * (pieces - 1)
    assert (table.cut, table.answers_cut) == (1, 0)


def test_nothing_to_learn_is_an_error() -> None:
    renderer = ChatRenderer(chat_tokenizer("qwen25"))
    with pytest.raises(DataError, match="in 2 nothing is to be learned"):
        encode_language([talk("a", "b", weight=0.0)] * 2, renderer, max_length=99, truncate="end")


def test_tables_are_read_again_from_the_cache(tmp_path: Path) -> None:
    renderer = ChatRenderer(chat_tokenizer("qwen25"))
    made = []

    def make() -> TokenTable:
        made.append(1)
        return encode_language([talk("Hi", "Ho"), talk("a", "b", 2, 0.0)], renderer, max_length=99, truncate="end")

    key = language_key(renderer, data_sha256="ab", max_length=99, truncate="end")
    first, second = (cached_language_table(key, make, tmp_path / "tokens") for _ in range(2))
    assert made == [1]
    assert isinstance(second.ids, np.memmap)
    for name in ARRAYS:
        assert (getattr(first, name) == getattr(second, name)).all()
        assert getattr(second, name).dtype == getattr(make(), name).dtype
    assert (second.without_targets, second.longest) == (1, first.longest)


def test_no_stale_table_is_met(tmp_path: Path) -> None:
    """T4 (Soup#1067): data, template, tokenizer and every setting are in the key."""
    qwen, other = chat_tokenizer("qwen25"), chat_tokenizer("smollm")
    source = "{% for message in messages %}{{ message['content'] }}<|im_end|>{% endfor %}"
    settings = {"data_sha256": "ab", "max_length": 64, "truncate": "end"}
    keys = [
        language_key(ChatRenderer(qwen), **settings),
        language_key(ChatRenderer(qwen, source), **settings),
        language_key(ChatRenderer(other, source), **settings),
        language_key(ChatRenderer(qwen, learn="last"), **settings),
        language_key(ChatRenderer(qwen), **{**settings, "data_sha256": "cd"}),
        language_key(ChatRenderer(qwen), **{**settings, "max_length": 65}),
        language_key(ChatRenderer(qwen), **{**settings, "truncate": "start"}),
        language_key(ChatRenderer(qwen), **settings, seed=1),
        language_key(ChatRenderer(qwen), **settings, part="validation"),
    ]
    for number, key in enumerate(keys):

        def make(number: int = number) -> TokenTable:
            return encode_language([talk("Hi", f"answer {number}")], ChatRenderer(qwen), max_length=64, truncate="end")

        table = cached_language_table(key, make, tmp_path)
        assert table.fingerprint() == make().fingerprint()
    assert len(list(tmp_path.iterdir())) == len(keys)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_preview_is_the_text_with_what_is_learned_marked(name: str) -> None:
    tokenizer = chat_tokenizer(name)
    renderer = ChatRenderer(tokenizer)
    for one in [talk("a [bold]b[/bold] \\", "日本 🙂 <b>&</b>\x1b[31m"), *chats(name)[:10]]:
        for row in renderer.render(one):
            stretches = conversation_preview(row, tokenizer)
            assert "".join(stretch.text for stretch in stretches) == row.text
            shown = "".join(stretch.text for stretch in stretches if stretch.weight > 0)
            assert shown.strip() == "".join(row.trained_texts).strip() or "\u0301" in row.text or name in ("phi3",)
            if row.trained_tokens:
                assert any(stretch.special and stretch.weight for stretch in stretches)
            assert len("".join(s.text for s in conversation_preview(row, tokenizer, limit=9))) == min(9, len(row.text))


def test_the_preview_in_the_terminal_and_on_the_page() -> None:
    from rich.text import Text

    tokenizer = chat_tokenizer("qwen25")
    (row,) = ChatRenderer(tokenizer).render(talk("see [red]this[/red] \\", "<b>fine</b>\x1b[0m\\"))
    stretches = conversation_preview(row, tokenizer)
    shown = Text.from_markup(preview_text(stretches))
    assert shown.plain.replace("\N{ZERO WIDTH NON-JOINER}", "") == row.text.replace("\x1b", "\N{REPLACEMENT CHARACTER}")
    green = "".join(shown.plain[span.start : span.end] for span in shown.spans if "green" in str(span.style))
    assert green.startswith("<b>fine</b>")
    assert green.endswith("<|im_end|>")
    bold = [shown.plain[span.start : span.end] for span in shown.spans if "bold" in str(span.style)]
    assert set(bold) == {"<|im_start|>", "<|im_end|>"}
    page = preview_html(stretches)
    assert '<span class="learned">&lt;b&gt;fine&lt;/b&gt;' in page
    assert '<span class="learned special">&lt;|im_end|&gt;</span>' in page

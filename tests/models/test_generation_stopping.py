"""Text as it comes: whole characters only, and nothing of a stop text."""

from __future__ import annotations

from functools import cache

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tiny_causal import tiny_config, tiny_tokenizer
from tokenizers import Tokenizer, decoders, models
from transformers import PreTrainedTokenizerFast

from luthier.models.chat_tokenizer import HuggingChatTokenizer
from luthier.models.generation.stopping import StopFinder, TextStream


@cache
def byte_level() -> HuggingChatTokenizer:
    return HuggingChatTokenizer(tiny_tokenizer(), tiny_config("llama", 330))


@cache
def sentence_piece() -> HuggingChatTokenizer:
    """As Llama 2 and Mistral have it: blanks as U+2581, and bytes where there is no token."""
    words = ["<unk>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁a", "▁bird", "s", "▁"]
    backend = Tokenizer(
        models.BPE({word: i for i, word in enumerate(words)}, [], unk_token="<unk>", byte_fallback=True)
    )
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    hugging = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="</s>", unk_token="<unk>")
    return HuggingChatTokenizer(hugging, tiny_config("llama", len(words)))


def pieces_of(tokenizer: HuggingChatTokenizer, ids: list[int]) -> list[str]:
    stream = TextStream(tokenizer)
    return [*(stream.push(token) for token in ids), stream.flush()]


@settings(max_examples=80, deadline=None)
@given(st.text(alphabet="ab é€\N{SNOWMAN}\N{GRINNING FACE}中\n"))
@example("\N{FAMILY}\N{ZERO WIDTH JOINER}é")
def test_pieces_are_whole_characters_and_together_the_text(text: str) -> None:
    tokenizer = byte_level()
    pieces = pieces_of(tokenizer, tokenizer.pieces(text)[0])
    assert "".join(pieces) == text
    assert not any("\N{REPLACEMENT CHARACTER}" in piece for piece in pieces)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.integers(0, 329), max_size=25))
def test_any_ids_give_the_text_of_all_of_them(ids: list[int]) -> None:
    tokenizer = byte_level()
    assert "".join(pieces_of(tokenizer, ids)) == tokenizer.decode(ids)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from(["▁a", "▁bird", "s", "▁", "<0xE2> <0x82> <0xAC>", "<0x41>", "</s>"]), max_size=20))
def test_blanks_and_bytes_of_sentence_piece(words: list[str]) -> None:
    tokenizer = sentence_piece()
    ids = [tokenizer.token_id(word) or 0 for word in " ".join(words).split()]
    assert "".join(pieces_of(tokenizer, ids)) == tokenizer.decode(ids)


def test_text_comes_as_soon_as_it_is_sure() -> None:
    tokenizer = byte_level()
    ids = tokenizer.pieces("to \N{SNOWMAN} x")[0]
    pieces = pieces_of(tokenizer, ids)
    assert pieces[0]
    assert pieces[-1] == ""


@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_a_stop_text_is_found_across_pieces(size: int) -> None:
    text, finder = "one\n\ntwo END three", StopFinder(["END", "\n\nthree"])
    shown = ""
    for begin in range(0, len(text), size):
        piece, found = finder.push(text[begin : begin + size])
        shown += piece
        if found:
            break
    assert (shown, found) == ("one\n\ntwo ", True)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.text("ab", max_size=3), max_size=12), st.lists(st.text("ab", min_size=1, max_size=4), max_size=3))
def test_stops_end_the_text_at_the_first_of_them(pieces: list[str], stops: list[str]) -> None:
    finder, shown, found = StopFinder(stops), "", False
    for piece in pieces:
        part, found = finder.push(piece)
        shown += part
        assert not any(stop in shown for stop in stops)
        if found:
            break
    text = "".join(pieces)
    places = [text.find(stop) for stop in stops if stop in text]
    assert found == bool(places)
    if found:
        assert text.startswith(shown)
        assert len(shown) <= max(places)
    else:
        assert shown + finder.flush() == text


def test_what_might_begin_a_stop_text_is_given_out_in_the_end() -> None:
    finder = StopFinder(["</s>"])
    assert finder.push("a </") == ("a ", False)
    assert finder.flush() == "</"

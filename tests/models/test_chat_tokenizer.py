"""The chat tokenizer against transformers' own, and what is said of broken ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer, LlamaConfig, PreTrainedTokenizerFast

from luthier.core.errors import ModelError
from luthier.core.text import ChatTokenizer
from luthier.models.chat_tokenizer import HuggingChatTokenizer, load_chat_tokenizer

TEXTS = ["Where is my parcel?", "  two  blanks\n\n", "<s>[INST] Grüße 🙂 [/INST] ok</s>", "", "日本語"]
SPECIAL = ["<s>", "</s>", "[INST]", "[/INST]"]
TEMPLATE = "{% for message in messages %}[INST] {{ message['content'] }}[/INST]{% endfor %}"


def save(folder: Path, *, bos: bool = True, eos: str | None = "</s>", vocabulary: int = 400, **named: Any) -> Path:
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    backend.train_from_iterator(
        TEXTS,
        trainers.BpeTrainer(vocab_size=300, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False),
    )
    steps: list[Any] = [processors.ByteLevel(trim_offsets=True)]
    if bos:
        steps.append(processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)]))
    backend.post_processor = processors.Sequence(steps)
    hugging = PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token=eos, **named)
    hugging.save_pretrained(folder)
    LlamaConfig(vocab_size=vocabulary, max_position_embeddings=77).save_pretrained(folder)
    return folder


def test_ids_offsets_and_texts(tmp_path: Path) -> None:
    path = save(tmp_path, chat_template=TEMPLATE)
    ours: ChatTokenizer = load_chat_tokenizer(path)
    theirs = AutoTokenizer.from_pretrained(path)
    for text, (ids, offsets) in zip(TEXTS, ours.pieces_batch(TEXTS), strict=True):
        assert (ids, offsets) == ours.pieces(text)
        assert ids == theirs(text, add_special_tokens=False)["input_ids"]
        assert ours.decode(ids, skip_special=False) == text
        assert ours.decode(ids) == theirs.decode(ids, skip_special_tokens=True)
        ends = [end for _, end in offsets]
        assert ends == sorted(ends)
        assert ends[-1:] == ([len(text)] if text else [])
        covered = {place for start, end in offsets for place in range(start, end)}
        assert covered == set(range(len(text))), "blanks belong to the characters of their token"
    assert ours.tokens([0, 1, 9999]) == ["<s>", "</s>", "<9999>"]
    assert (ours.token_id("[INST]"), ours.token_id("[MISSING]")) == (2, None)
    assert (ours.max_length, ours.chat_template) == (77, TEMPLATE)
    assert ours.special_tokens == theirs.special_tokens_map
    assert (ours.bos_id, ours.eos_id, ours.pad_id) == (0, 1, 1)


def test_what_stands_before_plain_text_is_what_the_tokenizer_puts_there(tmp_path: Path) -> None:
    with_bos, without = load_chat_tokenizer(save(tmp_path / "a")), load_chat_tokenizer(save(tmp_path / "b", bos=False))
    assert (with_bos.bos_id, without.bos_id) == (0, None)
    assert with_bos.special_tokens["bos_token"] == without.special_tokens["bos_token"] == "<s>"
    assert with_bos.fingerprint != without.fingerprint


def test_a_template_is_read_from_either_file_and_saved(tmp_path: Path) -> None:
    path = save(tmp_path / "base")
    assert load_chat_tokenizer(path).chat_template is None
    (path / "chat_template.jinja").write_text(TEMPLATE, encoding="utf-8")
    assert load_chat_tokenizer(path).chat_template == TEMPLATE
    (path / "chat_template.jinja").unlink()
    settings = json.loads((path / "tokenizer_config.json").read_text(encoding="utf-8"))
    (path / "tokenizer_config.json").write_text(json.dumps({**settings, "chat_template": TEMPLATE}), encoding="utf-8")
    old = load_chat_tokenizer(path)
    assert old.chat_template == TEMPLATE
    new = old.with_template("{{ 1 }}")
    assert (old.chat_template, new.chat_template) == (TEMPLATE, "{{ 1 }}")
    assert old.fingerprint == new.fingerprint
    new.save(tmp_path / "saved")
    LlamaConfig(vocab_size=400).save_pretrained(tmp_path / "saved")
    again = load_chat_tokenizer(tmp_path / "saved")
    assert again.chat_template == "{{ 1 }}"
    assert again.pieces(TEXTS[2]) == old.pieces(TEXTS[2])
    assert AutoTokenizer.from_pretrained(tmp_path / "saved").chat_template == "{{ 1 }}"


def test_of_several_templates_the_default_is_taken(tmp_path: Path) -> None:
    path = save(tmp_path, chat_template={"default": TEMPLATE, "rag": "{{ 2 }}"})
    assert load_chat_tokenizer(path).chat_template == TEMPLATE


def test_a_padding_token_is_used_where_there_is_one(tmp_path: Path) -> None:
    tokenizer: HuggingChatTokenizer = load_chat_tokenizer(save(tmp_path, pad_token="[INST]"))
    assert tokenizer.pad_id == 2


def test_what_is_wrong_with_a_tokenizer_is_said(tmp_path: Path) -> None:
    cases = {
        "tokenizer_missing": tmp_path / "none",
        "no_eos_token": save(tmp_path / "endless", eos=None),
        "tokenizer_does_not_fit": save(tmp_path / "small", vocabulary=100),
        "broken_tokenizer": save(tmp_path / "broken"),
    }
    (tmp_path / "broken" / "config.json").unlink()
    (tmp_path / "broken" / "tokenizer_config.json").unlink()
    for code, path in cases.items():
        with pytest.raises(ModelError) as caught:
            load_chat_tokenizer(path)
        assert (caught.value.code, caught.value.param) == (code, "model")
        assert caught.value.where == str(path)
        assert caught.value.remedy

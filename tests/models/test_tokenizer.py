"""The tokenizer wrapper against transformers' own tokenizer."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from pathlib import Path

import pytest
from tiny_bases import FAMILIES, TEXTS
from transformers import AutoTokenizer

from luthier.core.errors import ModelError
from luthier.core.text import Side, TextEncoder
from luthier.data.samples import Span
from luthier.data.tags import decode_spans, encode_spans
from luthier.models.base_source import BaseSource
from luthier.models.catalogue import locate
from luthier.models.tokenizer import load_tokenizer

PAIRS = [(first, second) for first, second in zip(TEXTS, reversed(TEXTS), strict=True)]


@pytest.mark.parametrize("family", FAMILIES)
def test_ids_equal_those_of_transformers(base: Callable[[str], BaseSource], family: str) -> None:
    path = base(family).path
    ours = load_tokenizer(path)
    theirs = AutoTokenizer.from_pretrained(path)
    cuts: tuple[Side, ...] = ("end", "start")
    for texts, cut, max_length in product((TEXTS, PAIRS), cuts, (None, 7, 11)):
        theirs.truncation_side = "left" if cut == "start" else "right"
        arguments = (texts,) if texts is TEXTS else tuple(zip(*texts, strict=True))
        expected = theirs(
            *(list(part) for part in arguments),
            truncation="longest_first",
            max_length=max_length or ours.max_length,
            return_token_type_ids=True,
        )
        whole = theirs(*(list(part) for part in arguments))
        rows = ours.encode(texts, max_length=max_length, cut=cut)
        assert [row.ids for row in rows] == expected["input_ids"]
        assert [row.full_length for row in rows] == [len(ids) for ids in whole["input_ids"]]
        if ours.uses_type_ids:
            assert [row.type_ids for row in rows] == expected["token_type_ids"]


@pytest.mark.parametrize(
    ("family", "limit", "types"),
    [("bert", 64, True), ("roberta", 62, False), ("mpnet", 62, False), ("deberta-v2", 64, False)],
)
def test_the_length_that_a_base_takes(base: Callable[[str], BaseSource], family: str, limit: int, types: bool) -> None:
    tokenizer = load_tokenizer(base(family).path)
    assert (tokenizer.max_length, tokenizer.uses_type_ids) == (limit, types)
    assert len(tokenizer.encode(["word " * 500])[0].ids) == limit


def test_minilm_reads_512_tokens_although_its_file_says_128() -> None:
    tokenizer: TextEncoder = load_tokenizer(locate("minilm").path)
    assert tokenizer.max_length == 512
    row = tokenizer.encode(["word " * 600])[0]
    assert (len(row.ids), row.full_length) == (512, 602)
    assert tokenizer.tokens(tokenizer.encode(["unaffable"])[0].ids) == [
        "[CLS]",
        "una",
        "##ffa",
        "##ble",
        "[SEP]",
    ]


@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_offsets_point_at_words_without_spaces(base: Callable[[str], BaseSource], family: str) -> None:
    tokenizer = load_tokenizer(base(family).path)
    text = "The  parcel came"
    row = tokenizer.encode([(text, "second text")])[0]
    pieces = [text[start:end] for start, end in row.offsets if end > start]
    assert "".join(pieces) == "Theparcelcame"
    assert not any(piece[0].isspace() for piece in pieces)
    assert row.offsets[0] == (0, 0)
    assert row.offsets[-1] == (0, 0)


def test_the_fingerprint_follows_the_vocabulary_and_survives_saving(
    base: Callable[[str], BaseSource], tmp_path: Path
) -> None:
    bert, roberta = load_tokenizer(base("bert").path), load_tokenizer(base("roberta").path)
    assert bert.fingerprint != roberta.fingerprint
    bert.encode(TEXTS, max_length=5)
    bert.save(tmp_path, max_length=9, cut="start")
    assert bert.fingerprint == load_tokenizer(base("bert").path).fingerprint
    saved = AutoTokenizer.from_pretrained(tmp_path)
    assert (saved.model_max_length, saved.truncation_side) == (9, "left")
    assert [row.ids for row in load_tokenizer(base("bert").path).encode(TEXTS)] == [
        row.ids for row in bert.encode(TEXTS)
    ]


def test_a_length_without_room_for_text_is_refused(base: Callable[[str], BaseSource]) -> None:
    with pytest.raises(ModelError, match=r"max_length to 5 or more"):
        load_tokenizer(base("roberta").path).encode([("a b c d", "e f g h")], max_length=4)


def test_a_folder_without_tokenizer_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(ModelError, match="tokenizer"):
        load_tokenizer(tmp_path)


def test_a_tokenizer_of_another_model_is_refused(base: Callable[[str], BaseSource], tmp_path: Path) -> None:
    load_tokenizer(base("roberta").path).save(tmp_path)
    (tmp_path / "config.json").write_text((base("bert").path / "config.json").read_text())
    with pytest.raises(ModelError, match="not of one model"):
        load_tokenizer(tmp_path)


NCBI = Path(__file__).resolve().parents[3] / "shared" / "data" / "ncbi_disease" / "test.tsv"


@pytest.mark.skipif(not NCBI.is_file(), reason="the shared data are not here")
def test_real_disease_names_survive_tags_and_back() -> None:
    tokenizer = load_tokenizer(locate("minilm").path)
    seen = 0
    for block in NCBI.read_text(encoding="utf-8").strip().split("\n\n"):
        text, found = "", []
        for word, tag in (line.split("\t") for line in block.splitlines()):
            if tag.startswith("B"):
                found.append([len(text), len(text) + len(word)])
            elif tag.startswith("I"):
                found[-1][1] = len(text) + len(word)
            text += f"{word} "
        spans = [Span(start, end, "Disease") for start, end in found]
        offsets = tokenizer.encode([text])[0].offsets
        tags, _ = encode_spans(spans, offsets, ["Disease"])
        back = decode_spans(tags, offsets, ["Disease"], text)
        assert [Span(span.start, span.end, span.label) for span in back] == spans
        seen += len(spans)
    assert seen == 960

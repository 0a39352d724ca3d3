"""The tokenizers without transformers give what those with it give, and `check` really does without."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from luthier.models.catalogue import locate
from luthier.models.chat_tokenizer import load_chat_tokenizer
from luthier.models.light import chat_tokenizer, text_encoder
from luthier.models.tokenizer import load_tokenizer

TEXTS = [
    "", " ", "Where is my parcel?", "naïve café, 東京 🙂", "a" * 900, "tabs\tand\nlines", "[CLS] in a text [SEP]",
    "<|im_start|>user\nhello<|im_end|>\n", "def f(x):\n    return x  # two  blanks", "word " * 700,
]  # fmt: skip


def test_minilm():
    light, heavy = text_encoder("minilm"), load_tokenizer(locate("minilm").path)
    assert type(light) is not type(heavy)
    for name in ("fingerprint", "pad_id", "max_length", "uses_type_ids"):
        assert getattr(light, name) == getattr(heavy, name), name
    pairs = [(text, "and this") for text in TEXTS]
    for cut in ("start", "end"):
        assert light.encode([*TEXTS, *pairs], max_length=40, cut=cut) == heavy.encode(
            [*TEXTS, *pairs], max_length=40, cut=cut
        )
    ids = light.encode(TEXTS)[3].ids
    assert light.tokens(ids) == heavy.tokens(ids)


def test_luthier_nano():
    light, heavy = chat_tokenizer("luthier-nano"), load_chat_tokenizer(locate("luthier-nano").path)
    assert type(light) is not type(heavy)
    for name in ("fingerprint", "pad_id", "eos_id", "bos_id", "max_length", "special_tokens", "chat_template"):
        assert getattr(light, name) == getattr(heavy, name), name
    assert light.pieces_batch(TEXTS) == heavy.pieces_batch(TEXTS)
    ids = light.pieces(TEXTS[3])[0]
    assert light.decode(ids) == heavy.decode(ids) == TEXTS[3]
    assert light.token_id("<|im_end|>") == heavy.token_id("<|im_end|>")


def test_another_base_is_read_by_transformers(tmp_path: Path):
    folder = tmp_path / "base"
    folder.mkdir()
    for file in locate("minilm").path.iterdir():
        if file.is_file():
            (folder / file.name).symlink_to(file)
    assert type(text_encoder(str(folder))) is type(load_tokenizer(folder))


CHAT = '{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}'


@pytest.mark.parametrize("rows", ['{"text": "a", "label": "x"}', CHAT])
def test_check_imports_neither_torch_nor_transformers(tmp_path: Path, rows: str):
    data = tmp_path / "train.jsonl"
    data.write_text(f"{rows}\n" * 3, encoding="utf-8")
    code = f"import sys, luthier; found = luthier.check({str(data)!r}); print(found.to_dict()['stats'])\n" \
        "assert not {'torch', 'transformers'} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-1500:]
    assert "tokens" in done.stdout

"""Fill-in-the-middle: a gap in a text is moved behind what follows it (Bavarian et al. 2022, arXiv 2207.14255)."""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass

from luthier.core.text import ChatTokenizer

_SPELLINGS: tuple[tuple[str, str, str, str | None], ...] = (
    ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>", None),  # Qwen coder, CodeGemma
    ("<fim_prefix>", "<fim_suffix>", "<fim_middle>", None),  # StarCoder, SantaCoder's newer files
    ("<fim-prefix>", "<fim-suffix>", "<fim-middle>", None),  # SantaCoder
    ("▁<PRE>", "▁<SUF>", "▁<MID>", "▁<EOT>"),  # CodeLlama, which ends the middle with a token of its own
)


@dataclass(frozen=True, slots=True)
class FimTokens:
    """Ids of the marks before the prefix, the suffix and the middle, and of the one that ends the middle."""

    prefix: int
    suffix: int
    middle: int
    end: int


def find_fim_tokens(tokenizer: ChatTokenizer) -> FimTokens | None:
    """The marks as StarCoder, Qwen coder or CodeLlama spell them; None where the vocabulary has none."""
    for *marks, end in _SPELLINGS:
        found = [tokenizer.token_id(str(mark)) for mark in marks]
        last = tokenizer.eos_id if end is None else tokenizer.token_id(end)
        prefix, suffix, middle = found
        if prefix is not None and suffix is not None and middle is not None and last is not None:
            return FimTokens(prefix, suffix, middle, last)
    return None


def cut_middle(text: str, rate: float, seed: int) -> tuple[str, str, str] | None:
    """(prefix, middle, suffix) at two random characters, for a share `rate` of all texts; else None.

    The choice depends on the text and the seed alone, so it does not change with the order of rows.
    """
    digest = hashlib.sha256(f"{seed}\n{text}".encode(errors="surrogatepass")).digest()
    generator = random.Random(int.from_bytes(digest[:8], "big"))
    if generator.random() >= rate:
        return None
    first, second = sorted(generator.randint(0, len(text)) for _ in range(2))
    return text[:first], text[first:second], text[second:]

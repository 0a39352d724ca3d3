"""Tokenizers for those who only count: those of the embedded bases need no transformers and no torch."""

from __future__ import annotations

from luthier.core.text import ChatTokenizer, TextEncoder
from luthier.models.catalogue import locate


def text_encoder(model: str) -> TextEncoder:
    """The tokenizer of an encoder: catalogue name, folder or hub id. Raises `ModelError`."""
    source = locate(model)
    if model == "minilm":
        from luthier.models.text_tokens import bert_tokens

        return bert_tokens(source.path)
    from luthier.models.tokenizer import load_tokenizer

    return load_tokenizer(source.path)


def chat_tokenizer(model: str) -> ChatTokenizer:
    """The tokenizer of a generative base: catalogue name, folder or hub id. Raises `ModelError`."""
    source = locate(model)
    if model == "luthier-nano":
        from luthier.models.chat_tokens import nano_tokens

        return nano_tokens(source.path)
    from luthier.models.chat_tokenizer import load_chat_tokenizer

    return load_chat_tokenizer(source.path)

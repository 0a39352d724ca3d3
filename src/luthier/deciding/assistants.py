"""Assistants on this machine: a file with the model that it names, and the encoder that searches its knowledge."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from luthier.approaches.assistant import Assistant, Confirm, Told
from luthier.approaches.assistant_file import AssistantFile, read_assistant
from luthier.approaches.chat_model import ChatModel
from luthier.approaches.endpoint import Endpoint
from luthier.approaches.index import Embed
from luthier.core.errors import ModelError

ENCODER = "minilm"


def open_assistant(
    path: str | Path, *, confirm: Confirm | None = None, allowed: Sequence[str] = (), told: Told | None = None
) -> Assistant:
    """The assistant of a file. Raises `UsageError`, `DataError`, `ModelError`."""
    file = read_assistant(path)
    embed = None
    if file.knowledge and file.retrieval.search != "words":
        with contextlib.suppress(ModelError):  # without the encoder it is searched by words
            embed = encoder_embed(ENCODER)
    return Assistant(file, model_of(file), embed=embed, confirm=confirm, allowed=allowed, told=told)


def model_of(file: AssistantFile) -> ChatModel:
    """The endpoint, run or base that a file names."""
    if file.endpoint is not None:
        return Endpoint(file.endpoint.url, file.endpoint.name, key_variable=file.endpoint.key_env)
    from luthier.deciding.local_model import LocalModel
    from luthier.models.language_predictor import LanguageModel

    folder = file.folder / file.model
    if folder.is_dir():
        return LocalModel(LanguageModel.load(folder), file.model)
    return LocalModel.base(file.model)


def encoder_embed(name: str) -> Embed:
    """Texts to vectors by an encoder. Raises `ModelError` where it is not installed."""
    from luthier.models.catalogue import locate
    from luthier.models.tokenizer import load_tokenizer
    from luthier.train.features import FrozenEncoder

    source = locate(name)
    tokenizer = load_tokenizer(source.path)
    encoder = FrozenEncoder(source, tokenizer, min(256, tokenizer.max_length))

    def embedded(texts: Sequence[str]) -> Any:
        return encoder(list(texts))

    return embedded

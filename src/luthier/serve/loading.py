"""Folders become models in memory, in a thread of its own while others are answered."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from luthier.core.answering import EngineOptions, ModelRef
from luthier.core.errors import ModelError
from luthier.core.recipe import LANGUAGE_TASKS
from luthier.data.templates import renderer_for
from luthier.models.base_source import BaseSource, read_json
from luthier.models.build import build, read_config
from luthier.models.build_causal import build_causal
from luthier.models.canary import check_encoder, encoder_outputs, read_canary
from luthier.models.catalogue import locate
from luthier.models.causal_families import causal_family_of
from luthier.models.chat_tokenizer import load_chat_tokenizer
from luthier.models.generation import PromptReader
from luthier.models.generation.prompts import saved_tokenizer
from luthier.models.language_predictor import LanguageModel
from luthier.models.predictor import TunedModel
from luthier.models.run_model import base_of, model_folder, read_settings
from luthier.models.tokenizer import load_tokenizer
from luthier.serve.adapter_files import AdapterFiles, read_adapter
from luthier.serve.encoders import Encoder
from luthier.serve.hosts import Host

MakeRoom = Callable[[int], None]
"""Unload others until so many bytes are free; raises where that cannot be."""
_HALVES = ("float16", "bfloat16")


@dataclass(eq=False)
class Parcel:
    """What was loaded for a `ModelRef`: an encoder, or a voice of a host (`host` where it is new, else its `key`).

    `adapter` is not in its host yet.
    """

    ref: ModelRef
    encoder: Encoder | None = None
    host: Host | None = None
    key: object = None
    reader: PromptReader | None = None
    adapter: AdapterFiles | None = None
    bytes: int = 0
    canary: dict[str, Any] | None = None


class Loader:
    """Loads models for one engine. `make_room` is called before weights are read."""

    def __init__(self, options: EngineOptions, make_room: MakeRoom) -> None:
        self._options = options
        self._make_room = make_room
        chosen = options.device
        self._device = ("cuda" if torch.cuda.is_available() else "cpu") if chosen == "auto" else chosen

    def load(self, ref: ModelRef, hosts: Collection[object]) -> Parcel:
        """`hosts` are the keys of bases that are in memory. Raises `LuthierError`."""
        if ref.folder is None:
            source = locate(ref.base)
            return self._base_voice(ref, source, hosts) if _writes(source) else self._base_encoder(ref, source)
        folder = model_folder(ref.folder)
        settings = read_settings(folder)
        if settings["task"] not in LANGUAGE_TASKS:
            return self._tuned_encoder(ref, folder, settings)
        if settings["method"]["kind"] == "lora" and not settings["method"]["dora"]:
            return self._adapter(ref, folder, settings, hosts)
        return self._whole(ref, folder, settings)

    def _base_voice(self, ref: ModelRef, source: BaseSource, hosts: Collection[object]) -> Parcel:
        tokenizer = load_chat_tokenizer(source.path)
        task = "complete" if tokenizer.chat_template is None else "chat"
        host = self._host(source, task, hosts)
        vocabulary = read_config(source).get_text_config().vocab_size if host is None else host.vocabulary
        reader = PromptReader(tokenizer, renderer_for(task, tokenizer), vocabulary)
        return Parcel(ref, host=host, key=_key(source), reader=reader)

    def _adapter(self, ref: ModelRef, folder: Path, settings: dict[str, Any], hosts: Collection[object]) -> Parcel:
        source = base_of(settings["base"])
        files = read_adapter(folder)
        self._make_room(files.bytes)
        host = self._host(source, settings["task"], hosts)
        config = read_config(source)
        tokenizer = saved_tokenizer(folder, config)
        renderer = renderer_for(settings["task"], tokenizer, None, settings.get("learn", "all"))
        vocabulary = config.get_text_config().vocab_size if host is None else host.vocabulary
        return Parcel(
            ref,
            host=host,
            key=_key(source),
            reader=PromptReader(tokenizer, renderer, vocabulary),
            adapter=files,
            bytes=files.bytes,
            canary=read_canary(folder),
        )

    def _host(self, source: BaseSource, task: str, hosts: Collection[object]) -> Host | None:
        """A new host, unless the base is in memory."""
        if _key(source) in hosts:
            return None
        self._make_room(_bytes_of(source.path))
        model = build_causal(source, task=task, precision=self._options.precision).eval()
        context = load_chat_tokenizer(source.path).max_length
        return Host(_key(source), model.to(self._device), context, self._options, shared=True)

    def _whole(self, ref: ModelRef, folder: Path, settings: dict[str, Any]) -> Parcel:
        whole = settings["layout"] == "transformers"
        self._make_room(_bytes_of(folder if whole else base_of(settings["base"]).path))
        loaded = LanguageModel.load(folder, device=self._device, precision=self._options.precision)
        host = Host(ref, loaded.model, loaded.context, self._options, shared=False)
        reader = PromptReader(loaded.tokenizer, loaded.renderer, host.vocabulary)
        return Parcel(ref, host=host, key=ref, reader=reader, canary=read_canary(folder))

    def _base_encoder(self, ref: ModelRef, source: BaseSource) -> Parcel:
        self._make_room(_bytes_of(source.path))
        tokenizer = load_tokenizer(source.path)
        # the head is never asked: an encoder as such only embeds
        model = build(
            source,
            task="regress",
            labels=["score"],
            pooling=source.embedding_pooling,
            precision=self._options.precision,
        )
        encoder = Encoder(
            ref,
            _weights(model),
            model=model.eval().to(self._device),
            tokenizer=tokenizer,
            max_length=min(_sentence_length(source.path), tokenizer.max_length),
            pooling=source.embedding_pooling,
        )
        return Parcel(ref, encoder=encoder)

    def _tuned_encoder(self, ref: ModelRef, folder: Path, settings: dict[str, Any]) -> Parcel:
        whole = settings["layout"] in ("transformers", "sentence-transformers")
        self._make_room(_bytes_of(folder if whole else base_of(settings["base"]).path))
        tuned = TunedModel.load(folder, device=self._device, precision=self._options.precision)
        canary = read_canary(folder)
        if canary is not None:
            outputs = encoder_outputs(
                tuned.model, tuned.tokenizer, max_length=settings["max_length"], cut=settings["cut"]
            )
            check_encoder(canary, outputs, precision=self._options.precision, name=ref.name)
        encoder = Encoder(
            ref,
            _weights(tuned.model),
            canary="none" if canary is None else "passed",
            model=tuned.model,
            tokenizer=tuned.tokenizer,
            max_length=settings["max_length"],
            pooling="first" if settings["pooling"] == "first" else "mean",
            tuned=tuned,
        )
        return Parcel(ref, encoder=encoder)


def _key(source: BaseSource) -> object:
    return frozenset(source.sha256.items())


def _writes(source: BaseSource) -> bool:
    try:
        causal_family_of(read_config(source), source.name, str(source.path))
    except ModelError:
        return False  # `build` says what it is, if it is no encoder either
    return True


def _weights(model: torch.nn.Module) -> int:
    return sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())


def _bytes_of(folder: Path) -> int:
    """What the weights of a folder need in float32."""
    config = read_json(folder / "config.json")
    stored = config.get("dtype") or config.get("torch_dtype")
    size = sum(item.stat().st_size for item in folder.glob("*.safetensors"))
    return 2 * size if stored in _HALVES else size


def _sentence_length(folder: Path) -> int:
    """Where a sentence encoder cuts texts, as sentence-transformers does."""
    path = folder / "sentence_bert_config.json"
    return int(read_json(path).get("max_seq_length") or 1 << 20) if path.is_file() else 1 << 20

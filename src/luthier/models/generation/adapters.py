"""Several LoRA adapters over one base, answering in the same batch.

By PEFT's inference with mixed batches (``adapter_names``): the base's products are computed once for all
rows, each adapter's for its own (the idea of Chen et al. 2023, Punica).
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel

from luthier.core.errors import ModelError, UsageError, nearest
from luthier.core.generation import Generation, Piece, Sampling
from luthier.data.templates import renderer_for
from luthier.models.base_source import BaseSource, read_json
from luthier.models.build_causal import build_causal
from luthier.models.catalogue import locate
from luthier.models.chat_tokenizer import load_chat_tokenizer
from luthier.models.export import SETTINGS_JSON
from luthier.models.generation.decoder import Decoder
from luthier.models.generation.fast_choice import forward_of
from luthier.models.generation.prompts import Asked, PromptReader, saved_tokenizer
from luthier.models.generation.request import Request
from luthier.models.quiet import quiet
from luthier.models.run_model import model_folder


class AdapterPool:
    """A base and LoRA adapters that were trained on it; each request names one of them, or None for the base.

    Each adapter is asked through the tokenizer and chat template that it was trained with.

    Args:
        base: the base's name, folder or hub id.
        adapters: name -> run or model folder.

    Raises:
        ModelError: an adapter is of another base, or of a method that cannot be mixed (LoRA without DoRA can).
    """

    def __init__(
        self,
        base: str | Path,
        adapters: Mapping[str, str | Path],
        *,
        revision: str | None = None,
        precision: str = "fp32",
        device: str = "auto",
        rows: int = 16,
    ) -> None:
        source = locate(str(base), revision=revision)
        folders = {name: model_folder(path) for name, path in adapters.items()}
        settings = {name: _checked(folder, source) for name, folder in folders.items()}
        task = next((found["task"] for found in settings.values()), "chat")
        model = build_causal(source, task=task, precision=precision)
        vocabulary = model.output_weight.shape[0]
        wrapped = _load(model.backbone, folders)
        chosen = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
        self._readers: dict[str | None, PromptReader] = {}
        own = load_chat_tokenizer(source.path)
        self._readers[None] = PromptReader(own, renderer_for(task, own), vocabulary)
        for name, folder in folders.items():
            tokenizer = saved_tokenizer(folder, model.config)
            self._readers[name] = PromptReader(tokenizer, renderer_for(settings[name]["task"], tokenizer), vocabulary)
        context = min(reader.tokenizer.max_length for reader in self._readers.values())
        ready, named = wrapped.to(chosen).eval(), bool(folders)
        forward = forward_of(ready, precision=precision, named=named, release=True)
        self._decoder = Decoder(ready, context=context, rows=rows, forward=forward)

    @property
    def names(self) -> tuple[str, ...]:
        """The adapters."""
        return tuple(name for name in self._readers if name is not None)

    def generate(
        self, prompts: Sequence[Asked], adapters: Sequence[str | None], sampling: Sampling | None = None
    ) -> list[Generation]:
        """One answer per prompt, in order, by the adapter at the same place."""
        return self._decoder.generate(self._requests(prompts, adapters, sampling))

    def stream_pieces(
        self, prompts: Sequence[Asked], adapters: Sequence[str | None], sampling: Sampling | None = None
    ) -> Iterator[Piece]:
        """The same answers, piece by piece."""
        requests = self._requests(prompts, adapters, sampling)
        return (piece for piece, _ in self._decoder.stream(requests))

    def _requests(
        self, prompts: Sequence[Asked], adapters: Sequence[str | None], sampling: Sampling | None
    ) -> list[Request]:
        if len(prompts) != len(adapters):
            raise UsageError(
                f"there are {len(prompts)} prompts and {len(adapters)} adapters.", remedy="Name one adapter per prompt."
            )
        found = []
        for prompt, name in zip(prompts, adapters, strict=True):
            if name not in self._readers:
                raise UsageError(
                    f"there is no adapter {name!r}.", remedy=nearest(str(name), self.names), code="unknown_adapter"
                )
            found.append(self._readers[name].request(prompt, sampling or Sampling(), name))
        return found


def _checked(folder: Path, source: BaseSource) -> dict[str, Any]:
    settings = read_json(folder / SETTINGS_JSON)
    method = settings["method"]
    if method["kind"] != "lora" or method["dora"]:
        raise ModelError(
            f"this model was trained with {'DoRA' if method['kind'] == 'lora' else method['kind']}, and only plain "
            "LoRA adapters can share a batch.",
            where=str(folder),
            remedy="Load it by itself with luthier.load.",
            code="not_poolable",
        )
    wrong = [name for name, digest in settings["base"]["sha256"].items() if source.sha256.get(name) != digest]
    if wrong:
        raise ModelError(
            f"this adapter was trained on {settings['base']['name']}, which is not {source.name} ({wrong[0]} is "
            "another file).",
            where=str(folder),
            remedy="Put only adapters of one base into a pool.",
            code="base_changed",
        )
    return settings


def _load(backbone: Any, folders: Mapping[str, Path]) -> Any:
    """The base with all adapters in it; the base alone where there is none."""
    wrapped = backbone
    with quiet(), warnings.catch_warnings():
        # PEFT 0.21 reads a property that transformers 5.23 renamed; can go when PEFT reads the new one
        warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated")
        for name, folder in folders.items():
            if wrapped is backbone:
                wrapped = PeftModel.from_pretrained(backbone, folder, adapter_name=name)
            else:
                wrapped.load_adapter(str(folder), adapter_name=name)
    return wrapped

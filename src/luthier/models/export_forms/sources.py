"""A trained model as every export sees it: its answers to a few fixed prompts, and its tokenizer.

Shapes: L tokens of one prompt, V vocabulary, C outputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from luthier.core.errors import ModelError
from luthier.models.base_source import BaseSource
from luthier.models.catalogue import locate
from luthier.models.causal_layout import CausalLayout
from luthier.models.causal_model import CausalModel
from luthier.models.chat_tokenizer import HuggingChatTokenizer
from luthier.models.export_causal import Merged, merge
from luthier.models.export_forms.parity import Logits
from luthier.models.language_predictor import LanguageModel
from luthier.models.predictor import TunedModel
from luthier.models.quiet import quiet

PROMPTS = (
    "Where is my order? It should have come two days ago.",
    "Write one sentence about a small town by the sea.",
    "The contract ends on 31 March 2024, unless 12.5% of the 1,200 shares are sold before.",
    "def add(left: int, right: int) -> int:\n    return left",
    '{"name": "invoice", "total": 99.90, "paid": true}',
    "Ünïcode: naïve café, 東京, Привет, \N{GRINNING FACE}!",
    "  Spaces   and\ttabs,\n\nand empty lines.",
    "Thank you, that's all I'd want; they've been great and we'll come again.",
)
"""Asked where the caller has none of its own: prose, numbers, code, JSON, other scripts, blanks, contractions."""
PROMPT_TOKENS = 64
"""Tokens of a prompt that are compared: enough for every position to be read, cheap for large vocabularies."""


def where_base(settings: dict[str, Any]) -> BaseSource:
    """The base that an adapter stands on."""
    base = settings["base"]
    return locate(base["path"] or base["name"], revision=base["revision"] or None)


@torch.inference_mode()
def causal_answers(model: Any, prompts: Sequence[Sequence[int]]) -> list[Logits]:
    """Logits [L, V] per prompt of a transformers causal model."""
    return [model(input_ids=torch.tensor([list(ids)])).logits[0].float().numpy() for ids in prompts]


class CausalSource:
    """A run of the tasks chat and complete, on the CPU in float32."""

    def __init__(self, folder: Path, prompts: Sequence[str] = PROMPTS) -> None:
        self.folder = folder
        self._language = LanguageModel.load(folder, device="cpu")
        self.settings = self._language.settings
        self.texts = list(prompts)

    @property
    def model(self) -> CausalModel:
        """The tuned model."""
        return self._language.model

    @property
    def tokenizer(self) -> HuggingChatTokenizer:
        """The run's own, with the chat template that was trained with."""
        return self._language.tokenizer

    @property
    def stop_ids(self) -> tuple[int, ...]:
        """The tokens that end an answer."""
        return self._language.renderer.stop_ids

    @cached_property
    def merged(self) -> Merged:
        """Plain weights; raises `ModelError` where there are none (adapter layers, a prefix) or they differ."""
        return merge(self.model)

    def ids(self, text: str) -> list[int]:
        """A prompt as it is served."""
        return self._language.renderer.prompt(text)

    def prompts(self, context: int | None = None) -> list[list[int]]:
        """The token ids of the prompts, at most `PROMPT_TOKENS` (or the context) each."""
        limit = min(PROMPT_TOKENS, context or self._language.context)
        return [self.ids(text)[:limit] for text in self.texts]

    @torch.inference_mode()
    def answers(self, prompts: Sequence[Sequence[int]]) -> list[Logits]:
        """Logits [L, V] per prompt, by the modules that trained."""
        found = []
        for ids in prompts:
            hidden = self.model.hidden(torch.tensor(list(ids)), CausalLayout.of([len(ids)]))
            found.append(self.model.logits(hidden).numpy())
        return found

    def untuned(self, prompts: Sequence[Sequence[int]]) -> list[Logits] | None:
        """The same of the base below the adapter; None where the base's weights were trained."""
        if self.model.peft is None:
            return None
        with self.model.peft.disable_adapter():
            return causal_answers(self.model.backbone, prompts)

    def save_tokenizer(self, folder: Path) -> None:
        """Write the tokenizer into a bundle and load it again (PITFALLS A4): it must read every prompt, chat
        template included, as the model was trained to."""
        self.tokenizer.save(folder)
        again = load_tokenizer(folder)
        chat = self.settings["task"] == "chat"
        for text in self.texts:
            expected = self.ids(text) if chat else self.tokenizer.pieces(text)[0]
            if expected != (_chat_ids(again, text) if chat else list(again(text, add_special_tokens=False).input_ids)):
                raise broken_tokenizer(self.folder)

    def stop_generation(self, backbone: Any) -> None:
        """Tell transformers which tokens end an answer, so that its `generate` stops there, too."""
        backbone.generation_config.eos_token_id = list(self.stop_ids)


class EncoderSource:
    """A run of the tasks classify, regress and extract, on the CPU in float32."""

    def __init__(self, folder: Path, prompts: Sequence[str] = PROMPTS) -> None:
        self.folder = folder
        self.tuned = TunedModel.load(folder, device="cpu")
        self.settings = self.tuned.settings
        self.texts = list(prompts)

    def answers(self) -> list[Logits]:
        """Logits [C] per text, for extract [L, C]."""
        return [self.tuned.logits([text])[0] for text in self.texts]

    def save_tokenizer(self, folder: Path) -> None:
        """As `CausalSource.save_tokenizer`."""
        self.tuned.tokenizer.save(folder, max_length=self.settings["max_length"], cut=self.settings["cut"])
        self.check_tokenizer(folder)

    def check_tokenizer(self, folder: Path) -> None:
        """Load the tokenizer of a bundle again: it must read and cut every text as the run's does."""
        again = load_tokenizer(folder)
        expected = self.tuned.tokenizer.encode(
            self.texts, max_length=self.settings["max_length"], cut=self.settings["cut"]
        )
        if any(again(t, truncation=True).input_ids != e.ids for t, e in zip(self.texts, expected, strict=True)):
            raise broken_tokenizer(self.folder)


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """The tokenizer of a bundle, by transformers alone."""
    with quiet():
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
    return tokenizer


def broken_tokenizer(folder: Path) -> ModelError:
    """The bundle's tokenizer is not the one that the model was trained with."""
    return ModelError(
        "the tokenizer that was written does not read text as the run's tokenizer does: nothing was published.",
        where=str(folder),
        remedy="Check tokenizer.json and the chat template in the run's model/ folder, or copy the run again.",
        code="tokenizer_differs",
    )


def _chat_ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    if tokenizer.chat_template is None:
        return []
    rendered = tokenizer.apply_chat_template(
        [{"role": "user", "content": text}], add_generation_prompt=True, tokenize=False
    )
    return list(tokenizer(rendered, add_special_tokens=False).input_ids)

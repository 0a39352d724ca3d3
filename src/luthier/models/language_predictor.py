"""A generative model that answers and measures: `core.generation.Generator` and `core.predictor.Predictor`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from luthier.core.errors import UsageError
from luthier.core.generation import Generation, Likelihood, Piece, Sampling
from luthier.core.predictor import Prediction
from luthier.data.samples import Sample
from luthier.data.templates import ChatRenderer, Rendered, TextRenderer, renderer_for
from luthier.models.build import read_config
from luthier.models.build_causal import build_causal
from luthier.models.catalogue import locate
from luthier.models.causal_families import causal_family_of
from luthier.models.causal_layout import CausalLayout
from luthier.models.causal_model import CausalModel
from luthier.models.chat_tokenizer import HuggingChatTokenizer, load_chat_tokenizer
from luthier.models.generation import Asked, Decoder, PromptReader
from luthier.models.generation.decoder import evaluating
from luthier.models.generation.prompts import conversation_of, saved_tokenizer
from luthier.models.linear_cross_entropy import linear_cross_entropy
from luthier.models.run_model import load_causal_run, model_folder

_WINDOW = 64
"""Rows that are read ahead: answered together where the batch has room, measured in packs."""
_PACK_TOKENS = 4096


class LanguageModel:
    """Writes, through the renderer that it was trained with.

    The model may be in training: it is in eval mode while it answers or measures, and then again as it was.
    Prompts are texts, `Conversation`s, lists of OpenAI's messages, or `Completion`s (whose prompt is asked).
    `sampling` may also be a list, one for each prompt. `settings` is the model's luthier.json.
    """

    def __init__(
        self,
        model: CausalModel,
        tokenizer: HuggingChatTokenizer,
        renderer: ChatRenderer | TextRenderer,
        settings: dict[str, Any],
    ) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.renderer = renderer
        self.settings = settings

    @classmethod
    def load(cls, path: str | Path, *, device: str = "auto", precision: str = "fp32") -> Self:
        """The model of a run folder or a model folder; device auto takes a GPU where there is one."""
        model, folder, settings = load_causal_run(model_folder(path), precision=precision)
        tokenizer = saved_tokenizer(folder, model.config)
        renderer = renderer_for(model.task, tokenizer, None, settings.get("learn", "all"))
        return cls(model.to(_device(device)), tokenizer, renderer, settings)

    @classmethod
    def load_base(
        cls,
        name: str,
        *,
        task: str | None = None,
        revision: str | None = None,
        device: str = "auto",
        precision: str = "fp32",
    ) -> Self:
        """An untuned base by catalogue name, folder or hub id; task None: chat where it has a chat template."""
        source = locate(name, revision=revision)
        causal_family_of(read_config(source), source.name, str(source.path))  # an encoder's tokenizer is no clear error
        tokenizer = load_chat_tokenizer(source.path)
        task = task or ("complete" if tokenizer.chat_template is None else "chat")
        model = build_causal(source, task=task, precision=precision).eval()
        return cls(model.to(_device(device)), tokenizer, renderer_for(task, tokenizer), {"task": task})

    @property
    def task(self) -> str:
        """chat or complete."""
        return self.model.task

    @property
    def labels(self) -> Sequence[str]:
        """Empty."""
        return ()

    @property
    def context(self) -> int:
        """The longest prompt with answer, in tokens."""
        return self.tokenizer.max_length - self.model.reserved_positions

    def generate(
        self, prompts: Sequence[Asked], sampling: Sampling | Sequence[Sampling] | None = None
    ) -> list[Generation]:
        """One answer per prompt, in order."""
        return self._decoder().generate(self._reader.requests(prompts, sampling))

    def stream_pieces(
        self, prompts: Sequence[Asked], sampling: Sampling | Sequence[Sampling] | None = None
    ) -> Iterator[Piece]:
        """The same answers, piece by piece, as they come."""
        requests = self._reader.requests(prompts, sampling)
        return (piece for piece, _ in self._decoder().stream(requests))

    def chat(
        self, messages: Sequence[Mapping[str, Any]], *, tools: Sequence[Mapping[str, Any]] = (), **sampling: Any
    ) -> Generation:
        """The assistant's next turn; `sampling` are the fields of `Sampling`."""
        conversation = conversation_of(list(messages), list(tools))
        unknown = sampling.keys() - Sampling.__dataclass_fields__.keys()
        if unknown:
            raise UsageError(
                f"there is no setting {min(unknown)!r}.",
                remedy=f"Known: {', '.join(Sampling.__dataclass_fields__)}.",
                code="invalid_sampling",
                param=min(unknown),
            )
        return self.generate([conversation], Sampling(**sampling))[0]

    def predict(self, texts: Sequence[Asked], *, sampling: Sampling | None = None) -> list[Prediction]:
        """One answer per prompt, in order; greedy, and at most 256 tokens, unless `sampling` says otherwise."""
        return [Prediction(output=answer.text) for answer in self.generate(texts, sampling)]

    def stream(self, texts: Iterable[Asked], *, sampling: Sampling | None = None) -> Iterator[Prediction]:
        """Answers in order, reading ahead at most 64 prompts."""
        iterator = iter(texts)
        while window := list(islice(iterator, _WINDOW)):
            yield from self.predict(window, sampling=sampling)

    def likelihood(self, samples: Iterable[Sample]) -> Iterator[Likelihood]:
        """What the model thinks of each sample, in order and in bounded memory.

        Rows are rendered as in training and cut at the context's end; a sample without weighted tokens has
        weight 0.
        """
        iterator = iter(samples)
        while window := list(islice(iterator, _WINDOW)):
            rendered = self.renderer.render_batch(window)
            rows = [row for rows in rendered for row in rows]
            found = iter([measure for pack in self._packs(rows) for measure in self._measure(pack)])
            for own in rendered:
                yield _total([next(found) for _ in own])

    @torch.no_grad()
    def likelihood_of_each(self, samples: Sequence[Sample]) -> list[Likelihood]:
        """`likelihood` of samples that begin alike, such as one question with several answers: what they share is
        computed once."""
        rendered = self.renderer.render_batch(list(samples))
        rows = [row for rows in rendered for row in rows]
        longest = max((len(row.ids) for row in rows), default=0)
        if len(rows) != len(samples) or not rows or longest > self.context:
            return list(self.likelihood(samples))
        shared = _common([row.ids for row in rows])
        if shared < 1:
            return list(self.likelihood(samples))
        device = self.model.output_weight.device
        own = [row.ids[shared:-1] for row in rows]
        there = [index for index, ids in enumerate(own) if ids]
        layout = CausalLayout.tree([shared, *(len(own[index]) for index in there)], [-1, *([0] * len(there))])
        stream = rows[0].ids[:shared] + [token for index in there for token in own[index]]
        with evaluating(self.model):
            hidden = self.model.hidden(torch.tensor(stream, device=device), layout)
        spans = {index: layout.span(place) for place, index in enumerate(there, start=1)}
        found = []
        for index, row in enumerate(rows):
            parts = [hidden[layout.span(0)]] + ([hidden[spans[index]]] if index in spans else [])
            ids, weights = (torch.tensor(part[1:], device=device) for part in (row.ids, row.weights))
            found.append(self._loss(torch.cat(parts), ids, weights))
        return found

    def _packs(self, rows: Iterable[Rendered]) -> Iterator[list[tuple[list[int], list[float]]]]:
        """(ids, weights) of rows, as many as fit into one stream of 4,096 tokens; a longer row is alone."""
        pack: list[tuple[list[int], list[float]]] = []
        tokens = 0
        for row in rows:
            ids, weights = row.ids[: self.context], row.weights[: self.context]
            if pack and tokens + len(ids) > _PACK_TOKENS:
                yield pack
                pack, tokens = [], 0
            pack.append((ids, weights))
            tokens += len(ids)
        if pack:
            yield pack

    @torch.no_grad()
    def _measure(self, pack: list[tuple[list[int], list[float]]]) -> list[Likelihood]:
        """A `Likelihood` per row; the row's last token is only predicted, its first only read."""
        model, device = self.model, self.model.output_weight.device
        lengths = [len(ids) - 1 for ids, _ in pack]
        measured: dict[int, Likelihood] = {}
        read = [index for index, length in enumerate(lengths) if length]
        if read:
            layout = CausalLayout.of([lengths[index] for index in read])
            stream = torch.tensor([token for index in read for token in pack[index][0][:-1]], device=device)
            with evaluating(model):
                hidden = model.hidden(stream, layout)
            for place, index in enumerate(read):
                ids, weights = (torch.tensor(part[1:], device=device) for part in pack[index])
                measured[index] = self._loss(hidden[layout.span(place)], ids, weights)
        return [measured.get(index, Likelihood(0.0, 0.0)) for index in range(len(pack))]

    def _loss(self, hidden_TD: Tensor, ids_T: Tensor, weights_T: Tensor) -> Likelihood:
        learned = weights_T > 0
        if not bool(learned.any()):
            return Likelihood(0.0, 0.0)
        model, weights = self.model, weights_T[learned]
        loss, right = linear_cross_entropy(
            hidden_TD[learned], model.output_weight, model.output_bias, ids_T[learned], weights, softcap=model.softcap
        )
        return Likelihood(float(loss), float(weights.double().sum()), float(right))

    @cached_property
    def _reader(self) -> PromptReader:
        return PromptReader(self.tokenizer, self.renderer, self.model.output_weight.shape[0])

    def _decoder(self) -> Decoder:
        """A new one each time: a prefix may have been trained on since."""
        return Decoder(
            self.model.backbone, context=self.context, precision=self.model.precision, prefix=self.model.prefix()
        )


def _common(rows: Sequence[Sequence[int]]) -> int:
    """Tokens with which all rows begin; of each at least its last one is left to itself."""
    most = min(len(row) for row in rows) - 1
    first = rows[0]
    return next((place for place in range(most) if any(row[place] != first[place] for row in rows)), max(most, 0))


def _device(name: str) -> str:
    return ("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name


def _total(rows: Sequence[Likelihood]) -> Likelihood:
    return Likelihood(
        sum(row.loss_sum for row in rows), sum(row.weight for row in rows), sum(row.correct for row in rows)
    )

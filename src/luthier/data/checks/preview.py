"""One row as the model will see it: its tokens, their ids, and the target in numbers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from luthier.core.conversation import Completion, Conversation
from luthier.data.checks.base import TRAIN, Context
from luthier.data.checks.conversation_preview import conversation_preview
from luthier.data.samples import Finding, Sample, Span
from luthier.data.tags import bio_labels, encode_spans

SHOWN = 1000
"""Characters and tokens that are shown of the row."""


class Preview:
    """Keeps the first row of train (with spans, where spans are learned)."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._sample: Sample | None = None

    def see(self, index: int, sample: Sample) -> None:
        if self._context.part != TRAIN:
            return
        if self._sample is None or (self._context.task == "extract" and not self._sample.target and sample.target):
            self._sample = sample

    def finish(self) -> Iterator[Finding]:
        return iter(())

    def stats(self) -> dict[str, Any]:
        return {}

    def build(self) -> dict[str, Any] | None:
        """`line`, `source`, `text`, `text_pair`, `target`, `output` (what the model's outputs should
        be), and with an encoder `tokens`, `ids`, `num_tokens` and `cut`; for spans `tags` per token."""
        sample = self._sample
        if sample is None:
            return None
        context = self._context
        labels = sorted(name for name, facts in context.labels.items() if TRAIN in facts.rows)
        shown: dict[str, Any] = {
            "line": sample.line,
            "source": sample.source,
            "text": sample.text[:SHOWN],
            "text_pair": None if sample.text_pair is None else sample.text_pair[:SHOWN],
            **self._target(sample, labels),
        }
        if context.renderer is not None:
            rendered = context.renderer.render(sample)
            tokenizer = context.renderer.tokenizer
            stretches = [part for row in rendered for part in conversation_preview(row, tokenizer, limit=SHOWN)]
            shown["rendered"] = [list(part) for part in stretches]
            shown["num_tokens"] = sum(len(row.ids) for row in rendered)
            shown["num_learned"] = sum(row.trained_tokens for row in rendered)
        if context.encoder is None or context.generative:
            return shown
        limit = min(context.max_length or context.encoder.max_length, context.encoder.max_length)
        (encoded,) = context.encoder.encode([sample.input], max_length=limit)
        shown["tokens"] = context.encoder.tokens(encoded.ids[:SHOWN])
        shown["ids"] = list(encoded.ids[:SHOWN])
        shown["num_tokens"] = len(encoded.ids)
        shown["cut"] = encoded.full_length > len(encoded.ids)
        if context.task == "extract":
            spans = _spans(sample)
            tags, _ = encode_spans(spans, encoded.offsets, labels)
            names = bio_labels(labels)
            shown["tags"] = [names[tag] for tag in tags[:SHOWN]]
        return shown

    def _target(self, sample: Sample, labels: list[str]) -> dict[str, Any]:
        target = sample.target
        if isinstance(target, Conversation):
            turns = [{**message.to_dict(), "weight": message.weight} for message in target.messages]
            return {"target": {"messages": turns, "tools": list(target.tools)}}
        if isinstance(target, Completion):
            shown = {"prompt": target.prompt[:SHOWN], "completion": target.completion[:SHOWN]}
            return {"target": shown if target.suffix is None else {**shown, "suffix": target.suffix[:SHOWN]}}
        if isinstance(target, str):
            return {"target": target, "output": labels.index(target) if target in labels else None}
        if self._context.task == "regress":
            scores = self._context.table.scores[self._context.table.part_numbers == 0]
            mean, std = scores.mean(axis=0), scores.std(axis=0)
            values = np.array(target, dtype=np.float64)
            standard = np.divide(values - mean, std, out=np.zeros_like(values), where=std > 0)
            return {"target": values.tolist(), "output": [round(value, 4) for value in standard.tolist()]}
        if self._context.task == "extract":
            spans = _spans(sample)
            return {
                "target": [
                    {
                        "start": span.start,
                        "end": span.end,
                        "label": span.label,
                        "text": sample.text[span.start : span.end],
                    }
                    for span in spans
                ]
            }
        names = [str(item) for item in target or ()]
        return {"target": names, "output": [labels.index(name) for name in names if name in labels]}


def _spans(sample: Sample) -> list[Span]:
    found = sample.target if isinstance(sample.target, tuple) else ()
    return [item for item in found if isinstance(item, Span)]

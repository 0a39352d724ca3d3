"""Answers that are JSON of a given schema, through llguidance's token masks (Microsoft, MIT licence).

The library comes with the extra ``luthier[json]`` and is only imported when a schema is asked for.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from luthier.core.errors import UsageError
from luthier.models.chat_tokenizer import HuggingChatTokenizer

_BLANKS = r"[\x20\x0A]{1,16}"
"""Any layout, but no endless blanks, which small models fall into."""


class JsonConstraint:
    """Which tokens may come next in one answer."""

    def __init__(self, matcher: Any, vocabulary: int) -> None:
        self._matcher, self._vocabulary = matcher, vocabulary

    def allowed(self) -> Tensor:
        """bool [V]; an end token only where the JSON is whole."""
        packed = np.frombuffer(self._matcher.compute_bitmask(), dtype=np.uint8)
        bits = np.unpackbits(packed, count=self._vocabulary, bitorder="little")
        return torch.from_numpy(bits).bool()

    def accept(self, token: int) -> None:
        """Go on with a token that was allowed."""
        if not self._matcher.consume_token(token):
            raise UsageError(
                f"the JSON schema is too large to be followed: {self._matcher.get_error()}",
                remedy="Simplify it.",
                code="invalid_json_schema",
                param="json_schema",
            )

    @property
    def ended(self) -> bool:
        """Whether the JSON is whole and nothing can follow."""
        return bool(self._matcher.is_stopped())


class JsonGrammars:
    """Makes constraints for one tokenizer; `vocabulary` is the number of the model's logits."""

    def __init__(self, tokenizer: HuggingChatTokenizer, vocabulary: int, stop_ids: Iterable[int]) -> None:
        self._tokenizer, self._vocabulary, self._stop_ids = tokenizer, vocabulary, list(stop_ids)

    def constraint(self, schema: dict[str, Any]) -> JsonConstraint:
        """A fresh constraint; {} is any JSON object. Raises `UsageError` for a schema that cannot be followed."""
        tokens = self._tokens
        from llguidance import LLMatcher

        if not isinstance(schema, dict):
            raise _refused("it is not a JSON object")
        wanted = json.dumps(schema or {"type": "object"})
        grammar = LLMatcher.grammar_from_json_schema(wanted, overrides={"whitespace_pattern": _BLANKS})
        matcher = LLMatcher(tokens, grammar, log_level=0)
        if matcher.is_error():
            raise _refused(matcher.get_error().strip().splitlines()[0].rstrip("."))
        return JsonConstraint(matcher, self._vocabulary)

    @cached_property
    def _tokens(self) -> Any:
        try:
            from llguidance import LLTokenizer
        except ImportError:
            raise UsageError(
                "answers that follow a JSON schema need the package llguidance, which is not installed.",
                remedy="pip install 'luthier[json]'",
                code="extra_missing",
                param="json_schema",
            ) from None
        backend = self._tokenizer.hugging.backend_tokenizer.to_str()
        return LLTokenizer(backend, n_vocab=self._vocabulary, eos_token=self._stop_ids)


def _refused(reason: str) -> UsageError:
    return UsageError(
        f"this JSON schema cannot be followed: {reason}.",
        remedy="Correct it, or leave out the keyword that is named; {} takes any JSON object.",
        code="invalid_json_schema",
        param="json_schema",
    )

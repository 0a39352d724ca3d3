"""What a client may ask of POST /v1/completions (OpenAI's older way), and what the engine is asked then."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, WithJsonSchema

from luthier.server.openai.body import (
    MAX_CHARACTERS,
    Choices,
    ModelName,
    SamplingFields,
    StreamOptions,
    Tokens,
    texts_of,
)
from luthier.server.openai.chat_requests import check_size, refused

MAX_PROMPTS = 64
MAX_ANSWERS = 128
_DEFAULT_MAX_TOKENS = 16
_Text = Annotated[str, Field(max_length=MAX_CHARACTERS)]


class CompletionRequest(SamplingFields):
    """OpenAI's fields."""

    model: ModelName
    prompt: Annotated[
        list[_Text],
        Field(min_length=1, max_length=MAX_PROMPTS),
        BeforeValidator(texts_of("prompts")),
        WithJsonSchema(
            {
                "anyOf": [
                    {"type": "string", "minLength": 1, "maxLength": MAX_CHARACTERS},
                    {
                        "type": "array",
                        "minItems": 1,
                        "maxItems": MAX_PROMPTS,
                        "items": {"type": "string", "minLength": 1, "maxLength": MAX_CHARACTERS},
                    },
                ]
            }
        ),
    ]
    suffix: _Text | None = None
    max_tokens: Tokens | None = None
    n: Choices | None = None
    best_of: Annotated[int, Field(ge=1, le=20)] | None = None
    echo: bool | None = None
    logprobs: Annotated[int, Field(ge=0, le=5)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None

    @property
    def choices(self) -> int:
        """How many answers are wanted to each prompt."""
        return self.n or 1

    def engine_bodies(self) -> list[dict[str, Any]]:
        """The bodies of a ``generate`` for each prompt; raises `ApiError` for what does not fit together."""
        self._check()
        sampling = self.sampling(self.max_tokens or _DEFAULT_MAX_TOKENS)
        if self.logprobs is not None:
            sampling["logprobs"] = self.logprobs
        common: dict[str, Any] = {"n": self.choices, "sampling": sampling}
        if self.suffix:
            common["suffix"] = self.suffix
        bodies = [{"prompt": prompt, **common} for prompt in self.prompt]
        check_size({"bodies": bodies})
        return bodies

    def _check(self) -> None:
        if self.best_of is not None and self.best_of != self.choices:
            raise refused("best_of other than n is not supported.", "best_of", "Leave it out, and choose by logprobs.")
        if self.logit_bias:
            raise refused("logit_bias cannot be applied by this server.", "logit_bias", "Leave it out.")
        if self.echo and self.logprobs is not None:
            raise refused("Log-probabilities of an echoed prompt are not given.", "echo", "Leave out echo or logprobs.")
        if self.echo and self.suffix:
            raise refused("echo repeats the prompt, suffix follows it.", "echo", "Leave one of them out.")
        if self.stream_options is not None and not self.stream:
            raise refused("stream_options is for streams.", "stream_options", "Set stream to true, or leave it out.")
        if len(self.prompt) * self.choices > MAX_ANSWERS:
            raise refused(f"Prompts times n is more than {MAX_ANSWERS} answers.", "n", "Send several requests.")
        if not all(self.prompt) and not self.suffix:
            raise refused("A prompt is empty, and a model needs something to go on from.", "prompt", "Give it a text.")

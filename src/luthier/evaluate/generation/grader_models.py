"""OpenAI's graders as values: read strictly, told clearly what is wrong with them.

The fields are those of ``openai.types.graders`` (openai 3.54).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PositiveInt,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from luthier.core.errors import RecipeError, nearest
from luthier.evaluate.generation.formula import FUNCTIONS, Formula
from luthier.evaluate.generation.placeholders import check_placeholders

TYPES = ("string_check", "text_similarity", "python", "score_model", "multi")


def _template(text: str) -> str:
    check_placeholders(text)
    return text


Template = Annotated[str, AfterValidator(_template)]
Name = Annotated[str, Field(min_length=1, max_length=100)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class StringCheck(_Strict):
    """1 where `input` and `reference` stand so to each other, else 0; like and ilike: `input` holds `reference`,
    ilike in whatever case."""

    type: Literal["string_check"]
    name: Name
    input: Template
    reference: Template
    operation: Literal["eq", "ne", "like", "ilike"]


class TextSimilarity(_Strict):
    """From 0 to 1: `similarity.similarity`."""

    type: Literal["text_similarity"]
    name: Name
    input: Template
    reference: Template
    evaluation_metric: Literal[
        "cosine", "fuzzy_match", "bleu", "gleu", "meteor", "rouge_1", "rouge_2", "rouge_3", "rouge_4", "rouge_5",
        "rouge_l",
    ]  # fmt: skip
    pass_threshold: float | None = None


class PythonCode(_Strict):
    """`source` defines ``grade(sample, item) -> float``; it runs in the sandbox. `image_tag` is OpenAI's own."""

    type: Literal["python"]
    name: Name
    source: Annotated[str, Field(min_length=1, max_length=256 * 1024)]
    image_tag: str | None = None
    pass_threshold: float | None = None


class TextPart(_Strict):
    type: Literal["input_text", "output_text"]
    text: Template


class InputMessage(_Strict):
    role: Literal["user", "assistant", "system", "developer"]
    content: Template | TextPart | list[Template | TextPart]
    type: Literal["message"] | None = None


class SamplingParams(_Strict):
    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None
    max_completions_tokens: PositiveInt | None = None
    reasoning_effort: str | None = None


class ScoreModel(_Strict):
    """A model gives a number within `range` (0 to 1)."""

    type: Literal["score_model"]
    name: Name
    model: str
    input: Annotated[list[InputMessage], Field(min_length=1)]
    range: Annotated[tuple[float, float], Field(default=(0.0, 1.0))]
    sampling_params: SamplingParams | None = None
    pass_threshold: float | None = None

    @model_validator(mode="after")
    def _ordered(self) -> ScoreModel:
        if self.range[0] >= self.range[1]:
            raise ValueError("range is [lowest, highest]")
        return self


Part = Annotated[StringCheck | TextSimilarity | PythonCode | ScoreModel, Field(discriminator="type")]


class Multi(_Strict):
    """`calculate_output` over the scores of `graders`, by their key."""

    type: Literal["multi"]
    name: Name
    graders: Annotated[dict[str, Part], Field(min_length=1)]
    calculate_output: str

    @model_validator(mode="after")
    def _known_names(self) -> Multi:
        for name in sorted(Formula(self.calculate_output).names):
            if name not in self.graders:
                raise ValueError(f"calculate_output asks for {name!r}. {nearest(name, [*self.graders, *FUNCTIONS])}")
        return self


Grader = StringCheck | TextSimilarity | PythonCode | ScoreModel | Multi
_ADAPTER: TypeAdapter[Grader] = TypeAdapter(Annotated[Grader, Field(discriminator="type")])


def parse_grader(value: Mapping[str, Any], where: str = "evaluate.graders") -> Grader:
    """A grader from plain values; `RecipeError` names the field and what it may be."""
    kind = value.get("type") if isinstance(value, Mapping) else None
    if kind not in TYPES:
        raise RecipeError(
            f"there is no grader of type {kind!r}." if kind is not None else "a grader needs a type.",
            where=where,
            remedy=nearest(str(kind), TYPES),
            param="type",
            code="invalid_grader",
        )
    parts = value.get("graders")
    if kind == "multi" and isinstance(parts, Mapping) and parts.get("type") in TYPES and "name" in parts:
        value = {**value, "graders": {str(parts["name"]): parts}}  # openai's own type says one grader
    try:
        return _ADAPTER.validate_python(dict(value))
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        place = ".".join(str(part) for part in first["loc"] if part not in TYPES)
        said = first["msg"].removeprefix("Value error, ")
        raise RecipeError(
            f"the grader {value.get('name', kind)!r} is wrong{f' at {place}' if place else ''}: {said}.",
            where=where,
            remedy="The fields are OpenAI's: see docs on graders.",
            param=place or None,
            code="invalid_grader",
        ) from None


def parse_graders(values: list[dict[str, Any]], where: str = "evaluate.graders") -> list[Grader]:
    """Several graders with different names."""
    found = [parse_grader(value, f"{where}[{i}]") for i, value in enumerate(values)]
    names = [grader.name for grader in found]
    for name in names:
        if names.count(name) > 1:
            raise RecipeError(
                f"two graders are called {name!r}.",
                where=where,
                remedy="Give each its own name.",
                code="invalid_grader",
            )
    return found

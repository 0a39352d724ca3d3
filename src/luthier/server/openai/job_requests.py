"""The body of POST /v1/fine_tuning/jobs, read strictly: every wrong value is told with its path."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from luthier.server.openai.answers import LONGEST_ID, PLAIN_TEXT
from luthier.server.openai.body import Body, SmallObject

LONGEST_MODEL = 256
LONGEST_SUFFIX = 64
MOST_METADATA = 16
LARGEST_SEED = 2**31 - 1
MOST_EPOCHS = 50
LARGEST_BATCH = 256
LARGEST_MULTIPLIER = 100.0

Name = Annotated[str, Field(min_length=1, max_length=LONGEST_MODEL, pattern=PLAIN_TEXT)]
FileId = Annotated[str, Field(min_length=1, max_length=LONGEST_ID, pattern=PLAIN_TEXT)]
Suffix = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$", max_length=LONGEST_SUFFIX)]
Metadata = Annotated[
    dict[
        Annotated[str, Field(max_length=64, pattern=PLAIN_TEXT)],
        Annotated[str, Field(max_length=512, pattern=PLAIN_TEXT)],
    ],
    Field(max_length=MOST_METADATA),
]
Seed = Annotated[int, Field(ge=0, le=LARGEST_SEED)]


def _auto_or(kind: type[int] | type[float], least: float, most: float, *, above: bool = False) -> Callable[[Any], Any]:
    """A validator that tells one thing where pydantic's union would tell one for each branch."""
    noun = "a whole number" if kind is int else "a number"
    bounds = f"{'above' if above else 'from'} {least:g} {'and at most' if above else 'to'} {most:g}"

    def check(value: Any) -> Any:
        if value == "auto":
            return value
        fits = isinstance(value, int if kind is int else int | float) and not isinstance(value, bool)
        if not fits:
            raise PydanticCustomError("number_type", f"Input should be 'auto' or {noun}")
        if not least <= value <= most or (above and value == least):
            raise PydanticCustomError("number_range", f"Input should be 'auto' or {noun} {bounds}")
        return kind(value)

    return check


def _schema(kind: str, **bounds: float) -> WithJsonSchema:
    return WithJsonSchema({"anyOf": [{"type": "string", "const": "auto"}, {"type": kind, **bounds}], "default": "auto"})


Epochs = Annotated[
    int | Literal["auto"],
    BeforeValidator(_auto_or(int, 1, MOST_EPOCHS)),
    _schema("integer", minimum=1, maximum=MOST_EPOCHS),
]
BatchSize = Annotated[
    int | Literal["auto"],
    BeforeValidator(_auto_or(int, 1, LARGEST_BATCH)),
    _schema("integer", minimum=1, maximum=LARGEST_BATCH),
]
Multiplier = Annotated[
    float | Literal["auto"],
    BeforeValidator(_auto_or(float, 0, LARGEST_MULTIPLIER, above=True)),
    _schema("number", exclusiveMinimum=0, maximum=LARGEST_MULTIPLIER),
]


class Hyperparameters(Body):
    """What may be chosen of supervised training; "auto" is chosen from the data."""

    n_epochs: Epochs = "auto"
    batch_size: BatchSize = "auto"
    learning_rate_multiplier: Multiplier = "auto"


class Supervised(Body):
    hyperparameters: Hyperparameters | None = None


Refused = Annotated[SmallObject, WithJsonSchema({"type": "null"})]
"""What OpenAI's client may send and a later check refuses with the reason."""


class Method(Body):
    """How it is trained: supervised. The two others are known and refused."""

    type: Literal["supervised", "dpo", "reinforcement"] = Field(json_schema_extra={"enum": ["supervised"]})
    supervised: Supervised | None = None
    dpo: Refused | None = None
    reinforcement: Refused | None = None


class Integration(Body):
    type: Literal["wandb"]
    wandb: SmallObject


class JobRequest(Body):
    """A fine-tuning job as OpenAI's client asks for it."""

    model: Name
    training_file: FileId
    validation_file: FileId | None = None
    suffix: Suffix | None = None
    seed: Seed | None = None
    method: Method | None = None
    hyperparameters: Hyperparameters | None = None
    integrations: Annotated[list[Integration], WithJsonSchema({"type": "array", "maxItems": 0})] | None = Field(
        None, max_length=5
    )
    metadata: Metadata | None = None


class RecipeJobRequest(Body):
    """A job as a recipe: the keys of a recipe file, with ids of files in the place of files."""

    recipe: SmallObject = Field(
        description="The keys of a recipe file. data.train, data.validation and data.test are ids of files."
    )
    suffix: Suffix | None = None
    metadata: Metadata | None = None

"""What `luthier chat` and `luthier predict` share where a model writes."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from luthier.cli.stdin import json_object, stdin_lines
from luthier.core.conversation import Completion, Conversation
from luthier.core.errors import DataError, ModelError, UsageError
from luthier.core.generation import Generator, Sampling

if TYPE_CHECKING:
    from luthier.models.generation import Asked

_OPTIONS = ("temperature", "max_tokens", "seed", "json_schema")
_TEXT_KEYS = ("prompt", "input", "text")


def add_sampling(parser: argparse.ArgumentParser, *, temperature: float) -> None:
    """`--temperature`, `--max-tokens`, `--seed`, `--json-schema`; None where an option was not used."""
    group = parser.add_argument_group("models that write")
    group.add_argument("--temperature", type=float, metavar="T", help=f"0 = the likeliest token ({temperature:g})")
    group.add_argument("--max-tokens", type=int, metavar="N", help=f"longest answer ({Sampling().max_tokens})")
    group.add_argument("--seed", type=int, metavar="N", help="the same seed draws the same answers")
    group.add_argument("--json-schema", metavar="FILE", help="answers are JSON that this JSON Schema accepts")


def refuse_sampling(args: argparse.Namespace) -> None:
    """Raise a `UsageError` for the options of `add_sampling`, which the model at hand has no use for."""
    for name in _OPTIONS:
        if getattr(args, name) is not None:
            option = "--" + name.replace("_", "-")
            raise UsageError(
                f"{option} is for models that write, and this one does not.",
                remedy="Leave it out.",
                code="not_generative",
                param=name,
            )


def sampling_of(args: argparse.Namespace, *, temperature: float) -> Sampling:
    """The options of `add_sampling`; `UsageError` for a number out of range or a schema that cannot be read."""
    from luthier.models.generation import check_sampling

    sampling = Sampling(
        temperature=temperature if args.temperature is None else args.temperature,
        max_tokens=Sampling().max_tokens if args.max_tokens is None else args.max_tokens,
        seed=args.seed,
        json_schema=None if args.json_schema is None else _schema(args.json_schema),
    )
    check_sampling(sampling)
    return sampling


def _schema(path: str) -> dict[str, Any]:
    try:
        value = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        reason = error.strerror or "it cannot be read"
    except ValueError as error:
        reason = f"it is not JSON ({error})"
    else:
        if isinstance(value, dict):
            return value
        reason = "it holds no JSON object"
    raise UsageError(
        f"the JSON Schema cannot be used: {reason}.",
        where=path,
        remedy='Give a file such as {"type": "object", "properties": {...}}; {} takes any JSON object.',
        code="invalid_json_schema",
        param="json_schema",
    )


def open_writer(name: str) -> Any:
    """The `LanguageModel` of a run, a model folder or a base; `ModelError` for one that does not write."""
    from luthier import api
    from luthier.models.export import SETTINGS_JSON

    folder = Path(name)
    tuned = any((place / SETTINGS_JSON).is_file() for place in (folder, folder / "model"))
    if not tuned and not (folder.is_dir() and not (folder / "config.json").is_file()):
        from luthier.models.language_predictor import LanguageModel

        return LanguageModel.load_base(name)
    model = api.load(name)
    if not isinstance(model, Generator):
        raise ModelError(
            f"this model was trained for {model.task}: it writes no text.",
            where=name,
            remedy="Ask it with luthier predict, or give a run of the tasks chat or complete.",
            code="not_generative",
        )
    return model


def file_prompts(path: str, task: str, columns: dict[str, str] | None) -> Iterator[Asked]:
    """What each row of a data file asks: what stands before the last answer, or the prompt."""
    from luthier.data.dataset import Dataset

    data = Dataset.open(path, task=task, columns=columns, require_target=False)
    for sample in data.samples():
        target = sample.target
        if isinstance(target, Conversation):
            yield target.question()
        elif isinstance(target, Completion):
            yield target


def stdin_prompts() -> Iterator[Asked]:
    """Lines of stdin: JSON objects with messages or a prompt when the first line is one, else texts."""
    as_json: bool | None = None
    for number, line in stdin_lines():
        value = json_object(line)
        if as_json is None:
            as_json = value is not None
        yield _asked(value or {}, number) if as_json else line


def _asked(value: dict[str, Any], number: int) -> Asked:
    messages = value.get("messages")
    if isinstance(messages, list):
        return messages
    text = next((value[key] for key in _TEXT_KEYS if isinstance(value.get(key), str)), None)
    if text is None:
        raise DataError(
            "this line is not a JSON object with messages or a prompt.",
            where=f"stdin:{number}",
            remedy='Each line needs {"messages": [...]} or {"prompt": "..."}, like the first one.',
            code="not_parseable",
        )
    return str(text)


def written_row(asked: Any, answer: str | None) -> dict[str, Any]:
    """One answer as a JSON line has it; a conversation's input is its list of messages."""
    if isinstance(asked, Conversation):
        asked = [message.to_dict() for message in asked.messages]
    elif isinstance(asked, Completion):
        asked = asked.prompt if asked.suffix is None else {"prompt": asked.prompt, "suffix": asked.suffix}
    return {"input": asked, "output": answer}


def is_writer(task: str) -> bool:
    """Whether models of this task write."""
    from luthier.core.recipe import LANGUAGE_TASKS

    return task in LANGUAGE_TASKS

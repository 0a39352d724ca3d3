"""`luthier predict`: answers for texts and files, in order, in bounded memory."""

from __future__ import annotations

import argparse
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from luthier.cli import output
from luthier.cli.parser import add_columns, add_common, columns_of
from luthier.cli.stdin import json_object, stdin_lines
from luthier.cli.writing import (
    add_sampling,
    file_prompts,
    is_writer,
    refuse_sampling,
    sampling_of,
    stdin_prompts,
    written_row,
)
from luthier.core.errors import DataError, UsageError

if TYPE_CHECKING:
    from luthier.core.predictor import Prediction, TextInput

SUMMARY = "Answer texts or a file: JSON lines, one per row, in order."
USAGE = """luthier predict RUN [TEXT ...] [--file F] [--threshold X] [--columns ROLE=COLUMN] [--json]
                       [--temperature T] [--max-tokens N] [--seed N] [--json-schema FILE]"""
EXAMPLE = """\
example:
  luthier predict runs/20260102-101500-train "where is my parcel?"
  luthier predict runs/20260102-101500-train --file new.csv > answers.jsonl
  cat texts.txt | luthier predict runs/20260102-101500-train --file -
  luthier predict runs/20260102-101500-support --file chats.jsonl --max-tokens 100

Of a file of conversations the last answer is asked for again, of prompts the completion.
On a terminal texts are answered for people; --json, a file or a pipe gives JSON lines.
"""

_SHOWN_CLASSES = 3


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this verb's arguments."""
    parser.add_argument("run", metavar="RUN", help="the folder that luthier train printed")
    parser.add_argument("texts", nargs="*", metavar="TEXT", help="texts to answer")
    parser.add_argument("--file", metavar="F", help="any data file; - reads lines or JSON lines from stdin")
    parser.add_argument(
        "--threshold",
        type=float,
        metavar="X",
        help="abstain below this probability (0 to 1); which labels hold, when several may",
    )
    add_columns(parser)
    add_sampling(parser, temperature=0)
    add_common(parser)


def run(args: argparse.Namespace) -> int:
    """Answer and print."""
    if bool(args.texts) == (args.file is not None):
        raise UsageError(
            "give either texts or --file." if args.texts else "there is nothing to answer.",
            remedy='For example: luthier predict RUN "some text", or luthier predict RUN --file new.csv.',
            code="no_input",
        )
    if args.threshold is not None and not 0.0 <= args.threshold <= 1.0:
        raise UsageError(
            f"--threshold is a probability from 0 to 1, not {args.threshold:g}.",
            remedy="For example --threshold 0.7.",
            code="invalid_threshold",
            param="threshold",
        )
    from luthier import api

    predictor = api.load(args.run, threshold=args.threshold)
    if is_writer(predictor.task):
        return write(args, predictor)
    refuse_sampling(args)
    texts: Iterable[TextInput] = args.texts
    if args.file == "-":
        texts = stdin_texts()
    elif args.file is not None:
        texts = file_texts(args.file, predictor.task, columns_of(args.columns))
    for_people = bool(args.texts) and not args.json and sys.stdout.isatty()
    for text, answer in pairs(predictor, texts):
        print(person_text(text, answer) if for_people else output.to_json(row(predictor.task, text, answer)))
    sys.stdout.flush()
    return 0


def write(args: argparse.Namespace, model: Any) -> int:
    """Answer with a model that writes, and print."""
    sampling = sampling_of(args, temperature=0)
    prompts: Iterable[Any] = args.texts
    if args.file == "-":
        prompts = stdin_prompts()
    elif args.file is not None:
        prompts = file_prompts(args.file, model.task, columns_of(args.columns))
    for_people = bool(args.texts) and not args.json and sys.stdout.isatty()
    for asked, answer in pairs(model, prompts, sampling=sampling):
        if for_people:
            print(f"{output.clean(asked, 100)}\n{output.printable(answer.output or '')}\n")
        else:
            output.print_json(written_row(asked, answer.output))
    return 0


def pairs(predictor: Any, texts: Iterable[Any], **options: Any) -> Iterator[tuple[Any, Prediction]]:
    """Texts with their answers; what is held is what the predictor has read ahead."""
    waiting: deque[Any] = deque()

    def read() -> Iterator[Any]:
        for text in texts:
            waiting.append(text)
            yield text

    for answer in predictor.stream(read(), **options):
        yield waiting.popleft(), answer


def file_texts(path: str, task: str, columns: dict[str, str] | None) -> Iterator[TextInput]:
    """The texts of a data file; its labels, if it has any, are not needed."""
    from luthier.data.dataset import Dataset

    data = Dataset.open(path, task=task, columns=columns, require_target=False)
    return (sample.input for sample in data.samples())


def stdin_texts() -> Iterator[TextInput]:
    """Lines of stdin: JSON objects with `text` when the first line is one, else each line is a text."""
    as_json: bool | None = None
    for number, line in stdin_lines():
        if as_json is None:
            as_json = line.lstrip().startswith("{") and json_object(line) is not None
        yield _json_input(line, number) if as_json else line


def _json_input(line: str, number: int) -> TextInput:
    value = json_object(line) or {}
    text, second = value.get("text"), value.get("text_pair")
    if not isinstance(text, str) or not isinstance(second, str | None):
        raise DataError(
            "this line is not a JSON object with a text.",
            where=f"stdin:{number}",
            remedy='Each line needs {"text": "..."}, like the first one.',
            code="not_parseable",
        )
    return text if second is None else (text, second)


def row(task: str, text: TextInput, answer: Prediction) -> dict[str, Any]:
    """One answer as a JSON line has it (docs/data.md lists the keys)."""
    first, second = (text, None) if isinstance(text, str) else text
    value: dict[str, Any] = {"text": first}
    if second is not None:
        value["text_pair"] = second
    if task == "extract":
        value["spans"] = [span.to_dict() for span in answer.spans or ()]
        return value
    if task == "regress":
        value["score"] = answer.score
        if answer.values is not None and len(answer.values) > 1:
            value["values"] = answer.scores or list(answer.values)
        return value
    value.update(label=answer.label, score=answer.score, scores=answer.scores)
    if answer.labels is not None:
        value["labels"] = list(answer.labels)
    if answer.abstained:
        value["abstained"] = True
    return value


def person_text(text: TextInput, answer: Prediction) -> str:
    """One answer for a person: the text, and below it what the model says."""
    shown = output.clean(text if isinstance(text, str) else " | ".join(text), 100)
    if answer.spans is not None:
        lines = [
            f"  {output.clean(span.text)}  {span.label}  ({span.start} to {span.end}, {span.score:.2f})"
            for span in answer.spans
        ]
        return "\n".join([shown, *(lines or ["  nothing found"])])
    if not answer.scores:
        return f"{shown}\n  {answer.score:.4g}" if answer.score is not None else f"{shown}\n  no answer"
    best = sorted(answer.scores.items(), key=lambda item: -item[1])[:_SHOWN_CLASSES]
    others = ", ".join(f"{output.clean(name)} {score:.2f}" for name, score in best)
    if answer.labels is not None:
        says = ", ".join(answer.labels) or "no label"
    elif answer.abstained or answer.label is None:
        says = "not sure"
    else:
        says = answer.label
    return f"{shown}\n  {output.clean(says)}  ({others})"

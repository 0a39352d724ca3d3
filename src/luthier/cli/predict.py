"""`luthier predict`: answers for texts and files, in order, in bounded memory."""

from __future__ import annotations

import argparse
import json
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from luthier.cli import output
from luthier.cli.parser import add_columns, add_common, columns_of
from luthier.core.errors import DataError, UsageError

if TYPE_CHECKING:
    from luthier.core.predictor import Prediction, Predictor, TextInput

SUMMARY = "Answer texts or a file: JSON lines, one per row, in order."
USAGE = "luthier predict RUN [TEXT ...] [--file F] [--threshold X] [--columns ROLE=COLUMN] [--json]"
EXAMPLE = """\
example:
  luthier predict runs/20260102-101500-train "where is my parcel?"
  luthier predict runs/20260102-101500-train --file new.csv > answers.jsonl
  cat texts.txt | luthier predict runs/20260102-101500-train --file -

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


def pairs(predictor: Predictor, texts: Iterable[TextInput]) -> Iterator[tuple[TextInput, Prediction]]:
    """Texts with their answers; what is held is what the predictor has read ahead."""
    waiting: deque[TextInput] = deque()

    def read() -> Iterator[TextInput]:
        for text in texts:
            waiting.append(text)
            yield text

    for answer in predictor.stream(read()):
        yield waiting.popleft(), answer


def file_texts(path: str, task: str, columns: dict[str, str] | None) -> Iterator[TextInput]:
    """The texts of a data file; its labels, if it has any, are not needed."""
    from luthier.data.dataset import Dataset

    data = Dataset.open(path, task=task, columns=columns, require_target=False)
    return (sample.input for sample in data.samples())


def stdin_texts() -> Iterator[TextInput]:
    """Lines of stdin: JSON objects with `text` when the first line is one, else each line is a text."""
    as_json: bool | None = None
    for number, raw in enumerate(sys.stdin.buffer, start=1):
        try:
            line = raw.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
        except UnicodeDecodeError:
            raise DataError(
                "this line is not UTF-8.",
                where=f"stdin:{number}",
                remedy="Convert it with iconv.",
                code="wrong_encoding",
            ) from None
        if not line.strip():
            continue
        if as_json is None:
            as_json = line.lstrip().startswith("{") and _object(line) is not None
        yield _json_input(line, number) if as_json else line


def _object(line: str) -> dict[str, Any] | None:
    try:
        value = json.loads(line)
    except json.JSONDecodeError:
        return None
    return value if isinstance(value, dict) else None


def _json_input(line: str, number: int) -> TextInput:
    value = _object(line) or {}
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

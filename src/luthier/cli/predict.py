"""`luthier predict`: answers for texts and files, in order, in bounded memory."""

from __future__ import annotations

import argparse
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from luthier.cli import output
from luthier.cli.parser import add_columns, add_common, columns_of
from luthier.cli.server_address import add_server, wanted_server
from luthier.cli.texts import file_texts, person_text, row, stdin_texts
from luthier.cli.writing import (
    add_sampling,
    file_prompts,
    is_writer,
    refuse_sampling,
    sampling_of,
    stdin_prompts,
    written_row,
)
from luthier.core.errors import UsageError

if TYPE_CHECKING:
    from luthier.core.predictor import Prediction, TextInput

SUMMARY = "Answer texts or a file: JSON lines, one per row, in order."
USAGE = """luthier predict RUN [TEXT ...] [--file F] [--threshold X] [--columns ROLE=COLUMN] [--json]
                       [--temperature T] [--max-tokens N] [--seed N] [--json-schema FILE]
       luthier predict MODEL [TEXT ...] [--file F] --server URL [--key-file F]"""
EXAMPLE = """\
example:
  luthier predict runs/20260102-101500-train "where is my parcel?"
  luthier predict runs/20260102-101500-train --file new.csv > answers.jsonl
  cat texts.txt | luthier predict runs/20260102-101500-train --file -
  luthier predict runs/20260102-101500-support --file chats.jsonl --max-tokens 100
  luthier predict ft:minilm:local:intents:12345678 "where is my parcel?" --server http://127.0.0.1:8321

Of a file of conversations the last answer is asked for again, of prompts the completion.
On a terminal texts are answered for people; --json, a file or a pipe gives JSON lines.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this verb's arguments."""
    parser.add_argument("run", metavar="RUN", help="the folder that luthier train printed, or a server's model")
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
    add_server(parser, optional=True)
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
    if wanted_server(args) is not None:
        from luthier.cli.remote_predict import predict_there

        return predict_there(args)
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

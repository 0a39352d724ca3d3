"""`luthier predict --server` and `luthier eval --server`: the server answers, this machine reads and judges."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from typing import Any

from luthier.cli import output
from luthier.cli.parser import columns_of, one_or_many
from luthier.cli.remote import Server
from luthier.cli.remote_models import ANSWERS_AT_ONCE, RemotePredictor, answers, prediction_of, row_of, task_of
from luthier.cli.texts import file_texts, person_text, stdin_texts
from luthier.cli.writing import file_prompts, is_writer, stdin_prompts
from luthier.core.errors import DataError, UsageError

MAX_TOKENS = 200
RESAMPLES = 1000


def predict_there(args: argparse.Namespace) -> int:
    """Answer texts or a file with a model of a server."""
    for name in ("temperature", "seed", "json_schema"):
        if getattr(args, name) not in (None, 0.0):
            option = "--" + name.replace("_", "-")
            raise UsageError(
                f"{option} does not go with --server: answers are the likeliest ones.",
                remedy="Ask POST /v1/chat/completions, which takes it.",
                param=name,
            )
    server = Server.of(args)
    task = task_of(server, args.run)
    writes = is_writer(task)
    asked: Iterable[Any] = args.texts
    if args.file == "-":
        asked = stdin_prompts() if writes else stdin_texts()
    elif args.file is not None:
        read = file_prompts if writes else file_texts
        asked = read(args.file, task, columns_of(args.columns))
    for_people = bool(args.texts) and not args.json and sys.stdout.isatty()
    rows = map(row_of, asked)
    for answer in answers(server, args.run, task, rows, threshold=args.threshold, max_tokens=args.max_tokens):
        if not for_people:
            output.print_json(answer)
        elif writes:
            print(f"{output.clean(str(answer['input']), 100)}\n{output.printable(answer['output'] or '')}\n")
        else:
            print(person_text(answer["text"], prediction_of(task, answer)))
    sys.stdout.flush()
    return 0


def evaluate_there(args: argparse.Namespace) -> dict[str, Any]:
    """Judge a model of a server on rows of this machine; what `luthier eval --json` prints."""
    if args.train is not None:
        raise UsageError(
            "--train fits a head on a base model of this machine, not on a server.",
            remedy="Leave --train out, or --server.",
            param="train",
        )
    if args.group or args.swaps:
        raise UsageError(
            "--group and --swaps do not go with --server.",
            remedy="Set evaluate.fairness in the job's recipe, or judge a run of this machine.",
            param="group" if args.group else "swaps",
        )
    server = Server.of(args)
    task = task_of(server, args.model)
    if args.task not in (None, "auto", task):
        raise UsageError(f"the model does {task}, not {args.task}.", remedy="Leave --task out.", param="task")
    data, columns = one_or_many(args.data), columns_of(args.columns)
    if is_writer(task):
        wanted = 100 if args.generate_rows is None else args.generate_rows
        return _answered(server, args.model, data, columns, wanted)
    from luthier.judging import evaluate

    return evaluate(RemotePredictor(server, args.model, task), data, columns=columns).to_dict()


def _answered(
    server: Server, model: str, data: str | list[str], columns: dict[str, str] | None, wanted: int
) -> dict[str, Any]:
    """What a model that writes is worth by its answers: its loss cannot be asked for over the wire."""
    from luthier.data.dataset import Dataset
    from luthier.evaluate.generation.questions import item_of, question_of
    from luthier.evaluate.generation.scoring import AnswerScores
    from luthier.evaluate.intervals import bootstrap
    from luthier.evaluate.report import strict

    dataset = Dataset.open(data, task="auto", columns=columns)
    found = [(sample, question) for sample in dataset.samples() if (question := question_of(sample)) is not None]
    wanted = min(wanted, len(found))
    picked = [one for i, one in enumerate(found) if (i + 1) * wanted // len(found) > i * wanted // len(found)]
    if not picked:
        raise DataError(
            "there is no row to answer.",
            code="no_rows",
            remedy="Give conversations that end with an assistant's turn, or prompts with completions, and "
            "--generate-rows above 0: a server's model is judged by its answers.",
        )
    scores, examples = AnswerScores(), []
    rows = (row_of(_asked(sample.target, question)) for sample, question in picked)
    for (sample, question), answer in zip(
        picked, answers(server, model, dataset.task, rows, max_tokens=MAX_TOKENS), strict=True
    ):
        scores.add(question, answer["output"], item_of(sample, question, {}))
        examples.append({"text": question.text, "expected": question.reference, "predicted": answer["output"]})
    judge = scores.judge()
    names = [name for name in scores.chosen() if name in judge.names()]
    metrics = {name: value.to_dict() for name, value in bootstrap(judge, names, resamples=RESAMPLES).items()}
    plain: dict[str, Any] = strict(
        {
            "task": dataset.task,
            "rows": len(found),
            "answered": len(scores),
            "metrics": metrics,
            "examples": examples[:ANSWERS_AT_ONCE],
            "notes": [*scores.notes(names), "The loss is not measured: a server tells answers, not probabilities."],
        }
    )
    return plain


def _asked(target: Any, question: Any) -> Any:
    from luthier.core.conversation import Completion

    return target if isinstance(target, Completion) else question.prompt

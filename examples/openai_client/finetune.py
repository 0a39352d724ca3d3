"""Fine-tune a model and talk to it, with the openai package and nothing of Luthier's.

    export OPENAI_BASE_URL=http://127.0.0.1:8321/v1
    export OPENAI_API_KEY=lu-...
    python finetune.py

Upload, job, events, answers: the same script runs against any server that speaks OpenAI's fine-tuning API.
"""

from __future__ import annotations

import argparse
import json
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

from openai import OpenAI, OpenAIError

HERE = Path(__file__).parent
GOODBYE = "Kettle's on, Copperlid."
COLUMN = 46


def main() -> int:
    words = argparse.ArgumentParser(description="Upload, fine-tune, follow, and compare with the base.")
    words.add_argument("--model", default="luthier-nano", help="what is tuned (luthier-nano)")
    words.add_argument("--data", type=Path, default=HERE / "train.jsonl", help="conversations to learn from")
    words.add_argument("--validation", type=Path, default=HERE / "validation.jsonl", help="conversations to ask about")
    words.add_argument("--epochs", type=int, default=4, help="passes over the data (4)")
    words.add_argument("--suffix", default="copperlid", help="part of the new model's name (copperlid)")
    options = words.parse_args()

    client = OpenAI()  # OPENAI_BASE_URL and OPENAI_API_KEY
    try:
        tuned = fine_tune(client, options)
        compare(client, options.model, tuned, options.validation)
    except OpenAIError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def fine_tune(client: OpenAI, options: argparse.Namespace) -> str:
    """Upload both files, create a job, follow it; gives the new model's name."""
    job = client.fine_tuning.jobs.create(
        model=options.model,
        training_file=upload(client, options.data),
        validation_file=upload(client, options.validation),
        suffix=options.suffix,
        seed=1,
        method={"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": options.epochs}}},
        metadata={"example": "openai_client"},
    )
    follow(client, job.id)
    job = client.fine_tuning.jobs.retrieve(job.id)
    if job.status != "succeeded" or job.fine_tuned_model is None:
        reason = job.error.message if job.error else job.status
        raise OpenAIError(f"the job gave no model: {reason}")
    print(f"\n{job.trained_tokens:,} tokens learned from; the model is {job.fine_tuned_model}")
    return job.fine_tuned_model


def upload(client: OpenAI, path: Path) -> str:
    """Send a file; gives its id."""
    with path.open("rb") as handle:
        file = client.files.create(file=handle, purpose="fine-tune")
    print(f"uploaded {path.name} as {file.id}")
    return file.id


def follow(client: OpenAI, job: str) -> None:
    """Print every event once, in order, until the job is over."""
    seen: str | None = None
    while True:
        over = client.fine_tuning.jobs.retrieve(job).status in ("succeeded", "failed", "cancelled")
        new = []
        for event in client.fine_tuning.jobs.list_events(job, limit=100):  # the newest first, page after page
            if event.id == seen:
                break
            new.append(event)
        for event in reversed(new):
            print(f"{time.strftime('%H:%M:%S', time.localtime(event.created_at))}  {event.message}", flush=True)
            seen = event.id
        if over:
            return
        time.sleep(1)


def compare(client: OpenAI, base: str, tuned: str, path: Path) -> None:
    """Ask both models what the held-out conversations ask, and show the answers side by side."""
    rows = [json.loads(line)["messages"] for line in path.read_text(encoding="utf-8").splitlines()]
    endings = {base: 0, tuned: 0}
    for number, messages in enumerate(rows):
        answers = {name: answer(client, name, messages[:-1]) for name in (base, tuned)}
        for name, text in answers.items():
            endings[name] += text.endswith(GOODBYE)
        if number < 4:
            print(f"\nasked: {messages[-2]['content']}")
            side_by_side(base, answers[base], tuned, answers[tuned])
    print(f"\nanswers that end with {GOODBYE!r}, of {len(rows)}:")
    for name, count in endings.items():
        print(f"  {count:3}  {name}")


def answer(client: OpenAI, model: str, messages: list[Any]) -> str:
    """The likeliest answer of at most 60 tokens."""
    found = client.chat.completions.create(model=model, messages=messages, max_tokens=60, temperature=0)
    return (found.choices[0].message.content or "").strip()


def side_by_side(left: str, left_text: str, right: str, right_text: str) -> None:
    """Two texts under their names, in two columns."""
    columns = [
        [name, "-" * min(len(name), COLUMN), *textwrap.wrap(text, COLUMN)]
        for name, text in ((left, left_text), (right, right_text))
    ]
    height = max(map(len, columns))
    for one, other in zip(*(column + [""] * (height - len(column)) for column in columns), strict=True):
        print(f"  {one:<{COLUMN}}  {other}".rstrip())


if __name__ == "__main__":
    sys.exit(main())

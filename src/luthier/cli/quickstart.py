"""`make quickstart`: the whole journey on what the repository ships, each step as the command it is."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from luthier.cli import allocator, output
from luthier.cli.main import VERBS, main, parse
from luthier.cli.train import show, train
from luthier.core import clock

EXAMPLE = Path("examples") / "support-intents"
OUT = "quickstart-run"
QUESTIONS = (
    "The tracking page has said 'with the courier' for three days now, is anything moving?",
    "One leg of the stool was snapped clean off when I unwrapped it.",
    "Would the linen curtains survive a hot wash?",
)


def journey(example: Path = EXAMPLE, out: str = OUT) -> int:
    """Check, train, prove, predict; gives the exit code of the first step that fails."""
    if not (example / "recipe.yaml").is_file():
        output.note(f"error: {example} is not here. Run make quickstart in the repository's root.")
        return 2
    begin = clock.monotonic()
    data, test = str(example / "train.csv"), str(example / "test.csv")
    code = _step("1 of 3: check the data", ["check", data, "--test", test])
    if code:
        return code
    words = ["train", str(example / "recipe.yaml"), "--out", out]
    _title("2 of 3: fine-tune the shipped base model, and judge it on rows that it never saw", words)
    try:
        run = train(parse(words))
    except Exception as error:  # told in one paragraph, as every command does
        return output.print_error(error, debug=False)
    show(run)
    code = _step("3 of 3: ask it three questions", ["predict", str(run.path), *QUESTIONS])
    if code:
        return code
    print(f"\nDone in {clock.monotonic() - begin:.0f} seconds. Open {run.path / 'report.html'} in a browser.")
    print("Then take your own file: .venv/bin/luthier train --data yours.csv")
    return 0


def _title(title: str, words: list[str]) -> None:
    print(f"\n== {title}\n$ luthier {shlex.join(words)}\n", flush=True)


def _step(title: str, words: list[str]) -> int:
    assert words[0] in VERBS
    _title(title, words)
    return main(words)


if __name__ == "__main__":
    output.prepare_streams()
    allocator.restart("train")
    sys.exit(journey())

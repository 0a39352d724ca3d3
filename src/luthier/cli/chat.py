"""`luthier chat`: talk to a model, in the terminal or through a pipe."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from luthier.approaches.endpoint import EndpointError
from luthier.cli import output
from luthier.cli.parser import add_common
from luthier.cli.stdin import stdin_lines
from luthier.cli.writing import add_sampling, open_writer, sampling_of
from luthier.core.conversation import Conversation, Message, Prompt
from luthier.core.errors import DataError, Interrupted, UsageError
from luthier.core.generation import Generator, Sampling

if TYPE_CHECKING:
    from rich.console import Console

SUMMARY = "Talk to a model in the terminal."
USAGE = """luthier chat RUN_OR_MODEL [--allow A,B] [--system TEXT] [--temperature T] [--max-tokens N] [--seed N]
                    [--json-schema FILE] [--json]"""
EXAMPLE = """\
example:
  luthier chat runs/20260102-101500-support
  luthier chat examples/assistant/parcels.yaml
  luthier chat luthier-nano --system "Answer in one sentence." --temperature 0.3
  cat questions.txt | luthier chat runs/20260102-101500-support --json > answers.jsonl

/reset forgets the conversation, /system TEXT begins a new one with other instructions, /quit ends.
Ctrl-C stops an answer. What is piped in is one turn per line, of one conversation.
"""

_TEMPERATURE = 0.7
_COMMANDS = "/reset forgets the conversation, /system TEXT sets other instructions, /quit ends"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this verb's arguments."""
    parser.add_argument("run", metavar="RUN_OR_MODEL", help="a run, a folder, a base, or an assistant's YAML")
    parser.add_argument("--allow", metavar="A,B", help="actions of an assistant that need no confirmation")
    parser.add_argument("--system", metavar="TEXT", help="instructions that stand before the conversation")
    add_sampling(parser, temperature=_TEMPERATURE)
    add_common(parser)


def run(args: argparse.Namespace) -> int:
    """Talk until the end of input."""
    sampling = sampling_of(args, temperature=_TEMPERATURE)
    if args.run.lower().endswith((".yaml", ".yml")):
        return _assistant(args, sampling)
    if args.allow:
        raise UsageError("only an assistant has actions.", remedy="Leave --allow out.", code="usage", param="allow")
    model = open_writer(args.run)
    if model.task != "chat" and args.system is not None:
        raise UsageError(
            "this model continues text and takes no instructions.",
            remedy="Leave --system out.",
            code="not_a_chat_model",
            param="system",
        )
    talk = Talk(model, model.task, sampling, args.system)
    if args.json or not sys.stdin.isatty():
        _lines(talk, as_json=args.json)
    else:
        _terminal(talk, output.stdout_console(), quiet=args.quiet)
    return 0


def _assistant(args: argparse.Namespace, sampling: Sampling) -> int:
    """Talk to an assistant: calls are shown, and those that need it are asked about; through a pipe nobody can be."""
    from luthier.deciding.assistants import open_assistant

    asks = sys.stdin.isatty() and not args.json
    allowed = [name.strip() for name in (args.allow or "").split(",") if name.strip()]
    assistant = open_assistant(args.run, confirm=_agreed if asks else None, allowed=allowed, told=_told)
    for note in assistant.notes:
        output.note(f"knowledge passed over: {note}")
    talk = Talk(assistant, "chat", sampling, args.system)
    if asks:
        _terminal(talk, output.stdout_console(), quiet=args.quiet)
    else:
        _lines(talk, as_json=args.json)
    return 0


def _told(text: str) -> None:
    output.note(f"→ {output.printable(text)}")


def _agreed(name: str, arguments: Mapping[str, Any]) -> bool:
    """Ask a person; anything but yes is no. Letters that are not seen, or that turn others around, are spelled out."""
    text = json.dumps(dict(arguments), ensure_ascii=False)
    shown = "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)
    try:
        return input(f"Run {name}({shown})? [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        return False


class Talk:
    """A conversation that grows; with a model that only continues text, each turn stands alone."""

    def __init__(self, model: Generator, task: str, sampling: Sampling, system: str | None) -> None:
        self.model, self.sampling = model, sampling
        self.chats = task == "chat"
        self.turns: list[Message] = []
        self.start(system)

    def start(self, system: str | None) -> None:
        """Forget everything, and go by these instructions."""
        self.system = system
        self.turns = [Message("system", system)] if system else []

    def question(self, text: str) -> Prompt:
        """What the model is asked when the user says `text`."""
        return Conversation((*self.turns, Message("user", text))) if self.chats else text

    def remember(self, text: str, answer: str) -> None:
        """Keep a turn of the user and what was answered."""
        if self.chats:
            self.turns += [Message("user", text), Message("assistant", answer)]

    def command(self, line: str) -> str | None:
        """Obey a command; what to say about it, None where the line is none."""
        word, _, rest = line.strip().partition(" ")
        if word == "/reset":
            self.start(self.system)
            return "The conversation begins anew."
        if word == "/system":
            if not self.chats:
                return "This model continues text and takes no instructions."
            self.start(rest.strip() or None)
            return "The conversation begins anew, " + ("with these instructions." if self.system else "without any.")
        if word[:1] == "/" and word[1:].isalpha():
            return f"There is no command {word}: {_COMMANDS}."
        return None


def _lines(talk: Talk, *, as_json: bool) -> None:
    """One turn per line of stdin."""
    for number, line in stdin_lines():
        if line.strip() == "/quit":
            return
        said = talk.command(line)
        if said is not None:
            output.note(said)
            continue
        try:
            answer = talk.model.generate([talk.question(line)], talk.sampling)[0]
        except (UsageError, DataError) as error:
            error.where = error.where or f"stdin:{number}"
            raise
        talk.remember(line, answer.text)
        if as_json:
            output.print_json(
                {
                    "input": line,
                    "output": answer.text,
                    "finish_reason": answer.finish_reason,
                    "prompt_tokens": answer.prompt_tokens,
                    "completion_tokens": answer.completion_tokens,
                }
            )
        else:
            print(output.printable(answer.text), flush=True)


def _terminal(talk: Talk, console: Console, *, quiet: bool) -> None:
    """Ask, and show the answer as it comes."""
    if not quiet:
        console.print(f"{_COMMANDS}; Ctrl-C stops an answer.", style="dim", soft_wrap=True)
        if not talk.chats:
            console.print("This model was not made to talk: it goes on with what you write.", style="dim")
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        while (line := _asked(console)) is not None and line.strip() != "/quit":
            _turn(talk, line, console)
    finally:
        signal.signal(signal.SIGTERM, before)


def _turn(talk: Talk, line: str, console: Console) -> None:
    said = talk.command(line)
    if said is not None or not line.strip():
        console.print(said or "", style="dim", soft_wrap=True)
        return
    try:
        _show(talk, line, console)
    except (UsageError, DataError, EndpointError) as error:
        console.print(output.clean(str(error)), style="red", soft_wrap=True)


def _asked(console: Console) -> str | None:
    """The next line, None at the end of input."""
    from rich.text import Text

    while True:
        try:
            return console.input(Text("you: ", style="bold"))
        except EOFError:
            console.print()
            return None
        except KeyboardInterrupt:
            console.print("\n/quit or Ctrl-D ends.", style="dim")


def _show(talk: Talk, line: str, console: Console) -> None:
    """Stream one answer; what Ctrl-C left of it stays in the conversation."""
    shown: list[str] = []
    pieces: Iterator[Any] = talk.model.stream_pieces([talk.question(line)], talk.sampling)
    try:
        for piece in pieces:
            shown.append(piece.text)
            console.out(output.printable(piece.text), end="", highlight=False)
            if piece.finish_reason == "length":
                console.print(" [cut at --max-tokens]", style="dim", end="")
    except KeyboardInterrupt:
        console.print(" [stopped]", style="dim", end="")
    console.print()
    talk.remember(line, "".join(shown))


def _terminate(signum: int, frame: object) -> None:
    """SIGTERM ends the program, where Ctrl-C only stops an answer."""
    raise Interrupted("stopped on request.")

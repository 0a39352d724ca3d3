"""Where the answers stand in what a template writes, found from the template itself.

Nothing here knows a family of models: the same conversation is rendered up to each answer, once as the
model would be asked and once with the answer, and the texts are compared.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from luthier.core.conversation import Conversation
from luthier.core.errors import DataError
from luthier.core.text import ChatTokenizer
from luthier.data.templates.chat_template import ChatTemplate, plain_turn

_QUESTIONS = ("probe question one", "probe question two")
PROBE = "probe answer"


@dataclass(frozen=True, slots=True)
class Border:
    """Characters of one answer: the model is asked with ``text[:start]`` and is to write up to `end`."""

    turn: int
    start: int
    end: int
    weight: float


@dataclass(frozen=True, slots=True)
class Draft:
    """A text to be tokenised, and its answers."""

    text: str
    borders: tuple[Border, ...]


@dataclass(frozen=True, slots=True)
class Ending:
    """How a template ends an answer.

    `end` is what it writes after every answer (ChatML: ``<|im_end|>``; empty where it writes nothing but
    blanks); `tail` everything that it writes after the last answer of a conversation.
    """

    end: str
    tail: str


def find_ending(template: ChatTemplate, tokenizer: ChatTokenizer) -> Ending:
    """Compare what follows an answer in the middle with what follows the last one, token by token.

    Phi's templates, for example, write ``<|end|>`` after each answer and ``<|endoftext|>`` at the end.
    """
    first = [plain_turn("user", _QUESTIONS[0]), plain_turn("assistant", PROBE)]
    second = [plain_turn("user", _QUESTIONS[1]), plain_turn("assistant", PROBE)]
    try:
        one, two = template.render(first), template.render(first + second)
    except DataError:  # a template for another kind of conversation: its answers end where they end
        return Ending("", "")
    if PROBE not in one or two.count(PROBE) != 2 or _QUESTIONS[1] not in two:
        return Ending("", "")
    tail = one[one.index(PROBE) + len(PROBE) :]
    after = two[two.index(PROBE) + len(PROBE) : two.index(_QUESTIONS[1])]
    ids, offsets = tokenizer.pieces(tail)
    others, _ = tokenizer.pieces(after)
    same = 0
    while same < min(len(ids), len(others)) and ids[same] == others[same]:
        same += 1
    return Ending(tail[: offsets[same - 1][1]].rstrip() if same else "", tail)


class TurnFinder:
    """Drafts of a conversation: one with all answers, or one for each."""

    def __init__(self, template: ChatTemplate, ending: Ending) -> None:
        self._template = template
        self._ending = ending

    def drafts(self, conversation: Conversation, turns: Sequence[int], where: str) -> list[Draft]:
        """One draft where the whole text begins, for each answer, with exactly what the model would be asked;
        else (Qwen 3 leaves earlier thoughts out) one per answer, each as it would be served."""
        messages = self._template.messages(conversation)
        tools = conversation.tools
        whole, marks = self._template.render_marked(messages, tools, where=where)
        answers = [i for i, message in enumerate(conversation.messages) if message.role == "assistant"]
        marked = dict(zip(answers, marks, strict=True)) if len(marks) == len(answers) else {}
        borders = []
        for turn in turns:
            prompt = self._prompt(messages, tools, turn, where)
            if turn in marked:
                start, end = self._inside_mark(whole, marked[turn], len(prompt))
            else:
                known = whole if turn == len(messages) - 1 else None
                answered = known or self._template.render(messages[: turn + 1], tools, where=where)
                start, end = len(prompt), self._end(answered)
                if not whole.startswith(answered[:end]):
                    return self.per_turn(conversation, turns, where)
            if not whole.startswith(prompt) or end <= start:
                return self.per_turn(conversation, turns, where)
            borders.append(self._border(conversation, turn, whole, start, end, where))
        return [Draft(whole, tuple(borders))]

    def per_turn(self, conversation: Conversation, turns: Sequence[int], where: str) -> list[Draft]:
        """What the model would be asked for each answer, and the answer as the template writes the last one."""
        messages = self._template.messages(conversation)
        drafts = []
        for turn in turns:
            prompt = self._prompt(messages, conversation.tools, turn, where)
            text, marks = self._template.render_marked(messages[: turn + 1], conversation.tools, where=where)
            if text.startswith(prompt):
                start, end = len(prompt), self._end(text)
                if marks:
                    start, end = self._inside_mark(text, marks[-1], start)
            else:
                text = self._joined(messages[: turn + 1], conversation.tools, prompt, text, where)
                start, end = len(prompt), self._end(text)
            border = self._border(conversation, turn, text, start, end, where)
            drafts.append(Draft(text, (border,)))
        return drafts

    def _prompt(self, messages: list[dict[str, Any]], tools: Sequence[dict[str, Any]], turn: int, where: str) -> str:
        return self._template.render(messages[:turn], tools, add_generation_prompt=True, where=where)

    def _end(self, text: str) -> int:
        """Where the last answer of `text` ends, its end of turn included and blanks after it not."""
        if text.endswith(self._ending.tail):
            return len(text) - len(self._ending.tail) + len(self._ending.end)
        return len(text.rstrip())

    def _inside_mark(self, text: str, mark: tuple[int, int], prompt_length: int) -> tuple[int, int]:
        start, end = mark
        ended = text[start:end].rstrip()
        if self._ending.end and ended.endswith(self._ending.end):
            end = start + len(ended)
        return max(start, prompt_length), end

    def _joined(
        self, messages: list[dict[str, Any]], tools: Sequence[dict[str, Any]], prompt: str, text: str, where: str
    ) -> str:
        """The last answer of `text` behind a prompt that the template does not write again before it.

        Mistral 0.3 writes the system turn into the last user turn only while no answer follows it.
        """
        visible = messages[-1]["content"].rsplit("</think>", maxsplit=1)[-1].strip()  # earlier thoughts are left out
        if visible and visible in text:
            start = text.rindex(visible)
        else:  # another answer differs from it where both begin, up to the same part of a mark (<think>, <tool_call>)
            other = self._template.render([*messages[:-1], plain_turn("assistant", PROBE)], tools, where=where)
            pairs = enumerate(zip(text, other, strict=False))
            start = next((place for place, (one, two) in pairs if one != two), 0)
            while start and not (text[start - 1].isspace() or text[start - 1] in ">]"):
                start -= 1
        if not start or not text[start:].rstrip():
            raise DataError(
                "the chat template does not write this answer behind its own generation prompt.",
                where=where,
                remedy="Give data.template: its text with an answer must begin with the text that asks for it.",
                code="template_without_prefix",
                param="data.template",
            )
        blanks = text[len(text[:start].rstrip()) : start]
        return prompt + blanks.removeprefix(prompt[len(prompt.rstrip()) :]) + text[start:]

    def _border(self, conversation: Conversation, turn: int, text: str, start: int, end: int, where: str) -> Border:
        message = conversation.messages[turn]
        for call in message.tool_calls:
            name = str(call.get("function", {}).get("name", ""))
            if name not in text[start:end] and json.dumps(name)[1:-1] not in text[start:end]:
                raise DataError(
                    f"the chat template leaves out this answer's call of {name!r}.",
                    where=where,
                    remedy="Choose a base model whose template writes tool calls, or give data.template.",
                    code="template_without_tools",
                    param="data.template",
                )
        return Border(turn, start, max(start, end), message.weight)

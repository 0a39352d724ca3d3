"""The text of an answer becomes OpenAI's tool calls, as the model's chat template writes them.

Three forms, each the inverse of what published templates write for an assistant's ``tool_calls``: Hermes (Qwen, our
own default template), Mistral and Llama 3.1. Tokenizers leave special tokens out of a text, so Mistral's and Llama's
marks may be missing.
"""

from __future__ import annotations

import json
import re
import secrets
import string
from collections.abc import Collection
from typing import Any, Literal, cast, get_args

CallForm = Literal["hermes", "mistral", "llama"]

_ALPHANUMERIC = string.ascii_letters + string.digits
_OPEN, _CLOSE = "<tool_call>", "</tool_call>"
_MISTRAL = "[TOOL_CALLS]"
_LLAMA = "<|python_tag|>"
_THOUGHT_END = "</think>"
MARKS = (_OPEN, _MISTRAL, _LLAMA)
"""What begins a call in the middle of an answer."""
_LLAMA_WISH = re.compile(r'"name": ?function name, ?"parameters"|"parameters": \' ?}}')
_DECODER = json.JSONDecoder(parse_constant=lambda word: _refuse(word))


def call_form(template: str) -> CallForm | None:
    """How a chat template (its Jinja source) writes tool calls; None where it writes none that we can read."""
    if _OPEN in template:
        return "hermes"
    if _MISTRAL in template:
        return "mistral"
    return "llama" if _LLAMA_WISH.search(template) else None


def parse_tool_calls(
    text: str, family_or_template: str, names: Collection[str] | None = None
) -> tuple[str | None, list[dict[str, Any]]]:
    """(what the answer says besides its calls, OpenAI's ``tool_calls``).

    Args:
        text: the whole answer.
        family_or_template: a `CallForm`, or the Jinja source of the chat template.
        names: of the functions that may be called; None takes any.

    An answer of which any call cannot be read, or calls what is not in `names`, is a text without calls. The text is
    None where there are only calls.
    """
    known = family_or_template in get_args(CallForm)
    form = cast(CallForm, family_or_template) if known else call_form(family_or_template)
    if form is None:
        return text, []
    try:
        said, found = {"hermes": _hermes, "mistral": _mistral, "llama": _llama}[form](text)
        calls = [_call(value, form) for value in found]
    except (ValueError, RecursionError):
        return text, []
    if not calls or (names is not None and any(call["function"]["name"] not in names for call in calls)):
        return text, []
    return said.strip() or None, calls


def new_call(name: str, arguments: str, form: CallForm = "hermes", given: Any = None) -> dict[str, Any]:
    """One of OpenAI's tool calls. Mistral's templates take ids of nine letters or digits only, back and forth."""
    if form == "mistral":
        usable = isinstance(given, str) and len(given) == 9 and given.isascii() and given.isalnum()
        call_id = given if usable else "".join(secrets.choice(_ALPHANUMERIC) for _ in range(9))
    else:
        call_id = "call_" + "".join(secrets.choice(_ALPHANUMERIC) for _ in range(24))
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


class CallHold:
    """Lets the text of an answer through while it comes, up to where a call may begin, whatever the form.

    Blanks at the end wait for what follows them, since an answer's text before a call has none.
    """

    def __init__(self) -> None:
        self._held = ""
        self._begun = self._stopped = False

    def push(self, piece: str) -> str:
        """What can be shown now."""
        self._held += piece
        if self._stopped:
            return ""
        if not self._begun:
            start = self._held.lstrip()
            if not start:
                return ""
            self._begun = True
            if start[0] in "{[":  # Llama's object, Mistral's list
                self._stopped = True
                return ""
        places = [place for mark in MARKS if (place := self._held.find(mark)) >= 0]
        self._stopped = bool(places)
        end = min(places) if places else len(self._held) - max(_overlap(self._held, mark) for mark in MARKS)
        end = len(self._held[:end].rstrip())
        shown, self._held = self._held[:end], self._held[end:]
        return shown


def _overlap(text: str, mark: str) -> int:
    """How many characters at the end of `text` begin `mark`."""
    return next((size for size in range(len(mark) - 1, 0, -1) if text.endswith(mark[:size])), 0)


def _hermes(text: str) -> tuple[str, list[Any]]:
    """``<tool_call>`` JSON ``</tool_call>``, any number; the last one may lack its end. Thoughts call nothing."""
    place = text.rfind(_THOUGHT_END) + len(_THOUGHT_END) if _THOUGHT_END in text else 0
    said, found = text[:place], []
    while (start := text.find(_OPEN, place)) >= 0:
        said += text[place:start]
        value, place = _json(text, start + len(_OPEN))
        found.append(value)
        rest = text[place:].lstrip()
        if rest.startswith(_CLOSE):
            place = len(text) - len(rest) + len(_CLOSE)
        elif rest:
            raise ValueError("something follows the call inside its marks")
        else:
            place = len(text)
    return said + text[place:], found


def _mistral(text: str) -> tuple[str, list[Any]]:
    """``[TOOL_CALLS]`` and a list of calls, which ends the answer."""
    said, mark, rest = text.partition(_MISTRAL)
    if not mark:
        said, rest = "", text
    value, place = _json(rest, 0)
    if rest[place:].strip() or not isinstance(value, list):
        raise ValueError("no list of calls")
    return said, value


def _llama(text: str) -> tuple[str, list[Any]]:
    """Nothing but objects with ``parameters``, several of them with ``;`` between."""
    text = text.strip().removeprefix(_LLAMA)
    found: list[Any] = []
    place = 0
    while True:
        value, place = _json(text, place)
        found.append(value)
        rest = text[place:].strip()
        if not rest:
            return "", found
        if not rest.startswith(";"):
            raise ValueError("something follows the call")
        place = text.index(";", place) + 1


def _json(text: str, place: int) -> tuple[Any, int]:
    """The JSON value that begins at `place` (blanks before it left out), and where it ends."""
    while place < len(text) and text[place].isspace():
        place += 1
    return _DECODER.raw_decode(text, place)


def _call(value: Any, form: CallForm) -> dict[str, Any]:
    if not isinstance(value, dict) or not isinstance(value.get("name"), str) or not value["name"]:
        raise ValueError("no call")
    arguments = value.get("arguments", value.get("parameters"))
    if isinstance(arguments, str):  # some models write the arguments as OpenAI does, as a JSON text
        arguments = _DECODER.decode(arguments)
    if not isinstance(arguments, dict):
        raise ValueError("no arguments")
    written = json.dumps(arguments, ensure_ascii=False, allow_nan=False)
    if not written.isprintable() and any("\ud800" <= character <= "\udfff" for character in written):
        written = json.dumps(arguments)  # half of a surrogate pair cannot be sent as UTF-8
    return new_call(value["name"], written, form, value.get("id"))


def _refuse(word: str) -> Any:
    raise ValueError(f"{word} is no JSON")

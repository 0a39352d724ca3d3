"""Conversations in which the assistant calls a tool, in OpenAI's form."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from scripts.base_model import rows
from scripts.base_model.glosses import wordnet_entries

COUNT = 160
"""Conversations of each kind."""
Message = dict[str, Any]


def _tool(name: str, description: str, *parameters: str) -> dict[str, Any]:
    properties = {parameter: {"type": "string"} for parameter in parameters}
    schema = {"type": "object", "properties": properties, "required": list(parameters[:1])}
    return {"type": "function", "function": {"name": name, "description": description, "parameters": schema}}


CALCULATE = _tool("calculate", "Work out an arithmetic expression.", "expression")
LOOK_UP = _tool("look_up_word", "Look a word up in the dictionary.", "word")
FIND = _tool("find_restaurant", "Find a restaurant.", "food", "area")
WEATHER = _tool("get_weather", "Get the weather of a place.", "place")


def call(name: str, arguments: dict[str, str], number: int) -> Message:
    """An assistant's turn that calls one tool."""
    function = {"name": name, "arguments": json.dumps(arguments)}
    return {
        "role": "assistant",
        "content": "",
        "tool_calls": [{"id": f"call_{number}", "type": "function", "function": function}],
    }


def answer(content: str, number: int) -> Message:
    """The tool's answer to call `number`."""
    return {"role": "tool", "tool_call_id": f"call_{number}", "content": content}


def tool_conversations(
    work: Path, turns: Callable[..., list[Message]], random_: random.Random
) -> Iterator[tuple[str, list[Message], list[dict[str, Any]]]]:
    """(key, messages, tools): calls that are answered, and offers of tools that are not needed."""

    def some(*needed: dict[str, Any]) -> list[dict[str, Any]]:
        others = [tool for tool in (CALCULATE, LOOK_UP, FIND, WEATHER) if tool not in needed]
        found = [*needed, *random_.sample(others, random_.choice((0, 0, 1)))]
        random_.shuffle(found)
        return found

    number = 0
    steps = [
        (question, left, right)
        for question, _, raw in rows.school_mathematics()
        for left, right in re.findall(r"<<([\d.]+[-+*/][\d.]+)=([\d.]+)>>", raw)[:1]
    ]
    for question, left, right in random_.sample(steps, COUNT * 2):
        number += 1
        shown = re.sub(r"([-+*/])", r" \1 ", left)
        ask = random_.choice((f"What is {shown}?", f"Please work out {shown}.", f"Calculate {shown}."))
        done = [call("calculate", {"expression": left}, number), answer(right, number)]
        yield question, [*turns(ask), *done, {"role": "assistant", "content": f"{shown} = {right}"}], some(CALCULATE)
    folder = work / "debian" / "wordnet-base" / "usr/share/wordnet"
    words = [entry for entry in wordnet_entries(folder) if entry[3] and len(entry[2]) < 90]
    for word, kind, definition, _ in random_.sample(words, COUNT):
        number += 1
        ask = random_.choice((f"Look up the word {word}.", f"What does the dictionary say about {word}?"))
        done = [call("look_up_word", {"word": word}, number), answer(f"{word} ({kind}): {definition}", number)]
        yield (
            word,
            [*turns(ask), *done, {"role": "assistant", "content": f"The dictionary says: {definition}."}],
            some(LOOK_UP),
        )
    places = [
        (facts, text) for facts, text in rows.restaurants() if "food" in facts and "area" in facts and len(text) < 250
    ]
    for facts, text in random_.sample(places, COUNT):
        number += 1
        key = "; ".join(f"{name}: {value}" for name, value in facts.items())
        wanted = {"food": facts["food"], "area": facts["area"]}
        ask = random_.choice(
            ("Find me a place with {food} food. Area: {area}.", "I am looking for {food} food. Area: {area}.")
        )
        found = json.dumps({name.replace(" ", "_"): value for name, value in facts.items()})
        done = [call("find_restaurant", wanted, number), answer(found, number)]
        yield key, [*turns(ask.format(**wanted)), *done, {"role": "assistant", "content": text}], some(FIND)
    plain = (
        ("Hello", "Hello! How can I help you?"),
        ("Thank you", "You are welcome!"),
        ("Who are you?", "I am Luthier Nano, a small language model."),
        ("What can you do?", "I can answer short questions and use the tools that you give me."),
    )
    for _ in range(COUNT // 4):
        question, reply = random_.choice(plain)
        yield f"talk:{question}", turns(question, reply), some() or [WEATHER]

"""Conversations for luthier-nano's second stage: WORK/chat/train.jsonl and validation.jsonl, OpenAI's format.

Made of train rows by fixed reformulations, and of small_talk.txt, which was written for it. Rows are drawn to
the validation side by their key, so that no subject, word or restaurant is on both sides.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from scripts.base_model import rows
from scripts.base_model.chat_help import continued, help_questions
from scripts.base_model.clean import is_plain, sentences, tidy
from scripts.base_model.glosses import DELICATE, as_sentence, meaning, used_words, wordnet_entries
from scripts.base_model.small_tools import tool_conversations

Message = dict[str, Any]
GENERAL = (
    "You are a helpful assistant.",
    "You are Luthier Nano, a small language model. Answer briefly.",
    "Answer in one or two short sentences.",
    "You are a friendly assistant. Be brief and honest.",
    "Answer the question. If you do not know, say so.",
)
LIMITS = {"medical": 1800, "restaurant": 1600, "school": 500, "bank": 800, "word": 1700, "python": 150}
TALK_TIMES = 3
"""Times that small talk is read: it is scarce, and it is what people try first."""


class Item(NamedTuple):
    """One exchange: the key decides its side, `kind` its system prompts."""

    key: str
    kind: str
    messages: list[Message]
    tools: list[dict[str, Any]] = []  # noqa: RUF012 - never written to


def turns(*texts: str) -> list[Message]:
    """user, assistant, user, assistant, ..."""
    return [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(texts)]


def build_chat(work: Path) -> dict[str, int]:
    """Write both files; return conversations by kind and side."""
    random_ = random.Random(0)
    pools: dict[bool, list[Item]] = {False: [], True: []}
    by_kind: dict[str, list[Item]] = {}
    for item in _exchanges(work, random_):
        by_kind.setdefault(item.kind, []).append(item)
    for kind, items in by_kind.items():
        random_.shuffle(items)
        for item in items[: LIMITS.get(kind, len(items))]:
            pools[rows.is_validation(item.key)].append(item)
    counts: dict[str, int] = {}
    folder = work / "chat"
    folder.mkdir(parents=True, exist_ok=True)
    asked: set[str] = set()
    for held, pool in pools.items():
        if not held:
            pool = pool + [item for item in pool if item.kind == "talk"] * (TALK_TIMES - 1)
        pool = pool + _joined(pool, len(pool) // 9, random_)
        random_.shuffle(pool)
        name = "validation" if held else "train"
        seen: set[str] = set()
        with (folder / f"{name}.jsonl").open("w", encoding="utf-8") as stream:
            for item in pool:
                messages = item.messages
                question = re.sub(r"call_\d+|[^a-z0-9]+", " ", json.dumps(messages[:-1]).lower())
                if held and question in asked:
                    continue  # greetings are the same everywhere
                asked.add(question)
                if messages[0]["role"] != "system" and random_.random() < 0.35:
                    messages = [{"role": "system", "content": _system(item.kind, random_)}, *messages]
                row = {"messages": messages, **({"tools": item.tools} if item.tools else {})}
                line = json.dumps(row, ensure_ascii=False)
                if line not in seen or item.kind == "talk":
                    seen.add(line)
                    stream.write(line + "\n")
                    counts[f"{name} {item.kind}"] = counts.get(f"{name} {item.kind}", 0) + 1
        counts[name] = sum(count for key, count in counts.items() if key.startswith(f"{name} "))
    return counts


def _system(kind: str, random_: random.Random) -> str:
    own = {
        "medical": "You answer questions about health in one or two sentences.",
        "restaurant": "You write about restaurants. Use only the facts that you are given.",
        "bank": "You sort the messages of a bank's customers.",
        "word": "You explain words in plain English.",
        "python": "You explain Python's standard library.",
        "school": "You solve short arithmetic problems step by step.",
        "help": "You help people with their computers.",
        "text": "You go on with the text that you are given.",
    }
    return own[kind] if kind in own and random_.random() < 0.6 else random_.choice(GENERAL)


def _joined(pool: list[Item], count: int, random_: random.Random) -> list[Item]:
    """Longer conversations: a greeting, two or three exchanges, sometimes thanks."""
    single = [item for item in pool if not item.tools and len(item.messages) == 2 and item.kind != "talk"]
    openers = [("Hello", "Hello! How can I help you?"), ("Hi", "Hi! What would you like to know?")]
    openers += [
        ("Can you help me?", "I will try. What do you need?"),
        ("Good morning", "Good morning! What can I do for you?"),
    ]
    closers = [
        ("Thank you", "You are welcome!"),
        ("Thanks, that helps", "I am glad to hear that."),
        ("Bye", "Goodbye!"),
    ]
    found = []
    for _ in range(count):
        parts = random_.sample(single, min(len(single), random_.choice((2, 2, 3))))
        messages = [message for part in parts for message in part.messages]
        if random_.random() < 0.5:
            messages = turns(*random_.choice(openers)) + messages
        if random_.random() < 0.4:
            messages = messages + turns(*random_.choice(closers))
        if sum(len(message["content"]) for message in messages) < 1300:
            found.append(Item("", "several turns", messages))
    return found


def _exchanges(work: Path, random_: random.Random) -> Iterator[Item]:
    tests = rows.test_texts()
    yield from _medical(random_)
    yield from _restaurants(tests, random_)
    for question, answer, _ in rows.school_mathematics():
        if len(question) + len(answer) < 420 and question.lower() not in tests:
            yield Item(question, "school", turns(question, answer))
    for message, intent in rows.banking():
        if message.lower() in tests or len(message) > 200:
            continue
        if random_.random() < 0.7:
            ask = random_.choice(
                ("What is this message about?", "Which topic does this customer write about?", "Sort this message.")
            )
            yield Item(message, "bank", turns(f"{ask}\n{message}", f"This is about: {intent}."))
        else:
            answer = json.dumps({"intent": intent.replace(" ", "_")})
            yield Item(message, "bank", turns(f"Answer with JSON that has the key intent.\n{message}", answer))
    yield from _words(work, random_)
    for key, question, answer in help_questions(work, random_):
        yield Item(key, "help", turns(question, answer))
    for key, question, answer in continued(work, random_, 1700):
        yield Item(key, "text", turns(question, answer))
    yield from _python(work, random_)
    for line in (Path(__file__).parent / "small_talk.txt").read_text("utf-8").splitlines():
        question, _, answer = line.partition(" | ")
        if answer and not line.startswith("#"):
            for form in dict.fromkeys((question, question.lower().rstrip(".!"), question.rstrip("?.!"))):
                yield Item(f"talk:{question}", "talk", turns(form, answer))
    for key, messages, tools in tool_conversations(work, turns, random_):
        yield Item(key, "tools", messages, tools)


def _medical(random_: random.Random) -> Iterator[Item]:
    again = re.compile(r"^(?:What|How|Is|Are|Who|Can|Do|Does|Where)\b[^.?]{5,150}\? ")
    for item in rows.medical():
        if "Human Phenotype Ontology" in item.answer:
            continue  # it announces a table that is not there
        parts = sentences(again.sub("", item.answer))
        answer = parts[0]
        if len(answer) < 110 and len(parts) > 1:
            answer = f"{answer} {parts[1]}"
        if len(answer) > 320 or not is_plain(answer) or DELICATE.search(answer) or len(item.question) >= 130:
            continue
        focus = item.focus
        plain = {"information": (f"What is {focus}?", f"Tell me about {focus}.", f"Can you explain {focus}?")}
        asked = re.sub(r"\?+$", "?", item.question)
        question = random_.choice((asked, *plain.get(item.kind, ())))
        yield Item(item.focus, "medical", turns(question, answer))


def _restaurants(tests: frozenset[str], random_: random.Random) -> Iterator[Item]:
    for facts, sentence in rows.restaurants():
        key = "; ".join(f"{name}: {value}" for name, value in facts.items())
        if sentence.lower() in tests or not 40 < len(sentence) < 320 or not _tells(facts, sentence):
            continue
        as_json = json.dumps({name.replace(" ", "_"): value for name, value in facts.items()})
        draw = random_.random()
        if draw < 0.5:
            ask = random_.choice(
                (
                    "Write a sentence with these facts:",
                    "Describe this restaurant.",
                    "Turn these facts into text.",
                    "Write a short description.",
                )
            )
            yield Item(key, "restaurant", turns(f"{ask}\n{key}", sentence))
        elif draw < 0.65:
            yield Item(key, "restaurant", turns(f"Describe this restaurant.\n{as_json}", sentence))
        elif draw < 0.9:
            ask = random_.choice(
                ("Extract the facts as JSON.", "Give the facts of this text as JSON.", "Return JSON with the facts.")
            )
            yield Item(key, "restaurant", turns(f"{ask}\n{sentence}", as_json))
        else:
            yield Item(
                key,
                "restaurant",
                turns(
                    f"Write a sentence with these facts:\n{key}", sentence, "Now give me the facts as JSON.", as_json
                ),
            )


def _tells(facts: dict[str, str], sentence: str) -> bool:
    """Whether the sentence is a whole one and names what the facts name."""
    named = [facts[name].lower() for name in ("name", "near", "food", "type") if name in facts]
    whole = sentence[0].isupper() and sentence.endswith(".") and ".." not in sentence
    return whole and all(value in sentence.lower() for value in named)


def _words(work: Path, random_: random.Random) -> Iterator[Item]:
    folder = work / "debian" / "wordnet-base" / "usr/share/wordnet"
    entries, used = [entry for entry in wordnet_entries(folder) if entry[3]], used_words(folder)
    seen: set[str] = set()
    for word, kind, definition, example in entries:
        if word not in used or word in seen or len(definition) > 90:
            continue
        seen.add(word)
        article = "an" if word[0] in "aeiou" else "a"
        asks = [
            f"What does {word} mean?",
            f"What does the word {word} mean?",
            f'Define "{word}".',
            f"Explain the word {word}.",
        ]
        if kind == "noun":
            asks.append(f"What is {article} {word}?")
        title = word[0].upper() + word[1:]
        draw = random_.random()
        if draw < 0.75:
            yield Item(word, "word", turns(random_.choice(asks), meaning(word, kind, definition)))
        elif draw < 0.9:
            ask = random_.choice((f"Use the word {word} in a sentence.", f"Give me an example with {word}."))
            if word in example and len(example.split()) > 3:
                yield Item(word, "word", turns(ask, as_sentence(example)))
        else:
            said = f"{title} is {'an' if kind[0] == 'a' else 'a'} {kind}."
            yield Item(word, "word", turns(f"What part of speech is {word}?", said))


def _python(work: Path, random_: random.Random) -> Iterator[Item]:
    """Functions of Python's documentation and the first sentence about each."""
    from selectolax.lexbor import LexborHTMLParser

    for path in sorted((work / "debian" / "python3.11-doc").glob("usr/share/doc/python3.11/html/library/*.html")):
        tree = LexborHTMLParser(path.read_text("utf-8"))
        for node in tree.css("dl.function, dl.method"):
            name, text = node.css_first("dt.sig"), node.css_first("dd > p")
            identifier = (name.attributes.get("id") or "") if name else ""
            answer = re.split(r"(?<=[a-z)\]'])\.(?: |$)", tidy(text.text()))[0] if text else ""
            if identifier.count(".") <= 2 and re.match(r"[A-Z][a-z]+ ", answer) and 25 <= len(answer) <= 220:
                ask = random_.choice(
                    (
                        f"What does {identifier} do?",
                        f"What does {identifier}() do in Python?",
                        f"Explain {identifier} in Python.",
                    )
                )
                yield Item(f"python:{identifier}", "python", turns(ask, f"{answer}."))

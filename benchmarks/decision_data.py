"""Data sets of `benchmarks.decisions`: real ones cut to what a laptop does in minutes, and three of our own.

Each builder writes train.*, test-a.* and test-b.* into a folder (and knowledge/ where there is some): the decision sees
train and the first half of the test rows; the second half tells whether it was right.
"""

from __future__ import annotations

import csv
import gzip
import json
import random
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared" / "data"
EXAMPLES = ROOT / "examples"
Row = dict[str, Any]


def write(folder: Path, train: Sequence[Row], test: Sequence[Row], seed: int = 0) -> dict[str, str]:
    """Rows as JSON lines; the test rows in two random halves."""
    folder.mkdir(parents=True, exist_ok=True)
    order = list(test)
    random.Random(seed).shuffle(order)
    half = (len(order) + 1) // 2
    parts = {"train": train, "test-a": order[:half], "test-b": order[half:]}
    for name, rows in parts.items():
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")
    return {name: str(folder / f"{name}.jsonl") for name in parts}


def some(rows: Iterable[Row], count: int, seed: int = 0) -> list[Row]:
    """A random draw."""
    found = list(rows)
    random.Random(seed).shuffle(found)
    return found[:count]


def table(path: Path) -> list[Row]:
    """A CSV file."""
    with path.open(encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle))


def lines(path: Path) -> list[Row]:
    """A JSON lines file, perhaps compressed."""
    raw = path.read_bytes()
    text = (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode()
    return [json.loads(line) for line in text.splitlines()]


def banking(folder: Path) -> dict[str, str]:
    """1,500 of Banking77's training rows, 77 intents."""
    rows = [[{"text": row["text"], "label": row["category"]} for row in table(SHARED / "banking77" / name)]
            for name in ("train.csv", "test.csv")]  # fmt: skip
    return write(folder, some(rows[0], 1500), some(rows[1], 800))


def banking_few(folder: Path) -> dict[str, str]:
    """20 rows of ten intents whose names say what they are."""
    intents = (
        "lost_or_stolen_card", "exchange_rate", "passcode_forgotten", "card_arrival", "top_up_failed",
        "cash_withdrawal_charge", "age_limit", "verify_my_identity", "terminate_account", "Refund_not_showing_up",
    )  # fmt: skip
    train: list[Row] = []
    for intent in intents:
        own = [row for row in table(SHARED / "banking77" / "train.csv") if row["category"] == intent]
        train += some(({"text": row["text"], "label": row["category"]} for row in own), 2)
    test = [
        {"text": row["text"], "label": row["category"]}
        for row in table(SHARED / "banking77" / "test.csv")
        if row["category"] in intents
    ]
    return write(folder, train, test)


def example(name: str) -> Callable[[Path], dict[str, str]]:
    """An example of this repository with its own test rows."""

    def build(folder: Path) -> dict[str, str]:
        place = EXAMPLES / name
        ending = "csv" if (place / "train.csv").is_file() else "jsonl"
        read = table if ending == "csv" else lines
        return write(folder, read(place / f"train.{ending}"), read(place / f"test.{ending}"))

    return build


def similarity(folder: Path) -> dict[str, str]:
    """STS 2016: two sources to learn from, the third to be judged on."""

    def rows(name: str) -> list[Row]:
        text = (SHARED / "sts" / f"2016.{name}.tsv").read_text(encoding="utf-8")
        parts = [line.split("\t")[:3] for line in text.splitlines() if line.strip()]
        return [{"text": a, "text_pair": b, "score": float(score)} for score, a, b in parts]

    return write(folder, rows("postediting") + rows("question-question"), rows("answer-answer"))


def diseases(folder: Path) -> dict[str, str]:
    """Disease names: 250 sentences' worth of the training abstracts."""

    def rows(name: str, count: int) -> list[Row]:
        found: list[Row] = []
        for block in (SHARED / "ncbi_disease" / f"{name}.tsv").read_text(encoding="utf-8").split("\n\n"):
            tokens = [line.split("\t") for line in block.splitlines() if line.strip()]
            if not 5 <= len(tokens) <= 60:
                continue
            text, spans = "", []
            for token, tag in tokens:
                begin = len(text) + (1 if text else 0)
                text += (" " if text else "") + token
                if tag.startswith("B-"):
                    spans.append({"start": begin, "end": len(text), "label": "disease"})
                elif tag.startswith("I-") and spans:
                    spans[-1]["end"] = len(text)
            found.append({"text": text, "spans": spans})
        return some(found, count)

    return write(folder, rows("train", 600), rows("test", 300))


def restaurants(folder: Path) -> dict[str, str]:
    """E2E: restaurant facts to a sentence."""
    rows = [{"prompt": row["mr"], "completion": row["ref"]} for row in table(SHARED / "e2e_nlg" / "devset.csv")]
    test = [{"prompt": row["MR"], "completion": row["ref"]} for row in _tests()]
    return write(folder, some(rows, 400), some(test, 80))


def _tests() -> list[Row]:
    rows = table(SHARED / "e2e_nlg" / "testset_w_refs.csv")
    first = {row.get("MR") or row.get("mr"): row for row in rows}
    return [{"MR": key, "ref": row["ref"]} for key, row in first.items()]


def medicine(folder: Path) -> dict[str, str]:
    """MedQuAD: answers are looked up by another question about the same thing; the documents are the answers."""
    rows = [row for row in lines(SHARED / "medquad" / "medquad.jsonl.gz") if 40 <= len(row["answer"]) <= 350]
    picked = some(rows, 260)
    knowledge = folder / "knowledge"
    knowledge.mkdir(parents=True, exist_ok=True)
    for number, row in enumerate(picked):
        (knowledge / f"{number:03}.txt").write_text(f"{row['focus']}. {row['type']}. {row['answer']}", encoding="utf-8")
    chat = [{"messages": [{"role": "user", "content": row["question"]},
                          {"role": "assistant", "content": row["answer"]}]} for row in picked]  # fmt: skip
    return write(folder, chat[:180], chat[180:])


THINGS = (
    "Harbour lamp", "Oak stool", "Linen curtain", "Copper kettle", "Wool rug", "Glass vase", "Pine shelf", "Clay bowl",
    "Steel rack", "Paper blind", "Cork mat", "Brass hook", "Walnut tray", "Felt basket", "Marble coaster", "Ash bench",
    "Rattan chair", "Birch ladder", "Enamel mug", "Bamboo screen",
)  # fmt: skip
ASPECTS = {
    "price": ("How much is the {thing}?", "What does the {thing} cost?", "Price of the {thing}?",
              "Could you tell me what I pay for the {thing}?"),
    "stock": ("How many of the {thing} are left?", "Is the {thing} in stock?", "Stock of the {thing}?",
              "Do you still have the {thing}?"),
    "delivery": ("When does the {thing} arrive?", "How long does the {thing} take?", "Delivery of the {thing}?",
                 "How soon would I get the {thing}?"),
}  # fmt: skip


def _fact(thing: str, aspect: str, drawn: random.Random) -> str:
    if aspect == "price":
        return f"{thing}: {drawn.randint(5, 240)} euros."
    if aspect == "stock":
        return f"{thing}: {drawn.randint(2, 90)} pieces left."
    return f"{thing}: arrives within {drawn.randint(2, 30)} days."


def changed_facts(folder: Path) -> dict[str, str]:
    """A shop's facts that changed after the rows were written: the catalogue in knowledge/ is of today."""
    old, new = random.Random(1), random.Random(2)
    train, test, today = [], [], []
    for thing in THINGS:
        for aspect, forms in ASPECTS.items():
            before, now = _fact(thing, aspect, old), _fact(thing, aspect, new)
            today.append(now)
            train += [(form.format(thing=thing), before) for form in forms[:3]]
            test += [(form.format(thing=thing), now) for form in (forms[3], f"Hello! {forms[0]}", f"{forms[1]} Thanks.")]
    knowledge = folder / "knowledge"
    knowledge.mkdir(parents=True, exist_ok=True)
    (knowledge / "catalogue.md").write_text("# Catalogue\n\n" + "\n\n".join(today) + "\n", encoding="utf-8")
    return write(folder, [_turns(*row) for row in train], [_turns(*row) for row in test])


def _turns(question: str, answer: str) -> Row:
    return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}


OBJECTS = ("parcel", "letter", "crate", "bicycle", "piano", "mirror", "sofa", "clock", "barrel", "lantern")
EVENTS = {"late": "has met a headwind", "broken": "has lost its sparkle", "lost": "is hiding from us",
          "wrong": "has swapped its coat", "heavy": "has eaten too well", "wet": "has taken a bath"}  # fmt: skip
MOODS = {"angry": "Deep breath, captain", "sad": "Chin up, sailor", "calm": "Steady as she goes, friend",
         "urgent": "All hands on deck, captain"}  # fmt: skip
ASKED = ("My {thing} is {event} and I am {mood}.", "I am {mood}: the {thing} is {event}.",
         "The {thing} you sent is {event}. I feel {mood}.", "{event}! That is my {thing}, and I am {mood}.")  # fmt: skip


def house_style(folder: Path) -> dict[str, str]:
    """Replies in a house's own voice, which says a different thing for each object, event and mood: 240 combinations, of
    which the held-out ones never stand together in training. No stored reply fits; the manner has to be learned."""
    drawn = random.Random(5)
    combinations = [(thing, event, mood) for thing in OBJECTS for event in EVENTS for mood in MOODS]
    drawn.shuffle(combinations)

    def row(combination: tuple[str, str, str]) -> Row:
        thing, event, mood = combination
        asked = drawn.choice(ASKED).format(thing=thing, event=event, mood=mood)
        return _turns(asked, f"{MOODS[mood]}! The {thing} {EVENTS[event]}. We sail at dawn to make it right.")

    train = [row(one) for one in combinations[:160] for _ in range(2)]
    return write(folder, train, [row(one) for one in combinations[160:]])

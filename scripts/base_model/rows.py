"""Rows of the shared data sets that the base may learn from: train splits, and nothing that a test set holds.

MedQuAD has no splits: every fifth subject is kept for tests (`reserved`). The trainset of E2E is not in the
shared folder: its development set is read instead. SemEval's STS 2016 and MedQuAD's reserved subjects, as
well as CrowS-Pairs, HumanEval and HH-RLHF, are left out; so is NCBI-disease, whose abstracts are not plain English.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from scripts.base_model.clean import tidy

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
LICENCES = {
    "banking77": "CC-BY-4.0",
    "e2e_nlg": "CC-BY-SA-4.0",
    "gsm8k": "MIT",
    "medquad": "CC-BY-4.0",
}


class Question(NamedTuple):
    """A MedQuAD row."""

    focus: str
    kind: str
    question: str
    answer: str


def share(key: str) -> float:
    """A number from 0 to 1 that depends on nothing but the key."""
    return int(hashlib.sha256(key.encode()).hexdigest()[:8], 16) / 2**32


def is_validation(key: str) -> bool:
    """Whether a row is in the 2 % that only the chat stage's validation file holds."""
    return share(f"validation:{key}") < 0.02


def reserved(focus: str) -> bool:
    """Whether a MedQuAD subject is kept for tests and benchmarks (a fifth of all)."""
    return share(f"medquad:{focus.lower().strip()}") >= 0.8


def banking() -> Iterator[tuple[str, str]]:
    """(message, intent) of BANKING77's train split."""
    with (DATA / "banking77" / "train.csv").open(encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream):
            yield tidy(row["text"]), row["category"].replace("_", " ").replace("?", "")


def school_mathematics() -> Iterator[tuple[str, str, str]]:
    """(question, worked answer, raw answer with its ``<<48/2=24>>`` steps) of GSM8K's train split."""
    for line in (DATA / "gsm8k" / "train.jsonl").read_text("utf-8").splitlines():
        row = json.loads(line)
        worked, _, result = re.sub(r"<<[^>]*>>", "", row["answer"]).partition("#### ")
        steps = " ".join(step.strip().rstrip(".") + "." for step in worked.strip().split("\n") if step.strip())
        yield tidy(row["question"]), f"{tidy(steps)} The answer is {result.strip()}.", row["answer"]


def restaurants() -> Iterator[tuple[dict[str, str], str]]:
    """(facts, sentence) of E2E's development set, with the facts' names in plain words."""
    with (DATA / "e2e_nlg" / "devset.csv").open(encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream):
            pairs = re.findall(r"(\w+)\[([^\]]*)\]", row["mr"])
            names = {"eatType": "type", "priceRange": "price range", "customer rating": "customer rating"}
            names |= {"familyFriendly": "family friendly", "rating": "customer rating"}
            yield {names.get(name, name): tidy(value) for name, value in pairs}, tidy(row["ref"])


def medical() -> Iterator[Question]:
    """MedQuAD without the reserved subjects, questions in plain spelling."""
    with gzip.open(DATA / "medquad" / "medquad.jsonl.gz", "rt", encoding="utf-8") as stream:
        for line in stream:
            row = json.loads(line)
            if row["answer"] and row["focus"] and not reserved(row["focus"]):
                question = tidy(row["question"]).replace("What is (are)", "What is").replace(" ?", "?")
                yield Question(tidy(row["focus"]), row["type"], question, tidy(row["answer"]))


def test_texts() -> frozenset[str]:
    """Every question or text of the test splits, to drop rows that equal one."""
    found: set[str] = set()
    with (DATA / "banking77" / "test.csv").open(encoding="utf-8", newline="") as stream:
        found.update(tidy(row["text"]).lower() for row in csv.DictReader(stream))
    with (DATA / "e2e_nlg" / "testset_w_refs.csv").open(encoding="utf-8", newline="") as stream:
        found.update(tidy(row["ref"]).lower() for row in csv.DictReader(stream))
    for line in (DATA / "gsm8k" / "test.jsonl").read_text("utf-8").splitlines():
        found.add(tidy(json.loads(line)["question"]).lower())
    return frozenset(found)

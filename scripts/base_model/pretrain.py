"""Mixes the corpus into WORK/pretrain/train.jsonl and validation.jsonl: {"text"}, shuffled with seed 0.

A text is on one side only, whatever its repetitions: the sides are drawn before anything is repeated.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from scripts.base_model.rows import share
from scripts.base_model.tokenizer import SPECIAL

BUDGET = 14_000_000
"""Tokens of one pass, the end of each text included."""
TEXTS = 16_000
"""Texts of the mixture that are trained on: two fifths of it, what a busy core reads in one to two hours."""
VALIDATION = 0.005
SHARES = {"prose": 0.45, "dictionary": 0.15, "code": 0.12, "rows": 0.28}
MOST = {"gsm8k": 700_000, "medquad": 2_300_000}
"""Tokens of a source that would else crowd out the others of its part."""
REPEATED = {"wesnoth": 3, "crawl-common": 2, "e2e_nlg": 3, "banking77": 1, "python standard library": 2}
"""Times that a text may be read in one pass: stories and dialogue are scarce."""


def build_pretrain(work: Path, texts: int = TEXTS) -> dict[str, Any]:
    """Write both files, at most `texts` rows to train on; return tokens and texts of the whole mixture by source."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(work / "blank" / "tokenizer.json"))
    chosen: list[str] = []
    held: list[str] = []
    report: dict[str, Any] = {"tokens": {}, "texts": {}, "parts": {}}
    for part, fraction in SHARES.items():
        left = round(BUDGET * fraction)
        rows = [json.loads(line) for line in (work / "corpus" / f"{part}.jsonl").read_text("utf-8").splitlines()]
        counts = [len(item.ids) + 1 for item in tokenizer.encode_batch([row["text"] for row in rows])]
        pool = []
        for row, count in zip(rows, counts, strict=True):
            if any(mark in row["text"] for mark in SPECIAL):
                continue
            if share(f"pretrain:{row['text']}") < VALIDATION:
                held.append(row["text"])
            else:
                pool.append((row["text"], row["source"], count))
        for text, source, count in _order(pool):
            used = report["tokens"].get(source, 0)
            if left <= 0:
                break
            if used + count > MOST.get(source, BUDGET):
                continue
            chosen.append(text)
            left -= count
            report["tokens"][source] = used + count
            report["texts"][source] = report["texts"].get(source, 0) + 1
        report["parts"][part] = round(BUDGET * fraction) - left
    random.Random(0).shuffle(chosen)
    random.Random(1).shuffle(held)
    folder = work / "pretrain"
    folder.mkdir(parents=True, exist_ok=True)
    for name, kept in (("train", chosen[:texts]), ("validation", held)):
        lines = (json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in kept)
        (folder / f"{name}.jsonl").write_text("".join(lines), "utf-8")
    report |= {
        "train": min(texts, len(chosen)),
        "validation": len(held),
        "mixture": len(chosen),
        "total_tokens": sum(report["parts"].values()),
    }
    (folder / "report.json").write_text(json.dumps(report, indent=2) + "\n", "utf-8")
    return report


def _order(pool: list[tuple[str, str, int]]) -> list[tuple[str, str, int]]:
    """Scarce sources with their repetitions first, then the others at random."""
    first: list[tuple[str, str, int]] = []
    rest: list[tuple[str, str, int]] = []
    for item in pool:
        times = next((times for name, times in REPEATED.items() if item[1].startswith(name)), 0)
        (first if times else rest).extend([item] * max(times, 1))
    random.Random(0).shuffle(first)
    random.Random(0).shuffle(rest)
    return first + rest

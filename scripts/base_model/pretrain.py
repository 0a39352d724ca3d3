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

PARTS = ("prose", "dictionary", "code", "rows")
VALIDATION = 0.01
TIMES = {"wordnet-base": 2, "e2e_nlg": 2, "banking77": 1, "gsm8k": 1, "medquad": 1, "python standard library": 1}
"""Times that a source is read; a source without a line here is help text. Up to four passes over scarce text teach
nearly as much as new text (Muennighoff et al. 2023)."""
HELP_TIMES = 3
MOST = {"medquad": 500_000, "gsm8k": 500_000, "python standard library": 400_000}
"""Tokens of a source that would else crowd out the help text."""


def build_pretrain(work: Path) -> dict[str, Any]:
    """Write both files; return tokens and texts by source, repetitions included."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(work / "blank" / "tokenizer.json"))
    chosen: list[str] = []
    held: list[str] = []
    report: dict[str, Any] = {"tokens": {}, "texts": {}, "parts": {}}
    for part in PARTS:
        rows = [json.loads(line) for line in (work / "corpus" / f"{part}.jsonl").read_text("utf-8").splitlines()]
        random.Random(0).shuffle(rows)
        counts = [len(item.ids) + 1 for item in tokenizer.encode_batch([row["text"] for row in rows])]
        report["parts"][part] = 0
        for row, count in zip(rows, counts, strict=True):
            text, source = row["text"], row["source"]
            if any(mark in text for mark in SPECIAL):
                continue
            if share(f"pretrain:{text}") < VALIDATION:
                held.append(text)
                continue
            times = TIMES.get(source, HELP_TIMES)
            used = report["tokens"].get(source, 0)
            if used + times * count > MOST.get(source, times * 10**9):
                continue
            chosen += [text] * times
            report["tokens"][source] = used + times * count
            report["texts"][source] = report["texts"].get(source, 0) + times
            report["parts"][part] += times * count
    random.Random(0).shuffle(chosen)
    folder = work / "pretrain"
    folder.mkdir(parents=True, exist_ok=True)
    for name, kept in (("train", chosen), ("validation", held)):
        lines = (json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in kept)
        (folder / f"{name}.jsonl").write_text("".join(lines), "utf-8")
    report |= {"train": len(chosen), "validation": len(held), "total_tokens": sum(report["parts"].values())}
    (folder / "report.json").write_text(json.dumps(report, indent=2) + "\n", "utf-8")
    return report

"""Data sets of `benchmarks.automatic`: a train file and a test file each; real ones cut to what a small budget learns."""

from __future__ import annotations

import json
import random
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks import decision_data
from benchmarks.decision_data import EXAMPLES, SHARED, Row, lines, some, table

Build = Callable[[], tuple[str, list[Row], list[Row]]]
"""Gives (task, training rows, test rows) in the standard columns."""


def _per_label(rows: Sequence[Row], count: int, seed: int = 0) -> list[Row]:
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        groups[row["label"]].append(row)
    drawn = random.Random(seed)
    return [row for label in sorted(groups) for row in drawn.sample(groups[label], min(count, len(groups[label])))]


def _banking(name: str) -> list[Row]:
    return [{"text": row["text"], "label": row["category"]} for row in table(SHARED / "banking77" / f"{name}.csv")]


def banking_eight() -> tuple[str, list[Row], list[Row]]:
    """Banking77: eight rows of each of its 77 intents."""
    return "classify", _per_label(_banking("train"), 8), some(_banking("test"), 1000)


def banking_ten() -> tuple[str, list[Row], list[Row]]:
    """Sixteen rows of each of ten intents of Banking77."""
    train, test = _banking("train"), _banking("test")
    chosen = sorted({row["label"] for row in train})[::8][:10]
    return "classify", _per_label([row for row in train if row["label"] in chosen], 16), [
        row for row in test if row["label"] in chosen
    ]  # fmt: skip


def banking_more() -> tuple[str, list[Row], list[Row]]:
    """1,500 rows of Banking77."""
    return "classify", some(_banking("train"), 1500), some(_banking("test"), 1000)


def example(name: str, text: str = "text", label: str = "label") -> Build:
    """An example of this repository."""

    def build() -> tuple[str, list[Row], list[Row]]:
        place = EXAMPLES / name
        kind = "csv" if (place / "train.csv").is_file() else "jsonl"
        read = table if kind == "csv" else lines
        parts = [[{"text": row[text], "label": row[label]} for row in read(place / f"{part}.{kind}")]
                 for part in ("train", "test")]  # fmt: skip
        return "classify", parts[0], parts[1]

    return build


def medical_spans() -> tuple[str, list[Row], list[Row]]:
    """Drugs, doses and conditions in notes, an example of this repository."""
    place = EXAMPLES / "medical-extraction"
    return "extract", lines(place / "train.jsonl"), lines(place / "test.jsonl")


def questions() -> tuple[str, list[Row], list[Row]]:
    """MedQuAD: what an answer is about (symptoms, treatment, ...), from its first 200 characters."""
    rows = [{"text": row["answer"][:200], "label": row["type"]} for row in lines(SHARED / "medquad/medquad.jsonl.gz")
            if len(row["answer"]) >= 40]  # fmt: skip
    counts: dict[str, int] = defaultdict(int)
    for row in rows:
        counts[row["label"]] += 1
    chosen = set(sorted(counts, key=lambda label: -counts[label])[:8])
    unique = {row["text"]: row for row in rows if row["label"] in chosen}
    drawn = some(unique.values(), 1400)
    return "classify", drawn[:400], drawn[400:]


def prejudice() -> tuple[str, list[Row], list[Row]]:
    """CrowS-Pairs: whom a prejudiced sentence is about, of nine kinds."""
    rows = [{"text": row["sent_more"], "label": row["bias_type"]}
            for row in table(SHARED / "crows_pairs" / "crows_pairs_anonymized.csv")]  # fmt: skip
    drawn = some(rows, len(rows))
    return "classify", drawn[:500], drawn[500:1400]


def similarity() -> tuple[str, list[Row], list[Row]]:
    """STS 2016: how alike two sentences are; two sources to learn from, the third to be judged on."""
    return "regress", *_built(decision_data.similarity)


def diseases() -> tuple[str, list[Row], list[Row]]:
    """Names of diseases in 400 sentences."""
    train, test = _built(decision_data.diseases)
    return "extract", train[:400], test


def _built(build: Callable[[Path], dict[str, str]]) -> tuple[list[Row], list[Row]]:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        files = build(Path(folder))
        read: dict[str, list[Row]] = {name: lines(Path(path)) for name, path in files.items()}
    return read["train"], read["test-a"] + read["test-b"]


SETS: dict[str, Build] = {
    "support-intents": example("support-intents"),
    "finance-sentiment": example("finance-sentiment"),
    "banking77, ten intents of 16 rows": banking_ten,
    "delivery-reviews": example("delivery-reviews", "review", "verdict"),
    "banking77, 8 rows per intent": banking_eight,
    "medquad, kind of answer": questions,
    "crows-pairs, kind of prejudice": prejudice,
    "sts 2016": similarity,
    "ncbi diseases": diseases,
    "medical-extraction": medical_spans,
    "banking77, 1,500 rows": banking_more,
}


def files_of(name: str, folder: Path) -> tuple[str, Path, Path]:
    """(task, train file, test file), written once."""
    place = folder / "".join(c if c.isalnum() else "-" for c in name)
    task, train, test = SETS[name]()
    place.mkdir(parents=True, exist_ok=True)
    for part, rows in (("train", train), ("test", test)):
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (place / f"{part}.jsonl").write_text(text, encoding="utf-8")
    return task, place / "train.jsonl", place / "test.jsonl"


def plain(value: Any) -> Any:
    """A prediction as JSON that `restored` reads."""
    if value.spans is not None:
        return {"spans": [[one.start, one.end, one.label] for one in value.spans]}
    if value.label is not None:
        return {"label": value.label}
    return {"score": value.score}


def restored(value: dict[str, Any]) -> Any:
    """What `plain` wrote."""
    from luthier.core.predictor import Prediction, SpanPrediction

    if "spans" in value:
        return Prediction(spans=tuple(SpanPrediction(*one) for one in value["spans"]))
    if "label" in value:
        return Prediction(label=value["label"])
    return Prediction(score=value["score"], values=(value["score"],))

"""Realistic reports made from simulated models, for the tests of the page and for looking at it."""

from __future__ import annotations

import numpy as np

from luthier.core.predictor import Prediction, SpanPrediction
from luthier.data.samples import Span
from luthier.evaluate.comparison import compare_evaluations
from luthier.evaluate.evaluation import evaluate_predictions
from luthier.evaluate.overfitting import diagnose
from luthier.evaluate.report import build_report

WORDS = [
    "my",
    "card",
    "was",
    "charged",
    "twice",
    "please",
    "help",
    "the",
    "transfer",
    "is",
    "still",
    "pending",
    "since",
    "monday",
    "why",
    "did",
    "it",
    "fail",
]
HOSTILE = "<script>alert('x')</script> & \"quotes\""


def simulated(generator, truth, labels, skill):
    """Predictions of a model whose logits hold the truth with strength `skill`; neighbours are alike."""
    k = len(labels)
    logits = generator.normal(size=(len(truth), k))
    logits[np.arange(len(truth)), truth] += skill
    logits[np.arange(len(truth)), (truth + 1) % k] += skill * 0.45
    exponent = np.exp(1.5 * (logits - logits.max(axis=1, keepdims=True)))
    probabilities = exponent / exponent.sum(axis=1, keepdims=True)
    return [
        Prediction(labels[row.argmax()], float(row.max()), dict(zip(labels, row.tolist(), strict=True)))
        for row in probabilities
    ]


def fake_report(num_classes=77, rows=900, *, bootstrap=200, skill=7.0, overfitted=False):
    generator = np.random.default_rng(num_classes)
    named = {3: ["negative", "neutral", "positive"]}
    labels = named.get(num_classes, [f"{WORDS[i % 17]}_{WORDS[(i * 5 + 3) % 17]}_{i}" for i in range(num_classes)])
    truth = generator.integers(0, num_classes, rows)
    references = [labels[t] for t in truth]
    texts = [" ".join(generator.choice(WORDS, size=generator.integers(4, 24))) for _ in references]
    texts[0] = HOSTILE

    def judged(predictions):
        return evaluate_predictions("classify", references, predictions, labels, bootstrap=bootstrap, texts=texts)

    ours = judged(simulated(generator, truth, labels, skill))
    baselines = {
        "majority": judged([Prediction(labels[0], 1 / num_classes, dict.fromkeys(labels, 1 / num_classes))] * rows),
        "tfidf": judged(simulated(generator, truth, labels, skill * 0.75)),
        "frozen": judged(simulated(generator, truth, labels, skill * 0.985)),
    }
    curves = []
    for step in range(1, 961):
        epoch = step / 320
        loss = 4.0 * np.exp(-1.6 * epoch) + 0.12 + 0.15 * generator.random() * np.exp(-0.4 * epoch)
        point = {"step": step, "epoch": epoch, "train_loss": float(loss)}
        if step % 160 == 0:
            rise = 0.3 * max(0.0, epoch - 1.5) if overfitted else 0.0
            point |= {
                "validation_loss": float(3.7 * np.exp(-1.8 * epoch) + 0.3 + rise),
                "validation_metric": float(0.93 - 0.7 * np.exp(-2.2 * epoch)),
            }
        curves.append(point)
    return build_report(
        task="classify",
        model="minilm",
        method="lora",
        evaluation=ours,
        baselines=baselines,
        comparisons=compare_evaluations(ours, baselines, resamples=bootstrap),
        curves=curves,
        validation_metric="accuracy",
        overfitting=diagnose(curves, 2.0 if overfitted else 3.0, 3),
        calibration={"temperature": 1.31},
        data={
            "rows": {"train": 9002, "validation": 1001, "test": rows},
            "classes": num_classes,
            "sha256": {"train.csv": "9f2c" * 16, "test.csv": "ab01" * 16},
            "dropped": 0,
            "duplicates": 12,
            "leaks": 0,
            "text": HOSTILE,
        },
        cost={
            "seconds": 402.7,
            "tokens": 1_234_567,
            "tokens_per_second": 3066.2,
            "peak_memory_bytes": 1_403_000_000,
            "trainable_parameters": 1_031_245,
            "total_parameters": 23_744_461,
        },
        environment={"python": "3.11.7", "torch": "2.13.0", "processor": "x86_64, 2 cores"},
        warnings=["12 rows of train.csv are near duplicates of each other; they stay on one side of the split."],
        reproduce="luthier train recipe.yaml --set train.seed=0",
        recipe="model: minilm\ntask: classify\ndata:\n  train: train.csv\nmethod:\n  kind: lora\n  rank: 16\n",
        load_hint='import luthier\nmodel = luthier.load("runs/20260101-lora")\nmodel.predict(["where is my card?"])',
        license="Apache-2.0",
        base_model="sentence-transformers/all-MiniLM-L6-v2",
        created_at="2026-01-01 12:00 UTC",
    )


def fake_spans_report(rows=120):
    """An extraction with three labels, against the dictionary."""
    generator = np.random.default_rng(1)
    text = "Patients with colon cancer took aspirin at the Mayo clinic in spring"
    known = [(14, 26, "Disease"), (32, 39, "Drug"), (47, 58, "Place")]
    references, ours, theirs = [], [], []
    for _ in range(rows):
        gold = [known[i] for i in range(3) if generator.random() < 0.7]
        references.append(tuple(Span(*span) for span in gold))
        ours.append(
            Prediction(
                spans=tuple(SpanPrediction(*span, text[span[0] : span[1]]) for span in gold if generator.random() < 0.9)
            )
        )
        theirs.append(Prediction(spans=tuple(SpanPrediction(*span) for span in known)))
    judged = [
        evaluate_predictions(
            "extract", references, given, ["Disease", "Drug", "Place"], bootstrap=200, texts=[text] * rows
        )
        for given in (ours, theirs)
    ]
    return build_report(
        task="extract",
        model="minilm",
        method="full",
        evaluation=judged[0],
        baselines={"dictionary": judged[1]},
        comparisons=compare_evaluations(judged[0], {"dictionary": judged[1]}),
        data={"rows": rows},
        cost={"seconds": 12.5},
    )


def fake_numbers_report(rows=200):
    """A regression, against the mean (whose correlation is undefined) and noise."""
    generator = np.random.default_rng(2)
    truth = generator.uniform(0, 5, rows)
    references = [(float(value),) for value in truth]
    given = {
        "ours": truth + generator.normal(0, 0.7, rows),
        "majority": np.full(rows, truth.mean()),
        "tfidf": generator.normal(2.5, 1, rows),
    }
    judged = {
        name: evaluate_predictions(
            "regress",
            references,
            [Prediction(score=float(v)) for v in values],
            ["score"],
            bootstrap=200,
            texts=[("A plane is taking off.", "An air plane takes off.")] * rows,
        )
        for name, values in given.items()
    }
    ours = judged.pop("ours")
    return build_report(
        task="regress",
        model="minilm",
        method="head",
        evaluation=ours,
        baselines=judged,
        comparisons=compare_evaluations(ours, judged),
        data={"rows": {"test": rows}},
        cost={"seconds": 3.0},
        fairness=fairness_of("region", "north", "Rows of north are answered wrongly twice as often."),
    )


def fairness_of(column, group, words):
    """The fairness part of a report, with one column, two groups and one swap."""
    measure = {"name": "wrong", "title": "wrong answers", "is_share": True}
    cell = {"value": 0.25, "low": 0.125, "high": 0.5}
    groups = [
        {"name": name, "judged": judged, "rows": 40, "train_rows": None, "measures": {"wrong": cell},
         "metrics": {"accuracy": {"value": 0.75, "low": 0.5, "high": 0.875}}}
        for name, judged in ((group, True), ("(none)", False))
    ]  # fmt: skip
    difference = measure | {
        "group": group, "measure": "wrong", "value": 0.25, "others": 0.125, "p_value": 0.01, "verdict": "worse",
        "difference": cell,
    }  # fmt: skip
    swap = {
        "sentence": words, "title": words, "by_swap": [
            {"from": group, "to": words, "rows": 3, "changed": 1, "mean_shift": 0.125}],
        "examples": [
            {"line": 4, "text": words, "swapped": words, "answer": group, "answer_swapped": words}],
    }  # fmt: skip
    return {
        "verdict": words, "unusable": [{"sentence": words}], "notes": [words], "swaps": [swap],
        "columns": [{"column": column, "sentences": [words], "advice": [words], "measures": [measure],
                     "groups": groups, "differences": [difference]}],
    }  # fmt: skip

"""The page and the card of a run that writes."""

from __future__ import annotations

import json

import pytest
import yaml
from fake_reports import HOSTILE
from fake_writers import FakeWriter, chat
from test_report import INTERFACE_KEYS, OUR_KEYS, Page, assert_whole_and_self_contained

from luthier.evaluate.card import model_card
from luthier.evaluate.generation import compare_generation, evaluate_generation
from luthier.evaluate.generation.report import build_language_report, side_by_side
from luthier.evaluate.overfitting import diagnose
from luthier.evaluate.report_page import render_page


def event(step, prompt, output, finish="stop"):
    data = {"step": step, "prompt": prompt, "reference": "the reference", "output": output, "finish_reason": finish}
    return {"kind": "sample", "data": data}


EVENTS = [
    {"kind": "step", "data": {"step": 1}},
    event(0, "user: first?", "gibberish gibberish", "length"),
    event(0, "user: second?", HOSTILE),
    event(10, "user: first?", "an old try"),
    event(10, "user: first?", "better"),
    event(10, "user: second?", "good"),
    event(20, "user: first?", "best"),
]


def fake_language_report(judged=True):
    samples = [chat(f"{HOSTILE} question {i}", f"an answer of some words {i}", i + 1) for i in range(40)]
    ours = evaluate_generation(
        FakeWriter(lambda prompt: f"an answer of some words {HOSTILE}", lambda sample: 1.0), samples, bootstrap=200
    )
    base = evaluate_generation(FakeWriter(lambda prompt: "x", lambda sample: 3.0), samples, bootstrap=200)
    curves = [
        {"step": 10 * i, "epoch": i, "train_loss": 3 / i, "validation_loss": 3 / i, "validation_metric": 3 / i}
        for i in (1, 2)
    ]
    return build_language_report(
        evaluation=ours if judged else None,
        baselines={"base": base} if judged else {},
        comparisons=compare_generation(ours, base, resamples=200) if judged else [],
        samples=side_by_side(EVENTS, 20),
        notes={"trained_tokens_share": 0.4, "tokens_saved_by_shared_prefixes": 1234},
        overfitting=diagnose(curves, 2, 2),
        task="chat",
        model="luthier-nano",
        method="lora",
        data={"rows": {"train": 200, "test": 40}, "dropped": 0},
        cost={"seconds": 12.5, "tokens": 10_000},
        curves=curves,
        environment={"python": "3.11"},
        warnings=["something"],
        reproduce="luthier train recipe.yaml",
        recipe="task: chat\n",
        load_hint="import luthier",
        license="Apache-2.0",
        base_model="luthier-nano",
        created_at="2026-01-01",
    )


def test_samples_stand_side_by_side_by_step():
    first, second = side_by_side(EVENTS, 20)
    assert [answer["when"] for answer in first["answers"]] == ["Before training", "Step 10", "Step 20, kept"]
    assert [answer["output"] for answer in first["answers"]] == ["gibberish gibberish", "better", "best"]
    assert first["reference"] == "the reference"
    assert len(second["answers"]) == 2
    assert side_by_side([]) == []


@pytest.mark.parametrize("judged", [True, False])
def test_the_report_is_strict_json_and_the_page_is_whole_and_escaped(judged):
    report = fake_language_report(judged)
    assert set(report) >= INTERFACE_KEYS | OUR_KEYS | {"samples", "examples", "worst_rows", "notes"}
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    page = render_page(json.loads(json.dumps(report)))
    parsed = Page(page)
    assert_whole_and_self_contained(page, parsed)
    words = "".join(parsed.words)
    assert HOSTILE in words
    assert "None" not in words
    for part in ("Before training", "Step 10", "Step 20, kept", "gibberish", "cut at the longest answer", "1,234"):
        assert part in words
    assert ("Hardest rows" in words) == judged
    assert "Confusion" not in words
    assert "validation metric" not in words


def test_a_judged_report_has_the_agreed_keys_and_a_verdict():
    report = fake_language_report()
    assert report["verdict"].startswith("Loss on 40 test rows 1 (95 % interval")
    assert "against 3 of the untuned base: better by 2" in report["verdict"]
    assert set(report["baselines"]) == {"base"}
    for value in [*report["metrics"].values(), *report["baselines"]["base"].values()]:
        assert set(value) == {"value", "low", "high"}
    assert report["primary_metric"] == "loss"
    page = render_page(report)
    assert "Untuned base" in page
    assert "better" in page


def test_the_card_is_that_of_a_writing_model():
    card = model_card(fake_language_report())
    _, front, body = card.split("---\n", 2)
    assert yaml.safe_load(front)["pipeline_tag"] == "text-generation"
    assert "state what is false" in body
    assert "## Examples" in body
    assert "Untuned base" in body
    for place in [i for i in range(len(body)) if body.startswith("<script>", i)]:
        assert body[body.rfind("\n", 0, place) + 1 :].startswith("    ")  # only inside code blocks
    assert model_card(fake_language_report(judged=False))

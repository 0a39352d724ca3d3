"""The generative benchmark: what it generates, how it reckons, and that it runs at toy size."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

REPO = Path(__file__).resolve().parents[2]
SHAPE = {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
         "intermediate_size": 16, "vocab_size": 32}  # fmt: skip


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(REPO))


def tokens(row: list[dict[str, str]]) -> int:
    """Bytes, and two tokens of the template for each message."""
    return sum(len(message["content"].encode()) + 2 for message in row)


def test_conversations_have_the_lengths_and_the_share_of_prompt_that_are_claimed() -> None:
    from benchmarks.language_worker import conversations

    rows = conversations(400, shared=False)
    lengths = [tokens(row) for row in rows]
    assert min(lengths) >= 40
    assert max(lengths) == 512
    assert 190 < sum(lengths) / len(lengths) < 240
    # the first token of the answer's turn belongs to the prompt
    answered = sum(len(row[-1]["content"]) + 1 for row in rows)
    assert answered / sum(lengths) == pytest.approx(0.4, abs=0.01)
    assert all(message["content"] == message["content"].strip() for row in rows for message in row)
    assert len({json.dumps(row) for row in rows}) == len(rows)


def test_shared_conversations_begin_with_the_same_half() -> None:
    from benchmarks.language_worker import SYSTEM_TOKENS, conversations

    rows = conversations(400, shared=True)
    assert len({row[0]["content"] for row in rows}) == 1
    assert len(rows[0][0]["content"]) + 2 == SYSTEM_TOKENS
    assert max(tokens(row) for row in rows) <= 512
    assert SYSTEM_TOKENS * len(rows) / sum(tokens(row) for row in rows) == pytest.approx(0.5, abs=0.03)


def plan(rows: int) -> dict[str, Any]:
    count = {"tokens": [10] * rows, "judged": [4] * rows}
    return {"orders": {"bucketed": list(range(rows))}, "shape": SHAPE, **count}


def test_the_steady_state_leaves_the_first_steps_out_and_the_rest_of_the_job_is_added() -> None:
    from benchmarks.language_speed import settle, useful

    job = {"order": "bucketed", "compile": False}
    steps = [{"end": end, "cpu": 2 * end, "loss": 1.0} for end in (10.0, 11.0, 12.0, 12.5, 13.0)]
    found = settle({"steps": steps, "wall": 14.0}, plan(64), job)  # five steps of eight
    assert found["rate"] == pytest.approx(160 / 1.0)
    assert found["judged_rate"] == pytest.approx(64 / 1.0)
    assert found["busy_rate"] == pytest.approx(160 / 2.0)
    assert found["whole"] == pytest.approx(14.0 + 240 / 160)
    assert not found["measured"]
    assert found["share"] == pytest.approx(useful(SHAPE, 160, 64) / 1e9)
    whole = settle({"steps": steps, "wall": 14.0}, plan(40), job)
    assert whole["measured"]
    assert whole["whole"] == 14.0


def test_other_batches_than_planned_are_refused() -> None:
    from benchmarks.language_speed import settle

    steps = [{"end": float(end), "loss": 1.0, "tokens": 79 if end == 2 else 80} for end in range(5)]
    with pytest.raises(SystemExit, match="planned"):
        settle({"steps": steps, "wall": 9.0}, plan(40), {"order": "bucketed", "compile": False})


def test_useful_operations_are_those_of_the_models_own_matrices() -> None:
    from benchmarks.language_speed import useful
    from transformers import LlamaConfig, LlamaForCausalLM

    model = LlamaForCausalLM(LlamaConfig(**SHAPE))
    linear = [m.weight for name, m in model.named_modules() if name.endswith("_proj")]
    frozen = sum(weight.numel() for weight in linear)
    lora = sum(16 * sum(weight.shape) for weight in linear)
    assert useful(SHAPE, 100, 0) == 100 * (4 * frozen + 6 * lora)
    assert useful(SHAPE, 0, 7) == 7 * 4 * model.lm_head.weight.numel()


@pytest.mark.parametrize(
    ("change", "fault"),
    [({}, None), ({"difference": 2e-4}, "differ"), ({"difference": float("nan")}, "differ"),
     ({"difference": 2e-4, "precision": "bf16"}, None), ({"peer_norm": 0.0}, "nothing"), ({"difference": None}, None)],
)  # fmt: skip
def test_a_result_that_cannot_be_believed_is_a_fault(change: dict[str, Any], fault: str | None) -> None:
    from benchmarks.language_speed import faults

    sound = {"name": "trl", "difference": 1e-6, "precision": "fp32", "norm": 1.0, "peer_norm": 1.0}
    found = faults(sound | change)
    assert len(found) == (fault is not None)
    assert fault is None or fault in found[0]


def test_the_page_shows_the_newest_of_each_comparison_and_claims_nothing_across_one() -> None:
    from benchmarks.language_table import document

    result: dict[str, Any] = {
        "shape": "31m", "machine": "a processor", "threads": 2, "precision": "fp32", "rows": 2000, "steps": 30,
        "preflight": False, "name": "trainer", "work": "LoRA", "peer": "Trainer", "ratio": [1.5, 1.6, 1.7],
        "whole_ratio": [0.9, 1.1, 1.2], "demanded": 1.5, "difference": 1e-6, "measured": False, "share": 0.5,
        "versions": "torch 2", "batch": 8, "rounds": 3, "ceiling": 100.0, "date": "2026-01-01", "loads": [0.1, 0.2],
        **{f"{side}{key}": 1.0 for side in ("", "peer_")
           for key in ("rate", "judged_rate", "loss", "norm", "peak", "first_step", "whole")},
    }  # fmt: skip
    litgpt = result | {"name": "litgpt", "peer": "LitGPT", "ratio": None, "whole_ratio": [1.05, 1.06, 1.07]}
    older = result | {"ratio": [9.0], "steps": 250, "rounds": 1, "date": "2025-12-31"}
    page = document([older, litgpt, result | {"rounds": 1, "busy_ratio": [2.5, 2.6]}])
    assert "9.00" not in page
    assert "**2.55** (2.50 to 2.60)" in page
    assert "of which 30 steps of 8 were run; 1 to 3 rounds" in page
    assert "**1.60** (1.50 to 1.70)" in page
    assert "**1.10** (0.90 to 1.20, no difference shown)" in page
    assert "Best peer, whole job: LitGPT" in page
    assert page.count("\n## ") == 1
    heads = [line for line in page.splitlines() if line.startswith("|")]
    assert {line.count("|") for line in heads} == {heads[0].count("|")}


def test_litgpt_is_read_by_the_lines_of_its_own_log(tmp_path: Path) -> None:
    from benchmarks.language_litgpt import Watch, write_rows

    watch = Watch()
    watch.write("Epoch 1 | iter 3 step 3 | loss train: 5.125, val: n/a | iter time: 12.34 ms (step)")
    watch.write("Verifying settings ...")
    assert [step["loss"] for step in watch.steps] == [5.125]
    write_rows([[{"role": "user", "content": "ab"}, {"role": "assistant", "content": "cd"}]], tmp_path / "rows")
    kept = json.loads((tmp_path / "rows" / "train.json").read_text())
    assert kept == [{"instruction": "<|user|>ab<|end|><|assistant|>", "output": "cd"}]


@pytest.mark.slow
def test_toy_size_runs_and_both_sides_train_the_same() -> None:
    peers = ["trainer", *(["trl"] if importlib.util.find_spec("trl") else [])]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.language_speed", "--shape", "toy", "--rows", "40", "--steps", "0",
         "--rounds", "1", "--peers", *peers],
        cwd=REPO, capture_output=True, text=True, check=False, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    rows = [line for line in done.stdout.splitlines() if line.startswith("| LoRA |")]
    assert len(rows) == len(peers)
    for row in rows:
        difference, ends = row.split("|")[9], row.split("|")[15]
        assert re.fullmatch(r" \d\.\de-\d\d ", difference)
        assert float(difference) < 1e-4
        assert ends.endswith(" measured ")

"""The formulas: operations against a count, what makes a run longer, and intervals that widen with ignorance."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from forecast_making import MINILM, NANO, entry, work

from luthier.search.forecast import assemble, plain_time, sentence
from luthier.search.memory import memory_of
from luthier.search.stages import STAGES, Judging, Rates, seconds_of
from luthier.search.workload import Base, Rows, Workload

JUDGING = Judging(baselines=("majority", "tfidf", "frozen"))


def said(run: Workload, **options: object):
    values = {"model": "minilm", "machine": "cpu-2x1-aaaaaa", "entries": (), **options}
    return assemble(run, MINILM, JUDGING, **values)  # type: ignore[arg-type]


def test_operations_are_two_per_weight_and_token() -> None:
    assert MINILM.layer_parameters == 4 * 384 * 384 + 2 * 384 * 1536
    assert NANO.layer_parameters == 256 * 256 * 2 + 256 * 128 * 2 + 3 * 256 * 640
    flops = MINILM.forward_flops(Rows.of([10, 20]))
    assert flops == 6 * (2 * MINILM.layer_parameters * 30 + 4 * 384 * (100 + 400))
    learned = NANO.forward_flops(Rows(1, 10, 100, 10, 4)) - NANO.forward_flops(Rows(1, 10, 100, 10, 0))
    assert learned == 2 * 256 * 4096 * 4
    assert MINILM.forward_flops(Rows.of([10]), 6) == 0


def test_shapes_are_read_in_every_familys_words() -> None:
    bert = {"num_hidden_layers": 6, "hidden_size": 384, "intermediate_size": 1536, "num_attention_heads": 12,
            "vocab_size": 30_522, "max_position_embeddings": 512, "hidden_act": "gelu"}  # fmt: skip
    assert Base.of(bert) == MINILM
    distil = Base.of({"n_layers": 6, "dim": 768, "hidden_dim": 3072, "n_heads": 12, "vocab_size": 10})
    assert (distil.layers, distil.hidden, distil.intermediate) == (6, 768, 3072)
    assert Base.of({"text_config": bert, "hidden_size": 7}) == MINILM
    assert Base.of({"hidden_size": None, "n_embd": "wide"}).hidden == 768


def test_minilms_parameters_are_nearly_its_own() -> None:
    assert MINILM.parameters == pytest.approx(22_713_216, rel=0.02)
    assert NANO.parameters == pytest.approx(5_180_672, rel=0.02)


@pytest.mark.parametrize(
    "more",
    [
        {"epochs": 4},
        {"train": Rows.of([16] * 1800), "steps_per_epoch": 113, "batches_per_epoch": 113},
        {"train": Rows.of([64] * 900)},
        {"method": "full", "boundary": -1, "trainable": 22_000_000, "stepped": 11_000_000},
        {"validation": Rows.of([16] * 2000)},
        {"held_out_rows": 5000},
    ],
)
def test_more_work_takes_longer(more: dict[str, object]) -> None:
    before = sum(seconds_of(work(), MINILM, JUDGING, Rates()).values())
    assert sum(seconds_of(replace(work(), **more), MINILM, JUDGING, Rates()).values()) > before  # type: ignore[arg-type]


def test_frozen_layers_are_computed_once() -> None:
    run = work(boundary=4, epochs=10)
    without = seconds_of(run, MINILM, JUDGING, Rates())
    cached = seconds_of(replace(run, cached=True), MINILM, JUDGING, Rates())
    assert "cache" not in without
    assert cached["steps"] + cached["cache"] < without["steps"]
    whole = seconds_of(replace(run, cached=True, boundary=6, method="head"), MINILM, JUDGING, Rates())
    assert whole["steps"] < 0.5 * cached["steps"]


def test_what_is_not_asked_takes_no_time() -> None:
    plain = seconds_of(work(validation=None, held_out_rows=0), MINILM, Judging(), Rates())
    assert set(plain) == {"setup", "gates", "steps", "saving", "finish", "report"}
    assert set(seconds_of(work(), MINILM, JUDGING, Rates())) <= set(STAGES)
    extract = seconds_of(work(task="extract"), MINILM, JUDGING, Rates())
    assert "frozen" not in extract


def test_a_writer_is_judged_by_its_answers() -> None:
    run = work(task="chat", outputs=0, train=Rows.of([80] * 400, 0.4))
    asked = Judging(baselines=("base",), samples=4, generate_rows=100, memorisation=50)
    found = seconds_of(run, NANO, asked, Rates())
    assert {"samples", "judging", "base", "memorisation"} <= set(found)
    fewer = seconds_of(run, NANO, replace(asked, generate_rows=10), Rates())
    assert fewer["judging"] < found["judging"]


def test_a_scratch_baseline_is_a_whole_training() -> None:
    found = seconds_of(work(), MINILM, replace(JUDGING, baselines=("scratch",)), Rates())
    assert found["scratch"] > found["steps"]


def test_measured_stages_are_taken_and_narrow_the_interval() -> None:
    blind = said(work())
    known = said(work(), measured=dict.fromkeys(blind.stages, 1.0))
    assert known.seconds.value == pytest.approx(len(blind.stages))
    assert known.seconds.high / known.seconds.value < blind.seconds.high / blind.seconds.value
    assert known.seconds.low < known.seconds.value < known.seconds.high


def test_earlier_runs_correct_and_narrow() -> None:
    blind, taught = said(work()), said(work(), entries=[entry()] * 8)
    assert taught.stages["steps"] == pytest.approx(2 * blind.stages["steps"], rel=0.1)
    assert taught.seconds.high / taught.seconds.value < blind.seconds.high / blind.seconds.value
    assert taught.runs_known == 8
    assert not taught.notes
    assert "no run in the ledger" in blind.notes[0]


def test_patience_lowers_only_the_low_end_and_is_told() -> None:
    plain = said(work(epochs=12, patience=0), measured={"steps": 120.0})
    patient = said(work(epochs=12, patience=2), measured={"steps": 120.0})
    assert patient.seconds.value == plain.seconds.value
    assert patient.seconds.high == plain.seconds.high
    assert patient.seconds.low < 0.5 * plain.seconds.low
    assert any("after 3 of 12 epochs" in note for note in patient.notes)
    assert said(work(epochs=3, patience=2)).seconds.low == said(work(epochs=3, patience=0)).seconds.low


def test_memory_grows_with_what_trains() -> None:
    lora = sum(memory_of(work(), MINILM, JUDGING).values())
    full = sum(memory_of(work(trainable=22_000_000, stepped=11_000_000, boundary=-1), MINILM, JUDGING).values())
    assert full - lora > 12 * 20_000_000
    measured = said(work(), memory=(2.0e9, 0.05)).peak_memory_bytes
    assert (measured.value, measured.low < 1.9e9, measured.high > 2.1e9) == (2.0e9, True, True)


def test_a_forecast_is_json_with_the_promised_keys() -> None:
    plain = said(work()).to_dict()
    json.dumps(plain, allow_nan=False)
    for key in ("seconds", "peak_memory_bytes"):
        assert set(plain[key]) == {"value", "low", "high"}
    assert "cost" in plain
    assert Workload.read({**work().to_dict(), "unknown": 1}) == work()


def test_times_are_plain() -> None:
    assert [plain_time(value) for value in (3.6, 75, 3725, -1)] == ["4 s", "1:15", "1:02:05", "0 s"]
    assert "GiB of memory" in sentence(said(work()))

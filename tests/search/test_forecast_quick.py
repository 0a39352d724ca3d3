"""The forecast at once: without torch, and near what the run itself counts."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from forecast_making import MINILM

from luthier.core.recipe import Recipe
from luthier.search.quick import quick, tokens_of_bytes, workload_of

CONFIG = {"num_hidden_layers": 6, "hidden_size": 384, "intermediate_size": 1536, "num_attention_heads": 12,
          "vocab_size": 30_522, "max_position_embeddings": 512}  # fmt: skip
ALL_METHODS = ("full", "lora", "adapter", "head", "bitfit", "ia3", "prefix")


def recipe(**values: object) -> Recipe:
    built = Recipe.build({"data": {"train": "x.csv"}})
    return built.replace(**values) if values else built


@pytest.mark.parametrize("kind", ALL_METHODS)
@pytest.mark.parametrize("task", ["classify", "regress", "extract", "chat", "complete"])
def test_every_task_and_method_has_a_forecast(task: str, kind: str) -> None:
    found = quick(recipe(method=kind), task=task, lengths=[20] * 300, config=CONFIG, labels=4)
    assert 0 < found.seconds.low < found.seconds.value < found.seconds.high
    assert found.peak_memory_bytes.value > 2**28
    assert found.workload.train.rows == 270


def test_settings_of_the_recipe_count() -> None:
    def seconds(**values: object) -> float:
        return quick(recipe(**values), task="classify", lengths=[60] * 2000, config=CONFIG).seconds.value

    plain = seconds()
    assert seconds(**{"train.epochs": 40}) > plain
    assert seconds(**{"data.share": 0.2}) < plain
    assert seconds(**{"train.max_length": 16}) < plain
    assert seconds(**{"evaluate.baselines": []}) < plain
    fixed = seconds(**{"train.epochs": 3})
    assert seconds(**{"train.epochs": 3, "train.accumulate": 4}) == pytest.approx(fixed, rel=0.1)


def test_what_trains_is_nearly_counted() -> None:
    def trainable(**values: object) -> int:
        return workload_of(recipe(**values), "classify", [20] * 100, MINILM, labels=77).trainable

    assert trainable(method="lora") == pytest.approx(693_197, rel=0.03)
    assert trainable(method="full") == pytest.approx(22_595_021, rel=0.03)
    assert trainable(**{"method": "lora", "freeze.layers": 4}) == pytest.approx(250_829, rel=0.03)
    assert trainable(method="head") == 384 * 77 + 77


def test_bytes_become_tokens() -> None:
    assert tokens_of_bytes([0, 46, 460], "classify") == [2, 12, 102]
    assert tokens_of_bytes([320], "chat")[0] > tokens_of_bytes([320], "classify")[0]


def test_a_servers_process_needs_no_torch_for_it() -> None:
    code = (
        "from luthier.core.recipe import Recipe; from luthier.search.quick import quick;"
        "from luthier.search import ledger;"
        "from luthier.search.machine import machine_key; import sys;"
        f"f = quick(Recipe.build({{'data': 'x.csv'}}), task='classify', lengths=[9]*50, config={CONFIG!r},"
        "entries=ledger.read(), machine=machine_key());"
        "print(f.seconds.value > 0, sorted({'torch', 'transformers', 'numpy', 'tokenizers'} & set(sys.modules)))"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, check=True)
    assert done.stdout.split(maxsplit=1) == ["True", "[]\n"]

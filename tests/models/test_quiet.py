"""Loads in several threads leave transformers as it was."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

from tiny_causal import tiny_causal
from transformers import PreTrainedModel
from transformers.utils import logging

from luthier.models.base_source import from_folder
from luthier.models.build_causal import build_causal
from luthier.models.quiet import quiet


def test_models_loaded_at_the_same_time_are_tied(tmp_path):
    source = from_folder(tiny_causal(tmp_path / "base", "gemma2"), name="base")
    original = PreTrainedModel.tie_weights
    together = threading.Barrier(4)

    def load(_: int) -> bool:
        together.wait()
        model = build_causal(source, task="chat").backbone
        return bool(model.get_input_embeddings().weight is model.get_output_embeddings().weight)

    with ThreadPoolExecutor(4) as pool:
        for _ in range(4):
            assert all(pool.map(load, range(4)))
    assert PreTrainedModel.tie_weights is original


def test_only_one_thread_is_inside_and_it_may_enter_again():
    entered, inside = threading.Event(), threading.Event()

    def other() -> None:
        with quiet():
            inside.set()

    verbosity = logging.get_verbosity()
    thread = threading.Thread(target=other)
    with quiet(), quiet():
        thread.start()
        entered.wait(0.2)
        assert not inside.is_set()
    thread.join()
    assert inside.is_set()
    assert logging.get_verbosity() == verbosity

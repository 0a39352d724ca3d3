"""The generative base that ships: whole, verified, trained, and it follows the chat format."""

from __future__ import annotations

import hashlib

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from luthier.core.conversation import Completion, Conversation, Message
from luthier.core.errors import ModelError
from luthier.core.generation import Sampling
from luthier.data.samples import Sample
from luthier.data.templates import TextRenderer
from luthier.models import catalogue
from luthier.models.build_causal import build_causal
from luthier.models.catalogue import NANO_FILES, find, locate
from luthier.models.chat_tokenizer import load_chat_tokenizer
from luthier.models.language_predictor import LanguageModel

TEXT = "If you want to change the size of the window, move the mouse to the border and then press the button."
LARGEST = 40 * 2**20


def test_it_ships_whole_and_every_file_is_verified() -> None:
    folder = locate("luthier-nano").path
    assert {"model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json"} <= set(NANO_FILES)
    assert (folder / "model.safetensors").stat().st_size <= LARGEST
    for name, expected in NANO_FILES.items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == expected
    for name in ("README.md", "LICENSES.md", "training.json"):
        assert (folder / name).stat().st_size > 500


def test_a_changed_file_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = find("luthier-nano")
    monkeypatch.setitem(entry.files, "model.safetensors", "0" * 64)
    with pytest.raises(ModelError, match="not the file that was published"):
        catalogue.locate("luthier-nano")


def test_the_catalogue_tells_its_size() -> None:
    model = build_causal(locate("luthier-nano"), task="chat")
    entry = find("luthier-nano")
    assert sum(p.numel() for p in model.parameters()) == entry.parameters
    assert (model.config.hidden_size, model.config.max_position_embeddings) == (entry.hidden, entry.context)


def test_it_knows_english_that_random_weights_do_not() -> None:
    sample = [Sample(TEXT, None, Completion("", TEXT))]
    source = locate("luthier-nano")
    tokenizer = load_chat_tokenizer(source.path)
    losses = []
    for from_scratch in (False, True):
        model = build_causal(source, task="complete", from_scratch=from_scratch).eval()
        (found,) = LanguageModel(model, tokenizer, TextRenderer(tokenizer), {"task": "complete"}).likelihood(sample)
        losses.append(found.loss_sum / found.weight)
    assert losses[0] < 5.0
    assert losses[1] > 7.5  # about log(4096)


def test_it_ends_its_turns() -> None:
    model = LanguageModel.load_base("luthier-nano")
    asked = Conversation((Message("user", "What does curious mean?"),))
    (answer,) = model.generate([asked], Sampling(max_tokens=120))
    assert answer.finish_reason == "stop"
    assert len(answer.text.split()) > 2


def test_transformers_alone_loads_it() -> None:
    folder = locate("luthier-nano").path
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    ids = tokenizer.apply_chat_template([{"role": "user", "content": "Hello"}], add_generation_prompt=True,
                                        return_tensors="pt", return_dict=True)  # fmt: skip
    with torch.no_grad():
        assert torch.isfinite(model(**ids).logits).all()

"""F13: files that would run code or write outside when they are opened carelessly: nothing runs, and each is refused
by name."""

from __future__ import annotations

import contextlib
import json
import pickle
import sys
import time
from pathlib import Path

import numpy as np
import openai
import pytest
from hostile import good_lines
from live import Live
from traps import ADAPTERS, BASES, TEMPLATES, UPLOADS, numpy_array, pickled, trap_folder

from luthier.core.conversation import Conversation, Message
from luthier.core.errors import LuthierError, ModelError

sys.path.append(str(Path(__file__).resolve().parent.parent / "models"))

from tiny_causal import tiny_causal
from tiny_tuned import tiny_tuned

NANO = Path(__file__).resolve().parents[2] / "src" / "luthier" / "models" / "bases" / "luthier_nano"
ASK = [{"role": "user", "content": "Hello"}]


@pytest.fixture
def canary(tmp_path):
    """A file that must not appear."""
    path = tmp_path / "canary"
    yield path
    assert not path.exists(), "something opened a trap"


def test_the_traps_work(tmp_path):
    path = tmp_path / "canary"
    for spring in (lambda: pickle.loads(pickled(path)), lambda: np.load(_npy(tmp_path, path), allow_pickle=True)):
        spring()
        assert path.exists()
        path.unlink()


def _npy(folder, canary):
    path = folder / "a.npy"
    path.write_bytes(numpy_array(canary))
    return path


@pytest.mark.parametrize("name", BASES)
def test_a_hostile_base_is_refused_by_name(name, tmp_path, canary):
    from luthier.models.language_predictor import LanguageModel

    change, code = BASES[name]
    with pytest.raises(ModelError) as caught:
        LanguageModel.load_base(str(trap_folder(NANO, tmp_path / name, change, canary)))
    assert caught.value.code == code
    assert caught.value.remedy


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_hostile_template_does_nothing(name, tmp_path, canary):
    from luthier.models.language_predictor import LanguageModel

    folder = trap_folder(NANO, tmp_path / name, TEMPLATES[name], canary)
    with contextlib.suppress(LuthierError):  # it may be refused, or say something harmless
        LanguageModel.load_base(str(folder)).generate([Conversation((Message("user", "Hello"),))])


@pytest.fixture(scope="module")
def adapter(tmp_path_factory):
    """A sound adapter of a tiny base."""
    base = tiny_causal(tmp_path_factory.mktemp("base") / "llama")
    return tiny_tuned(base, tmp_path_factory.mktemp("adapter") / "model", {"kind": "lora", "rank": 2, "alpha": 4})


@pytest.mark.parametrize("name", ADAPTERS)
def test_a_hostile_adapter_is_refused_by_name(name, adapter, tmp_path, canary):
    from luthier.serve.adapter_files import read_adapter

    assert read_adapter(adapter).bytes > 0
    folder = trap_folder(adapter, tmp_path / "adapter", ADAPTERS[name], canary)
    with pytest.raises(ModelError) as caught:
        _load(folder)
    assert caught.value.code in ("broken_model", "broken_weights", "remote_code", "weights_not_safetensors")


def _load(folder):
    """What the engine does before it takes an adapter in."""
    from luthier.models.base_source import refuse_code
    from luthier.serve.adapter_files import read_adapter

    refuse_code(folder)
    read_adapter(folder)


@pytest.fixture(scope="module")
def trapped(tmp_path_factory):
    """A server with every hostile base in its folder of models, and the canary that they would write."""
    place = tmp_path_factory.mktemp("trapped")
    for name, change in {**{name: change for name, (change, _) in BASES.items()}, **TEMPLATES}.items():
        trap_folder(NANO, place / "home" / "models" / name, change, place / "canary")
    (place / "outside").mkdir()
    (place / "home" / "models" / "..trap").symlink_to(place / "outside")
    (place / "home").chmod(0o700)
    server = Live(place / "home").start()
    server.canary = place / "canary"
    yield server
    server.stop()


def refusal(call):
    with pytest.raises(openai.APIStatusError) as caught:
        call()
    return caught.value


def test_hostile_bases_are_not_offered_or_refused_by_name(trapped):
    client = trapped.client(max_retries=0)
    offered = {model.id for model in client.models.list()}
    assert "luthier-nano" in offered
    assert not {name for name, (_, code) in BASES.items() if code not in ("broken_weights",)} & offered
    for name, (_, code) in BASES.items():
        found = refusal(lambda name=name: client.chat.completions.create(model=name, messages=ASK, max_tokens=2))
        if name in offered:
            assert (found.status_code, found.code) == (400, code)
        else:
            assert (found.status_code, found.code) == (404, "model_not_found")
        assert str(trapped.home) not in found.message
    for name in TEMPLATES:
        try:
            client.chat.completions.create(model=name, messages=ASK, max_tokens=2)
        except openai.APIStatusError as error:
            assert error.status_code == 400  # noqa: PT017 - it may answer, or refuse
    assert client.chat.completions.create(model="luthier-nano", messages=ASK, max_tokens=2).choices
    assert not trapped.canary.exists()


@pytest.mark.parametrize("name", ["../outside", "..trap", "models/../..", "/etc", "%2e%2e", "org/model", "http://x/y"])
def test_no_name_is_a_path_or_an_address(trapped, name):
    client = trapped.client(max_retries=0)
    assert refusal(lambda: client.chat.completions.create(model=name, messages=ASK)).status_code == 404
    assert refusal(lambda: client.models.retrieve(name)).status_code == 404


def test_hostile_uploads_are_refused_or_fail_as_data(trapped):
    client = trapped.client(max_retries=0)
    for name, make in UPLOADS.items():
        content = make(trapped.canary)
        for filename in ("train.jsonl", "model.safetensors", "../../train.jsonl", "weights.pt"):

            def send(content=content, filename=filename):
                return client.files.create(file=(filename, content), purpose="fine-tune")

            if name in ("pickle", "numpy"):
                continue
            found = refusal(send)
            assert (found.status_code, found.code) == (415, "unsupported_file_type"), name
    jobs = []
    for name in ("pickle", "numpy"):
        file = client.files.create(file=("train.jsonl", UPLOADS[name](trapped.canary)), purpose="fine-tune")
        jobs.append(client.fine_tuning.jobs.create(model="luthier-nano", training_file=file.id))
    until = time.monotonic() + 120
    for job in jobs:
        while (found := client.fine_tuning.jobs.retrieve(job.id)).status not in ("failed", "succeeded"):
            assert time.monotonic() < until, found.status
            time.sleep(0.2)
        assert (found.status, found.error.code) == ("failed", "invalid_training_file")
    assert not trapped.canary.exists()


@pytest.mark.slow
def test_a_kept_adapter_that_was_changed_is_refused(live, tmp_path, canary):
    client = live.client(max_retries=0)
    file = client.files.create(file=("train.jsonl", b"\n".join(good_lines(12))), purpose="fine-tune")
    recipe = {"model": "luthier-nano", "task": "chat", "data": {"train": file.id, "validation": 0.0},
              "method": {"kind": "lora", "rank": 2}, "train": {"epochs": 1}}  # fmt: skip
    answer = client.post("/../luthier/v1/jobs", body={"recipe": recipe}, cast_to=object)
    while (job := client.fine_tuning.jobs.retrieve(answer["id"])).status not in ("failed", "succeeded"):
        time.sleep(0.5)
    assert job.status == "succeeded", job.error

    def ask():
        return client.chat.completions.create(model=job.fine_tuned_model, messages=ASK, max_tokens=2)

    assert ask().choices
    live.stop()
    kept = [path.parent for path in (live.home / "artefacts").rglob("adapter_config.json")]
    assert kept
    sound = {path: path.read_bytes() for folder in kept for path in folder.iterdir() if path.is_file()}
    for name, change in ADAPTERS.items():
        for folder in kept:
            change(folder, canary)
        live.restart()
        found = refusal(ask)
        assert found.status_code in (400, 409, 503), (name, found.message)
        assert found.code
        live.stop()
        for folder in kept:
            for path in folder.iterdir():
                path.unlink()
        for path, content in sound.items():
            path.write_bytes(content)
    live.restart()
    assert ask().choices


def test_the_configuration_of_a_run_is_json_and_safetensors_only(adapter):
    assert {path.suffix for path in adapter.rglob("*") if path.is_file()} <= {
        ".json", ".safetensors", ".jinja", ".md", ".txt",
    }  # fmt: skip
    assert json.loads((adapter / "luthier.json").read_text())

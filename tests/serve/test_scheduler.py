"""The engine answers as each model does alone, whoever else is in the batch."""

from __future__ import annotations

import gc
import json
import time
import weakref
from dataclasses import replace
from typing import Any

import pytest

from luthier.core.answering import ModelRef
from luthier.core.generation import Sampling
from luthier.models.language_predictor import LanguageModel
from luthier.serve.hosts import Host, Voice

PROMPTS = ["Where is my parcel?", "thank you", "The engineer measured the temperature again and again.", "ok"]


def alone(models: Any, name: str | None, prompt: str, tokens: int) -> str:
    folder = models.folders[name]
    model = LanguageModel.load_base(str(models.base)) if folder is None else LanguageModel.load(folder)
    return model.generate([[{"role": "user", "content": prompt}]], Sampling(max_tokens=tokens))[0].text


def registry(engine: Any) -> Any:
    return engine.scheduler._registry


def test_each_answers_as_alone_in_one_batch(models: Any, engine: Any) -> None:
    asked = engine(rows=3)
    names = ["one", None, "two", "three", "one", "whole", "prefix", None]
    first = [asked.write(models.ref(name), PROMPTS[index % 4], 20) for index, name in enumerate(names[:3])]
    first[0].wait("piece")  # the others join while it is answered
    later = [asked.write(models.ref(name), PROMPTS[index % 4], 6) for index, name in enumerate(names[3:], 3)]
    for index, (name, said) in enumerate(zip(names, [*first, *later], strict=True)):
        assert said.texts == [alone(models, name, PROMPTS[index % 4], 20 if index < 3 else 6)], name
    hosts = registry(asked).hosts
    assert sum(host.shared for host in hosts) == 1, "the adapters do not share their base"
    assert len(hosts) == 3
    rows = {row["name"]: row for row in asked.status()["models"]}
    assert {rows[f"ft:{name}"]["canary"] for name in ("one", "two", "three", "whole", "prefix")} == {"passed"}
    same = [asked.write(models.ref(name), sampling={"logprobs": 0}) for name in (None, "one", "two", "three")]
    assert len({str(said.wait().data("answer")[0]["logprobs"]) for said in same}) == 4, "the adapters change nothing"


def test_adapters_come_and_go_without_their_base(models: Any, engine: Any) -> None:
    asked = engine()
    expected = asked.write(models.ref("one")).texts
    (host,) = registry(asked).hosts
    other = asked.write(models.ref("two")).texts
    running = asked.write(models.ref("one"), tokens=200)
    running.wait("piece")
    asked.ask("unload", models.ref("two")).wait()
    assert asked.loaded() == {"ft:one"}
    assert asked.write(models.ref("two")).texts == other
    running.wait()
    asked.ask("unload", models.ref("one")).wait()
    asked.write(models.ref("three")).wait()
    assert asked.write(models.ref("one")).texts == expected
    assert registry(asked).hosts == [host]


def test_what_is_in_use_leaves_when_it_is_answered(llama: Any, engine: Any) -> None:
    asked = engine()
    expected = asked.write(llama.ref("one"), tokens=100).texts
    running = asked.write(llama.ref("one"), tokens=100)
    running.wait("piece")
    asked.ask("unload", llama.ref("one")).wait()
    assert running.texts == expected
    assert asked.loaded() == set()
    assert registry(asked).hosts == []


def test_what_leaves_and_is_asked_for_again_is_answered_twice(llama: Any, engine: Any) -> None:
    asked = engine()
    expected = asked.write(llama.ref("one"), tokens=200).texts
    running = asked.write(llama.ref("one"), tokens=200)
    running.wait("piece")
    asked.ask("unload", ModelRef("ft:one", "")).wait()  # who deletes a model knows its name only
    again = asked.write(llama.ref("one"), tokens=200)
    assert running.texts == again.texts == expected
    assert asked.loaded() == {"ft:one"}
    asked.ask("unload", llama.ref("one")).wait()
    assert asked.loaded() == set()
    assert registry(asked).hosts == []


def test_a_better_model_takes_the_name_and_who_is_being_answered_is_answered(models: Any, engine: Any) -> None:
    asked = engine()
    before, better = (replace(models.ref(name), name="ft:best") for name in ("one", "two"))
    expected = [asked.write(models.ref(name), tokens=200).texts for name in ("one", "two")]
    running = asked.write(before, tokens=200)
    running.wait("piece")
    assert asked.write(better, tokens=200).texts == expected[1]
    assert running.texts == expected[0]
    folders = [row["folder"] for row in asked.status()["models"] if row["name"] == "ft:best"]
    assert folders == [better.folder]


def test_the_least_recently_used_leaves_for_memory(llama: Any, engine: Any) -> None:
    asked = engine()
    asked.write(llama.ref("whole")).wait()
    size = registry(asked).hosts[0].bytes

    asked = engine(memory_bytes=int(size * 2.5))
    for name in ("whole", "prefix"):
        asked.write(llama.ref(name)).wait()
    second = weakref.ref(registry(asked).hosts[1])
    for name in ("whole", "one"):  # "prefix" was not used for longest
        asked.write(llama.ref(name)).wait()
    assert asked.loaded() == {"ft:whole", "ft:one"}
    gc.collect()
    assert second() is None, "its weights are still in memory"
    running = [asked.write(llama.ref(name), tokens=200) for name in ("whole", "one")]
    for said in running:
        said.wait("piece")
    error = asked.write(llama.ref("prefix")).error
    assert (error["kind"], error["code"]) == ("busy", "memory_full")
    assert all(len(said.texts) == 1 for said in running)
    assert len(asked.write(llama.ref("prefix")).texts) == 1

    asked = engine(memory_bytes=size // 2)
    assert asked.write(llama.ref("whole")).error["code"] == "model_too_large"


def test_what_is_idle_leaves(llama: Any, engine: Any) -> None:
    asked = engine(idle_seconds=0.01)
    asked.write(llama.ref("one")).wait()
    for _ in range(100):
        if not asked.loaded():
            break
        time.sleep(0.01)  # so that it was idle for longer than is allowed
        asked.scheduler._commands.put(registry(asked).unload_idle)
    assert asked.loaded() == set()


def test_a_cancelled_answer_ends_and_its_neighbours_do_not_notice(models: Any, engine: Any) -> None:
    asked = engine()
    expected = asked.write(models.ref("two"), PROMPTS[1], 60).texts
    gone = asked.write(models.ref("one"), tokens=200)
    stays = asked.write(models.ref("two"), PROMPTS[1], 60)
    gone.wait("piece")
    stays.wait("piece")
    asked.ask("cancel", target=gone.id)
    assert stays.texts == expected
    assert asked.status()["active"] == 0
    assert not {"end", "error", "answer"} & {reply.event for reply in gone.replies}
    waiting = asked.write(models.ref("three"), tokens=200)  # while it is loaded
    asked.ask("cancel", target=waiting.id)
    assert len(asked.write(models.ref("three")).texts) == 1
    assert waiting.replies == []


def test_a_connection_that_is_gone_takes_its_requests_along(llama: Any, engine: Any) -> None:
    asked = engine()
    body = {"messages": [{"role": "user", "content": "ok"}], "sampling": {"max_tokens": 200}}
    mine = asked.ask("generate", llama.ref("one"), connection="mine", **body)
    other = asked.ask("generate", llama.ref("one"), connection="other", **body)
    mine.wait("piece")
    other.wait("piece")
    asked.scheduler.forget("mine")
    other.wait()
    assert not mine.data("end")
    assert asked.status()["requests"] == 0


def test_too_many_requests_are_told_to_come_back(llama: Any, engine: Any) -> None:
    asked = engine(waiting=2)
    running = [asked.write(llama.ref("one"), tokens=200) for _ in range(2)]
    refused = asked.write(llama.ref("one"))
    assert (refused.error["kind"], refused.error["code"]) == ("busy", "engine_busy")
    assert asked.status()["requests"] == 2
    for said in running:
        said.wait()
    assert len(asked.write(llama.ref("one")).texts) == 1


def test_several_choices_with_and_without_a_seed(llama: Any, engine: Any) -> None:
    asked = engine()
    drawn = [asked.write(llama.ref("one"), n=3, sampling={"temperature": 1.5, "seed": 7}).texts for _ in range(2)]
    assert drawn[0] == drawn[1]
    assert len(set(drawn[0])) == 3
    single = asked.write(llama.ref("one"), sampling={"temperature": 1.5, "seed": 8}).texts
    assert single == drawn[0][1:2]
    extreme = asked.write(llama.ref("one"), n=2, sampling={"temperature": 1.0, "seed": 2**63 - 1})
    assert len(extreme.texts) == 2


def test_logprobs_of_the_pieces_are_those_of_the_answer(llama: Any, engine: Any) -> None:
    said = engine().write(llama.ref("one"), sampling={"logprobs": 2}).wait()
    (answer,) = said.data("answer")
    pieces = [one for piece in said.data("piece") for one in piece.get("logprobs", [])]
    assert pieces == answer["logprobs"]
    assert len(pieces) >= answer["completion_tokens"] - 1
    assert all(len(one["top"]) == 2 for one in pieces)
    assert said.data("started") == [{"prompt_tokens": said.data("started")[0]["prompt_tokens"]}]


def test_prompts_and_schemas(llama: Any, engine: Any) -> None:
    asked = engine()
    said = asked.ask("generate", llama.ref(None), prompt="The box was", sampling={"max_tokens": 4})
    assert len(said.texts) == 1
    schema = {"type": "object", "properties": {"a": {"enum": [1, 2]}}, "required": ["a"], "additionalProperties": False}
    answer = asked.write(llama.ref("one"), tokens=60, sampling={"json_schema": schema})
    assert json.loads(answer.texts[0])["a"] in (1, 2)


def test_voices_stand_on_the_fast_path_where_it_is_known(models: Any, engine: Any) -> None:
    asked = engine()
    asked.write(models.ref("one")).wait()
    (host,) = registry(asked).hosts
    fast = type(host.forward).__name__
    assert fast == ("FastForward" if "llama" in str(models.base) else "ModelForward")
    assert isinstance(host, Host)
    assert all(isinstance(one, Voice) for one in registry(asked)._residents.values())


@pytest.mark.parametrize("missing", ["/no/such/folder", "no-such-name"])
def test_a_model_that_is_not_there(llama: Any, engine: Any, missing: str) -> None:
    asked = engine()
    for ref in (ModelRef("x", missing), ModelRef("x", str(llama.base), missing)):
        error = asked.write(ref).error
        assert error["kind"] == "user"
        assert str(llama.base) not in error["message"]
    assert len(asked.write(llama.ref("one")).texts) == 1

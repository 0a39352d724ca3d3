"""Graders over OpenAI's wire: checked, run in a process of their own, stopped when they take too long."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from typing import Any

import openai
import pytest
from openai.types.fine_tuning.alpha import GraderRunResponse, GraderValidateResponse
from scripted import ScriptedEngine, says, scripted_wire
from wire import refused, strictly

from luthier.server.errors import ApiError
from luthier.server.openai import grading
from luthier.server.openai.grading import Grading

SAME = {
    "type": "string_check", "name": "same", "input": "{{ sample.output_text }}",
    "reference": "{{ item.reference_answer }}", "operation": "eq",
}  # fmt: skip
CLOSE = {
    "type": "text_similarity", "name": "close", "input": "{{ sample.output_text }}",
    "reference": "{{ item.reference_answer }}", "evaluation_metric": "gleu",
}  # fmt: skip
BOTH = {
    "type": "multi", "name": "both", "graders": {"same": SAME, "close": CLOSE},
    "calculate_output": "0.5 * same + 0.5 * close",
}  # fmt: skip
PYTHON = {"type": "python", "name": "code", "source": "def grade(sample, item):\n    return len(sample['output_text'])"}
JUDGE = {
    "type": "score_model", "name": "judge", "model": "luthier-nano", "range": [0, 10],
    "input": [{"role": "user", "content": "Rate: {{ sample.output_text }}"}],
    "sampling_params": {"seed": 5, "max_completions_tokens": 20},
}  # fmt: skip
ITEM = {"reference_answer": "forty two"}


def run(client: openai.OpenAI, grader: Any, sample: str = "forty two", item: Any = ITEM) -> Any:
    found = client.fine_tuning.alpha.graders.run(grader=grader, model_sample=sample, item=item)
    strictly(GraderRunResponse, found.model_dump(mode="json", by_alias=True))
    return found


def test_several_graders_are_put_together(client: openai.OpenAI) -> None:
    found = run(client, BOTH, "forty one")
    close = 1 / 3  # of "forty one" and "forty two", two words and one pair each, one word is shared
    assert found.reward == pytest.approx(0.5 * close)
    assert found.sub_rewards == {"same": 0.0, "close": pytest.approx(close)}
    assert (found.metadata.name, found.metadata.type) == ("both", "multi")
    same = run(client, SAME)
    assert same.reward == 1.0
    assert not any(same.metadata.errors.model_dump().values())


def test_what_cannot_be_graded_is_told(client: openai.OpenAI) -> None:
    missing = run(client, SAME, item={"other": 1})
    assert (missing.reward, missing.metadata.errors.invalid_variable_error) == (0.0, True)
    no_json = run(client, SAME | {"input": "{{ sample.output_json.answer }}"}, "no json")
    assert (no_json.reward, no_json.metadata.errors.sample_parse_error) == (0.0, True)
    formula = run(client, BOTH | {"calculate_output": "same / 0"})
    assert (formula.reward, formula.metadata.errors.formula_parse_error) == (0.0, True)


def test_a_grader_is_checked(client: openai.OpenAI) -> None:
    for grader in (SAME, CLOSE, BOTH, PYTHON, JUDGE):
        found = client.fine_tuning.alpha.graders.validate(grader=grader)  # type: ignore[arg-type]
        if grader is not BOTH:  # the type of OpenAI's client knows one grader inside of a multi grader, not several
            strictly(GraderValidateResponse, found)
        assert found.grader is not None
        assert found.grader.name == grader["name"]


@pytest.mark.parametrize(
    ("grader", "param"),
    [
        ({"type": "regex"}, "grader.type"),
        ({}, "grader.type"),
        (SAME | {"operation": "matches"}, "grader.operation"),
        (SAME | {"pattern": "(a+)+$"}, "grader.pattern"),
        (SAME | {"input": "{{ config.secret }}"}, "grader.input"),
        (BOTH | {"calculate_output": "__import__('os')"}, "grader"),
    ],
)
def test_a_wrong_grader_is_told_where(client: openai.OpenAI, grader: Any, param: str) -> None:
    graders = client.fine_tuning.alpha.graders
    told = refused(lambda: graders.validate(grader=grader), openai.BadRequestError)
    assert (told["code"], told["param"]) == ("invalid_grader", param), told


def test_code_is_run_only_where_the_operator_allows_it(client: openai.OpenAI, tmp_path: Path) -> None:
    for grader in (PYTHON, {**BOTH, "graders": {"same": SAME, "close": PYTHON}}):
        told = refused(lambda grader=grader: run(client, grader), openai.BadRequestError)
        assert told["code"] == "python_graders_off"
    with scripted_wire(tmp_path, allow_python_graders=True) as (wire, _):
        found = run(wire.client(), PYTHON)
        assert found.reward == 9.0
        broken = run(wire.client(), PYTHON | {"source": "def grade(sample, item):\n    return 1 / 0"})
        assert broken.metadata.errors.python_grader_runtime_error
        assert "ZeroDivisionError" in broken.metadata.errors.python_grader_runtime_error_details


def test_a_model_of_this_server_judges(client: openai.OpenAI, engine: ScriptedEngine) -> None:
    engine.script = says('I say {"result": 7}')
    found = run(client, JUDGE, "an answer")
    assert found.reward == 7.0
    assert found.metadata.sampled_model_name == "luthier-nano"
    assert found.metadata.token_usage == found.api_model_grader_token_usage_per_model["luthier-nano"] == 7 + 8
    assert engine.body["messages"][0] == {"role": "user", "content": "Rate: an answer"}
    assert engine.body["sampling"] == {"max_tokens": 20, "temperature": 0.0, "top_p": 1.0, "seed": 5}
    engine.script = says("well")
    assert run(client, JUDGE).metadata.errors.api_model_grader_parse_error
    told = refused(lambda: run(client, JUDGE | {"model": "gpt-4o"}), openai.NotFoundError)
    assert told["code"] == "model_not_found"


def test_a_grader_asks_only_so_often(client: openai.OpenAI, engine: ScriptedEngine) -> None:
    engine.script = says("5")
    graders = {f"g{number}": JUDGE | {"name": f"g{number}"} for number in range(17)}
    many = {"type": "multi", "name": "many", "graders": graders, "calculate_output": "g0"}
    assert refused(lambda: run(client, many), openai.BadRequestError)["code"] == "invalid_grader"
    assert len(engine.asked) == 17


def children() -> set[str]:
    """Process ids of graders that this process has started."""
    found = set()
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        try:
            stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            line = Path(f"/proc/{pid}/cmdline").read_text()
        except OSError:
            continue
        if stat[1] == str(os.getpid()) and "grade_once" in line:
            found.add(pid)
    return found


def test_a_grader_that_takes_too_long_is_stopped() -> None:
    """The time of the pure Python measure grows with the square of the texts."""
    long = " ".join(str(number) for number in range(300_000))
    request = {
        "grader": SAME | {"type": "text_similarity", "evaluation_metric": "meteor", "operation": None},
        "sample": long,
        "item": {"reference_answer": long[::-1]},
    }
    del request["grader"]["operation"]  # type: ignore[union-attr]

    async def nobody(question: dict[str, Any]) -> str:
        raise AssertionError

    began = time.monotonic()
    with pytest.raises(ApiError) as caught:
        asyncio.run(Grading().run(request, nobody, seconds=1.5))
    assert caught.value.code == "grader_timeout"
    assert time.monotonic() - began < 10
    assert children() == set()


def test_a_process_that_dies_is_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grading, "_PROGRAM", "luthier.no_such_module")

    async def nobody(question: dict[str, Any]) -> str:
        raise AssertionError

    with pytest.raises(ApiError) as caught:
        asyncio.run(Grading().run({"grader": SAME}, nobody))
    assert caught.value.code == "grader_timeout"

"""Words that are wrong: one paragraph on stderr, exit code 2, nothing on stdout."""

from __future__ import annotations

import argparse

import pytest

from luthier.cli.main import VERBS, build_parser, main
from luthier.cli.parser import columns_of
from luthier.core.errors import DataError, UsageError


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["tran"], "'train'"),
        (["train", "--modle", "minilm"], "--model"),
        (["train"], "nothing to learn from"),
        (["train", "a.yaml", "b.yaml"], "'b.yaml' is one word too many"),
        (["train", "--data", "x.csv", "--task", "clasify"], "'classify'"),
        (["train", "--data", "x.csv", "--method", "lorra"], "'lora'"),
        (["train", "--data", "x.csv", "--set", "train.epoch=3"], "'epochs'"),
        (["train", "--data", "x.csv", "--set", "epochs"], "key.path=value"),
        (["train", "--resume", "runs/a", "--data", "x.csv"], "--data cannot stand beside it"),
        (["check"], "DATA"),
        (["check", "x.csv", "--columns", "label"], "ROLE=COLUMN"),
        (["eval", "minilm"], "--data"),
        (["predict", "run"], "nothing to answer"),
        (["predict", "run", "text", "--file", "x.csv"], "either texts or --file"),
        (["predict", "run", "text", "--threshold", "7"], "from 0 to 1"),
        (["predict", "run", "text", "--threshold", "high"], "invalid float"),
        (["runs", "compare", "a"], "two runs"),
        (["runs", "shwo"], "shwo"),
        ([], "a verb is missing"),
    ],
)
def test_wrong_usage_is_one_paragraph_and_exit_code_two(words, said, api, here, capsys):
    assert main(words) == 2
    captured = capsys.readouterr()
    last = captured.err.strip().splitlines()[-1]
    assert last.startswith("error: ")
    assert said in last
    assert "Traceback" not in captured.err
    assert captured.out == ""
    assert api.calls == []


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_with_an_example_that_parses(verb, capsys):
    import shlex

    from luthier.cli.main import parse

    with pytest.raises(SystemExit) as left:
        main([verb, "--help"])
    assert left.value.code == 0
    shown = capsys.readouterr().out
    examples = [line.strip() for line in shown.splitlines() if line.startswith("  luthier ")]
    assert examples
    for example in examples:
        parse(shlex.split(example.partition(" > ")[0])[1:])


def test_every_verb_takes_json_and_debug():
    _, verbs = build_parser()
    for name, parser in verbs.items():
        taken = set(parser._option_string_actions)
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                taken = set.intersection(*(set(inner._option_string_actions) for inner in action.choices.values()))
        wanted = {"--debug"} if name == "serve" else {"--json", "--debug", "--quiet"}  # serve has its own log
        assert wanted <= taken, name


def test_columns_are_read_in_every_spelling():
    assert columns_of(["text=review,label=stars"]) == {"text": "review", "label": "stars"}
    assert columns_of(["text=review", "label=stars"]) == {"text": "review", "label": "stars"}
    assert columns_of(["{label: category}"]) == {"label": "category"}
    assert columns_of(["score=x,y"]) == {"score": "x,y"}
    assert columns_of([]) is None
    with pytest.raises(UsageError):
        columns_of(["label="])


def test_a_fault_of_ours_is_told_without_a_traceback(api, luthier, data_csv):
    api.fails = ZeroDivisionError("division by zero")
    result = luthier("check", data_csv)
    assert result.code == 1
    assert "ZeroDivisionError" in result.err
    assert "--debug" in result.err
    assert "Traceback" not in result.err


def test_debug_shows_the_traceback(api, luthier, data_csv):
    api.fails = DataError("this file is empty.", where="train.csv", remedy="Give rows.")
    result = luthier("check", data_csv, "--debug")
    assert result.code == 1
    assert "Traceback" in result.err
    assert result.err.strip().endswith("error: train.csv: this file is empty. Give rows.")


def test_ctrl_c_is_exit_code_one_without_a_traceback(api, luthier, data_csv):
    api.fails = KeyboardInterrupt()
    result = luthier("train", "--data", data_csv)
    assert result.code == 1
    assert "stopped on request" in result.err
    assert "Traceback" not in result.err


def test_control_characters_of_the_data_do_not_reach_the_terminal(api, luthier, data_csv):
    api.fails = DataError("bad label '\x1b[2J\x07'.", where="train.csv:3")
    assert "\x1b" not in luthier("check", data_csv).err

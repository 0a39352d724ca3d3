"""Which torch is installed where, decided without installing anything."""

from __future__ import annotations

import importlib.util
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def setup_env():
    spec = importlib.util.spec_from_file_location("setup_env", REPO / "scripts" / "setup_env.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["setup_env"] = module
    spec.loader.exec_module(module)
    return module


def arguments(setup_env, kind, **machine):
    facts = {"system": "Linux", "local_cpu": False, "index_reachable": False, **machine}
    return [" ".join(attempt.arguments) for attempt in setup_env.torch_attempts(kind, **facts)]


def test_without_a_gpu_a_local_cpu_build_comes_first(setup_env):
    assert arguments(setup_env, "cpu", local_cpu=True) == ["torch==2.13.0+cpu", "torch==2.13.0"]


def test_else_the_cpu_index_when_it_answers(setup_env):
    first, last = arguments(setup_env, "cpu", index_reachable=True)
    assert first == "torch==2.13.0+cpu --index-url https://download.pytorch.org/whl/cpu"
    assert last == "torch==2.13.0"


def test_and_plain_pip_when_it_does_not(setup_env):
    assert arguments(setup_env, "cpu") == ["torch==2.13.0"]


def test_cuda_is_not_satisfied_by_a_local_cpu_build(setup_env):
    from packaging.specifiers import SpecifierSet

    first = arguments(setup_env, "cuda", local_cpu=True)[0]
    assert not SpecifierSet(first.removeprefix("torch")).contains("2.13.0+cpu")
    assert SpecifierSet(first.removeprefix("torch")).contains("2.13.0")


def test_macos_has_one_build(setup_env):
    for kind in ("cpu", "cuda"):
        assert arguments(setup_env, kind, system="Darwin", index_reachable=True) == ["torch==2.13.0"]


@pytest.mark.parametrize(
    ("choice", "gpu", "kind"),
    [
        ("auto", False, "cpu"),
        ("auto", True, "cuda"),
        ("cuda", False, "cuda"),
        ("cpu", True, "cpu"),
    ],
)
def test_the_choice_beats_the_machine(choice, gpu, kind, setup_env):
    assert setup_env.torch_kind(choice, gpu=gpu) == kind


@pytest.mark.parametrize(
    ("stamp", "choice", "current"),
    [
        ({}, "auto", False),
        ({"hash": "old", "torch": "cpu"}, "auto", False),
        ({"hash": "h", "torch": "cpu"}, "auto", True),
        ({"hash": "h", "torch": "cuda"}, "auto", True),
        ({"hash": "h", "torch": "cpu"}, "cpu", True),
        ({"hash": "h", "torch": "cpu"}, "cuda", False),
    ],
)
def test_a_current_environment_is_left_alone(stamp, choice, current, setup_env):
    assert setup_env.is_current(stamp, wanted="h", choice=choice) is current


def test_the_hash_follows_lock_and_profile(setup_env, tmp_path, monkeypatch):
    for name in ("pyproject.toml", "constraints.txt"):
        (tmp_path / name).write_text(name, encoding="utf-8")
    monkeypatch.setattr(setup_env, "ROOT", tmp_path)
    before = setup_env.wanted_hash("run")
    assert before != setup_env.wanted_hash("dev")
    (tmp_path / "constraints.txt").write_text("torch==9", encoding="utf-8")
    assert before != setup_env.wanted_hash("run")


def test_a_damaged_stamp_is_no_stamp(setup_env, tmp_path, monkeypatch):
    monkeypatch.setattr(setup_env, "VENV", tmp_path)
    (tmp_path / "luthier-run.json").write_text("{", encoding="utf-8")
    assert setup_env.read_stamp("run") == {}


def test_an_index_that_never_answers_costs_seconds(setup_env, monkeypatch):
    monkeypatch.setattr(setup_env, "PROBE_SECONDS", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        begin = time.monotonic()
        assert setup_env.index_reachable(f"http://127.0.0.1:{silent.getsockname()[1]}/") is False
        assert time.monotonic() - begin < 3.0


def test_an_index_that_is_not_there_is_not_reachable(setup_env):
    assert setup_env.index_reachable("http://download.invalid/whl/cpu/torch/") is False


def test_the_script_needs_nothing_but_python():
    """It runs isolated: no site-packages, no environment."""
    command = [sys.executable, "-I", "-S", str(REPO / "scripts" / "setup_env.py"), "--help"]
    assert subprocess.run(command, capture_output=True).returncode == 0


def test_the_lock_names_the_same_torch_and_base_model(setup_env):
    pins = (REPO / "constraints.txt").read_text(encoding="utf-8").splitlines()
    assert f"torch=={setup_env.TORCH}" in pins
    assert setup_env.BASE_MODEL in pins

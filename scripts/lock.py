"""Write constraints.txt from what .venv holds: run the whole suite with it before you commit it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

TARGET = Path(__file__).resolve().parent.parent / "constraints.txt"


def locked(header: list[str], frozen: list[str]) -> list[str]:
    """The comment at the top as it is, then pins without ourselves and without local versions (+cpu)."""
    pins = [line.split("+")[0] for line in frozen if "==" in line and not line.lower().startswith("luthier=")]
    return [*header, *sorted(pins, key=str.lower)]


def main() -> None:
    header = [line for line in TARGET.read_text(encoding="utf-8").splitlines() if line.startswith("#")]
    command = [sys.executable, "-m", "pip", "freeze", "--exclude-editable"]
    frozen = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    TARGET.write_text("\n".join(locked(header, frozen)) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

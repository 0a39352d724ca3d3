"""What the data tests share: memory, measured in a fresh interpreter."""

import subprocess
import sys
from pathlib import Path

import pytest

SRC = Path(__file__).resolve().parents[2] / "src"

# A child's ru_maxrss on Linux begins at what its parent (pytest) had before exec; VmHWM does not.
TAIL = """
import resource as _resource, sys as _sys
if _sys.platform == "linux":
    with open("/proc/self/status") as _status:
        print(next(int(_line.split()[1]) for _line in _status if _line.startswith("VmHWM")) / 1024)
else:
    print(_resource.getrusage(_resource.RUSAGE_SELF).ru_maxrss / 2**20)
"""


@pytest.fixture
def measured():
    """Runs Python code with arguments: (the words that it printed, its peak resident memory in MB)."""

    def run(code, *args):
        done = subprocess.run(
            [sys.executable, "-c", code + TAIL, *map(str, args)],
            capture_output=True,
            text=True,
            check=True,
            env={"PYTHONPATH": str(SRC), "OMP_NUM_THREADS": "1"},
        )
        *words, peak = done.stdout.split()
        return words, float(peak)

    return run

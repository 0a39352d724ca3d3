"""How long was worked in a folder: known after a kill, and nothing else than work."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from luthier.searching import clockwork
from luthier.searching.clockwork import Clockwork, KeptTime

SCRIPT = """
import sys, time
from pathlib import Path
from luthier.searching.clockwork import Clockwork, KeptTime
with KeptTime(Path(sys.argv[1])).running(Clockwork(None, spent=100.0)):
    print("at work", flush=True)
    time.sleep(60)
"""


def test_a_killed_sitting_is_counted_and_the_time_after_it_is_not(tmp_path: Path) -> None:
    path = tmp_path / "time.json"
    process = subprocess.Popen([sys.executable, "-c", SCRIPT, str(path)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    began = time.monotonic()
    while KeptTime(path).seconds() < 101.5:
        assert time.monotonic() - began < 30
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    worked = time.monotonic() - began
    time.sleep(0.5)
    assert 101.5 <= KeptTime(path).seconds() <= 100.5 + worked


def test_the_end_is_counted_to_its_last_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = SimpleNamespace(now=5.0)
    monkeypatch.setattr(clockwork.clock, "monotonic", lambda: world.now)
    kept = KeptTime(tmp_path / "time.json")
    assert kept.seconds() == 0.0

    def work() -> None:
        with kept.running(Clockwork(60.0, spent=2.0)):
            world.now += 7.25
            raise KeyError

    with pytest.raises(KeyError):
        work()
    assert kept.seconds() == 9.25


@pytest.mark.parametrize("text", ["", "{", "[]", '{"seconds": "many"}', '{"seconds": -3}'])
def test_a_file_that_tells_nothing_counts_as_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "time.json").write_text(text, encoding="utf-8")
    assert KeptTime(tmp_path / "time.json").seconds() == 0.0

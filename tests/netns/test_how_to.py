"""The page "Use real packet loss": its commands are run as they stand there."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.pages import fences, text_of
from tests.netns.network import NAMES, need_kernel, remove

pytestmark = [pytest.mark.e2e, pytest.mark.proof, pytest.mark.ci]

SIDES = ("server", "client")
(COMMANDS,) = fences(text_of("lab/use-real-packet-loss.md"), "sh")


@pytest.fixture
def commands():
    """Give the commands, with names of namespaces that nobody else has; what a failure leaves is removed."""
    need_kernel()
    mine = {side: f"sse-{side}-{os.getpid()}" for side in SIDES}
    text = COMMANDS
    for side, name in mine.items():
        text = text.replace(f"sse-{side}", name)
    yield text
    for name in mine.values():
        if (NAMES / name).exists():
            remove(name)


def test_the_commands(commands, tmp_path, monkeypatch):
    """Packets are lost, the network goes for five seconds, and every event comes once, in order (R32, R42)."""
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
    done = subprocess.run(
        ["/bin/sh", "-euc", commands], capture_output=True, text=True, timeout=90, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    events = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text("utf-8").splitlines()]
    assert [event["id"] for event in events] == [str(number) for number in range(1, 152)]
    assert events[-1]["event"] == "done"
    assert events[-1]["connection"] > 1
    assert "Connection lost" in done.stderr
    assert "Connection restored" in done.stderr
    assert "151 events.jsonl" in done.stdout
    assert int(re.search(r"counter packets (\d+)", done.stdout)[1]) > 0
    assert json.loads((tmp_path / "server.jsonl").read_text("utf-8"))["url"].startswith("http://10.77.0.1:")
    assert list(NAMES.glob(f"sse-*-{os.getpid()}")) == []


def test_it_is_short():
    """About 15 lines show everything."""
    assert len(COMMANDS.splitlines()) <= 15

"""The networks themselves: what they do to packets, and that nothing of them is left."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.netns.network import NAMES, call, lives, need_kernel, open_network, sweep

pytestmark = [pytest.mark.e2e, pytest.mark.proof]

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module", autouse=True)
def kernel():
    """Tell a user what is missing; CI must have it."""
    need_kernel()


OWNER = """
import json, subprocess, time
from tests.netns.network import call, open_network

with open_network() as network:
    command = ["ip", "netns", "exec", network.server.name, "sleep", "60"]
    inside = subprocess.Popen(command, start_new_session=True)
    while not call("ip", "netns", "pids", network.server.name):
        time.sleep(0.01)
    print(json.dumps([network.server.name, network.client.name]), flush=True)
    time.sleep(60)
"""


def test_nothing_is_left():
    """What is left of a process behind `kill -9`, programs too, is ended by whoever comes next."""
    command = [sys.executable, "-c", OWNER]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=ROOT) as process:
        names = json.loads(process.stdout.readline())
        assert sweep() == []  # a network in use is left alone
        (pid, *_) = call("ip", "netns", "pids", names[0]).split()
        process.kill()
    assert all((NAMES / name).exists() for name in names)
    with open_network():
        pass
    assert not any((NAMES / name).exists() for name in names)
    assert not lives(pid)


def test_without_rights_a_test_is_skipped_aloud(monkeypatch):
    """It says what is missing; in CI, where nobody reads that, it fails."""
    lost = "-net_admin,-sys_admin"
    asked = [sys.executable, "-c", "from tests.netns.network import missing; print(missing())"]
    command = ["setpriv", "--bounding-set", lost, "--inh-caps", lost, "--", *asked]
    why = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout.strip()
    assert why.startswith("`ip netns add ")
    monkeypatch.setattr("tests.netns.network.missing", lambda: why)
    for in_ci, outcome in (("", pytest.skip.Exception), ("true", pytest.fail.Exception)):
        monkeypatch.setenv("CI", in_ci)
        with pytest.raises(outcome, match="no network namespaces: `ip netns add "):
            need_kernel()

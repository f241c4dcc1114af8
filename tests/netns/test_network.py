"""The networks themselves: what they do to packets, and that nothing of them is left."""

import json
import os
import signal
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
from tests.netns.network import open_network

with open_network() as network:
    command = ["ip", "netns", "exec", network.server.name, "sleep", "60"]
    inside = subprocess.Popen(command, start_new_session=True)
    print(json.dumps([network.server.name, network.client.name]), flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL], ids=lambda number: number.name
)
def test_nothing_is_left(number):
    """Design 4: namespaces and programs end with their process; after `kill -9` whoever comes next ends them."""
    command = [sys.executable, "-c", OWNER]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=ROOT) as process:
        names = json.loads(process.stdout.readline())
        assert sweep() == []  # a network in use is left alone
        (pid, *_) = call("ip", "netns", "pids", names[0]).split()
        process.send_signal(number)
        process.wait(20)
    if number is signal.SIGKILL:
        assert all((NAMES / name).exists() for name in names)
        with open_network():
            pass
    assert not any((NAMES / name).exists() for name in names)
    assert not lives(pid)


def test_without_rights_a_test_is_skipped_aloud(tmp_path):
    """In CI, where nobody reads that, it fails."""
    file = tmp_path / "test_user.py"
    file.write_text(
        "from tests.netns.network import need_kernel\n\ndef test_it():\n    need_kernel()\n", "utf-8"
    )
    rights = [
        "setpriv",
        "--bounding-set",
        "-net_admin,-sys_admin",
        "--inh-caps",
        "-net_admin,-sys_admin",
        "--",
    ]
    asked = [
        sys.executable,
        *["-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "tests.conftest"],
        str(file),
    ]
    for in_ci, said in (("", "SKIPPED 1, no network namespaces: `ip netns add"), ("true", "1 failed")):
        environment = {**os.environ, "CI": in_ci}
        done = subprocess.run(
            [*rights, *asked], capture_output=True, text=True, check=False, cwd=ROOT, env=environment
        )
        assert said in done.stdout
        assert done.returncode == bool(in_ci)

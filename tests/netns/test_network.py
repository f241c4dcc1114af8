"""The networks themselves: what they do to packets, and that nothing of them is left."""

import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.netns.network import (
    NAMES,
    SERVER,
    Namespace,
    call,
    lives,
    need_kernel,
    open_network,
    remove,
    sweep,
)

pytestmark = [pytest.mark.e2e, pytest.mark.proof]

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module", autouse=True)
def kernel():
    """Tell a user what is missing; CI must have it."""
    need_kernel()


@pytest.fixture
def network():
    """Give two links."""
    with open_network("wifi", "mobile") as network:
        yield network


@pytest.fixture
def datagrams(network):
    """Give a function that sends packets to the server, which nobody sends again, and counts what arrives."""

    def new():
        new = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        new.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_000_000)
        return new

    with network.server.inside(new) as server, network.client.inside(new) as client:
        server.bind((SERVER, 9000))

        def send(count, size=100):
            for _ in range(count):
                client.sendto(b"x" * size, (SERVER, 9000))
            got = 0
            while select.select([server], [], [], 0.2)[0]:
                server.recv(4096)
                got += 1
            return got

        send.server, send.client = server, client
        yield send


def test_loss_is_what_was_asked_for(network, datagrams):
    """R32, design 4: of 4,000 packets 10 % are lost (four standard deviations: 1.9 %), and each one is counted."""
    network.loss(0.1)
    got = datagrams(4000)
    assert 0.08 < 1 - got / 4000 < 0.12
    assert network.dropped() == (0, 4000 - got)
    assert network.arrived()[1] == 4000


def test_cut_and_mend(network, datagrams):
    """R20: a cut loses all without an error for anybody; counts go on, and so does what passed before."""
    network.cut()
    assert datagrams(10) == 0
    network.mend()
    assert datagrams(10) == 10
    network.cut()
    assert datagrams(7) == 0
    assert network.dropped() == (0, 17)


def test_rate(network, datagrams):
    """R10: 800 kbps are 100 kB/s, within 10 %, once the first frame, which passes at once, has passed."""
    network.rate(800)
    count, size = 100, 1208  # 1,250 with the headers of UDP, IP and Ethernet
    datagrams.server.settimeout(5)
    began = time.monotonic()
    for number in range(count + 20):
        if number < count:
            datagrams.client.sendto(b"x" * size, (SERVER, 9000))
        if number >= 20:  # which wait in the queue, that has room for 40
            datagrams.server.recv(size)
    lasted = time.monotonic() - began
    assert count * 1250 * 8 / lasted / 1000 == pytest.approx(800, rel=0.1)


def test_down_and_up(network, datagrams):
    """R51: without a link sending fails at once; with it everything is as before."""
    network.down()
    network.down(abort=True)
    with pytest.raises(OSError, match="unreachable"):
        datagrams(1)
    network.up()
    network.up()
    assert datagrams(1) == 1


@pytest.mark.parametrize("same_address", [True, False])
def test_handoff(network, datagrams, same_address):
    """R42, R46: the client is on the other link only, there and back, with its old or another address."""
    before = network.address
    network.handoff("mobile", gap=0.2, same_address=same_address)
    assert (network.address == before) is same_address
    wifi = network.client.carried("wifi")
    assert datagrams(10) == 10
    assert network.client.carried("wifi") == wifi
    assert network.client.carried("mobile") > 10 * 100
    network.handoff("wifi", same_address=same_address)
    assert network.address == before
    assert datagrams(10) == 10


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


def test_other_names_are_left_alone():
    """Only what bears our kind of name is ever removed; what has gone already is no error."""
    name = f"resilient-sse-of-somebody-else-{os.getpid()}"
    call("ip", "netns", "add", name)
    try:
        assert sweep() == []
        assert (NAMES / name).exists()
    finally:
        remove(name)
    remove(name)


def test_a_kernel_that_refuses():
    """The error quotes the command and what it said, and leaves no namespace."""
    with (
        Namespace("full") as space,
        pytest.raises(Exception, match=r"`ip -n .* link set .*` failed: .*nowhere"),
    ):
        space.ip("link", "set", "dev", "nowhere", "up")
    assert not (NAMES / space.name).exists()


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
    pytest_ = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-p",
        "tests.conftest",
        str(file),
    ]
    for in_ci, said in (("", "SKIPPED 1, no network namespaces: `ip netns add"), ("true", "1 failed")):
        environment = {**os.environ, "CI": in_ci}
        done = subprocess.run(
            [*rights, *pytest_], capture_output=True, text=True, check=False, cwd=ROOT, env=environment
        )
        assert said in done.stdout
        assert done.returncode == bool(in_ci)

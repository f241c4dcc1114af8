"""Namespaces that outlive their process, and those that must not be mistaken for such."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.netns import naming
from tests.netns.naming import DIRECTORY, new_name, remove, sweep
from tests.netns.network import open_network
from tests.netns.stage import need_kernel
from tests.netns.tools import NetnsCommandError, NetnsError, call

# Every suite on the machine sweeps the same namespaces, so this one runs when no other does.
pytestmark = [pytest.mark.e2e, pytest.mark.proof]

ROOT = Path(__file__).parents[2]

OWNER = """
import json, time
from tests.netns.network import open_network

with open_network() as network:
    deaf = network.server.run("-c", "import time; print('{}', flush=True); time.sleep(60)")
    deaf.wait_for(lambda record: True, seconds=10)
    (inside,) = [pid for pid in network.server.pids() if pid != deaf.pid]
    print(json.dumps([network.server.name, network.client.name, inside, deaf.pid]), flush=True)
    time.sleep(60)
"""


@pytest.fixture(scope="module", autouse=True)
def kernel():
    """Tell a user what is missing; CI must have it."""
    need_kernel()


def exists(name):
    """Tell whether there is a namespace of this name."""
    return (DIRECTORY / name).exists()


def runs(pid):
    """Tell whether there is such a process, other than a dead one that its parent has not yet noticed."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.fixture
def owner():
    """Start a process with a network in which a program runs that does not end by itself."""
    with subprocess.Popen([sys.executable, "-c", OWNER], stdout=subprocess.PIPE, cwd=ROOT) as process:
        try:
            process.names = json.loads(process.stdout.readline())
            yield process
        finally:
            process.kill()
            sweep()


def test_killed_owner(owner):
    """Design 4: after `kill -9` namespaces and programs are left; the next sweep ends both."""
    server, client, *pids = owner.names
    owner.send_signal(signal.SIGKILL)
    time.sleep(0.1)
    assert exists(server)
    assert exists(client)
    assert all(map(runs, pids))
    assert set(sweep()) == {server, client}
    assert not exists(server)
    assert not exists(client)
    until = time.monotonic() + 5
    while any(map(runs, pids)) and time.monotonic() < until:
        time.sleep(0.02)
    assert not any(map(runs, pids))


def test_the_next_network_sweeps(owner):
    """Nobody has to think of it: whoever opens a network cleans up."""
    server, client, *_ = owner.names
    owner.kill()
    owner.wait()
    with open_network():
        assert not exists(server)
        assert not exists(client)


def test_living_owner(owner):
    """A network in use is left alone by the sweeps of others."""
    server, client, *pids = owner.names
    assert sweep() == []
    with open_network():
        pass
    assert exists(server)
    assert exists(client)
    assert all(map(runs, pids))


def test_other_names_are_left_alone():
    """Only what bears our kind of name is ever removed, whoever made it and however dead they are."""
    name = "resilient-sse-of-somebody-else"
    call("ip", "netns", "add", name)
    try:
        assert name not in sweep()
        assert exists(name)
    finally:
        call("ip", "netns", "delete", name)


def test_a_process_id_that_is_used_again(monkeypatch):
    """The id alone does not protect a namespace: it is the start of the process, too, that counts."""
    name = new_name("old").replace(f"-{os.getpid()}-", f"-{os.getpid()}-1")
    call("ip", "netns", "add", name)
    assert sweep() == [name]


def test_names_differ():
    """Two namespaces of one process have two names."""
    assert new_name("client") != new_name("client")


def test_removal_of_what_is_gone():
    """Two sweeps at once do not fail over each other."""
    remove(new_name("gone"))


def test_removal_that_fails(monkeypatch):
    """A namespace that stays is an error."""
    name = new_name("stays")
    call("ip", "netns", "add", name)
    real = naming.call

    def refuse(program, *arguments):
        if "delete" in arguments:
            raise NetnsCommandError([program, *arguments], "no")
        return real(program, *arguments)

    monkeypatch.setattr(naming, "call", refuse)
    with pytest.raises(NetnsCommandError, match=f"`ip netns delete {name}` failed: no"):
        remove(name)
    monkeypatch.undo()
    remove(name)
    assert not exists(name)


def test_a_process_that_cannot_be_killed(monkeypatch):
    """It is named instead of being waited for without end."""
    monkeypatch.setattr(naming, "_DEATH_SECONDS", 0.05)
    monkeypatch.setattr(naming, "_kill", lambda *_: None)
    with pytest.raises(NetnsError, match=r"processes \[\d+, \d+\] in the namespace .* could not be killed"):  # noqa: SIM117, PT012 - the block's end raises
        with open_network() as network:
            program = network.client.run("-c", "import time; print('{}', flush=True); input()")
            program.wait_for(lambda _: True, seconds=10)
            monkeypatch.setattr(type(program), "end", lambda _: None)
    monkeypatch.undo()
    program.end()
    remove(network.client.name)
    assert not exists(network.client.name)
    assert not exists(network.server.name)


def test_no_directory(monkeypatch, tmp_path):
    """Where no namespace was ever made there is nothing to sweep."""
    monkeypatch.setattr(naming, "DIRECTORY", tmp_path / "none")
    assert sweep() == []

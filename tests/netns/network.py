"""
A client and a server, each in a network namespace of its own, and the links between them, whose packets are real.

A namespace outlives the process that made it, and nobody can clean up after `kill -9` but the next to come: the
name tells whose it is.
"""

import ctypes
import json
import os
import re
import signal
import socket
import subprocess
import time
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from pathlib import Path

from tests.skipping import skip_aloud

SERVER = "10.77.0.1"
"""The server's address.  It is reached over every link, and exists only inside the namespaces."""

NAMES = Path("/var/run/netns")
"""Where `ip` keeps the names of namespaces."""

_OURS = re.compile(r"resilient-sse-(?P<pid>\d+)-[0-9a-f]{8}-[a-z]+")
_CLONE_NEWNET = 0x40000000
_CALL_SECONDS = 20.0
_DEATH_SECONDS = 5.0
# One full frame of 1,514 bytes must fit, or nothing passes at all; 10 ms of a fast link, or it misses its rate.
_LEAST_BURST, _BURST_SECONDS = 1_600, 0.01
_THOUSANDTHS = 1000


class NetworkError(Exception):
    """The kernel, or one of its programs, refuses something."""


def call(*command, text=None):
    """Run a program and return what it prints."""
    try:
        done = subprocess.run(
            command, input=text, capture_output=True, text=True, check=False, timeout=_CALL_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NetworkError(f"`{' '.join(command)}` failed: {error}") from error
    if done.returncode:
        raise NetworkError(f"`{' '.join(command)}` failed: {done.stderr.strip()}")
    return done.stdout


class Namespace:
    """A network namespace of this process, for the time of a `with` block."""

    def __init__(self, role):
        self.name = f"resilient-sse-{os.getpid()}-{os.urandom(4).hex()}-{role}"

    def __enter__(self):
        call("ip", "netns", "add", self.name)
        self.ip("link", "set", "dev", "lo", "up")
        return self

    def __exit__(self, *_):
        remove(self.name)

    def ip(self, *arguments):
        """Run `ip` inside."""
        return call("ip", "-n", self.name, *arguments)

    def run(self, *command, text=None):
        """Run any program inside."""
        return call("ip", "netns", "exec", self.name, *command, text=text)

    @contextmanager
    def entered(self):
        """Have this thread be inside for the time of a block: its sockets and its threads stay there."""
        libc = ctypes.CDLL(None, use_errno=True)  # os.setns came with Python 3.12
        with ExitStack() as stack:
            here, there = (
                stack.enter_context(Path(path).open("rb"))
                for path in ("/proc/thread-self/ns/net", NAMES / self.name)
            )
            if libc.setns(there.fileno(), _CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "a thread may not enter a namespace")
            try:
                yield
            finally:
                libc.setns(here.fileno(), _CLONE_NEWNET)

    def abort_connections(self, address):
        """End the TCP connections of an address of ours with an error, and return how many there were."""
        return len(self.run("ss", "-K", "-H", "-t", "-4", "-n", "src", address).splitlines())

    def counters(self):
        """Return the packets that each counter of ours has seen."""
        found = json.loads(self.run("nft", "-j", "list", "counters", "table", "ip", "fault"))["nftables"]
        return {item["counter"]["name"]: item["counter"]["packets"] for item in found if "counter" in item}

    def sent_again(self):
        """Return how many segments TCP has sent again from here."""
        (line,) = (
            line for line in self.run("nstat", "-asz", "TcpRetransSegs").splitlines() if "Retrans" in line
        )
        return int(line.split()[1])


def remove(name):
    """Kill what runs in a namespace and remove it; it is no error if another was quicker."""
    until = time.monotonic() + _DEATH_SECONDS
    try:
        while (pids := call("ip", "netns", "pids", name).split()) and time.monotonic() < until:
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
            time.sleep(0.01)
        call("ip", "netns", "delete", name)
    except NetworkError:
        if (NAMES / name).exists():
            raise


def sweep():
    """Remove what processes have left that are dead, and return its names."""
    names = [path.name for path in NAMES.iterdir()] if NAMES.exists() else []
    left = [name for name in names if (ours := _OURS.fullmatch(name)) and not lives(ours["pid"])]
    for name in left:
        remove(name)
    return left


def lives(pid):
    """Whether there is such a process, other than a dead one that its parent has not yet noticed."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


class Network:
    """
    Two namespaces and the links between them; made by `open_network`.

    The client uses one link at a time and has an address there.  The others are down, as a telephone's.
    """

    def __init__(self, client, server, links):
        self.client, self.server, self.links = client, server, links
        self._loss, self._cut, self._refuse = 0.0, False, False
        server.ip("address", "add", f"{SERVER}/32", "dev", "lo")
        for link in links:
            # Made inside, so that the machine's own list of interfaces never shows it.
            client.ip("link", "add", "name", link, "type", "veth", "peer", "name", link, "netns", server.name)
            for space in (client, server):
                # One packet is one segment, as on a wire; and no chatter of IPv6's.
                space.ip("link", "set", "dev", link, "gso_max_segs", "1", "addrgenmode", "none")
            server.ip("address", "add", f"{self._gateway(link)}/32", "dev", link)
            server.ip("link", "set", "dev", link, "up")
        self.fault()
        self.link = links[0]
        self.address = self._own_address(self.link)
        self.up()

    def fault(self, *, loss=None, cut=None, refuse=None):
        """
        Begin or end faults; `None` leaves one as it is.

        Args:
            loss: The share of all packets that is dropped, at random, each for itself.
            cut: Whether every packet is dropped without a word: a connection stays and is silent.
            refuse: Whether the client's new connections are reset, as at a port without a server; others go on.
        """
        self._loss = self._loss if loss is None else loss
        self._cut = self._cut if cut is None else cut
        self._refuse = self._refuse if refuse is None else refuse
        # Packets are dropped where they arrive: a sender is told when its own output drops one, but a network
        # tells nobody.  Counters go on from where they are.
        odds = f"numgen random mod {_THOUSANDTHS} < {round(self._loss * _THOUSANDTHS)}"
        drop = f'{odds} counter name "lost" drop' if self._loss else ""
        drop = 'counter name "cut" drop' if self._cut else drop
        reset = "tcp flags & (syn | ack) == syn reject with tcp reset"
        for space, opening in ((self.client, ""), (self.server, reset if self._refuse else "")):
            rules = [
                "table ip fault {",
                *(f"counter {name} {{ }}" for name in ("seen", "lost", "cut")),
                "chain arriving { type filter hook prerouting priority raw; policy accept; }",
                "chain opening { type filter hook input priority filter; policy accept; }",
                "}",
                "flush chain ip fault arriving",
                "flush chain ip fault opening",
                'add rule ip fault arriving iifname != "lo" counter name "seen"',
                f'add rule ip fault arriving iifname != "lo" {drop}' if drop else "",
                f'add rule ip fault opening iifname != "lo" {opening}' if opening else "",
            ]
            space.run("nft", "-f", "-", text="\n".join([*rules, ""]))

    def rate(self, down, up=None):
        """Let no more pass than so many kbit/s, Ethernet's headers included; the rest waits for up to 0.5 s."""
        # A queue lies before the link, and so with the sender.
        for space, kbps in ((self.server, down), (self.client, down if up is None else up)):
            burst = max(_LEAST_BURST, round(kbps * 1000 / 8 * _BURST_SECONDS))
            bucket = ("tbf", "rate", f"{round(kbps * 1000)}bit", "burst", f"{burst}b", "latency", "500ms")
            for link in self.links:
                call("tc", "-n", space.name, "qdisc", "replace", "dev", link, "root", *bucket)

    def down(self, *, abort=False):
        """Take the link down; with *abort* the client's connections end with an error, as on telephones."""
        self.client.ip("link", "set", "dev", self.link, "down")
        if abort:
            self.client.abort_connections(self.address)

    def up(self):
        """Bring the link up again, with the address it had: connections that lived through it go on."""
        address, gateway = f"{self.address}/32", self._gateway(self.link)
        way = ("dev", self.link, "src", self.address)
        self.client.ip("address", "replace", address, "dev", self.link)
        self.client.ip("link", "set", "dev", self.link, "up")
        self.client.ip("route", "replace", gateway, *way)
        self.client.ip("route", "replace", SERVER, "via", gateway, *way)
        self.server.ip("route", "replace", address, "dev", self.link)

    def handoff(self, target, *, gap=0.0, same_address=False, abort=False):
        """
        Move the client to another link: the one in use goes down, and after *gap* seconds that one comes up.

        With *same_address* the address moves along, and connections may live on.  Otherwise the old ones are
        dead, although nobody tells the server, nor the client unless *abort*.
        """
        self.down(abort=abort)
        self.client.ip("address", "delete", f"{self.address}/32", "dev", self.link)
        self.server.ip("route", "delete", f"{self.address}/32", "dev", self.link)
        time.sleep(gap)
        self.link = target
        self.address = self.address if same_address else self._own_address(target)
        self.up()

    def dropped(self):
        """Return how many packets were dropped so far, on the way to the client and to the server."""
        return tuple(
            sum(count for name, count in space.counters().items() if name != "seen")
            for space in (self.client, self.server)
        )

    def arrived(self):
        """Return how many packets came to the end of a link so far, before any of them was dropped."""
        return tuple(space.counters()["seen"] for space in (self.client, self.server))

    def _gateway(self, link):
        return f"10.77.{self.links.index(link) + 1}.1"

    def _own_address(self, link):
        return f"10.77.{self.links.index(link) + 1}.2"


@contextmanager
def open_network(*links):
    """
    Make a network for the time of the block, whose client begins on the first link.

    What an earlier process left, because it was killed, is removed first.
    """
    sweep()
    with Namespace("server") as server, Namespace("client") as client:
        yield Network(client, server, links or ("wifi",))


@cache
def missing():
    """Return why there can be no network here, `None` if there can be one: everything is tried."""
    try:
        with open_network() as network:
            network.fault(loss=0.1)
            network.rate(100)
            network.client.abort_connections(network.address)
            with network.client.entered():
                socket.socket().close()
    except (NetworkError, OSError) as error:
        return f"{error} (it takes Linux, root, iproute2 and nftables, and a container --privileged)"
    return None


def need_kernel():
    """Have a test go on only where there can be networks; elsewhere skip it aloud, or fail it in CI."""
    if why := missing():
        skip_aloud(f"no network namespaces: {why}")

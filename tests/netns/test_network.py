"""The networks themselves: what they do to packets, and that nothing of them is left."""

import os
import select
import socket
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.netns import network as network_module
from tests.netns.namespace import Namespace
from tests.netns.naming import DIRECTORY
from tests.netns.network import SERVER, open_network
from tests.netns.stage import need_kernel
from tests.netns.tools import NetnsUnavailableError

pytestmark = [pytest.mark.e2e, pytest.mark.proof]


@pytest.fixture(scope="module", autouse=True)
def kernel():
    """Tell a user what is missing; CI must have it."""
    need_kernel()


@pytest.fixture
def network():
    """Give two links."""
    with open_network("wifi", "mobile") as network:
        yield network


class Datagrams:
    """A socket on either side, for packets that nobody sends again."""

    def __init__(self, network):
        self.network = network
        self.server = network.server.inside(self.new)
        self.server.bind((SERVER, 9000))
        self.client = network.client.inside(self.new)
        self.client.bind(("", 9001))

    @staticmethod
    def new():
        """Make one with room for all packets of a test."""
        new = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        new.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_000_000)
        return new

    def up(self, count=1, size=100):
        """Send to the server and count what arrives."""
        for _ in range(count):
            self.client.sendto(b"x" * size, (SERVER, 9000))
        return self.received(self.server)

    def down(self, count=1):
        """Send to the client's own address and count what arrives."""
        for _ in range(count):
            self.server.sendto(b"x", (self.network.address, 9001))
        return self.received(self.client)

    def received(self, end):
        """Count what has arrived, and give what has not 0.1 s."""
        got = 0
        while select.select([end], [], [], 0.1)[0]:
            end.recv(4096)
            got += 1
        return got

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.close()
        self.client.close()


@pytest.fixture
def datagrams(network):
    """Give a pair of sockets."""
    with Datagrams(network) as datagrams:
        yield datagrams


def test_loss_is_what_was_asked_for(network, datagrams):
    """R32, design 4: of 4,000 packets 10 % are lost (four standard deviations: 1.9 %), and each one is counted."""
    network.loss(0.1)
    got = datagrams.up(4000)
    assert 0.08 < 1 - got / 4000 < 0.12
    assert network.dropped("up") == 4000 - got
    assert network.arrived("up") == 4000


@pytest.mark.parametrize("share,got", [(1, 0), (0, 50)])
def test_loss_of_all_and_of_nothing(network, datagrams, share, got):
    """The ends of the scale are exact."""
    network.loss(0.5)
    network.loss(share)
    assert datagrams.up(50) == got


def test_loss_in_one_direction(network, datagrams):
    """What is lost on the way to the client does not touch the way to the server."""
    network.loss(1, direction="down")
    assert datagrams.up(10) == 10
    assert datagrams.down(10) == 0
    assert (network.dropped("up"), network.dropped("down")) == (0, 10)


def test_loss_on_one_link(network, datagrams):
    """A fault of the Wi-Fi stays there."""
    network.loss(1, link="wifi")
    assert datagrams.up(10) == 0
    network.handoff("mobile")
    assert datagrams.up(10) == 10


def test_cut_and_mend(network, datagrams):
    """R20: a cut loses all without an error for anybody, and loss goes on where it was afterwards."""
    network.loss(1, direction="down")
    network.cut()
    assert datagrams.up(10) == 0
    network.mend()
    assert datagrams.up(10) == 10
    assert datagrams.down(10) == 0


def test_counters_go_on(network, datagrams):
    """A change of faults does not begin the count anew."""
    network.cut()
    datagrams.up(5)
    network.mend()
    network.loss(1)
    datagrams.up(7)
    network.loss(0)
    assert network.dropped() == 12


def test_rate(network, datagrams):
    """R10: 800 kbps are 100 kB/s, within 10 %, once the first frame, which passes at once, has passed."""
    network.rate(800, direction="up")
    count, size = 100, 1208  # 1,250 with the headers of UDP, IP and Ethernet
    datagrams.server.settimeout(5)
    began = time.monotonic()
    for number in range(count):
        datagrams.client.sendto(b"x" * size, (SERVER, 9000))
        if number >= 20:  # which wait in the queue, that has room for 40
            datagrams.server.recv(size)
    for _ in range(20):
        datagrams.server.recv(size)
    lasted = time.monotonic() - began
    assert count * 1250 * 8 / lasted / 1000 == pytest.approx(800, rel=0.1)


def test_no_rate(network, datagrams):
    """`None` takes a rate away, and it may be taken away twice."""
    network.rate(10)
    network.rate(None)
    network.rate(None)
    began = time.monotonic()
    assert datagrams.up(40, 1208) == 40  # 40 s at 10 kbps
    assert time.monotonic() - began < 5


def test_down_and_up(network, datagrams):
    """R51: without a link sending fails at once; with it everything is as before."""
    address = network.address
    network.down()
    with pytest.raises(OSError, match="unreachable"):
        datagrams.up()
    network.up()
    assert datagrams.up() == 1
    assert network.address == address


def test_down_twice_and_up_twice(network, datagrams):
    """Neither is an error."""
    network.down()
    network.down(abort=True)
    network.up()
    network.up()
    assert datagrams.up() == 1


@pytest.mark.parametrize("same_address", [True, False])
def test_handoff(network, datagrams, same_address):
    """R42, R46: the client is on the other link only, there and back, with its old or another address."""
    before = network.address
    began = time.monotonic()
    network.handoff("mobile", gap=0.2, same_address=same_address)
    assert time.monotonic() - began >= 0.2
    assert (network.address == before) is same_address
    wifi = network.client.carried("wifi")
    assert datagrams.up(10) == 10
    assert datagrams.down(10) == 10
    assert network.client.carried("wifi") == wifi
    assert network.client.carried("mobile") > 10 * 100
    network.handoff("wifi", same_address=same_address)
    assert network.address == before
    assert datagrams.up(10) == 10
    assert network.client.carried("wifi") > wifi


@pytest.fixture
def connection(network):
    """Give both ends of a TCP connection."""
    listener = network.server.inside(lambda: socket.create_server((SERVER, 9000)))
    with listener, network.client.connect(SERVER, 9000) as client, listener.accept()[0] as server:
        client.settimeout(3)
        server.settimeout(3)
        yield client, server


def test_handoff_that_aborts(network, connection):
    """R46: as on a telephone, the program is told that its connection has ended; the server is not."""
    client, server = connection
    network.handoff("mobile", abort=True)
    with pytest.raises(ConnectionAbortedError):
        client.recv(1)
    server.settimeout(0.2)
    with pytest.raises(TimeoutError):
        server.recv(1)


def test_handoff_in_silence(network, connection):
    """R42: without that, the old connection is open on both sides and dead."""
    client, server = connection
    network.handoff("mobile")
    client.settimeout(0.5)
    server.sendall(b"x")
    with pytest.raises(TimeoutError):
        client.recv(1)


def test_handoff_that_keeps_the_address(network, connection):
    """R42: a connection lives on where its address does."""
    client, server = connection
    network.handoff("mobile", same_address=True)
    server.sendall(b"x")
    assert client.recv(1) == b"x"
    client.sendall(b"y")
    assert server.recv(1) == b"y"


def test_lost_segments_are_sent_again(network, connection):
    """R39: TCP mends loss by itself, and the kernel tells how often it had to."""
    client, server = connection
    network.loss(0.1, direction="down")
    size = 400_000
    sender = threading.Thread(target=server.sendall, args=(b"x" * size,))
    sender.start()
    client.settimeout(20)
    got = 0
    while got < size:
        got += len(client.recv(size))
    sender.join()
    assert network.dropped("down") > 0
    assert network.server.tcp()["RetransSegs"] > 0


def test_refuse_and_accept(network, connection):
    """R82: new connections are refused at once, those that are open go on, and then all is as before."""
    client, server = connection
    network.refuse()
    with pytest.raises(ConnectionRefusedError):
        network.client.connect(SERVER, 9000)
    server.sendall(b"x")
    assert client.recv(1) == b"x"
    client.sendall(b"y")
    assert server.recv(1) == b"y"
    network.server.connect(SERVER, 9000).close()  # the server's own side is not touched
    network.accept()
    network.client.connect(SERVER, 9000).close()


@pytest.mark.parametrize("target", ["wifi", "5g"])
def test_handoff_to_nowhere(network, target):
    """An error names the other links."""
    with pytest.raises(ValueError, match=f"another link of this network \\(mobile\\), not to '{target}'"):
        network.handoff(target)


def test_impossible_wishes(network, datagrams):
    """What cannot be done is refused before anything is."""
    with pytest.raises(ValueError, match="a gap lasts 0 seconds or longer"):
        network.handoff("mobile", gap=-1)
    with pytest.raises(ValueError, match="has the links wifi, mobile, but no '5g'"):
        network.loss(0.1, link="5g")
    with pytest.raises(ValueError, match="a share of packets"):
        network.loss(10)
    with pytest.raises(ValueError, match="a rate is"):
        network.rate(0)
    with pytest.raises(ValueError, match="a direction is"):
        network.rate(100, direction="sideways")
    with pytest.raises(ValueError, match="a direction is"):
        network.cut(direction="sideways")
    with pytest.raises(ValueError, match="a direction is"):
        network.dropped("sideways")
    assert datagrams.up() == 1


def test_links_are_checked_first():
    """Names that cannot be used are refused before anything is made."""
    with pytest.raises(ValueError, match="not 'Wi-Fi'"), open_network("Wi-Fi"):
        pass


def leftovers():
    """What this process has open, has made, or has let run, as far as it can be seen from outside."""
    interfaces = names_in("/sys/class/net")
    mine = [name for name in names_in(DIRECTORY) if f"-{os.getpid()}-" in name]
    children = Path(f"/proc/self/task/{threading.get_native_id()}/children").read_text(encoding="utf-8")
    return interfaces, mine, children, len(names_in("/proc/self/fd")), threading.active_count()


def names_in(directory):
    """List a directory."""
    return sorted(path.name for path in Path(directory).iterdir())


@pytest.mark.parametrize("error", [None, KeyError, KeyboardInterrupt])
def test_nothing_is_left(error):
    """No namespace, interface, process, thread or file is left, however the block ends."""
    before = leftovers()
    with suppress(KeyError, KeyboardInterrupt), open_network("wifi", "mobile") as network:
        network.server.run("-c", "print('{}'); input()").wait_for(any_record, seconds=10)
        network.loss(0.5)
        network.rate(100)
        during = leftovers()
        if error:
            raise error
    assert len(during[1]) == 2
    assert during[0] == before[0]
    assert leftovers() == before


def any_record(_):
    """Take whatever is said first."""
    return True


def test_nothing_is_left_of_half_a_network(monkeypatch):
    """A failure in the middle of making leaves nothing either."""
    before = leftovers()

    class HalfError(Exception):
        pass

    def fail(_):
        raise HalfError

    monkeypatch.setattr(network_module, "ruleset", fail)
    with pytest.raises(HalfError), open_network():
        pass
    assert leftovers() == before


def test_nothing_is_left_of_half_a_namespace(monkeypatch):
    """Nor does one in the middle of the very first step."""
    before = leftovers()

    def fail(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(Namespace, "ip", fail)
    with pytest.raises(KeyboardInterrupt), open_network():
        pass
    assert leftovers() == before


def test_two_at_once():
    """Networks with the same addresses do not know of each other."""
    with open_network() as one, open_network() as two, Datagrams(one) as here, Datagrams(two) as there:
        one.cut()
        assert here.up() == 0
        assert there.up() == 1


def test_a_machine_without(monkeypatch):
    """Where something is missing, the error says so."""

    def missing():
        raise NetnsUnavailableError("no luck", "try again")

    monkeypatch.setattr(network_module, "available", lambda: "no luck")
    monkeypatch.setattr(network_module, "require", missing)
    with pytest.raises(NetnsUnavailableError, match="no luck; try again"), open_network():
        pass

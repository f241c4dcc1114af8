"""A client and a server, each in a namespace of its own, and the links between them, whose packets are real."""

from __future__ import annotations

import time
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from tests.netns.faults import (
    Arrivals,
    Direction,
    check_direction,
    check_links,
    loss_share,
    ruleset,
    shaper,
)
from tests.netns.namespace import Namespace
from tests.netns.naming import sweep
from tests.netns.probe import available, require

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

__all__ = ["SERVER", "Network", "open_network"]

SERVER = "10.77.0.1"
"""The server's address.  It is reached over every link, and exists only inside the namespaces."""


class Network:
    """
    Two namespaces and the links between them; made by `open_network`.

    The client uses one link at a time and has an address there.  The others are down, as a telephone's.

    Attributes:
        client: The namespace of the client.
        server: The namespace of the server, which is reached at `SERVER`.
        links: The names of all links.
        link: The one in use; the last one used while none is.
        address: The client's address there.
    """

    def __init__(self, client: Namespace, server: Namespace, links: tuple[str, ...]) -> None:
        self.client = client
        self.server = server
        self.links = links
        self._arrivals = {
            "down": (client, dict.fromkeys(links, Arrivals())),
            "up": (server, dict.fromkeys(links, Arrivals())),
        }
        server.ip("address", "add", f"{SERVER}/32", "dev", "lo")
        for link in links:
            self._lay(link)
        for namespace, arrivals in self._arrivals.values():
            namespace.nft(ruleset(arrivals))
        self.link: str = links[0]
        self.address: str = self._own_address(self.link)
        self.up()

    def loss(self, share: float, *, direction: Direction = "both", link: str | None = None) -> None:
        """
        Drop this share of the packets from now on, at random, each for itself.

        Args:
            share: Between 0 (the end of it) and 1.
            direction: Where the packets are going to.
            link: Only on this link; `None` means on all.

        Raises:
            ValueError: It is no share, or the direction or the link is unknown.
        """
        exact = loss_share(share)
        self._change(lambda arrivals: replace(arrivals, loss=exact), direction, link)

    def cut(self, *, direction: Direction = "both", link: str | None = None) -> None:
        """
        Drop every packet without a word: the connection stays and is silent.

        Args:
            direction: Where the packets are going to.
            link: Only on this link; `None` means on all.

        Raises:
            ValueError: The direction or the link is unknown.
        """
        self._change(lambda arrivals: replace(arrivals, cut=True), direction, link)

    def mend(self, *, direction: Direction = "both", link: str | None = None) -> None:
        """
        Let packets pass again, but for those that `loss` drops.

        Raises:
            ValueError: The direction or the link is unknown.
        """
        self._change(lambda arrivals: replace(arrivals, cut=False), direction, link)

    def refuse(self) -> None:
        """Answer the client's new connections with a reset, as a port without a server; those it has go on."""
        self._change(lambda arrivals: replace(arrivals, refuse=True), "up", None)

    def accept(self) -> None:
        """Let new connections through again."""
        self._change(lambda arrivals: replace(arrivals, refuse=False), "up", None)

    def rate(self, kbps: float | None, *, direction: Direction = "both", link: str | None = None) -> None:
        """
        Let no more pass than this, counted with Ethernet's headers, and have the rest wait in a queue of 0.5 s.

        Args:
            kbps: Kilobits (1,000 bits) per second; `None` for no limit.
            direction: Where the packets are going to.
            link: Only on this link; `None` means on all.

        Raises:
            ValueError: The rate is impossible, or the direction or the link is unknown.
        """
        bucket = None if kbps is None else shaper(kbps)
        # A queue lies before the link, and so with the sender.
        for namespace in self._senders(direction):
            for each in self._named(link):
                if bucket is not None:
                    namespace.tc("qdisc", "replace", "dev", each, "root", *bucket)
                elif "tbf" in namespace.tc("qdisc", "show", "dev", each, "root"):
                    namespace.tc("qdisc", "delete", "dev", each, "root")

    def down(self, *, abort: bool = False) -> None:
        """
        Take the link in use down: to connect now fails at once, and what was connected hears nothing more.

        Args:
            abort: End the client's connections with an error too, as telephones and browsers do.
        """
        self.client.ip("link", "set", "dev", self.link, "down")
        if abort:
            self.client.abort_connections(self.address)

    def up(self) -> None:
        """Bring the link in use up again, with the address it had: connections that lived through it go on."""
        address = f"{self.address}/32"
        gateway = _gateway(self.links, self.link)
        self.client.ip("address", "replace", address, "dev", self.link)
        self.client.ip("link", "set", "dev", self.link, "up")
        self.client.ip("route", "replace", gateway, "dev", self.link, "src", self.address)
        self.client.ip("route", "replace", SERVER, "via", gateway, "dev", self.link, "src", self.address)
        self.server.ip("route", "replace", address, "dev", self.link)

    def handoff(
        self, target: str, *, gap: float = 0.0, same_address: bool = False, abort: bool = False
    ) -> None:
        """
        Move the client to another link: the one in use goes down, that one comes up.

        Args:
            target: The other link.
            gap: Seconds in between, in which there is no network at all; the call takes that long.
            same_address: The client keeps its address, and connections may live on.  Otherwise it gets another,
                and the old connections are dead, although nobody tells the server.
            abort: End the client's connections with an error, as telephones and browsers do.  Otherwise they
                fall silent.

        Raises:
            ValueError: There is no such link, or it is the one in use, or *gap* is negative.
        """
        if target not in self.links or target == self.link:
            others = ", ".join(link for link in self.links if link != self.link) or "none"
            raise ValueError(f"a hand-off is to another link of this network ({others}), not to {target!r}")
        if not gap >= 0:
            raise ValueError(f"a gap lasts 0 seconds or longer, not {gap!r}")
        self.down(abort=abort)
        self.client.ip("address", "delete", f"{self.address}/32", "dev", self.link)
        self.server.ip("route", "delete", f"{self.address}/32", "dev", self.link)
        time.sleep(gap)
        self.link = target
        if not same_address:
            self.address = self._own_address(target)
        self.up()

    def dropped(self, direction: Direction = "both") -> int:
        """
        Return how many packets were dropped so far, by loss and by cuts.

        Raises:
            ValueError: The direction is unknown.
        """
        return self._count("lost_", direction) + self._count("cut_", direction)

    def arrived(self, direction: Direction = "both") -> int:
        """
        Return how many packets came to the end of a link so far, before any of them was dropped.

        Raises:
            ValueError: The direction is unknown.
        """
        return self._count("seen_", direction)

    def _lay(self, link: str) -> None:
        # Made inside, so that the machine's own list of interfaces never shows it.
        peer = ("peer", "name", link, "netns", self.server.name)
        self.client.ip("link", "add", "name", link, "type", "veth", *peer)
        for namespace in (self.client, self.server):
            # One packet is one segment, as on a wire; and no chatter of IPv6's.
            namespace.ip("link", "set", "dev", link, "gso_max_segs", "1", "addrgenmode", "none")
        self.server.ip("address", "add", f"{_gateway(self.links, link)}/32", "dev", link)
        self.server.ip("link", "set", "dev", link, "up")

    def _own_address(self, link: str) -> str:
        return f"10.77.{self.links.index(link) + 1}.2"

    def _change(self, change: Callable[[Arrivals], Arrivals], direction: Direction, link: str | None) -> None:
        check_direction(direction)
        names = self._named(link)
        for towards, (namespace, arrivals) in self._arrivals.items():
            if direction in (towards, "both"):
                arrivals |= {name: change(arrivals[name]) for name in names}
                namespace.nft(ruleset(arrivals))

    def _senders(self, direction: Direction) -> list[Namespace]:
        check_direction(direction)
        ways: dict[Direction, list[Namespace]] = {"down": [self.server], "up": [self.client]}
        return ways.get(direction, [self.server, self.client])

    def _named(self, link: str | None) -> tuple[str, ...]:
        if link is None:
            return self.links
        if link not in self.links:
            raise ValueError(f"this network has the links {', '.join(self.links)}, but no {link!r}")
        return (link,)

    def _count(self, prefix: str, direction: Direction) -> int:
        check_direction(direction)
        return sum(
            packets
            for towards, (namespace, _) in self._arrivals.items()
            if direction in (towards, "both")
            for name, packets in namespace.counters().items()
            if name.startswith(prefix)
        )


@contextmanager
def open_network(*links: str) -> Generator[Network]:
    """
    Make a network for the time of the block; afterwards nothing of it is left.

    What an earlier process left, because it was killed, is removed first.

    Args:
        links: Their names; the client begins on the first.  Without any there is one, called `wifi`.

    Raises:
        NetnsCommandError: The kernel refuses something.
        NetnsUnavailableError: This machine or this user cannot have it; the error says what to do.
        ValueError: The names are not usable.
    """
    names = links or ("wifi",)
    check_links(names)
    if available() is not None:
        require()  # raises what is missing
    sweep()
    with ExitStack() as spaces:
        server = spaces.enter_context(Namespace("server"))
        client = spaces.enter_context(Namespace("client"))  # ends first
        yield Network(client, server, names)


def _gateway(links: tuple[str, ...], link: str) -> str:
    return f"10.77.{links.index(link) + 1}.1"

"""A server of numbered events for consumers that are killed: it sends what lies behind the given one, for ever."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests.e2e.raw_server import Peer, RawServer


@contextmanager
def replaying(pause: float = 0.0005) -> Iterator[str]:
    """Run the server, whose every path is a stream of an event in each pause, and give its URL."""

    def replay(peer: Peer) -> None:
        number = int(peer.request.cursor or 0)
        peer.open()
        while True:
            number += 1
            peer.chunk(b"id: %d\ndata: %d\n\n" % (number, number))
            time.sleep(pause)

    with RawServer(replay) as server:
        yield server.url

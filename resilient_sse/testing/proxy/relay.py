"""One connection through the proxy, from its acceptance to its end."""

from __future__ import annotations

from functools import partial
from random import Random
from typing import TYPE_CHECKING

import anyio

from resilient_sse.testing.proxy.pipe import Pipe
from resilient_sse.testing.proxy.sockets import Address, close, connect, end_sending, prepare, receive, send
from resilient_sse.testing.proxy.toxics import Refuse, TLSFailure

if TYPE_CHECKING:
    from socket import socket

    from resilient_sse.testing.proxy.conditions import Conditions
    from resilient_sse.testing.proxy.counters import Counters
    from resilient_sse.testing.proxy.link import Way

__all__ = ["Relay"]

_PORTAL = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\nplain HTTP is spoken here\n"
_WAYS = 2
_FIRST_WORD_SECONDS = 1.0


class Relay:
    """
    One connection.

    Args:
        client: The accepted socket.
        target: Where to connect to.
        seed: From which the randomness of this connection is derived.
        conditions: What is in force.
        counters: Where things are counted.
    """

    def __init__(
        self, client: socket, target: list[Address], *, seed: str, conditions: Conditions, counters: Counters
    ) -> None:
        self._client = client
        self._target = target
        self._upstream: socket | None = None
        self._seed = seed
        self._conditions = conditions
        self._counters = counters
        self._scope = anyio.CancelScope()
        self._ways_left = _WAYS

    async def run(self) -> None:
        """Relay until the connection ends; then both sockets are closed."""
        self._counters.live += 1
        try:
            with self._scope:
                prepare(self._client)
                await self._serve()
        except (OSError, anyio.ClosedResourceError):
            self.lost()
        finally:
            self._counters.live -= 1
            self._close(reset=False)

    def chance(self, way: Way) -> Random:
        """Make the source of randomness of one direction: the same for the same seed, connection and direction."""
        return Random(f"{self._seed}:{way}")  # noqa: S311 - repeatable, not secret

    def finished(self) -> None:
        """Take note that one direction has come to its end; the other may go on."""
        self._ways_left -= 1
        if not self._ways_left:
            self._scope.cancel()

    def lost(self) -> None:
        """Take note that one side has gone: the other learns it by a reset."""
        self._close(reset=True)

    def cut(self, *, reset: bool) -> None:
        """End the connection at once, with RST or with FIN; harmless when it has ended."""
        if reset and self._client.fileno() >= 0:
            self._counters.resets += 1
        self._close(reset=reset)

    async def _serve(self) -> None:
        if self._conditions.strike(Refuse) is not None:
            await self._turn_away()
            return
        if self._conditions.strike(TLSFailure) is not None:
            await self._speak_plainly()
            return
        await self._conditions.passable("up")
        try:
            upstream = self._upstream = await connect(self._target)
        except OSError:
            await self._turn_away()
            return
        async with anyio.create_task_group() as tasks:
            make = partial(
                Pipe, conditions=self._conditions, counters=self._counters, owner=self, tasks=tasks
            )
            tasks.start_soon(make(self._client, upstream, "up").run)
            await make(upstream, self._client, "down").run()

    async def _turn_away(self) -> None:
        """Reset at the first word: a client whose word is cut off may take the reset for an end in good form."""
        self._counters.refused += 1
        with anyio.move_on_after(_FIRST_WORD_SECONDS):
            await receive(self._client)
        self._close(reset=True)

    async def _speak_plainly(self) -> None:
        await receive(self._client)
        await send(self._client, _PORTAL)
        end_sending(self._client)
        while await receive(self._client):  # closing on unread bytes would reset the connection
            pass

    def _close(self, *, reset: bool) -> None:
        close(self._client, reset=reset)
        if self._upstream is not None:
            close(self._upstream, reset=reset)
        self._scope.cancel()

"""A running server for async code, on asyncio or trio: what blocks is done in worker threads."""

from __future__ import annotations

from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

import anyio
from anyio import to_thread

from resilient_sse.testing.server.app import DONE
from resilient_sse.testing.server.parameters import DEFAULT_USER
from resilient_sse.testing.server.running import RunningServer

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from resilient_sse.testing.server.app import ReferenceServer

__all__ = ["OpenServer", "open_server"]


class OpenServer:
    """
    A server that listens, as async code has it.

    Args:
        running: The server in its thread.
    """

    def __init__(self, running: RunningServer) -> None:
        self.running = running
        self.server: ReferenceServer = running.server
        self.host: str = running.host
        self.port: int = running.port
        self.base_url: str = running.base_url
        """Scheme, host and port."""
        self.url: str = running.url
        """Where the stream is."""

    async def publish(self, data: str, *, event: str | None = None, user_id: str = DEFAULT_USER) -> int:
        """
        Publish an event and return its id.

        Raises:
            TypeError: An argument is no text.
            ValueError: An argument cannot be sent; see `ReferenceServer.publish`.
            StoreError: It could not be stored.
            RuntimeError: The server has been stopped.
        """
        return await to_thread.run_sync(partial(self.running.publish, data, event=event, user_id=user_id))

    async def complete(
        self, user_id: str = DEFAULT_USER, *, total: int | None = None, event: str = DONE
    ) -> int:
        """
        Publish the completion event and return its id; see `ReferenceServer.complete`.

        Raises:
            StoreError: It could not be stored.
            RuntimeError: The server has been stopped.
        """
        return await to_thread.run_sync(partial(self.running.complete, user_id, total=total, event=event))

    async def restart(self, *, empty: bool, down: float = 0.0, abrupt: bool = False) -> None:
        """
        Stop listening and begin again on the same port; see `RunningServer.restart`.

        Raises:
            StoreError: The store could not be cleared.
            RuntimeError: The server has been stopped.
        """
        await to_thread.run_sync(partial(self.running.restart, empty=empty, down=down, abrupt=abrupt))

    async def stop(self) -> None:
        """End all streams cleanly, and everything that was started; harmless when done before."""
        await to_thread.run_sync(self.running.stop)


@asynccontextmanager
async def open_server(
    server: ReferenceServer, *, host: str = "127.0.0.1", port: int = 0
) -> AsyncGenerator[OpenServer]:
    """
    Run a server in a thread for the length of an async block.

    Args:
        server: The server.
        host: The address to listen on.
        port: The port; 0 (the default) for a free one.

    Raises:
        OSError: The port is taken, or the address is not this machine's.
    """
    running = await to_thread.run_sync(RunningServer, server, host, port)
    try:
        yield OpenServer(running)
    finally:
        with anyio.CancelScope(shield=True):  # bounded: `stop` is
            await to_thread.run_sync(running.stop)

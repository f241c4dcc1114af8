"""A running server: uvicorn in a thread with an event loop of its own, for code of any kind."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Coroutine, Generator
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, TypeVar

import uvicorn
from anyio.from_thread import start_blocking_portal

from resilient_sse.testing.checks import check, check_seconds
from resilient_sse.testing.proxy.connection import BACKLOG, Port
from resilient_sse.testing.server.app import DONE, STREAM_PATH, ReferenceServer
from resilient_sse.testing.server.requests import DEFAULT_USER

T = TypeVar("T")

_START_SECONDS = 10.0
_CALL_SECONDS = 30.0
_DRAIN_SECONDS = 1.0
_EXIT_SECONDS = 2


class RunningServer:
    """
    A server that listens, as `serving` makes it.

    Its methods may be called from any thread, and from async code; they block for a moment.
    """

    def __init__(self, server: ReferenceServer, host: str = "127.0.0.1", port: int = 0) -> None:
        check("server", server, ReferenceServer, "a ReferenceServer, such as ReferenceServer(start='first')")
        server.check_idle()
        self.server = server
        self.host = host
        self._stack = ExitStack()
        self._port = Port(host, port)
        self._stack.callback(self._port.release)
        self.port: int = self._port.number
        name = f"[{host}]" if ":" in host else host
        self.base_url: str = f"http://{name}:{self.port}"
        """Scheme, host and port."""
        self.url: str = self.base_url + STREAM_PATH
        """Where the stream is."""
        self._portal = self._stack.enter_context(start_blocking_portal(name="reference server"))
        self._uvicorn: uvicorn.Server | None = None
        self._serving: asyncio.Task[None] | None = None
        self._stopped = False
        self._restarting = threading.Lock()
        try:
            self.call(self._start())
        except BaseException:
            self.stop()
            raise

    def publish(self, data: str, *, event: str | None = None, user_id: str = DEFAULT_USER) -> int:
        """Publish an event and return its id; see `ReferenceServer.publish`."""
        return self.call(self.server.publish(data, event=event, user_id=user_id))

    def complete(self, user_id: str = DEFAULT_USER, *, total: int | None = None, event: str = DONE) -> int:
        """Publish the completion event and return its id; see `ReferenceServer.complete`."""
        return self.call(self.server.complete(user_id, total=total, event=event))

    def restart(self, *, empty: bool, down: float = 0.0, abrupt: bool = False) -> None:
        """
        Stop listening and begin again on the same port.

        Args:
            empty: Forget all events, so that ids begin anew.
            down: Seconds in between, during which connections are refused.
            abrupt: Reset the connections, as a crash does, instead of ending the streams.

        Restarts of several threads come one after the other.
        """
        check_seconds("down", down, zero=True)
        with self._restarting:
            self.call(self._halt(abrupt=abrupt))
            time.sleep(down)
            if empty:
                self.call(self.server.clear())
            self.call(self._start())

    def stop(self) -> None:
        """End all streams cleanly, and everything that was started; harmless when done before."""
        if self._stopped:
            return
        try:
            self.call(self._halt(abrupt=False))
        finally:
            self._stopped = True
            self._stack.close()

    def call(self, work: Coroutine[Any, Any, T], *, within: float = _CALL_SECONDS) -> T:
        """
        Run a coroutine in the server's loop and return what it returns; `TimeoutError` if that takes too long.

        `RuntimeError`, here and elsewhere: the server has been stopped.
        """
        if self._stopped:
            work.close()
            raise RuntimeError("the server has been stopped")
        future: Future[T] = self._portal.start_task_soon(lambda: work)
        try:
            return future.result(within)
        except BaseException:
            future.cancel()
            raise

    async def _start(self) -> None:
        try:
            # Where nobody has set up logging, uvicorn's warnings still reach standard error.
            config = uvicorn.Config(
                self.server.app,
                ws="none",
                log_config=None,
                access_log=False,
                backlog=BACKLOG,
                timeout_graceful_shutdown=_EXIT_SECONDS,
            )
            self._uvicorn = running = uvicorn.Server(config)
            self._serving = asyncio.create_task(running.serve(sockets=[self._port.open()]))
            async with asyncio.timeout(_START_SECONDS):
                while not (running.started or self._serving.done()):  # noqa: ASYNC110 - uvicorn sets a flag, no event
                    await asyncio.sleep(0.002)
            if self._serving.done():
                await self._serving  # raises what is wrong
        except BaseException:
            self._port.shut()
            raise

    async def _halt(self, *, abrupt: bool) -> None:
        """Stop listening and close what is open, within a bound."""
        running, serving = self._uvicorn, self._serving
        if running is None or serving is None:
            return
        self._uvicorn = self._serving = None
        # asyncio loses a socket that was accepted just before its listener is closed: let such ones arrive first.
        asyncio.get_running_loop().remove_reader(self._port.open())
        await _turns()
        for listening in running.servers:
            listening.close()
        self._port.shut()
        if abrupt:
            self.server.accepting = False
            self.server.break_streams()
        else:
            self.server.end_streams()
        running.should_exit = True
        done, _ = await asyncio.wait([serving], timeout=_DRAIN_SECONDS)
        if not done:  # readers that take nothing
            self.server.break_streams()
            _abort_all(running)
        await serving
        _abort_all(running)
        await _turns()  # in which closed transports let go of their sockets


@contextmanager
def serving(server: ReferenceServer, *, host: str = "127.0.0.1", port: int = 0) -> Generator[RunningServer]:
    """Run a server in a thread for a block; port 0 is free; `OSError` and `RuntimeError` say what is wrong."""
    running = RunningServer(server, host, port)
    try:
        yield running
    finally:
        running.stop()


async def _turns() -> None:
    """Let the loop do what it has put off."""
    for _ in range(3):
        await asyncio.sleep(0)


def _abort_all(running: uvicorn.Server) -> None:
    for connection in list(running.server_state.connections):
        transport = getattr(connection, "transport", None)
        if transport is not None:
            with suppress(RuntimeError):
                transport.abort()

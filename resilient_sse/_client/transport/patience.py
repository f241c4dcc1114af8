"""How long opening may take, and when it may be cancelled."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

import anyio

from resilient_sse._client.backends import finish, on_asyncio, wait_out
from resilient_sse._client.transport.connection import CLOSE_SECONDS
from resilient_sse._client.transport.failures import raise_translated
from resilient_sse._core.errors import ConnectionLostError
from resilient_sse._core.states import Reason

if TYPE_CHECKING:
    import httpx

__all__ = ["Patience"]

# Between the first and the second of each pair httpcore can be cancelled without losing anything.
_MAY_CANCEL = ("connect_tcp.started", "start_tls.started", "send_request_headers.started")
_MUST_WAIT = ("connect_tcp.complete", "start_tls.complete", "response_closed.complete")


class Patience:
    """
    The limits on opening, and its protection, both led by httpcore's trace events.

    httpcore 1.0.9 loses a slot of its pool for good when a request is cancelled while it is being given one, and
    a connection between being made and being used (encode/httpcore#1093).  So cancellation is held off in those
    moments and passed on at the next one that is safe; the pool timeout bounds the wait.

    Args:
        connect_timeout: Seconds for the slot, the connection and TLS, each; httpx enforces it.
        header_timeout: Seconds from the request to the end of the response headers.
        pooled: Whether a slot has to be waited for.
    """

    def __init__(self, connect_timeout: float | None, header_timeout: float | None, *, pooled: bool) -> None:
        connect = math.inf if connect_timeout is None else connect_timeout
        self._connect = connect
        self._headers = math.inf if header_timeout is None else header_timeout
        # Transports that trace nothing (mocks, mostly) are held to the sum of all limits.
        self._all = 2 * connect + self._headers
        # Without a limit on the wait for a slot, holding cancellation off could last for ever.
        self._protects = pooled and connect_timeout is not None
        self._scope = anyio.CancelScope()
        self._task: asyncio.Task[httpx.Response] | None = None
        self._asyncio = on_asyncio()
        self._protected = False
        self._wanted = False

    def asks(self) -> None:
        """Take note that a request is about to be sent, the first or a redirected one."""
        self._protect(on=self._protects)
        if self._protects and self._asyncio:
            # Authentication and hooks run before the pool is asked; they must not be protected for ever.
            asyncio.get_running_loop().call_later(self._connect, lambda: self._protect(on=False))

    async def trace(self, name: str, _info: object) -> None:
        """Take note of how far the request has come."""
        if name.endswith(_MAY_CANCEL):
            self._protect(on=False)
        elif name.endswith(_MUST_WAIT):
            self._protect(on=True)
        if name.endswith("send_request_headers.started"):
            self._scope.deadline = anyio.current_time() + self._headers

    async def wait_for(self, sending: Callable[[], Coroutine[Any, Any, httpx.Response]]) -> httpx.Response:
        """
        Send, and wait for the response.

        Raises:
            HandshakeError: The request cannot be sent, or a redirect cannot be followed.
            ConnectionLostError: No response came, or not in time.
        """
        self.asks()
        if not self._asyncio:
            return await self._bounded(sending)
        self._task = asyncio.create_task(self._bounded(sending))
        try:
            await asyncio.wait((self._task,))
        except asyncio.CancelledError:
            self._wanted = True
            if not self._protected:
                self._task.cancel()
            await _abandon(self._task)
            raise
        finally:
            task, self._task = self._task, None
        return task.result()

    async def _bounded(self, sending: Callable[[], Coroutine[Any, Any, httpx.Response]]) -> httpx.Response:
        began = anyio.current_time()
        with self._scope as scope:
            scope.deadline = began + self._all
            try:
                return await sending()
            except Exception as exc:  # noqa: BLE001 - raised again, whatever it is
                raise_translated(exc, opened=False)
        waited = anyio.current_time() - began
        raise ConnectionLostError(Reason.CONNECT, f"no response headers after {waited:.1f} s")

    def _protect(self, *, on: bool) -> None:
        self._protected = on
        if not self._asyncio:
            self._scope.shield = on
        elif not on and self._wanted and self._task is not None:
            self._task.cancel()


async def _abandon(task: asyncio.Task[httpx.Response]) -> None:
    """Wait for the end of a request that nobody wants any more, and close what it may have brought."""
    try:
        response = await wait_out(task)
    except (asyncio.CancelledError, Exception):  # noqa: BLE001 - the caller raises the cancellation
        return
    await finish(response.aclose, within=CLOSE_SECONDS)

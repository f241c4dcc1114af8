"""The connection under a response, which ASGI hides: to close it for certain, or to do wrong on it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from resilient_sse.testing.resets import reset_at_close

if TYPE_CHECKING:
    from starlette.types import Scope, Send

__all__ = ["Peer"]

_KEY = "resilient_sse.peer"


class Peer:
    """
    The client's end of a connection.

    Args:
        transport: uvicorn's transport; `None` where another server is at work, which cannot be helped.
    """

    __slots__ = ("_transport",)

    def __init__(self, transport: asyncio.Transport | None) -> None:
        self._transport = transport

    @classmethod
    def note(cls, scope: Scope, send: Send) -> None:
        """Put the peer into *scope*, from the *send* that the server itself has given."""
        # uvicorn's protocols pass a bound method of the object that holds the transport.
        transport = getattr(getattr(send, "__self__", None), "transport", None)
        scope[_KEY] = cls(transport if isinstance(transport, asyncio.Transport) else None)

    @classmethod
    def of(cls, scope: Scope) -> Peer:
        """Return the peer noted in *scope*."""
        peer = scope.get(_KEY)
        return peer if isinstance(peer, Peer) else cls(None)

    @property
    def gone(self) -> bool:
        """Whether the connection is closed, or about to be."""
        return self._transport is not None and self._transport.is_closing()

    def reset(self) -> bool:
        """Close with a reset, whatever is still to be sent; return whether that was possible."""
        if self._transport is None:
            return False
        sock = self._transport.get_extra_info("socket")
        if sock is not None and not self._transport.is_closing():
            reset_at_close(sock)
        self._transport.abort()
        return True

    def cut(self, data: bytes) -> None:
        """
        Send *data* as it is, between the chunks of the response, and close.

        Raises:
            RuntimeError: The server is not uvicorn.
        """
        if self._transport is None:
            raise RuntimeError("this fault needs uvicorn: no other server lets its connections be found")
        self._transport.write(data)
        self._transport.close()

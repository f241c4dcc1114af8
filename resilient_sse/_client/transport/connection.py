"""One accepted response, read to its end or closed."""

from __future__ import annotations

import contextlib
import zlib
from typing import TYPE_CHECKING, cast

import anyio

from resilient_sse._client.transport.failures import translated
from resilient_sse._core.errors import ConnectionLostError
from resilient_sse._core.states import Reason

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator, Mapping

    import httpx

    from resilient_sse._client.transport.inflate import Inflater

__all__ = ["CLOSE_SECONDS", "Connection", "close"]

# Closing never takes longer than this; what is not closed by then is left to the event loop.
CLOSE_SECONDS = 2.0


class Connection:
    """
    One accepted response.

    Attributes:
        status: Its status.
        headers: Its headers, names in lower case.
    """

    def __init__(
        self,
        head: httpx.Response,
        body: AsyncGenerator[httpx.Response | bytes],
        inflater: Inflater | None,
    ) -> None:
        self.status = head.status_code
        self.headers: Mapping[str, str] = dict(head.headers)
        self._body = body
        self._inflater = inflater
        self._slices: Iterator[bytes] | None = None

    async def receive(self) -> tuple[bytes, int] | None:
        """
        Return the next decoded bytes and how many bytes arrived for them, or `None` at the clean end.

        Either may be nothing: a compressed body can arrive without yielding, and yield without arriving.

        Raises:
            ConnectionLostError: The connection failed, or its bytes are not what the headers announced.
        """
        try:
            if self._slices is not None:
                for data in self._slices:
                    return data, 0
            raw = cast("bytes", await anext(self._body))
            if self._inflater is None:
                return raw, len(raw)
            self._slices = self._inflater.feed(raw)
            return next(self._slices, b""), len(raw)
        except StopAsyncIteration:
            return None
        except zlib.error as exc:
            raise ConnectionLostError(Reason.PROTOCOL, f"undecodable content: {exc}") from exc
        except Exception as exc:
            raise translated(exc, opened=True) from exc

    async def aclose(self) -> None:
        """Close the connection, within a bound."""
        await close(self._body)


async def close(body: AsyncGenerator[httpx.Response | bytes]) -> None:
    """Close an exchange within a bound, whatever its last words are."""
    with anyio.move_on_after(CLOSE_SECONDS, shield=True):
        with contextlib.suppress(Exception):  # it is over; how it complains changes nothing
            await body.aclose()

"""A server that can resume: it replays from `Last-Event-ID`, with the faults that such servers have."""

from __future__ import annotations

from collections.abc import Iterable
from http import HTTPStatus
from itertools import pairwise

import httpx

from resilient_sse.testing.steps import RecordedRequest, Reply
from resilient_sse.testing.wire import Pause, event

__all__ = ["ReplayServer"]


class ReplayServer:
    """
    A handler for `Script.always` that sends numbered events and resumes after the one the client names.

    ```python
    script.always(ReplayServer([(1, "a"), (2, "b"), (3, "c")], drop_after=2))
    ```

    Args:
        events: The events, as pairs of id and data; the ids rise.
        overlap: How many events the client already has are sent again at a resume.
        drop_after: After how many events each connection is reset; `None` (the default) never.
        live: What follows the last event: silence, as on a live stream (`True`, the default), or a clean end.
        every: Seconds between two events of a connection.
        param: The query parameter that may carry the id instead of the header.

    Raises:
        ValueError: The ids do not rise, or a number is out of range.
    """

    def __init__(
        self,
        events: Iterable[tuple[int, str]],
        *,
        overlap: int = 0,
        drop_after: int | None = None,
        live: bool = True,
        every: float = 0.0,
        param: str = "last_event_id",
    ) -> None:
        self.events: tuple[tuple[int, str], ...] = tuple(events)
        ids = [number for number, _ in self.events]
        if any(later <= earlier for earlier, later in pairwise(ids)):
            raise ValueError("events must have rising ids")
        if overlap < 0:
            raise ValueError(f"overlap must not be negative, not {overlap!r}")
        if drop_after is not None and drop_after < 0:
            raise ValueError(f"drop_after must not be negative, not {drop_after!r}")
        self._overlap = overlap
        self._drop_after = drop_after
        self._live = live
        self._gap = Pause(every)
        self._param = param

    def __call__(self, request: RecordedRequest) -> Reply:
        """Answer *request*; a last event id that is no number is answered with 400."""
        cursor = request.last_event_id or httpx.URL(request.url).params.get(self._param)
        try:
            start = self._start(cursor)
        except ValueError:
            return Reply(b"no such id", status=HTTPStatus.BAD_REQUEST, content_type="text/plain")
        events = self.events[start:]
        dropped = self._drop_after is not None and len(events) >= self._drop_after
        parts: list[bytes | Pause] = []
        for number, data in events[: self._drop_after]:
            parts += [event(data, id=str(number)), self._gap]
        reply = Reply(*parts[:-1])
        if dropped:
            return reply.drop()
        return reply.hang() if self._live else reply.end()

    def _start(self, cursor: str | None) -> int:
        if not cursor:
            return 0
        known = sum(number <= int(cursor) for number, _ in self.events)
        return max(0, known - self._overlap)

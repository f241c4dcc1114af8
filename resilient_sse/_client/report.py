"""What a stream says, said in one place: to the log, to the observers, to the callbacks."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from anyio import current_time

from resilient_sse._client.log import Quiet, log_change, logger
from resilient_sse._core.events import Gap
from resilient_sse._core.recovery import Recovery

if TYPE_CHECKING:
    from resilient_sse._client.callbacks import Callbacks
    from resilient_sse._core.events import Activity
    from resilient_sse._core.states import StateChange
    from resilient_sse._core.stats import StreamStats

__all__ = ["Reporter"]


class Reporter:
    """
    One stream's voice.

    Args:
        callbacks: Are told.
        stats: The figures of the stream.
        where: The stream's address as logs may show it.
    """

    def __init__(self, callbacks: Callbacks, stats: StreamStats, *, where: str) -> None:
        self._callbacks = callbacks
        self._stats = stats
        self._where = where
        self._told_conflicts: set[bool] = set()
        self._gap: Gap | None = None
        self.pending = callbacks.pending
        """What a cancelled announcement has left to be called."""
        self._quiet, self._quiet_gaps, self._quiet_ends = Quiet(), Quiet(), Quiet()

    @property
    def inside(self) -> bool:
        """Whether the present code runs inside one of this stream's callbacks."""
        return self._callbacks.inside

    @property
    def started_this_task(self) -> bool:
        """Whether the callback that is running has started the present task, and may be waiting for it."""
        return self._callbacks.started_this_task

    async def announce(self, untold: list[StateChange | Recovery]) -> None:
        """Tell everything that was not told yet, and take it from *untold*."""
        await self._callbacks.flush()
        while untold:
            notice = untold.pop(0)
            if isinstance(notice, Recovery):
                self._callbacks.observe(notice)
                continue
            log_change(notice, self._where, self._quiet)
            await self._callbacks.tell(notice)

    async def tell(self, item: Activity) -> None:
        """Tell what is about to be handed to the consumer; a gap whose callback was cancelled is told already."""
        if isinstance(item, Gap):
            if item is self._gap:
                return
            self._gap = item
            speaks = self._quiet_gaps.may_speak(current_time())
            logger.log(
                logging.WARNING if speaks else logging.DEBUG,
                "%s: gap (%s), missing: %s%s",
                self._where,
                item.kind,
                item.missing,
                self._quiet_gaps.unsaid if speaks else "",
            )
            await self._callbacks.tell(item)
            return
        self.observe(item)

    def conflict(self, *, meaningless: bool) -> None:
        """Tell, once of each kind, that an id came again with other content: over two connections, or over one."""
        if meaningless in self._told_conflicts:
            return
        self._told_conflicts.add(meaningless)
        if meaningless:
            logger.warning(
                "%s: an event id came again with other content on one connection, so ids do not name events "
                "here; from now on no event is dropped as repeated",
                self._where,
            )
        else:
            logger.warning("%s: an event id came again with other content; both are delivered", self._where)

    def odd(self, words: str) -> None:
        """Warn about the end of an answer, but not of each."""
        if self._quiet_ends.may_speak(current_time()):
            logger.warning("%s: %s%s", self._where, words, self._quiet_ends.unsaid)

    def cut_short(self) -> None:
        """Tell that the program gives up attempts before there can be an answer."""
        logger.warning(
            "%s: attempts to connect were cancelled before the server has answered, three in a row; each sends "
            "the request again, so wait longer for an event, or in a task of its own",
            self._where,
        )

    def observe(self, item: Activity) -> None:
        """Tell the observers only."""
        self._callbacks.observe(item)

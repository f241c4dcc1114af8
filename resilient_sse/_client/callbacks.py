"""Telling what happens, in order and never at the stream's expense: the log, observers, and callbacks."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, cast

from anyio import current_time

from resilient_sse._client.backends import misread_cancellation
from resilient_sse._client.log import LogLimit, log_change, logger
from resilient_sse._core.checks import check, check_callable
from resilient_sse._core.events import Gap
from resilient_sse._core.recovery import Recovery
from resilient_sse._core.states import StateChange

if TYPE_CHECKING:
    from resilient_sse._core.ports import Fact, Instrument, Observer
    from resilient_sse._core.stats import StreamStats

StateCallback: TypeAlias = Callable[[StateChange], Any]
GapCallback: TypeAlias = Callable[[Gap], Any]
CallbackT = TypeVar("CallbackT", bound=Callable[..., Any])

# Whose callbacks the present code runs in, or have started the present task.  Ids, for a context may outlive the
# stream, and would keep it alive.
_callers: ContextVar[tuple[int, ...]] = ContextVar("resilient_sse_callers", default=())


_MEANINGLESS = (
    " on one connection, so ids do not name events here; from now on no event is dropped as repeated"
)


class Callbacks:
    """
    The callbacks and observers of one stream, and what it writes to the log, where *where* stands for its URL.

    What they raise is logged and counted; cancellation passes through.  *call* is how callbacks are called.
    """

    def __init__(
        self,
        observers: Iterable[Observer | Instrument],
        stats: StreamStats,
        *,
        where: str,
        call: Callable[..., Any] | None = None,
    ) -> None:
        if call is not None and any(hasattr(observer, "async_only") for observer in observers):
            raise TypeError(
                "observers: a Console is for the async stream: it belongs into the event loop of its streams"
            )
        self._observers = tuple(_attached(observer, stats, where) for observer in observers)
        self._stats = stats
        self._where = where
        self._call = call
        self._warned_conflicts: set[bool] = set()
        self._change_limit, self._gap_limit, self._end_limit = LogLimit(), LogLimit(), LogLimit()
        self._on_state: list[StateCallback] = []
        self._on_gap: list[GapCallback] = []
        self._calling = False
        self._failures: dict[int, int] = {}  # by identity: a callback need not be hashable
        self.pending: list[tuple[Callable[[Any], Any], Fact]] = []
        """What was cancelled before it was called."""

    @property
    def inside(self) -> bool:
        """Whether a callback is running, and the present code in it or in a task that a callback has started."""
        return self._calling and id(self) in _callers.get()

    def on_state(self, callback: StateCallback) -> None:
        self._on_state.append(_checked("on_state_change", callback))

    def on_gap(self, callback: GapCallback) -> None:
        self._on_gap.append(_checked("on_gap", callback))

    def remove(self, callback: Callable[..., Any]) -> None:
        """Remove a callback wherever it was added; of what is being told now it hears no more either."""
        known = [registered for registered in (self._on_state, self._on_gap) if callback in registered]
        if not known:
            raise ValueError(f"{callback!r} is not a callback of this stream")
        for registered in known:
            registered.remove(callback)
        self.pending[:] = [waiting for waiting in self.pending if waiting[0] != callback]

    def notify(self, fact: Fact) -> None:
        """Call observers, and have callbacks called with the next announcement."""
        if isinstance(fact, Gap):
            level, suppressed = logging.DEBUG, ""
            if self._gap_limit.allows(current_time()):
                level, suppressed = logging.WARNING, self._gap_limit.suppressed
            text = "%s: gap (%s), missing: %s%s"
            logger.log(level, text, self._where, fact.kind, fact.missing, suppressed)
        for observer in self._observers:
            try:
                observer(fact)
            except (Exception, asyncio.CancelledError):  # noqa: BLE001 - the latter is some future's: none waits here
                self._failed(observer)
        if isinstance(fact, StateChange):
            self.pending += [(callback, fact) for callback in self._on_state]
        elif isinstance(fact, Gap):
            self.pending += [(callback, fact) for callback in self._on_gap]

    async def announce(self, unannounced: list[StateChange | Recovery | Exception]) -> None:
        """Notify of everything in *unannounced*, and take it from there; wait for callbacks, one by one."""
        await self._flush()
        while unannounced:
            notice = unannounced.pop(0)
            if isinstance(notice, Exception):
                self._failed("messages", notice)
                continue
            if isinstance(notice, StateChange):
                log_change(notice, self._where, self._change_limit)
            self.notify(notice)
            await self._flush()

    def conflict(self, *, meaningless: bool) -> None:
        """Tell, once of each kind, that an id came again with other content: over two connections, or over one."""
        if meaningless not in self._warned_conflicts:
            self._warned_conflicts.add(meaningless)
            follows = _MEANINGLESS if meaningless else "; both are delivered"
            logger.warning(f"%s: an event id came again with other content{follows}", self._where)

    def warn_of_end(self, words: str) -> None:
        """Warn about the end of an answer, but not of each."""
        if self._end_limit.allows(current_time()):
            logger.warning("%s: %s%s", self._where, words, self._end_limit.suppressed)

    def attempts_cancelled(self) -> None:
        """Tell that the program gives up attempts before there can be an answer."""
        logger.warning(
            "%s: attempts to connect were cancelled before the server has answered, three in a row; each sends "
            "the request again, so wait longer for an event, or in a task of its own",
            self._where,
        )

    async def _flush(self) -> None:
        """Call what is still to be called; a callback that was cancelled is not called again, the rest are."""
        while self.pending:
            callback, fact = self.pending.pop(0)
            token = _callers.set((*_callers.get(), id(self)))
            self._calling = True
            try:
                result = self._call(callback, fact) if self._call else callback(fact)
                if inspect.isawaitable(result):
                    await result
            except Exception:  # noqa: BLE001 - see notify
                self._failed(callback)
            except asyncio.CancelledError:
                if not misread_cancellation():
                    raise
                self._failed(callback)
            finally:
                self._calling = False
                _callers.reset(token)

    def _failed(self, callback: object, error: BaseException | None = None) -> None:
        self._stats.callback_errors += 1
        count = self._failures[id(callback)] = self._failures.get(id(callback), 0) + 1
        # The first, second, fourth, ... failure: a callback that always fails must not fill the log.
        if count & (count - 1) == 0:
            name = callback
            if not isinstance(callback, str):
                # Its name: what it is bound to may show a token.
                function = getattr(callback, "func", callback)
                name = getattr(function, "__qualname__", type(function).__qualname__)
            text = "a callback of the stream failed, %d times so far: %s"
            logger.error(text, count, name, exc_info=error or True)


def check_observers(observers: Iterable[Observer | Instrument]) -> tuple[Observer | Instrument, ...]:
    if callable(observers) or hasattr(observers, "attach"):
        raise TypeError("observers must be a sequence of observers, not one observer")
    check("observers", observers, Iterable, "a sequence of observers")
    return tuple(observers)


def _attached(observer: Observer | Instrument, stats: StreamStats, where: str) -> Observer:
    attach: Callable[[StreamStats, str], Observer] | None = getattr(observer, "attach", None)
    attached = cast("Observer", observer) if attach is None else attach(stats, where)
    check_callable("observers", attached, what="functions of the fact")  # nobody would await them
    return _checked("observers", attached)


def _checked(name: str, callback: CallbackT) -> CallbackT:
    if not callable(callback):
        raise TypeError(f"{name} must be callable, not {callback!r}")
    try:
        signature = inspect.signature(callback)
    except (TypeError, ValueError):
        return callback  # some built-in functions do not tell
    try:
        signature.bind(None)
    except TypeError:
        raise TypeError(f"{name} must take one argument, not {signature}") from None
    return callback

"""A record of one stream, and assertions about it; those that fail show its timeline."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import AsyncIterable, Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from types import EllipsisType
from typing import NoReturn, TypeVar

import anyio

from resilient_sse._core.events import Closed, Comment, Disconnected, Gap, Opened, ServerSentEvent
from resilient_sse._core.ports import Fact
from resilient_sse._core.recovery import Recovery
from resilient_sse._core.states import Reason, StateChange, StreamState
from resilient_sse.testing.checks import check_whole
from resilient_sse.testing.wire import shortened

FactT = TypeVar("FactT")

_SHOWN_DATA = 60
"""Characters of an event's data that a line shows."""


@dataclass(frozen=True, slots=True)
class Moment:
    """What happened, whatever an observer is told, *at* so many seconds on the event loop's clock."""

    at: float
    fact: Fact


class Recorder:
    """
    An observer that keeps what it is told: `ResilientStream(url, observers=[recorder])`.

    One recorder is for one stream.  What the client keeps from the consumer (duplicates, heartbeats, filtered
    events) it keeps from observers as well; `stream.stats` counts it.  `moments` has everything, in order.
    """

    def __init__(self) -> None:
        self.moments: list[Moment] = []

    def __call__(self, fact: Fact, /) -> None:
        """Record *fact*."""
        self.moments.append(Moment(anyio.current_time(), fact))

    async def take(self, stream: AsyncIterable[ServerSentEvent], count: int) -> list[ServerSentEvent]:
        """Be the consumer of a stream that this recorder observes: return *count* events, fewer if it ends."""
        check_whole("count", count, least=1)
        taken: list[ServerSentEvent] = []
        async for event in stream:
            taken.append(event)
            if len(taken) == count:
                break
        return taken

    def _facts(self, kind: type[FactT]) -> list[FactT]:
        return [moment.fact for moment in self.moments if isinstance(moment.fact, kind)]

    @property
    def events(self) -> list[ServerSentEvent]:
        """The events that were delivered."""
        return self._facts(ServerSentEvent)

    @property
    def changes(self) -> list[StateChange]:
        """The changes of state."""
        return self._facts(StateChange)

    @property
    def gaps(self) -> list[Gap]:
        """The gaps that were reported."""
        return self._facts(Gap)

    @property
    def recoveries(self) -> list[Recovery]:
        """The outages that ended with a new event."""
        return self._facts(Recovery)

    @property
    def ids(self) -> list[str]:
        """The ids of the delivered events that have one of their own."""
        return [event.id for event in self.events if event.id]

    @property
    def states(self) -> list[str]:
        """The state at the beginning and every state that was entered, by value: `"connecting"`, ..."""
        changes = self.changes
        return [change.old.value for change in changes[:1]] + [change.new.value for change in changes]

    @property
    def messages(self) -> list[str]:
        """The texts for people, one for each change of state."""
        return [change.message for change in self.changes]

    @property
    def delays(self) -> list[float]:
        """The announced seconds before each further attempt."""
        return [change.delay for change in self.changes if change.delay is not None]

    @property
    def timeline(self) -> str:
        """What happened when, one line each; times count from the first of them, and the middle may be cut."""
        if not self.moments:
            return "(nothing happened)"
        start = self.moments[0].at
        lines = [f"{moment.at - start:10.3f} s  {describe(moment.fact)}" for moment in self.moments]
        return "\n".join(shortened(lines, 20, 40))


def describe(fact: Fact) -> str:
    """Return what happened as one line."""
    match fact:
        case StateChange():
            retry = "" if fact.delay is None else f", attempt {fact.attempt} in {fact.delay:.3g} s"
            return f"{fact.old.value} -> {fact.new.value} ({fact.reason.value}{retry}): {fact.message}"
        case ServerSentEvent():
            name = fact.event if fact.id is None else f"{fact.event} {fact.id}"
            return f"event {name}: {_excerpt(fact.data)}"
        case Opened():
            resumed = "" if fact.last_event_id is None else f", to resume after {fact.last_event_id}"
            return f"connection {fact.connection} opened with status {fact.status}{resumed}"
        case Disconnected():
            return f"disconnected ({fact.reason.value})"
        case Gap():
            missing = "" if fact.missing is None else f", {fact.missing} missing"
            return f"gap ({fact.kind}) after {fact.after_id}, before {fact.before_id}{missing}"
        case Recovery():
            return f"recovered from {fact.reason.value}: {fact.recovery:.3f} s, attempts: {fact.attempts}"
        case Comment():
            return f"comment: {_excerpt(fact.text)}"
        case Closed():
            return f"end of the stream ({fact.reason.value})"
        case _:  # of what a later version may tell as well
            return repr(fact)


def _excerpt(text: str) -> str:
    shown = repr(text)
    return shown if len(shown) <= _SHOWN_DATA else f"{shown[:_SHOWN_DATA]}... ({len(text)} characters)"


# --- Assertions


def assert_states(recorder: Recorder, *states: StreamState | str | EllipsisType) -> None:
    """
    Check the states that a stream went through, from its first, `"connecting"`, to its last.

    They are given as such or by value, `ValueError` for others; `...` stands for any number, also for none.
    """
    __tracebackhide__ = True
    expected = [state if state is ... else StreamState(state).value for state in states]
    _compare(recorder, "states", expected, recorder.states)


def assert_messages(recorder: Recorder, *messages: str | EllipsisType) -> None:
    """Check the texts for people, one for each change of state; `...` stands for any number of them."""
    __tracebackhide__ = True
    _compare(recorder, "messages", messages, recorder.messages)


def assert_nothing_lost(recorder: Recorder, sent: Iterable[str | int]) -> None:
    """
    Check that every event was delivered, and that no gap was reported.

    *sent* has the ids of events that the server had, as `range(1, 21)`, at least one; it may have had more.
    """
    __tracebackhide__ = True
    ids = [str(number) for number in sent]
    if not ids:
        raise ValueError("sent must name at least one id")
    delivered = set(recorder.ids)
    missing = [event_id for event_id in ids if event_id not in delivered]
    if missing:
        _fail(recorder, f"{len(missing)} of {len(ids)} not delivered: {_named(missing)}")
    if recorder.gaps:
        _fail(recorder, f"reported as lost: {describe(recorder.gaps[0])}")


def assert_no_duplicates(recorder: Recorder) -> None:
    """
    Check that no event was delivered twice: none with the same id, type and data.

    Events without an id are not looked at: two that look the same may well be two.
    """
    __tracebackhide__ = True
    seen = Counter((event.id, event.event, event.data) for event in recorder.events if event.id)
    repeated = [str(event_id) for (event_id, _, _), times in seen.items() if times > 1]
    if repeated:
        _fail(recorder, f"delivered more than once: {_named(repeated)}")


def assert_in_order(recorder: Recorder, *, key: Callable[[ServerSentEvent], float] | None = None) -> None:
    """
    Check that events were delivered in the order of their ids.

    *key* tells the place of an event among the others.  The default is the number that its id is (`ValueError`
    if it is none), and leaves events without an id out.
    """
    __tracebackhide__ = True
    events = [event for event in recorder.events if key or event.id]
    places = [(key or _number)(event) for event in events]
    for (place, event), (next_place, next_event) in pairwise(zip(places, events, strict=True)):
        if next_place < place:
            _fail(recorder, f"event {next_event.id} was delivered behind event {event.id}")


def assert_reconnected(
    recorder: Recorder, *, times: int | None = None, reason: Reason | str | None = None
) -> None:
    """
    Check that the stream lost its connection, or failed to get one, and came back: *times* often, or once.

    *reason* counts only those that began so: `"stall"`, `"reset"`, ...  How many attempts it took, and why others
    of them failed, has no part in it.
    """
    __tracebackhide__ = True
    wanted = None if reason is None else Reason(reason).value
    reasons: list[str] = []  # how each outage began that ended with a connection
    began: str | None = None
    for change in recorder.changes:
        if change.new is StreamState.RECONNECTING:
            began = began or change.reason.value
        else:
            if change.new is StreamState.CONNECTED and began is not None:
                reasons.append(began)
            began = None
    count = len(reasons) if wanted is None else reasons.count(wanted)
    if count != times and (times is not None or not count):
        what = "reconnects" if wanted is None else f"reconnects because of {wanted}"
        often = "1 or more" if times is None else str(times)
        _fail(recorder, what, expected=often, got=f"{count}; reconnects: {_words(reasons)}")


def assert_delays_within(recorder: Recorder, *bands: tuple[float, float]) -> None:
    """
    Check the delays between attempts, as they were announced, and that there were at least as many as bands.

    A band is the least and the most seconds, and the last one holds for all further delays; `ValueError` if there
    is none.  With `(0.5, 1), (1, 2), (2, 4)` the fourth, fifth, ... is within (2, 4) as well.
    """
    __tracebackhide__ = True
    if not bands or any(least > most for least, most in bands):
        raise ValueError(f"bands must be pairs of least and most seconds, not {bands!r}")
    delays = recorder.delays
    if len(delays) < len(bands):
        _fail(recorder, "number of delays", expected=f"{len(bands)} or more", got=_words(delays))
    for number, delay in enumerate(delays, 1):
        least, most = bands[min(number, len(bands)) - 1]
        if not least <= delay <= most:
            what = f"delay {number} of {len(delays)}"
            _fail(recorder, what, expected=f"{least} to {most} s", got=f"{delay} s")


def _fail(recorder: Recorder, what: str, *, expected: str = "", got: str = "") -> NoReturn:
    __tracebackhide__ = True
    compared = [f"expected: {expected}", f"     got: {got}"] if expected else []
    raise AssertionError("\n    ".join((what, *compared, "timeline:", *recorder.timeline.splitlines())))


def _words(items: Sequence[str | float | EllipsisType]) -> str:
    return ", ".join("..." if item is ... else repr(item) for item in items) or "none"


def _named(ids: Sequence[str]) -> str:
    return ", ".join(shortened(ids, 10, 0))


def _number(event: ServerSentEvent) -> int:
    try:
        return int(event.id or "")
    except ValueError:
        raise ValueError(f"the id {event.id!r} is no number: pass key=") from None


def _compare(
    recorder: Recorder, what: str, expected: Sequence[str | EllipsisType], got: Sequence[str]
) -> None:
    """Hold a sequence against another in which `...` stands for any number of items."""
    __tracebackhide__ = True
    # What stands between two `...` may match where it is found first, for good: to try all places takes for ever.
    lines = "".join("\0" if item is ... else re.escape(f"{item!r}\n") for item in expected)
    first, *rest = lines.split("\0")
    pattern = first + "".join(rf"(?>(?:.*\n)*?{part})" for part in rest[:-1])
    pattern += "".join(rf"(?:.*\n)*{last}" for last in rest[-1:])
    if not re.fullmatch(pattern, "".join(f"{item!r}\n" for item in got)):
        _fail(recorder, what, expected=_words(expected), got=_words(got))

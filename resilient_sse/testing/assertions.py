"""
Assertions about a recorded stream; those that fail show the timeline.

```python
assert_states(recorder, "connecting", "connected", "waiting", "reconnecting", ..., "closed")
assert_nothing_lost(recorder, sent=range(1, 21))
```
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from types import EllipsisType
from typing import NoReturn

from resilient_sse._core.events import ServerSentEvent
from resilient_sse._core.states import Reason, StateChange, StreamState
from resilient_sse.testing.recorder import Recorder
from resilient_sse.testing.wire import counted

_NAMED = 10
"""How many ids a message names."""


def assert_states(recorder: Recorder, *states: StreamState | str | EllipsisType) -> None:
    """
    Check the states that a stream went through, from its first, `"connecting"`, to its last.

    Args:
        recorder: The record.
        *states: The states or their values; `...` stands for any number of states, also for none.

    Raises:
        AssertionError: It went through others.
        ValueError: There is no such state.
    """
    __tracebackhide__ = True
    expected = [state if state is ... else StreamState(state).value for state in states]
    if not _matches(recorder.states, expected):
        _fail(recorder, "states", expected=_words(expected), got=_words(recorder.states))


def assert_messages(recorder: Recorder, *messages: str | EllipsisType) -> None:
    """
    Check the texts for people, one for each change of state.

    Args:
        recorder: The record.
        *messages: The texts; `...` stands for any number of texts, also for none.

    Raises:
        AssertionError: There were others.
    """
    __tracebackhide__ = True
    if not _matches(recorder.messages, messages):
        _fail(recorder, "messages", expected=_words(messages), got=_words(recorder.messages))


def assert_nothing_lost(recorder: Recorder, sent: Iterable[str | int]) -> None:
    """
    Check that every event was delivered, and that no gap was reported.

    Args:
        recorder: The record.
        sent: The ids of the events that the server had, as `range(1, 21)`; the server may have had more.

    Raises:
        AssertionError: Something is missing, or the stream said that something may be.
        ValueError: *sent* is empty, so there is nothing to check.
    """
    __tracebackhide__ = True
    ids = [str(number) for number in sent]
    if not ids:
        raise ValueError("sent must name at least one id")
    delivered = set(recorder.ids)
    missing = [event_id for event_id in ids if event_id not in delivered]
    if missing:
        were = "was" if len(missing) == 1 else "were"
        what = f"{len(missing)} of {counted(len(ids), 'event')} {were} not delivered"
        _fail(recorder, f"{what}: {_named(missing)}")
    if recorder.gaps:
        _fail(recorder, f"the stream reported {counted(len(recorder.gaps), 'gap')}: {recorder.gaps[0]}")


def assert_no_duplicates(recorder: Recorder) -> None:
    """
    Check that no event was delivered twice: none with the same id, type and data.

    Events without an id are not looked at: two that look the same may well be two.

    Raises:
        AssertionError: One was.
    """
    __tracebackhide__ = True
    seen = Counter((event.id, event.event, event.data) for event in recorder.events if event.id)
    repeated = [str(event_id) for (event_id, _, _), times in seen.items() if times > 1]
    if repeated:
        were = "was" if len(repeated) == 1 else "were"
        what = f"{counted(len(repeated), 'event')} {were} delivered more than once"
        _fail(recorder, f"{what}: {_named(repeated)}")


def assert_in_order(recorder: Recorder, *, key: Callable[[ServerSentEvent], float] | None = None) -> None:
    """
    Check that events were delivered in the order of their ids.

    Args:
        recorder: The record.
        key: Tells the place of an event among the others.  The default is the number that its id is, and
            leaves events without an id out.

    Raises:
        AssertionError: One came behind a later one.
        ValueError: An id is no number, and there is no *key*.
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
    Check that the stream lost its connection, or failed to get one, and came back.

    Args:
        recorder: The record.
        times: How often; `None` for at least once.
        reason: Count only those that began for this reason: `"stall"`, `"reset"`, ...  How many attempts it
            took, and why others of them failed, does not matter.

    Raises:
        AssertionError: It came back more often, or less often.
        ValueError: There is no such reason.
    """
    __tracebackhide__ = True
    wanted = None if reason is None else Reason(reason)
    reasons = _mended(recorder.changes)
    count = len(reasons) if wanted is None else reasons.count(wanted)
    if count == times or (times is None and count):
        return
    all_of_them = _words([found.value for found in reasons])
    _fail(
        recorder,
        "reconnects" if wanted is None else f"reconnects because of {wanted.value}",
        expected="at least once" if times is None else counted(times, "time"),
        got=f"{counted(count, 'time')}; reconnects: {all_of_them}",
    )


def assert_delays_within(recorder: Recorder, *bands: tuple[float, float]) -> None:
    """
    Check the delays between attempts, as they were announced.

    ```python
    assert_delays_within(recorder, (0.5, 1), (1, 2), (2, 4))  # the fourth, fifth, ... is within (2, 4) as well
    ```

    Args:
        recorder: The record.
        *bands: The least and the most seconds of the first delay, the second, and so on; the last band holds
            for all further ones.

    Raises:
        AssertionError: A delay lies outside its band, or there were fewer delays than bands.
        ValueError: There is no band, or its ends are the wrong way round.
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
    more = f" and {len(ids) - _NAMED} more" if len(ids) > _NAMED else ""
    return ", ".join(ids[:_NAMED]) + more


def _number(event: ServerSentEvent) -> int:
    try:
        return int(event.id or "")
    except ValueError:
        raise ValueError(f"the id {event.id!r} is no number: pass key=") from None


def _mended(changes: Sequence[StateChange]) -> list[Reason]:
    """Return how each outage began that ended with a connection."""
    reasons: list[Reason] = []
    began: Reason | None = None
    for change in changes:
        if change.new is StreamState.RECONNECTING:
            began = began or change.reason
        else:
            if change.new is StreamState.CONNECTED and began is not None:
                reasons.append(began)
            began = None
    return reasons


def _matches(got: Sequence[str], expected: Sequence[str | EllipsisType]) -> bool:
    """Hold a sequence against another in which `...` stands for any number of items."""
    reached = {0}
    for item in expected:
        if item is ...:
            reached = set(range(min(reached), len(got) + 1)) if reached else reached
        else:
            reached = {place + 1 for place in reached if place < len(got) and got[place] == item}
    return len(got) in reached

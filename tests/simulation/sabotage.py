"""
One fault for each promise, at the seams of the public surface; the simulation has to catch every one of them.

A fault lies in the server, in what the stream is given without the checker's knowledge, or in one public method.
"""

from dataclasses import replace
from unittest.mock import patch

import anyio

from resilient_sse import Comment, Gap, Reason, ResilientStream, Resume, StateChange, StreamState, Verdict
from tests.simulation import server, wire
from tests.simulation.consumer import Consumer
from tests.simulation.plan import Dialect
from tests.simulation.record import Promise
from tests.simulation.run import Store
from tests.simulation.server import Server


def replaced(owner, name, make):
    """Replace a function by what *make* makes of it."""
    return patch.object(owner, name, make(getattr(owner, name)))


def given(change):
    """Give the stream other arguments: *change* returns those that differ, from its options and the others."""

    def make(arguments):
        def changed(self, store):
            found = arguments(self, store)
            return found | change(self._options, found)

        return changed

    return lambda: replaced(Consumer, "arguments", make)


def told(change):
    """Tell the observers what *change* makes of each fact, nothing if that is `None`."""

    def wrapped(observe):
        def observed(fact):
            fact = change(fact)
            if fact is not None:
                observe(fact)

        return observed

    def changed(_options, found):
        if "observers" in found:
            return {"observers": [wrapped(each) for each in found["observers"]]}
        return {"on_state_change": wrapped(found["on_state_change"])}

    return given(changed)


def written(change):
    """Have the server write what *change* makes of a piece and its event."""
    return lambda: replaced(
        Server, "write", lambda write: lambda self, event, **how: change(write(self, event, **how), event)
    )


def _garbled(piece, event):
    return replace(piece, data=piece.data.replace(b"data: ", b"data: f")) if event.ordinal % 7 == 0 else piece


def _unsent(piece, event):
    return replace(piece, data=b": \n\n") if event.ordinal % 5 == 0 else piece


def _swapped(cut):
    def changed(pieces, answer, **how):
        pieces = list(pieces)
        for first in range(len(pieces) - 1):
            one, two = pieces[first], pieces[first + 1]
            if getattr(one, "event", None) and getattr(two, "event", None):
                pieces[first : first + 2] = [replace(one, data=two.data), replace(two, data=one.data)]
        return cut(pieces, answer, **how)

    return changed


def _refusing(replay):
    return lambda self, sent: (replay(self, sent)[0], {"Last-Event-ID": "elsewhere"} if sent.cursor else {})


def _more(options, found):
    return {} if options.max_retries is None else {"max_retries": options.max_retries + 1}


def _slower(options, found):
    pace = found["backoff"]
    return {"backoff": replace(pace, initial=1.3 * pace.initial, maximum=1.3 * pace.maximum)}


def _stale(options, found):
    return (
        {"headers": {"Authorization": "Bearer 1", "X-Own": "yes", "Cookie": "own=yes"}}
        if (options.token == "fresh")
        else {}
    )


def _no_failure(fact):
    lost = isinstance(fact, StateChange) and fact.new is StreamState.RECONNECTING
    return None if lost and fact.reason is Reason.CONNECT else fact


def _no_return(fact):
    back = isinstance(fact, StateChange) and fact.old is StreamState.WAITING
    return None if back and fact.new is StreamState.CONNECTED else fact


def _one_reason(fact):
    lost = isinstance(fact, StateChange) and fact.new is StreamState.RECONNECTING
    return replace(fact, reason=Reason.RESET) if lost and fact.reason is not Reason.RESTART else fact


def _forgetful(called):
    async def changed(self, fact):
        if not (isinstance(fact, StateChange) and fact.reason is Reason.OPENED):
            await called(self, fact)

    return changed


def _without_notices(activity):
    async def changed(self):
        async for item in activity(self):
            if not isinstance(item, Gap | Comment):
                yield item

    return changed


def _skipping(following):
    async def changed(self):
        event = await following(self)
        return await following(self) if event.data.rstrip().endswith("7") else event

    return changed


def _slow(aclose):
    async def changed(self):
        await anyio.sleep(10.0)
        await aclose(self)

    return changed


def _misread(load):
    async def changed(self, key):
        if self._present is not None:
            self._present = replace(self._present, last_event_id="1")
        return await load(self, key)

    return changed


async def _nothing(*_args, **_options):
    return None


SABOTAGES = {
    Promise.WHOLE: written(_garbled),
    Promise.LOST: written(_unsent),
    Promise.ORDER: lambda: replaced(server, "cut", _swapped),
    Promise.GAP: lambda: replaced(Server, "_replay", _refusing),
    Promise.COUNTERS: lambda: replaced(
        server, "beat", lambda beat: lambda *what, **how: replace(beat(*what, **how), heartbeat=False)
    ),
    Promise.ONE_CONNECTION: lambda: patch.object(wire._Tapped, "aclose", _nothing),
    Promise.POSITION: lambda: replaced(Store, "load", _misread),
    Promise.ONCE: given(lambda options, found: {"dedup": "off"}),
    Promise.CURSOR: given(
        lambda options, found: {"resume": lambda *_: Resume()} if options.dialect is Dialect.HEADER else {}
    ),
    Promise.DELAY: given(_slower),
    Promise.ATTEMPTS: given(_more),
    Promise.VERDICT: given(lambda options, found: {"classify": lambda error: Verdict.RETRY}),
    Promise.CREDENTIALS: given(_stale),
    Promise.REQUEST: given(lambda options, found: {"content": b"other"} if options.post else {}),
    Promise.STUCK: given(lambda options, found: {"stall_timeout": None, "event_timeout": None}),
    Promise.CRASH: given(lambda options, found: {"cursor": lambda event: 1 // (len(event.data) - 2)}),
    Promise.SILENT: told(_no_failure),
    Promise.TRANSITIONS: told(_no_return),
    Promise.REASON: told(_one_reason),
    Promise.CALLBACKS: lambda: replaced(Consumer, "_called", _forgetful),
    Promise.ACTIVITY: lambda: replaced(ResilientStream, "activity", _without_notices),
    Promise.HANDED: lambda: replaced(ResilientStream, "__anext__", _skipping),
    Promise.RESTART: lambda: patch.object(ResilientStream, "restart", lambda self: None),
    Promise.CLOSING: lambda: replaced(ResilientStream, "aclose", _slow),
}

"""Clients and servers with one fault each; the simulation has to catch every one of them."""

from contextlib import contextmanager
from unittest.mock import patch

from resilient_sse import Reason, StreamState
from resilient_sse._client import pump, stream
from resilient_sse._client.position import Position
from resilient_sse._client.pump import Pump
from resilient_sse._client.request import RequestTemplate
from resilient_sse._client.stream import ResilientStream
from resilient_sse._client.transport import connection
from resilient_sse._core import outage
from resilient_sse._core.backoff import Pacing
from resilient_sse._core.dedup import Deduplicator, Sighting
from resilient_sse._core.events import ServerSentEvent
from resilient_sse._core.holdback import Holdback
from resilient_sse._core.intake import Intake
from resilient_sse._core.liveness import Silence
from resilient_sse._core.outage import Outage
from resilient_sse._core.parser import Block
from resilient_sse._core.resumption import Resumption
from resilient_sse._core.sequence import Place, Sequence
from resilient_sse._core.session import Session
from resilient_sse.testing.simulation import Answer, Deed, Plan
from resilient_sse.testing.simulation.server import SimulatedServer


def replaced(owner, name, make):
    """Replace a method by what *make* makes of it."""
    return patch.object(owner, name, make(getattr(owner, name)))


def constant(owner, name, value):
    """Replace a method by one that always returns *value*."""
    return patch.object(owner, name, lambda *_, **__: value)


def blind_window():
    """Recognise no repeat."""
    return constant(Deduplicator, "look", Sighting.NEW)


def overlooked_holes():
    """Take whatever comes for the next number."""

    def make(place):
        return lambda self, number: Place.NEXT if place(self, number) is Place.AHEAD else place(self, number)

    return replaced(Sequence, "place", make)


def hasty_gaps():
    """Report a hole at once, without asking again."""
    return patch.object(Session, "_heals_in_vain", lambda self: self.intake.heal)


def nothing_held_back():
    """Deliver what stands behind a hole before it is filled."""

    def make(release):
        def hold(self, items, connection):
            self.connection = connection
            self._items.extend(items)

        return hold

    @contextmanager
    def both():
        with replaced(Holdback, "hold", make), patch.object(Holdback, "due", lambda self, *_: at_once(self)):
            yield

    def at_once(held):
        return held._items.popleft() if held._items else None

    return both()


def overtaken_events():
    """Let an event with an opaque id overtake the one before it."""

    def make(put):
        def wrapped(self, item):
            put(self, item)
            last = list(self._queue)[-2:]
            if self._sequence is None and len(last) == 2 and all(isinstance(each, Block) for each in last):
                self._queue.extend((self._queue.pop(), self._queue.pop()))

        return wrapped

    return replaced(Intake, "put", make)


def belated_events():
    """Keep some events with opaque ids back until the next connection."""

    def make_put(put):
        def wrapped(self, item):
            if self._sequence is None and isinstance(item, Block) and (item.data or "").endswith("3"):
                self._belated = item
            else:
                put(self, item)

        return wrapped

    def make_connected(connected):
        def wrapped(self, *args, **options):
            connected(self, *args, **options)
            item, self._belated = getattr(self, "_belated", None), None
            if item is not None:
                self._queue.append(item)

        return wrapped

    @contextmanager
    def both():
        with replaced(Intake, "put", make_put), replaced(Intake, "connected", make_connected):
            yield

    return both()


def repeated_gaps():
    """Say each time again that the cursor is worth nothing."""

    def make(gap):
        def again(self, cursor, before_id=None):
            self._reported = None
            return gap(self, cursor, before_id)

        return again

    return replaced(Resumption, "_gap", make)


def silent_unresumables():
    """Never say that the cursor is worth nothing."""
    return constant(Resumption, "_gap", None)


def half_events():
    """Take over the id of a block that was cut."""

    def make(disconnected):
        def wrapped(self, *args, **options):
            if self._opened_at is not None and self._parser._id:
                self.intake._set_id(self._parser._id)
            return disconnected(self, *args, **options)

        return wrapped

    return replaced(Session, "_disconnected", make)


def ids_that_fall():
    """Put the ids of repeats in force."""

    def make(deliver):
        def wrapped(self, block, *args):
            event = deliver(self, block, *args)
            if event is None and block.id:
                self._set_id(block.id)
            return event

        return wrapped

    return replaced(Intake, "_deliver", make)


def forgotten_cursor():
    """Send no `Last-Event-ID`."""

    def make(prepare):
        return lambda self, _: prepare(self, None)

    return replaced(RequestTemplate, "prepare", make)


def early_commits():
    """Commit an event when it is handed over."""

    def make(following):
        async def wrapped(self, **options):
            item = await following(self, **options)
            if isinstance(item, ServerSentEvent) and self._position is not None:
                await self._position.settle()
            return item

        return wrapped

    return replaced(ResilientStream, "_next", make)


def late_commits():
    """Commit one event too late."""

    def make(settle):
        async def wrapped(self):
            self._waiting, due = self._handed, getattr(self, "_waiting", None)
            self._handed = due
            await settle(self)

        return wrapped

    return replaced(Position, "settle", make)


def two_connections():
    """Leave connections open."""

    async def keep(self):
        self.connection = None

    return patch.object(Pump, "_drop", keep)


def no_delay():
    """Reconnect at once."""
    return constant(Pacing, "delay", 0.0)


def long_delays():
    """Wait longer than the band allows."""

    def make(delay):
        return lambda self, attempt: delay(self, attempt) * 1.3

    return replaced(Pacing, "delay", make)


def deaf_to_retry_after():
    """Ignore `Retry-After`."""
    return constant(Pacing, "retry_after", None)


def delays_not_waited():
    """Announce delays and do not wait for them."""

    async def at_once(self, _delay=0.0):
        pass

    return patch.object(Pump, "_pause", at_once)


def one_retry_more():
    """Try once more than the budget allows."""

    def more(self):
        return self._options.max_retries is not None and self.attempt > self._options.max_retries

    return patch.object(Outage, "spent", property(more))


def one_retry_less():
    """Give up one attempt too early."""

    def less(self):
        return self._options.max_retries is not None and self.attempt + 1 >= self._options.max_retries

    return patch.object(Outage, "spent", property(less))


def no_recovery():
    """Never end an outage by a new event."""
    return constant(Session, "_proof", None)


def untold_failures():
    """Say nothing of connections that cannot be made."""

    def make(move):
        def wrapped(self, new, reason, *args, **options):
            move(self, new, reason, *args, **options)
            if new is StreamState.RECONNECTING and reason is Reason.CONNECT:
                self.journal.untold.pop()

        return wrapped

    return replaced(Session, "_move", make)


def wrong_reasons():
    """Call every failure a reset."""
    return patch.object(outage, "reason_of", lambda error: Reason.RESET)


def illegal_transitions():
    """Leave WAITING behind the back of the table, which the client itself notices."""

    def make(receive):
        def wrapped(self, *args, **options):
            if self.state is StreamState.WAITING:
                self.state = StreamState.CONNECTED
            return receive(self, *args, **options)

        return wrapped

    return replaced(Session, "receive", make)


def untold_returns():
    """Say nothing when bytes come back after a silence."""

    def make(move):
        def wrapped(self, new, *args, **options):
            waited = self.state is StreamState.WAITING
            move(self, new, *args, **options)
            if waited and new is StreamState.CONNECTED:
                self.journal.untold.pop()

        return wrapped

    return replaced(Session, "_move", make)


def uncounted_duplicates():
    """Leave repeats out of their counter."""

    def make(judge):
        def wrapped(self, *args):
            before = self._stats.duplicates
            event = judge(self, *args)
            self._stats.duplicates = before
            return event

        return wrapped

    return replaced(Intake, "_judge", make)


def uncounted_losses():
    """Leave losses out of their counter."""

    def make(counted):
        def wrapped(self, gap):
            before = self._stats.lost
            counted(self, gap)
            self._stats.lost = before
            return gap

        return wrapped

    return replaced(Intake, "_counted", make)


def endless_patience():
    """Never give up a silent connection."""
    return patch.object(Silence, "left", property(lambda self: (1e9, Reason.STALL)))


@contextmanager
def unbounded_close():
    """Wait for a connection to close for as long as it likes."""
    with (
        patch.object(pump, "CLOSE_SECONDS", 100.0),
        patch.object(stream, "CLOSE_SECONDS", 100.0),
        patch.object(connection, "CLOSE_SECONDS", 100.0),
    ):
        yield


def garbled_server():
    """Send other data than was published, now and then."""

    def make(event):
        def wrapped(published):
            piece = event(published)
            if published.ordinal % 7:
                return piece
            return type(piece)(piece.data.replace(b"data: e", b"data: f"), published)

        return staticmethod(wrapped)

    return patch.object(SimulatedServer, "_event", make(SimulatedServer._event))


SABOTAGES = {
    blind_window: "once",
    overlooked_holes: "lost",
    hasty_gaps: "gap",
    nothing_held_back: "order",
    overtaken_events: "order",
    belated_events: "order",
    repeated_gaps: "gap",
    silent_unresumables: "gap",
    half_events: "lost",
    ids_that_fall: "cursor",
    forgotten_cursor: "cursor",
    early_commits: "position",
    late_commits: "position",
    two_connections: "one-connection",
    no_delay: "delay",
    long_delays: "delay",
    deaf_to_retry_after: "delay",
    delays_not_waited: "delay",
    one_retry_more: "attempts",
    one_retry_less: "attempts",
    no_recovery: "attempts",
    untold_failures: "silent",
    wrong_reasons: "reason",
    illegal_transitions: "crash",
    untold_returns: "transitions",
    uncounted_duplicates: "counters",
    uncounted_losses: "counters",
    endless_patience: "stuck",
    unbounded_close: "closing",
    garbled_server: "whole",
}
"""Each sabotage and the invariant that has to catch it."""

SLOW_CLOSE = Plan(
    answers=(Answer(live=("event",), end="stall", close_takes=30.0),),
    deeds=(Deed(kind="aclose", seconds=3.0),),
)
PLANS = {unbounded_close: SLOW_CLOSE}
"""For what the seeds seldom reach."""

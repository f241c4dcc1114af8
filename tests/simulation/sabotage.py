"""Clients and servers with one fault each; the simulation has to catch every one of them."""

import math
from collections import deque
from contextlib import contextmanager
from dataclasses import replace
from unittest.mock import patch

from resilient_sse import Gap, Reason, StreamState
from resilient_sse._client import pump
from resilient_sse._client import request as request_module
from resilient_sse._client.callbacks import Callbacks
from resilient_sse._client.checkpointing import Position
from resilient_sse._client.pump import Pump
from resilient_sse._client.request import RequestTemplate
from resilient_sse._client.stream import Activities, ResilientStream
from resilient_sse._client.transport import connection, redirects
from resilient_sse._core import outage
from resilient_sse._core.backoff import Pacing
from resilient_sse._core.batches import Batches
from resilient_sse._core.dedup import Deduplicator, Sighting
from resilient_sse._core.delivery import Delivery
from resilient_sse._core.events import ServerSentEvent
from resilient_sse._core.liveness import Silence
from resilient_sse._core.options import StreamOptions
from resilient_sse._core.outage import Outage
from resilient_sse._core.parser import Block
from resilient_sse._core.recovery import Resumption
from resilient_sse._core.sequence import Numbers, Place, Sequence, State
from resilient_sse._core.session import Session
from tests.simulation.plan import Answer, Deed, Options, Plan
from tests.simulation.server import SimulatedServer


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

    return replaced(Numbers, "place", make)


def hasty_gaps():
    """Report a hole at once, without asking again."""

    def make(hole):
        def wrapped(self, block, number):
            self._asked_for = number
            return hole(self, block, number)

        return wrapped

    return replaced(Sequence, "_hole", make)


def nothing_held_back():
    """Deliver what stands behind a hole before it is filled."""

    def make(source):
        def wrapped(self):
            if self._held and self.state is not State.ASKING:
                self._front = deque(item for _, items in self._held for item in items)
                self._held.clear()
            return source(self)

        return wrapped

    return replaced(Sequence, "source", make)


def overtaken_events():
    """Let an event with an opaque id overtake the one before it."""

    def make(put):
        def wrapped(self, item):
            put(self, item)
            last = list(self._queue)[-2:]
            if self.sequence is None and len(last) == 2 and all(isinstance(each, Block) for each in last):
                self._queue.extend((self._queue.pop(), self._queue.pop()))

        return wrapped

    return replaced(Delivery, "put", make)


def again_over_the_next_connection(chosen, *, kept):
    """Queue the last item that is *chosen* when the next connection begins; unless *kept*, not before."""
    again = {}

    def make_put(put):
        def wrapped(self, item):
            belongs = chosen(self, item)
            if belongs:
                again[id(self)] = item
            if kept or not belongs:
                put(self, item)

        return wrapped

    def make_connected(connected):
        def wrapped(self, *args, **options):
            connected(self, *args, **options)
            item = again.pop(id(self), None)
            if item is not None:
                self._queue.append(item)

        return wrapped

    @contextmanager
    def both():
        with replaced(Delivery, "put", make_put), replaced(Delivery, "connected", make_connected):
            yield

    return both()


def belated_events():
    """Keep some events with opaque ids back until the next connection."""

    def chosen(intake, item):
        return intake.sequence is None and isinstance(item, Block) and (item.data or "").endswith("3")

    return again_over_the_next_connection(chosen, kept=False)


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
            if self._current.opened_at is not None and self._current.parser._id:
                self.delivery._set_id(self._current.parser._id)
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

    return replaced(Delivery, "_deliver", make)


def heartbeats_that_fall():
    """Go back to the id of the last event when a repeat follows a numbered heartbeat."""

    def make(deliver):
        def wrapped(self, *args):
            event = deliver(self, *args)
            if event is None and self._event_id != self.last_event_id:
                self._set_id(self._event_id)
            return event

        return wrapped

    return replaced(Delivery, "_deliver", make)


def forgotten_cursor():
    """Send no `Last-Event-ID`."""

    def make(prepare):
        return lambda self, _cursor, answer=None: prepare(self, None, answer)

    return replaced(RequestTemplate, "prepare", make)


def columns_behind_the_cursor():
    """Leave the id to resume after where it was when a run of events is judged by columns."""

    def make(judge):
        def wrapped(self, *args):
            before = self.cursor
            judged = judge(self, *args)
            self.cursor = before if judged else self.cursor
            return judged

        return wrapped

    return replaced(Batches, "_judge_run", make)


def early_commits():
    """Commit an event when it is handed over."""

    def make(following):
        async def wrapped(self, **options):
            item = await following(self, **options)
            if isinstance(item, ServerSentEvent) and self._position is not None:
                await self._position.settle()
            return item

        return wrapped

    return replaced(Pump, "next", make)


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
                self.untold.pop()

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
                self.untold.pop()

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

    return replaced(Delivery, "_judge", make)


def uncounted_losses():
    """Leave losses out of their counter."""

    def make(counted):
        def wrapped(self, gap):
            before = self._stats.lost
            counted(self, gap)
            self._stats.lost = before
            return gap

        return wrapped

    return replaced(Delivery, "_counted", make)


def endless_patience():
    """Never give up a silent connection."""

    def measure(self):
        self.left, self.until_notice = (1e9, Reason.STALL), math.inf

    return patch.object(Silence, "_measure", measure)


@contextmanager
def unbounded_close():
    """Wait for a connection to close for as long as it likes."""
    with (
        patch.object(pump, "CLOSE_SECONDS", 100.0),
        patch.object(connection, "CLOSE_SECONDS", 100.0),
    ):
        yield


def inherited_ids():
    """Drop events without an id as repeats of the one before, as filters on the id in force do."""

    def make(look):
        def wrapped(self, event_id, *args):
            return Sighting.DUPLICATE if not event_id and self._event_id else look(self, event_id, *args)

        return wrapped

    return replaced(Delivery, "_look", make)


def plain_events_first():
    """Hold back only what has a number; what has none overtakes it."""

    def make(hold):
        def wrapped(self):
            hold(self)
            self._front = deque(item for _, items in self._held for item in items[1:])
            for _, items in self._held:
                del items[1:]

        return wrapped

    return replaced(Sequence, "hold", make)


def plain_events_again():
    """Bring the last event without an id again over the next connection."""

    def chosen(_intake, item):
        return isinstance(item, Block) and item.data and item.id is None and not item.event

    return again_over_the_next_connection(chosen, kept=True)


def redirected_for_good():
    """Begin the next attempt where the last one was led."""
    led = {}

    def make_target(target):
        def wrapped(*args):
            led["to"] = target(*args)
            return led["to"]

        return wrapped

    def make_prepare(prepare):
        async def wrapped(self, cursor, answer=None):
            request = await prepare(self, cursor, answer)
            return replace(request, url=str(led.pop("to", request.url)))

        return wrapped

    @contextmanager
    def both():
        with replaced(redirects, "_target", make_target), replaced(RequestTemplate, "prepare", make_prepare):
            yield

    return both()


def leaky_redirects():
    """Take every origin for the first one."""
    return patch.object(redirects, "_origin", lambda url: None)


def endless_redirects():
    """Follow more redirects than ten."""
    return patch.object(redirects, "_MAX_REDIRECTS", 20)


def posts_after_see_other():
    """Send the body again where a 303 says GET."""
    return patch.object(redirects, "_BECOMES_GET", frozenset())


def bodies_lost():
    """Send a POST without its body."""

    async def nothing(self):
        return None

    return patch.object(RequestTemplate, "_body", nothing)


def careless_repeats():
    """Send a request again that would repeat what was delivered."""
    return constant(StreamOptions, "obstacle", None)


def stale_headers():
    """Evaluate the headers once and for all."""
    kept = {}

    def make(evaluated):
        async def wrapped(value):
            if not callable(value):
                return await evaluated(value)
            if value not in kept:
                kept[value] = await evaluated(value)
            return kept[value]

        return wrapped

    return replaced(request_module, "_evaluated", make)


def endless_credentials():
    """Try again after every 401."""

    def make(verdict):
        return lambda error, **options: verdict(error, **(options | {"fresh_credentials": True}))

    return replaced(outage, "default_verdict", make)


def no_second_token():
    """Give up at the first 401."""

    def make(verdict):
        return lambda error, **options: verdict(error, **(options | {"fresh_credentials": False}))

    return replaced(outage, "default_verdict", make)


def deaf_to_classify():
    """Decide everything by the table."""

    def make(verdict):
        def wrapped(self, error, *, proven):
            options, self._options = self._options, replace(self._options, classify=None)
            try:
                return verdict(self, error, proven=proven)
            finally:
                self._options = options

        return wrapped

    return replaced(Outage, "_verdict", make)


def fatal_callbacks():
    """Let what a callback raises through."""

    def failed(self, callback):
        raise RuntimeError("a callback has failed")

    return patch.object(Callbacks, "_failed", failed)


def uncounted_callback_errors():
    """Swallow what a callback raises."""
    return constant(Callbacks, "_failed", None)


def one_chance_for_callbacks():
    """Call no callback again after it has failed."""

    def make(failed):
        def wrapped(self, callback):
            failed(self, callback)
            self._on_state.clear()

        return wrapped

    return replaced(Callbacks, "_failed", make)


def activity_without_gaps():
    """Leave gaps out of `activity()`."""

    def make(following):
        async def wrapped(self):
            item = await following(self)
            return await following(self) if isinstance(item, Gap) else item

        return wrapped

    return replaced(Activities, "__anext__", make)


def gaps_lost_to_cancellation():
    """Forget a gap whose callback is cancelled."""
    return patch.object(Pump, "_unhanded", property(lambda self: None, lambda self, item: None), create=True)


def deaf_to_restart():
    """Do nothing when `restart()` is called."""
    return constant(ResilientStream, "restart", None)


def deaf_to_retry():
    """Ignore `retry` fields."""
    return constant(Pacing, "retry", None)


def untold_retry():
    """Leave the `retry` field out of the event it came with."""

    def make(deliver):
        def wrapped(self, *args):
            event = deliver(self, *args)
            return event and replace(event, retry=None)

        return wrapped

    return replaced(Delivery, "_deliver", make)


def garbled_server():
    """Send other data than was published, now and then."""

    def make(event):
        def wrapped(published, **options):
            piece = event(published, **options)
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
    heartbeats_that_fall: "cursor",
    forgotten_cursor: "cursor",
    columns_behind_the_cursor: "cursor",
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
    inherited_ids: "lost",
    plain_events_first: "order",
    plain_events_again: "once",
    redirected_for_good: "request",
    leaky_redirects: "request",
    endless_redirects: "request",
    posts_after_see_other: "request",
    bodies_lost: "request",
    careless_repeats: "verdict",
    stale_headers: "credentials",
    endless_credentials: "verdict",
    no_second_token: "verdict",
    deaf_to_classify: "verdict",
    fatal_callbacks: "crash",
    uncounted_callback_errors: "counters",
    one_chance_for_callbacks: "callbacks",
    activity_without_gaps: "activity",
    gaps_lost_to_cancellation: "activity",
    deaf_to_restart: "restart",
    deaf_to_retry: "delay",
    untold_retry: "whole",
    garbled_server: "whole",
}
"""Each sabotage and the invariant that has to catch it."""

SLOW_CLOSE = Plan(
    answers=(Answer(live=("event",), end="stall", close_takes=30.0),),
    deeds=(Deed(kind="aclose", seconds=3.0),),
)
CANCELLED_GAP = Plan(
    options=Options(max_retries=0, activity=True, raises=100),
    answers=(Answer(live=("event", "vanish", "event"), chunk=500),),
    deeds=(Deed(kind="cancel", event=1),),
)
NUMBERED_HEARTBEAT = Plan(answers=(Answer(live=("event", "beat")), Answer(overlap=2), Answer()))
PLANS = {
    unbounded_close: SLOW_CLOSE,
    gaps_lost_to_cancellation: CANCELLED_GAP,
    heartbeats_that_fall: NUMBERED_HEARTBEAT,
}
"""For what the seeds seldom reach."""

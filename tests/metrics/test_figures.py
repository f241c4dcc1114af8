"""The sums over many streams, as a scrape shows them: what stays, what goes, and what is shown when."""

import gc
import threading

import pytest
from prometheus_client import CollectorRegistry

from resilient_sse import Category, Gap, Reason, RetriesExhaustedError, StreamState, StreamStats
from resilient_sse._core.recovery import Recovery
from resilient_sse._core.states import StateChange
from resilient_sse.metrics import catalogue, figures
from resilient_sse.metrics.figures import RECENT
from resilient_sse.metrics.prometheus import PrometheusMetrics
from resilient_sse.testing import Script
from tests.client.support import URL, drain, make, numbered

CONNECTING, CONNECTED, WAITING, RECONNECTING, ERROR, CLOSED = StreamState


class Bench(CollectorRegistry):
    """A registry with its instrument, and streams whose counters are set by hand."""

    def __init__(self):
        super().__init__()
        self.metrics = PrometheusMetrics(self)

    def stream(self, *facts, **counters):
        stats = StreamStats(started_at=0.0, **counters)
        observer = self.metrics.attach(stats, URL)
        for fact in facts:
            observer(fact)
        return stats, observer

    def __getitem__(self, metric):
        if not metric.labels:
            return self.get_sample_value(metric.name)
        ((label, values),) = metric.labels.items()
        shown = {value: self.get_sample_value(metric.name, {label: value}) for value in values}
        return {value: number for value, number in shown.items() if number}


@pytest.fixture
def bench():
    """Give figures without streams."""
    return Bench()


@pytest.fixture
def clock(monkeypatch):
    """Give a clock that is set by hand."""

    class Clock:
        now = 1000.0

        def monotonic(self):
            return self.now

    clock = Clock()
    monkeypatch.setattr(figures, "time", clock)
    return clock


def change(old, new, reason=Reason.RESET, at=0.0):
    """Make a state change."""
    return StateChange(old=old, new=new, reason=reason, at=at)


OPENED = change(CONNECTING, CONNECTED, Reason.OPENED, 1.0)
STALLED = change(CONNECTED, RECONNECTING, Reason.STALL, 31.0)
REFUSED = change(RECONNECTING, RECONNECTING, Reason.CONNECT)
BACK = change(RECONNECTING, CONNECTED, Reason.OPENED, 32.0)
GIVEN_UP = change(RECONNECTING, ERROR, Reason.RETRIES)
ENDED = change(CONNECTED, CLOSED, Reason.CLOSED, 40.0)


COUNTED = {
    "R102, R129, X13: 3 of 53 duplicated, 5.66 %, heartbeats aside": (
        [{"received": 60, "delivered": 48, "duplicates": 3, "heartbeats": 7, "filtered": 2}],
        {catalogue.DUPLICATE_EVENTS: 3, catalogue.TOTAL_EVENTS_RECEIVED: 53, catalogue.EVENTS_RECEIVED: 60},
    ),
    "R93, R104, R132, X12: 5 of 50 lost, and a notice without a number, which hides no loss": (
        [{"delivered": 46, "numbered": 45, "lost": 5}],
        {
            catalogue.MESSAGE_LOSS: 5,
            catalogue.STREAM_COMPLETION_RATE: 90,
            catalogue.EXPECTED_EVENTS: 50,
            catalogue.EXPECTED_EVENTS_RECEIVED: 45,
        },
    ),
    "R96: completion is taken over all streams that know it, and is not the mean of their rates": (
        [{"numbered": 990, "lost": 10}, {"lost": 10}, {"delivered": 9}],
        {
            catalogue.STREAM_COMPLETION_RATE: pytest.approx(990 / 1010 * 100),
            catalogue.RECENT_EXPECTED_EVENTS: 1010,
            catalogue.RECENT_EXPECTED_EVENTS_RECEIVED: 990,
        },
    ),
    "R106, R107: one stall of each of two streams": (
        [{"stalls": 1}, {"stalls": 1}],
        {catalogue.STALLS: 2, catalogue.REPEATED_STALLS: 0},
    ),
    "R107: a stall is repeated from a stream's second one on": (
        [{"stalls": 1}, {"stalls": 3}],
        {catalogue.STALLS: 4, catalogue.REPEATED_STALLS: 2},
    ),
    **{
        f"R109 to R113, R130: a stream with four errors is one with errors: {counter}": (
            [{counter: 4}, {}],
            {catalogue.USER_VISIBLE_ERRORS: {category.value: 4}, catalogue.STREAMS_WITH_ERRORS: 1},
        )
        for counter, category in zip(
            ("connection_errors", "server_errors", "retries_exhausted"), Category, strict=True
        )
    },
}


@pytest.mark.parametrize("title", COUNTED)
def test_counters_are_summed_up(bench, title):
    """What streams say of themselves, and what a scrape shows."""
    streams, shown = COUNTED[title]
    kept = [bench.stream(**counters) for counters in streams]
    assert {metric: bench[metric] for metric in shown} == shown
    del kept


@pytest.mark.parametrize(
    "facts, outages",
    [
        ((OPENED, STALLED, REFUSED, REFUSED, GIVEN_UP, change(ERROR, RECONNECTING), BACK), 1),
        ((OPENED, change(CONNECTED, WAITING, Reason.STALL)), 0),
        ((OPENED, STALLED, BACK, change(CONNECTED, WAITING), change(WAITING, RECONNECTING)), 2),
        ((change(CONNECTING, RECONNECTING, Reason.CONNECT), GIVEN_UP, ENDED), 1),
        ((change(CONNECTING, ERROR, Reason.CONNECT), ENDED), 1),
        ((OPENED, change(CONNECTED, RECONNECTING, Reason.RESTART), BACK), 0),
        ((OPENED, change(CONNECTED, RECONNECTING, Reason.AGE), BACK), 0),
        ((OPENED, change(CONNECTED, RECONNECTING, Reason.GAP), BACK), 0),
        ((OPENED, change(CONNECTED, RECONNECTING, Reason.RESTART), REFUSED, REFUSED), 1),
    ],
)
def test_an_outage_counts_once(bench, facts, outages):
    """R113: however many attempts it takes; silence is none, and a wanted loss becomes one if an attempt fails."""
    kept = bench.stream(*facts)
    assert bench[catalogue.OUTAGES] == outages
    del kept


def test_reconnects_have_the_first_reason_of_their_outage(bench):
    """A refused attempt in between does not change why the connection was lost; a first one is none (R131)."""
    first = bench.stream(change(CONNECTING, RECONNECTING), BACK)
    assert bench[catalogue.RECONNECTS] == {}
    kept = bench.stream(OPENED, STALLED, REFUSED, REFUSED, BACK, change(CONNECTED, RECONNECTING), BACK)
    assert bench[catalogue.RECONNECTS] == {"stall": 1, "reset": 1}
    del first, kept


async def test_the_last_straw_has_a_reason_too(bench, script):
    """A loss that spends the budget is counted by what it was, should the program go on."""
    script.respond(*numbered(1)).drop()
    script.respond(*numbered(2)).hang()
    async with make(script, observers=[bench.metrics], max_retries=0) as stream:
        with pytest.raises(RetriesExhaustedError):
            await drain(stream)
        await anext(stream)
        assert bench[catalogue.RECONNECTS] == {"reset": 1}


def test_the_lifetime_of_a_connection_spans_its_silences(bench):
    """From acceptance to loss; WAITING is part of it."""
    silent = change(CONNECTED, WAITING, Reason.STALL, 26.0), change(WAITING, CONNECTED, Reason.OPENED, 27.0)
    kept = bench.stream(OPENED, *silent, STALLED, BACK, ENDED, ENDED)
    name = catalogue.CONNECTION_LIFETIME.name
    assert (bench.get_sample_value(f"{name}_count"), bench.get_sample_value(f"{name}_sum")) == (2, 38)
    assert bench.get_sample_value(f"{name}_bucket", {"le": "15.0"}) == 1
    del kept


def test_a_value_on_a_bound_lies_in_its_bucket(bench):
    """Bounds are inclusive, as `le` says; the last bucket takes the rest (R127)."""
    _, observer = bench.stream()
    for seconds in (1.0, 1.0001, 5.0, 5.001, 1e6):
        lost = {"silent_since": 0, "lost_at": 0, "opened_at": 0}
        observer(Recovery(reason=Reason.RESET, attempts=1, recovered_at=seconds, **lost))
    found = {
        bound: bench.get_sample_value("sse_reconnect_time_ms_bucket", {"le": bound})
        for bound in ("500.0", "1000.0", "1500.0", "4800.0", "5000.0", "6000.0", "+Inf")
    }
    assert list(found.values()) == [0, 1, 2, 2, 3, 4, 5]


@pytest.mark.parametrize("end, after", [("open", 100 * RECENT), ("closed", 1), ("collected", 11)])
def test_an_ended_stream_counts_for_five_minutes(bench, clock, end, after):
    """So that the alert resolves and short streams are seen, closed or not; the counters stay (R95, R120)."""
    assert RECENT == 5 * 60
    _, observer = bench.stream(delivered=9, numbered=9, lost=1)
    if end == "closed":
        observer(ENDED)
    if end == "collected":
        del observer
    gc.collect()
    assert bench[catalogue.STREAM_COMPLETION_RATE] == 90
    clock.now += RECENT
    assert bench[catalogue.STREAM_COMPLETION_RATE] == 90
    clock.now += after
    assert bench[catalogue.STREAM_COMPLETION_RATE] == (90 if end == "open" else None)
    assert bench[catalogue.EXPECTED_EVENTS] == 10


@pytest.mark.parametrize("scraped", [True, False])
def test_counters_do_not_fall_when_the_server_starts_over(bench, scraped):
    """After an unknown loss the rate is unknown; what was known before stays counted, scraped or not (X12)."""
    stats, observer = bench.stream(delivered=9, numbered=9, lost=1)
    if scraped:
        assert bench[catalogue.EXPECTED_EVENTS] == 10
    stats.unknown_losses = stats.gaps = 1
    observer(Gap(kind="reset"))
    stats.delivered = stats.numbered = 20
    assert bench[catalogue.EXPECTED_EVENTS] == 10
    assert bench[catalogue.EXPECTED_EVENTS_RECEIVED] == 9
    assert bench[catalogue.STREAM_COMPLETION_RATE] is None
    assert bench[catalogue.GAPS] == {"reset": 1}


# --- Streams come and go


def test_streams_leave_nothing_behind_but_their_totals(bench, clock):
    """A thousand that ended or were dropped, with no scrape in between: no counter falls, and nothing grows."""
    kept = bench.stream(delivered=1)
    for _ in range(1000):
        clock.now += 10
        bench.stream(OPENED, ENDED, Gap(kind="hole", missing=1), delivered=7919)
    gc.collect()
    held = [one for one in gc.get_objects() if isinstance(one, StreamStats) and one.delivered == 7919]
    assert len(held) <= 2, "attaching forgets those that are gone"
    assert len(bench.metrics._figures._ended) < 40, "and what ended more than five minutes ago"
    assert bench[catalogue.EVENTS_DELIVERED] == 1 + 1000 * 7919
    assert bench[catalogue.STREAMS_STARTED] == 1001
    assert bench[catalogue.GAPS] == {"hole": 1000}
    assert bench[catalogue.STREAMS] == {"connecting": 1}
    del kept


async def test_real_streams_are_not_kept_alive(bench):
    """A stream that is dropped is collected, and its totals stay; without iteration it counts nothing (R131)."""
    script = Script()
    for _ in range(5):
        script.respond(*numbered(1, 2))
        stream = make(script, observers=[bench.metrics], on_eof="complete")
        await drain(stream)
        idle = make(script, observers=[bench.metrics])  # never iterated
    script.reject(500)
    stream = make(script, observers=[bench.metrics], max_retries=0)
    with pytest.raises(RetriesExhaustedError):
        await drain(stream)
    assert bench[catalogue.STREAMS] == {"error": 1}
    del stream, idle
    gc.collect()
    assert bench[catalogue.STREAMS] == {}
    assert bench[catalogue.EVENTS_DELIVERED] == 10
    assert bench[catalogue.STREAMS_STARTED] == 6


def test_attaching_does_not_wait_for_a_scrape(bench):
    """An event loop that opens, runs and drops a stream is not held up by a scrape in another thread."""
    _, observer = bench.stream(delivered=1)
    inside, over = threading.Event(), threading.Event()

    class Slow(StreamStats):
        """Counters that take long to read."""

        def __getattribute__(self, name):
            if name == "delivered" and not over.is_set():
                inside.set()
                over.wait(20)
            return super().__getattribute__(name)

    kept = bench.metrics.attach(Slow(started_at=0.0, delivered=2), URL)
    scrape = threading.Thread(target=bench.__getitem__, args=[catalogue.EVENTS_DELIVERED])
    scrape.start()
    assert inside.wait(10)
    del observer
    gc.collect()  # a stream that goes in the midst of a sum must not wait either
    more = []
    thread = threading.Thread(
        target=lambda: more.append(bench.stream(OPENED, ENDED, delivered=3)), daemon=True
    )
    thread.start()
    thread.join(10)
    held_up = thread.is_alive()
    over.set()
    scrape.join()
    assert not held_up
    assert bench[catalogue.EVENTS_DELIVERED] == 6
    del kept


def test_sums_hold_in_the_midst_of_counting(bench):
    """Threads count as a stream does while others scrape: received agrees with its parts, and nothing falls."""
    over = threading.Event()

    def count():
        while not over.is_set():
            stats, observer = bench.stream()
            for _ in range(500):
                stats.received += 3
                stats.numbered += 2
                stats.delivered += 1
                stats.filtered += 1
                stats.duplicates += 1
            observer(ENDED)

    parts = catalogue.EVENTS_DELIVERED, catalogue.DUPLICATE_EVENTS, catalogue.EVENTS_FILTERED
    threads = [threading.Thread(target=count, daemon=True) for _ in range(3)]
    for thread in threads:
        thread.start()
    last = [0.0] * 3
    for _ in range(50):
        samples = {sample.name: sample.value for family in bench.collect() for sample in family.samples}
        now = [samples[metric.name] for metric in parts]
        assert samples["sse_client_events_received_total"] == sum(now)
        assert all(after >= before for before, after in zip(last, now, strict=True))
        assert samples.get("sse_stream_completion_rate", 100) == 100
        last = now
    over.set()
    for thread in threads:
        thread.join()

"""The sums over many streams: what stays, what goes, and what is shown when."""

import gc
import os
import signal
import threading
from contextlib import suppress

import pytest
from hypothesis import given, strategies

from resilient_sse import Category, Gap, Reason, RetriesExhaustedError, StreamState, StreamStats
from resilient_sse._core.states import StateChange
from resilient_sse.metrics import catalogue
from resilient_sse.metrics.figures import RECENT, Figures, Increments
from resilient_sse.metrics.histograms import Histograms
from resilient_sse.testing import Script
from tests.client.support import drain, make, numbered

IDENTITY = (
    catalogue.EVENTS_DELIVERED,
    catalogue.DUPLICATE_EVENTS,
    catalogue.HEARTBEATS,
    catalogue.EVENTS_FILTERED,
)


class Clock:
    """A clock that is set by hand."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Bench:
    """Figures, with whatever they observed and a clock."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.observed: list[tuple[str, float]] = []
        self.figures = Figures(self._observe, known=[()], clock=self.clock)

    def _observe(self, metric, _labels, value):
        self.observed.append((metric.name, value))

    def attach(self, stats, _url):
        """Be an instrument for real streams."""
        return self.figures.attach(stats)

    def stream(self, **counters):
        """Attach a stream that was started and has these counters."""
        stats = StreamStats(started_at=0.0, **counters)
        return stats, self.figures.attach(stats)

    def __getitem__(self, metric):
        return self.figures.sums()[()].get((metric, ()))

    def of(self, metric, own):
        """Return one value of a metric with a label."""
        return self.figures.sums()[()][metric, (own,)]


@pytest.fixture
def bench():
    """Give figures without streams."""
    return Bench()


def change(old, new, reason, *, at=0.0, error=None):
    """Make a state change."""
    return StateChange(old=old, new=new, reason=reason, at=at, error=error)


OPENED = change(StreamState.CONNECTING, StreamState.CONNECTED, Reason.OPENED, at=1.0)
STALLED = change(StreamState.CONNECTED, StreamState.RECONNECTING, Reason.STALL, at=31.0)
BACK = change(StreamState.RECONNECTING, StreamState.CONNECTED, Reason.OPENED, at=32.0)
CLOSED = change(StreamState.CONNECTED, StreamState.CLOSED, Reason.CLOSED, at=40.0)


def test_everything_is_shown_as_zero_before_there_is_a_stream(bench):
    """So that the first increase of a counter is seen; what is unknown is absent (R126)."""
    sums = bench.figures.sums()[()]
    assert set(sums.values()) == {0}
    shown = {metric for metric, _ in sums}
    histograms = {metric for metric in catalogue.METRICS if metric.buckets}
    assert shown == set(catalogue.METRICS) - histograms - {catalogue.STREAM_COMPLETION_RATE}


def test_the_duplicate_rate_agrees_with_the_stream(bench):
    """3 of 53 events duplicated are 5.66 % (R102), heartbeats aside (R129, X13)."""
    _, _observer = bench.stream(received=60, delivered=48, duplicates=3, heartbeats=7, filtered=2)
    assert bench[catalogue.TOTAL_EVENTS_RECEIVED] == 53
    rate = bench[catalogue.DUPLICATE_EVENTS] / bench[catalogue.TOTAL_EVENTS_RECEIVED] * 100
    assert rate == pytest.approx(5.66, abs=0.001)
    assert bench[catalogue.EVENTS_RECEIVED] == 60


def test_five_of_fifty_lost_are_ten_percent(bench):
    """Loss is counted, and completion is 90 % (R93, R104, R132)."""
    _, _observer = bench.stream(delivered=45, numbered=45, lost=5)
    assert bench[catalogue.MESSAGE_LOSS] == 5
    assert bench[catalogue.STREAM_COMPLETION_RATE] == 90
    assert bench[catalogue.EXPECTED_EVENTS] == 50
    assert bench[catalogue.EXPECTED_EVENTS_RECEIVED] == 45


def test_two_stalls_of_one_stream_are_told_from_one_of_each_of_two(bench):
    """Without a label for the stream: a stall counts as repeated from a stream's second one on (R106, R107)."""
    _, _one = bench.stream(stalls=1)
    second, _two = bench.stream(stalls=1)
    assert (bench[catalogue.STALLS], bench[catalogue.REPEATED_STALLS]) == (2, 0)
    second.stalls = 2
    assert (bench[catalogue.STALLS], bench[catalogue.REPEATED_STALLS]) == (3, 1)
    second.stalls = 3
    assert bench[catalogue.REPEATED_STALLS] == 2


def test_a_stream_counts_as_started_once_it_is_iterated(bench):
    """A stream that is only made counts for nothing (R131)."""
    stats = StreamStats()
    _observer = bench.figures.attach(stats)
    assert bench[catalogue.STREAMS_STARTED] == 0
    assert bench.of(catalogue.STREAMS, "connecting") == 0
    stats.started_at = 0.0
    assert bench[catalogue.STREAMS_STARTED] == 1
    assert bench.of(catalogue.STREAMS, "connecting") == 1


@pytest.mark.parametrize("counter", ["connection_errors", "server_errors", "retries_exhausted"])
def test_streams_with_errors_are_counted_once(bench, counter):
    """For "more than 5 % of the streams": a stream with ten errors is one stream (R113)."""
    _, _one = bench.stream(**{counter: 10})
    _, _two = bench.stream()
    assert bench[catalogue.STREAMS_WITH_ERRORS] == 1


REFUSED = change(StreamState.RECONNECTING, StreamState.RECONNECTING, Reason.CONNECT)
GIVEN_UP = change(StreamState.RECONNECTING, StreamState.ERROR, Reason.RETRIES)
REFUSED_AGAIN = change(StreamState.ERROR, StreamState.RECONNECTING, Reason.CONNECT)


def test_an_outage_counts_once(bench):
    """R113: however many attempts it takes, given up or not, and silence alone is none; the next is another."""
    _, observer = bench.stream()
    for fact in (OPENED, STALLED, REFUSED, REFUSED, GIVEN_UP, REFUSED_AGAIN, REFUSED, BACK):
        observer(fact)
    assert bench[catalogue.OUTAGES] == 1
    observer(change(StreamState.CONNECTED, StreamState.WAITING, Reason.STALL))
    assert bench[catalogue.OUTAGES] == 1
    observer(change(StreamState.WAITING, StreamState.RECONNECTING, Reason.STALL))
    assert bench[catalogue.OUTAGES] == 2


@pytest.mark.parametrize("state", [StreamState.RECONNECTING, StreamState.ERROR])
def test_a_stream_that_never_opened_is_in_an_outage(bench, state):
    """R113: people see that as well."""
    _, observer = bench.stream()
    observer(change(StreamState.CONNECTING, state, Reason.CONNECT))
    observer(GIVEN_UP)
    observer(CLOSED)
    assert bench[catalogue.OUTAGES] == 1


def test_a_wanted_loss_is_an_outage_once_an_attempt_fails(bench):
    """`restart()`, an age or a gap shows nobody an error; a server that is away after it does."""
    _, observer = bench.stream()
    observer(OPENED)
    for reason in (Reason.RESTART, Reason.AGE, Reason.GAP):
        observer(change(StreamState.CONNECTED, StreamState.RECONNECTING, reason))
        observer(BACK)
    assert bench[catalogue.OUTAGES] == 0
    for fact in (change(StreamState.CONNECTED, StreamState.RECONNECTING, Reason.RESTART), REFUSED, REFUSED):
        observer(fact)
    assert bench[catalogue.OUTAGES] == 1


@pytest.mark.parametrize(
    "counter, category",
    [*zip(["connection_errors", "server_errors", "retries_exhausted"], Category, strict=True)],
)
def test_errors_have_their_category(bench, counter, category):
    """Each counter of the stream is one category (R109, R110, R111, R112, R130)."""
    _, _observer = bench.stream(**{counter: 4})
    shown = {
        own[0]: value for (metric, own), value in bench.figures.sums()[()].items() if "visible" in metric.name
    }
    assert shown == {known.value: 4 * (known is category) for known in Category}


def test_the_totals_of_dead_streams_stay(bench):
    """A counter never falls, whatever becomes of the stream."""
    stats, observer = bench.stream(delivered=7, numbered=7)
    observer(Gap(kind="hole", missing=1))
    before = bench.figures.sums()[()]
    assert before[catalogue.EVENTS_DELIVERED, ()] == 7
    del stats, observer
    gc.collect()
    assert bench.figures.sums()[()] | {(catalogue.STREAMS, ("connecting",)): 1} == before
    assert bench.figures.attached == 0


def test_ten_thousand_streams_leave_nothing_behind(bench):
    """Ended and collected streams are one row of totals, with no scrape in between (no leak)."""
    kept = bench.stream(delivered=1)
    for _ in range(10_000):
        _, observer = bench.stream(delivered=2)
        observer(OPENED)
        observer(CLOSED)
        del observer
    gc.collect()
    assert bench.figures.attached <= 2, "attaching forgets those that are gone"
    assert bench[catalogue.EVENTS_DELIVERED] == 20_001
    assert bench[catalogue.STREAMS_STARTED] == 10_001
    assert sum(bench.of(catalogue.STREAMS, state) for state in catalogue.STREAMS.labels["state"]) == 1
    assert bench.figures.attached == 1
    del kept


async def test_real_streams_are_not_kept_alive(bench):
    """A stream that is dropped is collected, iterated or not, and its totals stay."""
    script = Script()
    for _ in range(20):
        script.respond(*numbered(1, 2))
        stream = make(script, observers=[bench], on_eof="complete")
        await drain(stream)
        make(script, observers=[bench])  # never iterated
    del stream
    gc.collect()
    assert bench[catalogue.EVENTS_DELIVERED] == 40
    assert bench[catalogue.STREAMS_STARTED] == 20
    assert bench.figures.attached == 0


def test_states_follow_the_stream(bench):
    """Each stream is in one state; a closed one is in none."""
    _, observer = bench.stream()
    for fact, state in [
        (OPENED, "connected"),
        (STALLED, "reconnecting"),
        (BACK, "connected"),
        (CLOSED, None),
    ]:
        observer(fact)
        shown = [name for name in catalogue.STREAMS.labels["state"] if bench.of(catalogue.STREAMS, name)]
        assert shown == [state] * (state is not None)


def test_reconnects_have_the_first_reason_of_their_outage(bench):
    """A refused attempt in between does not change why the connection was lost."""
    _, observer = bench.stream()
    refused = change(StreamState.RECONNECTING, StreamState.RECONNECTING, Reason.CONNECT)
    for fact in (OPENED, STALLED, refused, refused, BACK):
        observer(fact)
    assert bench.of(catalogue.RECONNECTS, "stall") == 1
    lost = change(StreamState.CONNECTED, StreamState.RECONNECTING, Reason.RESET)
    for fact in (lost, BACK):
        observer(fact)
    assert bench.of(catalogue.RECONNECTS, "reset") == 1
    assert bench.of(catalogue.RECONNECTS, "stall") == 1


def test_a_first_connection_is_no_reconnect(bench):
    """However many attempts it took (R131)."""
    _, observer = bench.stream()
    observer(change(StreamState.CONNECTING, StreamState.RECONNECTING, Reason.RESET))
    observer(BACK)
    assert bench.of(catalogue.RECONNECTS, "reset") == 0


async def test_the_last_straw_has_a_reason_too(bench, script):
    """A loss that spends the budget is counted by what it was, should the program go on."""
    script.respond(*numbered(1)).drop()
    script.respond(*numbered(2)).hang()
    async with make(script, observers=[bench], max_retries=0) as stream:
        with pytest.raises(RetriesExhaustedError):
            await drain(stream)
        await anext(stream)
        assert bench.of(catalogue.RECONNECTS, "reset") == 1


def test_the_lifetime_of_a_connection_spans_its_silences(bench):
    """From acceptance to loss; WAITING is part of it."""
    _, observer = bench.stream()
    waiting = change(StreamState.CONNECTED, StreamState.WAITING, Reason.STALL, at=26.0)
    again = change(StreamState.WAITING, StreamState.CONNECTED, Reason.OPENED, at=27.0)
    for fact in (OPENED, waiting, again, STALLED, BACK, CLOSED, CLOSED):
        observer(fact)
    name = catalogue.CONNECTION_LIFETIME.name
    assert bench.observed == [(name, 30.0), (name, 8.0)]


@given(
    delivered=strategies.integers(1, 50),
    filtered=strategies.integers(0, 50),
    unnumbered=strategies.integers(0, 2),
    lost=strategies.integers(0, 50),
    unknown=strategies.integers(0, 1),
    total=strategies.none() | strategies.integers(1, 120),
)
def test_completion_is_what_the_stream_says(unnumbered, unknown, total, **counted):
    """For one stream the gauge and `stats.completion` agree, and are unknown alike (R93, R126, X12)."""
    bench = Bench()
    stats, _observer = bench.stream(
        **counted,
        numbered=max(counted["delivered"] + counted["filtered"] - unnumbered, 0),
        unknown_losses=unknown,
        declared_total=total,
    )
    shown = bench[catalogue.STREAM_COMPLETION_RATE]
    assert shown == (stats.completion if stats.completion is None else pytest.approx(stats.completion))


def test_completion_is_taken_over_all_streams_that_know_it(bench):
    """Unique per sent over the streams: not the mean of their rates, and unknown ones do not count (R96)."""
    _, _large = bench.stream(delivered=990, numbered=990, lost=10)
    _, _small = bench.stream(delivered=0, lost=10)
    _, _unknown = bench.stream(delivered=1000)
    assert bench[catalogue.STREAM_COMPLETION_RATE] == pytest.approx(990 / 1010 * 100)
    assert bench[catalogue.RECENT_EXPECTED_EVENTS] == 1010
    assert bench[catalogue.RECENT_EXPECTED_EVENTS_RECEIVED] == 990


def test_an_ended_stream_counts_for_five_minutes(bench):
    """So that the alert on the gauge resolves and short streams are seen; the counters stay (R95, R120)."""
    assert RECENT == 5 * 60
    stats, observer = bench.stream(delivered=9, numbered=9, lost=1)
    observer(CLOSED)
    bench.clock.now += RECENT
    assert bench[catalogue.STREAM_COMPLETION_RATE] == 90
    bench.clock.now += 1
    assert bench[catalogue.STREAM_COMPLETION_RATE] is None
    assert bench[catalogue.EXPECTED_EVENTS] == 10
    del stats, observer


def test_a_collected_stream_counts_for_five_minutes(bench):
    """It need not have been closed; it is forgotten within ten seconds after that."""
    _, observer = bench.stream(delivered=9, numbered=9, lost=1)
    del observer
    gc.collect()
    assert bench[catalogue.STREAM_COMPLETION_RATE] == 90
    bench.clock.now += RECENT
    assert bench[catalogue.STREAM_COMPLETION_RATE] == 90
    bench.clock.now += 11
    assert bench[catalogue.STREAM_COMPLETION_RATE] is None
    assert bench[catalogue.EXPECTED_EVENTS_RECEIVED] == 9


def test_an_open_stream_counts_as_long_as_it_is_open(bench):
    """Its figures are those of its whole life."""
    _, _observer = bench.stream(delivered=9, numbered=9, lost=1)
    bench.clock.now += 100 * RECENT
    assert bench[catalogue.STREAM_COMPLETION_RATE] == 90


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
    assert bench.of(catalogue.GAPS, "reset") == 1


def test_events_without_a_number_are_left_out(bench):
    """A notice of the server's without an id hides no loss (X12, R95)."""
    stats, _observer = bench.stream(delivered=9, numbered=9)
    assert bench[catalogue.EXPECTED_EVENTS] == 9
    stats.delivered, stats.lost = 10, 1
    assert bench[catalogue.EXPECTED_EVENTS] == 10
    assert bench[catalogue.EXPECTED_EVENTS_RECEIVED] == 9
    assert bench[catalogue.STREAM_COMPLETION_RATE] == 90


def test_one_stream_is_not_counted_twice(bench):
    """Two instruments of one registry among the observers of one stream would double everything."""
    stats, _observer = bench.stream(delivered=3)
    deaf = bench.figures.attach(stats)
    deaf(OPENED)
    assert bench[catalogue.EVENTS_DELIVERED] == 3
    assert bench[catalogue.STREAMS_STARTED] == 1
    assert bench.of(catalogue.STREAMS, "connecting") == 1


def test_attaching_does_not_wait_for_a_sum(bench):
    """An event loop that opens a stream is not held up by a scrape in another thread."""
    _, observer = bench.stream(delivered=1)
    with bench.figures._lock:
        del observer
        gc.collect()  # a stream that goes in the midst of a sum must not wait either
        thread = threading.Thread(target=bench.stream, kwargs={"delivered": 2}, daemon=True)
        thread.start()
        thread.join(10)
        assert not thread.is_alive()
    assert bench[catalogue.EVENTS_DELIVERED] == 3


def test_sums_hold_in_the_midst_of_counting(bench):
    """Threads count as a stream does while others sum: received agrees with its parts, and nothing falls."""
    over = threading.Event()

    def count():
        while not over.is_set():
            stats, observer = bench.stream()
            for number in range(500):
                stats.received += 1
                stats.numbered += 1
                if number % 3:
                    stats.delivered += 1
                elif number % 2:
                    stats.filtered += 1
                else:
                    stats.numbered -= 1
                    stats.duplicates += 1
            observer(CLOSED)

    threads = [threading.Thread(target=count) for _ in range(3)]
    for thread in threads:
        thread.start()
    last = dict.fromkeys(IDENTITY, 0)
    for _ in range(300):
        sums = bench.figures.sums()[()]
        parts = {metric: sums[metric, ()] for metric in IDENTITY}
        assert sums[catalogue.EVENTS_RECEIVED, ()] == sum(parts.values())
        assert all(parts[metric] >= last[metric] for metric in IDENTITY)
        assert sums.get((catalogue.STREAM_COMPLETION_RATE, ()), 100) == 100
        last = parts
    over.set()
    for thread in threads:
        thread.join()


def test_increments_tell_each_part_once(bench):
    """For exporters that push: counters only, and only what is new."""
    increments = Increments()
    assert list(increments.of(bench.figures.sums())) == []
    stats, _observer = bench.stream(delivered=2, connection_errors=1)
    told = {(metric.name, own): rise for metric, own, _, rise in increments.of(bench.figures.sums())}
    assert told == {
        ("sse_client_events_delivered_total", ()): 2,
        ("sse_total_events_received", ()): 2,
        ("sse_client_events_received_total", ()): 2,
        ("sse_streams_started_total", ()): 1,
        ("sse_client_streams_with_errors_total", ()): 1,
        ("sse_user_visible_errors_total", ("connection_lost",)): 1,
    }
    stats.stalls = 1
    assert [(metric.name, rise) for metric, _, _, rise in increments.of(bench.figures.sums())] == [
        ("sse_client_stalls_total", 1)
    ]


def test_an_increment_that_was_not_taken_comes_again(bench):
    """A push that failed is made up for."""
    _, _observer = bench.stream(stalls=3)
    increments = Increments()
    with suppress(OSError):
        for metric, *_ in increments.of(bench.figures.sums()):
            if metric is catalogue.STALLS:
                raise OSError
    assert [
        rise for metric, *_, rise in increments.of(bench.figures.sums()) if metric is catalogue.STALLS
    ] == [3]


def test_a_value_on_a_bound_lies_in_its_bucket():
    """Bounds are inclusive, as `le` says; the last bucket takes the rest (R127)."""
    histograms = Histograms()
    metric = catalogue.RECONNECT_TIME_MS
    for value in (1000, 1000.1, 5000, 5001, 1e9):
        histograms.observe(metric, (), value)
    counts, total = histograms.cumulated(metric, ())
    at = dict(zip((*metric.buckets, "+Inf"), counts, strict=True))
    assert (at[500], at[1000], at[1500], at[4800], at[5000], at[6000], at["+Inf"]) == (0, 1, 2, 2, 3, 4, 5)
    assert total == 1000 + 1000.1 + 5000 + 5001 + 1e9
    assert histograms.cumulated(metric, ("x",)) == ([0] * len(counts), 0.0)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_child_counts_no_durations_of_its_parent():
    """As with counters: shown by both, those before the fork would count twice; nor is the lock inherited."""
    histograms = Histograms()
    metric = catalogue.RECONNECT_TIME_MS
    histograms.observe(metric, (), 1000)
    with histograms._lock:
        child = os.fork()
        if child == 0:
            signal.alarm(20)  # a child that hangs is killed, and seen
            inherited = histograms.cumulated(metric, ())[0][-1]
            histograms.observe(metric, (), 1000)
            os._exit(inherited or histograms.cumulated(metric, ())[0][-1] != 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert histograms.cumulated(metric, ())[0][-1] == 1

"""What Prometheus is shown: names, values, format, labels; and that nothing about it harms a stream."""

import logging
import os
import signal
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path

import anyio
import pytest
from prometheus_client import Counter, generate_latest, start_http_server
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_families
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import CollectorRegistry

from resilient_sse import Reason, StreamStats
from resilient_sse._core.recovery import Recovery
from resilient_sse.metrics.catalogue import CONTRACT, METRICS, RECONNECTS
from resilient_sse.metrics.prometheus import PrometheusMetrics
from resilient_sse.testing import Script, event, pause
from tests.client.support import URL, drain, make, numbered, take
from tests.metrics.torment import SUMS, crowded, given_up, sums, tormented
from tests.monitoring.tools import need

GOLDEN = Path(__file__).parent / "tormented.prom"


def rounded(text: str) -> str:
    """Take the noise of sums of floats off the values."""
    lines = [line.rpartition(" ") for line in text.splitlines()]
    return "".join(
        f"{start} {round(float(value), 6)}\n" if not start.startswith("#") else f"{start} {value}\n"
        for start, _, value in lines
    )


def received_agrees(shown):
    """Hold what was received against its parts."""
    parts = ("events_delivered", "events_filtered", "heartbeats")
    whole = sum(shown(f"sse_client_{part}_total") for part in parts) + shown("sse_duplicate_events_total")
    assert shown("sse_client_events_received_total") == whole
    assert shown("sse_total_events_received") == whole - shown("sse_client_heartbeats_total")


async def test_a_tormented_run(script, registry, metrics, shown):
    """
    The whole text, to the letter, after every fault at least once, and a stream that has given up.

    Each counter is the sum of what the streams say of themselves (P28, R185).

    R126 to R132, R93, R98, R101, R104, R106, R109 to R112, X8.
    """
    ended = await tormented(script, metrics)
    failed = await given_up(metrics)
    text = generate_latest(registry).decode()
    assert rounded(text) == GOLDEN.read_text(encoding="utf-8")
    received_agrees(shown)
    assert {name: shown(name) for name in SUMS} == sums(ended.stats, failed.stats)
    reasons = RECONNECTS.labels["reason"]
    reconnects = sum(shown("sse_client_reconnects_total", reason=reason) for reason in reasons)
    assert reconnects == ended.stats.reconnects + failed.stats.reconnects == 5
    assert shown("sse_stream_completion_rate") == ended.stats.completion
    assert failed.stats.completion is None


async def test_every_name_of_the_contract_is_shown(script, registry, metrics):
    """The text has exactly these names, as samples, in both formats (R126 to R132)."""
    await tormented(script, metrics)
    names = {metric.name for metric in METRICS}
    contract = {metric.name for metric in CONTRACT}
    classic = text_string_to_metric_families(generate_latest(registry).decode())
    modern = openmetrics_families(openmetrics.generate_latest(registry).decode())
    for families in (classic, modern):
        samples = [sample.name for family in families for sample in family.samples]
        bare = {name.removesuffix("_bucket").removesuffix("_sum").removesuffix("_count") for name in samples}
        assert contract <= bare
        assert bare == names


async def test_the_completion_rate_is_absent_while_it_is_unknown(script, registry, metrics, shown):
    """Ids that count up tell nothing without `sequence`: no number is better than a guess (R126, X12)."""
    script.respond(*numbered(1, 2)).hang()
    async with make(script, observers=[metrics]) as stream:
        await take(stream, 2)
        assert b"\nsse_stream_completion_rate" not in generate_latest(registry)
        assert shown("sse_total_events_received") == 2


STALLED = {
    "sse_reconnect_time_ms_sum": pytest.approx(1500),
    "sse_client_recovery_seconds_sum": pytest.approx(1.5),
    "sse_client_stall_recovery_seconds_sum": pytest.approx(1.5),
    "sse_client_silence_seconds_sum": pytest.approx(31.5),
    "sse_client_reopening_seconds_sum": pytest.approx(1),
    "sse_client_time_to_first_event_seconds_sum": pytest.approx(2),
    "sse_client_connection_lifetime_seconds_sum": pytest.approx(32.5),
}


async def test_a_recovery_from_a_stall(script, metrics, shown):
    """
    t2 is 30 s after t1, the reconnect 1 s later, its event 0.5 s after that; a reset then is no stall.

    R98, R101, R106, R108, R127, X8: recovery is t4 - t2, silence t4 - t1, reopening t3 - t2.
    """
    script.respond(pause(2), *numbered(1)).hang()
    script.respond(pause(0.5), *numbered(2)).hang()
    async with make(script, observers=[metrics]) as stream:
        await take(stream, 2)
    assert {name: shown(name) for name in STALLED} == STALLED
    assert shown("sse_reconnect_time_ms_bucket", le="1000.0") == 0
    script.respond(*numbered(1)).drop()
    script.respond(*numbered(2)).hang()
    async with make(script, observers=[metrics]) as stream:
        await take(stream, 2)
    assert shown("sse_reconnect_time_ms_count") == 2
    assert shown("sse_client_stall_recovery_seconds_count") == 1


async def test_the_state_is_live(script, metrics, shown):
    """The gauge follows the stream from state to state and drops it at its end."""

    def states():
        names = ("connecting", "connected", "waiting", "reconnecting", "error")
        return [name for name in names if shown("sse_client_streams", state=name)]

    seen = []
    script.respond(*numbered(1), pause(26), *numbered(2)).drop()
    script.respond(*numbered(3)).hang()
    stream = make(script, observers=[metrics, lambda fact: seen.append(states())])
    assert states() == []
    async with stream:
        await take(stream, 3)
        assert states() == ["connected"]
    assert states() == []
    assert [now for before, now in zip([[]], seen, strict=False) if now != before] == [["connected"]]
    assert ["waiting"] in seen
    assert ["reconnecting"] in seen
    assert all(len(now) <= 1 for now in seen)


# --- Format


def test_promtool_accepts_the_text():
    """
    Prometheus' own linter has one complaint, about a name of the contract (R127, X11).

    The unit of `sse_reconnect_time_ms` should not be abbreviated; a companion in seconds is there.
    """
    check = [need("promtool"), "check", "metrics"]
    done = subprocess.run(check, input=GOLDEN.read_bytes(), capture_output=True, check=False)
    complaints = done.stderr.decode() + done.stdout.decode()
    assert complaints == "sse_reconnect_time_ms metric names should not contain abbreviated units\n"


def test_a_real_scrape(registry, metrics):
    """Over a socket, while a stream lives (R185)."""
    script = Script()
    script.respond(*numbered(1, 2, 3)).hang()

    async def follow() -> bytes:
        async with make(script, observers=[metrics]) as stream:
            await take(stream, 3)
            return await anyio.to_thread.run_sync(scrape)

    def scrape() -> bytes:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/metrics", timeout=20) as answer:
            assert answer.headers["Content-Type"].startswith("text/plain")
            return answer.read()

    server, thread = start_http_server(0, addr="127.0.0.1", registry=registry)
    try:
        lines = anyio.run(follow).decode().splitlines()
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    assert "sse_total_events_received 3.0" in lines
    assert 'sse_client_streams{state="connected"} 1.0' in lines


# --- Labels


async def test_streams_have_labels(registry):
    """Each combination is a series of its own; what is not declared is `other` (R97)."""
    metrics = PrometheusMetrics(registry, labels={"network": ["4g", "wifi"], "device": ["phone"]})
    for chosen in ({"network": "4g", "device": "phone"}, {"network": "4g"}, {"network": "5g"}):
        script = Script()
        script.respond(*numbered(1), event("", event="heartbeat"))
        await drain(make(script, observers=[metrics.labelled(**chosen)], on_eof="complete"))
    await given_up(metrics)
    text = generate_latest(registry).decode()
    families = {family.name: family.samples for family in text_string_to_metric_families(text)}
    started = {
        (sample.labels["network"], sample.labels["device"]): sample.value
        for sample in families["sse_streams_started"]
    }
    assert started == {("4g", "phone"): 1, ("4g", "other"): 1, ("other", "other"): 2}
    for name, samples in families.items():
        assert {"network", "device"} <= set(samples[0].labels), name
    errors = families["sse_user_visible_errors"]
    assert {tuple(sorted(sample.labels.items())): sample.value for sample in errors if sample.value} == {
        (("category", category), ("device", "other"), ("network", "other")): count
        for category, count in {"connection_lost": 1, "server_error": 2, "max_retries_exceeded": 1}.items()
    }
    first_event = families["sse_client_time_to_first_event_seconds"]
    assert [sample.value for sample in first_event if sample.name.endswith("_count")] == [1, 1, 2]


def test_labels_are_checked_at_once(registry, metrics):
    """A mistake is told where it is made, not at the first stream (R97)."""
    with pytest.raises(ValueError, match="at most 3"):
        PrometheusMetrics(registry, labels={name: ["x"] for name in "abcd"})
    with pytest.raises(ValueError, match="'network' was not declared"):
        metrics.labelled(network="4g")


@pytest.mark.parametrize("wrong", ["x", 9464, CollectorRegistry])
def test_what_is_no_registry_is_refused_at_once(wrong):
    """And what should be given is said (bad input)."""
    with pytest.raises(TypeError, match="registry must be a CollectorRegistry of prometheus_client, or None"):
        PrometheusMetrics(wrong)


# --- One registry


async def test_made_anew_for_each_stream(registry, shown):
    """The one line may stand wherever streams are made: instruments of one registry share their figures."""
    for _ in range(3):
        script = Script()
        script.respond(*numbered(1, 2))
        stream = make(script, observers=[PrometheusMetrics(registry)], on_eof="complete")
        await drain(stream)
        assert stream.stats.callback_errors == 0
    assert shown("sse_streams_started_total") == 3
    assert shown("sse_client_events_delivered_total") == 6


def test_other_labels_for_the_same_registry_are_refused(registry, metrics):
    """The text names what to do."""
    assert metrics.flush() is None
    with pytest.raises(ValueError, match="make one PrometheusMetrics and share it"):
        PrometheusMetrics(registry, labels={"network": ["4g"]})


async def test_the_default_registry_is_used(script):
    """`PrometheusMetrics()` is all there is to write, and what `start_http_server` shows."""
    from prometheus_client import REGISTRY  # noqa: PLC0415 - its figures belong to this test only

    before = REGISTRY.get_sample_value("sse_streams_started_total") or 0
    script.respond(*numbered(1))
    await drain(make(script, observers=[PrometheusMetrics()], on_eof="complete"))
    assert REGISTRY.get_sample_value("sse_streams_started_total") == before + 1


def test_a_fork_counts_for_itself(metrics, shown):
    """The child inherits the memory of the parent, not its figures; nor a lock that a scrape holds."""
    kept = metrics.attach(StreamStats(started_at=0.0, delivered=3), URL)
    lost = {"silent_since": 0, "lost_at": 0, "opened_at": 0}
    kept(Recovery(reason=Reason.RESET, attempts=1, recovered_at=1, **lost))
    assert [shown(name) for name in FORKED] == [3, 1, 1]
    with metrics._shown._feeding, metrics._shown._lock:
        child = os.fork()
        if child == 0:
            signal.alarm(20)  # a child that hangs is killed, and seen
            own = metrics.attach(StreamStats(started_at=0.0, delivered=7), URL)
            os._exit([shown(name) for name in FORKED] != [7, 1, 0] or own is None)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert [shown(name) for name in FORKED] == [3, 1, 1]


FORKED = ("sse_client_events_delivered_total", "sse_streams_started_total", "sse_reconnect_time_ms_count")


class Full(CollectorRegistry):
    """A registry that takes nothing."""

    def register(self, collector):
        """Refuse."""
        raise MemoryError("full")


def taken() -> CollectorRegistry:
    """Return a registry in which another program has one of the names."""
    registry = CollectorRegistry()
    Counter("sse_streams_started", "Mine.", registry=registry)
    return registry


@pytest.mark.parametrize("make_registry", [Full, taken])
async def test_a_registry_that_refuses(make_registry, caplog):
    """The streams go on; the fault is counted, and logged once, however many streams there are (bad input)."""
    registry = make_registry()
    errors = 0
    for _ in range(3):
        script = Script()
        script.respond(*numbered(1, 2)).drop()
        script.respond(*numbered(3))
        stream = make(script, observers=[PrometheusMetrics(registry)], until=lambda item: item.id == "3")
        assert [item.id for item in await drain(stream)] == ["1", "2", "3"]
        errors += stream.stats.callback_errors
    assert errors == 1
    logged = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert len(logged) == 1
    assert logged[0].message.startswith("a callback of the stream failed")
    assert logged[0].message.endswith(": PrometheusMetrics")
    assert logged[0].exc_info is not None


class Broken:
    """An instrument of somebody else that fails."""

    def attach(self, _stats, _url):
        """Return an observer that raises."""

        def raise_always(_fact):
            raise OSError("no space left on device")

        return raise_always


async def test_another_exporter_that_raises_is_shown(script, metrics, shown):
    """Its faults are in our figures, too (P28)."""
    script.respond(*numbered(1, 2, 3))
    stream = make(script, observers=[Broken(), metrics], on_eof="complete")
    assert len(await drain(stream)) == 3
    assert shown("sse_client_callback_errors_total") == stream.stats.callback_errors > 3


def test_without_the_extra():
    """The error names what to install."""
    program = "import sys; sys.modules['prometheus_client'] = None\nimport resilient_sse.metrics.prometheus"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "need prometheus_client: pip install 'resilient-sse[prometheus]'" in done.stderr


# --- Threads


@pytest.mark.slow
def test_many_threads_and_both_kinds_of_event_loops(registry, metrics, shown):
    """Streams of several loops at once, asyncio's and trio's, while it is scraped: nothing is lost or torn."""
    texts = []

    def scrape(over: threading.Event) -> None:
        while not over.is_set():
            texts.append(generate_latest(registry).decode())

    streams = crowded(metrics, scrape)
    assert shown("sse_streams_started_total") == streams
    assert shown("sse_client_events_delivered_total") == streams * 21
    assert shown("sse_duplicate_events_total") == streams
    assert shown("sse_reconnect_time_ms_count") == streams
    assert len(texts) > 3
    for text in texts:
        families = text_string_to_metric_families(text)
        received_agrees({sample.name: sample.value for family in families for sample in family.samples}.get)

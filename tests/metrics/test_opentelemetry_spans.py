"""One span for each attempt to connect: when it begins and ends, what it tells, and what it never tells."""

import time
from itertools import count

import anyio
import pytest
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from resilient_sse import Backoff, ResilientSSEError, ResilientStream
from resilient_sse.metrics.opentelemetry import OpenTelemetryMetrics
from resilient_sse.testing import Reply, Script, event, pause
from tests.client.support import drain, make, numbered, take
from tests.metrics.test_opentelemetry import Collector
from tests.metrics.torment import given_up, tormented


class Traces:
    """A tracer provider that keeps its spans, and the instrument that makes them."""

    def __init__(self):
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider(shutdown_on_exit=False)
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.collector = Collector()
        self.metrics = OpenTelemetryMetrics(self.collector.provider, self.provider)

    @property
    def spans(self):
        return self.exporter.get_finished_spans()

    @property
    def told(self):
        names = ("attempt", "reason", "outcome")
        return [
            (
                *(span.attributes.get(f"sse.client.{name}") for name in names),
                span.attributes.get("error.type"),
                span.attributes.get("sse.client.resume"),
            )
            for span in self.spans
        ]

    @property
    def lengths(self):
        return [round((span.end_time - span.start_time) / 1e9, 6) for span in self.spans]


@pytest.fixture
def traces():
    """Give a provider of its own to each test."""
    return Traces()


async def test_a_tormented_run(script, traces):
    """One span for each request, in order: attempt, reason, outcome, resume (P29)."""
    stream = await tormented(script, traces.metrics)
    assert traces.told == [
        (0, None, "accepted", None, False),
        (1, "reset", "failed", "connect", True),
        (2, "connect", "failed", "connect", True),
        (3, "connect", "failed", "503", True),
        (4, "server", "accepted", None, True),
        (1, "stall", "accepted", None, True),
        (1, "stall", "accepted", None, True),
        (1, "gap", "accepted", None, True),
        (1, "stall", "accepted", None, True),
    ]
    assert len(script.requests) == len(traces.spans)
    accepted = [span for span in traces.spans if span.status.status_code is StatusCode.UNSET]
    assert [span.attributes["sse.client.connection"] for span in accepted] == [1, 2, 3, 4, 5, 6]
    assert stream.stats.connections == 6
    assert {span.status.status_code for span in traces.spans} == {StatusCode.UNSET, StatusCode.ERROR}


@pytest.mark.parametrize(
    "url, address",
    [
        ("https://user:secret@host/stream?token=secret#x", ("https://host/stream", "host", 443)),
        ("http://[::1]:8080/a", ("http://[::1]:8080/a", "::1", 8080)),
        ("HTTP://Host/a", ("http://host/a", "host", 80)),
    ],
)
async def test_the_conventions_for_http(script, traces, url, address):
    """The names are those that OpenTelemetry gives them; of the address there is no more than logs show."""
    script.reject(503)
    script.respond(*numbered(1))
    await drain(make(script, url, observers=[traces.metrics], on_eof="complete"))
    failed, accepted = traces.spans
    assert failed.name == accepted.name == "SSE connect"
    assert failed.kind is SpanKind.CLIENT
    assert failed.instrumentation_scope.name == "resilient_sse"
    assert dict(failed.attributes) == {
        **dict(zip(("url.full", "server.address", "server.port"), address, strict=True)),
        "http.response.status_code": 503,
        "error.type": "503",
        "sse.client.attempt": 0,
        "sse.client.outcome": "failed",
    }
    assert type(accepted.attributes["http.response.status_code"]) is int, "no enumeration"
    assert accepted.attributes["http.response.status_code"] == 200
    assert "error.type" not in accepted.attributes
    assert failed.status.status_code is StatusCode.ERROR
    assert "//host" not in traces.collector.reader.get_metrics_data().to_json(), "the address is no label"


async def test_a_span_covers_the_attempt(script, traces):
    """From the end of the delay to the answer: two seconds, then three; delays and a day do not count (P29)."""
    script.play(Reply(*numbered(1), pause(86_400), after=2))
    script.play(Reply(b"no", status=503, content_type="text/plain", after=3))
    script.play(Reply(*numbered(2), after=4))
    ends = {"until": lambda item: item.id == "2", "stall_timeout": None}
    stream = make(script, observers=[traces.metrics], **ends)
    before, began = time.time(), anyio.current_time()
    await anext(stream)
    assert len(traces.spans) == 1, "not at the end of the day"
    await drain(stream)
    after, took = time.time(), anyio.current_time() - began
    assert traces.lengths == [2, 3, 4]
    assert took == 2 + 86_400 + 1 + 3 + 1 + 4
    # The loop's clock jumps and the calendar does not, so only the ends can be held against it.
    for span in traces.spans:
        assert before - 0.01 <= span.end_time / 1e9 <= after + 0.01


async def test_nothing_secret_is_told(script, traces):
    """Whatever is sent or received: no query, header, id or payload in any span or metric (P29, R97)."""
    secret = "hunter2"
    script.respond(event(secret, id=secret + "1"), headers={"X-Token": secret}).drop()
    script.reject(503, body=secret.encode(), headers={"X-Token": secret})
    script.refuse(error=OSError(secret))
    script.respond(event(secret, id=secret + "2"))
    url = f"https://u:{secret}@host/stream?token={secret}"
    stream = make(
        script,
        url,
        headers={"Authorization": secret},
        params={"more": secret},
        observers=[traces.metrics],
        until=lambda item: item.id == secret + "2",
        last_event_id=secret,
    )
    await drain(stream)
    told = "".join(span.to_json() for span in traces.spans)
    told += traces.collector.reader.get_metrics_data().to_json()
    assert "sse.client.outcome" in told
    assert "sse.client.connections" in told
    assert secret not in told


# --- What ends an attempt


async def gives_up(stream):
    """Follow a stream to its error."""
    with pytest.raises((ResilientSSEError, LookupError)):
        await drain(stream)


def later(seconds, do):
    """Follow a stream, and do something after so many seconds."""

    async def act(stream):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(drain, stream)
            await anyio.sleep(seconds)
            result = do(stream)
            if result is not None:
                await result

    return act


def cancelled(seconds):
    """Cancel a read after so many seconds."""

    async def act(stream):
        with anyio.move_on_after(seconds):
            await anext(stream)

    return act


def once_more(first, then=drain):
    """Ask again, an hour later."""

    async def act(stream):
        await first(stream)
        await anyio.sleep(3600)
        await then(stream)

    return act


async def flaky(calls=count()):  # noqa: B008 - fails at first
    """Make the headers of a request, which takes a second."""
    await anyio.sleep(1)
    if not next(calls) % 2:
        raise LookupError("no token")
    return {}


CLOSE, RESTART = ResilientStream.aclose, ResilientStream.restart
HANGS, REFUSES, AT_ONCE = Script.stall_headers, Script.refuse, {"backoff": Backoff(initial=0)}


def plays(*items, **options):
    """Play a reply that takes two seconds."""
    return lambda script: script.play(Reply(*items, after=2, **options))


COMES = plays(*numbered(1))
ENDINGS = {
    "a status, or a word of the closed list of reasons; the last one, too": (
        [REFUSES, Script.stall_connect, lambda script: script.reject(500), lambda script: script.reject(429)],
        *({"max_retries": 3}, gives_up),
        "failed connect 0, failed connect 10, failed 500 0, failed 429 0",
    ),
    "an answer that nothing can mend": ([plays(b"", status=404)], {}, gives_up, "failed 404 2"),
    "another media type": ([plays(b"", content_type="text/html")], {}, gives_up, "failed content_type 2"),
    "a 204 is no failure": (
        [COMES, plays(status=204, content_type=None)],
        *({"on_eof": "reconnect"}, drain),
        "accepted - 2, ended - 2",
    ),
    "asked again after giving up": (
        [lambda script: script.respond(*numbered(1)).drop(), COMES],
        *({"max_retries": 0}, once_more(gives_up)),
        "accepted - 0, accepted - 2",
    ),
    "an attempt that the program's own function ended (P52)": (
        [COMES],
        *({"headers": flaky}, once_more(gives_up)),
        "failed protocol 1, accepted - 3",
    ),
    "closed during an attempt": ([HANGS], {}, later(4, CLOSE), "cut - 4"),
    "closed during a delay": ([REFUSES], {}, later(0.5, CLOSE), "failed connect 0"),
    "restarted during a delay": (
        [REFUSES, COMES],
        *({}, later(0.5, RESTART)),
        "failed connect 0, accepted - 2",
    ),
    "restarted during an attempt": ([HANGS, COMES], {}, later(3, RESTART), "cut - 3, accepted - 2"),
    "cancelled during an attempt": (
        [HANGS, COMES],
        *({}, once_more(cancelled(3))),
        "cut - 3, accepted - 2",
    ),
    "cancelled, then closed": ([HANGS], {}, once_more(cancelled(3), CLOSE), "cut - 3"),
    "cancelled during a delay": (
        [REFUSES, COMES],
        *({}, once_more(cancelled(0.5))),
        "failed connect 0, accepted - 2",
    ),
    "two attempts at one reading of the clock": (
        [REFUSES, HANGS],
        *(AT_ONCE, later(4, CLOSE)),
        "failed connect 0, cut - 4",
    ),
}


@pytest.mark.parametrize("title", ENDINGS)
async def test_what_ends_an_attempt(script, traces, title):
    """A span for each that was made, up to its end; delays, and an hour in between, are part of none (P29)."""
    answers, options, act, spans = ENDINGS[title]
    for answer in answers:
        answer(script)
    await act(make(script, observers=[traces.metrics], **{"on_eof": "complete", **options}))
    told = [(outcome, error or "-") for _, _, outcome, error, _ in traces.told]
    assert (
        ", ".join(f"{' '.join(words)} {length:g}" for words, length in zip(told, traces.lengths, strict=True))
        == spans
    )
    if title == "cancelled during an attempt":
        assert traces.spans[1].start_time - traces.spans[0].end_time > 3597e9


async def test_closed_in_the_moment_of_the_opening(script, traces):
    """The notice of the opening is discarded then; the attempt is told without `resume`."""
    script.respond(*numbered(1))
    stream = make(script, observers=[traces.metrics])

    async def close(change):
        if change.new.value == "connected":
            await stream.aclose()

    stream.on_state_change(close)
    assert await drain(stream) == []
    assert traces.told == [(0, None, "accepted", None, None)]


# --- Surroundings


async def test_spans_have_the_parent_of_the_moment(script, traces):
    """An attempt belongs to the work that asked for it."""
    tracer = traces.provider.get_tracer("test")
    script.respond(*numbered(1)).drop()
    script.respond(*numbered(2))
    stream = make(script, observers=[traces.metrics], until=lambda item: item.id == "2")
    with tracer.start_as_current_span("work") as work:
        await take(stream, 1)
    await drain(stream)
    first, _, second = traces.spans
    assert first.parent.span_id == work.get_span_context().span_id
    assert second.parent is None


async def test_two_for_one_stream_make_no_more_spans(script, traces):
    """As they count nothing twice."""
    script.respond()
    again = OpenTelemetryMetrics(traces.collector.provider, traces.provider)
    await drain(make(script, observers=[traces.metrics, again], on_eof="complete"))
    assert len(traces.spans) == 1


class Broken(SpanProcessor):
    """A processor that fails."""

    def on_start(self, span, parent_context=None):
        raise OSError("disk full")


async def test_a_tracer_that_raises(script, traces, caplog):
    """Counted and logged; neither the stream nor its figures suffer (bad input)."""
    traces.provider.add_span_processor(Broken())
    stream = await tormented(script, traces.metrics)
    assert stream.stats.callback_errors == 9
    assert stream.stats.delivered == 14
    assert traces.collector.value("sse.client.events_delivered") == 14
    assert traces.collector.value("sse.client.callback_errors") == 9
    logged = [record for record in caplog.records if "callback of the stream failed" in record.message]
    assert len(logged) == 4, "the first, second, fourth and eighth"
    failed = await given_up(traces.metrics)
    assert failed.stats.callback_errors == 4
    assert traces.collector.value("sse.client.streams", state="error") == 1, "told by the same fact"

"""Mocks, recorders and tracing instruments of others: they see a stream's requests as they see httpx's (3.8)."""

import pytest
import respx
import vcr
from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from resilient_sse import ResilientStream
from resilient_sse._client.transport.clients import is_patched
from resilient_sse.testing import event

BODY = event("one", id="1") + event("two", id="2")
HEADERS = {"Content-Type": "text/event-stream"}
URL = "https://mocked.example/stream"

pytestmark = pytest.mark.own


async def whole(url, **options):
    """Return the data of all events of a response that ends."""
    async with ResilientStream(url, on_eof="complete", max_retries=0, **options) as stream:
        return [item.data async for item in stream]


def answer(peer):
    """Send two events and end."""
    peer.open()
    peer.chunk(BODY)
    peer.end()
    peer.hold()


@pytest.fixture(autouse=True)
def left_as_found():
    """Whatever a tool has patched, it has put back."""
    assert not is_patched()
    yield
    assert not is_patched()


@pytest.mark.parametrize("using", ["httpcore", "httpx"])
async def test_respx(using):
    """Both of its ways: in the place of httpcore, and of httpx's choice of a transport."""
    async with respx.mock(using=using) as router:
        route = router.get(URL).respond(200, headers=HEADERS, content=BODY)
        assert is_patched()
        assert await whole(URL) == ["one", "two"]
        assert route.calls.last.request.headers["accept"] == "text/event-stream"


async def test_pytest_httpx(httpx_mock):
    """Its fixture answers a stream that was given no client."""
    httpx_mock.add_response(url=URL, headers=HEADERS, content=BODY)
    assert is_patched()
    assert await whole(URL) == ["one", "two"]
    assert len(httpx_mock.get_requests()) == 1


async def test_vcrpy(serve, tmp_path):
    """What was recorded once is played without a server."""
    server = serve(answer)
    cassette = str(tmp_path / "cassette.yaml")
    with vcr.use_cassette(cassette):
        assert await whole(server.url) == ["one", "two"]
    server.stop()
    with vcr.use_cassette(cassette, record_mode="none") as played:
        assert await whole(server.url) == ["one", "two"]
        assert played.play_count == 1


async def test_opentelemetry(serve):
    """Its httpx instrument writes a span for a stream's request, with its headers sent on."""
    server, exporter, provider = serve(answer), InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    HTTPXClientInstrumentor().instrument(tracer_provider=provider)
    try:
        assert is_patched()
        assert await whole(server.url) == ["one", "two"]
    finally:
        HTTPXClientInstrumentor().uninstrument()
    assert [span.name for span in exporter.get_finished_spans()] == ["GET"]
    assert "traceparent" in server.requests[0].headers

"""R50: the page at `/`, with which people watch a stream in a browser while they throttle it."""

import base64
import hashlib
import http.client
import re
from urllib.parse import urlsplit

import pytest

from resilient_sse.testing.server import DONE, EVENT_TYPE, HEARTBEAT, SLOW, TRUNCATED

pytestmark = pytest.mark.e2e


@pytest.fixture
def answer(start):
    """Give the answer to a request for the page of a user."""
    connection = http.client.HTTPConnection(urlsplit(start().url).netloc, timeout=20)
    connection.request("GET", "/?user_id=ada")
    yield connection.getresponse()
    connection.close()


def inside(page, element):
    """Return what the only element of that name holds."""
    (content,) = re.findall(f"<{element}>(.*?)</{element}>", page, re.DOTALL)
    return content


def test_the_page_is_allowed_itself_and_its_stream(answer):
    """Its policy names its own style and script by their bytes, and its own server; nothing else may run."""
    page = answer.read().decode()
    assert (answer.status, answer.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert page.startswith("<!doctype html>\n")
    policy = dict(part.strip().split(" ", 1) for part in answer.headers["Content-Security-Policy"].split(";"))
    digests = {
        name: base64.b64encode(hashlib.sha256(inside(page, name).encode()).digest()).decode()
        for name in ("script", "style")
    }
    assert policy == {
        "default-src": "'none'",
        "connect-src": "'self'",
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
        "script-src": f"'sha256-{digests['script']}'",
        "style-src": f"'sha256-{digests['style']}'",
    }


def test_the_page_needs_nothing_else(answer):
    """No other address stands in it, its stream is that of its own query, and text goes in as text only."""
    page = answer.read().decode()
    assert re.findall(r"https?:|//\w", page) == []
    assert re.findall(r"(?:src|href)=\S+", page) == ['href="data:,">']
    script = inside(page, "script")
    assert 'new EventSource("api/v1/stream?" + query)' in script
    assert "query = new URLSearchParams(asked)" in script
    assert re.findall(r"innerHTML|outerHTML|insertAdjacent|document\.write|eval|Function\(", script) == []


def test_the_page_names_the_types_of_the_server(answer):
    """A browser tells a page only of the types that it names: these are all that the server has by itself."""
    script = inside(answer.read().decode(), "script")
    for name in ("message", EVENT_TYPE, DONE, HEARTBEAT, TRUNCATED, SLOW):
        assert f'"{name}"' in script

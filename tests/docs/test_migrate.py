"""Each "Before" of the page about moving is run with the peer itself, and shows what the page's "After" shows."""

import re
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec

import pytest

from tests.docs.pages import DOCS, fences, module, text_of
from tests.skipping import skip_aloud

pytestmark = [pytest.mark.e2e, pytest.mark.proof, pytest.mark.ci]

REPLY = module(DOCS / "conftest.py").REPLY
SECTIONS = dict(
    re.findall(r"^## (\S+)\n(.*?)(?=^## |\Z)", text_of("start/migrate.md"), re.MULTILINE | re.DOTALL)
)
PEERS = [name for name in SECTIONS if "Before" in SECTIONS[name]]
IMPORTED = {
    "httpx-sse": "httpx_sse",
    "sseclient-py": "sseclient",
    "aiohttp-sse-client": "aiohttp_sse_client",
    "launchdarkly-eventsource": "ld_eventsource",
    "requests-sse": "requests_sse",
}
PATIENCE = 60


class Pages(BaseHTTPRequestHandler):
    """The server of the docs, over a socket: `/stream` and `/dropped`."""

    def do_GET(self):
        """Answer with what follows the id, with 204 behind the last; `/dropped` first ends behind two events."""
        seen = int(self.headers.get("Last-Event-ID") or 0)
        rest = REPLY[seen:]
        if self.path == "/dropped" and not seen:
            rest = REPLY[:2]
        self.send_response(200 if rest else 204)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        self.wfile.write(b"".join(rest))

    def log_message(self, *_):
        """Stay silent."""


@pytest.fixture
def address():
    """Serve on a port of its own."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Pages) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_each_peer_is_known():
    """The page has five, and each has both sides."""
    assert sorted(PEERS) == sorted(IMPORTED)
    assert all(SECTIONS[name].count("\nAfter") == 1 for name in PEERS)


@pytest.mark.parametrize("name", PEERS)
def test_both_sides_show_the_same(name, address):
    """What the peer prints begins with the lines that the page shows of ours (P44)."""
    if not find_spec(IMPORTED[name]):
        skip_aloud(f"{name}, of the dependency group bench")
    before = fences(SECTIONS[name], "python")[0].replace("https://host", address)
    if "asyncio.run" not in before and "async def main" in before:
        before += "\nimport asyncio\nasyncio.run(main())\n"
    (output,) = fences(SECTIONS[name], "output")
    wanted = [line for line in output.splitlines() if line != "..."]
    shown = []
    with subprocess.Popen([sys.executable, "-u", "-c", before], stdout=subprocess.PIPE, text=True) as peer:
        watchdog = threading.Timer(PATIENCE, peer.kill)  # some peers never end, and none may hang
        watchdog.start()
        for line in peer.stdout:
            shown.append(line.strip())
            if len(shown) >= len(wanted):
                break
        peer.kill()
        watchdog.cancel()
    assert shown == wanted

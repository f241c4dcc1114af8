"""Each "Before" of the page about moving is run with the peer itself, and shows what the page's "After" shows."""

import re
import subprocess
import sys
import threading
from importlib.util import find_spec

import pytest

from tests.docs.pages import DOCS, fences, module, text_of
from tests.e2e.raw_server import EVENT_STREAM, RawServer
from tests.skipping import skip_aloud

pytestmark = [pytest.mark.e2e, pytest.mark.proof, pytest.mark.ci]

REPLY = module(DOCS / "conftest.py").REPLY
SECTIONS = dict(
    re.findall(r"^## (\S+)\n(.*?)(?=^## |\Z)", text_of("start/migrate.md"), re.MULTILINE | re.DOTALL)
)
PEERS = [name for name in SECTIONS if "Before" in SECTIONS[name]]
IMPORTED = {
    "httpx-sse": "httpx_sse",
    "requests": "requests",
    "sseclient-py": "sseclient",
    "aiohttp-sse-client": "aiohttp_sse_client",
    "launchdarkly-eventsource": "ld_eventsource",
    "requests-sse": "requests_sse",
}
PATIENCE = 60


def answer(peer):
    """Answer as the docs do: what follows the id, 204 behind the last; `/dropped` ends behind two events first."""
    seen = int(peer.request.cursor or 0)
    rest = REPLY[:2] if peer.request.target == "/dropped" and not seen else REPLY[seen:]
    peer.answer(
        "200 OK" if rest else "204 No Content", EVENT_STREAM, "Connection: close", body=b"".join(rest)
    )


def test_each_peer_is_known():
    """Each has both sides."""
    assert sorted(PEERS) == sorted(IMPORTED)
    assert all(SECTIONS[name].count("\nAfter") == 1 for name in PEERS)


@pytest.mark.parametrize("name", PEERS)
def test_both_sides_show_the_same(name):
    """What the peer prints begins with the lines that the page shows of ours (P44)."""
    if not find_spec(IMPORTED[name]):
        skip_aloud(f"{name}, of the dependency group bench")
    before = fences(SECTIONS[name], "python")[0]
    if "asyncio.run" not in before and "async def main" in before:
        before += "\nimport asyncio\nasyncio.run(main())\n"
    (output,) = fences(SECTIONS[name], "output")
    wanted = [line for line in output.splitlines() if line != "..."]
    shown = []
    with RawServer(answer) as server:
        command = [sys.executable, "-u", "-c", before.replace("https://host", server.origin)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as peer:
            watchdog = threading.Timer(PATIENCE, peer.kill)  # some peers never end, and none may hang
            watchdog.start()
            for line in peer.stdout:
                shown.append(line.strip())
                if len(shown) >= len(wanted):
                    break
            peer.kill()
            watchdog.cancel()
    assert shown == wanted

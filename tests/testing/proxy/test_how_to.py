"""The program of the how-to page, as a reader runs it: against a real server, in real time."""

import subprocess
import sys
import time

import pytest

from resilient_sse.testing import event
from tests.docs.pages import fences, text_of

pytestmark = pytest.mark.e2e


def reply(peer):
    """Send 29 words and an end, from where the client left off."""
    seen = int(peer.request.cursor or 0)
    peer.open()
    for number in range(seen + 1, 31):
        time.sleep(0.02)
        peer.chunk(event(f"word {number}", id=str(number), event="done" if number == 30 else None))
    peer.hold()


def test_the_program_survives_its_handoff(serve, tmp_path):
    """R50, R42, R43: the page's program loses nothing; the server sees a second request that carries an id."""
    (program,) = [
        block
        for block in fences(text_of("how-to/break-the-network.md"), "python")
        if block.startswith("# handoff.py")
    ]
    path = tmp_path / "handoff.py"
    path.write_text(program, encoding="utf-8")
    server = serve(reply)
    done = subprocess.run(
        [sys.executable, "-W", "error", path, f"http://127.0.0.1:{server.port}/a/stream"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == "30 events, 1 reconnect"
    assert "Connection restored" in done.stdout
    assert server.requests[0].cursor is None
    assert int(server.requests[-1].cursor) >= 19

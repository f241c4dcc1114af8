"""The program of the how-to page, as a reader runs it: against a real server, in real time."""

import re
import time

import pytest

from resilient_sse.testing import event
from tests.cli.conftest import parse
from tests.docs.pages import fences, table, text_of
from tests.testing.users_project import Project

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
        for block in fences(text_of("lab/break-the-network.md"), "python")
        if block.startswith("# handoff.py")
    ]
    server, project = serve(reply), Project(tmp_path)
    project.write(handoff=program)
    done = project.python("-W", "error", "handoff.py", f"{server.origin}/a/stream")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == "30 events, 1 reconnect"
    assert "Connection restored" in done.stdout
    assert server.requests[0].cursor is None
    assert int(server.requests[-1].cursor) >= 19


def test_the_five_steps_by_hand():
    """R50: the page has the five steps for a browser, in their order, and beside each what the proxy does."""
    page = text_of("lab/break-the-network.md")
    _, _, section = page.partition("## A hand-off between networks\n")
    steps = re.findall(r"^(\d)\. (.+)$", section.partition("\n## ")[0], re.MULTILINE)
    words = ['throttling to "4G"', "Start streaming", "Offline", '"3G"', "`Last-Event-ID`"]
    assert [number for number, _ in steps] == ["1", "2", "3", "4", "5"]
    assert all(word in step for word, (_, step) in zip(words, steps, strict=True))
    (command,) = fences(section.partition("1. ")[0], "sh")
    assert parse(command.split()[1:]).start == "first"
    assert f"http://127.0.0.1:{parse(command.split()[1:]).port}/" in steps[1][1]
    rows = table(page, "step", "in the developer tools", "with the proxy")
    assert [row[0] for row in rows] == ["1", "2", "3", "4", "5"]

"""The demo as a person runs it, and, in virtual time, what it finds where a promise is broken (R1, R224)."""

import os
import re
from types import SimpleNamespace

import pytest

from resilient_sse.cli.demo.scenario import REPLY, demo_scenario
from resilient_sse.cli.exits import Exit
from resilient_sse.testing import memory_server, run_in_virtual_time
from resilient_sse.testing.report import Judged
from resilient_sse.testing.scenarios import Run, Scene, VirtualDriver, play
from resilient_sse.testing.scenarios.stage import VirtualStage

PATIENCE = 60


def played(seed=1):
    """Play the demo in virtual time."""
    log = run_in_virtual_time(play, demo_scenario(), VirtualDriver(seed))
    return Judged.of(Run(log.name, log.entries), demo_scenario())


def broken(judged):
    """Name the promises that were not kept."""
    return {verdict.gate.figure for verdict in judged.verdicts if not verdict.passed}


@pytest.mark.parametrize("seed", range(5))
def test_every_promise_is_kept_wherever_the_faults_strike(seed):
    """50 of 50, in order, once, over four losses of the connection (R5, R6, R63)."""
    judged = played(seed)
    assert broken(judged) == set()
    assert judged.figures["connection_lost_by"] == "reset, stall, reset, server"
    assert judged.figures["suppressed"] == 15


def without_the_reset(monkeypatch):
    """Leave the first fault out: so nobody has seen the client mend one."""

    async def nothing(_stage):
        return 0

    monkeypatch.setattr(VirtualStage, "reset", nothing)


def with_one_lost(monkeypatch):
    """Never send one message."""
    real = memory_server._Line.send_event
    monkeypatch.setattr(
        memory_server._Line,
        "send_event",
        lambda line, number, block: number != 5 and real(line, number, block),
    )


def without_an_end(monkeypatch):
    """Never say that the reply is complete."""

    async def nothing(_scene):
        pass

    monkeypatch.setattr(Scene, "complete", nothing)


@pytest.mark.parametrize(
    "sabotage, found",
    [
        (without_an_end, {"reply_complete"}),
        (with_one_lost, {"message_loss", "received_events", "gaps"}),
        (without_the_reset, {"connection_lost_by"}),
    ],
)
def test_a_broken_promise_is_found(monkeypatch, sabotage, found):
    """A server that really does wrong fails the demo (R217)."""
    sabotage(monkeypatch)
    judged = played()
    assert not judged.passed
    assert found <= broken(judged)


def test_a_broken_promise_is_the_exit_code(run, monkeypatch):
    """Whoever runs the demo in a script hears of it (R217)."""

    async def played_badly(_seed, _live):
        return SimpleNamespace(passed=False)

    monkeypatch.setenv("no_proxy", "")
    monkeypatch.setattr("resilient_sse.cli.demo.view.play_and_show", played_badly)
    assert run("demo").code == 1


@pytest.mark.e2e
def test_sigterm_gives_the_terminal_back(screen):
    """Its cursor; what was promised is not told."""
    shown = screen("demo", "--seed", "5")
    shown.wait_for("connected: ")
    shown.process.terminate()
    assert shown.end(PATIENCE) == (Exit.TERMINATED, True)
    assert shown.written.rfind(b"\x1b[?25h") > shown.written.rfind(b"\x1b[?25l") > 0
    assert "What was promised" not in shown.text


@pytest.mark.e2e
@pytest.mark.slow
def test_as_a_person_runs_it(screen, start):
    """On a terminal a picture that moves, no line cut off at 80 columns; in a pipe a line for each change."""
    # A proxy in the environment must not come between the demo and its own server.
    plain = start("demo", "--seed", "7", env={**os.environ, "http_proxy": "http://127.0.0.1:9"})
    shown = screen("demo", "--seed", "5")  # beside the other
    assert shown.end(PATIENCE) == (0, True)
    text = shown.text
    assert {"0", "50"} <= (counts := set(re.findall(r"(\d+)/50 messages", text)))
    assert len(counts) > 8  # a busy machine skips some
    assert "…" not in text
    end = text[text.rindex("╭") :]  # what was promised, and what to read next
    assert re.search(r"\d  client  reconnecting: Connection lost - attempting to reconnect\.\.\. ", text)
    assert re.search(r"messages lost +0 +ok", end)
    assert "Passed in" in end
    assert "docs/start/first-stream.md" in end
    assert max(len(line.rstrip()) for line in end.splitlines()) <= 80
    assert "Traceback" not in text
    assert not re.search(rb"\x1b\[(?:1;)?31m", shown.written)  # nothing that is routine looks like a failure

    out, err = plain.communicate(timeout=PATIENCE)
    assert (plain.returncode, err) == (0, b"")
    lines = out.decode().splitlines()
    told = [line.split() for line in lines if re.match(r" *\d+\.\d\d  ", line)]
    assert [words[-1] for words in told if words[1] == "message"] == REPLY
    assert [words[2].rstrip(":") for words in told if words[1] == "client"] == [
        *("connected", "reconnecting"),
        *("connected", "waiting", "reconnecting"),
        *("connected", "reconnecting", "reconnecting"),
        *("connected", "closed"),
    ]
    assert [line.split()[-1] for line in lines[lines.index("What was promised") + 1 :][:9]] == ["ok"] * 9
    assert any(line.startswith("Passed in ") for line in lines)

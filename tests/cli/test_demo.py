"""The demo as a person runs it; runs go on at once, because each takes fifteen seconds."""

import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

import pytest

from resilient_sse.cli import main

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

Start = Callable[..., subprocess.Popen[bytes]]

PATIENCE = 60


class Screen:
    """A terminal of 100 columns and 30 rows, and everything that was written to it."""

    def __init__(self) -> None:
        pty = pytest.importorskip("pty")
        fcntl = pytest.importorskip("fcntl")
        termios = pytest.importorskip("termios")
        self._ours, self.theirs = pty.openpty()
        fcntl.ioctl(self.theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
        self.written = b""

    def read(self) -> None:
        """Read until the program has ended."""
        os.close(self.theirs)
        try:
            while data := os.read(self._ours, 65536):
                self.written += data
        except OSError:  # Linux says so, instead of an end of file
            pass
        os.close(self._ours)

    @property
    def text(self) -> str:
        """What was written, without colours and movements."""
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.written.decode())


@dataclass
class Runs:
    """The runs that take their full time."""

    kept: subprocess.Popen[bytes]
    live: subprocess.Popen[bytes]
    screen: Screen


@pytest.fixture(scope="module")
def runs(start: Start) -> Runs:
    """Start them all."""
    screen = Screen()
    environment = {**os.environ, "TERM": "xterm-256color"}
    live = start(
        "demo",
        "--seed",
        "5",
        stdin=screen.theirs,
        stdout=screen.theirs,
        stderr=screen.theirs,
        env=environment,
    )
    threading.Thread(target=screen.read, daemon=True).start()
    return Runs(
        # A proxy in the environment must not come between the demo and its own server.
        kept=start("demo", "--seed", "7", env={**os.environ, "http_proxy": "http://127.0.0.1:9"}),
        live=live,
        screen=screen,
    )


@pytest.fixture(scope="module")
def broken(start: Start) -> dict[str, subprocess.Popen[bytes]]:
    """Start those of a server that does wrong."""
    return {name: start("demo", "--plain", "--sabotage", name) for name in ("lose", "repeat", "calm")}


def ended(process: subprocess.Popen[bytes]) -> tuple[int, list[str], str]:
    """Wait for a run, and return its exit code, its lines, and its errors."""
    out, err = process.communicate(timeout=PATIENCE)
    return process.returncode, out.decode().splitlines(), err.decode()


def test_interrupt(start: Start, runs: Runs):
    """Ctrl-C is exit code 130 without a traceback, and the server is gone with it."""
    process = start("demo", "--plain")
    port = port_of(process)
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 130
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), 5)
    assert process.communicate()[1] == b""


def test_violent_end(start: Start):
    """A demo that is killed takes its server with it, although it cannot end it any more."""
    process = start("demo", "--plain")
    port = port_of(process)
    process.kill()
    limit = time.monotonic() + 10
    while time.monotonic() < limit:
        try:
            socket.create_connection(("127.0.0.1", port), 5).close()
        except ConnectionRefusedError:
            return
        time.sleep(0.1)
    pytest.fail("the server lives on")


def port_of(process: subprocess.Popen[bytes]) -> int:
    """Read on until the server has told its port."""
    assert process.stdout is not None
    for line in process.stdout:
        if found := re.search(rb"listens on 127\.0\.0\.1:(\d+)", line):
            return int(found[1])
    raise AssertionError("no port was told")


def test_reset_is_a_reset(start: Start):
    """The connection is broken by a TCP reset in the middle of a message, not by a polite end."""
    server = subprocess.Popen(
        [sys.executable, "-m", "resilient_sse.cli.demo.server", "--seed", "7"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    received = bytearray()
    try:
        assert server.stdout is not None
        url = urlsplit(json.loads(server.stdout.readline())["url"])
        with socket.create_connection((url.hostname, url.port), 10) as client:
            client.sendall(f"GET {url.path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            with pytest.raises(ConnectionResetError):
                receive_into(received, client)
        assert not received.endswith(b"\r\n\r\n\r\n")
        assert b'"fault": "reset"' in server.stdout.readline()
    finally:
        server.communicate()  # the end of its standard input ends it
    assert server.returncode == 0


def receive_into(received: bytearray, client: socket.socket) -> None:
    """Receive until the end, of whatever kind."""
    while data := client.recv(65536):
        received += data


@pytest.mark.parametrize("program", ["true", "no/such/program"])
def test_no_server(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], program: str):
    """A server that does not start is said to have not started."""
    monkeypatch.setattr(sys, "executable", program)
    assert main(["demo", "--plain"]) == 1
    err = capsys.readouterr().err
    assert err.startswith("resilient-sse: error: the demo's server did not start")
    assert err.count("\n") == 1


def test_reader_gone(start: Start):
    """`| head -1` ends the demo, too."""
    process = start("demo", "--plain")
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(10) == 141
    assert process.stderr is not None
    assert process.stderr.read() == b""


def test_promises_kept(runs: Runs):
    """Every promise is kept and every fault has happened, which is exit code 0."""
    code, lines, err = ended(runs.kept)
    assert (code, err) == (0, "")
    told = [line.split()[2] for line in lines if " client " in line]
    assert told == [
        *("CONNECTED", "RECONNECTING"),
        *("CONNECTED", "WAITING", "RECONNECTING"),
        *("CONNECTED", "RECONNECTING", "RECONNECTING"),
        *("CONNECTED", "CLOSED"),
    ]
    summary = lines[lines.index("Promises") :]
    assert [line.split(None, 1) for line in summary[1:8]] == [
        ["ok", "messages received       50 of 50 unique"],
        ["ok", "reply intact            word for word, in order"],
        ["ok", "reply complete          yes"],
        ["ok", "messages lost           0"],
        ["ok", "gaps                    0"],
        ["ok", "duplicates delivered    0"],
        ["ok", "duplicates suppressed   5 of 5"],
    ]
    assert [line[:24].strip() for line in summary[10:14]] == [
        "ok  connection reset",
        "ok  silence",
        "ok  restart and 503",
        "ok  overlapping replay",
    ]
    reconnects = [line.split() for line in summary[16:19]]
    assert [" ".join(words[1:-4]) for words in reconnects] == ["reset", "stall", "eof, then server 503"]
    assert [words[-4] for words in reconnects] == ["1", "1", "2"]
    assert all(float(words[-2]) < 10 for words in reconnects)
    assert summary[-1].startswith("Passed in ")


@pytest.mark.proof
@pytest.mark.ci
@pytest.mark.parametrize(
    "sabotage, words",
    [
        ("lose", r"messages received: 49 of 50 unique; .*messages lost: 1 \(\d+\); gaps: 1; "),
        ("repeat", r"duplicates delivered: 5 \(.*\); duplicates suppressed: 0 of 5"),
        ("calm", r"\): connection reset: did not happen\."),
    ],
)
def test_promises_broken(broken: dict[str, subprocess.Popen[bytes]], sabotage: str, words: str):
    """A server that really does wrong is found out: exit code 1, and what is missing."""
    code, lines, err = ended(broken[sabotage])
    assert (code, err) == (1, "")
    assert lines[-1].startswith("Failed after ")
    assert re.search(words, lines[-1])


def test_live(runs: Runs):
    """On a terminal it draws a picture that moves, and prints the summary below it."""
    assert runs.live.wait(PATIENCE) == 0
    text = runs.screen.text
    for state in ("CONNECTED", "WAITING", "RECONNECTING", "CLOSED"):
        assert f"│ {state} " in text
    assert {"0", "50"} <= (shown := set(re.findall(r"(\d+)/50 messages", text)))
    assert len(shown) > 8  # a busy machine skips some
    assert runs.screen.written.count(b"\x1b[1A") > 1000  # drawn over and over
    picture, _, summary = text.rpartition("Promises")
    assert (
        picture.rpartition("resilient-sse demo")[2].count("Response complete") == 2
    )  # the state, and the list
    assert "50 of 50 unique" in summary
    assert "Passed in " in summary
    assert "Traceback" not in text

"""The tutorial, done for real but told faster: its server, its clients, and a stop in mid-sentence."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time

import pytest

from tests.docs.pages import fences, text_of

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.slow,
    pytest.mark.skipif(os.name == "nt", reason="Ctrl-C is sent as a signal"),
]

PAGE = text_of("start/first-stream.md")
PATIENCE = 60


class Terminals:
    """The reader's two terminals: one for the server, one for the clients."""

    def __init__(self, directory):
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.directory = directory
        self.server = None
        for block in fences(PAGE, "python"):
            name = re.match(r"# (\w+\.py)\n", block)[1]
            text = block.replace("127.0.0.1:8000", f"127.0.0.1:{self.port}").replace(
                "sleep(0.5)", "sleep(0.05)"
            )
            (directory / name).write_text(text, encoding="utf-8")

    def start_server(self):
        """Start the server and wait until it listens."""
        command = [sys.executable, "-m", "uvicorn", "server:app", "--port", str(self.port)]
        self.server = subprocess.Popen(
            command, cwd=self.directory, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
                return
            time.sleep(0.05)
        pytest.fail("the server does not start")

    def stop_server(self):
        """Press Ctrl-C."""
        if self.server is not None:
            self.server.send_signal(signal.SIGINT)
            self.server.wait(PATIENCE)
            self.server = None

    def client(self, name):
        """Start a client, and return it; its output is unbuffered, as in a terminal."""
        return subprocess.Popen(
            [sys.executable, "-u", name],
            cwd=self.directory,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )


@pytest.fixture
def terminals(tmp_path):
    """Give the reader's terminals, with every file of the tutorial saved, and close them afterwards."""
    terminals = Terminals(tmp_path)
    yield terminals
    terminals.stop_server()


def words_in(lines):
    """Return the words of the story among what a client printed."""
    return [line for line in lines if re.fullmatch(r"[A-Za-z]+", line)]


STORY = "".join(re.findall(r'^    "(.*)"$', fences(PAGE, "python")[0], re.MULTILINE)).split()


def test_a_server_that_stops_in_mid_sentence(terminals):
    """The client that speaks says what happens, and no word is missing or appears twice."""
    terminals.start_server()
    with terminals.client("listen_aloud.py") as client:
        lines = [client.stdout.readline().strip() for _ in range(4)]
        terminals.stop_server()
        lines += [client.stdout.readline().strip()]
        while not lines[-1].startswith("[Connection lost"):
            lines.append(client.stdout.readline().strip())
        terminals.start_server()
        lines += [line.strip() for line in client.stdout]
        assert client.wait(PATIENCE) == 0
    assert words_in(lines) == STORY
    states = [line for line in lines if line.startswith("[") and "attempt " not in line]
    assert states == [
        "[Connected]",
        "[Connection lost - attempting to reconnect...]",
        "[Connection restored - resuming stream...]",
        "[Response complete]",
    ]
    shown = [text for block in fences(PAGE, "text") for text in re.findall(r"\[(.*)\]", block)]
    assert set(states) & {f"[{text}]" for text in shown} == set(states[1:3])


def test_a_handler_that_fails(terminals):
    """The service handles every word once, the one it failed at included."""
    terminals.start_server()
    with terminals.client("service.py") as client:
        output = client.stdout.read()
        assert client.wait(PATIENCE) == 0
    assert words_in(output.splitlines()) == STORY
    assert "the handler failed, starting again" in output

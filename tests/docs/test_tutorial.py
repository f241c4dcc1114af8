"""The tutorial, done for real but told faster: its server, its client that speaks, and a stop in mid-sentence."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys

import pytest

from tests.docs.pages import fences, text_of
from tests.e2e.watching import soon

PAGE = text_of("start/first-stream.md")
PATIENCE = 60
STORY = "".join(re.findall(r'^    "(.*)"$', fences(PAGE, "python")[0], re.MULTILINE)).split()


@contextlib.contextmanager
def serving(directory, port):
    """Run the server in a terminal of its own, from when it listens until Ctrl-C."""

    def listens():
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return True

    command = [sys.executable, "-m", "uvicorn", "server:app", "--port", str(port), "--log-level", "critical"]
    with subprocess.Popen(command, cwd=directory) as server:
        try:
            assert soon(listens, within=PATIENCE)
            yield
        finally:
            server.send_signal(signal.SIGINT)


@pytest.mark.e2e
@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Ctrl-C is sent as a signal")
def test_a_server_that_stops_in_mid_sentence(tmp_path):
    """The client that speaks says what happens, and no word is missing or appears twice."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    for block in fences(PAGE, "python"):
        text = block.replace("127.0.0.1:8000", f"127.0.0.1:{port}").replace("sleep(0.5)", "sleep(0.05)")
        (tmp_path / re.match(r"# (\w+\.py)\n", block)[1]).write_text(text, encoding="utf-8")
    command = [sys.executable, "-u", "listen_aloud.py"]
    with contextlib.ExitStack() as stack:
        with serving(tmp_path, port):
            client = stack.enter_context(
                subprocess.Popen(
                    command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
                )
            )
            lines = [client.stdout.readline().strip() for _ in range(4)]
        while not lines[-1].startswith("[Connection lost"):
            lines.append(client.stdout.readline().strip())
        with serving(tmp_path, port):
            lines += [line.strip() for line in client.stdout]
        assert client.wait(PATIENCE) == 0
    assert [line for line in lines if re.fullmatch(r"[A-Za-z]+", line)] == STORY
    states = [line for line in lines if line.startswith("[") and "attempt " not in line]
    assert states == [
        "[Connected]",
        "[Connection lost - attempting to reconnect...]",
        "[Connection restored - resuming stream...]",
        "[Response complete]",
    ]
    shown = [text for block in fences(PAGE, "text") for text in re.findall(r"\[.*\]", block)]
    assert set(states) & set(shown) == set(states[1:3])

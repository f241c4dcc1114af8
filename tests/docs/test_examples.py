"""The examples, run as programs against the example server."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time

import pytest

from tests.docs.pages import ROOT

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.slow,
    pytest.mark.skipif(os.name == "nt", reason="Ctrl-C is sent as a signal"),
]

EXAMPLES = ROOT / "examples"
PATIENCE = 60


@pytest.fixture(scope="module")
def url():
    """Run the example server, and give the address of its reply."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "uvicorn", "server:app", "--app-dir", str(EXAMPLES), "--port", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            break
        time.sleep(0.05)
    yield f"http://127.0.0.1:{port}/reply"
    server.send_signal(signal.SIGINT)
    server.wait(PATIENCE)


def run(name, *arguments):
    """Run one example to its end."""
    command = [sys.executable, "-W", "always::ResourceWarning", str(EXAMPLES / name), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)


def test_a_chat_reply_of_fifty_messages(url):
    """With nothing but a URL the reply is printed whole, over three connections (R1)."""
    result = run("chat_reply.py", url)
    assert result.returncode == 0, result.stderr
    assert result.stdout == "".join(f"message {number} of 50. " for number in range(1, 51)) + "\n"
    assert result.stderr.splitlines() == [
        "[Connected]",
        "[Connection lost - attempting to reconnect...]",
        "[Connection restored - resuming stream...]",
        "[Connection lost - attempting to reconnect...]",
        "[Connection restored - resuming stream...]",
        "[Response complete]",
    ]


def test_a_service_whose_handler_fails(url):
    """The service handles each of the 50 events once, although it failed at one of them."""
    result = run("service.py", url)
    assert result.returncode == 0, result.stderr
    assert result.stdout == "handled 50 events, 50 of them different\n"
    assert "no luck with event 30; starting again there" in result.stderr
    assert '"lost": 0' in result.stderr


def test_a_reply_that_does_not_exist(url):
    """An address without a stream is an error, and the exit code says so."""
    result = run("chat_reply.py", url.replace("/reply", "/nothing"))
    assert result.returncode == 1
    assert "the reply cannot be read: the server answered with status 404" in result.stderr


@pytest.mark.parametrize("name", ["chat_reply.py", "service.py"])
def test_without_a_url_an_example_explains_itself(name):
    """The docstring is the help."""
    result = run(name)
    assert result.returncode == 1
    assert f"python examples/{name} http://" in result.stderr


def test_every_example_is_run():
    """No example lies about untested."""
    source = (ROOT / "tests" / "docs" / "test_examples.py").read_text(encoding="utf-8")
    assert {path.name for path in EXAMPLES.glob("*.py")} <= set(re.findall(r"\w+\.py", source)) | {
        "server.py"
    }

"""The client that tells all it sees, on the loopback interface: that takes no rights."""

import json
import os
import subprocess
import sys
from http.client import HTTPConnection
from urllib.parse import urlsplit

import pytest

from tests.netns.stage import TELLING_SERVER
from tests.netns.subscriber import main

pytestmark = [pytest.mark.e2e, pytest.mark.proof]


@pytest.fixture
def url():
    """Start a server with ten events, of which the first has the number 11."""
    command = [sys.executable, str(TELLING_SERVER), "127.0.0.1", "0", "11", "0"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
        url = json.loads(server.stdout.readline())["url"]
        connection = HTTPConnection(urlsplit(url).netloc)
        for _ in range(10):
            connection.request("POST", "/api/v1/publish", '{"data": "x"}')
            connection.getresponse().read()
        connection.close()
        yield url
        server.stdin.close()
        server.stdout.read()


@pytest.fixture
def stdin(monkeypatch):
    """Give standard input as a pipe, and its other end."""
    reader, writer = os.pipe()
    with os.fdopen(reader) as file:
        monkeypatch.setattr(sys, "stdin", file)
        yield writer
    os.close(writer)


def told(capsys):
    """Read what it told."""
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_everything_is_told(url, stdin, capsys, backend):
    """Changes, events and the statistics come in order, with the time."""
    assert main([url, "--backend", backend, "--count", "3", "--sequence"]) == 0
    records = told(capsys)
    kinds = [record["kind"] for record in records]
    assert kinds == ["ready", "change", "event", "event", "event", "change", "end"]
    assert [record["at"] for record in records] == sorted(record["at"] for record in records)
    assert (records[1]["new"], records[1]["reason"]) == ("connected", "opened")
    assert [record["id"] for record in records[2:5]] == ["11", "12", "13"]
    assert records[-1]["stats"]["delivered"] == 3
    assert records[-1]["error"] is None


def test_gaps_are_told(url, stdin, capsys):
    """Where the server cannot go on from the id that was given, some events are missing."""
    arguments = {"last_event_id": "7", "backoff": {"initial": 0.01, "jitter": 0}}
    main([url, "--count", "1", "--sequence", "--arguments", json.dumps(arguments)])
    records = told(capsys)
    (gap,) = [record for record in records if record["kind"] == "gap"]
    assert (gap["gap"], gap["after_id"], gap["before_id"], gap["missing"]) == ("hole", "7", "11", 3)


def test_an_error_is_told(stdin, capsys):
    """What ends the stream is named, and the exit code is 1."""
    options = {"max_retries": 1, "backoff": {"initial": 0.01}}
    assert main(["http://127.0.0.1:9/", "--arguments", json.dumps(options)]) == 1
    last = told(capsys)[-1]
    assert last["kind"] == "end"
    assert last["error"].startswith("RetriesExhaustedError: ")


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_the_end_of_input_is_the_end(url, capsys, monkeypatch, backend):
    """Whoever started it may go away: it ends, after what it was in the middle of."""
    reader, writer = os.pipe()
    os.write(writer, b"what is said is not heard")
    os.close(writer)
    with os.fdopen(reader) as file:
        monkeypatch.setattr(sys, "stdin", file)
        assert main([url, "--backend", backend]) == 0
    assert told(capsys)[-1]["kind"] == "end"

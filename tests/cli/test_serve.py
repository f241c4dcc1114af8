"""`resilient-sse serve`: the reference server as a command, and what it says to arguments that make no sense."""

import http.client
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
from contextlib import closing

import anyio
import pytest

from resilient_sse import ResilientStream, integers
from resilient_sse.cli.exits import Exit
from tests.cli.conftest import Done, finished, parse

END = 15


@pytest.fixture
def serve(start):
    """Give a function that runs the command; it returns the process, and what it says of itself."""

    def serve(*arguments):
        process = start("serve", "--port", "0", "--json", *arguments, stdin=subprocess.PIPE)
        return process, json.loads(process.stdout.readline())

    return serve


def get(told, path="/api/v1/stream", method="GET", body=None, **headers):
    """Ask the server, and return the response and its connection."""
    connection = http.client.HTTPConnection("127.0.0.1", told["port"], timeout=END)
    connection.request(method, path, body, headers)
    return connection.getresponse(), connection


def listening(port):
    """Tell whether somebody listens."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except ConnectionRefusedError:
        return False
    return True


@pytest.mark.e2e
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_it_publishes_by_itself(serve, anyio_backend):
    """R223, R12, R168: so many events of so many bytes to each of the first users, then the completion event."""
    publishing = ("--publish", "20", "--rate", "200", "--users", "2", "--complete", "--heartbeat", "0.3")
    process, told = serve("--stdin", *publishing)
    assert told["url"] == f"http://127.0.0.1:{told['port']}/api/v1/stream"
    assert told["base_url"] in told["url"]
    for user in ("ada", "bob"):
        url = f"{told['url']}?user_id={user}"
        async with ResilientStream(url, sequence=integers, until="done") as stream:
            with anyio.fail_after(END):  # one a second would take longer
                events = [event async for event in stream]
        assert [event.id for event in events] == [str(number) for number in range(1, 22)]
        assert {len(event.data) for event in events[:-1]} == {100}
        assert events[-1].json() == {"total": 20}
    async with ResilientStream(f"{told['url']}?user_id=eve", heartbeat_events=()) as stream:
        assert [(await anext(stream)).event for _ in range(2)] == ["heartbeat"] * 2
    process.stdin.close()
    assert finished(process) == Done(0, "", "")
    assert not listening(told["port"])


@pytest.mark.e2e
@pytest.mark.parametrize(
    "number,code", [(signal.SIGINT, Exit.INTERRUPTED), (signal.SIGTERM, Exit.ENDED)], ids=["int", "term"]
)
def test_signals_end_it_cleanly(serve, number, code):
    """The streams end as they should, the exit code is the shell's, and nobody listens any more."""
    process, told = serve()
    response, connection = get(told)
    process.send_signal(number)
    assert response.read() == b"retry: 1000\n\n"  # or IncompleteRead
    connection.close()
    assert finished(process) == Done(code, "", "")
    assert not listening(told["port"])


@pytest.mark.e2e
def test_it_dies_with_its_parent():
    """Nothing is left behind: where the parent is killed, its end of the pipe closes, and so the server ends."""
    code = (
        "import subprocess, sys, time\n"
        "command = [sys.executable, '-m', 'resilient_sse', 'serve', '--port', '0', '--json', '--stdin']\n"
        "subprocess.Popen(command, stdin=subprocess.PIPE)\n"
        "time.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-S", "-c", code], stdout=subprocess.PIPE)
    told = json.loads(parent.stdout.readline())
    assert listening(told["port"])
    parent.kill()
    parent.wait(END)
    assert parent.stdout.read() == b""  # which ends when the server, too, has closed it
    parent.stdout.close()
    assert not listening(told["port"])


@pytest.mark.e2e
def test_events_outlive_the_process(serve, tmp_path):
    """R192: with a file, the next one goes on where the last one ended."""
    ids = []
    for _ in range(2):
        process, told = serve("--stdin", "--store", f"sqlite:{tmp_path / 'events.db'}", "--history", "5")
        response, connection = get(told, "/api/v1/publish", "POST", json.dumps({"data": "x"}))
        ids.append(json.loads(response.read())["id"])
        connection.close()
        process.stdin.close()
        assert finished(process).code == 0
    assert ids == [1, 2]
    with closing(sqlite3.connect(tmp_path / "events.db")) as db:
        assert db.execute("SELECT count(*) FROM events").fetchone() == (2,)


@pytest.mark.e2e
def test_the_options_reach_the_server(serve):
    """R137, R141: the reconnection time and the start are as asked for."""
    _, told = serve("--retry", "700", "--start", "first", "--heartbeat", "none")
    response, connection = get(told, "/api/v1/publish", "POST", json.dumps({"data": "x"}))
    connection.close()
    response, connection = get(told)
    assert response.read1() == b"retry: 700\nid: 1\ndata: x\n\n"
    response.close()
    connection.close()


@pytest.mark.e2e
@pytest.mark.parametrize("option", [(), ("--stdin",)])
def test_for_people(start, option):
    """Without --json, one line says where it is and how to end it; `<&-` with --stdin has ended already."""
    process = start("serve", "--port", "0", *option, preexec_fn=lambda: os.close(0))
    said = process.stdout.readline()
    assert said.startswith(b"serving http://127.0.0.1:")
    assert said.endswith(b"; Ctrl-C ends it\n")
    if option:
        assert finished(process) == Done(0, "", "")


def test_arguments(monkeypatch):
    """R192, R26, R137: a store is taken as it is, but for `~`, which is one's home; `none` switches off."""
    monkeypatch.setenv("HOME", "/home/ada")
    for store in (
        "sqlite:~/events.db",
        "redis://:secret@127.0.0.1:6379/0",
        "rediss://[::1]:6379",
        "unix:///run/s?db=1",
    ):
        assert parse(["serve", "--store", store]).store == store.replace("~", "/home/ada")
    given = parse(["serve"])
    assert (given.host, given.port, given.start, given.store) == ("127.0.0.1", 8000, "live", "memory")
    assert (given.heartbeat, given.retry) == (10.0, 1000)
    given = parse(["serve", "--heartbeat", "none", "--retry", "none"])
    assert (given.heartbeat, given.retry) == (None, None)

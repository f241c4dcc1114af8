"""`resilient-sse serve`: the reference server as a process, and what it says to arguments that make no sense."""

import http.client
import json
import signal
import socket
import sqlite3
import subprocess
import sys

import pytest

from resilient_sse import ResilientStream, integers
from resilient_sse.cli.arguments import parse
from resilient_sse.cli.exits import Exit
from resilient_sse.cli.serve.arguments import ServeOptions

END = 15


@pytest.fixture
def serve(start):
    """Give a function that starts the command and reads where it listens."""

    def serve(*arguments):
        process = start("serve", "--port", "0", "--json", "--stdin", *arguments, stdin=subprocess.PIPE)
        return process, json.loads(process.stdout.readline())

    return serve


def end(process):
    """End it by the end of its standard input, and say how it ended and what it said."""
    out, err = process.communicate(timeout=END)
    return process.returncode, out, err


def listening(port):
    """Tell whether somebody listens."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except ConnectionRefusedError:
        return False
    return True


@pytest.mark.e2e
async def test_it_publishes_by_itself(serve):
    """R223, R12: one command, and a stream of so many events of so many bytes, then the completion event."""
    process, told = serve("--publish", "20", "--rate", "200", "--size", "100", "--complete")
    assert told["url"] == f"http://127.0.0.1:{told['port']}/api/v1/stream"
    assert told["base_url"] in told["url"]
    async with ResilientStream(told["url"], sequence=integers, until="done") as stream:
        events = [event async for event in stream]
    assert [event.id for event in events] == [str(number) for number in range(1, 22)]
    assert {len(event.data) for event in events[:-1]} == {100}
    assert events[-1].json() == {"total": 20}
    assert end(process) == (0, b"", b"")
    assert not listening(told["port"])


@pytest.mark.e2e
async def test_so_many_users(serve):
    """R168: each of the first U users gets events of its own, from when it comes; others get none."""
    process, told = serve(
        "--publish", "3", "--rate", "100", "--users", "2", "--complete", "--heartbeat", "0.3"
    )
    for user in ("ada", "bob"):
        async with ResilientStream(f"{told['url']}?user_id={user}", until="done") as stream:
            assert [event.id async for event in stream] == ["1", "2", "3", "4"]
    async with ResilientStream(f"{told['url']}?user_id=eve", heartbeat_events=()) as stream:
        assert [(await anext(stream)).event for _ in range(2)] == ["heartbeat"] * 2
    assert end(process)[0] == 0


@pytest.mark.e2e
@pytest.mark.parametrize(
    "number,code", [(signal.SIGINT, Exit.INTERRUPTED), (signal.SIGTERM, Exit.ENDED)], ids=["int", "term"]
)
def test_signals_end_it_cleanly(serve, number, code):
    """The streams end as they should, the exit code is the shell's, and nobody listens any more."""
    process, told = serve()
    connection = http.client.HTTPConnection("127.0.0.1", told["port"], timeout=END)
    connection.request("GET", "/api/v1/stream")
    response = connection.getresponse()
    process.send_signal(number)
    assert response.read() == b"retry: 1000\n\n"  # or IncompleteRead
    connection.close()
    assert process.wait(END) == code
    assert process.stderr.read() == b""
    assert not listening(told["port"])


@pytest.mark.e2e
def test_it_dies_with_its_parent(start):
    """Nothing is left behind: where the parent is killed, its end of the pipe closes, and so the server ends."""
    code = (
        "import subprocess, sys, time\n"
        "command = [sys.executable, '-m', 'resilient_sse', 'serve', '--port', '0', '--json', '--stdin']\n"
        "subprocess.Popen(command, stdin=subprocess.PIPE)\n"
        "time.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    told = json.loads(parent.stdout.readline())
    assert listening(told["port"])
    parent.kill()
    parent.wait(END)
    assert parent.stdout.read() == b""  # which ends when the server, too, has closed it
    parent.stdout.close()
    assert not listening(told["port"])


@pytest.mark.e2e
@pytest.mark.slow
def test_events_outlive_the_process(serve, tmp_path):
    """R192: with a file, the next process goes on where the last one ended."""
    for expected in (1, 2):
        process, told = serve("--store", f"sqlite:{tmp_path / 'events.db'}", "--history", "5")
        connection = http.client.HTTPConnection("127.0.0.1", told["port"], timeout=END)
        connection.request("POST", "/api/v1/publish", json.dumps({"data": "x"}))
        assert json.loads(connection.getresponse().read()) == {"id": expected}
        connection.close()
        assert end(process)[0] == 0
    db = sqlite3.connect(tmp_path / "events.db")
    assert db.execute("SELECT count(*) FROM events").fetchone() == (2,)
    db.close()


@pytest.mark.e2e
def test_the_options_reach_the_server(serve):
    """R137, R195, R141: gzip, the limit, the reconnection time and the start are as asked for."""
    process, told = serve("--gzip", "--rate-limit", "1/60", "--retry", "700", "--start", "first")
    seen = []
    for _ in range(2):
        connection = http.client.HTTPConnection("127.0.0.1", told["port"], timeout=END)
        connection.request("GET", "/api/v1/stream", headers={"Accept-Encoding": "gzip"})
        response = connection.getresponse()
        seen.append((response.status, response.headers["Content-Encoding"], response.headers["Retry-After"]))
        response.close()
        connection.close()
    assert seen == [(200, "gzip", None), (429, None, "60")]
    assert end(process)[0] == 0


def test_for_people(start):
    """Without --json, one line says where it is and how to end it."""
    process = start("serve", "--port", "0")
    assert process.stdout.readline().decode().startswith("serving http://127.0.0.1:")
    process.send_signal(signal.SIGINT)
    assert process.wait(END) == Exit.INTERRUPTED


def test_the_port_is_taken(run):
    """Bad input: one line that names the fix, and the exit code for it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        done = run("serve", "--port", str(port))
    assert (done.code, done.out) == (Exit.USAGE, "")
    expected = f"port {port} of 127.0.0.1 is taken; choose another with --port, or 0 for a free one\n"
    assert done.err == f"resilient-sse: error: {expected}"


@pytest.mark.parametrize(
    "arguments,words",
    [
        (["--host", "198.51.100.7"], "cannot listen on port 8000 of 198.51.100.7: "),
        (["--port", "0", "--store", "sqlite:/nowhere/at/all.db"], "the store is out of reach; check --store"),
        (["--port", "0", "--store", "redis://127.0.0.1:1/0"], "the store is out of reach; check --store"),
        (["--port", "0", "--store", "redis://127.0.0.1:1?max_connections=x"], "--store: Invalid value for"),
        (
            ["--port", "0", "--store", "redis://127.0.0.1:1?nonsense=1"],
            "--store: the URL of Redis has an option",
        ),
    ],
)
def test_what_cannot_be_done(run, arguments, words):
    """Bad input: an address that is not ours, a store that does not answer."""
    done = run("serve", *arguments)
    assert (done.code, done.out) == (Exit.USAGE, "")
    assert words in done.err
    assert done.err.startswith("resilient-sse: error: ")
    assert done.err.count("\n") == 1


@pytest.mark.parametrize("missing", ["starlette", "sse_starlette", "uvicorn"])
def test_a_missing_extra(start, missing):
    """Bad input: what is missing is named, and how to get it."""
    code = (
        f"import sys; sys.modules[{missing!r}] = None\n"
        "from resilient_sse.cli import main\n"
        "sys.exit(main(['serve', '--port', '0']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (Exit.USAGE, b"")
    package = missing.replace("_", "-")
    remedy = "install it with: pip install 'resilient-sse[testing]'\n"
    expected = f"the reference server needs {package}; {remedy}"
    assert done.stderr.decode() == f"resilient-sse: error: {expected}"


def test_redis_is_missing():
    """Bad input: so is redis-py, for those who want that store."""
    code = (
        "import sys; sys.modules['redis'] = None; sys.modules['redis.asyncio'] = None\n"
        "from resilient_sse.cli import main\n"
        "sys.exit(main(['serve', '--port', '0', '--store', 'redis://127.0.0.1/0']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False, timeout=60)
    assert done.returncode == Exit.USAGE
    assert "RedisStore needs redis: pip install 'resilient-sse[redis]'" in done.stderr.decode()


@pytest.mark.parametrize(
    "arguments,words",
    [
        (["--port", "65536"], "'65536' is not a port, 0 to 65535"),
        (["--port", "http"], "'http' is not a port"),
        (["--host", ""], "an address is needed, such as 127.0.0.1; 0.0.0.0 is every address"),
        (["--store", "postgres://x"], "is not a store: memory, sqlite:PATH or redis://HOST:PORT/DB"),
        (["--store", "sqlite:"], "is not a store"),
        (["--store", "sqlite::memory:"], "'sqlite::memory:' names no file; leave --store out"),
        (
            ["--store", "sqlite://rel.db"],
            "'sqlite://rel.db' is a URL; write sqlite:PATH, such as sqlite:events.db",
        ),
        (["--store", "sqlite:///srv/abs.db"], "is a URL; write sqlite:PATH"),
        (["--store", "sqlite:file:x.db?mode=memory"], "is a URL; write sqlite:PATH"),
        (["--store", "sqlite:~nobody-of-this-name/x.db"], "nobody of that name has a home here"),
        (
            ["--store", "redis://:secret@127.0.0.1:x/0"],
            "--store: a Redis store is redis://HOST:PORT/DB, with a port",
        ),
        (["--store", "redis://127.0.0.1:99999/0"], "a Redis store is redis://HOST:PORT/DB, with a port"),
        (["--store", "redis://127.0.0.1/zero"], "a Redis store is redis://HOST:PORT/DB, with a port"),
        (["--store", "rediss://[::1"], "a Redis store is redis://HOST:PORT/DB, with a port"),
        (["--heartbeat", "0"], "is not a number of seconds above 0, or none"),
        (["--heartbeat", "nan"], "is not a number of seconds above 0, or none"),
        (["--rate-limit", "10"], "is not a limit like 10/60"),
        (["--rate-limit", "0/60"], "is not a limit like 10/60"),
        (["--publish", "0"], "is not a whole number above 0"),
        (["--publish", "5", "--rate", "0"], "is not a number of events a second above 0"),
        (["--publish", "5", "--rate", "inf"], "is not a number of events a second above 0"),
        (["--publish", "5", "--users", "-1"], "is not a whole number above 0"),
        (["--publish", "5", "--size", "9999999999"], "is too much for an event; 16777216 bytes at most"),
        (["--publish", "5", "--size", "3"], "is not a whole number of bytes, 24 or more"),
        (["--rate", "5"], "--rate says how to publish; add --publish N"),
        (["--complete"], "--complete says how to publish; add --publish N"),
        (["--heartbeat", "none", "--heartbeat-ids"], "--heartbeat-ids needs heartbeats"),
        (["--retry", "-1"], "is neither a whole number of milliseconds nor none"),
        (["--history", "0"], "is not a whole number above 0"),
        (["--start", "middle"], "invalid choice: 'middle'"),
    ],
)
def test_impossible_values(run, arguments, words):
    """Bad input: each is refused in one line that says what would be right."""
    done = run("serve", *arguments)
    assert (done.code, done.out) == (Exit.USAGE, "")
    assert words in done.err
    assert done.err.startswith("resilient-sse serve: error: ")
    assert "secret" not in done.err
    assert done.err.count("\n") == 1


def test_stores(monkeypatch):
    """R192: each form of a store is taken as it is, but for `~`, which is one's home."""
    monkeypatch.setenv("HOME", "/home/ada")
    for given, taken in (
        ("memory", "memory"),
        ("sqlite:events.db", "sqlite:events.db"),
        ("sqlite:/srv/events.db", "sqlite:/srv/events.db"),
        ("sqlite:~/events.db", "sqlite:/home/ada/events.db"),
        ("redis://:secret@127.0.0.1:6379/0", "redis://:secret@127.0.0.1:6379/0"),
        ("rediss://[::1]:6379", "rediss://[::1]:6379"),
        ("unix:///run/valkey.sock?db=1", "unix:///run/valkey.sock?db=1"),
    ):
        assert parse(["serve", "--store", given]).store == taken


def test_the_defaults():
    """R26, R137: what `serve` does when it is told nothing."""
    assert parse(["serve"]) == ServeOptions()
    assert (ServeOptions().heartbeat, ServeOptions().retry) == (10.0, 1000)
    assert parse(["serve", "--heartbeat", "none"]) == ServeOptions(heartbeat=None)
    assert parse(["serve", "--retry", "none"]) == ServeOptions(retry=None)

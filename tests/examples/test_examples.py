"""The examples, run as programs against the example server, over real sockets."""

from __future__ import annotations

import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from math import inf
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
import uvicorn

from tests.docs.pages import PAGES, ROOT, module
from tests.examples import programs
from tests.examples.programs import EXAMPLES, Program, until
from tests.skipping import skip_aloud
from tests.testing.server.valkey import Server

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(sys.platform == "win32", reason="programs are sent signals"),
]

upstream = module(EXAMPLES / "server.py")
PRELOADED = [programs.__name__]
NUMBERS = list(range(1, upstream.MESSAGES + 1))
SCRIPTS = sorted(path for path in EXAMPLES.glob("*.py") if path.name != "server.py")


class Pace:
    """How fast the server sends, in place of its sleep behind each event: at once, while something is left."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.left = inf
        self.requests: list[str] = []

    async def sleep(self, _seconds: float) -> None:
        """Wait until something is left."""
        while self.left < 1:  # noqa: ASYNC110 - it is set by another thread
            await anyio.sleep(0.005)
        self.left -= 1
        await anyio.sleep(0.001)

    async def app(self, scope: Any, receive: Any, send: Any) -> None:
        """Note the request, and have the server answer it."""
        if scope["type"] == "http":
            self.requests.append(f"{scope['method']} {scope['path']}")
        await upstream.app(scope, receive, send)


@contextmanager
def serving(app: Any, listener: socket.socket) -> Iterator[None]:
    """Run an application in a thread."""
    config = uvicorn.Config(
        app, interface="asgi3", log_config=None, access_log=False, ws="none", timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield
    finally:
        server.should_exit = True
        thread.join(programs.PATIENCE)


def url_of(listener: socket.socket) -> str:
    """Give the address of a server."""
    return f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """Take a port, at which nobody listens yet."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken


@pytest.fixture
def pace(listener: socket.socket, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pace]:
    """Run the server, and set its pace."""
    pace = Pace(url_of(listener))
    monkeypatch.setattr(upstream, "anyio", pace)
    monkeypatch.setattr(upstream, "chats", iter(range(1, 100)))
    monkeypatch.setattr(upstream, "flags", {"version": 1})
    with serving(pace.app, listener):
        yield pace


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Program]]:
    """Start programs; those that still run at the end of the test are killed."""
    programs.PROCESSES.set_forkserver_preload(PRELOADED)  # not at import, where other tests set theirs
    started: list[Program] = []

    def start(name: str, *arguments: str, **environment: str) -> Program:
        started.append(Program(tmp_path, name, *arguments, **environment))
        return started[-1]

    yield start
    for program in started:
        program.kill()


def at(url: str, command: list[str]) -> list[str]:
    """Give a command the address of the server."""
    return [re.sub("^me(?=/|$)", url, argument) for argument in command]


def words(text: str) -> str:
    """Return what the server says, whole."""
    return "".join(text.format(number) for number in NUMBERS)


# --- Programs that end


@pytest.mark.parametrize(
    "command, output",
    [
        (["chat_reply.py", "me/reply"], words("message {} of 50. ") + "\n"),
        (["model_reply.py", "me/v1/chat/completions", "hello"], words("word {} ") + "\n"),
        (["background_reply.py", "me/v1/responses", "story", "hello"], words("word {} ")),
    ],
)
def test_it_brings_all_and_ends(start, pace, command, output):
    """A reply is whole, with nothing twice, though the server ends each connection (R1)."""
    program = start(*at(pace.url, command))
    assert program.wait() == 0, program.errors
    assert program.output == output
    assert "ResourceWarning" not in program.errors


def test_a_chat_reply_tells_what_happens(start, pace):
    """With nothing but a URL, people see each loss and each recovery (R1)."""
    program = start("chat_reply.py", f"{pace.url}/reply")
    assert program.wait() == 0
    lost = "[Connection lost - attempting to reconnect...]"
    restored = "[Connection restored - resuming stream...]"
    assert program.errors.splitlines() == ["[Connected]", *[lost, restored] * 2, "[Response complete]"]


@pytest.mark.parametrize(
    "command, error",
    [
        (["chat_reply.py", "me/nothing"], "the reply cannot be read: the server answered with status 404"),
        (["worker.py", "me/nothing"], "the stream cannot go on: the server answered with status 404"),
        (["worker.py", "me/reply"], "KeyError: 'item'"),  # the handler fails
    ],
)
def test_what_cannot_go_on_ends(start, pace, command, error):
    """The exit code and a line say so."""
    program = start(*at(pace.url, command))
    assert program.wait() == 1
    assert error in program.errors


def test_an_error_within_the_stream(start, pace, monkeypatch):
    """An error that may pass is tried again; another ends the program, and no answer is asked for twice."""
    start("model_reply.py", f"{pace.url}/v1/chat/completions", "hello").wait()
    assert pace.requests == ["POST /v1/chat/completions"] * 2
    pace.requests.clear()
    monkeypatch.setattr(upstream, "chats", iter([1]))
    monkeypatch.setattr(upstream, "OVERLOADED", {"code": "content_policy", "message": "no"})
    program = start("model_reply.py", f"{pace.url}/v1/chat/completions", "hello")
    assert program.wait() == 1
    assert "there is no answer" in program.errors
    assert len(pace.requests) == 1


# --- Programs that go on until they are stopped


@pytest.mark.parametrize(
    "command, expected, number",
    [
        (["worker.py", "me/orders"], [f"order {n}: item {n}" for n in NUMBERS], signal.SIGTERM),
        (["worker.py", "me/orders"], [f"order {n}: item {n}" for n in NUMBERS], signal.SIGINT),
        (
            ["wiki_changes.py", "mail@host", "me/v2/stream/recentchange"],
            [f"Page {n}" for n in NUMBERS if n % 10],
            signal.SIGTERM,
        ),
        (
            ["mercure_subscriber.py", "me/.well-known/mercure", "books"],
            [f"book {n}" for n in NUMBERS],
            signal.SIGINT,
        ),
        (
            ["with_trio.py", "me/nothing", "me/orders"],
            [f'{{"item": "item {n}"}}' for n in NUMBERS],
            signal.SIGTERM,
        ),
    ],
)
def test_it_brings_all_and_stops_at_a_signal(start, pace, command, expected, number):
    """Each event once and in order, over several connections, and a clean end at SIGTERM and at Ctrl-C."""
    program = start(*at(pace.url, command))
    program.said(expected[-1])
    assert program.send(number) == 0, program.errors
    longest_first = sorted(map(re.escape, expected), key=len, reverse=True)
    assert re.findall("|".join(longest_first), program.output + program.errors) == expected
    assert not re.search("Traceback|ResourceWarning", program.errors)


def test_flags_that_change_while_nobody_listens(start, pace):
    """The latest flags are there in the end, though nobody is told of the second and of the sixth change."""
    program = start("feature_flags.py", pace.url)
    program.said("{'limit': 6}")
    assert program.send(signal.SIGTERM) == 0, program.errors
    seen = [int(number) for number in re.findall(r"'limit': (\d+)", program.errors)]
    assert seen == sorted(set(seen))
    assert (seen[0], seen[-1]) == (1, 6)
    assert "Traceback" not in program.errors


def test_a_worker_that_is_killed(start, pace):
    """Started again, it goes on with the order that was not finished: nothing is lost, one at most repeated."""
    pace.left = 14
    first = start("worker.py", f"{pace.url}/orders")
    first.said("order 15")
    first.kill()
    pace.left = inf
    second = start("worker.py", f"{pace.url}/orders")
    second.said("order 50")
    assert second.send(signal.SIGTERM) == 0
    done = [[int(n) for n in re.findall(r"order (\d+)", run.errors)] for run in (first, second)]
    assert done[0] == NUMBERS[:15]
    assert done[1] in (NUMBERS[14:], NUMBERS[15:])


HANG = """
    CREATE VIEW endless AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i FROM n) SELECT count(*) FROM n;
    CREATE TRIGGER hang BEFORE UPDATE ON resilient_sse_positions BEGIN SELECT * FROM endless; END;
"""


def test_a_transaction_that_is_killed(start, pace, tmp_path):
    """Killed between the result and its position, each order is in the database exactly once."""

    def ask(*statements: str, timeout: float = 5.0) -> list[int]:
        with closing(sqlite3.connect(tmp_path / "orders.db", timeout=timeout)) as database:
            answers = [database.execute(statement).fetchall() for statement in statements]
            return [number for (number,) in answers[-1]]

    def orders() -> list[int]:
        with suppress(sqlite3.OperationalError):  # there is no table yet
            return ask("SELECT number FROM orders")
        return []

    def in_a_transaction() -> bool:
        try:
            ask("BEGIN IMMEDIATE", timeout=0)
        except sqlite3.OperationalError:
            return True
        return False

    pace.left = 14
    first = start("sql_worker.py", f"{pace.url}/orders")
    until(lambda: orders() == NUMBERS[:15], lambda: f"15 are stored: {first.errors}")
    ask(*HANG.split(";\n"))
    pace.left = inf
    until(in_a_transaction, lambda: f"the position of the 16th is being saved: {first.errors}")
    first.kill()
    ask("DROP TRIGGER hang")
    second = start("sql_worker.py", f"{pace.url}/orders")
    until(lambda: len(orders()) >= len(NUMBERS), lambda: f"all are stored: {second.errors}")
    assert second.send(signal.SIGTERM) == 0
    assert orders() == NUMBERS


def test_an_answer_is_not_asked_for_twice(start, pace):
    """Killed in the middle of an answer, the next run gets the rest of it, and sends no second POST."""
    asked = ("background_reply.py", f"{pace.url}/v1/responses", "story", "hello")
    pace.left = 14
    first = start(*asked)
    first.said("word 14 ")
    first.kill()
    pace.left = inf
    second = start(*asked)
    assert second.wait() == 0, second.errors
    assert first.output + second.output in (
        words("word {} "),
        words("word {} ").replace("word 14 ", "word 14 " * 2),
    )
    assert [request for request in pace.requests if "POST" in request] == ["POST /v1/responses"]


# --- Web applications


def test_a_web_service(start, listener, tmp_path):
    """It is not ready before its stream is, then shows what came, and ends cleanly at SIGTERM."""
    path = str(tmp_path / "socket")
    service = start(
        "uvicorn",
        "web_service:app",
        "--app-dir",
        str(EXAMPLES),
        "--uds",
        path,
        STREAM_URL=f"{url_of(listener)}/orders",
    )
    service.said("Uvicorn running")
    with httpx.Client(transport=httpx.HTTPTransport(uds=path), base_url="http://service") as client:
        assert client.get("/ready").status_code == 503
        with serving(upstream.app, listener):
            until(lambda: client.get("/ready/").status_code == 200, lambda: client.get("/ready").text)
            until(lambda: client.get("/").json() == {"item": "item 50"}, lambda: client.get("/").text)
            assert service.send(signal.SIGTERM) in (0, -signal.SIGTERM)
    assert "connected -> closed (closed)" in service.errors
    assert not re.search("Traceback|ResourceWarning", service.errors)


def test_a_web_application_with_threads(start, pace):
    """A view hands a reply on, tells that there is none, and lets an answer under way end at SIGTERM."""
    pace.left = 14
    application = start("wsgi_reply.py", "0", STREAM_URL=f"{pace.url}/reply")
    application.said("listening on port ")
    port = application.errors.partition("listening on port ")[2].split()[0]
    with httpx.stream("GET", f"http://127.0.0.1:{port}/") as answer:
        text = answer.iter_text()
        received = next(text)
        stopping = threading.Thread(target=application.send, args=(signal.SIGTERM,))
        stopping.start()
        pace.left = inf
        assert received + "".join(text) == words("message {} of 50. ")
    stopping.join()
    assert application.wait() == 0
    absent = start("wsgi_reply.py", "0", STREAM_URL=f"{pace.url}/nothing")
    absent.said("listening on port ")
    port = absent.errors.partition("listening on port ")[2].split()[0]
    assert httpx.get(f"http://127.0.0.1:{port}/").status_code == 502
    assert absent.send(signal.SIGINT) == 0


# --- Workers of a relay


def test_workers_that_hand_over(start, pace, tmp_path):
    """One of two workers is stopped: the other goes on with its streams, and there is one copy of each event."""
    valkey = Server(tmp_path)
    valkey.start()
    names = ("one", "two")

    def copied(number: int) -> bool:
        return all(valkey.client.xlen(name) == number for name in names)

    try:
        arguments = [f"{name}={pace.url}/orders" for name in names]
        pace.left = 20
        first = start("relay_worker.py", *arguments, REDIS_URL=valkey.url)
        until(lambda: all(valkey.client.xlen(name) for name in names), lambda: first.errors)
        second = start("relay_worker.py", *arguments, REDIS_URL=valkey.url)
        until(lambda: valkey.client.scard("examples:workers") == 2, lambda: second.errors)
        assert first.send(signal.SIGTERM) == 0, first.errors
        pace.left = inf
        until(lambda: copied(50), lambda: second.errors)
        assert second.send(signal.SIGTERM) == 0
        for name in names:
            entries: Any = valkey.client.xrange(name)
            assert [int(fields[b"id"]) for _, fields in entries] == NUMBERS
    finally:
        valkey.kill()
        valkey.client.close()


# --- Tests of a user


@pytest.mark.slow
@pytest.mark.parametrize(
    "options, plugin",
    [([], "pytest_asyncio.plugin"), (["-p", "no:asyncio", "-o", "anyio_mode=auto"], "anyio")],
)
def test_the_tests_of_a_user(start, tmp_path, options, plugin):
    """They pass under pytest-asyncio in its auto mode, and under anyio's plugin."""
    shutil.copytree(EXAMPLES / "testing", tmp_path / "testing")
    load = ["-p", plugin, "-p", "resilient_sse.testing.pytest_plugin"]
    run = start(
        "pytest", "-p", "no:cacheprovider", *load, *options, "testing", PYTEST_DISABLE_PLUGIN_AUTOLOAD="1"
    )
    assert run.wait() == 0, run.output
    assert re.search(r"[34] passed", run.output)


# --- Files for those who run a worker


def test_the_unit_for_systemd(tmp_path):
    """It is accepted by systemd without a word, and it starts the worker."""
    unit = (EXAMPLES / "deploy" / "worker.service").read_text(encoding="utf-8")
    (program,) = re.findall(r"^ExecStart=(\S+) \S+/worker\.py http", unit, re.MULTILINE)
    (tmp_path / "worker.service").write_text(unit.replace(program, sys.executable), encoding="utf-8")
    if (verify := shutil.which("systemd-analyze")) is None:
        skip_aloud("systemd-analyze, of the package systemd")
    result = subprocess.run(
        [verify, "verify", "--man=no", tmp_path / "worker.service"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.returncode, result.stderr) == (0, "")


def test_the_container():
    """What it copies is there, and the worker is its first process; `poe lint` has a linter for the rest."""
    text = (EXAMPLES / "deploy" / "Dockerfile").read_text(encoding="utf-8")
    copied = [name for line in re.findall(r"^COPY (.+) \S+$", text, re.MULTILINE) for name in line.split()]
    assert [name for name in copied if not (ROOT / name).exists()] == []
    assert 'ENTRYPOINT ["python", "/opt/worker/worker.py"]' in text


# --- All of them


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_an_example_is_short_and_can_be_found(path):
    """It has 80 lines at most, a test here, a line in the list, and a page of the docs that shows it."""
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 80
    assert path.stem in Path(__file__).read_text(encoding="utf-8")
    assert f"]({path.name})" in (EXAMPLES / "README.md").read_text(encoding="utf-8")
    assert any(f"examples/{path.name})" in page.read_text(encoding="utf-8") for page in PAGES)


@pytest.mark.parametrize(
    "path", [path for path in SCRIPTS if "__main__" in path.read_text()], ids=lambda path: path.name
)
def test_without_arguments_an_example_explains_itself(start, path):
    """The docstring is the help."""
    program = start(path.name)
    assert program.wait() == 1
    assert f"python examples/{path.name} " in program.errors

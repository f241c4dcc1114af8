"""The console: what it tells of the streams, to whom, and that the program does not feel it."""

import errno
import gc
import json
import logging
import os
import socket
import stat
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import anyio
import pytest

from resilient_sse import RetriesExhaustedError, StreamStats, integers
from resilient_sse.monitoring import console as module
from resilient_sse.monitoring.console import QUESTION, Console
from resilient_sse.testing import event
from tests.client.support import URL, drain, make, numbered


@pytest.fixture(autouse=True)
def home(monkeypatch):
    """Give a runtime directory in which nobody else listens, with a path that is short enough for sockets."""
    with tempfile.TemporaryDirectory(prefix="console-") as directory:
        monkeypatch.setenv("XDG_RUNTIME_DIR", directory)
        yield Path(directory) / "resilient-sse"


def one(console):
    """Return what the console would tell of its only stream."""
    (followed,) = console.streams.values()
    return json.loads(json.dumps(followed.describe(anyio.current_time())))


async def ask(address, question=QUESTION):
    """Ask, and return what is answered: one line of JSON, or nothing whole."""
    host, colon, port = address.partition(":")
    answer = b""
    with suppress(anyio.BrokenResourceError):
        async with await (
            anyio.connect_tcp(host, int(port)) if colon else anyio.connect_unix(address)
        ) as reader:
            await reader.send(question)
            async for piece in reader:
                answer += piece
    return json.loads(answer) if answer.endswith(b"\n") else None


async def until(condition):
    """Wait for something that nobody announces."""
    with anyio.fail_after(20):
        while not condition():  # noqa: ASYNC110 - there is no event for it
            await anyio.sleep(0.02)


async def test_what_is_told_of_a_stream(script):
    """State, attempt, ages and counts of a stream that lost its connection and reconnects."""
    script.respond(*numbered(1, 2), *numbered(2)).drop()
    script.reject(503)
    script.respond(*numbered(3)).hang()
    console, looks = Console(), []
    stream = make(script, observers=[console.named("prices")], sequence=integers)
    assert one(console)["state"] == "connecting"
    assert one(console)["started_for"] is None
    stream.on_state_change(lambda change: looks.append(one(console)))
    async for received in stream:
        if received.id == "3":
            break
    assert [look["state"] for look in looks] == ["connected", "reconnecting", "reconnecting", "connected"]
    assert [look["attempt"] for look in looks[1:3]] == [1, 2]
    assert [look["state_for"] for look in looks[1:3]] == [0.0, 1.0]  # the same outage, a second later
    assert [look["reason"] for look in looks[1:3]] == ["reset", "server"]
    assert looks[2]["last_error"] == "BadStatusError 503"
    await anyio.sleep(4)
    told = one(console)
    assert (told["name"], told["number"], told["state_for"]) == ("prices", 1, 4.0)
    assert (told["silent_for"], told["eventless_for"], told["started_for"]) == (4.0, 4.0, 7.0)
    assert (told["completion"], told["lag"]) == (100.0, None)
    counts = told["stats"]
    assert {name: counts[name] for name in ("received", "delivered", "duplicates", "reconnects")} == {
        "received": 4,
        "delivered": 3,
        "duplicates": 1,
        "reconnects": 1,
    }
    assert counts == {name: value for name, value in stream.stats.to_dict().items() if name in counts}
    await stream.aclose()
    assert one(console)["state"] == "closed"


async def test_no_secret_is_told(script):
    """No URL, no text of an error, no payload, no id: only names that the program chose, kinds and figures."""
    script.respond(event("hunter2", id="hunter2")).drop()
    script.respond(b"hunter2", status=503, content_type="text/plain", headers={"x-key": "hunter2"})
    console = Console()
    stream = make(script, "https://u:hunter2@host/s?k=hunter2", observers=[console], max_retries=1)
    with pytest.raises(RetriesExhaustedError):
        await drain(stream)
    told = one(console)
    assert (told["state"], told["reason"], told["last_error"]) == ("error", "retries", "BadStatusError 503")
    assert told["name"] == "stream-1"
    assert "hunter2" not in json.dumps(told)
    assert "host" not in json.dumps(told)
    assert console.failed == 1


async def test_the_lag_is_what_the_events_say(script):
    """Without a time in the events there is no lag; with one, it is the age of the last event as it came."""
    script.respond(event(str(time.time() - 90), id="1"), event("nan", id="2"), event("soon", id="3")).hang()
    console = Console()
    stream = make(script, observers=[console.named("x", event_time=lambda event: float(event.data))])
    await anext(stream)
    assert 89 < one(console)["lag"] < 150
    await anext(stream)
    assert one(console)["lag"] is None
    before = stream.stats.callback_errors
    await anext(stream)  # what a function of the program raises is counted, and the stream goes on
    assert stream.stats.callback_errors == before + 1
    await stream.aclose()


async def test_streams_are_held_weakly(script):
    """The console keeps no stream alive, and forgets what is gone."""
    console = Console()
    stream = make(script, observers=[console])
    assert len([*console.streams.values()]) == 1
    del stream
    gc.collect()
    assert [*console.streams.values()] == []
    assert console.attached == 1


def test_names_are_bounded():
    """A name of a million characters is cut; streams may share a name and differ by number."""
    console = Console()
    long, short = console.named("n" * 1_000_000), console.named("n")
    followed = [
        long.attach(StreamStats(), URL),
        short.attach(StreamStats(), URL),
        short.attach(StreamStats(), URL),
    ]
    told = [each.describe(0.0) for each in followed]
    assert [len(each["name"]) for each in told] == [200, 1, 1]
    assert [each["number"] for each in told] == [1, 2, 3]


@pytest.mark.e2e
async def test_it_answers_over_a_socket_of_its_own(home):
    """The default: a socket named after the process, for this user alone, gone at the end."""
    console = Console()
    observers = [console.named(f"n{number}").attach(StreamStats(), URL) for number in range(120)]
    path = home / f"{os.getpid()}.sock"
    async with console:
        assert console.address == str(path)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(home.stat().st_mode) == 0o700
        look = await ask(console.address)
    process = look["process"]
    assert (process["pid"], process["streams"], process["attached"]) == (os.getpid(), 120, 120)
    assert [row["name"] for row in look["rows"]] == [f"n{number}" for number in range(len(observers))]
    assert look["console"] == module.VERSION
    assert not path.exists()
    assert console.address is None


@pytest.mark.e2e
async def test_a_port_is_on_the_loopback_interface():
    """Port 0 takes a free one, on 127.0.0.1 only; a port that is taken is said to be."""
    async with Console(0) as console:
        host, port = console.address.split(":")
        assert host == "127.0.0.1"
        assert (await ask(console.address))["rows"] == []
        with pytest.raises(OSError, match=f"cannot listen at {port}: .* in use"):
            await Console(int(port)).__aenter__()


@pytest.mark.e2e
async def test_only_the_question_is_answered(home):
    """A browser that is led to the port gets nothing, nor does who says nothing or too much."""
    async with Console() as console:
        for question in (b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", QUESTION.upper()):
            assert await ask(console.address, question) is None
        assert await ask(console.address)


@pytest.mark.e2e
async def test_what_is_in_the_way(home):
    """A socket that was left behind is replaced; a file, or a console that lives, is not."""
    path = home.parent / "app.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    async with Console(path) as console:
        assert (await ask(console.address))["rows"] == []
        with pytest.raises(OSError, match=r"a console listens at .* already"):
            await Console(path).__aenter__()
        with pytest.raises(RuntimeError, match="listens already"):
            await console.__aenter__()
        assert (await ask(console.address))["rows"] == []
    path.write_text("precious")
    for where, why in ((path, "in use"), ("missing/app.sock", "No such"), ("x" * 200, "too long")):
        with pytest.raises(OSError, match=f"cannot listen at .*: .*{why}") as caught:
            await Console(home.parent / where).__aenter__()
    assert caught.value.errno == errno.ENAMETOOLONG
    assert path.read_text() == "precious"


@pytest.mark.e2e
async def test_another_ones_socket_is_left_alone(home):
    """At the end only the socket that it made is taken away."""
    path = home.parent / "app.sock"
    async with Console(path):
        path.unlink()
        path.write_text("another's")
    assert path.read_text() == "another's"


@pytest.mark.e2e
@pytest.mark.parametrize("made", ["open", "link", "file"])
async def test_a_directory_that_cannot_be_trusted(home, made):
    """A directory that others may enter, a link to another, or a file is refused by name, with what to do."""
    if made == "open":
        home.mkdir()
        home.chmod(0o755)
    elif made == "file":
        home.write_text("precious")
    else:
        other = home.parent / "other"
        other.mkdir(mode=0o700)
        home.symlink_to(other)
    with pytest.raises(PermissionError, match=r"must be a directory of yours.*; remove it, or choose a path"):
        await Console().__aenter__()
    with pytest.raises(PermissionError, match="must be a directory of yours"):
        module.sockets()


def test_without_a_runtime_directory(monkeypatch, tmp_path):
    """Then it is a directory named after the user, among the temporary files."""
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    monkeypatch.setattr(module.tempfile, "gettempdir", lambda: str(tmp_path))
    assert module.directory() == tmp_path / f"resilient-sse-{os.geteuid()}"
    assert module.sockets() == {}


@pytest.mark.e2e
async def test_readers_are_bounded(home):
    """Who does not ask holds one of eight places, and is dropped in time; further ones are turned away."""
    async with Console() as console:
        idle = [socket.socket(socket.AF_UNIX) for _ in range(8)]
        for each in idle:
            each.connect(console.address)
        await until(lambda: console._readers == 8)
        assert await ask(console.address) is None
        idle.pop().close()
        await until(lambda: console._readers == 7)
        assert (await ask(console.address))["rows"] == []
        for each in idle:
            each.close()


@pytest.mark.e2e
async def test_a_reader_that_does_not_read_is_dropped(home, monkeypatch):
    """It takes neither memory without bound nor a place for ever."""
    monkeypatch.setattr(module, "_ANSWER_SECONDS", 0.5)
    console = Console()
    observers = [console.attach(StreamStats(), URL) for _ in range(3000)]
    async with console:
        with socket.socket(socket.AF_UNIX) as lazy:
            lazy.connect(console.address)
            lazy.sendall(QUESTION)
            await until(lambda: console._readers == 1)
            await until(lambda: console._readers == 0)
        # Who reads gets the time that a busy machine needs.
        monkeypatch.setattr(module, "_ANSWER_SECONDS", 30)
        assert len((await ask(console.address))["rows"]) == len(observers)


async def test_other_tasks_have_their_turns_in_between():
    """Streams are told in portions, each sent and waited for on its own."""
    console, sent = Console(), []
    observers = [console.attach(StreamStats(), URL) for _ in range(10 * module.PORTION)]

    class Reader:
        async def send(self, data):
            sent.append(data)

    await console._tell(Reader())
    assert len(sent) == 1 + 10 + 1
    assert len(json.loads(b"".join(sent))["rows"]) == len(observers)


@pytest.mark.e2e
async def test_what_the_block_raises_passes_as_it_is(home):
    """No exception group, whatever the console is doing; and nothing is left."""
    with pytest.raises(KeyError, match="mine"):
        async with Console():
            raise KeyError("mine")
    with anyio.move_on_after(0.1) as scope:
        async with Console() as console:
            await anyio.sleep_forever()
    assert scope.cancelled_caught
    assert console.address is None
    assert list(home.iterdir()) == []


@pytest.mark.e2e
async def test_a_fault_of_its_own_ends_nothing(home, monkeypatch, caplog):
    """The program goes on, and the log tells."""
    console = Console()
    observer = console.attach(StreamStats(), URL)
    monkeypatch.setattr(module._Followed, "describe", lambda followed, now: 1 / 0)
    with caplog.at_level(logging.ERROR, "resilient_sse"):
        async with console:
            assert await ask(console.address) is None
            monkeypatch.undo()
            assert len((await ask(console.address))["rows"]) == 1
    assert observer is not None
    assert "could not describe" in caplog.text


@pytest.mark.e2e
async def test_no_descriptor_left_for_a_reader(home, monkeypatch):
    """Where a connection cannot be accepted, it waits for better times, and the program goes on."""
    monkeypatch.setattr(module, "_BREATH_SECONDS", 0.01)
    failing = [OSError(24, "Too many open files")] * 2
    console = Console()
    opened = console._opened

    async def opening():
        listener = await opened()
        real = listener.accept

        async def accept():
            if failing:
                raise failing.pop()
            return await real()

        monkeypatch.setattr(listener, "accept", accept)
        return listener

    monkeypatch.setattr(console, "_opened", opening)
    async with console:
        assert (await ask(console.address))["rows"] == []
    assert failing == []

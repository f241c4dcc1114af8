"""One copy of each event in Redis, in order, whatever is killed when (P62)."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from pathlib import Path
from string import ascii_letters

import anyio
import pytest
import redis
from anyio.abc import SocketAttribute

from resilient_sse import ResilientStream, ServerSentEvent
from resilient_sse.relay import Log, Position, RedisLog, Relay, RelayError
from resilient_sse.testing import Script, event
from tests.checkpoints.consumer import PROCESSES
from tests.relay import copying
from tests.relay.copying import Job, eventually, opened, whole

PROCESSES.set_forkserver_preload(["tests.relay.copying"])


async def reached(valkey, length: int) -> None:
    """Wait until the log holds so many entries."""
    await eventually(lambda: valkey.client.xlen("log") >= length, "the relay gets on")


def relay(valkey, upstream: str, last: int | None = None, **options) -> Relay:
    """Make a relay of a server's events."""
    return Relay(lambda position: opened(upstream, position, last), RedisLog(valkey.url), "log", **options)


def scripted(script: Script, url: str = "http://test/", **options):
    """Give what opens a scripted stream."""
    return lambda _: ResilientStream(url, until="done", client=script.client(), **options)


ONE = ServerSentEvent(data="1", id="1", last_event_id="1")


async def append_to(log: Log, names: str) -> dict[str, object]:
    """Append an event to each log at once; return how it went for each."""
    outcomes: dict[str, object] = {}

    async def append(name: str) -> None:
        try:
            outcomes[name] = await log.append(name, [ONE], behind=Position())
        except redis.RedisError as error:
            outcomes[name] = error

    async with anyio.create_task_group() as tasks:
        for name in names:
            tasks.start_soon(append, name)
    return outcomes


async def test_appends_of_many_streams_are_one_step(valkey):
    """What waits while a step is under way goes together: fifty streams cost two round trips, not fifty (P62)."""
    log = RedisLog(valkey.url)
    steps, ask = 0, log.server.ask

    async def counted(command):
        nonlocal steps
        steps += 1
        return await ask(command)

    log.server.ask = counted
    await append_to(log, ascii_letters)
    assert steps <= 2
    assert {valkey.client.xlen(name) for name in ascii_letters} == {1}
    await log.aclose()


async def test_what_an_entry_holds(valkey):
    """The id in force, the type, the data as it came and an ordinal; the position lies beside it."""
    script = Script()
    script.respond(event("one", id="a", event="x"), event("two\nlines"), event("three", id="c", event="done"))
    relay = Relay(scripted(script, decode=str.upper), RedisLog(valkey.url), "log")
    await relay.run()
    assert [fields for _, fields in valkey.client.xrange("log")] == [
        {b"id": b"a", b"event": b"x", b"data": b"one", b"ordinal": b"1"},
        {b"id": b"a", b"event": b"message", b"data": b"two\nlines", b"ordinal": b"2"},
        {b"id": b"c", b"event": b"done", b"data": b"three", b"ordinal": b"3"},
    ]
    assert valkey.client.hmget("{log}:position", "id", "ordinal") == [b"c", b"3"]
    assert (relay.position, relay.appended) == (Position("c", 3), 3)


async def test_what_streams_log_names_the_log(valkey, caplog):
    """Two streams may differ in the query only, which no log shows (P62)."""
    caplog.set_level("INFO", "resilient_sse")
    script = Script()
    script.respond(event("one", id="a", event="done"))
    await Relay(scripted(script, "http://test/?key=secret"), RedisLog(valkey.url), "100% eu").run()
    (line,) = [record for record in caplog.records if "connecting -> connected" in record.getMessage()]
    assert line.getMessage() == "'100% eu', http://test/: connecting -> connected (opened)"
    assert line.sse_stream == "100% eu"
    assert "secret" not in caplog.text


async def test_it_goes_on_where_the_log_ends(valkey, upstream):
    """A second relay resumes by the position in Redis; nothing else is kept anywhere."""
    await relay(valkey, upstream, last=50).run()
    await relay(valkey, upstream, last=120).run()
    assert whole(valkey.client, "log") == 120


async def test_two_relays_of_one_name(valkey, upstream):
    """The one that is behind is told, and has appended nothing."""
    refused = []

    async def run():
        try:
            await relay(valkey, upstream, last=500).run()
        except RelayError as error:
            refused.append(str(error))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run)
        tasks.start_soon(run)
    assert len(refused) == 1
    assert "another relay" in refused[0]
    assert whole(valkey.client, "log") == 500


async def restarts(valkey, *options) -> None:
    """Redis is away for a moment."""
    valkey.kill()
    await anyio.sleep(0.3)
    valkey.start(*options)


async def comes_back_with_less(valkey, *_) -> None:
    """A fail-over to a replica that lagged: data and position went back together."""
    valkey.client.save()  # what the replica has
    await reached(valkey, 200)
    valkey.kill()
    valkey.start()
    assert valkey.client.xlen("log") < 200


async def takes_no_appends(valkey, *_) -> None:
    """A fail-over lasts, behind which scripts must be sent again."""
    valkey.client.replicaof("127.0.0.1", "1")
    valkey.client.script_flush()
    await anyio.sleep(0.2)
    valkey.client.replicaof("NO", "ONE")


async def lacks_replicas(valkey, *_) -> None:
    """A fail-over, or a replica that restarts, leaves fewer than `min-replicas-to-write`."""
    valkey.client.config_set("min-replicas-to-write", 1)
    await anyio.sleep(0.2)
    valkey.client.config_set("min-replicas-to-write", 0)


@pytest.mark.parametrize(
    "misfortune, options, rewound",
    [
        (restarts, (), 1),
        (restarts, ("--appendonly", "yes", "--appendfsync", "always"), 0),
        (comes_back_with_less, (), 1),
        (takes_no_appends, (), 0),
        (lacks_replicas, (), 0),
    ],
    ids=["no log", "fsync always", "less", "a replica", "no replicas"],
)
async def test_redis_on_bad_days(valkey, upstream, caplog, *, misfortune, options, rewound):
    """The relay waits; a Redis that has lost something gets it again, which is told (P62)."""
    valkey.kill()
    valkey.start(*options)
    copier = relay(valkey, upstream, last=600)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(copier.run)
        await reached(valkey, 50)
        await misfortune(valkey, *options)
    assert whole(valkey.client, "log") == 600
    assert copier.rewound == rewound
    assert ("has lost its end" in caplog.text) == bool(rewound)


async def test_redis_is_out_of_memory(valkey, upstream):
    """The refusal comes out of `run`; nothing is lost, and running again goes on (P62)."""
    copier = relay(valkey, upstream, last=200)
    async with anyio.create_task_group() as tasks:
        refused = []

        async def run():
            with pytest.raises(redis.RedisError, match="maxmemory") as raised:
                await copier.run()
            refused.append(raised.value)

        tasks.start_soon(run)
        await reached(valkey, 20)
        valkey.client.config_set("maxmemory", "1")
    assert refused
    valkey.client.config_set("maxmemory", "0")
    await copier.run()
    assert whole(valkey.client, "log") == 200


@pytest.mark.parametrize(
    "command", [("SET", "log", "x"), ("XADD", "log", "1-1", "a", "b")], ids=["a string", "another producer"]
)
async def test_the_name_holds_something_else(valkey, upstream, command):
    """It is left as it is (P62)."""
    valkey.client.execute_command(*command)
    before = valkey.client.dump("log")
    with pytest.raises(RelayError, match="its name holds what no relay has written"):
        await relay(valkey, upstream, last=5).run()
    assert valkey.client.dump("log") == before
    assert valkey.client.keys() == [b"log"]


async def test_a_group_of_consumers_may_be_there_first(valkey, upstream):
    """It makes an empty stream of the log (P62)."""
    valkey.client.xgroup_create("log", "billing", mkstream=True)
    await relay(valkey, upstream, last=5).run()
    assert whole(valkey.client, "log") == 5


async def test_what_a_stream_waits_for_is_cancelled(valkey, upstream):
    """Such as a token that others have asked for, too: the relay is not at its end (P62)."""

    async def headers():
        raise asyncio.CancelledError

    log = RedisLog(valkey.url)
    with pytest.raises(RuntimeError, match="waited for was cancelled"):
        await Relay(lambda _: ResilientStream(upstream, headers=headers), log, "log").run()


def test_the_consumer_of_the_docs(valkey):
    """It goes on behind entries that are gone before they were acknowledged (P62)."""
    client = redis.Redis.from_url(valkey.url, decode_responses=True)
    for number in range(1, 8):
        client.xadd("trades", {"event": "message", "data": "x", "ordinal": number})
    client.xgroup_create("trades", "billing", id="0")
    client.xreadgroup("billing", "worker-1", {"trades": ">"}, count=4)  # and is killed
    client.xtrim("trades", 5, approximate=False)
    seen = []

    def show(ordinal, *_):
        seen.append(int(ordinal))
        if len(seen) == 5:
            raise EOFError

    page = (Path(__file__).parents[2] / "docs/production/relay.md").read_text(encoding="utf-8")
    code = "client = " + page.partition("\nclient = ")[2].partition("```")[0]
    made = code.replace("redis.Redis(decode_responses=True)", "given")
    with suppress(EOFError):
        exec(compile(made, "relay.md", "exec"), {"given": client, "redis": redis, "print": show})  # noqa: S102
    assert seen == [3, 4, 5, 6, 7]
    assert client.xpending("trades", "billing")["pending"] == 1


async def test_a_log_of_another_url(valkey, upstream):
    """Its position means nothing there: nothing is asked for or written, unless the caller knows better (P62)."""
    await relay(valkey, upstream, last=5).run()
    moved = upstream.replace("/stream", "/moved")
    with pytest.raises(
        RelayError, match=f"copied from {upstream}, and not from {moved}: choose another name"
    ):
        await relay(valkey, f"{moved}?key=secret", last=9).run()
    assert whole(valkey.client, "log") == 5
    await relay(valkey, moved, last=9, check_source=False).run()
    assert whole(valkey.client, "log") == 9
    assert valkey.client.hget("{log}:position", "source") == moved.encode()


async def test_an_answer_that_was_lost(valkey, upstream):
    """A batch that is sent again is not appended again."""
    log = RedisLog(valkey.url)
    asked, lost = log.server._asked, []

    async def losing(command):
        answer = await asked(command)
        if len(lost) < 3 and answer[0] == b"done":
            lost.append(answer)
            raise redis.ConnectionError("the answer was lost")
        return answer

    log.server._asked = losing
    await Relay(lambda position: opened(upstream, position, 50), log, "log", batch=7).run()
    assert len(lost) == 3
    assert whole(valkey.client, "log") == 50


@pytest.mark.parametrize(
    "says",
    [
        "BUSY Redis is busy running a script.",
        "Error running script (call to f_0): @user_script:18: @user_script: 18: -READONLY You can't write",
    ],
    ids=["busy", "a replica of 6.2"],
)
async def test_what_passes_is_waited_for(valkey, says):
    """Redis has more words for a fail-over, or for being held up, than redis-py has errors."""
    log = RedisLog(valkey.url)
    asked, said = log.server._asked, iter([redis.ResponseError(says)])

    async def refusing(command):
        for error in said:
            raise error
        return await asked(command)

    log.server._asked = refusing
    assert await append_to(log, "a") == {"a": ("done", Position("1", 1))}
    await log.aclose()


@pytest.mark.parametrize("names", ["a", "abc"], ids=["one", "in one go"])
async def test_a_server_that_keeps_no_scripts(valkey, names):
    """A proxy may be like that, or a server that restarts: the script goes there in full (P62)."""
    log = RedisLog(valkey.url)
    asked, at_most = log.server._asked, iter(range(10))

    async def forgetful(command):
        next(at_most)
        valkey.client.script_flush()
        return await asked(command)

    log.server._asked = forgetful
    assert await append_to(log, names) == dict.fromkeys(names, ("done", Position("1", 1)))
    assert [valkey.client.xlen(name) for name in names] == [1] * len(names)
    await log.aclose()


@pytest.mark.parametrize(
    "error", ["MOVED 3999 127.0.0.1:1", "ASK 3999 127.0.0.1:1", "CROSSSLOT of two slots"]
)
@pytest.mark.parametrize("names", ["a", "abc"], ids=["one", "in one go"])
async def test_a_node_of_a_cluster(names, error):
    """The error says what is wrong with it, at once (P62)."""

    async def refuse(stream):
        async with stream:
            with suppress(anyio.EndOfStream, anyio.BrokenResourceError):
                while data := await stream.receive():
                    for command in data.split(b"\r\n*"):
                        await stream.send(f"-{error}\r\n".encode() if b"EVALSHA" in command else b"+OK\r\n")

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.extra_attributes[SocketAttribute.local_port]()
    client = redis.Redis(port=port, protocol=2)
    log = RedisLog(client)
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, refuse)
        outcomes = await append_to(log, names)
        client.close()
        tasks.cancel_scope.cancel()
    assert outcomes.keys() == {*names}
    assert all("is a node of a cluster" in str(error) for error in outcomes.values())


def test_a_task_that_is_cancelled_in_an_append(valkey):
    """`Task.cancel` at each wait of a batch keeps no connection of a client for asyncio, and loses no append."""

    async def cancelled(steps):
        await client.flushall()
        log = RedisLog(client)
        tasks = [asyncio.create_task(log.append(name, [ONE], behind=Position())) for name in "abc"]
        for _ in range(steps):
            await asyncio.sleep(0)
        tasks[0].cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert outcomes[1:] == [("done", Position("1", 1))] * 2
        assert not client.connection_pool._in_use_connections

    async def main():
        for steps in range(40):
            await cancelled(steps)
        await client.aclose()

    client = redis.asyncio.Redis.from_url(valkey.url)
    asyncio.run(main())


async def test_old_entries_go(valkey, upstream):
    """About as many as were asked for stay."""
    log = RedisLog(valkey.url, maxlen=100)
    await Relay(lambda position: opened(upstream, position, 1000), log, "log").run()
    left = [int(fields[b"data"]) for _, fields in valkey.client.xrange("log")]
    assert 100 <= len(left) < 300
    assert left[-1] == 1000


class Slow(Log):
    """A log in memory that takes its time."""

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.ahead: list[int] = []
        self.relay: Relay

    @classmethod
    async def copying(cls, script: Script, **options) -> Slow:
        """Copy a scripted stream to such a log."""
        log = cls()
        log.relay = Relay(scripted(script), log, "log", **options)
        await log.relay.run()
        return log

    async def load(self, name):
        return Position()

    async def append(self, name, events, *, behind, lease=""):
        self.batches.append(len(events))
        await anyio.sleep(0.02)
        self.ahead.append(self.relay.stream.stats.received - behind.ordinal)
        return "done", Position(events[-1].last_event_id, behind.ordinal + len(events))

    async def aclose(self):
        pass


@pytest.mark.parametrize("number, size, most", [(1000, 1, 120), (30, 600_000, 5)], ids=["many", "large"])
async def test_what_is_read_ahead_is_bounded(number, size, most):
    """While the log is slow events gather, up to a bound, which for large ones is lower (P62)."""
    script = Script()
    events = [event("x" * size, id=str(n)) for n in range(1, number + 1)]
    chunks = [b"".join(events)] if size == 1 else events
    script.respond(*chunks, event("", event="done")).hang()
    log = await Slow.copying(script, batch=40)
    assert sum(log.batches) == number + 1
    assert max(log.batches) <= 40
    assert max(log.ahead) <= most


@pytest.mark.parametrize(
    "wrong, error",
    [
        ({"batch": 0}, ValueError),
        ({"name": ""}, ValueError),
        ({"open_stream": None}, TypeError),
        ({"check_source": "no"}, TypeError),
    ],
    ids=str,
)
def test_wrong_arguments(wrong, error):
    """They are told of where they are passed."""
    arguments = {"open_stream": print, "log": Slow(), "name": "log"} | wrong
    with pytest.raises(error):
        Relay(**arguments)


@pytest.mark.parametrize(
    "wrong, error", [(0, ValueError), (True, TypeError), (1.5, TypeError), ("5", TypeError)]
)
def test_maxlen_must_keep_something(wrong, error):
    """So is a log that keeps nothing, or no number of entries."""
    with pytest.raises(error, match="maxlen"):
        RedisLog("redis://127.0.0.1:1/", maxlen=wrong)


def killed_at(job: Job, step: int) -> None:
    """Kill a run at a step, and let another come to the end."""
    process = copying.start(Job(job.upstream, job.redis, job.name, job.begun, kill_at=step, last=40))
    process.join(30)
    assert process.exitcode == -9
    process = copying.start(Job(job.upstream, job.redis, job.name, job.begun, last=40))
    process.join(30)
    assert process.exitcode == 0


@pytest.mark.parametrize(
    "steps", [range(2, 26, 3), pytest.param(range(1, 28), marks=pytest.mark.proof)], ids=len
)
def test_killed_at_steps(valkey, upstream, tmp_path: Path, steps):
    """A relay killed before or behind any command leaves a log that the next makes whole (P62)."""
    for step in steps:
        killed_at(Job(upstream, valkey.url, f"log {step}", tmp_path / "begun"), step)
        assert whole(valkey.client, f"log {step}") == 40


@pytest.mark.proof
@pytest.mark.timeout(600)
def test_killed_at_random(valkey, upstream, tmp_path: Path):
    """Three hundred kills at any moment, one copy of each event (P62)."""
    draw = random.Random(7)
    for number in range(300):
        begun = tmp_path / f"begun {number}"
        process = copying.start(Job(upstream, valkey.url, "log", begun))
        while not begun.exists():
            process.join(0.002)
        process.join(draw.uniform(0, 0.15))
        process.kill()
        process.join()
    assert whole(valkey.client, "log") > 300


async def test_events_without_ids(caplog):
    """The relay cannot keep its promise, and says so once."""
    script = Script()
    script.respond(event("a"), event("b"), event("", event="done"))
    await Slow.copying(script, batch=1)
    assert caplog.text.count("have no ids") == 1

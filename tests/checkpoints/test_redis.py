"""Redis and Valkey on bad days: restarts, fail-overs and refusals, with a real server."""

from __future__ import annotations

import asyncio
import threading
from contextlib import nullcontext

import anyio
import pytest
import redis
import redis.asyncio

from resilient_sse import CheckpointError, ResilientStream
from resilient_sse._client import backends
from resilient_sse.checkpoints import Checkpoint, RedisCheckpoint, SQLiteCheckpoint
from resilient_sse.testing import Script, event
from tests.relay.copying import eventually
from tests.testing.server.valkey import Server


@pytest.fixture
async def store(valkey: Server):
    """Open a store there."""
    store = RedisCheckpoint(valkey.url)
    yield store
    await store.aclose()


@pytest.mark.parametrize("wrong, error", [(None, TypeError), (7, TypeError), ("https://host/", ValueError)])
def test_it_takes_a_url_or_a_client(wrong, error):
    """Anything else is refused where it is passed."""
    with pytest.raises(error, match="URL"):
        RedisCheckpoint(wrong)


async def test_it_is_down():
    """After the seconds that were given the error says so."""
    store = RedisCheckpoint("redis://127.0.0.1:1/0", retry_for=0.2)
    with pytest.raises(CheckpointError, match=r"Redis did not take or give the position.*refused") as raised:
        await store.load("a")
    assert isinstance(raised.value.__cause__, redis.ConnectionError), "by which a store that is away is known"
    await store.aclose()


async def test_a_password_is_not_tried_again_and_again(valkey, store):
    """What waiting cannot mend is told at once."""
    valkey.client.config_set("requirepass", "secret")
    valkey.client.close()
    refused = RedisCheckpoint(valkey.url.replace("redis://", "redis://:wrong@"), retry_for=60)
    began = anyio.current_time()
    with pytest.raises(CheckpointError, match="did not take or give"):
        await refused.load("a")
    assert anyio.current_time() - began < 30
    await refused.aclose()


@pytest.mark.parametrize(
    "options", [(), ("--appendonly", "yes", "--appendfsync", "always")], ids=["bare", "aof"]
)
async def test_it_restarts(valkey, options, caplog):
    """A save waits for the server; a position that it has lost is written anew, and a WARNING says so (P55)."""
    valkey.kill()
    valkey.start(*options)
    store = RedisCheckpoint(valkey.url)
    known = await store.save("a", "1", expected=None)
    known = await store.save("a", "2", expected=known)
    valkey.kill()
    async with anyio.create_task_group() as tasks:
        saved = []

        async def save():
            saved.append(await store.save("a", "3", expected=known))

        tasks.start_soon(save)
        await anyio.sleep(0.3)
        assert saved == []
        await anyio.to_thread.run_sync(valkey.start, *options)
    assert await store.load("a") == saved[0]
    assert (saved[0].last_event_id, saved[0].version) == ("3", 3)
    assert ("had gone back" in caplog.text) == (not options)
    await store.aclose()


async def test_a_replica_that_lagged_takes_over(valkey, store, caplog):
    """The stream that knows better moves the position on again; one that knows less is refused (P55)."""
    first = await store.save("a", "1", expected=None)
    second = await store.save("a", "2", expected=first)
    third = await store.save("a", "3", expected=second)
    valkey.client.hset("resilient_sse:position:a", mapping={"id": "1", "version": 1})  # what the replica had
    assert await store.load("a") == first
    fourth = await store.save("a", "4", expected=third)
    assert await store.load("a") == fourth
    assert fourth.version == 4
    assert "had gone back" in caplog.text
    with pytest.raises(CheckpointError, match="another consumer"):
        await store.save("a", "2", expected=first)


async def test_a_replica_that_lagged_behind_a_save_that_failed(valkey, caplog):
    """A stream whose save has failed, and that goes on, heals the position as well (P55)."""
    store = RedisCheckpoint(valkey.url, retry_for=0.1)
    script = Script()
    script.respond(*[event("x", id=str(number)) for number in range(1, 6)]).hang()
    options = {"checkpoint": store, "checkpoint_key": "a", "client": script.client()}
    async with ResilientStream("http://test/", **options) as stream:
        for _ in range(4):
            await anext(stream)
        valkey.kill()
        with pytest.raises(CheckpointError, match="did not take or give"):
            await anext(stream)
        valkey.start()
        valkey.client.hset("resilient_sse:position:a", mapping={"id": "2", "version": 2})
        assert (await anext(stream)).id == "5"
        assert await store.load("a") == Checkpoint("4", 4)
    assert "had gone back" in caplog.text
    await store.aclose()


async def test_a_replica_takes_no_saves(valkey, store):
    """While a fail-over lasts the save waits (P55)."""
    known = await store.save("a", "1", expected=None)
    valkey.client.replicaof("127.0.0.1", "1")
    impatient = RedisCheckpoint(valkey.client, retry_for=0.2)
    with pytest.raises(CheckpointError, match="replica"):
        await impatient.save("a", "2", expected=known)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: store.save("a", "2", expected=known))
        await anyio.sleep(0.2)
        valkey.client.replicaof("NO", "ONE")
    assert (await store.load("a")).last_event_id == "2"


async def test_it_is_out_of_memory(valkey, store):
    """A refusal changes nothing, is told at once, and the next save goes well (P55)."""
    known = await store.save("a", "1", expected=None)
    valkey.client.config_set("maxmemory", "1")
    with pytest.raises(CheckpointError, match="maxmemory"):
        await store.save("a", "2", expected=known)
    assert await store.load("a") == known
    valkey.client.config_set("maxmemory", "0")
    assert (await store.save("a", "2", expected=known)).version == 2


async def test_the_answer_is_lost(valkey, store):
    """A save that was done and is sent again is no conflict."""
    known = await store.save("a", "1", expected=None)
    lose = True
    asked = store._server._asked

    async def losing(command):
        nonlocal lose
        answer = await asked(command)
        if lose:
            lose = False
            raise redis.ConnectionError("the answer was lost")
        return answer

    store._server._asked = losing
    saved = await store.save("a", "2", expected=known)
    assert await store.load("a") == saved
    assert saved.version == 2


async def test_scripts_are_flushed(valkey, store):
    """The script is sent again."""
    known = await store.save("a", "1", expected=None)
    valkey.client.script_flush()
    assert (await store.save("a", "2", expected=known)).version == 2


@pytest.mark.parametrize(
    "command, load, save",
    [
        ("SET {} x", "WRONGTYPE|wrong kind", "WRONGTYPE|wrong kind"),
        ("HSET {} version 1", "another program's", "another consumer"),
        ("HSET {} id 1 version x", "another program's", "did not take"),
        ("HSET {} user 1", None, "another program's"),
    ],
)
async def test_the_key_holds_something_else(valkey, store, command, load, save):
    """It is left as it is (P55)."""
    valkey.client.execute_command(command.format("resilient_sse:position:a"))
    before = valkey.client.dump("resilient_sse:position:a")
    with nullcontext() if load is None else pytest.raises(CheckpointError, match=load):
        assert await store.load("a") is None
    with pytest.raises(CheckpointError, match=save):
        await store.save("a", "1", expected=None)
    assert valkey.client.dump("resilient_sse:position:a") == before


async def test_on_trio_with_a_client_of_asyncio(valkey, anyio_backend):
    """On trio redis.asyncio fails; the error says what to give instead."""
    client = redis.asyncio.Redis.from_url(valkey.url)
    store = RedisCheckpoint(client)
    if anyio_backend == "trio":
        with pytest.raises(CheckpointError, match="give a URL"):
            await store.load("a")
    else:
        assert await store.load("a") is None
        await client.aclose()


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("kind", ["redis", "away", "sqlite"])
async def test_a_slow_save_that_is_cancelled(valkey, tmp_path, monkeypatch, kind):
    """`Task.cancel` waits for the thread, so that the next save finds what it has written (P21)."""
    store = SQLiteCheckpoint(tmp_path / "positions.db") if kind == "sqlite" else RedisCheckpoint(valkey.url)
    begun, go = threading.Event(), threading.Event()
    patched, method = (store, "_run") if kind == "sqlite" else (store._server.client, "execute_command")
    save = getattr(patched, method)

    def slow(*arguments, **named):
        begun.set()
        go.wait(20)
        if kind == "away":  # which alone would be a reason to ask again
            raise redis.ConnectionError(kind)
        return save(*arguments, **named)

    script = Script()
    script.respond(event("1", id="1"), event("2", id="2")).hang()
    url = "http://test/"
    async with ResilientStream(url, checkpoint=store, ack="manual", client=script.client()) as stream:
        first, second = await anext(stream), await anext(stream)
        with monkeypatch.context() as patching:
            patching.setattr(patched, method, slow)
            task = asyncio.create_task(stream.commit(first))
            await asyncio.to_thread(begun.wait, 20)
            task.cancel()
            for _ in range(10):
                await asyncio.sleep(0)
            assert not task.done()
            go.set()
            with pytest.raises(asyncio.CancelledError):
                await task
        await stream.commit(second)


def test_a_program_ends_although_its_server_is_frozen(valkey, monkeypatch):
    """The end of `asyncio.run` cancels what is under way, while no event loop runs (P21)."""
    monkeypatch.setattr(backends, "CLOSE_SECONDS", 0.05)

    async def main():
        store = RedisCheckpoint(redis.asyncio.Redis.from_url(valkey.url))
        valkey.client.client_pause(60_000, all=False)
        saving.append(asyncio.create_task(store.save("key", "1", expected=None)))
        await eventually(lambda: valkey.client.info("clients")["blocked_clients"], "it waits")

    saving = []
    asyncio.run(main())
    valkey.client.client_unpause()
    assert saving[0].cancelled()


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("done", [False, True], ids=["before it was done", "behind it"])
async def test_a_save_that_is_cut_off(valkey, done, monkeypatch):
    """A client for asyncio obeys `Task.cancel` soon, whatever the server does, without a conflict (P21)."""
    monkeypatch.setattr(backends, "CLOSE_SECONDS", 0.05)
    client = redis.asyncio.Redis.from_url(valkey.url)
    store = RedisCheckpoint(client)
    execute, waits = client.execute_command, asyncio.Event()

    async def cut(*call):
        if done:
            await execute(*call)
        waits.set()
        return await (asyncio.Event().wait() if done else execute(*call))

    script = Script()
    script.respond(event("1", id="1"), event("2", id="2")).hang()
    async with ResilientStream(
        "http://test/", checkpoint=store, ack="manual", client=script.client()
    ) as stream:
        first, second = await anext(stream), await anext(stream)
        if not done:
            valkey.client.client_pause(60_000, all=False)  # what writes waits, what reads does not
        client.execute_command = cut
        task = asyncio.create_task(stream.commit(first))
        await waits.wait()
        await eventually(
            lambda: done or valkey.client.info("clients")["blocked_clients"], "the server has it"
        )
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        client.execute_command = execute
        valkey.client.client_unpause()
        await stream.commit(second)
    assert (await store.load("http://test/")).last_event_id == "2"
    await client.aclose()

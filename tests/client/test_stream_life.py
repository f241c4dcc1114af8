"""The life of a stream as the program sees it."""

import logging

import anyio
import pytest

from resilient_sse import (
    Backoff,
    BadStatusError,
    Closed,
    Comment,
    Disconnected,
    Opened,
    Reason,
    Recovery,
    RetriesExhaustedError,
    ServerSentEvent,
    StreamState,
    integers,
)
from resilient_sse.testing import Refusal, Reply, comment, event, pause
from tests.client.support import (
    END,
    When,
    at_once,
    drain,
    dropped,
    gives_up,
    hanging,
    later,
    make,
    numbered,
    read,
    take,
)


async def test_texts_of_an_outage_that_ends(script, record):
    """Each transition has its text, to the letter, exactly once (R66-R74, R77-R80)."""
    script.play(hanging(1), Refusal(), Reply().hang(), Reply(event("", event="done")).hang())
    assert len(await drain(make(script, until="done", on_state_change=record))) == 2
    assert record.messages == [
        "Connected",
        "Waiting for server response...",
        "Connection lost - attempting to reconnect...",
        "Reconnecting (attempt 2)...",
        "Connection restored - resuming stream...",
        "Waiting for server response... (retry 2/5)",
        "Connection lost - attempting to reconnect...",
        "Connection restored - resuming stream...",
        "Response complete",
    ]


async def test_translated_texts(script, record):
    """Any text may be replaced; the others fall back (R76)."""
    script.play(dropped(1), hanging(2))
    await read(script, 2, messages={"lost": "weg ({attempt})"}, on_state_change=record)
    assert record.messages[:3] == ["Connected", "weg (1)", "Connection restored - resuming stream..."]


async def test_an_instrument_is_attached_to_each_stream(script):
    """It is given the live figures and the address once; its observer is told every fact (P28, R98)."""
    attached, facts = [], []

    class Instrument:
        def attach(self, stats, url):
            attached.append((stats, url))
            return lambda fact: facts.append((type(fact), stats.delivered))

    script.play(dropped(1), hanging(2, 3))
    url = "https://user:secret@host:8443/stream?token=secret#secret"
    await read(script, 3, url=url, observers=[Instrument()])
    ((stats, address),) = attached
    assert (stats.delivered, stats.last_recovery) == (3, 1.0)
    assert [fact for fact in facts if fact[0] in (Recovery, Closed)] == [(Recovery, 2), (Closed, 3)]
    assert address == "https://host:8443/stream", "what logs show"


async def test_a_change_tells_of_the_attempt_that_it_ends(script):
    """From the end of the delay, whatever cut it short, to the answer; nothing where no attempt was made."""
    script.respond(b"no", status=503, content_type="text/plain", after=2)
    script.respond(*numbered(1), after=3)
    seen = []
    begun = anyio.current_time()
    stream = make(script, on_state_change=seen.append, backoff=Backoff(initial=100, maximum=100, jitter=0))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(drain, stream)
        await later(2 + 10, stream.restart)
        await anyio.sleep(3 + 0.5)
        await stream.aclose()
    assert [
        (change.new.value, change.attempted_at and change.attempted_at - begun, change.attempted_for)
        for change in seen
    ] == [("reconnecting", 0, 2), ("connected", 12, 3), ("reconnecting", None, None), ("closed", None, None)]


async def test_health(script):
    """State, attempt, last byte and event, last error, at any moment (F34)."""
    script.play(dropped(1), Reply(status=503), Reply(comment("ping"), pause(1), *numbered(2)).hang())
    seen = []
    async with make(script) as stream:
        stream.on_state_change(lambda change: seen.append(stream.health()))
        assert not stream.health().ok
        await take(stream, 2)
        health = stream.health()
        assert (stream.stats.connections, stream.stats.reconnects, stream.stats.failed_attempts) == (2, 1, 1)
    assert [(found.state.value, found.attempt, found.last_error) for found in seen[:4]] == [
        ("connected", 0, None),
        ("reconnecting", 1, "ReadError"),
        ("reconnecting", 2, "BadStatusError 503"),
        ("connected", 2, "BadStatusError 503"),
    ]
    assert (health.ok, health.silent_for, health.eventless_for) == (True, 0.0, 0.0)
    assert health.at - health.since == 1.0


async def test_the_flight_recorder(script):
    """The error that ends a stream shows the last lines, sizes in place of payloads (P31)."""
    script.play(Reply(b"id: 1\ndata: secret\n\n", b"data: half").drop(), Reply(status=403))
    stream = make(script, flight_recorder=5)
    assert (await anext(stream)).data == "secret"
    assert (await gives_up(stream, BadStatusError)).wire == (
        "--- connection 1 ---",
        "id: 1",
        "data: <6 bytes>",
        "",
        "data: <4 bytes> (cut)",
    )


def recoveries(found):
    """Return an observer that keeps the recoveries."""
    return {"observers": [lambda fact: found.append(fact) if isinstance(fact, Recovery) else None]}


async def test_the_time_of_a_recovery(script):
    """From the loss to the first new event, over all attempts in between (R98, R109-R112, X8)."""
    script.play(
        Reply(pause(5), *numbered(1), pause(10)).drop(),
        Refusal(),
        Reply(comment(), *numbered(1), pause(0.25), *numbered(2, 3)).drop(),
        Reply(status=503),
        Reply(status=501),
    )
    found = []
    async with make(script, **recoveries(found)) as stream:
        await take(stream, 3)
        assert stream.stats.last_recovery == 3.25
        await gives_up(stream, BadStatusError)
    (recovery,) = found
    assert (recovery.reason, recovery.attempts) == (Reason.RESET, 2)
    assert (recovery.recovery, recovery.silence, recovery.reconnected) == (3.25, 13.25, 3.0)
    stats = stream.stats
    assert (stats.connection_errors, stats.server_errors, stats.retries_exhausted) == (3, 2, 0)


async def test_what_is_no_recovery(script):
    """An event an hour behind a quiet reconnect, or one that was held back, ends no outage (R98, R163)."""
    found = []
    script.play(dropped(1), Reply(pause(3600), comment()).drop(), hanging(2))
    await read(script, 2, stall_timeout=None, **recoveries(found))
    assert [fact.recovery for fact in found] == [1.0]
    found.clear()
    script.respond(at_once(1, 4)).hang()
    script.always(Reply())
    async with make(script, sequence=integers, max_retries=9, **recoveries(found)) as stream:
        assert [item.id for item in await take(stream, 2)] == ["1", "4"]
    assert (found, len(script.requests)) == ([], 3 + 4)


async def test_the_completion_of_a_reply(script):
    """The server's own total makes the rate known (R93, X12)."""
    script.respond(*numbered(1, 2), event("2", event="done")).end()
    async with make(script, until="done", total=lambda event: int(event.data)) as stream:
        assert len(await drain(stream)) == 3
        assert stream.stats.completion == 100.0


async def test_two_tasks_may_not_iterate_at_once(script):
    """The second one gets a `RuntimeError` and the first is not disturbed; ended stays ended (section 1)."""
    script.respond(*numbered(1)).hang()
    script.expect_no_more()
    stream = make(script)
    await anext(stream)
    async with anyio.create_task_group() as group:
        group.start_soon(drain, stream)
        await anyio.sleep(1)
        with pytest.raises(RuntimeError, match="another task"):
            await anext(stream)
        await stream.aclose()
    assert await drain(stream) == []
    assert stream.state is StreamState.CLOSED
    script.closed_all()


@pytest.mark.parametrize("by", ["complete", "closed"])
async def test_activity(script, by):
    """Everything that happens, in order, and `Closed` last, also for observers (section 1)."""
    script.play(
        Reply(comment("hi"), *numbered(1)).drop(), Reply(*([END] if by == "complete" else numbered(2))).hang()
    )
    facts, seen = [], []
    stream = make(script, until="end", observers=[facts.append])

    async def watch() -> None:
        seen.extend(await drain(stream.activity()))

    async with anyio.create_task_group() as group:
        group.start_soon(watch)
        await anyio.sleep(5)
        await stream.aclose()
    kinds = [Opened, Comment, ServerSentEvent, Disconnected, Opened, ServerSentEvent, Closed]
    assert [type(item) for item in seen] == kinds
    assert (seen[3].reason, seen[3].attempt, seen[3].delay) == (Reason.RESET, 1, 1)
    assert [seen[0].last_event_id, seen[4].last_event_id] == [None, "1"]
    assert seen[-1] == Closed(reason=Reason(by))
    assert seen[-1] in facts
    assert await drain(stream) == []


async def test_logs_hold_no_secrets(script, caplog):
    """No query, header value, id or data is in any record, at any level (P30)."""
    caplog.set_level(logging.DEBUG, logger="resilient_sse")
    script.play(Reply(event("s3cret-data", id="s3cret-id")).drop(), *[Refusal()] * 2)
    script.reject(503, headers={"X": "s3cret-answer"}, body=b"s3cret-body")
    script.respond(event("x", event="done")).hang()
    stream = make(
        script,
        "https://me:s3cret@host/stream?token=s3cret",
        headers={"Authorization": "s3cret"},
        params={"key": "s3cret"},
        until="done",
    )
    await drain(stream)
    records = [entry for entry in caplog.records if entry.name == "resilient_sse"]
    assert records
    assert "s3cret" not in repr([vars(entry) | {"text": entry.getMessage()} for entry in records])
    assert "s3cret" not in repr(stream)
    levels = [entry.levelno for entry in records]
    assert levels[:3] == [logging.INFO, logging.WARNING, logging.INFO]


async def test_closing_in_the_callback_of_the_error_does_not_hide_it(script):
    """Retries spent come out of the iterator even if a callback closes the stream upon ERROR (section 3.4)."""
    script.refuse(times=2)
    stream = make(script, max_retries=1)
    stream.on_state_change(When("error", stream.aclose))
    with pytest.raises(RetriesExhaustedError):
        await drain(stream)

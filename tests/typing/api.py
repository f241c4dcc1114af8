"""
The public types as callers meet them: checked by mypy and pyright, never run.

Lines that must fail carry an ignore of each checker; both report an ignore that has become unneeded.
"""

from __future__ import annotations

import json
from typing import Any, assert_never, assert_type

import httpx

from resilient_sse import (
    CONSERVATIVE,
    Backoff,
    BadStatusError,
    Closed,
    Comment,
    CursorFunction,
    Disconnected,
    Gap,
    Opened,
    Reason,
    ResilientSSEError,
    ResilientStream,
    Resume,
    ResumeFunction,
    ServerSentEvent,
    StateChange,
    StreamState,
    StreamStats,
    Verdict,
    integers,
    resume,
    sync,
)
from resilient_sse.checkpoints import Checkpoint, CheckpointStore, MemoryCheckpoint
from resilient_sse.monitoring.readiness import Readiness

stream = ResilientStream("https://host/stream", client=httpx.AsyncClient(), **CONSERVATIVE)


async def iterating() -> None:
    async for event in stream:
        assert_type(event, ServerSentEvent)
        assert_type(event.event, str)
        assert_type(event.id, str | None)
        assert_type(event.json(), Any)
    async with stream as entered:
        assert_type(entered, ResilientStream)
    assert_type(stream.state, StreamState)
    assert_type(stream.last_event_id, str | None)
    assert_type(stream.stats, StreamStats)
    await stream.aclose()
    stream.restart()


async def everything() -> None:
    async for activity in stream.activity():
        match activity:
            case ServerSentEvent() | Comment() | Gap() | Opened():
                pass
            case Disconnected(delay=delay):
                assert_type(delay, float)
            case Closed(reason=reason):
                assert_type(reason, Reason)
            case _:
                assert_never(activity)


@stream.on_state_change
async def tell(change: StateChange) -> None:
    assert_type(change.message, str)
    assert_type(change.delay, float | None)


@stream.on_gap
def report(gap: Gap) -> None:
    assert_type(gap.missing, int | None)


def decide(error: ResilientSSEError) -> Verdict | None:
    return Verdict.RETRY if isinstance(error, BadStatusError) and error.status == 418 else None


async def token() -> dict[str, str]:
    return {"Authorization": "Bearer new"}


# Typed payloads, on both faces (P18).
orders = ResilientStream("https://host/", decode=int)
assert_type(orders, ResilientStream[int])
assert_type(stream, ResilientStream[ServerSentEvent])
assert_type(ResilientStream("https://host/", decode=json.loads, on_invalid="skip"), ResilientStream[Any])
either = ResilientStream[int | ServerSentEvent](
    "https://host/", decode=int, on_invalid=lambda event, error: event
)
in_threads = sync.ResilientStream("https://host/", decode=int)
assert_type(in_threads, sync.ResilientStream[int])
assert_type(sync.ResilientStream("https://host/"), sync.ResilientStream[ServerSentEvent])
Readiness(stream, orders, either)


async def payloads() -> None:
    async for order in orders:
        assert_type(order, int)
    assert_type([item async for item in either], list[int | ServerSentEvent])
    for each in in_threads:
        assert_type(each, int)
    async with orders as entered:
        assert_type(entered, ResilientStream[int])
        await entered.commit()


def only_events(stream: ResilientStream) -> None: ...


only_events(orders)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
ResilientStream("https://host/", decode="json")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
sync.ResilientStream("https://host/", dedup="some")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]

store: CheckpointStore = MemoryCheckpoint()
ResilientStream("https://host/", headers=token, classify=decide, checkpoint=store, sequence=integers)
ResilientStream("https://host/", headers=[("X-A", "1")], params={"page": 1}, until="done", events={"a"})
ResilientStream("https://host/", backoff=Backoff(jitter=0.5), until=lambda event: event.data == "[DONE]")
ResilientStream("https://host/", backoff=lambda: iter([1.0, 2.0]), observers=[lambda fact: None])
ResilientStream("https://host/", messages={"connected": "Verbunden"}, max_retries=None, stall_timeout=None)


def position_of(event: ServerSentEvent) -> str | None:
    return event.id


async def go_on(position: str | None, answer: Opened | None) -> Resume | None:
    return Resume(url="/next", params={"after": position}) if answer else None


reads: CursorFunction = position_of
goes_on: ResumeFunction = go_on
ResilientStream("https://host/", cursor=reads, resume=goes_on, on_gap=resume.refetch(iterating))
ResilientStream("https://host/", method="POST", json={}, **resume.response())
ResilientStream("https://host/", **resume.listen_again())
ResilientStream("https://host/", cursor=len)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
assert_type(Checkpoint("7", version=1).version, int)

ResilientStream()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
ResilientStream("https://host/", "GET")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
ResilientStream("https://host/", dedup="sometimes")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
ResilientStream("https://host/", max_retries="5")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
ResilientStream("https://host/", checkpoint={})  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
ServerSentEvent(data="a").data = "b"  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]

"""A scripted server that does everything to its clients, and the streams that go through it."""

from typing import Any

import pytest

from resilient_sse import ResilientStream, RetriesExhaustedError, StreamStats, integers
from resilient_sse.metrics import feeding
from resilient_sse.testing import Script, comment, event, pause
from tests.client.support import drain, make, numbered

PARTIAL = b"id: 6\ndata: cut in the mid"

SUMS = {
    "sse_client_events_received_total": "received",
    "sse_client_events_delivered_total": "delivered",
    "sse_duplicate_events_total": "duplicates",
    "sse_client_heartbeats_total": "heartbeats",
    "sse_client_events_filtered_total": "filtered",
    "sse_message_loss_total": "lost",
    "sse_client_stalls_total": "stalls",
    "sse_client_partial_events_total": "partial",
    "sse_client_id_conflicts_total": "id_conflicts",
    "sse_client_unusable_ids_total": "unusable_ids",
    "sse_client_unknown_losses_total": "unknown_losses",
    "sse_client_connections_total": "connections",
    "sse_client_failed_attempts_total": "failed_attempts",
    "sse_client_callback_errors_total": "callback_errors",
    "sse_client_received_bytes_total": "bytes_received",
}
"""Counters without labels, and what each stream says of itself in their place."""


def torment(script: Script) -> None:
    """Write what happens to the first stream: every fault once at least."""
    heartbeat = event("{}", event="heartbeat")
    script.respond(pause(0.2), *numbered(1, 2, 3), heartbeat, comment("hi"), *numbered(4, 5), PARTIAL).drop()
    script.refuse(times=2)
    script.reject(503)
    script.respond(*numbered(4, 5, 6), event("tick", id="7", event="noise")).hang()  # two repeated; a stall
    script.respond(*numbered(8), heartbeat).hang()  # a second stall
    script.respond(*numbered(9, 12)).hang()  # a hole
    script.respond(*numbered(12, 13)).hang()  # the server has lost it: two events; a third stall
    conflict = event("other", id="14")
    script.respond(*numbered(14), conflict, event("x", id="2 "), event("16", id="15", event="done"))


async def tormented(script: Script, *observers: Any, **options: Any) -> ResilientStream:
    """Run the first stream to its end and return it: 16 events before the completing one, two of them lost."""
    torment(script)
    stream = make(
        script,
        observers=observers,
        sequence=integers,
        events=["message"],
        until="done",
        total=lambda done: int(done.data),
        **options,
    )
    async with stream:
        await drain(stream)
    script.assert_exhausted()
    return stream


async def given_up(*observers: Any) -> ResilientStream:
    """Run a stream whose server does not come back."""
    script = Script()
    script.respond(*numbered(1)).drop()
    script.reject(502, times=3)
    stream = make(script, observers=observers, max_retries=3)
    with pytest.raises(RetriesExhaustedError):
        await drain(stream)
    return stream


def sums(*some: StreamStats) -> dict[str, int]:
    """Add up what *some* streams say of themselves, by the names of the counters (P28)."""
    return {name: sum(getattr(stats, figure) for stats in some) for name, figure in SUMS.items()}


def settle() -> None:
    """Have all feeders feed for the last time, and see to it that no thread of theirs is left."""
    for feeder in list(feeding._all):
        thread = feeder.finish()
        if thread is not None:
            thread.join(10)
            assert not thread.is_alive()

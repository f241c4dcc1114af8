"""One test per fault: a real stream over real sockets through the proxy, and what it shows."""

import re
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from pathlib import Path

import anyio
import httpx
import pytest

from resilient_sse import ResilientStream
from resilient_sse.testing import event
from resilient_sse.testing.proxy import (
    TOXICS,
    Bandwidth,
    FaultProxy,
    Latency,
    LimitBytes,
    Refuse,
    Reset,
    SegmentLoss,
    Slicer,
    SlowClose,
    TLSFailure,
    Toxic,
)
from tests.e2e.watching import QUICK, eventually

pytestmark = pytest.mark.e2e

SMOOTH = ("connected", "closed")
BROKEN = ("connected", "reconnecting", "connected", "closed")
LATE = ("reconnecting", "connected", "closed")


@dataclass(frozen=True, kw_only=True)
class Row:
    """One fault."""

    name: str
    """The fault as the table of the docs names it."""
    toxics: tuple[Toxic, ...] = ()
    act: Callable[[FaultProxy, Callable[[], Awaitable[None]]], Awaitable[object]] | None = None
    """Done once the client has received some events; `lost` waits until it has lost its connection."""
    reasons: tuple[str, ...] = ()
    states: tuple[str, ...] = SMOOTH
    stats: Mapping[str, int] = field(default_factory=dict)
    counters: Mapping[str, object] = field(default_factory=dict)
    """Figures of the proxy at the end; `...` for one above 0."""
    tls: bool = False
    closing: bool = False
    """Whether the server closes its first connection midway."""


async def swallow(proxy, lost):
    """Let nothing pass until the client has given its connection up."""
    proxy.black_hole()
    await lost()
    proxy.flow()


async def pause(proxy, lost):
    """Let nothing pass for longer than the client takes for granted, and for less than it bears."""
    proxy.black_hole()
    await anyio.sleep(0.6)
    proxy.flow()


async def end(proxy, lost, *, how):
    """End the only connection."""
    assert how(proxy) == 1


async def refuse(proxy, lost):
    """Close the port for a while."""
    proxy.refuse()
    proxy.reset_all()
    await anyio.sleep(0.3)
    proxy.accept()


def smooth(name, *toxics, counters=None, **stats):
    """Say what shows of a fault that the client bears."""
    return Row(
        name=name,
        toxics=toxics,
        stats={"reconnects": 0, **stats},
        counters={"accepted": 1, **(counters or {})},
    )


def lost(name, *toxics, resets=0, failed=0, states=BROKEN, **row):
    """Say what shows of a connection that is lost once, without a failed attempt unless told."""
    stats = {"reconnects": 1, "failed_attempts": failed, **row.pop("stats", {})}
    counters = {"accepted": 2, "resets": resets}
    return Row(
        name=name, toxics=toxics, reasons=("reset",), states=states, stats=stats, counters=counters, **row
    )


def late(name, toxic, reason="connect", **row):
    """Say what shows of two attempts that fail before the first connection."""
    stats = {"reconnects": 0, "failed_attempts": 2}
    return Row(name=name, toxics=(toxic,), reasons=(reason,), states=LATE, stats=stats, **row)


AWAY = ("reset", "connect")
ROWS = (
    smooth("no fault", counters={"resets": 0}, connections=1),
    smooth("`Latency(delay=0.1, jitter=0.5)`", Latency(delay=0.1, jitter=0.5)),
    smooth("`Bandwidth(kbps=32)`", Bandwidth(kbps=32)),
    smooth(
        "`SegmentLoss(share=0.3, delay=0.1)`",
        SegmentLoss(share=0.3, delay=0.1),
        counters={"dropped": ...},
        partial=0,
    ),
    smooth("`Slicer(size=7, delay=0.001)`", Slicer(size=7, delay=0.001), partial=0),
    Row(
        name="`black_hole()`, then `flow()` before the stall timeout",
        act=pause,
        states=("connected", "waiting", "connected", "closed"),
        stats={"reconnects": 0, "stalls": 0},
        counters={"accepted": 1},
    ),
    Row(
        name="`black_hole()`, then `flow()` after the stall timeout",
        act=swallow,
        reasons=("stall",),
        states=("connected", "waiting", *BROKEN[1:]),
        stats={"reconnects": 1, "stalls": 1},
        counters={"resets": 0},
    ),
    lost("`Reset(after=700, times=1)`", Reset(after=700, times=1), resets=1, stats={"partial": 1}),
    lost("`LimitBytes(after=700, times=1)`", LimitBytes(after=700, times=1), stats={"partial": 1}),
    lost("`reset_all()`", act=partial(end, how=FaultProxy.reset_all), resets=1),
    lost("`close_all()`", act=partial(end, how=FaultProxy.close_all)),
    lost(
        "`SlowClose(delay=0.6)`, and the server closes",
        SlowClose(delay=0.6),
        closing=True,
        states=("connected", "waiting", *BROKEN[1:]),
        stats={"stalls": 0},
    ),
    late("`Refuse(times=2)`", Refuse(times=2), counters={"accepted": 3, "refused": 2}),
    Row(
        name="`refuse()` and `reset_all()`, then `accept()`",
        act=refuse,
        reasons=AWAY,
        states=BROKEN,
        stats={"reconnects": 1},
        counters={"accepted": 2, "refused": 0, "resets": 1},
    ),
    Row(
        name="`flap(3, down=0.2, up=0.3)`",  # R51
        act=lambda proxy, _: proxy.flap(3, down=0.2, up=0.3),
        reasons=AWAY * 3,
        states=(*BROKEN[:2] * 3, *BROKEN[2:]),
        stats={"reconnects": 3},
        counters={"accepted": 4, "resets": 3},
    ),
    Row(
        name='`handoff("wifi", "4g", 0.3)`',  # R42, R46
        act=lambda proxy, _: proxy.handoff("wifi", "4g", 0.3),
        reasons=AWAY,
        states=BROKEN,
        stats={"reconnects": 1},
        counters={"accepted": 2, "resets": 1},
    ),
    late(
        "`TLSFailure(times=2)`, and the client speaks TLS",
        TLSFailure(times=2),
        tls=True,
        counters={"accepted": 3, "resets": 0},
    ),
)


PAGE = Path(__file__).parents[3] / "docs/lab/fault-proxy.md"
EVENTS = 40
SEEN_FIRST = 5


def once(items):
    """Leave repetitions out."""
    return tuple(item for item, _ in groupby(items))


REPLY = [f"message {number}" for number in range(1, EVENTS + 1)]


def chat(peer, count=EVENTS, end="hold"):
    """Serve a reply, from the event on that is asked for."""
    peer.open()
    for number in range(int(peer.request.cursor or 0), count):
        peer.chunk(event(REPLY[number], id=str(number + 1)))
        time.sleep(0.02)
    getattr(peer, end)()


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name.strip("`"))
async def test_what_a_client_shows(serve, trust, record, row):
    """P25, R32, R42, R46, R51: reasons, states, figures; whatever the fault, each event comes once, in order."""
    server = serve(
        *([partial(chat, count=SEEN_FIRST * 2, end="half_close")] if row.closing else []),
        chat,
        tls=trust.server("127.0.0.1") if row.tls else None,
    )
    client = httpx.AsyncClient(verify=trust.client) if row.tls else None
    options = {"max_retries": None, "stall_timeout": 1.5, "waiting_after": 0.4, "on_state_change": record}
    taken = []

    async def lost():
        assert await eventually(lambda: record.losses, within=20)

    with anyio.fail_after(40):
        async with (
            FaultProxy("127.0.0.1", server.port, toxics=row.toxics, seed=1) as proxy,
            ResilientStream(proxy.url_for(server.url), client=client, backoff=QUICK, **options) as stream,
            anyio.create_task_group() as tasks,
        ):
            async for received in stream:
                taken.append(received.data)
                if len(taken) == SEEN_FIRST and row.act is not None:
                    tasks.start_soon(row.act, proxy, lost)
                if len(taken) == EVENTS:
                    break
        if client is not None:
            await client.aclose()
    assert taken == REPLY
    assert once(reason.value for reason in record.losses) == row.reasons
    # A busy machine makes a client wait now and then, whatever the fault.
    states = [state for state in record.states[1:] if state != "waiting" or "waiting" in row.states]
    assert once(states) == row.states
    stats = stream.stats.to_dict()
    assert {name: stats[name] for name in row.stats} == row.stats
    assert (stats["received"], stats["delivered"], stats["duplicates"]) == (EVENTS, EVENTS, 0)
    counters = proxy.counters.to_dict()
    for name, expected in row.counters.items():
        assert counters[name] > 0 if expected is ... else counters[name] == expected, name


def test_every_fault_has_its_row():
    """P25: no toxic and no action of the proxy is left out of the table."""
    names = " ".join(row.name for row in ROWS)
    kinds = {kind.__name__ for kind in TOXICS.values()} - {"BlackHole"}  # which is what `black_hole()` adds
    actions = {"black_hole", "flow", "reset_all", "close_all", "refuse", "accept", "flap", "handoff"}
    assert {kind for kind in kinds | actions if f"{kind}(" not in names} == set()


def test_the_reference_shows_this_table():
    """P25: the page says what the tests have seen."""
    shown = re.findall(r"^\| (.+) \| (.+) \| (.+) \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    rows = [
        (
            row.name,
            ", ".join(f"`{reason}`" for reason in row.reasons) or "none",
            " → ".join(row.states),
        )
        for row in ROWS
    ]
    assert [row for row in shown if row[0] in {name for name, _, _ in rows}] == rows

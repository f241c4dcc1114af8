"""One test per fault: a real stream over real sockets through the proxy, and what it shows."""

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

import anyio
import httpx
import pytest

from resilient_sse import ResilientStream
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
from tests.testing.proxy.peers import Chat

pytestmark = pytest.mark.e2e

SMOOTH = ("connected", "closed")
BROKEN = ("connected", "reconnecting", "connected", "closed")
LATE = ("reconnecting", "connected", "closed")


@dataclass(frozen=True, kw_only=True)
class Row:
    """
    One fault.

    Attributes:
        name: The fault as the table of the docs names it.
        toxics: In force from the start.
        act: Done once the client has received some events; `lost` waits until it has lost its connection.
        reasons: Why the client began to reconnect, repetitions left out.
        states: The states that the client entered, repetitions left out.
        stats: Figures of the client at the end.
        counters: Figures of the proxy at the end; `...` for one above 0.
        tls: Whether the client speaks TLS.
        closing: Whether the server closes its first connection midway.
    """

    name: str
    toxics: tuple[Toxic, ...] = ()
    act: Callable[[FaultProxy, Callable[[], Awaitable[None]]], Awaitable[object]] | None = None
    reasons: tuple[str, ...] = ()
    states: tuple[str, ...] = SMOOTH
    stats: Mapping[str, int] = field(default_factory=dict)
    counters: Mapping[str, object] = field(default_factory=dict)
    tls: bool = False
    closing: bool = False


async def swallow(proxy: FaultProxy, lost: Callable[[], Awaitable[None]]) -> None:
    """Let nothing pass until the client has given its connection up."""
    proxy.black_hole()
    await lost()
    proxy.flow()


async def pause(proxy: FaultProxy, lost: Callable[[], Awaitable[None]]) -> None:
    """Let nothing pass for longer than the client takes for granted, and for less than it bears."""
    proxy.black_hole()
    await anyio.sleep(0.6)
    proxy.flow()


async def reset(proxy: FaultProxy, lost: Callable[[], Awaitable[None]]) -> None:
    """Reset everything."""
    assert proxy.reset_all() == 1


async def close(proxy: FaultProxy, lost: Callable[[], Awaitable[None]]) -> None:
    """Close everything."""
    assert proxy.close_all() == 1


async def refuse(proxy: FaultProxy, lost: Callable[[], Awaitable[None]]) -> None:
    """Close the port for a while."""
    proxy.refuse()
    proxy.reset_all()
    await anyio.sleep(0.3)
    proxy.accept()


async def flap(proxy: FaultProxy, lost: Callable[[], Awaitable[None]]) -> None:
    """Take the network away three times (R51)."""
    await proxy.flap(3, down=0.2, up=0.3)


async def handoff(proxy: FaultProxy, lost: Callable[[], Awaitable[None]]) -> None:
    """Go from one network to another (R42, R46)."""
    await proxy.handoff("wifi", "4g", 0.3)


ROWS = (
    Row(name="no fault", stats={"reconnects": 0, "connections": 1}, counters={"accepted": 1, "resets": 0}),
    Row(
        name="`Latency(delay=0.1, jitter=0.5)`",
        toxics=(Latency(delay=0.1, jitter=0.5),),
        stats={"reconnects": 0},
        counters={"accepted": 1},
    ),
    Row(
        name="`Bandwidth(kbps=32)`",
        toxics=(Bandwidth(kbps=32),),
        stats={"reconnects": 0},
        counters={"accepted": 1},
    ),
    Row(
        name="`SegmentLoss(share=0.3, delay=0.1)`",
        toxics=(SegmentLoss(share=0.3, delay=0.1),),
        stats={"reconnects": 0, "partial": 0},
        counters={"accepted": 1, "dropped": ...},
    ),
    Row(
        name="`Slicer(size=7, delay=0.001)`",
        toxics=(Slicer(size=7, delay=0.001),),
        stats={"reconnects": 0, "partial": 0},
        counters={"accepted": 1},
    ),
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
    Row(
        name="`Reset(after=700, times=1)`",
        toxics=(Reset(after=700, times=1),),
        reasons=("reset",),
        states=BROKEN,
        stats={"reconnects": 1, "partial": 1, "failed_attempts": 0},
        counters={"accepted": 2, "resets": 1},
    ),
    Row(
        name="`LimitBytes(after=700, times=1)`",
        toxics=(LimitBytes(after=700, times=1),),
        reasons=("reset",),
        states=BROKEN,
        stats={"reconnects": 1, "partial": 1, "failed_attempts": 0},
        counters={"accepted": 2, "resets": 0},
    ),
    Row(
        name="`reset_all()`",
        act=reset,
        reasons=("reset",),
        states=BROKEN,
        stats={"reconnects": 1, "failed_attempts": 0},
        counters={"accepted": 2, "resets": 1},
    ),
    Row(
        name="`close_all()`",
        act=close,
        reasons=("reset",),
        states=BROKEN,
        stats={"reconnects": 1, "failed_attempts": 0},
        counters={"accepted": 2, "resets": 0},
    ),
    Row(
        name="`SlowClose(delay=0.6)`, and the server closes",
        toxics=(SlowClose(delay=0.6),),
        closing=True,
        reasons=("reset",),
        states=("connected", "waiting", *BROKEN[1:]),
        stats={"reconnects": 1, "stalls": 0},
        counters={"accepted": 2, "resets": 0},
    ),
    Row(
        name="`Refuse(times=2)`",
        toxics=(Refuse(times=2),),
        reasons=("connect",),
        states=LATE,
        stats={"reconnects": 0, "failed_attempts": 2},
        counters={"accepted": 3, "refused": 2},
    ),
    Row(
        name="`refuse()` and `reset_all()`, then `accept()`",
        act=refuse,
        reasons=("reset", "connect"),
        states=BROKEN,
        stats={"reconnects": 1},
        counters={"accepted": 2, "refused": 0, "resets": 1},
    ),
    Row(
        name="`flap(3, down=0.2, up=0.3)`",
        act=flap,
        reasons=("reset", "connect") * 3,
        states=(*BROKEN[:2] * 3, *BROKEN[2:]),
        stats={"reconnects": 3},
        counters={"accepted": 4, "resets": 3},
    ),
    Row(
        name='`handoff("wifi", "4g", 0.3)`',
        act=handoff,
        reasons=("reset", "connect"),
        states=BROKEN,
        stats={"reconnects": 1},
        counters={"accepted": 2, "resets": 1},
    ),
    Row(
        name="`TLSFailure(times=2)`, and the client speaks TLS",
        toxics=(TLSFailure(times=2),),
        tls=True,
        reasons=("connect",),
        states=LATE,
        stats={"reconnects": 0, "failed_attempts": 2},
        counters={"accepted": 3, "resets": 0},
    ),
)


PAGE = Path(__file__).parents[3] / "docs/lab/fault-proxy.md"
EVENTS = 40
SEEN_FIRST = 5


def once(items):
    """Leave repetitions out."""
    return tuple(item for item, _ in groupby(items))


def hang_up(chat):
    """Make a server that closes its first connection midway, without ending its answer."""

    def serve(peer):
        half = Chat(SEEN_FIRST * 2, apart=chat.apart)
        peer.hold = peer.half_close
        half(peer)

    return serve


async def play(row, proxy, stream, diary, taken):
    """Take every event, and begin with the fault's action after the first few."""
    begun = anyio.Event()

    async def lost():
        assert await eventually(lambda: diary.losses, within=20)

    async def act():
        await begun.wait()
        await row.act(proxy, lost)

    async with anyio.create_task_group() as tasks:
        if row.act is not None:
            tasks.start_soon(act)
        async with stream:
            async for event in stream:
                taken.append(event.data)
                if len(taken) == SEEN_FIRST:
                    begun.set()
                if len(taken) == EVENTS:
                    break


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name.strip("`"))
async def test_what_a_client_shows(serve, trust, diary, row):
    """P25, R32, R42, R46, R51: reasons, states, figures; whatever the fault, each event comes once, in order."""
    chat = Chat(EVENTS, apart=0.02)
    server = serve(
        *([hang_up(chat)] if row.closing else []), chat, tls=trust.server("127.0.0.1") if row.tls else None
    )
    taken = []
    client = httpx.AsyncClient(verify=trust.client) if row.tls else None
    with anyio.fail_after(40):
        async with FaultProxy("127.0.0.1", server.port, toxics=row.toxics, seed=1) as proxy:
            stream = ResilientStream(
                proxy.url_for(server.url),
                client=client,
                backoff=QUICK,
                max_retries=None,
                stall_timeout=1.5,
                waiting_after=0.4,
                on_state_change=diary,
            )
            await play(row, proxy, stream, diary, taken)
        if client is not None:
            await client.aclose()
    assert taken == chat.reply
    assert once(reason.value for reason in diary.losses) == row.reasons
    assert once(state.value for state in diary.states) == row.states
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

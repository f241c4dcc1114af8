"""One test per fault: a real stream over real sockets through the proxy, and what it shows."""

import re
from itertools import groupby
from pathlib import Path

import anyio
import httpx
import pytest

from resilient_sse import ResilientStream
from resilient_sse.testing.proxy import TOXICS, FaultProxy
from tests.e2e.watching import QUICK, eventually
from tests.testing.proxy.fault_table import ROWS
from tests.testing.proxy.peers import Chat

pytestmark = pytest.mark.e2e

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

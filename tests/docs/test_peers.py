"""
How many of our cases other clients read as the standard says: the figures of the page that compares them.

Each case is read in one piece and byte by byte, from memory where a client can, otherwise over a socket.  It
counts if type, data and the id in force of each event are right both times.
"""

from __future__ import annotations

import asyncio
import re
import time
from contextlib import AsyncExitStack
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import pytest

from benchmarks.peers import PEERS
from benchmarks.worker import enter, start, step
from resilient_sse import ResilientStream
from tests.conformance.case_table import load, single_bytes
from tests.docs.pages import tables, text_of
from tests.e2e.raw_server import Peer, RawServer
from tests.skipping import skip_aloud

if TYPE_CHECKING:
    from tests.conformance.case_table import Case

pytestmark = [pytest.mark.proof, pytest.mark.e2e]

CASES = [case for case in load() if case.limit is None]
READERS = {
    "httpx-sse": "httpx-sse",
    "httpx2": "httpx2",
    "launchdarkly-eventsource": "launchdarkly",
    "aiohttp-sse-client": "aiohttp-sse-client",
    "sseclient-py": "sseclient-py on httpx",
    "requests-sse": "requests-sse",
    "openai": "openai's decoder on httpx2",
    "**here**": "resilient_sse on httpx",
}
OVER_A_SOCKET = {"aiohttp-sse-client", "requests-sse"}
"""The one reads from nothing else; from memory the other would not see the chunks."""

Seen = list[tuple[str, str, str]]


def sending(chunks: list[bytes]) -> RawServer:
    """Make a server that sends each chunk as one of HTTP, ends, and answers 204 from then on."""

    def send(peer: Peer) -> None:
        peer.open()
        for chunk in chunks:
            peer.chunk(chunk)
        peer.end()

    return RawServer(send, lambda peer: peer.answer("204 No Content"))


async def read(name: str, chunks: list[bytes], most: int) -> Seen:
    """Read with one of the peers of the benchmarks."""
    peer, over_a_socket = PEERS[name], name in OVER_A_SOCKET
    seen: Seen = []
    async with AsyncExitStack() as stack:
        url = "http://host"
        if over_a_socket:
            url = stack.enter_context(sending(chunks)).url
        client = await enter(stack, peer.client(1, None if over_a_socket else chunks))
        if name.startswith("resilient_sse"):
            opened: Any = ResilientStream(url, client=client, on_eof="complete", dedup="off")
        else:
            opened = peer.open(client, url)
        try:
            items = start(peer, await enter(stack, opened))
            while len(seen) < most:
                item = await step(peer, items)
                event = peer.fields(item)
                seen.append((*event[:2], getattr(item, "last_event_id", event[2]) or ""))
        except Exception:  # noqa: BLE001, S110 - its end, or its failure: what it has shown is judged
            pass
    return seen


def reads(name: str, case: Case) -> bool:
    """Say whether a client reads *case* as the standard says, in one piece and byte by byte."""
    wanted = case.events
    for chunks in ([case.stream], single_bytes(case.stream)):
        if not case.stream:
            continue
        if asyncio.run(read(name, chunks, len(wanted) + 1)) != wanted:
            return False
    return True


@pytest.mark.filterwarnings("default")  # peers leave things open
@pytest.mark.parametrize("package", READERS)
def test_the_page_says_how_many_cases_a_client_reads(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The column is what the installed client reads (P41); none waits as long as `retry:` says."""
    sleep = asyncio.sleep
    monkeypatch.setattr(time, "sleep", lambda _: None)
    monkeypatch.setattr(asyncio, "sleep", lambda _: sleep(0))
    name = READERS[package]
    if missing := [module for module in PEERS[name].needs if not find_spec(module)]:
        skip_aloud(f"{', '.join(missing)}, of the dependency group bench")
    (rows,) = [rows for rows in tables(text_of("start/comparison.md")) if rows[0][:2] == ["package", "cases"]]
    (said,) = [row[1] for row in rows if row[0] == package]
    right = sum(reads(name, case) for case in CASES)
    assert re.search(r"\d+", said)[0] == str(right), f"{right} of {len(CASES)}"

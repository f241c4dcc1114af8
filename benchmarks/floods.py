"""
What a byte of a hostile stream costs, beside a byte of ordinary events: `python -m benchmarks.floods`.

Each flood is cut like the ordinary stream it is compared with, and judged in this process without a socket.  No
flood of lines that bring no event may cost much more than three times as much (four where fields and comments take
turns).  An event has a price of its own, however small it is.  So beside each flood stands its *floor*: to cut
blocks at blank lines and to make an event object for each that brings one, and nothing else.  There also stands
what other clients take for the same bytes in chunks of 64 KiB.  Floods of odd forms are the worst of thousands
that were drawn at random.
"""

from __future__ import annotations

import asyncio
import gc
import importlib.util
import time
from contextlib import AsyncExitStack

from resilient_sse._core.events import make_event
from resilient_sse._core.options import StreamOptions
from resilient_sse._core.session import Session, Step

from . import payloads
from .peers import PEERS, Peer
from .worker import enter, start, step

BYTES = 256 * 1024
CHUNKS = (64 * 1024, 1024, 32, 1)
ROUNDS = 3
ORDINARY = "ordinary events"
BESIDE = ("httpx-sse", "launchdarkly", "launchdarkly (sync)")
LAST = "the last event"

FLOODS: dict[str, bytes] = {
    "comments": b": keep-alive\n",
    "comments of nothing": b":\n",
    "comments as blocks": b":\n\n",
    "fields and comments": b"a\n:\n",
    "empty lines": b"\n",
    "retry": b"retry: 1\n",
    "retry as blocks": b"retry: 1\n\n",
    "ids only": b"id: 1\n\n",
    "tiny events": b"data:\n\n",
    "tiny events with one id": b"id:1\ndata:\n\n",
    "tiny events of many forms": b"data\n\nid:1\ndata:\n\n:\nid: a\nevent:b\ndata:\n\nx\n\n",
    "odd fields": b"a\ndata\n\n",
    "odd ids": "id: é\ndata\n\n".encode(),
    "odd data": b"data\ndata\n\n",
    "ids behind data": b"data:\nid:1\n\ndata:\nid:a\n\n",
    "fields and events": b"a\n\ndata\n\n",
    "ids and events": b"id\n\ndata\nid:1\n\n",
    "heartbeats": b"event:heartbeat\ndata:\n\n",
    "data lines": b"data:\n",
    "fields without a name": b"a\n",
    "unknown fields": b"x: y\n\n",
    "events, CR only": b"id: 1\revent: a\rdata: some text\r\r",
    "empty lines, CR only": b"\r",
    "empty lines, CRLF": b"\r\n",
    "one line": b"x",
    "bytes that are no UTF-8": b"data: \xff\xff\xff\xff\n\n",  # which launchdarkly takes for an error
}


def body(name: str) -> bytes:
    if name == ORDINARY:
        return b"".join(payloads.blocks("typical", BYTES // 160))
    return FLOODS[name] * (BYTES // len(FLOODS[name]))


def cut(stream: bytes, size: int) -> list[bytes]:
    return [stream[at : at + size] for at in range(0, len(stream), size)]


def seconds(stream: bytes, size: int) -> float:
    """Return the CPU time that judging *stream* takes, in chunks of *size* bytes."""
    chunks = cut(stream, size)
    session = Session(StreamOptions(), random=lambda: 0.5, in_batches=True)
    session.start(0.0)
    session.opened(200, {}, cursor=None, now=0.0)
    gc.collect()
    begun = time.process_time()
    for chunk in chunks:
        session.receive(chunk, raw_size=len(chunk), waited=0.0, now=0.0)
        while session.take(0.0) is not None or session.next_step() is Step.GO_ON:
            session.delivery.ready.clear()
            session.go_on(0.0)
    return time.process_time() - begun


def floor(stream: bytes) -> float:
    """Return the CPU time of what nobody who hands over events can do without."""
    gc.collect()
    begun = time.process_time()
    for chunk in cut(stream, CHUNKS[0] // 4):
        blocks = chunk.decode("utf-8", "replace").replace("\r", "\n").split("\n\n")
        for _ in [make_event("message", text, None, "", None, 1) for text in blocks if "data" in text]:
            pass
    return time.process_time() - begun


async def theirs(peer: Peer, stream: bytes) -> float:
    """Return the CPU time that another client takes to read *stream* up to its last event."""
    async with AsyncExitStack() as stack:
        chunks = cut(b"%s\n\nid: 0\ndata: %s\n\n" % (stream, LAST.encode()), CHUNKS[0])
        client = await enter(stack, peer.client(1, chunks))
        items = start(peer, await enter(stack, peer.open(client, "http://127.0.0.1/")))
        gc.collect()
        begun = time.process_time()
        while peer.fields(await step(peer, items))[1] != LAST:
            pass
        return time.process_time() - begun


def main() -> None:
    peers = [PEERS[name] for name in BESIDE if all(map(importlib.util.find_spec, PEERS[name].needs))]
    measures = {
        **{f"{size:,}": lambda part, size=size: seconds(part, size) for size in CHUNKS},
        "floor": floor,
        **{peer.name: lambda part, peer=peer: asyncio.run(theirs(peer, part)) for peer in peers},
    }
    print("ns of CPU a byte; ratio to ordinary events, by the size of chunks")
    print(" " * 26 + "".join(f"{name:>20}" for name in measures))
    best: dict[tuple[str, str], float] = {}
    for name in (ORDINARY, *FLOODS):
        for _ in range(ROUNDS):
            for measure, take in measures.items():
                if "UTF-8" in name and "launchdarkly" in measure:
                    continue
                part = body(name)[: BYTES if measure in {"65,536", "1,024"} else BYTES // 8]
                spent = take(part) / len(part) * 1e9
                best[name, measure] = min(best.get((name, measure), spent), spent)
        spent = {each: best.get((name, each), float("nan")) for each in measures}
        cells = [(each, each / best[ORDINARY, measure]) for measure, each in spent.items()]
        print(f"{name:26}" + "".join(f"{each:12.1f} {ratio:6.2f}x" for each, ratio in cells), flush=True)


if __name__ == "__main__":
    main()

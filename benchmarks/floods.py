"""
What a byte of a hostile stream costs, beside a byte of ordinary events: `python -m benchmarks.floods`.

Each flood is cut like the ordinary stream it is compared with, and judged in this process without a socket.  No
flood of lines that bring no event may cost much more than three times as much (six where fields and comments take
turns).  An event has a floor, however small it
is: 0.3 us to make it and 0.1 us to hand it over, and 1 us to look for an id that does not rise; so `data:` and a
blank line, 7 bytes, cost 0.4 us where as many bytes of ordinary events cost 0.06.
"""

from __future__ import annotations

import gc
import time

from resilient_sse._core.options import StreamOptions
from resilient_sse._core.session import Session, Step

from . import payloads

BYTES = 256 * 1024
CHUNKS = (64 * 1024, 1024, 32, 1)
ROUNDS = 3
ORDINARY = "ordinary events"

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
    "heartbeats": b"event:heartbeat\ndata:\n\n",
    "data lines": b"data:\n",
    "fields without a name": b"a\n",
    "unknown fields": b"x: y\n\n",
    "events, CR only": b"id: 1\revent: a\rdata: some text\r\r",
    "empty lines, CR only": b"\r",
    "empty lines, CRLF": b"\r\n",
    "one line": b"x",
    "bytes that are no UTF-8": b"data: \xff\xff\xff\xff\n\n",
}


def body(name: str) -> bytes:
    if name == ORDINARY:
        return b"".join(payloads.blocks("typical", BYTES // 160))
    return FLOODS[name] * (BYTES // len(FLOODS[name]))


def seconds(stream: bytes, size: int) -> float:
    """Return the CPU time that judging *stream* takes, in chunks of *size* bytes."""
    chunks = [stream[at : at + size] for at in range(0, len(stream), size)]
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


def main() -> None:
    names = [ORDINARY, *FLOODS]
    print("ns of CPU a byte, and the ratio to ordinary events, by the size of chunks")
    print(" " * 26 + "".join(f"{size:>16,}" for size in CHUNKS))
    best = dict.fromkeys(((name, size) for name in names for size in CHUNKS), float("inf"))
    for _ in range(ROUNDS):
        for name, size in best:
            part = body(name)[: BYTES if size > 64 else BYTES // 8]
            best[name, size] = min(best[name, size], seconds(part, size) / len(part) * 1e9)
    for name in names:
        cells = (f"{best[name, s]:8.1f} {best[name, s] / best[ORDINARY, s]:6.2f}x" for s in CHUNKS)
        print(f"{name:26}" + "".join(cells))


if __name__ == "__main__":
    main()

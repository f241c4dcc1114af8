"""A program with a stream in each kind of trouble, and a console at port 8765: `recording.py` draws it."""

from __future__ import annotations

from collections.abc import Iterator

import anyio

from resilient_sse import ResilientStream
from resilient_sse.monitoring.console import Console
from resilient_sse.testing import Pause, Reply, Script, event, pause

PORT = 8765
ENOUGH = range(100)


def numbers(first: int, count: int, every: float) -> Iterator[bytes | Pause]:
    """Send so many events, with a pause behind each."""
    for number in range(first, first + count):
        yield event("x" * 40, id=str(number))
        yield pause(every)


def scripts() -> dict[str, Script]:
    """Return a server for each stream, by the name of the stream."""
    prices, slow, dropping, backlog, down, silent = (Script() for _ in range(6))
    prices.respond(*numbers(1, 2_000, 0.05)).hang()
    slow.respond(*numbers(1, 2_000, 1.0)).hang()
    for each in ENOUGH:
        dropping.respond(*numbers(1 + each * 4, 4, 0.1)).drop()
        backlog.respond(*numbers(1, 20 + each * 5, 0.01)).drop()
        down.play(Reply(b"down for repair", status=503, content_type="text/plain"))
    silent.respond(event("the last one", id="1")).hang()
    return {
        "prices": prices,
        "prices over slow 3G": slow,
        "orders, dropping": dropping,
        "replays its backlog": backlog,
        "down for repair": down,
        "falls silent": silent,
    }


async def main() -> None:
    """Follow all of them until somebody ends the program."""
    console = Console(PORT)

    async def follow(name: str, script: Script) -> None:
        observers = [console.named(name)]
        async with ResilientStream(
            "https://host", client=script.client(), observers=observers, max_retries=None, waiting_after=3.0
        ) as stream:
            async for _ in stream:
                pass

    async with console, anyio.create_task_group() as tasks:
        for name, script in scripts().items():
            tasks.start_soon(follow, name, script)


if __name__ == "__main__":
    anyio.run(main)

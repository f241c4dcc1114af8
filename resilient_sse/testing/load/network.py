"""
The networks of a load run, a process of its own: a fault proxy for each profile, and resets when asked for.

It takes one JSON object a line on standard input: `{"reset": PROFILE}` resets one established connection of that
profile, the one that gets the next bytes.  It writes one JSON object a line on standard output: its ports when it
is ready, and after each order how many connections were reset so far.  It stops when its standard input ends,
which is when the run is over or its process has died in whatever manner.
"""

from __future__ import annotations

import argparse
import json
import sys
from contextlib import AsyncExitStack, suppress
from typing import TYPE_CHECKING, Any

import anyio
from anyio import to_thread

from resilient_sse.testing.proxy import FaultProxy, Reset

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["Line", "main"]

# The headers of an answer and two or three events.  What is reset is a stream that works: an attempt to open one
# is so short that few are hit in practice, but always sends at once, and would be the next to get bytes too often.
_ESTABLISHED_BYTES = 600


class Line:
    """
    One proxy and the resets that it still owes.

    Args:
        proxy: The proxy.
    """

    def __init__(self, proxy: FaultProxy) -> None:
        self._proxy = proxy
        self._ordered = 0

    def reset_one(self) -> None:
        """Reset the established connection that gets the next bytes: of many that are alike, any of them."""
        if self._proxy.counters.resets >= self._ordered:
            self._proxy.clear()  # what has struck would be looked at for every segment
        self._proxy.add(Reset(after=_ESTABLISHED_BYTES, times=1))
        self._ordered += 1

    @property
    def resets(self) -> int:
        """How many connections were reset."""
        return self._proxy.counters.resets


async def _serve(host: str, port: int, profiles: Sequence[str], seed: int) -> None:
    async with AsyncExitStack() as stack:
        lines: dict[str, Line] = {}
        ports: dict[str, int] = {}
        for number, name in enumerate(profiles):
            proxy = await stack.enter_async_context(FaultProxy(host, port, profile=name, seed=seed + number))
            lines[name] = Line(proxy)
            ports[name] = proxy.port
        _tell({"ports": ports})
        await _obey(lines)


async def _obey(lines: Mapping[str, Line]) -> None:
    """Carry out orders until there are no more."""
    while order := await to_thread.run_sync(sys.stdin.buffer.readline, abandon_on_cancel=True):
        told: dict[str, Any] = json.loads(order)
        lines[told["reset"]].reset_one()
        _tell({"resets": sum(line.resets for line in lines.values())})
    _tell({"resets": sum(line.resets for line in lines.values())})


def _tell(fact: dict[str, Any]) -> None:
    with suppress(OSError):  # if nobody is left to read it, the end is near
        print(json.dumps(fact), flush=True)  # noqa: T201 - this is what the process is for


def main(argv: Sequence[str] | None = None) -> None:
    """Run until standard input ends."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--profiles", required=True)
    parser.add_argument("--seed", type=int, required=True)
    given = parser.parse_args(argv)
    with suppress(KeyboardInterrupt):
        anyio.run(_serve, given.host, given.port, given.profiles.split(","), given.seed)


if __name__ == "__main__":
    main()

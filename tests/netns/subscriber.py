"""
A client in a process of its own that tells all it sees: `python subscriber.py URL`.

It writes one JSON object a line, with the time on the clock that all processes of the machine share: `ready`,
`change`, `event`, `gap`, and at the end `end`, with the statistics and the error if there was one.  It ends with
its stream, after so many events, or when its standard input does.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import anyio

from resilient_sse import Backoff, ResilientSSEError, ResilientStream, integers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from resilient_sse import Gap, ServerSentEvent, StateChange

__all__ = ["main"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Options:
    url: str
    backend: str
    count: int | None
    sequence: bool
    arguments: dict[str, Any]


def main(argv: Sequence[str] | None = None) -> int:
    """
    Follow a stream to its end and return the exit code: 1 after an error of the stream's.

    Args:
        argv: The arguments; `None` for those of the process.
    """
    options = _parse(argv)
    return anyio.run(_run, options, backend=options.backend)


def _parse(argv: Sequence[str] | None) -> _Options:
    parser = argparse.ArgumentParser(prog="subscriber", description="Follow a stream and tell all about it.")
    parser.add_argument("url")
    parser.add_argument("--backend", choices=["asyncio", "trio"], default="asyncio")
    parser.add_argument("--count", type=int, help="end after so many events")
    parser.add_argument("--sequence", action="store_true", help="ids are numbers that count up by one")
    parser.add_argument(
        "--arguments", type=json.loads, default={}, help="a JSON object: keyword arguments of ResilientStream"
    )
    given = parser.parse_args(argv)
    return _Options(
        url=given.url,
        backend=given.backend,
        count=given.count,
        sequence=given.sequence,
        arguments=given.arguments,
    )


async def _run(options: _Options) -> int:
    code = 0
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_watch_input, tasks.cancel_scope)
        code = await _follow(options)
        tasks.cancel_scope.cancel()
    return code


async def _follow(options: _Options) -> int:
    arguments = dict(options.arguments)
    if isinstance(arguments.get("backoff"), dict):
        arguments["backoff"] = Backoff(**arguments["backoff"])
    if options.sequence:
        arguments["sequence"] = integers
    stream = ResilientStream(options.url, on_state_change=_tell_change, on_gap=_tell_gap, **arguments)
    failure: ResilientSSEError | None = None
    _tell("ready")
    try:
        async with stream:
            left = options.count
            async for event in stream:
                _tell_event(event)
                if left is not None and (left := left - 1) == 0:
                    break
    except ResilientSSEError as error:
        failure = error
    finally:
        words = None if failure is None else f"{type(failure).__name__}: {failure}"
        _tell("end", stats=stream.stats.to_dict(), error=words)
    return 0 if failure is None else 1


async def _watch_input(scope: anyio.CancelScope) -> None:
    """End everything when whoever started this has gone or had enough."""
    while True:
        await anyio.wait_readable(sys.stdin)
        if not os.read(sys.stdin.fileno(), 4096):
            scope.cancel()
            return


def _tell_change(change: StateChange) -> None:
    _tell(
        "change",
        old=change.old.value,
        new=change.new.value,
        reason=change.reason.value,
        attempt=change.attempt,
        delay=change.delay,
        message=change.message,
        status=change.status,
        error=None if change.error is None else f"{type(change.error).__name__}: {change.error}",
    )


def _tell_event(event: ServerSentEvent) -> None:
    _tell(
        "event",
        id=event.id,
        event=event.event,
        data=event.data,
        last_event_id=event.last_event_id,
        connection=event.connection,
    )


def _tell_gap(gap: Gap) -> None:
    _tell(
        "gap",
        gap=gap.kind,
        after_id=gap.after_id,
        before_id=gap.before_id,
        missing=gap.missing,
    )


def _tell(kind: str, **fields: object) -> None:
    sys.stdout.write(json.dumps({"kind": kind, "at": time.monotonic(), **fields}) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())

"""What `serve` does."""

from __future__ import annotations

import errno
import json
import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal, cast

from resilient_sse.cli.exits import Exit, complain, end_with_stdin

if TYPE_CHECKING:
    from collections.abc import Generator
    from types import FrameType

    from resilient_sse.cli.serve.arguments import ServeOptions
    from resilient_sse.testing.server import EventStore, ReferenceServer, RunningServer

__all__ = ["run_serve"]


def run_serve(options: ServeOptions) -> int:
    """
    Run the server until it is told to end, and return the exit code.

    Raises:
        OSError: The output cannot be written.
    """
    try:
        from resilient_sse.testing.server import RunningServer  # noqa: PLC0415 - needs an extra

        server = _server(options)
    except (ModuleNotFoundError, ValueError) as error:
        complain(str(error))
        return Exit.USAGE
    with _told_to_end() as (ended, interrupted):
        try:
            running = RunningServer(server, options.host, options.port)
        except OSError as error:
            complain(_why_not(options, error))
            return Exit.USAGE
        try:
            if unreachable := _store_failure(running):
                complain(f"the store is out of reach; check --store: {unreachable}")
                return Exit.USAGE
            _say(running, options)
            if options.stdin:
                end_with_stdin(ended)
            ended.wait()
        finally:
            running.stop()
    return Exit.INTERRUPTED if interrupted.is_set() else Exit.ENDED


def _server(options: ServeOptions) -> ReferenceServer:
    from resilient_sse.testing.server import RateLimit, ReferenceServer  # noqa: PLC0415 - needs an extra
    from resilient_sse.testing.server.publisher import Publisher  # noqa: PLC0415 - needs an extra

    server = ReferenceServer(
        _store(options),
        heartbeat=options.heartbeat,
        heartbeat_ids=options.heartbeat_ids,
        retry=options.retry,
        start=cast("Literal['live', 'first']", options.start),
        gzip=options.gzip,
        rate_limit=None if options.rate_limit is None else RateLimit(*options.rate_limit),
    )
    if options.publish is not None:
        Publisher(
            count=options.publish,
            rate=options.rate,
            users=options.users,
            size=options.size,
            complete=options.complete,
        ).attach(server)
    return server


def _store(options: ServeOptions) -> EventStore:
    from resilient_sse.testing.server import MemoryStore, RedisStore, SQLiteStore  # noqa: PLC0415 - see above

    if options.store == "memory":
        return MemoryStore(history=options.history)
    if options.store.startswith("sqlite:"):
        return SQLiteStore(options.store.removeprefix("sqlite:"), history=options.history)
    try:
        return RedisStore(options.store, history=options.history)
    except ValueError as error:
        raise ValueError(f"--store: {error}") from error


def _store_failure(running: RunningServer) -> str | None:
    """Ask the store for something: better to fail now than at the first request."""
    from resilient_sse.testing.server import StoreError  # noqa: PLC0415 - needs an extra

    try:
        running.call(running.server.store.last("default"))
    except StoreError as error:
        return str(error)
    return None


def _why_not(options: ServeOptions, error: OSError) -> str:
    where = f"port {options.port} of {options.host}"
    if error.errno == errno.EADDRINUSE:
        return f"{where} is taken; choose another with --port, or 0 for a free one"
    return f"cannot listen on {where}: {error.strerror or error}; see --host and --port"


def _say(running: RunningServer, options: ServeOptions) -> None:
    """Say where it listens."""
    if options.json:
        told = {"url": running.url, "base_url": running.base_url, "host": running.host, "port": running.port}
        print(json.dumps(told), flush=True)
    else:
        print(f"serving {running.url}; Ctrl-C ends it", flush=True)


@contextmanager
def _told_to_end() -> Generator[tuple[threading.Event, threading.Event]]:
    """Give two events: one that is set when the command shall end, one that says that it was Ctrl-C."""
    ended, interrupted = threading.Event(), threading.Event()

    def end(number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGINT:
            interrupted.set()
        ended.set()

    if threading.current_thread() is not threading.main_thread():  # signals are the main thread's
        yield ended, interrupted
        return
    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield ended, interrupted
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

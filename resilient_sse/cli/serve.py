"""`resilient-sse serve`: the reference server as a process."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import click

from resilient_sse.cli.arguments import (
    ABOVE_ZERO,
    COUNT,
    COUNT_OR_NONE,
    SECONDS_OR_NONE,
    Whole,
    checked,
    command,
    json_option,
    option,
    refuse,
    stdin_option,
)
from resilient_sse.cli.exits import Exit, at_sigterm, complain, open_more_files, stdin_chunks

if TYPE_CHECKING:
    from resilient_sse.testing.server import EventStore, ReferenceServer


def _host(text: str) -> str:
    if not text.strip():  # the system takes that for every address that it has
        raise click.BadParameter("an address is needed, such as 127.0.0.1; 0.0.0.0 is every address")
    return text


def _store(text: str) -> str:
    """Check the text of a store; a URL may hold a password and is not quoted."""
    kind, _, rest = text.partition(":")
    if text == "memory":
        return text
    if kind == "sqlite" and rest.startswith(":memory:"):
        raise click.BadParameter(f"{text!r} names no file; leave --store out to keep events in memory")
    if kind == "sqlite" and rest.startswith(("//", "file:")):  # which would be taken for the name of a file
        form = "write sqlite:PATH, such as sqlite:events.db or sqlite:/var/lib/events.db"
        raise click.BadParameter(f"{text!r} is a URL; {form}")
    if kind == "sqlite" and rest:
        try:
            return f"sqlite:{Path(rest).expanduser()}"
        except RuntimeError:
            raise click.BadParameter(f"{text!r}: nobody of that name has a home here") from None
    if kind in ("redis", "rediss", "unix") and rest.startswith("//"):
        try:
            parts = urlsplit(text)
            _ = parts.port, kind == "unix" or int(parts.path.strip("/") or 0)
        except ValueError:
            form = "redis://HOST:PORT/DB, with a port of 0 to 65535 and a number for DB"
            raise click.BadParameter(f"a Redis store is {form}") from None
        return text
    raise click.BadParameter(f"{text!r} is not a store: memory, sqlite:PATH or redis://HOST:PORT/DB")


_START = click.Choice(["live", "first"])

_streams = partial(option, section="Streams")
_publishing = partial(option, section="Publishing by itself")


@command(
    "Run the reference server.",
    "Run the reference server: GET /api/v1/stream, POST /api/v1/publish, GET /api/v1/stats, and at / a page that "
    "shows the stream.  Needs the extra resilient-sse[testing].",
    examples="""
resilient-sse serve --publish 50 --rate 10 --complete
resilient-sse serve --port 0 --store sqlite:events.db --json --stdin
""",
    exits={0: "ended", 2: "wrong arguments, a port that is taken, or something is not installed"},
)
@option("--host", type=_host, metavar="ADDRESS", default="127.0.0.1", help="0.0.0.0 is every address.")
@option("--port", type=Whole(0, 65_535), default=8000, help="0 takes a free one.")
@option(
    "--store",
    type=_store,
    metavar="STORE",
    default="memory",
    help="Or sqlite:PATH (~ is your home), redis://HOST:PORT/DB.",
)
@option("--history", type=COUNT, help="How many events of each user are kept; all by default.")
@json_option
@stdin_option
@_streams(
    "--start", type=_START, default="live", help="What a client without an id gets: what comes, or all."
)
@_streams("--heartbeat", type=SECONDS_OR_NONE, default=10.0, help="Between heartbeats, or none.")
@_streams("--retry", type=COUNT_OR_NONE, default=1000, help="The reconnection time in ms, or none.")
@_publishing("--publish", type=COUNT, help="Send so many events to a user who opens a stream.")
@_publishing("--rate", type=ABOVE_ZERO, help="Events a second for each user; 1 by default.")
@_publishing("--users", type=COUNT, help="How many users get any; 1 by default.")
@_publishing("--complete", is_flag=True, help="Send the event 'done' after the last one.")
def serve(*, host: str, port: int, as_json: bool, stdin: bool, **given: Any) -> int:
    """Run a server, made of what is *given*, until it is told to end."""
    without = [name for name in ("rate", "users", "complete") if given[name]]
    if without and given["publish"] is None:
        refuse(f"--{without[0]} says how to publish; add --publish N")
    with checked():
        server = _made(**given)

    import anyio

    from resilient_sse.testing.server import RunningServer, StoreError

    async def run() -> int:
        with anyio.CancelScope() as scope:
            at_sigterm(scope.cancel)
            try:
                running = RunningServer(server, host, port)  # in a thread of its own: this one waits
            except OSError as error:
                complain(f"{error.strerror or error}")
                return Exit.USAGE
            try:
                running.call(server.store.last("default"))  # better to fail now than at the first request
                told = {name: getattr(running, name) for name in ("url", "base_url", "host", "port")}
                print(json.dumps(told) if as_json else f"serving {running.url}; Ctrl-C ends it", flush=True)
                if not stdin:
                    await anyio.sleep_forever()
                async for _ in stdin_chunks():
                    pass
            except StoreError as error:
                complain(f"the store is out of reach; check --store: {error}")
                return Exit.USAGE
            finally:
                running.stop()
        return Exit.ENDED

    open_more_files()
    return anyio.run(run)


def _made(
    *,
    store: str,
    history: int | None,
    publish: int | None,
    rate: float | None,
    users: int | None,
    complete: bool,
    **given: Any,
) -> ReferenceServer:
    """Make a server with its store and its publisher; the rest that is *given* has the names of its arguments."""
    from resilient_sse.testing.server import ReferenceServer
    from resilient_sse.testing.server.publisher import publish_to_each

    server = ReferenceServer(_opened(store, history), **given)
    if publish is not None:
        publish_to_each(server, publish, rate=rate or 1.0, users=users or 1, complete=complete)
    return server


def _opened(store: str, history: int | None) -> EventStore:
    from resilient_sse.testing.server import MemoryStore, RedisStore, SQLiteStore

    if store == "memory":
        return MemoryStore(history=history)
    if store.startswith("sqlite:"):
        return SQLiteStore(store.removeprefix("sqlite:"), history=history)
    try:
        return RedisStore(store, history=history)
    except ValueError as error:
        raise ValueError(f"--store: {error}") from error

"""`resilient-sse relay`: streams into Redis Streams."""

from __future__ import annotations

import logging
import signal
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import click

from resilient_sse.cli.arguments import COUNT, checked, command, option, refuse
from resilient_sse.cli.exits import Exit, at_sigterm, complain
from resilient_sse.cli.request import header_option, url_of
from resilient_sse.testing.wire import counted

_CONNECT_SECONDS = 5.0


@command(
    "Copy streams into Redis Streams.",
    "Copy the event stream at URL into a Redis Stream: one copy of each, in order, whatever is killed when.  "
    "With --config, share many streams with other workers.  Runs until SIGTERM or Ctrl-C, or until the stream is "
    "complete.",
    examples="""
resilient-sse relay https://host/trades --to redis://127.0.0.1/0 --stream trades --maxlen 1000000
resilient-sse relay --config relay.toml
""",
    exits={
        0: "the stream is complete, or SIGTERM ended it",
        3: "the answer is no event stream (status or content type)",
        4: "Redis cannot be reached or refuses, or the Redis Stream is another relay's, stream's or program's",
    },
)
@click.argument("url", type=url_of, required=False)
@option("--to", metavar="URL", help="The Redis or Valkey, such as redis://127.0.0.1/0.")
@option("--stream", "name", metavar="NAME", help="The Redis Stream, made if it does not exist.")
@header_option
@option("--maxlen", type=COUNT, help="About how many entries are kept; all by default.")
@option("--any-source", is_flag=True, help="Go on with what was copied from another URL.")
@option(
    "--config",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A file in TOML that names Redis and many streams; nothing else may be given.",
)
def relay(
    *,
    url: str | None,
    to: str | None,
    name: str | None,
    headers: tuple[tuple[str, str], ...],
    maxlen: int | None,
    any_source: bool,
    config: Path | None,
) -> int:
    """Copy until the stream ends, or the program is told to."""
    given = [url, to, name]
    if config is not None and any([*given, headers, maxlen, any_source]):
        refuse("--config says all; give nothing beside it")
    if config is None and not all(given):
        refuse("URL, --to and --stream are needed, or --config")
    import anyio

    if config is not None:
        from resilient_sse.relay import load_config, run_worker

        with checked():
            found = load_config(config)
        return anyio.run(_ending, run_worker(found))

    from resilient_sse import ResilientStream
    from resilient_sse.relay import RedisLog, Relay

    def opened(position: str | None) -> ResilientStream:
        return ResilientStream(str(url), headers=[*headers], last_event_id=position, max_retries=None)

    with checked():
        opened(None)  # which checks the arguments, and connects to nothing
        first, log = (
            RedisLog(str(to), maxlen=maxlen, retry_for=seconds) for seconds in (_CONNECT_SECONDS, None)
        )

    async def run() -> None:
        with anyio.CancelScope() as scope:
            at_sigterm(scope.cancel)
            # A wrong address is told of; later a server that is away is waited for.
            await first.load(str(name))
            copying = Relay(opened, log, str(name), check_source=not any_source)
            try:
                await copying.run()
            finally:
                print(
                    f"{counted(copying.appended, 'event')} appended to {name!r}", file=sys.stderr, flush=True
                )

    return anyio.run(_ending, run())


async def _ending(work: Coroutine[Any, Any, int | None]) -> Exit:
    """Do the work, and return how it ended."""
    import redis

    logging.basicConfig(stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("resilient_sse").setLevel(logging.INFO)
    try:
        told = await work
    except (redis.RedisError, OSError) as error:
        complain(f"Redis: {error}")
        return Exit.OTHER
    return Exit.INTERRUPTED if told == signal.SIGINT else Exit.ENDED

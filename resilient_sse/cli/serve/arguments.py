"""What `serve` accepts."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from resilient_sse.cli.numbers import count, digits, number, seconds_or_none

__all__ = ["ServeOptions", "add_serve", "serve_options"]

_PORT = 8000
_PORTS = 65535
_RETRY = 1000
_LEAST_BYTES = 24
_MOST_BYTES = 16 * 1024 * 1024  # of an event, for a client that was not told otherwise
_EPILOG = (
    "exit codes: 0 ended, 2 wrong arguments, a port that is taken or something is not installed, 130 Ctrl-C"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeOptions:
    """What `serve` was asked for; `serve_options` has checked it."""

    host: str = "127.0.0.1"
    port: int = _PORT
    store: str = "memory"
    start: str = "live"
    history: int | None = None
    heartbeat: float | None = 10.0
    heartbeat_ids: bool = False
    retry: int | None = _RETRY
    gzip: bool = False
    rate_limit: tuple[int, float] | None = None
    publish: int | None = None
    rate: float = 1.0
    users: int = 1
    size: int = 100
    complete: bool = False
    json: bool = False
    stdin: bool = False


def add_serve(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.description = (
        "Run the reference server: GET /api/v1/stream, POST /api/v1/publish, GET /api/v1/stats, "
        "and at / a page that shows the stream.  "
        "Needs the extra resilient-sse[testing]."
    )
    parser.epilog = _EPILOG
    parser.add_argument(
        "--host", type=_host, default="127.0.0.1", metavar="ADDRESS", help="127.0.0.1 by default"
    )
    parser.add_argument(
        "--port", type=_port, default=_PORT, metavar="N", help=f"{_PORT} by default; 0 for a free one"
    )
    parser.add_argument(
        "--store",
        type=_store,
        default="memory",
        metavar="STORE",
        help="memory (default), sqlite:PATH (a file, ~ is your home), or redis://HOST:PORT/DB",
    )
    parser.add_argument(
        "--history", type=count, metavar="N", help="how many events of each user are kept; all by default"
    )
    parser.add_argument("--json", action="store_true", help="say where it listens as a line of JSON")
    parser.add_argument("--stdin", action="store_true", help="end when standard input ends")
    _add_streams(parser)
    _add_publishing(parser)


def _add_streams(parser: argparse.ArgumentParser) -> None:
    streams = parser.add_argument_group("streams")
    streams.add_argument(
        "--start",
        choices=["live", "first"],
        default="live",
        help="what a client without an id gets: what comes (default), or everything",
    )
    streams.add_argument(
        "--heartbeat",
        type=seconds_or_none,
        default=10.0,
        metavar="SECONDS",
        help="time between heartbeats, or none; 10 by default",
    )
    streams.add_argument("--heartbeat-ids", action="store_true", help="number heartbeats like events")
    streams.add_argument(
        "--retry",
        type=_milliseconds_or_none,
        default=_RETRY,
        metavar="MS",
        help=f"the reconnection time to send, or none; {_RETRY} by default",
    )
    streams.add_argument("--gzip", action="store_true", help="compress for clients that accept it")
    streams.add_argument(
        "--rate-limit",
        type=_limit,
        metavar="N/SECONDS",
        help="how often one user may open a stream; then 429 with Retry-After",
    )


def _add_publishing(parser: argparse.ArgumentParser) -> None:
    publishing = parser.add_argument_group("publishing by itself")
    publishing.add_argument(
        "--publish", type=count, metavar="N", help="send N events to a user who opens a stream"
    )
    publishing.add_argument(
        "--rate", type=_rate, metavar="R", help="events a second for each user; 1 by default"
    )
    publishing.add_argument("--users", type=count, metavar="U", help="how many users get any; 1 by default")
    publishing.add_argument(
        "--size", type=_size, metavar="BYTES", help="the size of a payload; 100 by default"
    )
    publishing.add_argument(
        "--complete", action="store_true", help="send the event 'done' after the last one"
    )


def serve_options(given: argparse.Namespace) -> ServeOptions:
    """
    Make options of what was parsed.

    Raises:
        ValueError: Arguments do not go together.
    """
    if given.publish is None:
        without = [name for name in ("rate", "users", "size", "complete") if getattr(given, name)]
        if without:
            raise ValueError(f"--{without[0]} says how to publish; add --publish N")
    if given.heartbeat_ids and given.heartbeat is None:
        raise ValueError("--heartbeat-ids needs heartbeats; leave --heartbeat none out")
    return ServeOptions(
        host=given.host,
        port=given.port,
        store=given.store,
        start=given.start,
        history=given.history,
        heartbeat=given.heartbeat,
        heartbeat_ids=given.heartbeat_ids,
        retry=given.retry,
        gzip=given.gzip,
        rate_limit=given.rate_limit,
        publish=given.publish,
        rate=given.rate or 1.0,
        users=given.users or 1,
        size=given.size or 100,
        complete=given.complete,
        json=given.json,
        stdin=given.stdin,
    )


def _host(text: str) -> str:
    if not text.strip():  # the system takes that for every address that it has
        raise argparse.ArgumentTypeError("an address is needed, such as 127.0.0.1; 0.0.0.0 is every address")
    return text


def _port(text: str) -> int:
    port = digits(text)
    if port is None or port > _PORTS:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port, 0 to {_PORTS}")
    return port


def _milliseconds_or_none(text: str) -> int | None:
    if text == "none":
        return None
    milliseconds = digits(text)
    if milliseconds is None:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a whole number of milliseconds nor none")
    return milliseconds


def _size(text: str) -> int:
    size = digits(text)
    if size is None or size < _LEAST_BYTES:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of bytes, {_LEAST_BYTES} or more")
    if size > _MOST_BYTES:
        raise argparse.ArgumentTypeError(f"{text!r} is too much for an event; {_MOST_BYTES} bytes at most")
    return size


def _rate(text: str) -> float:
    rate = number(text)
    if not rate > 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of events a second above 0")
    return rate


def _limit(text: str) -> tuple[int, float]:
    requests, _, seconds = text.partition("/")
    streams, per = digits(requests), number(seconds)
    if not streams or not per > 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a limit like 10/60: 10 streams in 60 seconds")
    return streams, per


def _store(text: str) -> str:
    kind, _, rest = text.partition(":")
    if kind == "sqlite" and rest:
        return f"sqlite:{_path(text, rest)}"
    if kind in ("redis", "rediss", "unix") and rest.startswith("//"):
        _check_redis(text)
        return text
    if text == "memory":
        return text
    raise argparse.ArgumentTypeError(f"{text!r} is not a store: memory, sqlite:PATH or redis://HOST:PORT/DB")


def _path(text: str, path: str) -> str:
    """Return the file of a SQLite store; a URL of other programs would be taken for a file's name."""
    if path.startswith(":memory:"):
        raise argparse.ArgumentTypeError(
            f"{text!r} names no file; leave --store out to keep events in memory"
        )
    if path.startswith(("//", "file:")):
        form = "write sqlite:PATH, such as sqlite:events.db or sqlite:/var/lib/events.db"
        raise argparse.ArgumentTypeError(f"{text!r} is a URL; {form}")
    try:
        return str(Path(path).expanduser())
    except RuntimeError:
        raise argparse.ArgumentTypeError(f"{text!r}: nobody of that name has a home here") from None


def _check_redis(text: str) -> None:
    # The text is not quoted: it may hold a password.
    form = "a Redis store is redis://HOST:PORT/DB, with a port of 0 to 65535 and a number for DB"
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        raise argparse.ArgumentTypeError(form) from None
    if parts.scheme != "unix" and digits(parts.path.strip("/") or "0") is None:
        raise argparse.ArgumentTypeError(form)

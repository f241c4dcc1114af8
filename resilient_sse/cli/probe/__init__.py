"""`resilient-sse probe`: what a server does right and wrong, and what to change."""

from __future__ import annotations

import json
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

from resilient_sse.cli.arguments import ABOVE_ZERO, checked, command, json_option, option, quiet_option
from resilient_sse.cli.exits import Exit, complain, explain
from resilient_sse.cli.output import escape
from resilient_sse.cli.request import NETWORK, client_of, request_of, request_options

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from resilient_sse.cli.probe.asking import Findings
    from resilient_sse.cli.probe.checks import Check

__all__ = ["probe"]

_WIDTH = 80
_MARKS = {"ok": "green", "warn": "yellow", "fail": "bold red", "not seen": "dim"}
_SECRET = {"location", "set-cookie", "www-authenticate"}


@command(
    "Check what a server does right and wrong.",
    "Ask for the event stream at URL a few times, measure, and go through the checklist for servers: headers, "
    "buffering and compression on the way, heartbeats, ids, resuming.  Each point says what to change.",
    examples="""
resilient-sse probe https://host/stream
resilient-sse probe -H 'Authorization: Bearer TOKEN' --timeout 20 --json https://host/stream
""",
    exits={
        0: "no check failed",
        1: "a check failed",
        3: "the answer is no event stream (status or content type)",
        4: "no answer: no connection, no TLS, no HTTP; or the output cannot be written",
    },
)
@request_options
@option("--again", is_flag=True, help="Send a request other than GET several times.")
@option("--resume-param", metavar="NAME", help="A query parameter that takes the id.")
@option("--timeout", "-m", type=ABOVE_ZERO, default=45.0, help="Seconds for all of it.")
@json_option
@quiet_option
def probe(
    *,
    url: str,
    method: str | None,
    headers: tuple[tuple[str, str], ...],
    data: tuple[bytes, ...],
    timeout: float,
    as_json: bool,
    quiet: bool,
    **given: Any,
) -> int:
    """Examine the server; how it is asked is *given* beside."""
    cast("dict[str, Any]", sys.modules).setdefault("httpx._main", None)  # see `tail`
    import anyio

    from resilient_sse import ResilientSSEError
    from resilient_sse.cli.probe.asking import Probe
    from resilient_sse.cli.probe.checks import FAIL, check_all

    client = client_of(**{name: given.pop(name) for name in NETWORK})
    request = {"url": url, **request_of(method, headers, data)}

    async def run() -> Findings:
        async with client:
            return await doctor.run()

    try:
        with _progress(quiet=quiet) as tell:
            with checked():
                doctor = Probe(client, request, seconds=timeout, tell=tell, **given)
            found = anyio.run(run)
    except ResilientSSEError as error:
        return explain(error)
    checks = check_all(found)
    figures = _figures(found)
    if as_json:
        print(json.dumps({**figures, "checks": [check._asdict() for check in checks]}, indent=2), flush=True)
    else:
        _print(figures, checks)
    if found.first.status and not found.first.is_stream:
        complain(f"the answer is no event stream: {checks[0].found}")
        return Exit.REFUSED
    return Exit.GAVE_UP if any(check.verdict == FAIL for check in checks) else Exit.ENDED


@contextmanager
def _progress(*, quiet: bool) -> Generator[Callable[[str], object]]:
    """Say on standard error what is waited for: in one line that changes, or in a line for each thing."""
    if quiet:
        yield lambda _text: None
    elif sys.stderr.isatty():
        from rich.console import Console
        from rich.text import Text

        with Console(stderr=True, highlight=False).status("") as status:
            yield lambda text: status.update(Text(escape(text)))
    else:
        said: set[str] = set()

        def say(text: str) -> None:
            what = text.partition(":")[0]
            if what not in said:
                print(f"* {escape(what)}", file=sys.stderr, flush=True)
            said.add(what)

        yield say


def _figures(found: Findings) -> dict[str, Any]:
    """Return what was measured, in seconds from the request."""
    first = found.first
    return {
        "request": f"{found.method} {found.url}",
        "status": first.status,
        "protocol": first.version,
        "headers": {name: "..." if name in _SECRET else value for name, value in first.headers.items()},
        "headers_at": first.headers_at if first.status else None,
        "first_byte_at": first.first_byte,
        "first_event_at": first.first_event,
        "seconds": first.seconds,
        "bytes": first.size,
        "events": len(first.events),
        "heartbeats": len(first.beats),
        "heartbeat_every": first.cadence,
        "longest_silence": first.longest_silence,
    }


def _print(figures: dict[str, Any], checks: list[Check]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False, width=None if sys.stdout.isatty() else _WIDTH)
    times = ((name, figures[f"{name}_at"]) for name in ("headers", "first_byte", "first_event"))
    told = [f"{name.replace('_', ' ')} {'never' if at is None else f'{at:.2f} s'}" for name, at in times]
    table = Table.grid(padding=(0, 2, 0, 0))
    for check in checks:
        table.add_row(Text(check.verdict, _MARKS[check.verdict]), check.id, Text(escape(check.found)))
        if check.change:
            table.add_row("", "", Text(f"-> {check.change}", "dim"))
    with console.capture() as capture:
        console.print(Text(escape(figures["request"]), "bold"))
        console.print(Text(f"{figures['protocol']} {figures['status']}; {', '.join(told)}"))
        for name, value in figures["headers"].items():
            console.print(Text(escape(f"  {name}: {value}"), "dim"), no_wrap=True, overflow="ellipsis")
        console.print("", table, "", sep="\n")
    lines = [line.rstrip() for line in capture.get().splitlines()]
    count = [f"{sum(check.verdict == mark for check in checks)} {mark}" for mark in _MARKS]
    print(*lines, f"{', '.join(count)}.", sep="\n", flush=True)

"""`resilient-sse probe`: what a server does right and wrong, and what to change."""

from __future__ import annotations

import json
import re
import sys
from base64 import b64encode
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import unquote_plus, urlsplit

from resilient_sse.cli.arguments import ABOVE_ZERO, checked, command, json_option, option, quiet_option
from resilient_sse.cli.exits import Exit, complain
from resilient_sse.cli.output import one_line, show
from resilient_sse.cli.request import NETWORK, client_of, request_of, request_options

if TYPE_CHECKING:
    from resilient_sse.cli.probe.asking import Findings
    from resilient_sse.cli.probe.checks import Check

_MARKS = {"ok": "green", "warn": "yellow", "fail": "bold red", "not seen": "dim"}
_SECRET = {"location", "set-cookie", "www-authenticate"}
# Headers of ours whose values are no secrets, and what is too short to be one.
_PLAIN = {"accept", "accept-encoding", "accept-language", "cache-control", "content-type", "user-agent"}
_SHORTEST = 4


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

    from resilient_sse._client.request import RequestTemplate
    from resilient_sse.cli.probe.asking import examine
    from resilient_sse.cli.probe.checks import check_all

    client = client_of(**{name: given.pop(name) for name in NETWORK})
    with checked():
        template = RequestTemplate(url=url, **request_of(method, headers, data))
    masked = _mask(url, headers, given["auth"])

    def tell(what: str) -> None:
        if not quiet:
            print(f"* waiting for {masked(what)}", file=sys.stderr, flush=True)

    async def run() -> Findings:
        async with client:
            return await examine(client, template, seconds=timeout, tell=tell, **given)

    found = anyio.run(run)
    checks = [check._replace(found=masked(check.found)) for check in check_all(found)]
    figures = _figures(found, masked)
    if as_json:
        print(json.dumps({**figures, "checks": [check._asdict() for check in checks]}, indent=2), flush=True)
    else:
        _print(figures, checks)
    if found.first.status and not found.first.is_stream:
        complain(f"the answer is no event stream: {checks[0].found}")
        return Exit.REFUSED
    return Exit.GAVE_UP if any(check.verdict == "fail" for check in checks) else Exit.ENDED


def _mask(url: str, headers: Sequence[tuple[str, str]], auth: tuple[str, str] | None) -> Callable[[str], str]:
    """Return what writes a text of the server without what it may echo: our query, credentials and headers."""
    parts = urlsplit(url)
    user, password = auth or (parts.username or "", parts.password or "")
    values = [parts.query, *(piece.partition("=")[2] for piece in parts.query.split("&"))]
    values += [unquote_plus(value) for value in values]
    values += [password, f"{user}:{password}", b64encode(f"{user}:{password}".encode()).decode()]
    for name, value in headers:
        if name.lower() not in _PLAIN:
            values += [value, *value.split()]
    secrets = sorted({value for value in values if len(value) >= _SHORTEST}, key=len, reverse=True)
    pattern = re.compile("|".join(map(re.escape, secrets)) or "(?!)")
    return lambda text: one_line(pattern.sub("...", text))


def _figures(found: Findings, masked: Callable[[str], str]) -> dict[str, Any]:
    """Return what was measured, in seconds from the request."""
    first = found.first
    return {
        "request": f"{found.method} {one_line(found.url)}",
        "status": first.status,
        "protocol": first.version,
        "headers": {
            name: "..." if name in _SECRET else masked(value) for name, value in first.headers.items()
        },
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
    from rich.table import Table
    from rich.text import Text

    times = ((name, figures[f"{name}_at"]) for name in ("headers", "first_byte", "first_event"))
    told = [f"{name.replace('_', ' ')} {'never' if at is None else f'{at:.2f} s'}" for name, at in times]
    table = Table.grid(padding=(0, 2, 0, 0))
    for check in checks:
        table.add_row(Text(check.verdict, _MARKS[check.verdict]), check.id, Text(check.found))
        if check.change:
            table.add_row("", "", Text(f"-> {check.change}", "dim"))
    count = [f"{sum(check.verdict == mark for check in checks)} {mark}" for mark in _MARKS]
    show(
        Text(figures["request"], "bold"),
        Text(f"{figures['protocol']} {figures['status']}; {', '.join(told)}"),
        *(
            Text(f"  {name}: {value}", "dim", no_wrap=True, overflow="ellipsis")
            for name, value in figures["headers"].items()
        ),
        "",
        table,
        f"\n{', '.join(count)}.",
    )

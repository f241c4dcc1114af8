"""`resilient-sse tail`: events to standard output, everything else to standard error."""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Callable
from contextlib import nullcontext
from datetime import datetime
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, cast

import click

from resilient_sse.cli.arguments import (
    COUNT,
    COUNT_OR_NONE,
    SECONDS_OR_NONE,
    checked,
    command,
    option,
)
from resilient_sse.cli.exits import Exit, at_sigterm, complain
from resilient_sse.cli.output import Output, escape, escaped_json, one_line
from resilient_sse.cli.request import NETWORK, client_of, request_of, request_options

if TYPE_CHECKING:
    from resilient_sse import ResilientStream, ServerSentEvent
    from resilient_sse._core.ports import Fact, Observer

Form: TypeAlias = "Callable[[ServerSentEvent], str]"

_FIELDS: Final = ("event", "data", "id", "last_event_id", "retry", "connection")

_END_SECONDS: Final = 2.0

# Continuation lines start with this, so that data cannot pretend to be the next event.
_INDENT: Final = "    "


def _types(text: str) -> frozenset[str]:
    types = frozenset(text.split(",")) - {""}
    if not types:
        raise click.BadParameter("no event type is named")
    return types


_stream = partial(option, section="Stream")
_end = partial(option, section="End")
_output = partial(option, section="Output")


@command(
    "Follow a stream and print its events.",
    "Follow the event stream at URL, reconnecting and resuming as needed.  Events go to standard output, "
    "everything else to standard error.  A URL without a scheme is http://, and :8000/path is on this machine.",
    examples="""
resilient-sse tail https://host/stream --until done
resilient-sse tail -H 'Authorization: Bearer TOKEN' -d @prompt.json --until '[DONE]' --raw https://host/reply
""",
    exits={
        0: "the stream is complete, or --count was reached",
        1: "gave up: retries are spent",
        3: "the answer is no event stream (status or content type)",
        4: "another failure of the stream or of the output",
        124: "--timeout has passed",
        141: "the reader of the output went away",
        143: "SIGTERM ended it; the event at hand was written, and its position saved",
    },
)
@request_options
@_stream("--last-event-id", metavar="ID", help="Resume after this id.")
@_stream(
    "--checkpoint",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Keep the position in this file, and go on from it next time, whatever --last-event-id says.",
)
@_stream("--resume-param", metavar="NAME", help="A query parameter that carries the id too.")
@_stream("--events", type=_types, metavar="A,B", help="Only events of these types.")
@_stream(
    "--stall-timeout", type=SECONDS_OR_NONE, default=30.0, help="Silence that ends a connection, or none."
)
@_stream("--max-retries", type=COUNT_OR_NONE, default=5, help="Retries that may fail in a row, or none.")
@_stream(
    "--no-reconnect",
    is_flag=True,
    without=["max_retries"],
    help="One connection, whose clean end is the end.",
)
@_end("--until", metavar="TEXT", help="End after the first event of this type, or with exactly this data.")
@_end("--count", type=COUNT, help="End after so many events.")
@_end("--timeout", "-m", "--max-time", type=SECONDS_OR_NONE, help="End after so many seconds, with code 124.")
@_end("--complete-on-eof", is_flag=True, help="A clean end of the response is the end.")
@_output("--json", "as_json", is_flag=True, help="A JSON object a line.")
@_output("--raw", is_flag=True, without=["as_json", "timestamps"], help="The data only.")
@_output("-t", "--timestamps", is_flag=True, help="When each line came, on this machine's clock.")
@_output("-o", "--output", type=click.Path(path_type=Path), metavar="FILE", help="Write events there.")
@_output("-q", "--quiet", "-s", "--silent", is_flag=True, help="No states, only errors.")
@_output("-v", "--verbose", is_flag=True, without=["quiet"], help="Response headers and comments, too.")
def tail(
    *,
    url: str,
    count: int | None,
    timeout: float | None,
    as_json: bool,
    raw: bool,
    timestamps: bool,
    output: Path | None,
    quiet: bool,
    verbose: bool,
    **given: Any,
) -> int:
    """Follow a stream, which is made of the rest that is *given*."""
    # A third of the time to the first request: httpx's own command, which brings rich, where click is installed.
    cast("dict[str, Any]", sys.modules).setdefault("httpx._main", None)
    import anyio

    talk = _talk(verbose=verbose, timestamps=timestamps)
    network = {name: given.pop(name) for name in NETWORK}
    client = client_of(**network) if any(network.values()) else None
    with checked():
        stream = _made(url, client=client, observers=[talk] if verbose else [], **given)
    if not (quiet or verbose):  # an observer is told all of it, which takes more time for each event
        stream.on_state_change(talk)
        stream.on_gap(talk)
    mode: Literal["a", "w"] = "a" if given["checkpoint"] else "w"  # what is committed is not sent again
    with nullcontext(sys.stdout) if output is None else output.open(mode, encoding="utf-8") as file:
        out = Output(file)
        form = _form(as_json=as_json, raw=raw, timestamps=timestamps, terminal=out.terminal)

        async def run() -> Exit:
            async with client or nullcontext():
                return await _run(stream, out, form, count=count, seconds=timeout)

        return anyio.run(run)


def _made(
    url: str,
    *,
    data: tuple[bytes, ...],
    no_reconnect: bool,
    complete_on_eof: bool,
    until: str | None,
    **given: Any,
) -> ResilientStream:
    """Make the stream; what is *given* beside the named has the names of its arguments."""
    from resilient_sse import ResilientStream
    from resilient_sse.checkpoints import SQLiteCheckpoint

    if given["checkpoint"]:
        given["checkpoint"] = store = SQLiteCheckpoint(given["checkpoint"])
        atexit.register(store.close)
        # All that tells streams apart; a query may hold secrets, so it is not written down.
        asked = "\0".join((given["method"] or "", url, *map(repr, data)))
        given["checkpoint_key"] = sha256(asked.encode()).hexdigest()
    given |= request_of(given["method"], given["headers"], data)
    if no_reconnect:
        given["max_retries"] = 0
    if until is not None:

        def ends(event: ServerSentEvent) -> bool:
            return until in (event.event, event.data)

        given["until"] = ends
        given["heartbeat_events"] = {"heartbeat"} - {until}
    if complete_on_eof or no_reconnect:
        given["on_eof"] = "complete"
    return ResilientStream(url, **given)


async def _run(
    stream: ResilientStream, output: Output, form: Form, *, count: int | None, seconds: float | None
) -> Exit:
    import anyio

    told = anyio.Event()

    async def end() -> None:
        await told.wait()
        await stream.aclose()
        await anyio.sleep(_END_SECONDS)  # for the event at hand, unless nobody reads the output
        tasks.cancel_scope.cancel()

    written = 0
    with anyio.move_on_after(seconds) as clock:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(output.watch)
            tasks.start_soon(end)
            at_sigterm(told.set)
            async with stream:
                async for event in stream:
                    await output.write(form(event))
                    written += 1
                    if written == count:
                        break
            tasks.cancel_scope.cancel()
    if clock.cancelled_caught:
        complain(f"ended by --timeout, after {seconds:g} s")
        return Exit.TIMEOUT
    return Exit.TERMINATED if told.is_set() else Exit.ENDED


def _form(*, as_json: bool, raw: bool, timestamps: bool, terminal: bool) -> Form:
    """Return what makes text of an event: an object, the data alone, or a line for people."""
    coloured = terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"

    def line_of(event: ServerSentEvent) -> str:
        label = f"[{escape(event.event if event.id is None else f'{event.event} {event.id}')}]"
        body = escape(event.data).replace("\n", f"\n{_INDENT}")
        stamp = f"{_now()} " if timestamps else ""
        return f"{stamp}{click.style(label, fg='cyan') if coloured else label} {body}\n"

    def object_of(event: ServerSentEvent) -> str:
        fields = {name: getattr(event, name) for name in _FIELDS}
        if timestamps:
            fields["at"] = _now()
        return f"{escaped_json(fields)}\n"

    def data_of(event: ServerSentEvent) -> str:
        return (escape(event.data) if terminal else event.data) + "\n"

    return object_of if as_json else data_of if raw else line_of


def _now() -> str:
    return datetime.now().astimezone().isoformat(timespec="milliseconds")


def _talk(*, verbose: bool, timestamps: bool) -> Observer:
    """Return what tells facts on standard error, with curl's marks: `*` for news, `<` for what the server said."""
    from resilient_sse import Comment, Gap, Opened, Reason, StateChange, StreamState

    def say(mark: str, text: str) -> None:
        stamp = f"{_now()} " if timestamps else ""
        print(f"{stamp}{mark} {one_line(text)}", file=sys.stderr, flush=True)

    def talk(fact: Fact, /) -> None:
        match fact:
            case StateChange(new=StreamState.ERROR) | StateChange(reason=Reason.CLOSED | Reason.RESTART):
                pass  # the exit tells it; nothing here restarts a stream, so that is a read cut short by the end
            case StateChange():
                details = ""
                if fact.new is StreamState.RECONNECTING:
                    budget = "" if fact.max_retries is None else f"/{fact.max_retries}"
                    details = (
                        f" [{fact.reason.value}; retry {fact.attempt}{budget} in {fact.delay or 0:.1f} s]"
                    )
                say("*", fact.message + details)
                if verbose and fact.error is not None:
                    say("*", f"{type(fact.error).__name__}: {fact.error}")
            case Gap():
                missing = "events may be missing" if fact.missing is None else f"{fact.missing} missing"
                say("*", f"Gap ({fact.kind}) after id {fact.after_id}, before id {fact.before_id}: {missing}")
            case Opened():
                say("<", f"{fact.status}")
                for name, value in fact.headers.items():
                    say("<", f"{name}: {value}")
            case Comment():
                say("<", f":{fact.text}")
            case _:
                pass

    return talk

"""`resilient-sse tail`: events to standard output, everything else to standard error."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import anyio

from resilient_sse._client.stream import ResilientStream
from resilient_sse._core.errors import ResilientSSEError
from resilient_sse._core.events import Comment, Opened
from resilient_sse._core.states import Reason, StateChange, StreamState
from resilient_sse.cli.exits import Exit, complain, explain
from resilient_sse.cli.forms import form_named
from resilient_sse.cli.output import Output, escape

if TYPE_CHECKING:
    from resilient_sse._core.events import Gap
    from resilient_sse._core.ports import Fact
    from resilient_sse.cli.arguments import TailOptions

__all__ = ["run_tail"]

_HEARTBEAT = "heartbeat"


def run_tail(options: TailOptions) -> int:
    """
    Follow a stream until it ends in one way or another, and return the exit code.

    Raises:
        OSError: The output cannot be written.
    """
    try:
        stream = _stream(options)
    except (TypeError, ValueError) as error:
        complain(str(error))
        return Exit.USAGE
    return anyio.run(_run, stream, options)


def _stream(options: TailOptions) -> ResilientStream:
    """
    Make the stream that the options describe.

    Raises:
        ValueError: An option is out of its range.
    """
    # Heartbeats are hidden as the library does it, unless they are what was asked for.
    wanted = options.events is not None and _HEARTBEAT in options.events
    talk = _Talk(verbose=options.verbose)
    stream = ResilientStream(
        options.url,
        method=options.method,
        headers=options.headers,
        content=options.content,
        auth=options.auth,
        last_event_id=options.last_event_id,
        resume_param=options.resume_param,
        stall_timeout=options.stall_timeout,
        max_retries=options.max_retries,
        heartbeat_events=() if wanted else (_HEARTBEAT,),
        events=options.events,
        until=options.until,
        on_eof="complete" if options.complete_on_eof else "reconnect",
        observers=[talk.observe] if options.verbose else [],
    )
    if not options.quiet:
        stream.on_state_change(talk.change)
        stream.on_gap(talk.gap)
    return stream


async def _run(stream: ResilientStream, options: TailOptions) -> Exit:
    output = Output()
    ending: Exit | OSError = BrokenPipeError()  # stays if the watch below ends it
    with anyio.move_on_after(options.timeout) as clock:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(output.watch, tasks.cancel_scope.cancel)
            ending = await _follow(stream, options, output)
            tasks.cancel_scope.cancel()
    if clock.cancelled_caught:
        complain(f"--timeout: {options.timeout:g} s have passed")
        return Exit.TIMEOUT
    if isinstance(ending, OSError):
        raise ending
    return ending


async def _follow(stream: ResilientStream, options: TailOptions, output: Output) -> Exit | OSError:
    """Print events until the stream ends; errors are returned, because a task group would wrap them."""
    form = form_named(options.form, terminal=output.terminal)
    left = options.count
    try:
        async with stream:
            async for event in stream:
                await output.write(form(event))
                if left is not None:
                    left -= 1
                    if left == 0:
                        break
    except ResilientSSEError as error:
        code, text = explain(error)
        complain(text)
        return code
    except OSError as error:  # of the output: those of the network have become our own
        return error
    return Exit.ENDED


class _Talk:
    """
    What is said on standard error, with curl's marks: `*` for news, `<` for what the server said.

    Args:
        verbose: Whether the causes of failures are told.
    """

    def __init__(self, *, verbose: bool) -> None:
        self._verbose = verbose

    def change(self, change: StateChange) -> None:
        """Tell a change of state, but not what the exit tells anyway."""
        if change.new is StreamState.ERROR or change.reason in (Reason.CLOSED, Reason.RESTART):
            return  # nothing here restarts a stream, so that is a read cut short by the end
        details = ""
        if change.new is StreamState.RECONNECTING:
            budget = "" if change.max_retries is None else f"/{change.max_retries}"
            details = f" [{change.reason.value}; retry {change.attempt}{budget} in {change.delay or 0:.1f} s]"
        _say("*", change.message + details)
        if self._verbose and change.error is not None:
            _say("*", f"{type(change.error).__name__}: {change.error}")

    def gap(self, gap: Gap) -> None:
        """Tell a loss."""
        missing = "events may be missing" if gap.missing is None else f"{gap.missing} missing"
        _say("*", f"Gap ({gap.kind}) after id {gap.after_id}, before id {gap.before_id}: {missing}")

    def observe(self, fact: Fact) -> None:
        """Tell what the server sends besides events."""
        if isinstance(fact, Opened):
            _say("<", f"{fact.status}")
            for name, value in fact.headers.items():
                _say("<", f"{name}: {value}")
        elif isinstance(fact, Comment):
            _say("<", f":{fact.text}")


def _say(mark: str, text: str) -> None:
    line = escape(text).replace("\n", " ")
    print(f"{mark} {line}", file=sys.stderr, flush=True)

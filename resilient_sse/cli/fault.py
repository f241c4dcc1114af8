"""`resilient-sse fault`: the fault proxy as a process."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from contextlib import AsyncExitStack, ExitStack
from operator import itemgetter
from threading import Event, Lock
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from resilient_sse.cli.arguments import (
    NOT_NEGATIVE,
    checked,
    command,
    host_and_port,
    json_option,
    option,
    seed_option,
)
from resilient_sse.cli.exits import Exit, at_sigterm, complain, open_more_files, stdin_chunks

if TYPE_CHECKING:
    from resilient_sse.testing.proxy import FaultProxy


def _target(text: str) -> tuple[str, int]:
    host, port = host_and_port(text)
    if port == 0:
        raise click.BadParameter(f"{text!r} names no port; give the one that the server listens on")
    return host, port


def _moment(text: str) -> tuple[float, str]:
    at, equals, action = text.partition("=")
    if not equals:
        raise click.BadParameter(f"{text!r} is not SECONDS=ACTION, such as 5=black-hole or 41=flow")
    return NOT_NEGATIVE.convert(at, None, None), action


def _profiles(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    from resilient_sse.testing.proxy import PROFILES

    return [CompletionItem(name) for name in PROFILES if name.startswith(incomplete)]


@command(
    "Put a bad network before a server.",
    "Stand between clients and a server as a network that is slow, lossy, absent or changing.  Runs until Ctrl-C, "
    "or with --stdin until its standard input ends.",
    examples="""
resilient-sse fault --target 127.0.0.1:8000 --listen 127.0.0.1:9000 --profile 4g
resilient-sse fault --target 127.0.0.1:8000 --toxic latency:delay=0.2,jitter=0.1 --toxic reset:after=500
resilient-sse fault --target 127.0.0.1:8000 --at 30=refuse --at 30=reset --at 36=accept
""",
    exits={0: "ended as asked", 2: "wrong arguments, or a port that cannot be used"},
)
@option("--target", type=_target, metavar="HOST:PORT", required=True, help="The server.")
@option(
    "--listen",
    type=host_and_port,
    metavar="HOST:PORT",
    default="127.0.0.1:0",
    help="Where clients connect; port 0 takes a free one.",
)
@json_option
@option("--stdin", is_flag=True, help="Do the lines of standard input, and end with it.")
@option("--profile", default="clean", metavar="NAME", shell_complete=_profiles, help="The line, such as 4g.")
@option(
    "--toxic", "toxics", metavar="NAME[:KEY=VALUE,...]", multiple=True, help="From the start on; repeatable."
)
@option(
    "--at",
    "moments",
    type=_moment,
    metavar="SECONDS=ACTION",
    multiple=True,
    help="An action, profile or toxic, then; repeatable.",
)
@seed_option
def fault(
    *,
    target: tuple[str, int],
    listen: tuple[str, int],
    profile: str,
    toxics: tuple[str, ...],
    moments: tuple[tuple[float, str], ...],
    seed: int | None,
    as_json: bool,
    stdin: bool,
) -> int:
    """Run the proxy until it is told to end."""
    import anyio

    from resilient_sse.testing.proxy import PROFILES, FaultProxy, parse_action, parse_toxic

    with checked():
        if profile not in PROFILES:  # the library's own complaint would also offer to make one
            raise ValueError(f"unknown profile {profile!r}; choose one of {', '.join(PROFILES)}")
        for _, action in moments:
            parse_action(action)
        wrong = [parse_toxic(text) for text in toxics]
        proxy = FaultProxy(*target, profile=profile, toxics=wrong, seed=seed, host=listen[0], port=listen[1])
    open_more_files()
    return anyio.run(lambda: _run(proxy, target, moments, as_json=as_json, stdin=stdin))


async def _run(
    proxy: FaultProxy,
    target: tuple[str, int],
    moments: Iterable[tuple[float, str]],
    *,
    as_json: bool,
    stdin: bool,
) -> int:
    import anyio

    say = _printer(as_json=as_json)

    def conclude() -> None:
        counters = proxy.counters.to_dict()
        words = ", ".join(f"{name} {number}" for name, number in counters.items())
        say({"counters": counters}, words, last=True)

    async def play() -> None:
        start = anyio.current_time()
        for at, action in sorted(moments, key=itemgetter(0)):
            await anyio.sleep_until(start + at)
            await _do(proxy, action, say)

    scope = anyio.CancelScope()
    at_sigterm(scope.cancel)
    async with AsyncExitStack() as stack:
        last = stack.enter_context(ExitStack())
        try:
            await stack.enter_async_context(proxy)
        except OSError as error:
            complain(error.strerror or str(error))
            return Exit.USAGE
        last.callback(conclude)
        ready = {
            "host": proxy.host,
            "port": proxy.port,
            "target": "{}:{}".format(*target),
            "profile": proxy.profile.name,
            "seed": proxy.seed,
        }
        words = "listening on {host} port {port} for {0} port {1}: profile {profile}, seed {seed}"
        say(ready, words.format(*target, **ready))
        with scope:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(play)
                if stdin:
                    await _obey(proxy, say)
                    scope.cancel()
                await anyio.sleep_forever()
    return Exit.ENDED


def _printer(*, as_json: bool) -> Callable[..., None]:
    """Return what prints whole lines, from any thread, and nothing behind the last one."""
    printing, ended = Lock(), Event()

    def say(told: dict[str, Any], words: str, *, last: bool = False) -> None:
        with printing:
            if not ended.is_set():  # as it is for a thread that was left behind
                print(json.dumps(told) if as_json else words, flush=True)
            if last:
                ended.set()

    return say


async def _obey(proxy: FaultProxy, say: Callable[..., None]) -> None:
    """Do what each line of standard input says, until it ends."""
    rest = b""
    async for more in stdin_chunks():
        *lines, rest = (rest + more).split(b"\n")
        for line in lines:
            await _do(proxy, line.decode(errors="replace").strip(), say)
    await _do(proxy, rest.decode(errors="replace").strip(), say)


async def _do(proxy: FaultProxy, action: str, say: Callable[..., None]) -> None:
    """Do what a text says, and say so."""
    import anyio.to_thread

    from resilient_sse.testing.proxy import parse_action

    if not action:
        return
    try:
        proxy.apply(parse_action(action))
    except ValueError as error:
        complain(str(error))
        return
    # In a thread: where nobody reads what is printed, connections go on, and SIGTERM is heard.
    await anyio.to_thread.run_sync(say, {"done": action}, f"done: {action}", abandon_on_cancel=True)

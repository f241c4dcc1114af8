"""What `fault` does: a fault proxy as a process of its own."""

from __future__ import annotations

import json
import math
import os
import signal
from concurrent.futures import CancelledError
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from threading import Thread
from typing import TYPE_CHECKING

import anyio
from anyio.from_thread import BlockingPortal

from resilient_sse.cli.exits import Exit, complain
from resilient_sse.testing.proxy import (
    PROFILES,
    FaultProxy,
    Profile,
    Timeline,
    Toxic,
    parse_action,
    parse_toxic,
)

if TYPE_CHECKING:
    from anyio.streams.memory import MemoryObjectSendStream

    from resilient_sse.cli.fault.arguments import FaultOptions

__all__ = ["run_fault"]

_READ_BYTES = 4096

_AFTER = 5.0
"""When `--flap` or `--handoff` begins, in seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    """The names of the options, looked up."""

    profile: Profile
    toxics: tuple[Toxic, ...]
    timeline: Timeline


def run_fault(options: FaultOptions) -> int:
    """Run the command and return its exit code."""
    try:
        plan = _planned(options)
    except ValueError as error:
        complain(str(error))
        return Exit.USAGE
    return anyio.run(_run, options, plan)


def _planned(options: FaultOptions) -> _Plan:
    if options.after is not None and options.flap is None and options.handoff is None:
        raise ValueError("--after tells when --flap or --handoff begins; give one of them")
    start = _line(options.profile or "clean")
    if options.handoff is not None:
        if options.profile is not None:
            raise ValueError("--profile and the first of --handoff both name the line; leave --profile out")
        start = _line(options.handoff.before)
        _line(options.handoff.after)
    timeline = Timeline()
    for at, action in options.moments:
        timeline = timeline.at(at, action)
    return _Plan(
        profile=start,
        toxics=tuple(parse_toxic(text) for text in options.toxics),
        timeline=timeline,
    )


def _line(name: str) -> Profile:
    """Look a profile up; the library's own complaint would also offer to make one."""
    if name not in PROFILES:
        raise ValueError(f"unknown profile {name!r}; choose one of {', '.join(PROFILES)}")
    return PROFILES[name]


async def _run(options: FaultOptions, plan: _Plan) -> int:
    proxy = FaultProxy(
        *options.target,
        profile=plan.profile,
        toxics=plan.toxics,
        seed=options.seed,
        host=options.listen[0],
        port=options.listen[1],
    )
    async with AsyncExitStack() as stack:
        signals = stack.enter_context(anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM))
        try:
            await stack.enter_async_context(proxy)
        except OSError as error:
            complain(error.strerror or str(error))
            return Exit.USAGE
        _say_ready(proxy, options)
        code = Exit.ENDED
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(proxy.play, plan.timeline)
            tasks.start_soon(_turn, proxy, options)
            if options.stdin:
                tasks.start_soon(_obey, proxy, tasks.cancel_scope, options.json)
            async for number in signals:
                code = Exit.INTERRUPTED if number == signal.SIGINT else Exit.ENDED
                tasks.cancel_scope.cancel()
    _say_ended(proxy, options)
    return code


async def _turn(proxy: FaultProxy, options: FaultOptions) -> None:
    """Play what begins after a while."""
    await anyio.sleep(_AFTER if options.after is None else options.after)
    if options.flap is not None:
        await proxy.flap(len(options.flap.downs), down=options.flap.downs, up=options.flap.up)
    if options.handoff is not None:
        handoff = options.handoff
        await proxy.handoff(handoff.before, handoff.after, handoff.gap)


async def _obey(proxy: FaultProxy, scope: anyio.CancelScope, as_json: bool) -> None:
    """Do what each line of standard input says, and end with it."""
    rest = b""
    send, receive = anyio.create_memory_object_stream[bytes](math.inf)
    async with send, receive, BlockingPortal() as portal:
        # anyio's own worker threads are waited for at the end of the process, and a read may last for ever.
        Thread(target=_listen, args=(portal, send), daemon=True).start()
        async for more in receive:
            *lines, rest = (rest + more).split(b"\n")
            for line in lines if more else [rest]:
                _do(proxy, line.decode(errors="replace").strip(), as_json=as_json)
            if not more:
                scope.cancel()


def _listen(portal: BlockingPortal, send: MemoryObjectSendStream[bytes]) -> None:
    """Read standard input, unbuffered: the lock of `sys.stdin` must be free when the interpreter ends."""
    with suppress(RuntimeError, CancelledError, anyio.ClosedResourceError, anyio.BrokenResourceError):
        data = b"more"
        while data:
            try:
                data = os.read(0, _READ_BYTES)
            except OSError:  # there is none
                data = b""
            portal.call(send.send_nowait, data)


def _do(proxy: FaultProxy, line: str, *, as_json: bool) -> None:
    """Do what a line says, and say so."""
    if not line:
        return
    try:
        proxy.apply(parse_action(line))
    except ValueError as error:
        complain(str(error))
        return
    print(json.dumps({"done": line}) if as_json else f"done: {line}", flush=True)


def _say_ready(proxy: FaultProxy, options: FaultOptions) -> None:
    host, port = options.target
    if options.json:
        print(
            json.dumps(
                {
                    "host": proxy.host,
                    "port": proxy.port,
                    "target": f"{host}:{port}",
                    "profile": proxy.profile.name,
                    "seed": proxy.seed,
                }
            ),
            flush=True,
        )
        return
    print(
        f"listening on {proxy.host} port {proxy.port} for {host} port {port}: "
        f"profile {proxy.profile.name}, seed {proxy.seed}",
        flush=True,
    )


def _say_ended(proxy: FaultProxy, options: FaultOptions) -> None:
    counters = proxy.counters.to_dict()
    if options.json:
        print(json.dumps({"counters": counters}), flush=True)
        return
    print(", ".join(f"{name} {number}" for name, number in counters.items()), flush=True)

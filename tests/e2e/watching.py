"""How the tests look at a stream: what it said, and what became true in time."""

from __future__ import annotations

import errno
import socket
import time

import anyio

from resilient_sse import Backoff

QUICK = Backoff(initial=0.01, maximum=0.05)
"""Delays that nobody notices."""


async def collect(stream, count):
    """Return the data of the next *count* events, within reason; then the stream is closed."""
    taken = []
    with anyio.fail_after(20):
        async with stream:
            async for event in stream:
                taken.append(event.data)
                if len(taken) == count:
                    break
    return taken


async def each(stream, handle):
    """Give the data of every event to *handle*, until the stream ends."""
    async for event in stream:
        handle(event.data)


async def cut_when_sent(stream, server):
    """Ask for an event, and give up as soon as the request has come; connecting may take its time."""
    asked = len(server.served)
    async with anyio.create_task_group() as tasks:

        async def cut():
            assert await eventually(lambda: len(server.served) > asked, within=20)
            await anyio.sleep(0.05)
            tasks.cancel_scope.cancel()

        tasks.start_soon(cut)
        await anext(stream)


async def eventually(condition, *, within):
    """Wait until *condition* holds; return whether it did in time."""
    deadline = time.monotonic() + within
    while not condition():
        if time.monotonic() > deadline:
            return False
        await anyio.sleep(0.005)
    return True


def soon(condition, *, within=15.0):
    """Wait until *condition* holds, where nothing is async; return whether it did in time."""
    deadline = time.monotonic() + within
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    return bool(condition())


def refuses(port):
    """Tell whether nobody listens on this port; what is reset as a listener closes has not been refused."""
    with socket.socket() as knocking:
        knocking.settimeout(5)
        return knocking.connect_ex(("127.0.0.1", port)) == errno.ECONNREFUSED


def causes(error):
    """Go down the chain of causes, beginning with the error itself; httpcore hides the last link, the system's."""
    link = error
    while link is not None:
        yield link
        link = link.__cause__ or link.__context__

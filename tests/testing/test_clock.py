"""Virtual time, on both backends: what it waits for, and when it gives up."""

import asyncio
import math
import re
import socket
import sys
import threading
import time
from contextlib import suppress
from functools import partial

import anyio
import anyio.from_thread
import anyio.lowlevel
import anyio.to_thread
import pytest
import trio

from resilient_sse.testing import (
    AllTasksBlockedError,
    VirtualClockLoop,
    clock,
    run_in_virtual_time,
    virtual_backend,
)


@pytest.fixture
def impatient(monkeypatch):
    """Give up soon on foreign threads; other tests leave idle ones behind."""
    monkeypatch.setattr(clock, "STRANGER_PATIENCE", 0.02)


async def test_time_waits_for_threads():
    """A timeout around work in a thread does not strike because time jumped meanwhile."""
    with anyio.fail_after(0.001):
        await anyio.to_thread.run_sync(time.sleep, 0.02)
    assert anyio.current_time() == 0
    await anyio.sleep(5)
    assert anyio.current_time() == 5


async def test_a_thread_that_waits_for_the_loop_is_no_deadlock(monkeypatch):
    """After a while time goes on although a thread works: the thread may be waiting for it."""
    monkeypatch.setattr(clock, "THREAD_PATIENCE", 0.02)
    await anyio.to_thread.run_sync(anyio.from_thread.run, anyio.sleep, 10)
    assert anyio.current_time() == 10


@pytest.mark.e2e
async def test_marked_tests_have_real_time():
    """The marker `e2e` takes virtual time away."""
    started = time.monotonic()
    await anyio.sleep(0.02)
    assert time.monotonic() - started >= 0.015


async def test_time_waits_for_executors(anyio_backend_name):
    """Asyncio's own threads count, too; name resolution uses them."""
    if anyio_backend_name == "asyncio":
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(0.001):
            await loop.run_in_executor(None, time.sleep, 0.02)
        assert loop.time() == 0
        assert not loop._clock.jobs
        await asyncio.sleep(1)
        assert loop.time() == 1


@pytest.mark.parametrize("source", ["thread", "socket"])
async def test_a_stranger_can_wake_the_loop(monkeypatch, source):
    """A loop without any timer waits for a socket, or a thread it knows nothing about; then time jumps again."""
    if source == "socket":
        monkeypatch.setattr(clock, "STRANGER_PATIENCE", 0)
    woken = anyio.Event()
    near, far = socket.socketpair()
    with near, far:
        near.setblocking(False)
        if source == "thread":
            wake = partial(anyio.from_thread.run_sync, woken.set, token=anyio.lowlevel.current_token())
            threading.Timer(0.05, wake).start()
            await woken.wait()
        else:
            threading.Timer(0.05, far.send, [b"x"]).start()
            await anyio.wait_readable(near)
    before = anyio.current_time()
    await anyio.sleep(3600)
    assert anyio.current_time() - before == 3600


both = pytest.mark.parametrize("backend", ["asyncio", "trio"])


async def wait_in_vain():
    """Wait for what never comes, after a minute."""
    await anyio.sleep(60)
    await anyio.Event().wait()


async def hide():
    """Wait behind task groups and shields, in code that catches whatever comes."""
    with suppress(Exception), anyio.CancelScope(shield=True):
        async with anyio.create_task_group() as group:
            group.start_soon(anyio.sleep_forever)
            group.start_soon(wait_in_vain)


@both
@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    "stuck, tasks",
    [(wait_in_vain, 1), (anyio.sleep_forever, 1), (partial(anyio.sleep, math.inf), 1), (hide, 3)],
    ids=["event", "forever", "infinite", "hidden"],
)
def test_a_hang_is_an_error_that_says_where(stuck, tasks, backend):
    """If nothing can ever happen, the loop says so at once and names the places where tasks wait."""
    with pytest.raises(AllTasksBlockedError, match="every task is blocked and no timer is pending") as caught:
        run_in_virtual_time(stuck, backend=backend)
    assert len(caught.value.tasks) == tasks
    assert all(re.search(r"\w+ \(\w+\.py:\d+\)", task) for task in caught.value.tasks)
    if stuck in (wait_in_vain, hide):
        assert re.search(r"wait_in_vain \(test_clock\.py:\d+\) > wait \(", str(caught.value))


@both
def test_an_endless_poll_is_an_error_that_says_where(backend, monkeypatch):
    """Time that goes on for ever is stopped, but a long time is not: it is jumps that count."""
    monkeypatch.setattr(clock, "MOST_JUMPS", 500)
    cleaned = []

    async def poll():
        await anyio.sleep(10**6)
        for _ in range(400):
            await anyio.sleep(1)
        cleaned.append("not yet")
        try:
            while True:  # noqa: ASYNC110 - that is what it is about
                await anyio.sleep(1)
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(1)
            cleaned.append("now")

    with pytest.raises(RuntimeError, match=r"jumped 500 times, to 1,000,[45]\d\d s") as caught:
        run_in_virtual_time(poll, backend=backend)
    assert cleaned == ["not yet", "now"]
    assert "poll (test_clock.py:" in str(caught.value)


class Rounds(trio.abc.Instrument):
    """Counts how often the loop goes round."""

    count = 0

    def before_io_wait(self, timeout):
        self.count += 1


def test_a_hang_on_trio_does_not_spin(monkeypatch):
    """While it waits for strangers, it leaves the processor to others."""
    monkeypatch.setattr(clock, "STRANGER_PATIENCE", 0.2)
    rounds, done = Rounds(), threading.Event()
    thread = threading.Thread(target=done.wait)
    thread.start()
    name, options = virtual_backend("trio")
    options["instruments"].append(rounds)
    try:
        with pytest.raises(AllTasksBlockedError):
            anyio.run(anyio.sleep_forever, backend=name, backend_options=options)
    finally:
        done.set()
        thread.join()
    assert rounds.count < 100


@pytest.mark.usefixtures("impatient")
def test_closing_the_loop_waits_for_executor_threads():
    """A thread still at work when the loop closes is joined, without a warning that virtual time was up."""
    finished = []

    def work():
        time.sleep(0.05)
        finished.append(True)

    async def leave_it():
        asyncio.get_running_loop().run_in_executor(None, work).cancel()

    run_in_virtual_time(leave_it)
    assert finished == [True]


def test_the_loop_needs_no_anyio():
    """The loop serves plain asyncio programs as well."""
    with asyncio.Runner(loop_factory=VirtualClockLoop) as runner:
        runner.run(asyncio.sleep(3600))
        assert runner.get_loop().time() == 3600


def test_backends_that_are_not_there(monkeypatch):
    """Bad input: a wrong name is named; without trio installed, the error says what to install."""
    with pytest.raises(ValueError, match="'curio'"):
        virtual_backend("curio")
    monkeypatch.setitem(sys.modules, "resilient_sse.testing.trio_clock", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'resilient-sse\[trio\]'"):
        virtual_backend("trio")

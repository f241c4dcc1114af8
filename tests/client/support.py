"""What the tests of the client share: short names, a record of transitions, a store, cancellation by steps."""

import gc
import inspect
import os
import signal
import sys
import threading
import tracemalloc
import types
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import anyio
import pytest

from resilient_sse import Backoff, Reason, ResilientStream, StateChange, StreamState
from resilient_sse.checkpoints import MemoryCheckpoint
from resilient_sse.testing import Recorder, Reply, Script, event

URL = "https://host/stream"

one_loop = pytest.mark.parametrize("anyio_backend", ["asyncio"], indirect=True)
"""For tables of what the core decides, or the request says: no event loop has a part in it."""

END = event("", event="end")
"""What completes a stream with `until="end"`."""


def make(script: Script, url: str = URL, **options: Any) -> ResilientStream:
    """Make a stream that leads to *script*, with delays that are exact."""
    options.setdefault("backoff", Backoff(jitter=0))
    if "client" not in options:
        options["client"] = script.client()
    return ResilientStream(url, **options)


def numbered(*ids: int) -> list[bytes]:
    """Write one event for each id, with the id as its data."""
    return [event(str(number), id=str(number)) for number in ids]


def at_once(*ids: int) -> bytes:
    """Write the events into one chunk."""
    return b"".join(numbered(*ids))


def dropped(*ids: int) -> Reply:
    """Answer with these events, and reset the connection behind them."""
    return Reply(*numbered(*ids)).drop()


def hanging(*ids: int) -> Reply:
    """Answer with these events, and be silent behind them."""
    return Reply(*numbered(*ids)).hang()


def gaps_in_time(script: Script) -> list[float]:
    """Return the times between the requests."""
    return [round(later.at - earlier.at, 6) for earlier, later in pairwise(script.requests)]


@contextmanager
def traced() -> Iterator[None]:
    """Trace what is allocated."""
    gc.collect()
    tracemalloc.start()
    try:
        yield
    finally:
        tracemalloc.stop()


@contextmanager
def calls_counted() -> Iterator[Counter[str]]:
    """Count how often functions of the client are called, by their files."""
    counted: Counter[str] = Counter()

    def profile(frame: types.FrameType, kind: str, _argument: object) -> None:
        if kind == "call" and "/resilient_sse/_" in frame.f_code.co_filename:
            counted[frame.f_code.co_filename] += 1

    sys.setprofile(profile)
    try:
        yield counted
    finally:
        sys.setprofile(None)


async def take(stream: Any, count: int) -> list[Any]:
    """Return the next so many things of an iterator."""
    return [await anext(stream) for _ in range(count)]


async def read(script: Script, count: int, **options: Any) -> list[Any]:
    """Return so many events of a stream that leads to *script*, and close it."""
    async with make(script, **options) as stream:
        return await take(stream, count)


async def drain(stream: Any) -> list[Any]:
    """Return everything until the iterator ends."""
    return [item async for item in stream]


async def gives_up(stream: Any, kind: type[Exception]) -> Any:
    """Iterate until the stream raises, and return what it raises."""
    with pytest.raises(kind) as caught:
        await drain(stream)
    return caught.value


def fork_beside(thread: threading.Thread, inside: threading.Event, run: Callable[[], Any]) -> int:
    """Fork when a new thread has got *inside*, have the child *run*, and return its exit code."""
    thread.start()
    assert inside.wait(10)
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(5)  # a child that hangs is killed, and seen
        code = 1
        try:
            run()
            code = 0
        finally:
            os._exit(code)
    thread.join(10)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


async def later(seconds: float, deed: Callable[[], Any]) -> None:
    """Do something in so many seconds."""
    await anyio.sleep(seconds)
    done = deed()
    if inspect.isawaitable(done):
        await done


class Record(Recorder):
    """A callback or an observer that keeps what it is told and when it was told."""

    @property
    def times(self) -> list[float]:
        """When it was told."""
        return [moment.at for moment in self.moments]

    @property
    def timetable(self) -> list[tuple[float, str, str]]:
        """When which state was entered and why."""
        return [(round(change.at, 6), change.new.value, change.reason.value) for change in self.changes]

    @property
    def losses(self) -> list[Reason]:
        """Why the stream began to reconnect, in order."""
        return [change.reason for change in self.changes if change.new is StreamState.RECONNECTING]


class When:
    """A callback that does something when a state is entered, takes so long, and keeps when it has ended."""

    def __init__(self, state: str, deed: Callable[[], Any] = lambda: None, *, takes: float = 0.0) -> None:
        self.state, self.deed, self.takes = state, deed, takes
        self.ended: list[float] = []

    async def __call__(self, change: StateChange) -> None:
        if change.new.value == self.state:
            await later(0, self.deed)
            await anyio.sleep(self.takes)
            self.ended.append(anyio.current_time())


class Store(MemoryCheckpoint):
    """A store that keeps a list of what was saved, and takes its time before and after the deed."""

    def __init__(self, *, before=0.0, after=0.0):
        super().__init__()
        self.before, self.after = before, after
        self.saved = []
        self.loads = 0
        self.failures = []  # raised instead of the deed
        self.lost = []  # raised behind it

    async def load(self, key):
        self.loads += 1
        await anyio.sleep(self.before)
        if self.failures:
            raise self.failures.pop(0)
        return await super().load(key)

    async def save(self, key, last_event_id, *, expected):
        await anyio.sleep(self.before)
        if self.failures:
            raise self.failures.pop(0)
        result = await super().save(key, last_event_id, expected=expected)
        self.saved.append(last_event_id)
        await anyio.sleep(self.after)
        if self.lost:
            raise self.lost.pop(0)
        return result

    @property
    def position(self):
        """The one position that is stored, `None` if there is none."""
        positions = [checkpoint.last_event_id for checkpoint in self._positions.values()]
        assert len(positions) <= 1
        return positions[0] if positions else None


@types.coroutine
def stepped(coroutine: Any, on_step: Callable[[], None]) -> Any:
    """Run *coroutine* and call *on_step* each time it is about to be suspended."""
    value: Any = None
    error: BaseException | None = None
    while True:
        try:
            request = coroutine.send(value) if error is None else coroutine.throw(error)
        except StopIteration as end:
            return end.value
        on_step()
        try:
            value, error = (yield request), None
        except BaseException as exc:  # noqa: BLE001 - handed on, whatever it is
            error = exc

"""A fault proxy in a thread of its own, for tests of any kind: sync, asyncio, trio."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator
from concurrent.futures import Future, InvalidStateError
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeVar, TypeVarTuple
from urllib.parse import urlsplit

import anyio
from anyio.from_thread import BlockingPortal, start_blocking_portal

from resilient_sse.testing.proxy import FaultProxy
from resilient_sse.testing.proxy.checks import check_flap, check_handoff, check_timeline

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

    from resilient_sse.testing.proxy import Counters, Profile, Timeline, Toxic

if sys.version_info >= (3, 12):
    from typing import override
else:
    from typing_extensions import override

__all__ = ["RunningProxy", "proxying"]

ResultT = TypeVar("ResultT")
ArgsT = TypeVarTuple("ArgsT")

_STOPPED = (
    "the proxy has been stopped: it runs until the end of its test, or of the block of 'with proxying(...)'"
)


class RunningProxy:
    """
    A handle on a `FaultProxy` that runs in another thread.

    What takes no time is done when the call returns.  What takes time, such as `flap`, goes on in the background
    and returns a future.  In a sync test, `future.result()` waits for its end.  In an async test that would stop
    everything else: write `await anyio.to_thread.run_sync(future.result)`, or, on asyncio, `await
    asyncio.wrap_future(future)`.  If it fails, and nobody asks the future, the error is raised at the end.

    Attributes:
        host: Where the proxy listens.
        port: Where the proxy listens.
        url: The address of what lies behind it, through it.
        seed: Decides about all that is random.
    """

    def __init__(self, portal: BlockingPortal, proxy: FaultProxy, url: str) -> None:
        self._portal = portal
        self._proxy = proxy
        self._jobs: list[_Job] = []
        self._has_ended = False
        self.host: str = proxy.host
        self.port: int = proxy.port
        self.url: str = proxy.url_for(url)
        self.seed: int = proxy.seed

    @property
    def counters(self) -> Counters:
        """What has passed and what has not."""
        return self._proxy.counters

    @property
    def profile(self) -> Profile:
        """The network that it is at the moment."""
        return self._proxy.profile

    def url_for(self, url: str) -> str:
        """Return the address *url*, through the proxy."""
        return self._proxy.url_for(url)

    def use(self, profile: str | Profile) -> None:
        """Be a network of another kind from now on."""
        self._call(self._proxy.use, profile)

    def add(self, toxic: Toxic) -> None:
        """Apply a toxic from now on."""
        self._call(self._proxy.add, toxic)

    def remove(self, toxic: Toxic) -> None:
        """Apply a toxic no longer."""
        self._call(self._proxy.remove, toxic)

    def clear(self) -> None:
        """Apply no toxic any longer."""
        self._call(self._proxy.clear)

    def refuse(self) -> None:
        """Refuse new connections."""
        self._call(self._proxy.refuse)

    def accept(self) -> None:
        """Accept new connections again."""
        self._call(self._proxy.accept)

    def black_hole(self) -> None:
        """Let nothing through, and keep the connections open."""
        self._call(self._proxy.black_hole)

    def flow(self) -> None:
        """Let everything through again."""
        self._call(self._proxy.flow)

    def reset_all(self) -> int:
        """Reset all connections and return how many there were."""
        return self._call(self._proxy.reset_all)

    def close_all(self) -> int:
        """Close all connections in an orderly way and return how many there were."""
        return self._call(self._proxy.close_all)

    def flap(self, times: int, *, down: float | Sequence[float], up: float = 1.0) -> Future[None]:
        """
        Be down and up so many times, for so many seconds; *down* may be one figure for each time.

        Raises:
            TypeError: A figure is no number.
            ValueError: A time is negative, or *down* has another length than *times*.
        """
        check_flap(times, down, up)
        return self._start(lambda: self._proxy.flap(times, down=down, up=up))

    def handoff(self, before: str | Profile, after: str | Profile, gap: float) -> Future[None]:
        """
        Change from one network to another, with so many seconds without any between them.

        Raises:
            TypeError: *gap* is no number.
            ValueError: A profile is unknown, or *gap* is negative.
        """
        check_handoff(before, after, gap)
        return self._start(lambda: self._proxy.handoff(before, after, gap))

    def play(self, timeline: Timeline) -> Future[None]:
        """
        Follow a timeline.

        Raises:
            TypeError: It is none.
        """
        check_timeline(timeline)
        return self._start(lambda: self._proxy.play(timeline))

    async def end(self) -> None:
        """Give up what is still under way; to be called in the event loop of the proxy."""
        self._has_ended = True
        for job in self._jobs:
            job.scope.cancel()
            await job.ended.wait()

    def check(self) -> None:
        """
        Raise what went wrong in the background and nobody has asked for.

        Raises:
            Exception: The first of it.
        """
        for job in self._jobs:
            if job.error is not None and not job.future.was_asked:
                raise job.error

    def _call(self, function: Callable[[*ArgsT], ResultT], *args: *ArgsT) -> ResultT:
        if self._has_ended:
            raise RuntimeError(_STOPPED)
        return self._portal.call(function, *args)

    def _start(self, function: Callable[[], Awaitable[None]]) -> Future[None]:
        if self._has_ended:
            raise RuntimeError(_STOPPED)
        job = self._portal.call(_Job)
        self._jobs.append(job)
        self._portal.start_task_soon(job.run, function)
        job.future.add_done_callback(lambda _: self._give_up(job))
        return job.future

    def _give_up(self, job: _Job) -> None:
        if job.future.cancelled() and not self._has_ended:
            self._portal.start_task_soon(job.give_up)


class _Asked(Future[None]):
    """A future that knows whether somebody has seen how it ended."""

    was_asked = False

    @override
    def result(self, timeout: float | None = None) -> None:
        try:
            super().result(timeout)
        finally:
            self.was_asked = self.done()

    @override
    def exception(self, timeout: float | None = None) -> BaseException | None:
        error = super().exception(timeout)
        self.was_asked = True
        return error


class _Job:
    """Something that goes on in the background."""

    def __init__(self) -> None:
        self.scope = anyio.CancelScope()
        self.ended = anyio.Event()
        self.future = _Asked()
        self.error: Exception | None = None

    async def run(self, function: Callable[[], Awaitable[None]]) -> None:
        """Do it, and tell the future."""
        try:
            with self.scope:
                await function()
        except Exception as error:  # noqa: BLE001 - it is raised where the future is asked, or at the end
            self.error = error
        finally:
            self.ended.set()
        with suppress(InvalidStateError):  # it was cancelled
            if self.error is None:
                self.future.set_result(None)
            else:
                self.future.set_exception(self.error)

    async def give_up(self) -> None:
        """End it early."""
        self.scope.cancel()


@contextmanager
def proxying(url: str, **options: Any) -> Generator[RunningProxy]:  # noqa: ANN401 - whatever FaultProxy takes
    """
    Run a `FaultProxy` before a server, in a thread.

    Args:
        url: An address of the server; only its host and its port count.
        **options: Passed on to `FaultProxy`.

    Raises:
        ValueError: *url* names no host or no port, or an option is out of its range.
        Exception: At the end, what went wrong in the background and nobody has asked for.
    """
    target = urlsplit(url)
    if target.hostname is None or target.port is None:
        raise ValueError(f"url must name a host and a port, not {url!r}")
    host, port = target.hostname, target.port
    with start_blocking_portal() as portal:
        made = portal.call(lambda: FaultProxy(host, port, **options))
        with portal.wrap_async_context_manager(made) as proxy:
            running = RunningProxy(portal, proxy, url)
            try:
                yield running
            finally:
                portal.call(running.end)
            running.check()

"""A fault proxy in a thread of its own, for tests of any kind: sync, asyncio, trio."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import anyio
from anyio.from_thread import BlockingPortal, start_blocking_portal

from resilient_sse.testing.proxy import FaultProxy

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from concurrent.futures import Future

    from resilient_sse.testing.proxy import Counters, Profile, Timeline, Toxic

__all__ = ["RunningProxy", "proxying"]


class RunningProxy:
    """
    A handle on a `FaultProxy` that runs in another thread.

    What takes no time is done when the call returns.  What takes time, such as `flap`, goes on in the background
    and returns a future; `future.result()` waits for its end, so don't call that in an async test.

    Attributes:
        host: Where the proxy listens.
        port: Where the proxy listens.
        url: The address of what lies behind it, through it.
        seed: Decides about all that is random.
    """

    def __init__(self, portal: BlockingPortal, proxy: FaultProxy, url: str) -> None:
        self._portal = portal
        self._proxy = proxy
        self._jobs: list[tuple[anyio.CancelScope, anyio.Event]] = []
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
        self._portal.call(self._proxy.use, profile)

    def add(self, toxic: Toxic) -> None:
        """Apply a toxic from now on."""
        self._portal.call(self._proxy.add, toxic)

    def remove(self, toxic: Toxic) -> None:
        """Apply a toxic no longer."""
        self._portal.call(self._proxy.remove, toxic)

    def clear(self) -> None:
        """Apply no toxic any longer."""
        self._portal.call(self._proxy.clear)

    def refuse(self) -> None:
        """Refuse new connections."""
        self._portal.call(self._proxy.refuse)

    def accept(self) -> None:
        """Accept new connections again."""
        self._portal.call(self._proxy.accept)

    def black_hole(self) -> None:
        """Let nothing through, and keep the connections open."""
        self._portal.call(self._proxy.black_hole)

    def flow(self) -> None:
        """Let everything through again."""
        self._portal.call(self._proxy.flow)

    def reset_all(self) -> int:
        """Reset all connections and return how many there were."""
        return self._portal.call(self._proxy.reset_all)

    def close_all(self) -> int:
        """Close all connections in an orderly way and return how many there were."""
        return self._portal.call(self._proxy.close_all)

    def flap(self, times: int, *, down: float | Sequence[float], up: float = 1.0) -> Future[None]:
        """Be down and up so many times, for so many seconds; *down* may be one figure for each time."""
        return self._start(lambda: self._proxy.flap(times, down=down, up=up))

    def handoff(self, before: str | Profile, after: str | Profile, gap: float) -> Future[None]:
        """Change from one network to another, with so many seconds without any between them."""
        return self._start(lambda: self._proxy.handoff(before, after, gap))

    def play(self, timeline: Timeline) -> Future[None]:
        """Follow a timeline."""
        return self._start(lambda: self._proxy.play(timeline))

    async def end(self) -> None:
        """Give up what is still under way; to be called in the event loop of the proxy."""
        for scope, ended in self._jobs:
            scope.cancel()
            await ended.wait()

    def _start(self, function: Callable[[], Awaitable[None]]) -> Future[None]:
        return self._portal.start_task_soon(self._run, function)

    async def _run(self, function: Callable[[], Awaitable[None]]) -> None:
        scope, ended = anyio.CancelScope(), anyio.Event()
        self._jobs.append((scope, ended))
        try:
            with scope:
                await function()
        finally:
            ended.set()


@contextmanager
def proxying(url: str, **options: Any) -> Generator[RunningProxy]:  # noqa: ANN401 - whatever FaultProxy takes
    """
    Run a `FaultProxy` before a server, in a thread.

    Args:
        url: An address of the server; only its host and its port count.
        **options: Passed on to `FaultProxy`.

    Raises:
        ValueError: *url* names no host or no port, or an option is out of its range.
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

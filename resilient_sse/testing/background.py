"""A fault proxy in a thread of its own, for tests of any kind: sync, asyncio, trio."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any, TypeVar
from urllib.parse import urlsplit

from anyio.from_thread import BlockingPortal, start_blocking_portal

from resilient_sse.testing.proxy import FaultProxy, Profile, ProxyCounters, Timeline, Toxic
from resilient_sse.testing.proxy.toxics import Action

T = TypeVar("T")


class RunningProxy:
    """
    A handle on a `FaultProxy` that runs in another thread; `url` is the server's address, through it.

    What takes no time is done when the call returns.  What takes time, such as `flap`, goes on in the background
    and returns a future.  In a sync test, `future.result()` waits for its end.  In an async test that would stop
    everything else: write `await anyio.to_thread.run_sync(future.result)`, or, on asyncio, `await
    asyncio.wrap_future(future)`.  What fails is raised at the end, too.
    """

    def __init__(self, portal: BlockingPortal, proxy: FaultProxy, url: str) -> None:
        self._proxy = proxy
        self._started: list[Future[None]] = []
        self.host: str = proxy.host
        self.port: int = proxy.port
        self.url: str = proxy.url_for(url)
        self.seed: int = proxy.seed
        self.counters: ProxyCounters = proxy.counters
        self._portal: BlockingPortal | None = portal

    @property
    def profile(self) -> Profile:
        """The network that it is at the moment."""
        return self._proxy.profile

    @property
    def toxics(self) -> tuple[Toxic, ...]:
        """The toxics in force."""
        return self._proxy.toxics

    def url_for(self, url: str) -> str:
        """Return the address *url*, through the proxy."""
        return self._proxy.url_for(url)

    # --- What takes no time: see `FaultProxy`

    def use(self, profile: str | Profile) -> None:
        self.call(lambda proxy: proxy.use(profile))

    def add(self, toxic: Toxic) -> None:
        self.call(lambda proxy: proxy.add(toxic))

    def remove(self, toxic: Toxic) -> None:
        self.call(lambda proxy: proxy.remove(toxic))

    def clear(self, kind: type[Toxic] | None = None) -> None:
        self.call(lambda proxy: proxy.clear(kind))

    def refuse(self) -> None:
        self.call(FaultProxy.refuse)

    def accept(self) -> None:
        self.call(FaultProxy.accept)

    def black_hole(self) -> None:
        self.call(FaultProxy.black_hole)

    def flow(self) -> None:
        self.call(FaultProxy.flow)

    def reset_all(self) -> int:
        return self.call(FaultProxy.reset_all)

    def close_all(self) -> int:
        return self.call(FaultProxy.close_all)

    def apply(self, action: Action) -> None:
        self.call(lambda proxy: proxy.apply(action))

    # --- What goes on in the background

    def flap(self, times: int, *, down: float | Sequence[float], up: float = 1.0) -> Future[None]:
        return self.start(lambda proxy: proxy.flap(times, down=down, up=up))

    def handoff(self, before: str | Profile, after: str | Profile, gap: float) -> Future[None]:
        return self.start(lambda proxy: proxy.handoff(before, after, gap))

    def play(self, timeline: Timeline) -> Future[None]:
        return self.start(lambda proxy: proxy.play(timeline))

    # --- The inside

    def call(self, function: Callable[[FaultProxy], T]) -> T:
        """Call *function* in the proxy's thread, and return what it returns; `RuntimeError` if it was stopped."""
        return self._running().call(function, self._proxy)

    def start(self, function: Callable[[FaultProxy], Coroutine[Any, Any, None]]) -> Future[None]:
        """Call *function* here, and run what it returns in the proxy's thread; errors as of `call`."""
        portal, work = self._running(), function(self._proxy)
        self._started.append(portal.start_task_soon(lambda: work))
        return self._started[-1]

    def end(self) -> None:
        """Give up what is still under way."""
        self._portal = None
        for future in self._started:
            future.cancel()

    def check(self) -> None:
        """Raise the first error of what went on in the background."""
        for future in self._started:
            if not future.cancelled():
                future.result()

    def _running(self) -> BlockingPortal:
        if self._portal is None:
            raise RuntimeError(
                "the proxy has been stopped: it runs until the end of its test, or of 'with proxying(...)'"
            )
        return self._portal


@contextmanager
def proxying(url: str, **options: Any) -> Generator[RunningProxy]:  # noqa: ANN401 - whatever FaultProxy takes
    """
    Run a `FaultProxy` with these *options* before a server, in a thread; only host and port of *url* count.

    Raises:
        ValueError: *url* names no host or no port, or an option is out of its range.
        Exception: At the end, what went wrong in the background.
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
                running.end()
        running.check()

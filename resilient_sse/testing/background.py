"""A fault proxy in a thread of its own, for tests of any kind: sync, asyncio, trio."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator
from concurrent.futures import Future
from contextlib import contextmanager
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar
from urllib.parse import urlsplit

from anyio.from_thread import BlockingPortal, start_blocking_portal

from resilient_sse.testing.proxy import Counters, FaultProxy, Profile, Toxic

P = ParamSpec("P")
T = TypeVar("T")

_STOPPED = (
    "the proxy has been stopped: it runs until the end of its test, or of the block of 'with proxying(...)'"
)


def _at_once(
    method: Callable[Concatenate[FaultProxy, P], T],
) -> Callable[[object], Callable[Concatenate[RunningProxy, P], T]]:
    """Make of a stub what does *method* in the proxy's thread, and waits for it."""

    @wraps(method)
    def call(self: RunningProxy, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self.call(lambda proxy: method(proxy, *args, **kwargs))

    return lambda _: call  # assigned in a class, it would have no declared type


def _in_background(
    method: Callable[Concatenate[FaultProxy, P], Coroutine[Any, Any, None]],
) -> Callable[[object], Callable[Concatenate[RunningProxy, P], Future[None]]]:
    """Make of a stub what does so in the background: it checks its arguments, and returns a future."""

    @wraps(method)
    def start(self: RunningProxy, /, *args: P.args, **kwargs: P.kwargs) -> Future[None]:
        return self.start(lambda proxy: method(proxy, *args, **kwargs))

    return lambda _: start


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
        self.counters: Counters = proxy.counters
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

    @_at_once(FaultProxy.use)
    def use(self) -> None: ...

    @_at_once(FaultProxy.add)
    def add(self) -> None: ...

    @_at_once(FaultProxy.remove)
    def remove(self) -> None: ...

    @_at_once(FaultProxy.clear)
    def clear(self) -> None: ...

    @_at_once(FaultProxy.refuse)
    def refuse(self) -> None: ...

    @_at_once(FaultProxy.accept)
    def accept(self) -> None: ...

    @_at_once(FaultProxy.black_hole)
    def black_hole(self) -> None: ...

    @_at_once(FaultProxy.flow)
    def flow(self) -> None: ...

    @_at_once(FaultProxy.reset_all)
    def reset_all(self) -> None: ...

    @_at_once(FaultProxy.close_all)
    def close_all(self) -> None: ...

    @_at_once(FaultProxy.apply)
    def apply(self) -> None: ...

    @_in_background(FaultProxy.flap)
    def flap(self) -> None: ...

    @_in_background(FaultProxy.handoff)
    def handoff(self) -> None: ...

    @_in_background(FaultProxy.play)
    def play(self) -> None: ...

    def call(self, function: Callable[[FaultProxy], T]) -> T:
        """Call *function* in the proxy's thread, and return what it returns; `RuntimeError` if it was stopped."""
        if self._portal is None:
            raise RuntimeError(_STOPPED)
        return self._portal.call(function, self._proxy)

    def start(self, function: Callable[[FaultProxy], Coroutine[Any, Any, None]]) -> Future[None]:
        """Call *function* here, and run what it returns in the proxy's thread; errors as of `call`."""
        if self._portal is None:
            raise RuntimeError(_STOPPED)
        work = function(self._proxy)
        self._started.append(self._portal.start_task_soon(lambda: work))
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

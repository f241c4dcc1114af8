"""The fault proxy: a TCP port whose connections lead to a target over a network as bad as wanted."""

from __future__ import annotations

import errno
import logging
import random
import socket
from collections.abc import Coroutine, Iterable, Sequence
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

import anyio
from anyio.abc import TaskGroup

from resilient_sse.testing.checks import check, check_port, check_seconds, check_whole
from resilient_sse.testing.proxy.connection import Address, Port, ProxiedConnection, resolve
from resilient_sse.testing.proxy.link import Shape, Way, shape
from resilient_sse.testing.proxy.toxics import (
    Action,
    BlackHole,
    LimitBytes,
    Profile,
    Refuse,
    Reset,
    SlowClose,
    Timeline,
    TLSFailure,
    Toxic,
    parse_action,
)
from resilient_sse.testing.proxy.toxics import profile as known_profile

_Limited = TypeVar("_Limited", Refuse, Reset, LimitBytes, TLSFailure)


@dataclass(slots=True, kw_only=True)
class ProxyCounters:
    """The figures of one proxy."""

    accepted: int = 0  #: Connections accepted.
    #: Connections turned away by the proxy: by the toxic `Refuse`, or because the target could not be reached.
    #: While the port is closed (`FaultProxy.refuse`) the system turns them away, and nobody counts.
    refused: int = 0
    resets: int = 0  #: Connections that ended with RST because of the proxy, refused ones not included.
    bytes_down: int = 0  #: Bytes passed to clients.
    bytes_up: int = 0  #: Bytes passed to the target.
    dropped: int = 0  #: Segments lost once and sent again.
    live: int = 0  #: Connections held at the moment.

    def to_dict(self) -> dict[str, int]:
        """Return the figures by name."""
        return asdict(self)


@dataclass(slots=True)
class _Entry:
    """A toxic, and how many connections it will still befall."""

    toxic: Toxic
    left: int | None


_log = logging.getLogger("resilient_sse")

_OUT_OF_FILES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_RETRY_SECONDS = 0.05


class FaultProxy:
    """
    A TCP proxy with faults, for the time of an `async with` block; connections lead to the target.

    Every connection has a line of its own, as bad as the profile and the toxics make it; a change takes effect on
    connections that are open, too.  The methods that are not awaited act at once, and are called in the event loop
    of the block.  It listens on *host* and *port*, 0 for a free one.

    *seed* decides about all that is random: the n-th connection fares the same under the same seed.  `None` draws
    one, to be read from `seed`.  `TypeError` or `ValueError` says which toxic or profile is none.
    """

    def __init__(
        self,
        target_host: str,
        target_port: int,
        *,
        profile: str | Profile = "clean",
        toxics: Iterable[Toxic] = (),
        seed: int | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        check_port("target_port", target_port)
        self.host = host
        self.counters: ProxyCounters = ProxyCounters()
        """The figures, which keep changing."""
        self.seed: int = random.getrandbits(32) if seed is None else seed
        """The seed, given or drawn."""
        self.shapes: dict[Way, Shape]
        """What the profile and the toxics in force come to in each direction."""
        self._entries: list[_Entry] = []
        self._changed = anyio.Event()
        self.use(profile)
        for toxic in toxics:
            self.add(toxic)
        self._wanted = port
        self._target = (target_host, target_port)
        self._port: Port | None = None
        self._tasks: TaskGroup | None = None
        self._connections: set[ProxiedConnection] = set()
        self._addresses: list[Address] = []

    async def __aenter__(self) -> Self:
        """Open the port; `OSError` says what to change if it is in use, or a host is unknown."""
        if self._tasks is not None:
            raise RuntimeError("the proxy is already running; make another FaultProxy for another port")
        self._addresses = await resolve(*self._target)
        self._port = Port(self.host, self._wanted)
        self._tasks = anyio.create_task_group()
        await self._tasks.__aenter__()
        self._tasks.start_soon(self._listen, self._tasks, self._port.open())
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        """Close the port and every connection; what the block raises passes as it is, in no exception group."""
        tasks, port = self._running()
        self._tasks = None  # from here on nothing opens the port again
        port.release()
        self.close_all()
        if isinstance(exc, anyio.get_cancelled_exc_class()):
            # Perhaps it was cancelled by the task group itself, which has to know.
            return await tasks.__aexit__(exc_type, exc, traceback)
        tasks.cancel_scope.cancel()
        await tasks.__aexit__(None, None, None)
        return None

    @property
    def port(self) -> int:
        """The port that it listens on, or would if it did not refuse at the moment."""
        return self._running()[1].number

    def url_for(self, url: str) -> str:
        """Return *url* with the address of the proxy in place of its own; `ValueError` if it has none."""
        parts = urlsplit(url)
        if not parts.netloc:
            raise ValueError(f"url must have a scheme and a host, as http://host/path has, not {url!r}")
        user, at, _ = parts.netloc.rpartition("@")
        host = f"[{self.host}]" if ":" in self.host else self.host
        return parts._replace(netloc=f"{user}{at}{host}:{self.port}").geturl()

    @property
    def profile(self) -> Profile:
        """The line at the moment."""
        return self._profile

    @property
    def toxics(self) -> tuple[Toxic, ...]:
        """The toxics in force, in the order in which they were added."""
        return tuple(entry.toxic for entry in self._entries)

    def use(self, profile: str | Profile) -> None:
        """Change the line, also of connections that are open; `ValueError` names the profiles there are."""
        self._profile = known_profile(profile)
        self._reshape()

    def add(self, toxic: Toxic) -> None:
        """Put a toxic in force, also on connections that are open; `TypeError` if it is none."""
        if not isinstance(toxic, Toxic):  # pyright: ignore[reportUnnecessaryIsInstance] - text may mean an action
            how = f"parse_toxic({toxic!r})" if isinstance(toxic, str) else "SegmentLoss(share=0.1)"
            raise TypeError(f"give a toxic, such as {how}, not {toxic!r}")
        self._entries.append(_Entry(toxic, getattr(toxic, "times", None)))
        self._reshape()

    def remove(self, toxic: Toxic) -> None:
        """Take a toxic away; `ValueError` if it is not in force."""
        if toxic not in self.toxics:
            raise ValueError(f"{toxic!r} is not in force; remove what was added, once")
        del self._entries[self.toxics.index(toxic)]
        self._reshape()

    def clear(self, kind: type[Toxic] | None = None) -> None:
        """Take every toxic away, or every one of a kind."""
        self._entries = [entry for entry in self._entries if kind and not isinstance(entry.toxic, kind)]
        self._reshape()

    def refuse(self) -> None:
        """Close the port: the system refuses new connections.  Those that are open stay; harmless when closed."""
        self._running()[1].shut()

    def accept(self) -> None:
        """Open the port again; harmless when open."""
        tasks, port = self._running()
        if port.is_shut:
            tasks.start_soon(self._listen, tasks, port.open())

    def black_hole(self) -> None:
        """Let nothing pass and nothing end, either way; new connections are accepted and hear nothing."""
        self.add(BlackHole())

    def flow(self) -> None:
        """Take every black hole away: what was held back passes now."""
        self.clear(BlackHole)

    def reset_all(self) -> int:
        """Reset every connection (RST), towards the client and the target; return how many."""
        return self._end_all(reset=True)

    def close_all(self) -> int:
        """Close every connection (FIN), towards the client and the target; return how many."""
        return self._end_all(reset=False)

    def flap(
        self, times: int, *, down: float | Sequence[float], up: float = 1.0
    ) -> Coroutine[Any, Any, None]:
        """
        Take the network away so many *times*: reset everything and refuse, then accept again; to be awaited.

        *down* is how many seconds it stays away, or one figure for each time, and *up* how many it then stays.
        """
        check_whole("times", times, least=1)
        downs: list[float] = list(down) if isinstance(down, Sequence) else [down] * times
        if len(downs) != times:
            raise ValueError(f"flap needs one figure in down for each of {times} times, not {down}")
        for seconds in (*downs, up):
            check_seconds("down and up", seconds, zero=True)

        async def flap() -> None:
            for seconds in downs:
                await self._away(seconds)
                await anyio.sleep(up)

        return flap()

    def handoff(self, before: str | Profile, after: str | Profile, gap: float) -> Coroutine[Any, Any, None]:
        """
        Change over from one network to another: reset everything, refuse for *gap* seconds, come back as *after*.

        To be awaited; what makes no sense raises `TypeError` or `ValueError` at once, as with `flap`.
        """
        check_seconds("gap", gap, zero=True)
        leaving, arriving = known_profile(before), known_profile(after)

        async def handoff() -> None:
            self.use(leaving)
            await self._away(gap, arriving)

        return handoff()

    def play(self, timeline: Timeline) -> Coroutine[Any, Any, None]:
        """Do what the timeline says, at its times from now on, and return after the last; to be awaited."""
        what = "a Timeline, such as Timeline().at(5, 'black-hole').at(41, 'flow')"
        check("timeline", timeline, Timeline, what)

        async def play() -> None:
            start = anyio.current_time()
            for at, action in timeline.moments:
                await anyio.sleep_until(start + at)
                self.apply(action)

        return play()

    def apply(self, action: Action) -> None:
        """Do one thing at once: what a word says, use a profile, or add a toxic; text as in `parse_action`."""
        action = parse_action(action) if isinstance(action, str) else action
        if isinstance(action, str):
            methods = {"black-hole": self.black_hole, "reset": self.reset_all, "close": self.close_all}
            (methods.get(action) or getattr(self, action))()
        elif isinstance(action, Profile):
            self.use(action)
        else:
            self.add(action)

    # --- What a connection asks

    async def passable(self, way: Way) -> None:
        """Wait until no black hole is in the way."""
        while way in self._blocked:
            await self._changed.wait()

    def strike(self, kind: type[_Limited], *, at: float = 0) -> _Limited | None:
        """Count and return a toxic of the kind that strikes a connection whose client will have *at* bytes."""
        for entry in self._entries:
            toxic = entry.toxic
            if isinstance(toxic, kind) and entry.left != 0 and getattr(toxic, "after", 0) <= at:
                if entry.left is not None:
                    entry.left -= 1
                return toxic
        return None

    def closing_delay(self, way: Way) -> float:
        """Return by how many seconds the end of a direction is late."""
        delays = (toxic.delay for toxic in self._toxics(way) if isinstance(toxic, SlowClose))
        return max(delays, default=0.0)

    async def _away(self, seconds: float, arriving: Profile | None = None) -> None:
        self.refuse()
        self.reset_all()
        try:
            await anyio.sleep(seconds)
        finally:
            if arriving is not None:
                self.use(arriving)
            if self._tasks is not None:  # the block has not been left, or cancelled, meanwhile
                self.accept()

    def _toxics(self, way: Way) -> list[Toxic]:
        return [toxic for toxic in self.toxics if getattr(toxic, "direction", None) in (way, "both")]

    def _reshape(self) -> None:
        ways: tuple[Way, ...] = ("down", "up")
        self.shapes = {way: shape(self._profile, self.toxics, direction=way) for way in ways}
        self._blocked = {
            way for way in ways if any(isinstance(toxic, BlackHole) for toxic in self._toxics(way))
        }
        self._changed.set()
        self._changed = anyio.Event()

    def _running(self) -> tuple[TaskGroup, Port]:
        if self._tasks is None or self._port is None:
            raise RuntimeError(
                "the proxy is not running; use it within 'async with FaultProxy(...) as proxy:'"
            )
        return self._tasks, self._port

    def _end_all(self, *, reset: bool) -> int:
        ending = list(self._connections)
        for connection in ending:
            connection.cut(reset=reset)
        return len(ending)

    async def _listen(self, tasks: TaskGroup, listener: socket.socket) -> None:
        starved = False
        while listener.fileno() >= 0:
            try:
                await anyio.wait_readable(listener)
                client, _ = listener.accept()
            except anyio.ClosedResourceError:
                return
            except OSError as error:  # one that left before it was accepted, among others
                if error.errno in _OUT_OF_FILES:
                    if not starved:
                        _log.warning(
                            "a connection takes two open files, and there are no more: see ulimit -n"
                        )
                    starved = True
                    await anyio.sleep(_RETRY_SECONDS)
                continue
            self.counters.accepted += 1
            seed = f"{self.seed}:{self.counters.accepted}"
            connection = ProxiedConnection(client, self._addresses, seed, self)
            self._connections.add(connection)
            tasks.start_soon(self._serve, connection)

    async def _serve(self, connection: ProxiedConnection) -> None:
        try:
            await connection.run()
        finally:
            self._connections.discard(connection)

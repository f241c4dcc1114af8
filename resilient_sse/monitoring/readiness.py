"""
A readiness endpoint: an ASGI application that answers 200 while streams are well, and 503 while one is not.

It needs no framework: uvicorn runs it, and a route of Starlette or FastAPI takes it for its endpoint.  Streams are
held weakly, so that the endpoint keeps none alive; the one that was added under a name is expected, and reported
as gone when it vanishes.
"""

from __future__ import annotations

import json
import weakref
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any, Final, TypeAlias

from resilient_sse._client.stream import ResilientStream
from resilient_sse._core.checks import check
from resilient_sse._core.states import Reason, StateChange, StreamState
from resilient_sse._core.stats import StreamHealth

__all__ = ["Readiness", "readiness"]

Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_TOLERANCE: Final = 1.0
"""By how many seconds a time may lie ahead: what arrives in another thread while the clock is being read."""


class _Watched:
    """One stream; the stream keeps this alive, not the other way round."""

    def __init__(self, name: str, stream: ResilientStream[Any], *, given: bool) -> None:
        self.name = name
        self.given = given  # whether the name is the program's
        self.stream = weakref.ref(stream)
        self.closed: Reason | None = None

    def changed(self, change: StateChange) -> None:
        """Record why it was closed: once it is gone, there is no health to ask for."""
        self.closed = change.reason if change.new is StreamState.CLOSED else None


class Readiness:
    """
    The application, and the register of the streams that it reports.

    Use it in the event loop of its streams; where it finds that a stream runs by another clock, it answers 503.

    Args:
        streams: The streams, or mappings of names to streams; more can be added, and any removed.
        max_silence: Seconds without a byte that are too many; `None` leaves that to the stream's own timeouts.
            A consumer that takes its time makes silence, too.
        max_eventless: Seconds without a delivered event that are too many.
        complete_is_ready: Whether a stream that has reached its end is as it should be.  One that the program
            closed is not, until it is removed.
        at_least: How many streams there must be: a program that has lost them all is not ready.

    Raises:
        TypeError: An argument is of another type than it should be.
        ValueError: An argument is out of its range, or a name is given twice.
    """

    def __init__(
        self,
        *streams: ResilientStream[Any] | Mapping[str, ResilientStream[Any]],
        max_silence: float | None = None,
        max_eventless: float | None = None,
        complete_is_ready: bool = True,
        at_least: int = 1,
    ) -> None:
        for name, limit in (("max_silence", max_silence), ("max_eventless", max_eventless)):
            wanted = "a number of seconds above 0, or None for no limit"
            check(name, limit, (int, float, type(None)), wanted, lambda given: given is None or given > 0)
        check("at_least", at_least, int, "a whole number of streams, 0 or more", lambda given: given >= 0)
        self._max_silence = max_silence
        self._max_eventless = max_eventless
        self._complete_is_ready = complete_is_ready
        self._at_least = at_least
        self._watched: dict[_Watched, None] = {}  # in their order
        self._numbers = count(1)
        for given in streams:
            if isinstance(given, Mapping):
                for name, stream in given.items():
                    self.add(stream, name)
            else:
                self.add(given)

    def add(self, stream: ResilientStream[Any], name: str | None = None) -> None:
        """
        Report *stream* from now on.

        Args:
            stream: Whose health is asked for; it is not kept alive.
            name: What it is called.  A stream with a name is expected until it is removed: should it vanish
                before it was complete, the endpoint says so.  One without is forgotten when it vanishes.

        Raises:
            TypeError: It is no stream, or the name no text.
            ValueError: Another stream has this name, and is neither gone nor closed.
        """
        if not isinstance(stream, ResilientStream):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(
                f'give a ResilientStream, or names with theirs: {{"prices": stream}}, not {stream!r:.80}; '
                "of one of resilient_sse.sync ask health().ok"
            )
        check("the name of a stream", name, (str, type(None)), "a text")
        names = {watched.name: watched for watched in self._watched}
        unused = (other for other in map("stream-{}".format, self._numbers) if other not in names)
        known = None if name is None else names.get(name)
        if known is not None and not known.given:
            known.name = next(unused)
        elif known is not None:
            before = known.stream()
            if before is not None and before.state is not StreamState.CLOSED:
                raise ValueError(f"a stream named {name!r} is there already; remove it first")
            self._drop(known)
        watched = _Watched(next(unused) if name is None else name, stream, given=name is not None)
        stream.on_state_change(watched.changed)
        self._watched[watched] = None
        if name is None:
            weakref.finalize(stream, self._watched.pop, watched, None).atexit = False

    def remove(self, stream: ResilientStream[Any] | str) -> None:
        """
        Report a stream, given itself or by its name, no more.

        Raises:
            ValueError: It was not added.
        """
        known = [one for one in self._watched if stream in (one.name, one.stream())]
        if not known:
            raise ValueError(f"{stream!r} was not added")
        for watched in known:
            self._drop(watched)

    def report(self) -> tuple[bool, dict[str, Any]]:
        """Return whether all is well, and what the endpoint answers; call it in the event loop of the streams."""
        rows = [self._row(watched) for watched in list(self._watched)]
        enough = len(rows) >= self._at_least
        ready = enough and all(row["ready"] for row in rows)
        body: dict[str, Any] = {"ready": ready, "streams": rows}
        if not enough:
            body["why"] = f"there should be {self._at_least} or more streams"
        return ready, body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, as ASGI has it."""
        match scope["type"]:
            case "http":
                await self._answer(scope["method"], send)
            case "lifespan":
                stage = ""
                while stage != "shutdown":
                    stage = (await receive())["type"].removeprefix("lifespan.")
                    await send({"type": f"lifespan.{stage}.complete"})
            case other:
                raise ValueError(f"this endpoint speaks HTTP, not {other!r}")

    async def _answer(self, method: str, send: Send) -> None:
        headers = [(b"content-type", b"application/json"), (b"cache-control", b"no-store")]
        if method in ("GET", "HEAD"):
            ready, told = self.report()
            status = 200 if ready else 503
        else:
            status, told = 405, {"error": "use GET or HEAD"}
            headers.append((b"allow", b"GET, HEAD"))
        body = json.dumps(told).encode()
        headers.append((b"content-length", str(len(body)).encode()))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if method == "HEAD" else body})

    def _drop(self, watched: _Watched) -> None:
        del self._watched[watched]
        stream = watched.stream()
        if stream is not None:
            stream.remove_callback(watched.changed)

    def _row(self, watched: _Watched) -> dict[str, Any]:
        """Return how one stream is; of its last failure the kind, never the text."""
        stream = watched.stream()
        row: dict[str, Any] = {"name": watched.name, "ready": False, "why": None, "state": "gone"}
        row |= {"since": None, "silent_for": None, "eventless_for": None, "attempt": 0, "last_error": None}
        if stream is None:
            row["why"] = None if self._is_complete(watched) else "the program has dropped it"
            return row | {"ready": row["why"] is None}
        health, started = stream.health(), stream.stats.started_at
        if health.state is StreamState.CLOSED:
            watched.closed = health.reason  # it may have been so before it was added
        row |= {"state": health.state.value, "attempt": health.attempt, "last_error": health.last_error}
        row["why"] = self._why(watched, health, started)
        times = [then for then in (started, health.since, health.last_byte_at) if then is not None]
        if all(then <= health.at + _TOLERANCE for then in times):
            if health.since is not None:
                since = datetime.now(UTC) - timedelta(seconds=health.at - health.since)
                row["since"] = since.isoformat(timespec="milliseconds")
            row |= {
                "silent_for": _rounded(health.silent_for),
                "eventless_for": _rounded(health.eventless_for),
            }
        elif row["why"] is None and health.ok:
            row["why"] = "it runs in another event loop, by whose clock its times are; ask in its own"
        return row | {"ready": row["why"] is None}

    def _why(self, watched: _Watched, health: StreamHealth, started: float | None) -> str | None:
        if not health.ok:
            return None if self._is_complete(watched) else f"it is {health.state.value}"
        for what, last, limit in (
            ("byte", health.last_byte_at, self._max_silence),
            ("event", health.last_event_at, self._max_eventless),
        ):
            begin = started if last is None else last
            if limit is not None and begin is not None and health.at - begin > limit:
                return f"no {what} for more than {limit:g} s"
        return None

    def _is_complete(self, watched: _Watched) -> bool:
        return self._complete_is_ready and watched.closed is Reason.COMPLETE


readiness = Readiness
"""Make the application: `readiness(stream)`, `readiness({"prices": stream})`."""


def _rounded(duration: float | None) -> float | None:
    return None if duration is None else round(duration, 3)

"""The processed position: loaded once, saved when the consumer asks for the next event or says so."""

from __future__ import annotations

import inspect
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

import anyio

from resilient_sse._client.log import logger, redacted
from resilient_sse._core.checks import check_choice, check_count, check_seconds
from resilient_sse._core.cursor import usable_as_cursor
from resilient_sse._core.errors import CheckpointError, moved
from resilient_sse._core.events import ServerSentEvent
from resilient_sse._core.ports import Checkpoint

if TYPE_CHECKING:
    from collections.abc import Callable

    from resilient_sse._core.ports import CheckpointStore

# So often at most is saved what the consumer does not get.
_EVERY_SECONDS = 1.0

Ack: TypeAlias = Literal["auto", "manual"]
Start: TypeAlias = Literal["stored", "live"]


def checkpoint_key(method: str, url: str) -> str:
    """Name a stream in a store by its method (GET goes without saying), scheme, host and path."""
    # Neither the query nor the body is a part of it: a token that is replaced must not make another stream of it.
    method = method.upper()
    return redacted(url) if method == "GET" else f"{method} {redacted(url)}"


@dataclass(eq=False)
class ConsumerPosition:
    """
    One consumer's position in a store: what was processed, where the id that resumes moves by what is received.

    A crash in between delivers the event again after the restart.
    """

    store: CheckpointStore
    key: str
    ack: Ack
    start: Start
    every: int
    interval: float | None
    _known: Checkpoint | None = None
    _processed: str | None = None  # not saved yet
    _unsaved: int = 0  # so many events
    _unsaved_since: float | None = None
    _outstanding: ServerSentEvent | None = None  # handed over, and not committed by the program yet
    _seen: str | None = None  # the id in force when it was last looked at
    _passed_at: float = -math.inf
    _uncertain: str | None = None
    _committing: anyio.Lock = field(default_factory=anyio.Lock)

    async def load(self) -> str | None:
        """Return the stored id, or `None` if there is none or it is to be ignored."""
        self._known = await self._loaded()
        if self._known is None:
            begins = "at last_event_id if it was given, else where the server begins"
            logger.info(f"no position is stored under the key %r: the stream begins {begins}", self.key)
        if self._known is None or self.start == "live":
            return None
        logger.info("the stream goes on behind the position stored under the key %r", self.key)
        stored = self._known.last_event_id
        if stored and not usable_as_cursor(stored):  # no stream has saved it; beginning elsewhere is loss
            raise CheckpointError("the stored position is no id that a header can carry", key=self.key)
        return stored

    @property
    def manual(self) -> bool:
        """Whether the program says what it has processed."""
        return self.ack == "manual"

    @property
    def room(self) -> int:
        """How many events the consumer may be given before the next save."""
        if self.interval is not None:
            return 1  # only who asks for the next event can be told that it is time
        return max(self.every - self._unsaved, 1)

    def handed_over(self, event: ServerSentEvent, events: int = 1) -> None:
        """Record that the consumer has got so many events, *event* at the end, and with `auto` is done with it."""
        self._seen = event.last_event_id
        if self.manual:
            self._outstanding = event
        else:
            self._processed = event.last_event_id
            self._unsaved += events

    async def passed(self, last_event_id: str, *, now: float) -> None:
        """Save that the stream has come to *last_event_id* by events that were filtered."""
        # Not while the consumer has not committed what it has got, nor more often than once a second.
        if self._seen is None:
            self._seen = last_event_id  # where it begins is no progress
        early = self._outstanding is not None or now - self._passed_at < _EVERY_SECONDS
        if early or last_event_id == self._seen:
            return
        self._passed_at = now
        await self._save(last_event_id)
        self._seen = last_event_id

    async def settle(self, clock: Callable[[], float] | None = None) -> None:
        """Save what was processed, if *clock* tells that it is time, or without one."""
        if self._processed is None:
            return
        due = clock is None or self._unsaved >= self.every
        if clock is not None and self.interval is not None:
            now = clock()
            self._unsaved_since = now if self._unsaved_since is None else self._unsaved_since
            due = due or now - self._unsaved_since >= self.interval
        if due:
            await self._save(self._processed)

    async def commit(self, event: ServerSentEvent) -> None:
        if not isinstance(event, ServerSentEvent):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"commit() takes the event itself, not {event!r}")
        if not self.manual:
            raise RuntimeError(
                'commit() is for ack="manual"; with ack="auto" asking for the next event commits'
            )
        async with self._committing:  # of two saves over one known position the second would be a conflict
            await self._save(event.last_event_id)
        if event == self._outstanding:  # another may have the same id in force
            self._outstanding = None

    async def _save(self, last_event_id: str) -> None:
        if not last_event_id or usable_as_cursor(last_event_id):  # it could resume something
            await self._write(last_event_id)
        self._processed, self._unsaved, self._unsaved_since = None, 0, None

    async def _write(self, last_event_id: str) -> None:
        if self._uncertain is not None:
            await self._find_out(self._uncertain)
        if last_event_id == ("" if self._known is None else self._known.last_event_id):
            return
        # A save that is cancelled may have happened or not; the next one has to look before it writes.
        self._uncertain = last_event_id
        saved = await _awaited("save", self.store.save(self.key, last_event_id, expected=self._known))
        if not isinstance(saved, Checkpoint):
            raise TypeError(f"checkpoint: save() must return the Checkpoint it saved, not {saved!r}")
        self._known = saved
        self._uncertain = None

    async def _loaded(self) -> Checkpoint | None:
        found = await _awaited("load", self.store.load(self.key))
        if found is not None and not isinstance(found, Checkpoint):
            raise TypeError(f"checkpoint: load() must return a Checkpoint or None, not {found!r}")
        return found

    async def _find_out(self, attempted: str) -> None:
        found = await self._loaded()
        if found is not None and self._known is not None and found.version < self._known.version:
            self._uncertain = None  # the store has lost its end: it is its own to heal it, or to refuse
            return
        if found is not None and found != self._known and found.last_event_id != attempted:
            raise moved(self.key)
        self._known = found
        self._uncertain = None


async def _awaited(method: str, result: Any) -> Any:  # noqa: ANN401 - what the caller's store returned
    if not inspect.isawaitable(result):
        raise TypeError(f"checkpoint: {method}() must be a coroutine function (async def)")
    try:
        return await result
    except StopAsyncIteration as exc:  # it would end the caller's loop as if all were well
        raise RuntimeError(f"checkpoint: {method}() raised StopAsyncIteration") from exc


def position_in(
    store: CheckpointStore | None,
    key: str | None,
    default_key: str,
    *,
    ack: Ack,
    start: Start,
    every: int,
    interval: float | None,
) -> ConsumerPosition | None:
    """Check the arguments about checkpoints and return the stream's position, `None` without a store."""
    check_choice("ack", ack, get_args(Ack))
    check_choice("start", start, get_args(Start))
    check_count("commit_every", every, least=1, optional=False)
    check_seconds("commit_interval", interval, positive=True)
    if (every != 1 or interval is not None) and (store is None or ack == "manual"):
        raise ValueError('commit_every and commit_interval are about a checkpoint with ack="auto"')
    if key is not None and not isinstance(key, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"checkpoint_key must be a string or None, not {key!r}")
    if key is not None and (not key or store is None):
        raise ValueError(
            "checkpoint_key names the consumer in a store: give checkpoint=, and a name that is not ''"
        )
    if store is None:
        if ack == "manual" or start == "live":
            raise ValueError('ack="manual" and start="live" are about a checkpoint; give checkpoint=')
        return None
    if isinstance(store, type):
        raise TypeError(f"checkpoint must be an instance, such as MemoryCheckpoint(), not {store!r}")
    for method in ("load", "save"):
        if not callable(getattr(store, method, None)):
            raise TypeError(f"checkpoint must have the methods load and save, not {store!r}")
    return ConsumerPosition(store, key or default_key, ack, start, every, interval)

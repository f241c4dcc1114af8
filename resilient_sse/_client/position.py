"""The processed position: loaded once, saved when the consumer asks for the next event or says so."""

from __future__ import annotations

import hashlib
import inspect
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

import anyio

from resilient_sse._client.log import redacted
from resilient_sse._core.checks import check_choice
from resilient_sse._core.errors import CheckpointError
from resilient_sse._core.events import ServerSentEvent
from resilient_sse._core.intake import usable_as_cursor
from resilient_sse._core.ports import Checkpoint

if TYPE_CHECKING:
    from resilient_sse._core.ports import CheckpointStore

__all__ = ["Ack", "Position", "Start", "checkpoint_key", "position_in"]

Ack: TypeAlias = Literal["auto", "manual"]
Start: TypeAlias = Literal["stored", "live"]


def checkpoint_key(url: str, identity: bytes) -> str:
    """
    Name a stream in a store: where it is, without what may be secret.

    Args:
        url: The URL.
        identity: What else of the request chooses the stream or the user; it is part of the name as a hash.
    """
    return redacted(url) + ("?" + hashlib.sha256(identity).hexdigest()[:16] if identity else "")


class Position:
    """
    One consumer's position in a store.

    It is not the id that resumes a dropped connection: that one moves when an event is received, this one when
    it was processed.  A crash in between delivers the event again after the restart.

    Args:
        store: Where it is kept.
        key: Under which name.
        ack: `"auto"` commits an event when the next one is asked for, `"manual"` only by `commit`.
        start: `"stored"` begins at the stored position, `"live"` ignores it.
    """

    def __init__(self, store: CheckpointStore, key: str, *, ack: Ack, start: Start) -> None:
        self._store = store
        self._key = key
        self._ack = ack
        self._start = start
        self._known: Checkpoint | None = None
        self._handed: str | None = None
        self._uncertain: str | None = None
        self._committing = anyio.Lock()

    async def load(self) -> str | None:
        """
        Return the stored id, or `None` if there is none or it is to be ignored.

        Raises:
            CheckpointError: The store cannot be read, or what it holds cannot be sent.
        """
        self._known = await self._loaded()
        if self._known is None or self._start == "live":
            return None
        stored = self._known.last_event_id
        if stored and not usable_as_cursor(stored):  # no stream has saved it; beginning elsewhere is loss
            raise CheckpointError("the stored position is no id that a header can carry", key=self._key)
        return stored

    def handed_over(self, event: ServerSentEvent) -> None:
        """Take note that the consumer has got *event* and is processing it."""
        if self._ack == "auto":
            self._handed = event.last_event_id

    async def settle(self) -> None:
        """
        Commit the event that was handed over last: the consumer is done with it.

        Raises:
            CheckpointError: It was not saved; the next call tries again.
        """
        if self._handed is not None:
            await self._save(self._handed)
            self._handed = None

    async def commit(self, event: ServerSentEvent) -> None:
        """
        Commit *event* and everything before it.

        Raises:
            CheckpointError: It was not saved.
            RuntimeError: Events are committed automatically.
        """
        if not isinstance(event, ServerSentEvent):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"commit() takes the event itself, not {event!r}")
        if self._ack != "manual":
            raise RuntimeError(
                'commit() is for ack="manual"; with ack="auto" asking for the next event commits'
            )
        async with self._committing:  # of two saves over one known position the second would be a conflict
            await self._save(event.last_event_id)

    async def _save(self, last_event_id: str) -> None:
        current = "" if self._known is None else self._known.last_event_id
        if last_event_id == current and self._uncertain is None:
            return
        if last_event_id and not usable_as_cursor(last_event_id):
            return  # it could not resume anything; the last good one stays
        if self._uncertain is not None:
            await self._find_out(self._uncertain)
        # A save that is cancelled may have happened or not; the next one has to look before it writes.
        self._uncertain = last_event_id
        saved = await _awaited("save", self._store.save(self._key, last_event_id, expected=self._known))
        if not isinstance(saved, Checkpoint):
            raise TypeError(f"checkpoint: save() must return the Checkpoint it saved, not {saved!r}")
        self._known = saved
        self._uncertain = None

    async def _loaded(self) -> Checkpoint | None:
        found = await _awaited("load", self._store.load(self._key))
        if found is not None and not isinstance(found, Checkpoint):
            raise TypeError(f"checkpoint: load() must return a Checkpoint or None, not {found!r}")
        return found

    async def _find_out(self, attempted: str) -> None:
        found = await self._loaded()
        if found is not None and found != self._known and found.last_event_id != attempted:
            raise CheckpointError("another consumer has moved this position", key=self._key)
        self._known = found
        self._uncertain = None


async def _awaited(method: str, result: Any) -> Any:  # noqa: ANN401 - what the caller's store returned
    if not inspect.isawaitable(result):
        raise TypeError(f"checkpoint: {method}() must be a coroutine function (async def)")
    try:
        return await result
    except StopAsyncIteration as exc:  # it would end the caller's loop as if all were well
        raise RuntimeError(f"checkpoint: {method}() raised StopAsyncIteration") from exc


def position_in(store: CheckpointStore | None, key: str, *, ack: Ack, start: Start) -> Position | None:
    """
    Check the arguments about checkpoints and return the stream's position, `None` without a store.

    Raises:
        TypeError: *store* is no store.
        ValueError: A word is not one of those known, or makes no sense without a store.
    """
    check_choice("ack", ack, get_args(Ack))
    check_choice("start", start, get_args(Start))
    if store is None:
        if ack == "manual" or start == "live":
            raise ValueError('ack="manual" and start="live" are about a checkpoint; give checkpoint=')
        return None
    if isinstance(store, type):
        raise TypeError(f"checkpoint must be an instance, such as MemoryCheckpoint(), not {store!r}")
    for method in ("load", "save"):
        if not callable(getattr(store, method, None)):
            raise TypeError(f"checkpoint must have the methods load and save, not {store!r}")
    return Position(store, key, ack=ack, start=start)

"""
Who reads what: brings each stored event to every reader of its stream, in order and once.

Appends may finish out of order, other processes may store events, and a reader may come while events are being
stored.  So a topic never trusts an announcement to be the next event: it knows the last id that it brought to its
readers, takes the next one as it comes, and reads the store for anything else.  A reader enters its topic first,
then reads the store until nothing was announced beyond what it has read, and only then is brought events.  There
is no await between that last look and the change, so nothing can fall between the two.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from resilient_sse.testing.server.stores.protocol import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from resilient_sse.testing.server.reader import Reader
    from resilient_sse.testing.server.stores.protocol import EventStore, StoredEvent

__all__ = ["Topic", "Topics"]

_log = logging.getLogger("resilient_sse")

_PAGE = 100


class Topic:
    """
    The readers of one stream.

    Args:
        name: The stream.
        store: Where its events are.
    """

    def __init__(self, name: str, store: EventStore) -> None:
        self.name = name
        self.readers: set[Reader] = set()
        """All who read this stream, whether they have caught up or not."""
        self.seen: int = -1
        """The largest id announced."""
        self.beat: asyncio.TimerHandle | None = None
        """When the next heartbeat with an id is due."""
        self._store = store
        self._brought: int | None = None  # the last id brought to the readers that have caught up
        self._reading: asyncio.Task[None] | None = None

    def announce(self, stored: StoredEvent) -> None:
        """Take note of an event, and bring it to the readers if it is the next."""
        self.seen = max(self.seen, stored.id)
        if self._brought is None or stored.id <= self._brought:
            return  # whoever catches up reads it from the store, or it was brought before
        if stored.id == self._brought + 1 and self._reading is None:
            self._bring(stored)
        else:
            self.look()

    def look(self) -> None:
        """Read from the store what was not announced in order."""
        if self._brought is not None and self._reading is None:
            self._reading = asyncio.get_running_loop().create_task(self._read())

    def caught_up(self, position: int) -> bool:
        """Say whether a reader that has read up to *position* has it all; from then on it is brought events."""
        if self.seen > position:
            return False
        if self._brought is None:
            self._brought = position
        return True

    def stop(self) -> None:
        """Stop what is under way."""
        if self.beat is not None:
            self.beat.cancel()
        if self._reading is not None:
            self._reading.cancel()

    async def _read(self) -> None:
        try:
            while self._brought is not None:
                page = await self._store.after(self.name, self._brought, _PAGE)
                for stored in page:
                    self._bring(stored)
                if not page or (len(page) < _PAGE and self.seen <= self._brought):
                    return
        except StoreError:
            # They have missed something: a new connection will tell them what.
            _log.exception("the event store cannot be read; ending %d streams", len(self.readers))
            for reader in list(self.readers):
                reader.break_off()
        finally:
            self._reading = None

    def _bring(self, stored: StoredEvent) -> None:
        self._brought = stored.id
        for reader in list(self.readers):
            reader.bring(stored)


class Topics:
    """
    All streams that have readers.

    Args:
        store: Where the events are.
    """

    def __init__(self, store: EventStore) -> None:
        self._store = store
        self._topics: dict[str, Topic] = {}

    def enter(self, reader: Reader, name: str) -> Topic:
        """Add a reader to the topic *name*."""
        topic = self._topics.get(name)
        if topic is None:
            topic = self._topics[name] = Topic(name, self._store)
        topic.readers.add(reader)
        return topic

    def leave(self, reader: Reader, topic: Topic) -> None:
        """Take a reader away; a topic without readers is forgotten."""
        topic.readers.discard(reader)
        if not topic.readers and self._topics.get(topic.name) is topic:
            del self._topics[topic.name]
            topic.stop()

    def announce(self, stored: StoredEvent | None) -> None:
        """Take note of an event; `None` means that some may have been missed."""
        if stored is None:
            for topic in self._topics.values():
                topic.look()
        elif stored.stream in self._topics:
            self._topics[stored.stream].announce(stored)

    def readers(self) -> Iterator[Reader]:
        """Yield every reader."""
        for topic in list(self._topics.values()):
            yield from list(topic.readers)

    def each(self, act: Callable[[Reader], None]) -> None:
        """Do something to every reader."""
        for reader in self.readers():
            act(reader)

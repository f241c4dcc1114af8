"""The server's log: everything that was published, what became of it, and what each connection was sent."""

from dataclasses import dataclass, field
from enum import Enum

from resilient_sse.testing import RecordedRequest
from tests.simulation.plan import Answer, Dialect, Ids


class What(Enum):
    """What an event is; the value is its type on the wire."""

    EVENT = "message"
    PLAIN = "message "
    OTHER = "other"
    BEAT = "heartbeat"
    DONE = "done"

    @property
    def type(self):
        return self.value.strip()


@dataclass(slots=True, eq=False)
class Published:
    """
    One event.

    *ordinal* is its place in the whole run, from 1, *epoch* how often the server had lost its memory, *number* its
    number in that epoch (of a plain one that of the event before).  *gone* is whether no replay brings it.
    """

    ordinal: int
    epoch: int
    number: int
    what: What
    id: str | None
    data: str
    gone: bool = False


@dataclass(slots=True, kw_only=True, eq=False)
class Sent:
    """
    One attempt of the client, and what it was sent.

    Attributes:
        at: When it arrived.
        answer: What it met, or was to meet behind its redirects; *hops* are its requests.
        cursor: The position it asked for; *meant* is the event that the client means by that.
        process: Which process of the consumer sent it, from 1; *start* is the event behind which that began.
        opened: Whether the client has got the headers of a stream.
        events: The events that the client has read to the end, repeats included.
        brought: Whether the client has read anything of it to its end, be it a comment.
        heartbeats: How many heartbeats it has, those without a number of their own.
        retries: The `retry` fields that it has, in milliseconds, and when they arrived.
        unresumable: The answer says that the position cannot be resumed from.
    """

    at: float
    answer: Answer
    cursor: str | None
    meant: Published | None
    process: int
    start: Published | None
    hops: list[RecordedRequest] = field(default_factory=list)
    opened: bool = False
    events: list[Published] = field(default_factory=list)
    heartbeats: int = 0
    brought: bool = False
    retries: list[tuple[float, int]] = field(default_factory=list)
    unresumable: bool = False

    @property
    def behind(self):
        """The ordinal of the event it was to resume after, 0 for none."""
        return 0 if self.meant is None else self.meant.ordinal

    @property
    def met(self):
        """Whether it came through its redirects."""
        return len(self.hops) > len(self.answer.redirects)


class Log:
    """The server's memory, and the memory of it all."""

    def __init__(self, options):
        self.options = options
        self.events: list[Published] = []
        """Everything that was ever published, by ordinal."""
        self.requests: list[Sent] = []
        """Every attempt that reached the server, or was to reach it."""
        self.epoch = 1
        self.floor = 0
        """No repeat reaches behind this ordinal: there the present process began."""
        self.process, self.start = 0, None
        """Which process of the consumer is running, from 1, and the event behind which it began."""
        self._forgotten = self._number = 0
        self._heard: dict[str, Published] = {}

    def publish(self, what):
        """Publish one event; the server does not store one without an id."""
        ordinal, event_id = len(self.events) + 1, None
        if what is not What.PLAIN:
            self._number += 1
            event_id = {
                Ids.NUMBERS: str(self._number),
                Ids.OPAQUE: f"{self.epoch}-{self._number}",
                Ids.RISING: f"{self.epoch}{self._number:05}",
                Ids.THINGS: f"thing {self._number % 3}",
            }[self.options.ids]
        if self.options.dialect is Dialect.JSON:
            data = f'{{"e": {ordinal}, "n": "{event_id}"}}' if event_id else f'{{"e": {ordinal}}}'
        else:
            data = f"e{ordinal}"
        if not self.options.watched:
            data = data.ljust(400)  # reads of several large events are judged by columns
        gone = what is What.PLAIN or self.options.ids is Ids.THINGS
        self.events.append(Published(ordinal, self.epoch, self._number, what, event_id, data, gone))
        return self.events[-1]

    def forget(self):
        """Restart the server with an empty memory; numbers begin at 1."""
        for event in self.events:
            event.gone = True
        self.epoch += 1
        self._number = 0
        self._forgotten = len(self.events)

    def of(self, data):
        """Return the event with this data."""
        digits = "".join(filter(str.isdigit, data.partition(",")[0]))
        ordinal = int(digits or 0)
        event = self.events[ordinal - 1] if 0 < ordinal <= len(self.events) else None
        return event if event is not None and event.data == data else None

    def meant(self, event_id):
        """Return the event that a client means by an id: the last one with it that it has read."""
        return None if event_id is None else self._heard.get(event_id)

    def heard(self, event):
        """Record that the client has read an event."""
        if event.id is None:
            return
        self._heard[event.id] = event
        new = self.floor > 0 and self.events[self.floor - 1].epoch != event.epoch
        if not self.floor or (new and event.what is not What.BEAT):  # which tells nothing of a new numbering
            self.floor = event.ordinal  # it knows of nothing before it

    def after(self, event_id):
        """
        Return what a replay after an id brings, and whether the id was understood.

        An id from before a restart is not, and is answered with all there is.
        """
        kept = [event for event in self.events[self._forgotten :] if not event.gone]
        known = self._known(event_id)
        if known is None:
            return kept, event_id is None
        return [event for event in kept if event.ordinal > known.ordinal], True

    def before(self, event_id, count):
        """Return the last *count* events up to the one with this id, as far as they may be repeated."""
        known = self._known(event_id)
        if known is None:
            return []
        first = max(known.ordinal - count, self._forgotten, self.floor - 1)
        return [event for event in self.events[first : known.ordinal] if not event.gone]

    def _known(self, event_id):
        """Return the last event with an id since the server remembers."""
        since = reversed(self.events[self._forgotten :])
        return next((event for event in since if event_id is not None and event.id == event_id), None)

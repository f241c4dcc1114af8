"""What one connection showed: its answer, what came when, and how it ended.  No verdicts, and no I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median
from typing import Final, NamedTuple

from resilient_sse._core.events import Comment
from resilient_sse._core.outage import is_event_stream
from resilient_sse._core.parser import Block, Parser
from resilient_sse.testing.wire import counted

_HEARTBEATS: Final = frozenset({"heartbeat", "ping", "keepalive", "keep-alive", "keep_alive"})
# A server that sends without end is listened to up to here: twice what one event may have.
_MOST_ITEMS: Final = 1_000
_MOST_BYTES: Final = 32 * 1024 * 1024
# Seconds between reads that belong together: chunks of one segment, and a machine that is busy.
_TOGETHER: Final = 0.02
# A first comment this soon is a greeting, and tells nothing about a rhythm.
_GREETING: Final = 0.5
# Silences that differ by less than this share are the same.
_EVEN: Final = 0.2


class Item(NamedTuple):
    """An event, or a comment, which has no type."""

    event: str | None
    data: str
    id: str | None = None


@dataclass(slots=True, eq=False)
class Arrival:
    """What came at once."""

    began: float  # when its first byte came, in seconds from the request,
    ended: float  # and its last one
    silence: float  # how long nothing had come before it
    events: list[Item] = field(default_factory=list[Item])  # what it completed, without heartbeats
    beats: list[Item] = field(default_factory=list[Item])  # what only shows life
    inside: bool = False  # whether it ends in the midst of an event


@dataclass(slots=True)
class Seen:
    """One connection; times are seconds from its request."""

    status: int = 0  # 0 while there is no answer
    version: str = ""  # of the protocol
    headers: Mapping[str, str] = field(default_factory=dict[str, str])  # names in lower case
    headers_at: float = 0.0
    arrivals: list[Arrival] = field(default_factory=list[Arrival])
    reads: int = 0  # how often something came
    size: int = 0  # in bytes, decoded
    count: int = 0  # of events and comments
    ended: str = ""  # how the server ended it: `""` if it did not, `"eof"`, or in words
    trouble: str = ""  # what cannot be read in it, in words
    seconds: float = 0.0  # for which it was watched
    _parser: Parser = field(default_factory=Parser, repr=False)

    def take(self, data: bytes, at: float) -> None:
        """Note bytes that came."""
        self.reads += 1
        self.size += len(data)
        before = self.arrivals[-1].ended if self.arrivals else self.headers_at
        if not self.arrivals or at - before > _TOGETHER:
            self.arrivals.append(Arrival(at, at, at - before))
        arrival = self.arrivals[-1]
        arrival.ended = at
        for item in self._parser.feed(data):
            if isinstance(item, Comment):
                arrival.beats.append(Item(None, item.text))
            elif isinstance(item, Block) and item.data is not None:
                came = Item(item.event or "message", item.data, item.id)
                (arrival.beats if came.event in _HEARTBEATS else arrival.events).append(came)
            self.count += 1
        arrival.inside = self._parser.finish()
        if any("\ufffd" in item.data for item in (*arrival.events, *arrival.beats)):
            self.trouble = "bytes that are no UTF-8"
        if self._parser.overflow is not None:
            self.trouble = str(self._parser.overflow)

    @property
    def is_stream(self) -> bool:
        """Whether the answer is an event stream."""
        return self.status in (200, 201) and is_event_stream(self.headers.get("content-type", ""))

    @property
    def is_full(self) -> bool:
        """Whether no more is to be read, or cannot be."""
        return self._parser.overflow is not None or self.size > _MOST_BYTES or self.count > _MOST_ITEMS

    @property
    def events(self) -> list[Item]:
        """The events, without heartbeats."""
        return [event for arrival in self.arrivals for event in arrival.events]

    @property
    def first_byte(self) -> float | None:
        """When the first byte of the body came."""
        return self.arrivals[0].began if self.arrivals else None

    @property
    def first_event(self) -> float | None:
        """When the first event was complete."""
        return next((arrival.ended for arrival in self.arrivals if arrival.events), None)

    @property
    def last_silence(self) -> float:
        """How long nothing had come at the end."""
        return self.seconds - (self.arrivals[-1].ended if self.arrivals else self.headers_at)

    @property
    def longest_silence(self) -> float:
        """The longest silence behind the headers."""
        return max([self.last_silence, *(arrival.silence for arrival in self.arrivals)])

    @property
    def beats(self) -> list[Arrival]:
        """What brought heartbeats, without a greeting."""
        since = self.headers_at + _GREETING
        return [one for one in self.arrivals if one.began > since and one.beats]

    @property
    def cadence(self) -> float | None:
        """After how many seconds another heartbeat comes, if there was another."""
        silences = [beat.silence for beat in self.beats]
        if silences[1:] and max(silences) - min(silences) < _EVEN * max(silences):  # each event puts it off
            return median(silences)
        gaps = [later.began - beat.began for beat, later in pairwise(self.beats)]
        return median(gaps) if gaps else None

    def __str__(self) -> str:
        """Tell what came."""
        return f"{counted(len(self.events), 'event')}, {counted(len(self.beats), 'heartbeat')}"

"""
One direction of one connection, as arithmetic: when does what leave?  No I/O, no clock; randomness is given.

What comes is cut into segments.  Each is put on the line behind those before it, which takes as long as its rate
says, and then travels for as long as its latency says; one that is lost, for a retransmission more.  No segment
overtakes another: a short delay after a long one is made up by waiting.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from resilient_sse.testing.proxy.toxics import Bandwidth, Latency, Profile, SegmentLoss, Slicer, Toxic

Way: TypeAlias = Literal["down", "up"]
"""`down` is from the server to the client."""

_BYTES_PER_KBIT = 125.0
_SEGMENT_BYTES = 1460
"""What TCP puts into one packet of an Ethernet."""
_MAX_SEGMENT_BYTES = 65_536
_LONGEST_SEGMENT = 0.005
"""Seconds.  A fast line is reckoned in larger portions: nobody sees 5 ms, and a thousand streams cost less."""
_MIN_QUEUE_BYTES = 16_384
_SLACK = 0.05
"""Seconds that a loaded machine may take to refill a line before that runs dry and its rate falls."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What a profile and toxics come to in one direction."""

    rate: float | None = None  # bytes a second; `None` for no limit
    delays: tuple[tuple[float, float], ...] = ()  # seconds, and the share by which they vary
    losses: tuple[
        tuple[float, float], ...
    ] = ()  # a share of the segments, and the seconds that a lost one is late
    segment: int | None = None  # bytes at most; `None` where nothing is cut
    spacing: float = 0.0  # seconds between segments at least

    @property
    def is_clear(self) -> bool:
        """Whether everything passes straight through."""
        return self == _CLEAR

    @property
    def queue_bytes(self) -> int:
        """How much may be under way before the sender has to wait: what fills the line twice, and a bit."""
        longest = sum(delay * (1 + jitter) for delay, jitter in self.delays)
        longest += sum(delay for _, delay in self.losses)
        if self.rate is None:
            return _MAX_SEGMENT_BYTES * 4
        return max(_MIN_QUEUE_BYTES, int(self.rate * (2 * longest + _SLACK)))


_CLEAR = Shape()


def shape(profile: Profile, toxics: Iterable[Toxic] = (), *, direction: Way = "down") -> Shape:
    """Reckon what *profile* and *toxics* come to in one direction; its latency is on the way down only."""
    down = direction == "down"
    rates = [profile.down_kbps if down else profile.up_kbps]
    delays = [(profile.latency, profile.jitter)] if down else []
    losses = [(profile.loss, profile.loss_delay)]
    sizes: list[int] = []
    spacing = 0.0
    for toxic in toxics:
        if getattr(toxic, "direction", None) not in (direction, "both"):
            continue
        match toxic:
            case Latency():
                delays.append((toxic.delay, toxic.jitter))
            case Bandwidth():
                rates.append(toxic.kbps)
            case SegmentLoss():
                losses.append((toxic.share, toxic.delay))
            case Slicer():
                sizes.append(toxic.size)
                spacing = max(spacing, toxic.delay)
            case _:
                pass
    rate = min((kbps * _BYTES_PER_KBIT for kbps in rates if kbps is not None), default=None)
    lossy = tuple((share, delay) for share, delay in losses if share > 0)
    if rate is not None:
        sizes.append(min(max(_SEGMENT_BYTES, int(rate * _LONGEST_SEGMENT)), _MAX_SEGMENT_BYTES))
    if lossy:
        sizes.append(_SEGMENT_BYTES)
    return Shape(
        rate=rate,
        delays=tuple((delay, jitter) for delay, jitter in delays if delay > 0),
        losses=lossy,
        segment=min(sizes, default=None),
        spacing=spacing,
    )


class Link:
    """
    One direction of one connection.

    *random* gives numbers from 0 to 1, such as `random.Random(7).random`; asked only where chance has a part.
    """

    def __init__(
        self,
        profile: Profile,
        random: Callable[[], float],
        *,
        toxics: Iterable[Toxic] = (),
        direction: Way = "down",
    ) -> None:
        self.shape: Shape = shape(profile, toxics, direction=direction)
        """May be exchanged at any time; what has been scheduled keeps its time."""
        self.dropped: int = 0
        """Segments that were lost once."""
        self._random = random
        self._free_at = 0.0
        self._last = 0.0

    def schedule(self, size: int, now: float) -> list[tuple[float, int]]:
        """
        Take *size* bytes at the time *now*, on any clock that does not go back, and tell when they arrive.

        Returns:
            Pairs of a time and a number of bytes, in order; the bytes add up to *size*.
        """
        shape = self.shape
        largest = shape.segment or size
        arrivals: list[tuple[float, int]] = []
        while size > 0:
            part = min(size, largest)
            size -= part
            begun = max(now, self._free_at)
            sent = begun + part / shape.rate if shape.rate is not None else begun
            self._free_at = max(sent, begun + shape.spacing)
            for delay, jitter in shape.delays:
                sent += delay * (1 + jitter * (2 * self._random() - 1)) if jitter else delay
            for share, delay in shape.losses:
                if self._random() < share:
                    self.dropped += 1
                    sent += delay
            self._last = max(self._last, sent)
            arrivals.append((self._last, part))
        return arrivals

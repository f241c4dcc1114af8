"""What the network is like at the moment, shared by all connections of a proxy, and what it has done so far."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import asdict, dataclass
from typing import TypeVar

import anyio

from resilient_sse.testing.proxy.link import Shape, Way, shape
from resilient_sse.testing.proxy.profiles import Profile
from resilient_sse.testing.proxy.toxics import (
    TOXICS,
    BlackHole,
    LimitBytes,
    Refuse,
    Reset,
    SlowClose,
    TLSFailure,
    Toxic,
)

_Limited = TypeVar("_Limited", Refuse, Reset, LimitBytes, TLSFailure)


@dataclass(slots=True, kw_only=True)
class Counters:
    """
    The figures of one proxy.

    Attributes:
        accepted: Connections accepted.
        refused: Connections turned away by the proxy: by the toxic `Refuse`, or because the target could not be
            reached.  While the port is closed (`FaultProxy.refuse`) the system turns them away, and nobody counts.
        resets: Connections that ended with RST because of the proxy, refused ones not included.
        bytes_down: Bytes passed to clients.
        bytes_up: Bytes passed to the target.
        dropped: Segments lost once and sent again.
        live: Connections held at the moment.
    """

    accepted: int = 0
    refused: int = 0
    resets: int = 0
    bytes_down: int = 0
    bytes_up: int = 0
    dropped: int = 0
    live: int = 0

    def to_dict(self) -> dict[str, int]:
        """Return the figures by name."""
        return asdict(self)


@dataclass(slots=True)
class _Entry:
    """A toxic, and how many connections it will still befall."""

    toxic: Toxic
    left: int | None


class Conditions:
    """A profile and the toxics in force."""

    def __init__(self, profile: Profile) -> None:
        self.shapes: dict[Way, Shape] = {}
        """What is in force in each direction."""
        self._entries: list[_Entry] = []
        self._limited: dict[type[Toxic], list[_Entry]] = {}  # what may still befall somebody, by its kind
        self._gates: dict[Way, anyio.Event | None] = {"down": None, "up": None}
        self.use(profile)

    def use(self, profile: Profile) -> None:
        """Exchange the line."""
        self.profile = profile
        self._reshape()

    @property
    def toxics(self) -> tuple[Toxic, ...]:
        """Those in force, in the order in which they were added."""
        return tuple(entry.toxic for entry in self._entries)

    def add(self, toxic: Toxic) -> None:
        """Put a toxic in force, also on connections that are open; `TypeError` if it is none."""
        given: object = toxic
        if not isinstance(given, tuple(TOXICS.values())):  # text may mean an action as well
            how = f"parse_toxic({given!r})" if isinstance(given, str) else "SegmentLoss(share=0.1)"
            raise TypeError(f"give a toxic, such as {how}, not {toxic!r}")
        self._entries.append(_Entry(toxic, getattr(toxic, "times", None)))
        self._reshape()

    def remove(self, toxic: Toxic) -> None:
        """Take one toxic away; `ValueError` if it is not in force."""
        if toxic not in self.toxics:
            raise ValueError(f"{toxic!r} is not in force; remove what was added, once")
        del self._entries[self.toxics.index(toxic)]
        self._reshape()

    def clear(self, kind: type[Toxic] | None = None) -> None:
        """Take every toxic away, or every one of a kind."""
        self._entries = [entry for entry in self._entries if kind and not isinstance(entry.toxic, kind)]
        self._reshape()

    async def passable(self, way: Way) -> None:
        """Wait until no black hole is in the way."""
        while (gate := self._gates[way]) is not None:
            await gate.wait()

    def strike(self, kind: type[_Limited], *, at: float = 0) -> _Limited | None:
        """
        Return a toxic of the kind that befalls a connection now, if there is one, and count it.

        Args:
            kind: What may befall it.
            at: The bytes that the client will have received; only toxics up to there are meant.
        """
        for entry in self._limited.get(kind, ()):
            toxic = entry.toxic
            if isinstance(toxic, kind) and getattr(toxic, "after", 0) <= at:
                if entry.left is not None:
                    entry.left -= 1
                    if not entry.left:
                        self._limited[kind].remove(entry)
                return toxic
        return None

    def closing_delay(self, way: Way) -> float:
        """Return by how many seconds the end of a direction is late."""
        closes = [toxic for toxic in self.toxics if isinstance(toxic, SlowClose)]
        return max((toxic.delay for toxic in closes if toxic.direction in (way, "both")), default=0.0)

    def _reshape(self) -> None:
        self._limited = defaultdict(list)
        for entry in self._entries:
            if entry.left != 0:
                self._limited[type(entry.toxic)].append(entry)
        holes = [toxic for toxic in self.toxics if isinstance(toxic, BlackHole)]
        ways: tuple[Way, ...] = ("down", "up")
        for way in ways:
            self.shapes[way] = shape(self.profile, self.toxics, direction=way)
            gate = self._gates[way]
            if any(hole.direction in (way, "both") for hole in holes):
                self._gates[way] = gate or anyio.Event()
            elif gate is not None:
                self._gates[way] = None
                gate.set()

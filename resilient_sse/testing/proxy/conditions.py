"""What the network is like at the moment, shared by all connections of a proxy."""

from __future__ import annotations

from typing import TypeVar

import anyio

from resilient_sse.testing.proxy.checks import check_toxic
from resilient_sse.testing.proxy.link import Shape, Way, shape
from resilient_sse.testing.proxy.profiles import Profile
from resilient_sse.testing.proxy.toxics import (
    BlackHole,
    LimitBytes,
    Refuse,
    Reset,
    SlowClose,
    TLSFailure,
    Toxic,
)

__all__ = ["Conditions"]

_Limited = TypeVar("_Limited", Refuse, Reset, LimitBytes, TLSFailure)


class _Entry:
    """A toxic, and how many connections it will still befall."""

    __slots__ = ("left", "toxic")

    def __init__(self, toxic: Toxic) -> None:
        self.toxic = toxic
        self.left: int | None = getattr(toxic, "times", None)


class Conditions:
    """
    A profile and the toxics in force.

    Args:
        profile: The line.
    """

    def __init__(self, profile: Profile) -> None:
        self._profile = profile
        self._entries: list[_Entry] = []
        self._gates: dict[Way, anyio.Event | None] = {"down": None, "up": None}
        self.shapes: dict[Way, Shape] = {}
        """What is in force in each direction."""
        self._reckon()

    @property
    def profile(self) -> Profile:
        """The line."""
        return self._profile

    @profile.setter
    def profile(self, profile: Profile) -> None:
        self._profile = profile
        self._reckon()

    @property
    def toxics(self) -> tuple[Toxic, ...]:
        """Those in force, in the order in which they were added."""
        return tuple(entry.toxic for entry in self._entries)

    def add(self, toxic: Toxic) -> None:
        """
        Put a toxic in force, also on connections that are open.

        Raises:
            TypeError: It is none.
        """
        self._entries.append(_Entry(check_toxic(toxic)))
        self._reckon()

    def remove(self, toxic: Toxic) -> None:
        """
        Take one toxic away.

        Raises:
            ValueError: It is not in force.
        """
        for entry in self._entries:
            if entry.toxic == toxic:
                self._entries.remove(entry)
                self._reckon()
                return
        raise ValueError(f"{toxic!r} is not in force; remove what was added, once")

    def clear(self, kind: type[Toxic] | None = None) -> None:
        """Take every toxic away, or every one of a kind."""
        self._entries = [entry for entry in self._entries if kind and not isinstance(entry.toxic, kind)]
        self._reckon()

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
        for entry in self._entries:
            toxic = entry.toxic
            if isinstance(toxic, kind) and entry.left != 0 and getattr(toxic, "after", 0) <= at:
                if entry.left is not None:
                    entry.left -= 1
                return toxic
        return None

    def closing_delay(self, way: Way) -> float:
        """Tell by how many seconds the end of a direction is late."""
        closes = [toxic for toxic in self.toxics if isinstance(toxic, SlowClose)]
        return max((toxic.delay for toxic in closes if toxic.direction in (way, "both")), default=0.0)

    def _reckon(self) -> None:
        toxics = self.toxics
        holes = [toxic for toxic in toxics if isinstance(toxic, BlackHole)]
        ways: tuple[Way, ...] = ("down", "up")
        for way in ways:
            self.shapes[way] = shape(self._profile, toxics, direction=way)
            gate = self._gates[way]
            if any(hole.direction in (way, "both") for hole in holes):
                self._gates[way] = gate or anyio.Event()
            elif gate is not None:
                self._gates[way] = None
                gate.set()

"""How long to wait before an attempt: growth, jitter that holds at the cap, and the server's wishes as floors."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

from resilient_sse._core.checks import check_callable, check_number, check_seconds

Delays: TypeAlias = Callable[[], Iterator[float]]
"""A factory of delay series in seconds; it is called once for each outage."""

MIN_SERVER_DELAY = 0.1
"""Seconds.  A server that asks for less (`retry: 0`) would have its clients spin."""

_MAXIMUM = 5.0

MIN_SETTLED = 1.0
"""Seconds.  However short the delays are, a connection that holds for less has proved nothing."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """
    Exponential growth up to a cap, each delay drawn from a band around its nominal value.

    Attempt *n* waits `min(initial * factor ** (n - 1), maximum)`, times a random factor within plus or minus
    *jitter*, never above *maximum*.  At the cap the draw is from `[maximum * (1 - jitter), maximum]`: a plain
    `min()` over the jittered delay would put every client at exactly the cap.

    Args:
        initial: The first nominal delay, in seconds.
        factor: The growth from one attempt to the next, at least 1.
        maximum: The longest delay, in seconds.
        jitter: The half-width of the band as a share of the nominal delay, from 0 to 1.  The default spreads
            the first retries of a fleet over 200 ms only; over a thousand clients want 0.5 or 1.
        random: Draws from [0, 1), such as `random.Random(7).random`, for delays that can be repeated; `None`
            gives each stream a source of its own.  Clients that draw alike come back in step.  It has no part
            in comparisons.

    Raises:
        TypeError: A value is no number, or *random* no function.
        ValueError: A value is out of its range.
    """

    initial: float = 1.0
    factor: float = 2.0
    maximum: float = _MAXIMUM
    jitter: float = 0.1
    random: Callable[[], float] | None = field(default=None, kw_only=True, compare=False, repr=False)

    def __post_init__(self) -> None:
        for name in ("initial", "factor", "maximum", "jitter"):
            check_number(f"Backoff: {name}", getattr(self, name))
        if not 0 <= self.initial < math.inf:
            raise ValueError(f"Backoff: initial must be a number of seconds, 0 or more, not {self.initial!r}")
        if not 1 <= self.factor < math.inf:
            raise ValueError(f"Backoff: factor must be 1 or more, not {self.factor!r}")
        if not self.initial <= self.maximum < math.inf:
            raise ValueError(
                f"Backoff: maximum must be at least initial ({self.initial!r}), not {self.maximum!r}"
            )
        if not 0 <= self.jitter <= 1:
            raise ValueError(f"Backoff: jitter must be from 0 to 1, not {self.jitter!r}")
        if self.random is not None:
            check_callable(
                "Backoff: random", self.random, what="a function such as random.Random(7).random, or None"
            )

    def nominal(self, attempt: int) -> float:
        """Return the delay before attempt number *attempt* (from 1), in seconds, without jitter."""
        return _grow(self.initial, self.factor, self.maximum, attempt)

    def band(self, attempt: int) -> tuple[float, float]:
        """Return the shortest and the longest delay that may be drawn before *attempt*, in seconds."""
        return _band(self.nominal(attempt), self.jitter, self.maximum)


def _grow(initial: float, factor: float, maximum: float, attempt: int) -> float:
    try:
        return min(initial * factor ** (attempt - 1), maximum)
    except OverflowError:  # the power, not the product: of nothing nothing comes
        return maximum if initial else 0.0


def _band(nominal: float, jitter: float, maximum: float) -> tuple[float, float]:
    return nominal * (1 - jitter), min(nominal * (1 + jitter), maximum)


_DEFAULT = Backoff()  # its maximum and jitter are for a series of the caller's own, too


class Pacing:
    """
    One stream's delays: its backoff or its own series, and what the server asked for, in seconds.

    *random* draws from [0, 1), unless *backoff* has a source of its own: one for each stream, so that no two
    draw in step.
    """

    def __init__(
        self, backoff: Backoff | Delays, *, max_server_delay: float, random: Callable[[], float]
    ) -> None:
        self._delays = None if isinstance(backoff, Backoff) else backoff
        self._backoff = backoff if isinstance(backoff, Backoff) else _DEFAULT
        self._max_server_delay = max_server_delay
        self._random = self._backoff.random or random
        self.series: Iterator[float] | None = None
        """The delays of the caller's own, as far as the present outage has not taken them."""
        self._last: float | None = None
        self._retry: float | None = None
        self._retry_after: float | None = None

    @property
    def settle_after(self) -> float:
        """Seconds that a connection must hold for a success; what the server asks for is pacing, and no proof."""
        return max(min(self._backoff.maximum, _MAXIMUM), MIN_SETTLED)

    def retry(self, milliseconds: int) -> None:
        """Take a `retry` field: from now on it replaces the initial delay, as a floor."""
        self._retry = self._clamp(milliseconds / 1000)

    def retry_after(self, seconds: float | None) -> None:
        """Take a `Retry-After` header, if there is one: a floor for the next delay only."""
        if seconds is not None:
            self._retry_after = self._clamp(seconds)

    def reset(self) -> None:
        """End the outage: the next delay is a first one again."""
        self.series = None
        self._retry_after = None

    def delay(self, attempt: int) -> float:
        """Draw the delay before attempt number *attempt* (from 1) of this outage, in seconds."""
        low, high = self._own_band(attempt)
        floor = max(self._retry or 0.0, self._retry_after or 0.0)
        self._retry_after = None
        if floor > low:
            # A server's wish may be lengthened, never shortened: the band opens upwards from it.
            longest = min(floor * (1 + self._backoff.jitter), self._max_server_delay)
            low, high = floor, max(high, longest, floor)
        drawn = check_number("Backoff: what random returns", self._random())
        if not 0 <= drawn <= 1:
            raise ValueError(f"Backoff: random must return numbers from 0 to 1, not {drawn!r}")
        return low + (high - low) * drawn

    def _own_band(self, attempt: int) -> tuple[float, float]:
        if self._delays is None:
            backoff = self._backoff
            initial = backoff.initial if self._retry is None else self._retry
            nominal = _grow(initial, backoff.factor, backoff.maximum, attempt)
            return _band(nominal, backoff.jitter, backoff.maximum)
        if self.series is None:
            series = self._delays()
            if not isinstance(series, Iterable):  # pyright: ignore[reportUnnecessaryIsInstance]
                raise TypeError(f"backoff must return an iterator of delays in seconds, not {series!r}")
            self.series, self._last = iter(series), None
        delay = next(self.series, self._last)
        if delay is None:
            raise ValueError("backoff: the series of delays is empty")
        check_seconds("backoff: a delay of the series", delay, optional=False)
        self._last = delay  # a series that ends goes on with its last delay
        return delay, delay

    def _clamp(self, seconds: float) -> float:
        return min(max(seconds, MIN_SERVER_DELAY), self._max_server_delay)

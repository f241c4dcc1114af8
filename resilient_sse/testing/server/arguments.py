"""The arguments of a server: what is wrong with one is said when it is given, not at a request."""

from __future__ import annotations

from typing import TYPE_CHECKING

from resilient_sse.testing.server.checks import check_flag, check_seconds, check_whole, shown
from resilient_sse.testing.server.faults import Faults
from resilient_sse.testing.server.limits import RateLimit
from resilient_sse.testing.server.stores.memory import MemoryStore

if TYPE_CHECKING:
    from resilient_sse.testing.server.stores.protocol import EventStore

__all__ = ["check_flags", "check_numbers", "check_parts", "check_times", "store_of"]

_METHODS = ("append", "after", "first", "last", "clear", "listen", "aclose")


def check_numbers(*, retry: tuple[int | None, int], **values: tuple[int, int]) -> None:
    """
    Check whole numbers, each with the least that it may be.

    Raises:
        TypeError: One is no whole number.
        ValueError: One is too small.
    """
    for name, (value, least) in values.items():
        check_whole(name, value, least=least)
    if retry[0] is not None:
        check_whole("retry", retry[0], least=retry[1])


def check_times(heartbeat: float | None, send_timeout: float) -> None:
    """
    Check times.

    Raises:
        TypeError: One is no number.
        ValueError: One is not positive, or not finite.
    """
    if heartbeat is not None:
        check_seconds("heartbeat", heartbeat)
    check_seconds("send_timeout", send_timeout)


def check_flags(**values: bool) -> None:
    """
    Check switches.

    Raises:
        TypeError: One is neither `True` nor `False`.
    """
    for name, value in values.items():
        check_flag(name, value)


def check_parts(start: object, rate_limit: object, faults: object) -> None:
    """
    Check what is chosen, and what is an object of its own.

    Raises:
        TypeError: *rate_limit* or *faults* is something else.
        ValueError: *start* is none of the two.
    """
    if start not in ("live", "first"):
        raise ValueError(f"start must be 'live' or 'first', not {shown(start)}")
    if not (rate_limit is None or isinstance(rate_limit, RateLimit)):
        text = "rate_limit must be a RateLimit such as RateLimit(5, per=1.0)"
        raise TypeError(f"{text}, not {shown(rate_limit)}")
    if not (faults is None or isinstance(faults, Faults)):
        raise TypeError(f"faults must be a script such as Faults(Status(503)), not {shown(faults)}")


def store_of(store: EventStore | None, first_id: int, history: int | None) -> EventStore:
    """
    Return *store*, or a new one in memory.

    Raises:
        TypeError: It is no store, or a number is none.
        ValueError: A number is out of its range, or given together with a store.
    """
    if store is None:
        return MemoryStore(first_id=first_id, history=history)
    _check_store(store)
    if history is not None or first_id != 1:
        raise ValueError("history and first_id belong to the store; give them to it")
    return store


def _check_store(store: object) -> None:
    # Not by way of the protocol: on Python 3.12 and newer that does not see what `__getattr__` hands on.
    if not hasattr(store, "first_id") or not all(callable(getattr(store, name, None)) for name in _METHODS):
        kinds = "MemoryStore(), SQLiteStore('events.db'), RedisStore('redis://...') or one of your own"
        raise TypeError(f"store must be a store: {kinds}, not {shown(store)}")

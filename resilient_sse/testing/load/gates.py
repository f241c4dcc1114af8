"""What a run had to reach, held against what it did."""

from __future__ import annotations

from typing import TYPE_CHECKING

from resilient_sse.testing.load.result import Gate

if TYPE_CHECKING:
    from collections.abc import Iterator

    from resilient_sse.testing.load.plan import LoadPlan
    from resilient_sse.testing.load.result import LoadResult

__all__ = ["judge"]

_MIB = 1024 * 1024
_NEVER = "unknown: never were all streams open"


def judge(plan: LoadPlan, result: LoadResult) -> tuple[Gate, ...]:
    """
    Hold *result* against the limits of *plan*.

    A figure that was asked for and could not be measured fails, except for growth of memory in a run that is too
    short to show any, and reconnect times in a run where nothing had to reconnect.
    """
    return (*_streams(plan, result), *_reconnects(plan, result), *_process(plan, result))


def _streams(plan: LoadPlan, result: LoadResult) -> Iterator[Gate]:
    limits, streams, delivery = plan.limits, result.streams, result.delivery
    finished = streams.completed if plan.target is None or plan.messages else plan.users - streams.failed
    yield Gate(
        name="streams that ended well",
        found=f"{finished} of {plan.users}",
        wanted="all",
        passed=finished == plan.users,
    )
    yield _none("crashes", streams.crashes)
    if limits.completion is not None and delivery.sent is not None:
        yield _least("completion", delivery.completion, limits.completion)
    yield _none("messages delivered twice", delivery.duplicates)
    yield _none("messages out of order", delivery.disorder)
    yield _none("gaps", delivery.gaps)
    if limits.availability is not None:
        yield _least("availability", streams.availability, limits.availability)
    if plan.target is None:
        yield from _connections(plan, result)
    if limits.seconds is not None:
        yield _under("duration", result.seconds, limits.seconds, "s")


def _connections(plan: LoadPlan, result: LoadResult) -> Iterator[Gate]:
    seen, tolerance = result.connections, plan.limits.connections
    if tolerance is not None:
        yield Gate(
            name="connections at the server",
            found=_NEVER if seen.mean is None else f"{seen.mean:.1f}",
            wanted=f"{plan.users} +-{tolerance:.0%}",
            passed=seen.mean is not None and abs(seen.mean - plan.users) <= plan.users * tolerance,
        )
    yield Gate(
        name="connections beyond users and reconnecting",
        found=_NEVER if seen.excess is None else str(max(seen.excess, 0)),
        wanted="0",
        passed=seen.excess is not None and seen.excess <= 0,
    )


def _reconnects(plan: LoadPlan, result: LoadResult) -> Iterator[Gate]:
    limits, times = plan.limits, result.times.recovery
    if limits.reconnects is not None:
        yield Gate(
            name="reconnects measured",
            found=str(times.count),
            wanted=f"at least {limits.reconnects}",
            passed=times.count >= limits.reconnects,
        )
    if not times.count and limits.reconnects is None:
        return
    for name, found, limit in (
        ("reconnect p95", times.p95, limits.p95),
        ("reconnect p99", times.p99, limits.p99),
        ("reconnect maximum", times.maximum, limits.longest),
    ):
        if limit is not None:
            yield _under(name, found, limit, "s")


def _process(plan: LoadPlan, result: LoadResult) -> Iterator[Gate]:
    limits, process, handling = plan.limits, result.process, result.times.handling.p99
    if limits.handling is not None:
        found = None if handling is None else handling * 1000
        yield _under("bytes to event p99", found, limits.handling * 1000, "ms")
    if limits.cpu is not None:
        # A run of a few moments has no steady time; then opening and closing count as well.
        cpu = process.cpu_overall if process.cpu is None else process.cpu
        found = None if cpu is None else cpu * 100
        yield _under("CPU of the client, of one core", found, limits.cpu * 100, "%", digits=1)
    if limits.resident is not None:
        found = None if process.resident_peak is None else process.resident_peak / _MIB
        yield _under("memory of the client", found, limits.resident / _MIB, "MiB", digits=0)
    if limits.growth is not None and process.growth is not None:
        yield _under("growth of memory in 10 min", process.growth, limits.growth, "%")


def _none(name: str, found: int) -> Gate:
    return Gate(name=name, found=str(found), wanted="0", passed=found == 0)


def _least(name: str, found: float | None, limit: float) -> Gate:
    return Gate(
        name=name,
        # Downwards: 99.896 % is not 99.9 %, in the text either.
        found="unknown" if found is None else f"{int(found * 1e5) / 1e3:.3f} %",
        wanted=f">= {limit * 100:g} %",
        passed=found is not None and found >= limit,
    )


def _under(name: str, found: float | None, limit: float, unit: str, *, digits: int = 2) -> Gate:
    return Gate(
        name=name,
        found="unknown" if found is None else f"{found:.{digits}f} {unit}",
        wanted=f"< {limit:g} {unit}",
        passed=found is not None and found < limit,
    )

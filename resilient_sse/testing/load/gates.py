"""What a run had to reach, held against what it did."""

from __future__ import annotations

from typing import TYPE_CHECKING

from resilient_sse.testing.load.result import Gate

if TYPE_CHECKING:
    from resilient_sse.testing.load.plan import LoadPlan
    from resilient_sse.testing.load.result import LoadResult

_MIB = 1024 * 1024
_NEVER = "unknown: never were all streams open"


class _Gates(list[Gate]):
    def add(self, name: str, found: str, wanted: str, *, passed: bool) -> None:
        self.append(Gate(name=name, found=found, wanted=wanted, passed=passed))

    def none(self, name: str, found: int) -> None:
        self.add(name, str(found), "0", passed=found == 0)

    def least(self, name: str, found: float | None, limit: float | None) -> None:
        if limit is not None:
            # Downwards: 99.896 % is not 99.9 %, in the text either.
            text = "unknown" if found is None else f"{int(found * 1e5) / 1e3:.3f} %"
            self.add(name, text, f">= {limit * 100:g} %", passed=found is not None and found >= limit)

    def under(
        self,
        name: str,
        found: float | None,
        limit: float | None,
        unit: str,
        *,
        times: float = 1.0,
        digits: int = 2,
    ) -> None:
        if limit is not None:
            text = "unknown" if found is None else f"{found * times:.{digits}f} {unit}"
            passed = found is not None and found < limit
            self.add(name, text, f"< {limit * times:g} {unit}", passed=passed)


def judge(plan: LoadPlan, result: LoadResult) -> tuple[Gate, ...]:
    """
    Hold *result* against the limits of *plan*.

    A figure that was asked for and could not be measured fails, except for growth of memory in a run that is too
    short to show any, and reconnect times in a run where nothing had to reconnect.
    """
    gates = _Gates()
    limits, streams, delivery, process = plan.limits, result.streams, result.delivery, result.process
    seen, times = result.connections, result.times.recovery
    ended = streams.completed if plan.target is None or plan.messages else plan.users - streams.failed
    gates.add("streams that ended well", f"{ended} of {plan.users}", "all", passed=ended == plan.users)
    gates.none("crashes", streams.crashes)
    if delivery.sent is not None:
        gates.least("completion", delivery.completion, limits.completion)
    gates.none("messages delivered twice", delivery.duplicates)
    gates.none("messages out of order", delivery.disorder)
    gates.none("gaps", delivery.gaps)
    gates.least("availability", streams.availability, limits.availability)
    if plan.target is None and limits.connections is not None:
        mean = _NEVER if seen.mean is None else f"{seen.mean:.1f}"
        near = seen.mean is not None and abs(seen.mean - plan.users) <= plan.users * limits.connections
        gates.add("connections at the server", mean, f"{plan.users} +-{limits.connections:.0%}", passed=near)
    if plan.target is None:
        over = _NEVER if seen.excess is None else str(max(seen.excess, 0))
        passed = seen.excess is not None and seen.excess <= 0
        gates.add("connections beyond users and reconnecting", over, "0", passed=passed)
    gates.under("duration", result.seconds, limits.seconds, "s")
    if limits.reconnects is not None:
        enough = times.count >= limits.reconnects
        gates.add("reconnects measured", str(times.count), f"at least {limits.reconnects}", passed=enough)
    if times.count or limits.reconnects is not None:
        gates.under("reconnect p95", times.p95, limits.p95, "s")
        gates.under("reconnect p99", times.p99, limits.p99, "s")
        gates.under("reconnect maximum", times.maximum, limits.longest, "s")
    gates.under("bytes to event p99", result.times.handling.p99, limits.handling, "ms", times=1000)
    # A run of a few moments has no steady time; then opening and closing count as well.
    cpu = process.cpu_overall if process.cpu is None else process.cpu
    gates.under("CPU of the client, of one core", cpu, limits.cpu, "%", times=100, digits=1)
    gates.under(
        "memory of the client", process.resident_peak, limits.resident, "MiB", times=1 / _MIB, digits=0
    )
    if process.growth is not None:
        gates.under("growth of memory in 10 min", process.growth, limits.growth, "%")
    return tuple(gates)

"""The result of a run, for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from resilient_sse.cli.output import escape

if TYPE_CHECKING:
    from resilient_sse.testing.load import LoadResult, Spread

__all__ = ["described"]

_MIB = 1024 * 1024
_UNKNOWN = "-"


def described(result: LoadResult) -> str:
    """Describe *result* in three tables and a sentence."""
    parts = [_heading(result), _table(_figures(result)), _table(_times(result)), _table(_gates(result))]
    if result.streams.failures:
        parts.append("\n".join(escape(f"failed: {failure}") for failure in result.streams.failures))
    broken = [gate.name for gate in result.gates if not gate.passed]
    parts.append(f"NOT passed: {', '.join(broken)}" if broken else f"All {len(result.gates)} gates passed.")
    return "\n\n".join(parts)


def _heading(result: LoadResult) -> str:
    setup, machine = result.setup, result.machine
    where = setup.target or (f"on {setup.profiles}" if setup.profiles else "without a network")
    return (
        f"{setup.users} streams, {setup.messages} messages each at {setup.rate:g}/s, {escape(where)}, "
        f"{setup.drops:g} resets a minute, seed {setup.seed}\n"
        f"Python {machine.python} on {machine.system}, {machine.cores} cores, load {_number(machine.load, 1)}, "
        f"{machine.backend}, {result.seconds:.1f} s"
    )


def _figures(result: LoadResult) -> list[tuple[str, ...]]:
    delivery, streams, process, seen = result.delivery, result.streams, result.process, result.connections
    of = "" if delivery.sent is None else f" of {delivery.sent}"
    return [
        ("streams completed", f"{streams.completed} of {result.setup.users}, {streams.failed} failed"),
        ("messages received", f"{delivery.received}{of}, {_percent(delivery.completion)}"),
        ("twice, out of order, gaps", f"{delivery.duplicates}, {delivery.disorder}, {delivery.gaps}"),
        ("messages a second", _number(delivery.per_second, 0)),
        ("availability", _percent(streams.availability)),
        ("connections at the server", f"{_number(seen.mean, 1)} on average, {_number(seen.most, 0)} at most"),
        ("connections opened, resets", f"{seen.opened}, {seen.resets}"),
        ("CPU of one core", f"{_percent(process.cpu, 1)} steady, {_percent(process.cpu_overall, 1)} overall"),
        ("CPU for each message", f"{_number(process.cpu_per_event, 0, 1e6)} us"),
        ("memory at most", f"{_number(process.resident_peak, 1, 1 / _MIB)} MiB"),
        ("memory for each stream", f"{_number(process.resident_per_stream, 1, 1 / 1024)} KiB"),
        (
            "growth of memory in 10 min",
            f"{_number(process.growth, 2)} % over {process.watched:.0f} s"
            if process.growth is not None
            else "too short a run to tell",
        ),
    ]


def _times(result: LoadResult) -> list[tuple[str, ...]]:
    times = result.times
    return [
        ("seconds", "count", "mean", "p50", "p95", "p99", "max"),
        ("opening", *_spread(times.opening)),
        ("reconnect: loss to first new event", *_spread(times.recovery)),
        ("loss to the next connection", *_spread(times.reopening)),
        ("last byte to first new event", *_spread(times.silence)),
        ("one attempt", *_spread(times.attempt)),
        ("bytes to event", *_spread(times.handling, 5)),
    ]


def _gates(result: LoadResult) -> list[tuple[str, ...]]:
    return [
        ("ok" if gate.passed else "NO", gate.name, gate.found, f"wanted {gate.wanted}")
        for gate in result.gates
    ]


def _spread(spread: Spread, digits: int = 3) -> tuple[str, ...]:
    figures = (spread.mean, spread.p50, spread.p95, spread.p99, spread.maximum)
    return (str(spread.count), *(_number(figure, digits) for figure in figures))


def _number(value: float | None, digits: int, factor: float = 1.0) -> str:
    return _UNKNOWN if value is None else f"{value * factor:.{digits}f}"


def _percent(value: float | None, digits: int = 3) -> str:
    return _UNKNOWN if value is None else f"{value * 100:.{digits}f} %"


def _table(rows: list[tuple[str, ...]]) -> str:
    widths = [max(len(row[i]) for row in rows if i < len(row)) for i in range(max(map(len, rows), default=0))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False)).rstrip()
        for row in rows
    )

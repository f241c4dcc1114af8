"""A result in which everything is as it should be, to be spoilt in one place."""

from dataclasses import replace

from resilient_sse.testing.load import (
    Connections,
    Delivery,
    LoadResult,
    Machine,
    Process,
    Setup,
    Spread,
    Streams,
    Times,
)

QUICK = Spread(count=240, mean=1.1, p50=1.1, p95=1.2, p99=1.3, maximum=1.4)

GOOD = LoadResult(
    setup=Setup(
        users=100,
        messages=50,
        rate=1.0,
        profiles="4g:1",
        drops=300.0,
        seed=1,
        dedup_window=1000,
        target=None,
    ),
    machine=Machine(python="3.11.9", system="Linux x86_64", cores=2, backend="asyncio", load=0.5),
    seconds=60.0,
    streams=Streams(
        started=100, completed=100, failed=0, unfinished=0, failures=(), crashes=0, availability=0.9995
    ),
    delivery=Delivery(
        sent=5000, received=5000, completion=1.0, per_second=100.0, duplicates=0, disorder=0, gaps=0
    ),
    times=Times(opening=QUICK, recovery=QUICK, reopening=QUICK, silence=QUICK, attempt=QUICK, handling=QUICK),
    process=Process(
        cpu=0.1,
        cpu_overall=0.2,
        cpu_per_event=0.0002,
        resident_before=40_000_000,
        resident_peak=60_000_000,
        resident_per_stream=200_000,
        growth=0.1,
        watched=600.0,
        lateness=0.01,
    ),
    connections=Connections(mean=99.8, most=100, excess=-1, opened=340, resets=240),
)


def spoilt(**changes):
    """Change fields given as `part__field=value`."""
    result = GOOD
    for name, value in changes.items():
        part, _, inner = name.partition("__")
        whole = replace(getattr(result, part), **{inner: value}) if inner else value
        result = replace(result, **{part: whole})
    return result

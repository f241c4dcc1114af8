"""
What the leases of many workers cost one Redis: `python -m benchmarks.leases`.

The workers are simulated and open no streams; their renewals are the real script in a real Valkey.
"""

from __future__ import annotations

import asyncio
import math
import time
from typing import Any

import redis

from benchmarks.relay import valkey
from resilient_sse.relay import Worker

SIZES = ((200, 3), (1_000, 3), (10_000, 10), (100_000, 100))
LEASES = (3, 15, 60)


async def renew(worker: Worker, ids: list[str], claims: int = 1000) -> tuple[int, float]:
    """Renew each lease once; count the streams that are owned, and give the longest time of a renewal."""
    owned, longest = 0, 0.0
    for worker.id in ids:
        began = time.perf_counter()
        _, _, streams, _ = await worker._renew(claims)  # noqa: SLF001 - what is measured
        longest = max(longest, time.perf_counter() - began)
        owned += len(streams)
    return owned, longest


def spent(client: redis.Redis) -> float:
    """Return the microseconds of Redis for one script, since the last reset."""
    stats: Any = client.info("commandstats")
    return float(stats["cmdstat_evalsha"]["usec_per_call"])


async def measure(client: redis.Redis, streams: int, workers: int) -> None:
    client.flushall()
    worker = Worker({f"stream-{n}": print for n in range(streams)}, client, lease=600)
    ids = [f"worker-{n}" for n in range(workers)]
    await renew(worker, ids, 0)
    while (await renew(worker, ids))[0] < streams:
        pass
    client.config_resetstat()
    for _ in range(5):
        await renew(worker, ids)
    idle = spent(client)
    client.delete(f"relay:alive:{ids[0]}")
    owned, longest = 0, 0.0
    while owned < streams:
        owned, slow = await renew(worker, ids[1:])
        longest = max(longest, slow)
    for lease in LEASES:
        each = lease / 3
        commands = workers * (1 + math.ceil(each / 4)) / each
        print(
            f"{streams:8,} streams {workers:4} workers, lease {lease:2} s: {commands:6.1f} commands/s,"
            f" {idle:6.0f} us a renewal, {workers / each * idle / 1e4:6.3f} % of a core;"
            f" one dies: the longest renewal {longest * 1000:5.1f} ms"
        )


def main() -> None:
    with valkey() as port, redis.Redis(port=port) as client:
        for streams, workers in SIZES:
            asyncio.run(measure(client, streams, workers))


if __name__ == "__main__":
    main()

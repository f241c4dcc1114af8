"""
One process of several, for the tests of multi-process mode.

    python -m tests.metrics.worker torment        go through the torment, print its figures, end
    python -m tests.metrics.worker fork           the same, then in a child, then once more
    python -m tests.metrics.worker hold           open a stream with a label, and wait to be killed
    python -m tests.metrics.worker full           write to a disk that is full for a while
    python -m tests.metrics.worker forks          fork thirty times in the midst of writing
    python -m tests.metrics.worker nothing        end without a stream
"""

import gc
import json
import logging
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

from prometheus_client import CollectorRegistry, Counter, generate_latest
from prometheus_client.mmap_dict import MmapedDict

from resilient_sse import StreamStats
from resilient_sse.metrics import prometheus
from resilient_sse.metrics.prometheus import PrometheusMetrics, merged_registry
from resilient_sse.testing import Script, run_in_virtual_time
from tests.client.support import URL, make, numbered, take
from tests.metrics.torment import tormented


def tell(told: Any) -> None:
    """Write a line for the test to read."""
    sys.stdout.write(f"{json.dumps(told)}\n")
    sys.stdout.flush()


def torment() -> None:
    """End as programs do: nothing is flushed but by the interpreter's end."""

    async def one() -> None:
        stream = await tormented(Script(), PrometheusMetrics())
        tell(stream.stats.to_dict())

    run_in_virtual_time(one)
    Counter("program_done", "What the program counts itself.").inc()


def fork() -> None:
    """Count in the parent, then in a child, then in the parent again; the second with a registry of its own."""

    async def one(metrics: PrometheusMetrics) -> None:
        await tormented(Script(), metrics)

    run_in_virtual_time(one, PrometheusMetrics())
    PrometheusMetrics().flush()
    if os.fork() == 0:
        run_in_virtual_time(one, PrometheusMetrics())
        PrometheusMetrics().flush()
        os._exit(0)
    assert os.wait()[1] == 0
    if os.fork() == 0:
        return  # without streams of its own, and so without files
    assert os.wait()[1] == 0
    run_in_virtual_time(one, PrometheusMetrics(CollectorRegistry()))


def hold() -> None:
    """Keep a stream open."""

    async def follow() -> None:
        script = Script()
        script.respond(*numbered(1, 2)).hang()
        metrics = PrometheusMetrics(labels={"network": ["4g"]})
        async with make(script, observers=[metrics.labelled(network="4g")]) as stream:
            await take(stream, 2)
            sys.stdin.read()

    run_in_virtual_time(follow)


def full() -> None:
    """Tell the failures, with their count and what was written, then lose the directory and get it back."""
    prometheus.INTERVAL = 0.01  # type: ignore[misc]
    directory = Path(os.environ["PROMETHEUS_MULTIPROC_DIR"])
    metrics = PrometheusMetrics()
    stats = StreamStats(started_at=0.0, stalls=3)
    with patch.object(MmapedDict, "read_value", side_effect=OSError("no space left on device")):
        observer = metrics.attach(stats, URL)
        while metrics.failures < 3:
            time.sleep(0.01)
        tell(metrics.failures)
        stats.stalls = 5
    del observer  # the last stream: the thread writes once more, and ends
    gc.collect()
    tell(metrics.failures)
    deadline = time.monotonic() + 30
    while not (stalls := merged_registry().get_sample_value("sse_client_stalls_total")):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    tell(stalls)
    shutil.rmtree(directory)
    metrics.flush()
    try:
        merged_registry()
    except ValueError as error:
        tell(str(error))
    directory.mkdir()
    metrics.flush()
    tell(generate_latest(merged_registry()).decode())


def forks() -> None:
    """Fork again and again in the midst of writing."""
    prometheus.INTERVAL = 0  # type: ignore[misc]
    sys.setswitchinterval(1e-6)  # the writer is cut short anywhere
    metrics = PrometheusMetrics()
    observer = metrics.attach(StreamStats(started_at=0.0), URL)
    for _ in range(30):
        if os.fork() == 0:
            signal.alarm(20)  # a child that hangs is killed, and seen
            child = metrics.attach(StreamStats(started_at=0.0), URL)
            metrics.flush()
            os._exit(child is None)
        assert os.wait()[1] == 0, "a child hung"
    del observer


def nothing() -> None:
    """Take the place of a process that has died."""
    PrometheusMetrics().flush()


JOBS: dict[str, Callable[[], None]] = {
    job.__name__: job for job in (torment, fork, hold, full, forks, nothing)
}

if __name__ == "__main__":
    logging.basicConfig(level=logging.ERROR)
    JOBS[sys.argv[1]]()
